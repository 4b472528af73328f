"""The adapter `completions`: raw text or token ids go on, with top-k log-probs.

Served by vLLM, SGLang, Together, Fireworks, llama-cpp-python and our stand-in on /completions, and by llama.cpp's
server on /completion, which tells ids and true bytes: the routes on which an endpoint goes on from exactly our text.
Whoever asks owns the chat template. This module knows no network and no model.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TypeVar, final

from blackbox_proxy.core.money.usage import read_usage
from blackbox_proxy.errors import InputError, PromptError
from blackbox_proxy.types import (
    Ask,
    Candidate,
    Capabilities,
    Continuation,
    Draw,
    Echo,
    Kind,
    Reply,
    Reveal,
    RevealMethod,
    Score,
    TokenPath,
    Usage,
    WireRequest,
)

from .decoders import choices_apart, read_echo, read_given, read_requested
from .options import Options, check_choice, whole_text
from .positions import unknown

T = TypeVar("T", str, tuple[int, ...])

_NATIVE = {"return_tokens": True, "cache_prompt": True}
"""What llama.cpp's own route is told: `tokens` shows where a position is missing."""


@final
@dataclass(kw_only=True)
class Completions(Options):
    """Codec for POST /completions, and for /completion of llama.cpp (`decoder="llama_native"`).

    token_ids: whether `prompt` may be a list of ids. reveal: how it reports log-probs beyond its top-k: `ids` (vLLM's
    logprob_token_ids), `bias` (a logit bias forces the token, and the log-probs it returns are those before the bias),
    or `none`. prompt_lists: whether `prompt` may be a list of prompts, each answered by a choice of its own. echo:
    whether it gives the prompt back with its log-probs (`echo`). The others: see `Options`.
    """

    token_ids: bool = False
    reveal: RevealMethod = "none"
    prompt_lists: bool = False
    echo: bool = False
    name: str = field(default="completions", init=False)

    def __post_init__(self) -> None:
        super().__post_init__()
        check_choice("reveal", self.reveal, ("none", "ids", "bias"))
        if self.reveal == "ids" and self.decoder != "legacy_completions":
            raise InputError(
                f"reveal='ids' is told in the legacy shape alone, and the decoder is {self.decoder!r}",
                hint="use reveal='bias' where a bias forces a token without changing its log-prob, or 'none'",
            )
        if self.decoder != "legacy_completions" and (self.echo or self.prompt_lists):
            raise InputError(
                f"echo and prompt_lists are read in the legacy shape alone, and the decoder is {self.decoder!r}",
                hint="leave them out for this endpoint; drafts of the pair are then sent in requests of their own",
            )

    def capabilities(self) -> Capabilities:
        """What was given at construction; a text route goes on from exactly our bytes."""
        able = self.capable(Continuation.EXACT, chat=False)
        return replace(
            able, token_ids=self.token_ids, reveal=self.reveal, prompt_lists=self.prompt_lists, echo=self.echo
        )

    def encode(self, ask: Ask) -> WireRequest:
        """The request for one `Ask`.

        Raises `InputError` for a text that ends inside a character, and `PromptError` for an empty one.
        """
        request = self.request(ask, {"prompt": self._prompt(ask)}, length=ask.length)
        native = _NATIVE if self.decoder == "llama_native" else {}
        return WireRequest(request.path, {**native, **request.body, **self._fields_of(ask)})

    def encode_list(self, asks: Sequence[Ask]) -> WireRequest:
        """One request for all asks: that of the first, with a list of prompts. Raises as `encode`."""
        if not self.prompt_lists:
            raise InputError(
                "several prompts were put into one request to an endpoint that takes one",
                hint="set prompt_lists for this endpoint if it can, or send them one by one",
            )
        request = self.encode(asks[0])
        return WireRequest(request.path, {**request.body, "prompt": [self._prompt(ask) for ask in asks]})

    def decode_list(self, body: Mapping[str, object], asks: Sequence[Ask]) -> Sequence[Reply]:
        """A reply for each ask, the usage at the first. Raises `ReplyError` where not each has a choice of its own."""
        apart = choices_apart(body, len(asks))
        first, *rest = (self.decode(part, ask) for part, ask in zip(apart, asks, strict=True))
        return [first, *(replace(reply, usage=Usage()) for reply in rest)]

    def decode(self, body: Mapping[str, object], ask: Ask) -> Reply:
        """The positions of the first choice. Raises `ReplyError` for a body of another shape."""
        if isinstance(ask, Draw):
            return self.read_answers(body, ask)
        if isinstance(ask, Score):
            return read_given(body, ask, self.dialect(ask))
        if isinstance(ask, Echo):
            return read_echo(body, ask, self.dialect(ask))
        if isinstance(ask, Reveal):
            return self._requested(body, ask)
        return self.read(body, ask)

    def _requested(self, body: Mapping[str, object], ask: Reveal) -> Reply:
        """The log-probs of the ids that were asked for."""
        if self.reveal == "ids":
            return _only_requested(read_requested(body, ask.ids), read_usage(body.get("usage")).usage)
        reply = self.read(body, ask)
        forced = [p.sampled.logp for p in reply.positions[:1] if p.sampled.logp > -math.inf]
        return _only_requested(dict(zip(ask.ids, forced, strict=False)), reply.usage)

    def _fields_of(self, ask: Ask) -> dict[str, object]:
        """The fields that one kind of ask has besides."""
        if isinstance(ask, Reveal):
            return self._revealing(ask.ids)
        return self._echoing() if isinstance(ask, Echo | Score) else {}

    def _revealing(self, ids: tuple[int, ...]) -> dict[str, object]:
        """The fields that ask for the log-probs of `ids`."""
        if self.reveal == "ids":
            return {"logprob_token_ids": list(ids), "return_tokens_as_token_ids": True}
        if self.reveal == "bias" and len(ids) == 1:
            return {"logit_bias": {str(ids[0]): 100}}
        raise InputError(
            f"log-probs of {len(ids)} chosen tokens were asked of an endpoint that tells none beyond its top-k",
            hint="set `reveal` for this endpoint if it can, or use tail='impute'",
        )

    def _echoing(self) -> dict[str, object]:
        if self.echo:
            return {"echo": True}
        raise InputError(
            "a draft was to be checked by an endpoint that does not give back what it is sent",
            hint="set echo for this endpoint if it can, or use another drafter",
        )

    def _prompt(self, ask: Ask) -> str | list[int]:
        ids = _sent_ids(ask)
        return _sent_text(ask) if ids is None else self._ids(ids)

    def _ids(self, ids: tuple[int, ...]) -> list[int]:
        if not self.token_ids:
            raise InputError(
                "token ids were given to an endpoint that takes text",
                hint="set token_ids for this endpoint if it accepts a list of ids as the prompt",
            )
        return list(_filled(ids))


