"""The frame of a chat's reply, whole and streamed, around the log-probs of its tokens, which each server writes itself.

Calls of tools stand in it as OpenAI has them.

The module is pure.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeVar, final

from openai.types.chat import ChatCompletionMessage, ChatCompletionTokenLogprob, chat_completion, chat_completion_chunk
from openai.types.chat.chat_completion_chunk import (
    ChoiceDelta,
    ChoiceDeltaFunctionCall,
    ChoiceDeltaToolCall,
    ChoiceDeltaToolCallFunction,
)
from openai.types.chat.chat_completion_message import FunctionCall
from openai.types.chat.chat_completion_message_function_tool_call import ChatCompletionMessageFunctionToolCall, Function

from blackbox_proxy.openai_http.frames import Head, to_json
from blackbox_proxy.openai_http.tool_reader import AnswerDelta, TextDelta, ToolFinish
from blackbox_proxy.openai_http.tools import ToolCall
from blackbox_proxy.openai_http.transcript import Part

T = TypeVar("T")
Content = list[ChatCompletionTokenLogprob]
"""The tokens of a part with their log-probs."""

ChatFinish = ToolFinish | Literal["function_call"]
"""Why an answer ended, as a chat's reply has it; `function_call`: as `tool_calls`, in the deprecated spelling."""

Extra = Mapping[str, Any]
"""Fields that a server adds to a choice, besides those that OpenAI has."""

NO_EXTRA: Extra = {}


@final
@dataclass(frozen=True, slots=True)
class ChatStream:
    """The chunks of a streamed chat. counted: `usage` is written in each, null up to the last."""

    head: Head
    counted: bool

    def opening(self, index: int) -> Iterator[str]:
        """The chunk that tells the role."""
        yield self.chunk(index, ChoiceDelta(role="assistant", content="", refusal=None))

    def chunks(self, index: int, part: Part[T], content: Content, *, extra: Extra = NO_EXTRA) -> Iterator[str]:
        """The text, if there is any, and then a chunk of its own that says why the answer ended."""
        if part.text or content or extra:
            yield self.chunk(index, ChoiceDelta(content=part.text), content, extra=extra)
        if part.finish:
            yield self.chunk(index, ChoiceDelta(), finish=part.finish)

    def chunk(
        self,
        index: int,
        delta: ChoiceDelta,
        content: Content | None = None,
        *,
        finish: ChatFinish | None = None,
        extra: Extra = NO_EXTRA,
    ) -> str:
        """One chunk. content: tokens with their log-probs, where there are any."""
        logprobs = chat_completion_chunk.ChoiceLogprobs(content=content, refusal=None) if content else None
        choice = chat_completion_chunk.Choice(
            index=index, delta=delta, logprobs=logprobs, finish_reason=finish, **extra
        )
        return to_json(self.head.chunk([choice], counted=self.counted))


def chat_choice(
    index: int, part: Part[T], content: Content | None, *, extra: Extra = NO_EXTRA
) -> chat_completion.Choice:
    """A whole answer. content: None where no log-probs were asked for."""
    message = ChatCompletionMessage(role="assistant", content=part.text, refusal=None)
    return choice_of(index, message, part.finish or "length", content=content, extra=extra)


def choice_of(
    index: int,
    message: ChatCompletionMessage,
    finish: ChatFinish,
    *,
    content: Content | None = None,
    extra: Extra = NO_EXTRA,
) -> chat_completion.Choice:
    """A message, and why it ended. content: as in `chat_choice`."""
    return chat_completion.Choice(
        index=index,
        message=message,
        logprobs=None if content is None else chat_completion.ChoiceLogprobs(content=content, refusal=None),
        finish_reason=finish,
        **extra,
    )


def calling_message(text: str, calls: Sequence[ToolCall], *, as_functions: bool = False) -> ChatCompletionMessage:
    """A message that calls tools.

    text: what it says besides, "" for nothing, which is written as null. as_functions: its one call is written in the
    deprecated spelling.
    """
    if as_functions:
        (call,) = calls
        function_call = FunctionCall(name=call.name, arguments=call.arguments)
        return ChatCompletionMessage(role="assistant", content=text or None, refusal=None, function_call=function_call)
    listed = [
        ChatCompletionMessageFunctionToolCall(
            id=call.id, type="function", function=Function(name=call.name, arguments=call.arguments)
        )
        for call in calls
    ]
    return ChatCompletionMessage(role="assistant", content=text or None, refusal=None, tool_calls=list(listed))


def delta_of(delta: AnswerDelta, *, as_functions: bool = False) -> ChoiceDelta:
    """A piece of an answer as a chunk has it: of a call its name first, and then its arguments.

    as_functions: as in `calling_message`.
    """
    if isinstance(delta, TextDelta):
        return ChoiceDelta(content=delta.text)
    if as_functions:
        named = {"name": delta.name} if delta.name else {}
        return ChoiceDelta(function_call=ChoiceDeltaFunctionCall(**named, arguments=delta.arguments))
    if not delta.name:
        written = ChoiceDeltaToolCallFunction(arguments=delta.arguments)
        return ChoiceDelta(tool_calls=[ChoiceDeltaToolCall(index=delta.index, function=written)])
    begun = ChoiceDeltaToolCallFunction(name=delta.name, arguments=delta.arguments)
    return ChoiceDelta(
        tool_calls=[ChoiceDeltaToolCall(index=delta.index, id=delta.id, type="function", function=begun)]
    )


def finish_of(finish: ToolFinish, *, as_functions: bool = False) -> ChatFinish:
    """Why an answer ended, in the spelling of its calls."""
    return "function_call" if as_functions and finish == "tool_calls" else finish
