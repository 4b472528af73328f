"""Writes replies of chats that may call tools: what `AnswerReader` reads of an answer, in OpenAI's shapes.

The log-probs of such an answer are those of all its tokens, as they were written: of calls too, with the marks around
them. In a stream they come with the first chunk that follows their tokens. Pure but for the ids of calls, which are
drawn.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import final

from openai.types import CompletionUsage
from openai.types.chat import ChatCompletionMessage, chat_completion
from openai.types.chat.chat_completion_chunk import ChoiceDelta

from blackbox_proxy.gateway.replies import Answers, GatewayMode, OlderStream, chat_logprobs
from blackbox_proxy.openai_http.chats import ChatFinish, ChatStream, calling_message, choice_of, delta_of, finish_of
from blackbox_proxy.openai_http.frames import Head, to_json
from blackbox_proxy.openai_http.tool_reader import AnswerReader, TextDelta, joined_calls
from blackbox_proxy.openai_http.tools import ToolSet
from blackbox_proxy.openai_http.transcript import Part, Placed, joined
from blackbox_proxy.types import Step


def call_id() -> str:
    """An id for a call, as OpenAI's look."""
    return f"call_{secrets.token_hex(12)}"


@dataclass(slots=True)
class _OpenChoice:
    """One choice of a stream. waiting: tokens that no chunk has had yet."""

    reader: AnswerReader
    opened: bool = False
    waiting: list[Placed[Step]] = field(default_factory=list)


@final
@dataclass(frozen=True, slots=True)
class ToolChatShape(OlderStream):
    """`chat.completion` objects, and chunks of them, whose answers may call tools (`replies.GatewayShape`)."""

    head: Head
    mode: GatewayMode
    tools: ToolSet
    new_id: Callable[[], str] = call_id
    _choices: dict[int, _OpenChoice] = field(default_factory=dict)

    def whole(self, answers: Answers, usage: CompletionUsage) -> str:
        choices = [self._choice(index, joined(parts)) for index, parts in enumerate(answers)]
        return to_json(self.head.chat(choices, usage))

    def opening(self, index: int) -> Iterator[str]:
        """Nothing yet: whether there is text is told with the role."""
        self._choices[index] = _OpenChoice(self._reader())
        yield from ()

    def chunks(self, index: int, part: Part[Step]) -> Iterator[str]:
        choice = self._choices[index]
        choice.waiting += part.tokens
        deltas, finish = list(choice.reader.take(part.text)), None
        if part.finish:
            last, finish = choice.reader.close(part.finish)
            deltas += last
        if not choice.opened and (deltas or finish):
            choice.opened = True
            begins_with_text = not deltas or isinstance(deltas[0], TextDelta)
            opening = ChoiceDelta(role="assistant", content="" if begins_with_text else None, refusal=None)
            yield self._stream.chunk(index, opening)
        for delta in deltas:
            yield self._chunk(index, choice, delta_of(delta, as_functions=self.tools.as_functions))
        if finish:
            said = finish_of(finish, as_functions=self.tools.as_functions)
            yield self._chunk(index, choice, ChoiceDelta(), finish=said)

    def closing(self, usage: CompletionUsage) -> Iterator[str]:
        if self.mode.usage:
            yield to_json(self.head.chunk([], usage=usage))

    @property
    def _stream(self) -> ChatStream:
        return ChatStream(self.head, self.mode.usage)

    def _reader(self) -> AnswerReader:
        return AnswerReader(self.new_id, self.tools)

    def _chunk(self, index: int, choice: _OpenChoice, delta: ChoiceDelta, *, finish: ChatFinish | None = None) -> str:
        """A chunk with all tokens that no chunk has had yet."""
        tokens, choice.waiting = choice.waiting, []
        content = chat_logprobs(tokens, self.mode.top)
        return self._stream.chunk(index, delta, content, finish=finish, extra=self.mode.more_of(tokens))

    def _choice(self, index: int, part: Part[Step]) -> chat_completion.Choice:
        reader = self._reader()
        deltas = reader.take(part.text)
        last, finish = reader.close(part.finish or "length")
        text, calls = joined_calls([*deltas, *last])
        message = (
            calling_message(text, calls, as_functions=self.tools.as_functions)
            if calls
            else ChatCompletionMessage(role="assistant", content=text, refusal=None)
        )
        content = None if self.mode.top is None else chat_logprobs(part.tokens, self.mode.top)
        said = finish_of(finish, as_functions=self.tools.as_functions)
        return choice_of(index, message, said, content=content, extra=self.mode.more_of(part.tokens))
