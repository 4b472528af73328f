"""Quirks of replies: what finished JSON turns into on its way out. Every one is a pure function; knows no model.

A chunk of a stream is changed as a whole reply is.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias, final

from blackbox_proxy.core.text import open_bytes
from blackbox_proxy.standin.quirks import Quirks
from blackbox_proxy.standin.replies import Count, EndManner, LegacyManner, Manner, RawManner, StandinShape
from blackbox_proxy.standin.transcript import Part

Json: TypeAlias = Any
"""A reply that this package wrote itself, so that its shape is known."""


@dataclass(frozen=True, slots=True)
class RawReply:
    """A reply before it is changed. answers: of what it was made, one sequence of parts per choice."""

    reply: Json
    answers: Sequence[Sequence[Part]]
    ends: Collection[int]
    streamed: bool


def manner_of(quirks: Quirks) -> Manner:
    """How tokens are written under these quirks."""
    return Manner(_legacy_manner(quirks), _raw_manner(quirks), _end_manner(quirks))


def _legacy_manner(quirks: Quirks) -> LegacyManner:
    if "escaped-tokens" in quirks:
        return "escaped"
    if quirks.word("string-collisions") == "empty":
        return "empty"
    return "replaced" if "string-collisions" in quirks or "lossy-bytes" in quirks else "marked"


def _raw_manner(quirks: Quirks) -> RawManner:
    return "none" if "null-bytes" in quirks else "lossy" if "lossy-bytes" in quirks else "true"


def _end_manner(quirks: Quirks) -> EndManner:
    names: Mapping[str, EndManner] = {"visible-end-text": "text", "hidden-end": "hidden", "blank-specials": "blank"}
    return next((how for name, how in names.items() if name in quirks), "named")


@final
class QuirkyShape:
    """A shape whose replies are changed. ends: ids that end an answer."""

    def __init__(self, shape: StandinShape, quirks: Quirks, *, ends: Collection[int]) -> None:
        self.prefix = shape.prefix
        self._shape = shape
        self._changes = [change for name, change in REPLY_QUIRKS.items() if name in quirks]
        self._ends = ends

    def whole(self, answers: Sequence[Sequence[Part]], count: Count) -> bytes:
        return self._changed(self._shape.whole(answers, count), answers, streamed=False).encode()

    def opening(self, index: int) -> Iterator[str]:
        yield from (self._changed(chunk) for chunk in self._shape.opening(index))

    def chunks(self, index: int, part: Part) -> Iterator[str]:
        yield from (self._changed(chunk, [[part]]) for chunk in self._shape.chunks(index, part))

    def closing(self, count: Count) -> str:
        return self._changed(self._shape.closing(count))

    def _changed(self, text: str | bytes, answers: Sequence[Sequence[Part]] = (), *, streamed: bool = True) -> str:
        reply: Json = json.loads(text)
        for change in self._changes:
            change(RawReply(reply, answers, self._ends, streamed))
        return json.dumps(reply, ensure_ascii=False, separators=(",", ":"))


def entries(reply: Json) -> Iterator[Json]:
    """The entries of log-probs in the shape of a chat, on whatever route."""
    for choice in reply.get("choices", ()):
        yield from (choice.get("logprobs") or {}).get("content") or ()
    for item in reply.get("output", ()):
        for part in item["content"]:
            yield from part["logprobs"]


def _without_alternatives(entry: Json) -> Json:
    return {name: value for name, value in entry.items() if name != "top_logprobs"}


def _among(entry: Json) -> bool:
    return any((top["token"], top["bytes"]) == (entry["token"], entry["bytes"]) for top in entry["top_logprobs"])


def _add_sampled(said: RawReply) -> None:
    for entry in entries(said.reply):
        if not _among(entry):
            entry["top_logprobs"].append(_without_alternatives(entry))


def _sampled_first(said: RawReply) -> None:
    """The list stays as long as it was: what stood last goes, unless the sampled token was on it."""
    for entry in entries(said.reply):
        top = entry["top_logprobs"]
        others = [one for one in top if (one["token"], one["bytes"]) != (entry["token"], entry["bytes"])]
        entry["top_logprobs"] = [_without_alternatives(entry), *others][: len(top)]


def _no_top(said: RawReply) -> None:
    for entry in entries(said.reply):
        entry["top_logprobs"] = []
    for choice in said.reply.get("choices", ()):
        if "top_logprobs" in (choice.get("logprobs") or {}):
            choice["logprobs"]["top_logprobs"] = None


def _skip_fragments(said: RawReply) -> None:
    """Bytes are looked at together: the token that ends the character has an entry."""
    for choice in said.reply.get("choices", ()):
        _skip_in((choice.get("logprobs") or {}).get("content"))
    for item in said.reply.get("output", ()):
        for part in item["content"]:
            _skip_in(part["logprobs"])


def _skip_in(listed: list[Json] | None) -> None:
    spoken, kept = b"", []
    for entry in listed or ():
        spoken += bytes(entry["bytes"] or ())
        if not open_bytes(spoken):
            kept.append(entry)
    if listed:
        listed[:] = kept


def _as_together(said: RawReply) -> None:
    """Only of the legacy shape; its text says nothing about the ids, so they are taken from what was generated."""
    if said.reply.get("object") != "text_completion":
        return
    for choice, parts in zip(said.reply["choices"], said.answers, strict=False):
        ids = [placed.token.id for part in parts for placed in part.tokens]
        if choice["finish_reason"] == "stop" and ids and ids[-1] in said.ends:
            choice["finish_reason"] = "eos"
        if choice["logprobs"] and said.streamed:
            choice["logprobs"] = None
        elif choice["logprobs"]:
            del choice["logprobs"]["text_offset"]
            choice["logprobs"]["token_ids"] = ids


def _hide_cached(said: RawReply) -> None:
    usage = said.reply.get("usage") or {}
    for details in ("prompt_tokens_details", "input_tokens_details"):
        usage.pop(details, None)


def _no_usage(said: RawReply) -> None:
    said.reply.pop("usage", None)


REPLY_QUIRKS: Mapping[str, Callable[[RawReply], None]] = {
    "extra-entry": _add_sampled,
    "sampled-first": _sampled_first,
    "no-top": _no_top,
    "skipped-fragments": _skip_fragments,
    "together-shape": _as_together,
    "cached-hidden": _hide_cached,
    "no-usage": _no_usage,
}
"""Each changes the reply in place: it was parsed for that alone."""


def changes_replies(quirks: Quirks) -> bool:
    """Whether any reply is changed."""
    return any(name in quirks for name in REPLY_QUIRKS)
