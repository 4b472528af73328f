"""Writes replies that call tools, whole and streamed, in the shape of a chat. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import final

from openai.types.chat.chat_completion_chunk import Choice, ChoiceDelta

from blackbox_proxy.openai_http.chats import calling_message, choice_of, delta_of
from blackbox_proxy.openai_http.frames import Head, to_json
from blackbox_proxy.openai_http.tool_reader import CallDelta
from blackbox_proxy.openai_http.tools import ToolCall
from blackbox_proxy.standin.replies import Count
from blackbox_proxy.standin.scenarios.answers import tokens_of


@final
@dataclass(frozen=True, slots=True)
class CallsReply:
    """A reply that calls tools. calls: each with an id; text: what is said besides; prompt: tokens that were read."""

    head: Head
    calls: Sequence[ToolCall]
    text: str
    prompt: int

    @property
    def count(self) -> Count:
        """What the reply took: a token for each word, as everywhere in a scenario."""
        said = (self.text, *(part for call in self.calls for part in (call.name, call.arguments)))
        return Count(prompt=self.prompt, completion=sum(len(tokens_of(text)) for text in said), cached=0)

    def whole(self) -> bytes:
        """A `chat.completion`."""
        message = calling_message(self.text, self.calls)
        choice = choice_of(0, message, "tool_calls")
        return to_json(self.head.chat([choice], self.count.usage())).encode()

    def chunks(self, *, usage: bool) -> Iterator[str]:
        """`chat.completion.chunk`s: each call's name, and then its arguments. usage: whether a last one counts."""
        deltas = [ChoiceDelta(role="assistant", content=self.text or None, refusal=None)]
        for index, call in enumerate(self.calls):
            parts = CallDelta(index, name=call.name, id=call.id), CallDelta(index, call.arguments)
            deltas += map(delta_of, parts)
        for delta in deltas:
            yield to_json(self.head.chunk([Choice(index=0, delta=delta, finish_reason=None)], counted=usage))
        last = Choice(index=0, delta=ChoiceDelta(), finish_reason="tool_calls")
        yield to_json(self.head.chunk([last], counted=usage))
        if usage:
            yield to_json(self.head.chunk([], usage=self.count.usage()))
