"""The adapter `completions`: raw text or token ids go on, with top-k log-probs.

Served by vLLM, SGLang, Together, Fireworks, llama-cpp-python and our stand-in on /completions, and by llama.cpp's
server on /completion, which tells ids and true bytes: the routes on which an endpoint goes on from exactly our text.
Whoever asks owns the chat template. This module knows no network and no model.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import TypeVar, final

from blackbox_proxy.errors import InputError, PromptError
from blackbox_proxy.types import Ask, Candidate, Capabilities, Continuation, Kind, Reply, Reveal, Usage, WireRequest

from .decoders import read_revealed, read_usage
from .options import Options, check_choice, whole_text
from .positions import unknown

T = TypeVar("T", str, tuple[int, ...])

_NATIVE = {"return_tokens": True, "cache_prompt": True}
"""What llama.cpp's own route is told: `tokens` shows where a position is missing."""


@final
@dataclass(kw_only=True)
class Completions(Options):
    """Codec for POST /completions, and for /completion of llama.cpp (`decoder="llama_native"`).

    token_ids: whether `prompt` may be a list of ids. reveal: how it tells log-probs beyond its top-k: `ids` (vLLM's
    logprob_token_ids), `bias` (a logit bias forces the token, and the log-probs it returns are those before the bias),
    or `none`. The others: see `Options`.
    """

    token_ids: bool = False
    reveal: Reveal = "none"
    name: str = field(default="completions", init=False)

    def __post_init__(self) -> None:
        super().__post_init__()
        check_choice("reveal", self.reveal, ("none", "ids", "bias"))
        if self.reveal == "ids" and self.decoder != "legacy_completions":
            raise InputError(
                f"reveal='ids' is told in the legacy shape alone, and the decoder is {self.decoder!r}",
                hint="use reveal='bias' where a bias forces a token without changing its log-prob, or 'none'",
            )

    def capabilities(self) -> Capabilities:
        """What was given at construction; a text route goes on from exactly our bytes."""
        told = self.told(Continuation.EXACT, chat=False)
        return replace(told, token_ids=self.token_ids, reveal=self.reveal)

    def encode(self, ask: Ask) -> WireRequest:
        """The request for one `Ask`.

        Raises `InputError` for a text that ends inside a character, and `PromptError` for an empty one.
        """
        prompt = _text(ask) if ask.ids is None else self._ids(ask.ids)
        made = self.request(ask, {"prompt": prompt}, length=ask.length)
        native = _NATIVE if self.decoder == "llama_native" else {}
        revealing = self._revealing(ask.reveal) if ask.reveal else {}
        return WireRequest(made.path, {**native, **made.body, **revealing})

    def decode(self, body: Mapping[str, object], ask: Ask) -> Reply:
        """The positions of the first choice. Raises `ReplyError` for a body of another shape."""
        if not ask.reveal:
            return self.read(body, ask)
        if self.reveal == "ids":
            return _told(read_revealed(body, ask.reveal), read_usage(body.get("usage")))
        reply = self.read(body, ask)
        own = [p.sampled.logp for p in reply.positions[:1] if p.sampled.logp > -math.inf]
        return _told(dict(zip(ask.reveal, own, strict=False)), reply.usage)

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

    def _ids(self, ids: tuple[int, ...]) -> list[int]:
        if not self.token_ids:
            raise InputError(
                "token ids were given to an endpoint that takes text",
                hint="set token_ids for this endpoint if it accepts a list of ids as the prompt",
            )
        return list(_filled(ids))


def _told(logps: Mapping[int, float], usage: Usage) -> Reply:
    """One position with the log-probs of chosen tokens, which have an id and no piece."""
    revealed = tuple(Candidate(b"", logp, Kind.SPECIAL, number) for number, logp in logps.items())
    return Reply((replace(unknown(), revealed=revealed),), None, usage)


def _text(ask: Ask) -> str:
    """Prompt and answer as one string."""
    answer = whole_text(ask.answer)
    _check_text(ask.prompt)
    return _filled(ask.prompt + answer)


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
