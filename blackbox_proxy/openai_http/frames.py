r"""What replies in OpenAI's shapes share: the frame around choices, and how tokens are written as strings.

A piece that is no UTF-8 text by itself is `bytes:\xe2\x80` in the legacy shape and `\xe2\x80` in a chat's, where its
bytes stand beside it. The module is pure.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

from openai.types import Completion, CompletionChoice, CompletionUsage
from openai.types.chat import ChatCompletion, ChatCompletionChunk, chat_completion, chat_completion_chunk
from openai.types.completion_choice import Logprobs
from pydantic import BaseModel

from blackbox_proxy.openai_http.transcript import Finish

FLOOR = -9999.0
"""What OpenAI writes for a probability of (nearly) nothing; JSON has no -Infinity."""


class EchoedLogprobs(Logprobs):
    """As the API sends them and its own types do not say: nothing predicts the first token of an echoed prompt."""

    token_logprobs: list[float | None] | None = None  # type: ignore[assignment]
    top_logprobs: list[dict[str, float] | None] | None = None  # type: ignore[assignment]


class OpenChoice(CompletionChoice):
    """A choice of a streamed completion: `finish_reason` is null up to the last part, whatever the type says."""

    finish_reason: Finish | None = None  # type: ignore[assignment]


Signed = TypeVar("Signed", Completion, ChatCompletion, ChatCompletionChunk)
"""A reply that may say what made it."""


@dataclass(frozen=True, slots=True)
class Head:
    """What every part of one reply repeats. created: Unix time in seconds. fingerprint: "" where none is told."""

    id: str
    created: int
    model: str
    fingerprint: str = ""

    def completion(
        self, choices: Sequence[CompletionChoice], *, usage: CompletionUsage | None = None, counted: bool = False
    ) -> Completion:
        """A `text_completion`, whole or in parts. counted: `usage` is written even where it is null."""
        reply = Completion(
            id=self.id, choices=list(choices), created=self.created, model=self.model, object="text_completion"
        )
        if usage is not None or counted:
            reply.usage = usage
        return self._signed(reply)

    def chat(self, choices: Sequence[chat_completion.Choice], usage: CompletionUsage) -> ChatCompletion:
        """A `chat.completion`."""
        reply = ChatCompletion(
            id=self.id,
            choices=list(choices),
            created=self.created,
            model=self.model,
            object="chat.completion",
            usage=usage,
        )
        return self._signed(reply)

    def chunk(
        self,
        choices: Sequence[chat_completion_chunk.Choice],
        *,
        usage: CompletionUsage | None = None,
        counted: bool = False,
    ) -> ChatCompletionChunk:
        """A `chat.completion.chunk`. counted: `usage` is written even where it is null."""
        reply = ChatCompletionChunk(
            id=self.id,
            choices=list(choices),
            created=self.created,
            model=self.model,
            object="chat.completion.chunk",
        )
        if usage is not None or counted:
            reply.usage = usage
        return self._signed(reply)

    def _signed(self, reply: Signed) -> Signed:
        """The reply with the fingerprint of what made it, where there is one."""
        if self.fingerprint:
            reply.system_fingerprint = self.fingerprint
        return reply


@dataclass(frozen=True, slots=True)
class NamedEvent:
    """An event of a stream that has a name besides its JSON."""

    name: str
    data: str


Chunk = str | NamedEvent
"""One event of a stream: its JSON, with a name where the route has names."""


def bounded(logp: float | None) -> float:
    """A log-prob as JSON can hold it; one that nobody knows is as good as none."""
    return FLOOR if logp is None else max(logp, FLOOR)


def escaped(piece: bytes, mark: str = "") -> str:
    """A piece as text, or its bytes behind `mark`."""
    try:
        return piece.decode("utf-8")
    except UnicodeDecodeError:
        return mark + "".join(f"\\x{byte:02x}" for byte in piece)


def marked(piece: bytes) -> str:
    """A piece as the legacy shape writes it."""
    return escaped(piece, "bytes:")


def to_json(reply: BaseModel) -> str:
    """A reply as it is sent."""
    return reply.model_dump_json(exclude_unset=True, by_alias=True, warnings=False)