def _only_requested(logps: Mapping[int, float], usage: Usage) -> Reply:
    """One position with the log-probs of chosen tokens, which have an id and no piece."""
    requested = tuple(Candidate(b"", logp, Kind.SPECIAL, number) for number, logp in logps.items())
    return Reply((replace(unknown(), requested=requested),), None, usage)


def _sent_ids(ask: Ask) -> TokenPath | None:
    """All ids that are sent; None where text is."""
    if isinstance(ask, Score):
        return ask.ids
    ids = ask.prefix.ids
    return ids if ids is None or not isinstance(ask, Echo) else ids + ask.draft_ids


def _sent_text(ask: Ask) -> str:
    """Prompt, answer and draft, or the text to score, as one string."""
    if isinstance(ask, Score):
        return _filled(whole_text(ask.text))
    draft = ask.draft if isinstance(ask, Echo) else b""
    answer = whole_text(ask.prefix.answer + draft)
    _check_text(ask.prefix.prompt)
    return _filled(ask.prefix.prompt + answer)


def _check_text(prompt: str) -> None:
    try:
        prompt.encode("utf-8")
    except UnicodeEncodeError as error:
        raise PromptError(
            f"the prompt holds half a surrogate pair at character {error.start}",
            hint="read the prompt as UTF-8, or remove that character",
        ) from None


def _filled(prompt: T) -> T:
    if not prompt:
        raise PromptError("the prompt is empty", hint="give a question or some text to go on from")
    return prompt
