"""What a reply says, whatever its shape: text, tokens with their log-probs, why it ended, what it used.

Reads leniently, unlike an adapter: see `fields`. The module knows no request and no network.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, NamedTuple, TypeAlias, cast

from blackbox_proxy.core.logprobs import Columns, WrittenToken, columns_of, in_columns, places_of
from blackbox_proxy.core.money.usage import tells_cached
from blackbox_proxy.doctor import fields

SENTINEL = fields.SENTINEL
"""At or below this a log-prob is a mark, no number."""

Shape = Literal["legacy", "rows", "none"]

ProbeToken: TypeAlias = WrittenToken[float]
"""A token as it is written, its log-prob a number or a mark."""


class ProbePosition(NamedTuple):
    """One position: the sampled token, and the alternatives in the order that they came."""

    sampled: ProbeToken
    listed: tuple[ProbeToken, ...]

    @property
    def best(self) -> ProbeToken:
        """The likeliest of all that is told here; of the sampled token's own entry and the listed ones."""
        return max((*self.listed, self.sampled), key=lambda one: one.logp)

    @property
    def distribution(self) -> Mapping[str, float]:
        """The alternatives' log-probs by their names, the likelier of two namesakes; sentinels left out."""
        logps: dict[str, float] = {}
        for one in sorted(self.listed, key=lambda one: -one.logp):
            if one.logp > SENTINEL:
                logps.setdefault(one.token, one.logp)
        return logps


@dataclass(frozen=True, slots=True)
class ProbeReply:
    """A reply. shape: of its log-probs. keyed: token ids stand beside the legacy shape's tokens.

    each: the places of all choices, by their index, where there are several. called: the names of the tools that it
    calls.
    """

    text: str
    places: tuple[ProbePosition, ...]
    finish: str
    shape: Shape
    usage: Mapping[str, object] | None
    keyed: bool = False
    each: Mapping[int, tuple[ProbePosition, ...]] = field(default_factory=dict)
    called: tuple[str, ...] = ()

    @property
    def stopped(self) -> bool:
        """Whether the model ended the text."""
        return self.finish in ("stop", "eos", "eos_token", "completed")

    @property
    def cached(self) -> bool:
        """Whether usage tells how much of the prompt was cached."""
        return tells_cached(self.usage)


def read_reply(body: Mapping[str, object]) -> ProbeReply:
    """The first answer of a reply."""
    usage = body.get("usage")
    counted = cast(Mapping[str, object], usage) if isinstance(usage, Mapping) else None
    if "output" in body:
        return _response(body, counted)
    choices = fields.as_list(body.get("choices"))
    choice = fields.as_mapping(next(iter(choices), None))
    message = fields.as_mapping(choice.get("message"))
    logprobs = fields.as_mapping(choice.get("logprobs"))
    return ProbeReply(
        text=fields.as_text(choice.get("text")) or fields.as_text(message.get("content")),
        places=_places(logprobs),
        finish=fields.as_text(choice.get("finish_reason")),
        shape="legacy" if in_columns(logprobs) else "rows" if "content" in logprobs else "none",
        usage=counted,
        keyed=bool(columns_of(logprobs, fields).ids),
        each=_each(choices),
        called=tuple(_called(message)),
    )


def _called(message: Mapping[str, object]) -> Iterator[str]:
    """The names of the tools that a message calls."""
    for call in fields.as_list(message.get("tool_calls")):
        yield fields.as_text(fields.as_mapping(fields.as_mapping(call).get("function")).get("name"))


def _each(choices: Sequence[object]) -> Mapping[int, tuple[ProbePosition, ...]]:
    if len(choices) < 2:
        return {}
    read = [fields.as_mapping(choice) for choice in choices]
    by_index = ((choice.get("index"), fields.as_mapping(choice.get("logprobs"))) for choice in read)
    return {at: _places(logprobs) for at, logprobs in by_index if isinstance(at, int)}


def _response(body: Mapping[str, object], usage: Mapping[str, object] | None) -> ProbeReply:
    items = [fields.as_mapping(item) for item in fields.as_list(body.get("output"))]
    parts = [fields.as_mapping(part) for item in items for part in fields.as_list(item.get("content"))]
    rows = [row for part in parts for row in fields.as_list(part.get("logprobs"))]
    text = "".join(fields.as_text(part.get("text")) for part in parts)
    status = fields.as_text(body.get("status"))
    return ProbeReply(text, _in_rows(rows), status, "rows" if rows else "none", usage)


def _places(logprobs: Mapping[str, object]) -> tuple[ProbePosition, ...]:
    if in_columns(logprobs):
        return tuple(_in_columns(columns_of(logprobs, fields)))
    return _in_rows(fields.as_list(logprobs.get("content")))


def _in_rows(rows: Sequence[object]) -> tuple[ProbePosition, ...]:
    return tuple(ProbePosition(place.sampled, tuple(place.listed)) for place in places_of(rows, fields, ""))


def _in_columns(columns: Columns[float]) -> Iterator[ProbePosition]:
    """A place for each token; one that the other columns do not reach has a mark, and no alternatives."""
    for at, token in enumerate(columns.tokens):
        logp = columns.logps[at] if at < len(columns.logps) else SENTINEL
        listed = columns.listed[at] if at < len(columns.listed) else {}
        alternatives = tuple(WrittenToken(name, None, one) for name, one in listed.items())
        yield ProbePosition(WrittenToken(token, None, logp), alternatives)
