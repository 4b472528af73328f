"""Writes replies of /responses, whole or as named events, from the classes of `openai.types.responses`. Pure.

Both are made by one walk over the parts of the answer, so that the events of a stream come to the whole reply.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, final, get_args

from openai.types import CompletionUsage, responses
from openai.types.responses import Response, ResponseFunctionToolCall, ResponseUsage
from openai.types.responses.response_error import ResponseError
from pydantic import BaseModel

from blackbox_proxy.gateway.blocks import Block, BlockEvent, Blocks, Tokens
from blackbox_proxy.gateway.replies import Answers, chat_logprobs
from blackbox_proxy.openai_http.fields import Refusal
from blackbox_proxy.openai_http.frames import Chunk, NamedEvent, to_json
from blackbox_proxy.openai_http.responses import (
    ItemStatus,
    OutputItem,
    ResponseFrame,
    item_status,
    output_text,
    response_usage,
    text_logprobs,
)
from blackbox_proxy.openai_http.tool_reader import AnswerReader
from blackbox_proxy.openai_http.transcript import Part
from blackbox_proxy.types import Step


@final
class GatewayResponseShape:
    """`response` objects, and the events of a stream; of one answer.

    top: log-probs to show of each token; None for none at all. reader: of an answer that may call tools.
    """

    ping: Chunk | None = None
    last: str | None = None

    def __init__(self, frame: ResponseFrame, *, top: int | None, reader: AnswerReader | None = None) -> None:
        self._frame = frame
        self._top = top
        self._blocks = Blocks(reader)
        self._sequence = 0
        self._is_open = False

    def whole(self, answers: Answers, usage: CompletionUsage) -> str:
        """The one answer of the one chat that this route reads."""
        for _ in (event for part in answers[0] for event in self._blocks.take(part)):
            pass
        for _ in self._ended():
            pass
        return to_json(self._response(usage_in_responses(usage)))

    def opening(self, index: int) -> Iterator[Chunk]:  # noqa: ARG002 (there is one)
        self._is_open = True
        for kind in (responses.ResponseCreatedEvent, responses.ResponseInProgressEvent):
            yield self._event(kind, response=self._response())

    def chunks(self, index: int, part: Part[Step]) -> Iterator[Chunk]:  # noqa: ARG002 (as `opening`)
        for event in self._blocks.take(part):
            yield from self._written(event)

    def closing(self, usage: CompletionUsage) -> Iterator[Chunk]:
        for event in self._ended():
            yield from self._written(event)
        reply = self._response(usage_in_responses(usage))
        is_whole = reply.status == "completed"
        yield self._event(
            responses.ResponseCompletedEvent if is_whole else responses.ResponseIncompleteEvent, response=reply
        )

    def failure(self, refusal: Refusal) -> Iterator[Chunk]:
        """The answer broke off: what there is of it, and why."""
        if not self._is_open:
            yield from self.opening(0)
        code = "rate_limit_exceeded" if refusal.status == 429 else "server_error"
        if refusal.status < 500 and code != "rate_limit_exceeded":
            code = "invalid_prompt"
        reply = self._response()
        reply.status, reply.error = "failed", ResponseError.model_validate({"code": code, "message": refusal.message})
        yield self._event(responses.ResponseFailedEvent, response=reply)

    def _ended(self) -> Iterator[BlockEvent]:
        """The blocks' end; an answer that says nothing has an empty text."""
        if not self._blocks.all:
            yield from self._blocks.text()
        yield from self._blocks.close()

    def _response(self, usage: ResponseUsage | None = None) -> Response:
        blocks, status = self._blocks.all, item_status(self._blocks.finish)
        output = [self._item(block, "completed") for block in blocks[:-1]]
        output += [self._item(block, status) for block in blocks[-1:]]
        return self._frame.response(output, self._blocks.finish, usage=usage)

    def _written(self, event: BlockEvent) -> Iterator[Chunk]:
        block = event.block
        write = self._call_events if block.is_call else self._text_events
        if event.kind == "opened":
            yield self._event(
                responses.ResponseOutputItemAddedEvent,
                output_index=block.number,
                item=self._item(block, "in_progress", begun=False),
            )
        yield from write(event, {"output_index": block.number, "item_id": self._id(block)})
        if event.kind == "closed":
            item = self._item(block, item_status(self._blocks.finish or "stop"))
            yield self._event(responses.ResponseOutputItemDoneEvent, output_index=block.number, item=item)

    def _text_events(self, event: BlockEvent, place: Mapping[str, Any]) -> Iterator[Chunk]:
        block, where = event.block, {**place, "content_index": 0}
        if event.kind == "opened":
            yield self._event(responses.ResponseContentPartAddedEvent, **where, part=output_text(""))
        elif event.kind == "grown":
            logprobs = [one.model_dump() for one in self._logprobs(event.tokens)]
            if event.delta or logprobs:
                yield self._event(responses.ResponseTextDeltaEvent, **where, delta=event.delta, logprobs=logprobs)
        else:
            logprobs = [one.model_dump() for one in self._logprobs(block.tokens)]
            yield self._event(responses.ResponseTextDoneEvent, **where, text=block.content, logprobs=logprobs)
            yield self._event(responses.ResponseContentPartDoneEvent, **where, part=self._part(block))

    def _call_events(self, event: BlockEvent, place: Mapping[str, Any]) -> Iterator[Chunk]:
        if event.kind == "grown":
            yield self._event(responses.ResponseFunctionCallArgumentsDeltaEvent, **place, delta=event.delta)
        elif event.kind == "closed":
            said = {"arguments": event.block.content, "name": event.block.name}
            yield self._event(responses.ResponseFunctionCallArgumentsDoneEvent, **place, **said)

    def _item(self, block: Block, status: ItemStatus, *, begun: bool = True) -> OutputItem:
        """A block as an item of the output. begun: with what it holds."""
        if not block.is_call:
            return self._frame.message(block.number, self._part(block) if begun else None, status)
        return ResponseFunctionToolCall(
            id=self._id(block),
            arguments=block.content if begun else "",
            call_id=block.call_id,
            name=block.name,
            type="function_call",
            status=status,
        )

    def _part(self, block: Block) -> responses.ResponseOutputText:
        return output_text(block.content, self._logprobs(block.tokens))

    def _logprobs(self, tokens: Tokens) -> list[Any]:
        return text_logprobs(chat_logprobs(tokens, self._top))

    def _id(self, block: Block) -> str:
        return self._frame.item_id("fc" if block.is_call else "msg", block.number)

    def _event(self, kind: type[BaseModel], **values: object) -> NamedEvent:
        """The next event, which has a number."""
        [name] = get_args(kind.model_fields["type"].annotation)
        event = kind(**values, sequence_number=self._sequence, type=name)
        self._sequence += 1
        return NamedEvent(name, to_json(event))


def usage_in_responses(usage: CompletionUsage) -> ResponseUsage:
    """The usage of a chat as this route writes it, with what was paid for under `steering`."""
    details = usage.prompt_tokens_details
    cached = 0 if details is None else details.cached_tokens or 0
    counted = response_usage(usage.prompt_tokens, usage.completion_tokens, cached=cached)
    return ResponseUsage.model_validate({**counted.model_dump(exclude_unset=True), **(usage.model_extra or {})})
