"""The adapter `chat`: a chat's next words, with top-k log-probs and true bytes in the chat completions shape.

Served by every chat API that returns log-probs. The route cannot be made to go on from a given text, so this is for
choosing between given answers, not for steering token by token. This module knows no network and no model.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import final

from blackbox_proxy.errors import InputError, PromptError
from blackbox_proxy.types import Ask, Capabilities, Continuation, Reply, WireRequest

from .decoders import read_chat_reply

_OURS = frozenset(
    {"model", "messages", "max_tokens", "max_completion_tokens", "temperature"}
    | {"logprobs", "top_logprobs", "stream", "n", "logit_bias"}
)


@final
class Chat:
    """Codec for POST /chat/completions, from the beginning of an answer.

    top_k: most alternatives that the endpoint gives per position (OpenAI: 20). end_pieces: how it spells the tokens
    that end an answer. length_field: what it calls the limit; reasoning models want `max_completion_tokens`.
    extra_body: fields sent with each request as they are (`reasoning_effort`, ...).
    """

    def __init__(
        self,
        *,
        top_k: int = 20,
        end_pieces: Collection[bytes] = (),
        length_field: str = "max_tokens",
        extra_body: Mapping[str, object] | None = None,
    ) -> None:
        if top_k < 1:
            raise InputError(f"top_k must be at least 1, not {top_k}", hint="choosing needs the API's alternatives")
        self.name = "chat"
        self._extra, self._length = dict(extra_body or {}), length_field
        taken = sorted(_OURS & self._extra.keys())
        if taken:
            raise InputError(f"extra_body sets {', '.join(taken)}, which the adapter sets itself", hint="remove it")
        self._capabilities = Capabilities(
            top_k=top_k,
            continuation=Continuation.NONE,
            end_pieces=tuple(sorted(set(end_pieces))),
            chat=True,
        )

    def capabilities(self) -> Capabilities:
        """It takes messages, and cannot go on from a text."""
        return self._capabilities

    def encode(self, ask: Ask) -> WireRequest:
        """The request for one `Ask`. Raises InputError where it goes on from a text, PromptError without messages."""
        if ask.answer or ask.ids is not None or ask.reveal:
            raise InputError(
                "a chat endpoint was asked to go on from a given text, which it cannot",
                hint="use an endpoint with /completions and the adapter `completions`",
            )
        if not ask.messages:
            raise PromptError("a chat endpoint was given raw text", hint="give messages, or a question")
        body: dict[str, object] = {
            **self._extra,
            "model": ask.model,
            "messages": [{"role": message.role, "content": message.content} for message in ask.messages],
            self._length: ask.length,
            "temperature": ask.temperature,
            "logprobs": True,
            "top_logprobs": min(ask.top_k, self._capabilities.top_k),
        }
        if ask.seed is not None:
            body["seed"] = ask.seed
        return WireRequest("/chat/completions", body)

    def decode(self, body: Mapping[str, object], ask: Ask) -> Reply:
        """The positions of the first choice. Raises `ReplyError` for a body of another shape."""
        return read_chat_reply(
            body, end_pieces=self._capabilities.end_pieces, top_k=min(ask.top_k, self._capabilities.top_k)
        )
