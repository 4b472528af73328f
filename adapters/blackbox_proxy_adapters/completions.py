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

from blackbox_proxy.errors import InputError, PromptError
from blackbox_proxy.types import Ask, Candidate, Capabilities, Continuation, Kind, Reply, Reveal, Usage, WireRequest

from .decoders import choices_apart, read_echo, read_given, read_revealed, read_usage
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
    or `none`. prompt_lists: whether `prompt` may be a list of prompts, each answered by a choice of its own. echo:
    whether it gives the prompt back with its log-probs (`echo`). The others: see `Options`.
    """

    token_ids: bool = False
    reveal: Reveal = "none"
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
        told = self.told(Continuation.EXACT, chat=False)
        return replace(
            told, token_ids=self.token_ids, reveal=self.reveal, prompt_lists=self.prompt_lists, echo=self.echo
        )

    def encode(self, ask: Ask) -> WireRequest:
        """The request for one `Ask`.

        Raises `InputError` for a text that ends inside a character, and `PromptError` for an empty one.
        """
        made = self.request(ask, {"prompt": self._prompt(ask)}, length=ask.length)
        native = _NATIVE if self.decoder == "llama_native" else {}
        revealing = self._revealing(ask.reveal) if ask.reveal else {}
        echoing = self._echoing() if ask.draft or ask.drafted else {}
        return WireRequest(made.path, {**native, **made.body, **revealing, **echoing})

    def encode_list(self, asks: Sequence[Ask]) -> WireRequest:
        """One request for all asks: that of the first, with a list of prompts. Raises as `encode`."""
        if not self.prompt_lists:
            raise InputError(
                "several prompts were put into one request to an endpoint that takes one",
                hint="set prompt_lists for this endpoint if it can, or send them one by one",
            )
        made = self.encode(asks[0])
        return WireRequest(made.path, {**made.body, "prompt": [self._prompt(ask) for ask in asks]})

    def decode_list(self, body: Mapping[str, object], asks: Sequence[Ask]) -> Sequence[Reply]:
        """A reply for each ask, the usage at the first. Raises `ReplyError` where not each has a choice of its own."""
        apart = choices_apart(body, len(asks))
        first, *rest = (self.decode(part, ask) for part, ask in zip(apart, asks, strict=True))
        return [first, *(replace(reply, usage=Usage()) for reply in rest)]

    def decode(self, body: Mapping[str, object], ask: Ask) -> Reply:
        """The positions of the first choice. Raises `ReplyError` for a body of another shape."""
        if ask.scored:
            return read_given(body, ask, self.dialect(ask))
        if ask.draft or ask.drafted:
            return read_echo(body, ask, self.dialect(ask))
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

    def _echoing(self) -> dict[str, object]:
        if self.echo:
            return {"echo": True}
        raise InputError(
            "a draft was to be checked by an endpoint that does not give back what it is sent",
            hint="set echo for this endpoint if it can, or use another drafter",
        )

    def _prompt(self, ask: Ask) -> str | list[int]:
        return _text(ask) if ask.ids is None else self._ids(ask.ids + ask.drafted)

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
    """Prompt, answer and draft as one string."""
    answer = whole_text(ask.answer + ask.draft)
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
