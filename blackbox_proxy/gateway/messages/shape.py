"""Writes replies of /messages, whole or as named events. Pure.

Both are made by one walk over the parts of the answer, so that the events of a stream come to the whole reply.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any, final

from openai.types import CompletionUsage
from pydantic_core import from_json

from blackbox_proxy.gateway.blocks import Block, BlockEvent, Blocks
from blackbox_proxy.gateway.messages.faults import messages_error
from blackbox_proxy.gateway.replies import Answers
from blackbox_proxy.openai_http.fields import Refusal
from blackbox_proxy.openai_http.frames import Chunk, Head, NamedEvent
from blackbox_proxy.openai_http.tool_reader import AnswerReader
from blackbox_proxy.openai_http.transcript import Part
from blackbox_proxy.types import Step

PING = NamedEvent("ping", '{"type": "ping"}')
"""What keeps a connection alive."""

_NOTHING = {"input_tokens": 0, "cache_creation_input_tokens": 0, "cache_read_input_tokens": 0, "output_tokens": 0}
"""What a stream counts at its beginning: its last event but one has the counts."""

_REASONS: Mapping[str, str] = {
    "stop": "end_turn",
    "length": "max_tokens",
    "content_filter": "refusal",
    "tool_calls": "tool_use",
}


@final
class GatewayMessageShape:
    """A message, and the events of a stream; of one answer.

    reader: of an answer that may call tools. stops: whether the request has stop strings; the model's own are an end
    like any other.
    """

    ping: Chunk | None = PING
    last: str | None = None

    def __init__(self, head: Head, reader: AnswerReader | None = None, *, stops: bool = False) -> None:
        self._head = head
        self._stops = stops
        self._blocks = Blocks(reader)

    def whole(self, answers: Answers, usage: CompletionUsage) -> str:
        """The one answer of the one chat that this route reads."""
        for _ in (event for part in answers[0] for event in self._blocks.take(part)):
            pass
        return _json({**self._message(map(_content, self._blocks.all), usage_in_messages(usage)), **self._ending()})

    def opening(self, index: int) -> Iterator[Chunk]:  # noqa: ARG002 (there is one)
        empty = {"stop_reason": None, "stop_sequence": None}
        yield _event("message_start", message={**self._message((), _NOTHING), **empty})

    def chunks(self, index: int, part: Part[Step]) -> Iterator[Chunk]:  # noqa: ARG002 (as `opening`)
        yield from map(_written, self._blocks.take(part))

    def closing(self, usage: CompletionUsage) -> Iterator[Chunk]:
        yield from map(_written, self._blocks.close())
        yield _event("message_delta", delta=self._ending(), usage=usage_in_messages(usage))
        yield _event("message_stop")

    def failure(self, refusal: Refusal) -> Iterator[Chunk]:
        """The answer broke off."""
        yield NamedEvent("error", _json(messages_error(refusal)))

    def _message(self, content: Iterator[object] | tuple[object, ...], usage: Mapping[str, object]) -> dict[str, Any]:
        head = {"id": self._head.id, "type": "message", "role": "assistant", "model": self._head.model}
        return {**head, "content": [*content], "usage": usage}

    def _ending(self) -> dict[str, object]:
        """Why the answer ended; the stop string is null where nobody knows which of several it was."""
        finish = self._blocks.finish or "length"
        stop = self._blocks.stop if self._stops and finish == "stop" else None
        return {
            "stop_reason": _REASONS[finish] if stop is None else "stop_sequence",
            "stop_sequence": stop or None,
        }


def usage_in_messages(usage: CompletionUsage) -> dict[str, object]:
    """The usage of a chat as this route writes it, with what was paid for under `steering`.

    Tokens that were read from a cache are counted apart from the others here.
    """
    details = usage.prompt_tokens_details
    cached = 0 if details is None else details.cached_tokens or 0
    return {
        "input_tokens": usage.prompt_tokens - cached,
        "cache_creation_input_tokens": 0,
        "cache_read_input_tokens": cached,
        "output_tokens": usage.completion_tokens,
        **(usage.model_extra or {}),
    }


def _content(block: Block) -> dict[str, object]:
    if block.is_call:
        return {"type": "tool_use", "id": block.call_id, "name": block.name, "input": _arguments(block.content)}
    return {"type": "text", "text": block.content}


def _arguments(text: str) -> object:
    """The arguments of a call; of one that was cut as far as they go."""
    try:
        value = from_json(text, allow_partial=True)
    except ValueError:
        return {}
    return value if isinstance(value, dict) else {}


def _written(event: BlockEvent) -> NamedEvent:
    block = event.block
    if event.kind == "opened":
        empty: dict[str, object] = {"input": {}} if block.is_call else {"text": ""}
        return _event("content_block_start", index=block.number, content_block={**_content(block), **empty})
    if event.kind == "closed":
        return _event("content_block_stop", index=block.number)
    delta = {"type": "text_delta", "text": event.delta}
    if block.is_call:
        delta = {"type": "input_json_delta", "partial_json": event.delta}
    return _event("content_block_delta", index=block.number, delta=delta)


def _event(name: str, **values: object) -> NamedEvent:
    return NamedEvent(name, _json({"type": name, **values}))


def _json(value: object) -> str:
    return json.dumps(value, ensure_ascii=False)
