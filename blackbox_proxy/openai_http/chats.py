"""The frame of a chat's reply, whole and streamed, around the log-probs of its tokens, which each server writes itself.

The module is pure.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TypeVar, final

from openai.types.chat import ChatCompletionMessage, ChatCompletionTokenLogprob, chat_completion, chat_completion_chunk

from blackbox_proxy.openai_http.frames import Head, to_json
from blackbox_proxy.openai_http.transcript import Finish, Part

T = TypeVar("T")
Content = list[ChatCompletionTokenLogprob]
"""The tokens of a part with their log-probs."""


@final
@dataclass(frozen=True, slots=True)
class ChatStream:
    """The chunks of a streamed chat. counted: `usage` is written in each, null up to the last."""

    head: Head
    counted: bool

    def opening(self, index: int) -> Iterator[str]:
        """The chunk that tells the role."""
        yield self._chunk(index, chat_completion_chunk.ChoiceDelta(role="assistant", content="", refusal=None))

    def chunks(self, index: int, part: Part[T], content: Content) -> Iterator[str]:
        """The text, if there is any, and then a chunk of its own that says why the answer ended."""
        if part.text or content:
            logprobs = chat_completion_chunk.ChoiceLogprobs(content=content, refusal=None) if content else None
            yield self._chunk(index, chat_completion_chunk.ChoiceDelta(content=part.text), logprobs=logprobs)
        if part.finish:
            yield self._chunk(index, chat_completion_chunk.ChoiceDelta(), finish=part.finish)

    def _chunk(
        self,
        index: int,
        delta: chat_completion_chunk.ChoiceDelta,
        *,
        logprobs: chat_completion_chunk.ChoiceLogprobs | None = None,
        finish: Finish | None = None,
    ) -> str:
        choice = chat_completion_chunk.Choice(index=index, delta=delta, logprobs=logprobs, finish_reason=finish)
        return to_json(self.head.chunk([choice], counted=self.counted))


def chat_choice(index: int, part: Part[T], content: Content | None) -> chat_completion.Choice:
    """A whole answer. content: None where no log-probs were asked for."""
    return chat_completion.Choice(
        index=index,
        message=ChatCompletionMessage(role="assistant", content=part.text, refusal=None),
        logprobs=None if content is None else chat_completion.ChoiceLogprobs(content=content, refusal=None),
        finish_reason=part.finish or "length",
    )
