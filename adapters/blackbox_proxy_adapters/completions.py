"""The adapter `completions`: raw text or token ids go on, with top-k log-probs in the legacy completions shape.

Served by vLLM, SGLang, Together, Fireworks, llama-cpp-python and our stand-in; the one route on which an endpoint goes
on from exactly our text. Whoever asks owns the chat template. This module knows no network and no model.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import TypeVar, final

from blackbox_proxy.errors import InputError, PromptError
from blackbox_proxy.types import Ask, Capabilities, Continuation, Reply, Reveal, WireRequest

from .decoders import read_reply, read_revealed

T = TypeVar("T", str, tuple[int, ...])

_OURS = frozenset(
    {"model", "prompt", "max_tokens", "temperature", "logprobs", "echo", "stream", "n", "best_of", "logit_bias"}
)


@final
class Completions:
    """Codec for POST /completions.

    top_k: most alternatives that the endpoint gives per position. end_pieces: how it spells the tokens that end a
    text; b"" for an endpoint that shows them as an empty string. token_ids: whether `prompt` may be a list of ids.
    reveal: how it tells log-probs beyond its top-k: `ids` (vLLM's logprob_token_ids), `bias` (a logit bias forces the
    token, and the log-probs it returns are those before the bias), or `none`.
    extra_body: fields sent with each request as they are (`seed`, `add_special_tokens`, ...).
    """

    def __init__(
        self,
        *,
        top_k: int = 20,
        end_pieces: Collection[bytes] = (),
        token_ids: bool = False,
        reveal: Reveal = "none",
        extra_body: Mapping[str, object] | None = None,
    ) -> None:
        if top_k < 1:
            raise InputError(f"top_k must be at least 1, not {top_k}", hint="steering needs the API's alternatives")
        self.name = "completions"
        self._extra = dict(extra_body or {})
        _refuse_ours(self._extra)
        self._capabilities = Capabilities(
            top_k=top_k,
            continuation=Continuation.EXACT,
            token_ids=token_ids,
            end_pieces=tuple(sorted(set(end_pieces))),
            reveal=reveal,
        )

    def capabilities(self) -> Capabilities:
        """What was given at construction; a text route goes on from exactly our bytes."""
        return self._capabilities

    def encode(self, ask: Ask) -> WireRequest:
        """The request for one `Ask`.

        Raises `InputError` for a text that ends inside a character, and `PromptError` for an empty one.
        """
        body: dict[str, object] = {
            **self._extra,
            "model": ask.model,
            "prompt": _text(ask) if ask.ids is None else self._ids(ask.ids),
            "max_tokens": ask.length,
            "temperature": ask.temperature,
            "logprobs": self._top_k(ask),
        }
        if ask.seed is not None:
            body["seed"] = ask.seed
        if ask.reveal:
            body |= self._revealing(ask.reveal)
        return WireRequest("/completions", body)

    def decode(self, body: Mapping[str, object], ask: Ask) -> Reply:
        """The positions of the first choice. Raises `ReplyError` for a body of another shape."""
        if ask.reveal:
            return read_revealed(body, ids=ask.reveal, forced=self._capabilities.reveal == "bias")
        return read_reply(body, end_pieces=self._capabilities.end_pieces, top_k=self._top_k(ask))

    def _top_k(self, ask: Ask) -> int:
        """How many alternatives the request asks for."""
        return min(ask.top_k, self._capabilities.top_k)

    def _revealing(self, ids: tuple[int, ...]) -> dict[str, object]:
        """The fields that ask for the log-probs of `ids`."""
        if self._capabilities.reveal == "ids":
            return {"logprob_token_ids": list(ids), "return_tokens_as_token_ids": True}
        if self._capabilities.reveal == "bias" and len(ids) == 1:
            return {"logit_bias": {str(ids[0]): 100}}
        raise InputError(
            f"log-probs of {len(ids)} chosen tokens were asked of an endpoint that tells none beyond its top-k",
            hint="set `reveal` for this endpoint if it can, or use tail='impute'",
        )

    def _ids(self, ids: tuple[int, ...]) -> list[int]:
        if not self._capabilities.token_ids:
            raise InputError(
                "token ids were given to an endpoint that takes text",
                hint="set token_ids for this endpoint if it accepts a list of ids as the prompt",
            )
        return list(_filled(ids))


def _text(ask: Ask) -> str:
    """Prompt and answer as one string."""
    try:
        answer = ask.answer.decode("utf-8")
    except UnicodeDecodeError as error:
        raise InputError(
            f"the answer so far is not whole UTF-8: {error.reason} at byte {error.start} of {len(ask.answer)}",
            hint="a text endpoint can only go on from whole characters; complete the character before asking",
        ) from None
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


def _refuse_ours(extra: Mapping[str, object]) -> None:
    taken = sorted(_OURS & extra.keys())
    if taken:
        raise InputError(
            f"extra_body sets {', '.join(taken)}, which the adapter sets itself",
            hint="remove it; length, top-k and model are set by the steering options",
        )
