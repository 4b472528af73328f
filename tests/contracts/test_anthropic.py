"""/v1/messages through Anthropic's SDK, as it is: answers, streams, forms, tools, errors; by its own accumulator."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator, Sequence
from typing import Any, Literal

import anthropic
import pytest
from anthropic.lib.streaming._messages import accumulate_event
from anthropic.types import Message, RawMessageStreamEvent
from hypothesis import given
from pydantic import BaseModel, TypeAdapter

from blackbox_proxy.gateway.messages.shape import GatewayMessageShape
from blackbox_proxy.openai_http.frames import Head, NamedEvent
from blackbox_proxy.openai_http.transcript import Part
from blackbox_proxy.types import Step
from tests.gateway.conftest import closed, wide
from tests.gateway.written_answers import USAGE, answers, reader
from tests.standin.raw import Json

__all__ = ["closed", "wide"]  # fixtures: the tiny models of the gateway's tests

pytestmark = pytest.mark.slow

EVENTS: TypeAdapter[Any] = TypeAdapter(RawMessageStreamEvent)
ASKED: Json = {
    "model": "steered",
    "messages": [{"role": "user", "content": "the then"}],
    "max_tokens": 8,
    "extra_body": {"temperature": 0},
}
SCHEMA = {
    "type": "object",
    "properties": {"unit": {"enum": ["c", "f"]}, "days": {"type": "integer", "minimum": 0, "maximum": 9}},
    "required": ["unit", "days"],
    "additionalProperties": False,
}
TOOLS: Json = {
    "max_tokens": 120,
    "tools": [{"name": "weather", "description": "w", "input_schema": SCHEMA}],
    "tool_choice": {"type": "any", "disable_parallel_tool_use": True},
}


def shape() -> GatewayMessageShape:
    return GatewayMessageShape(Head("msg_0a", 1, "steered"), reader())


@given(parts=answers())
def test_a_stream_comes_to_the_whole_reply(parts: Sequence[Part[Step]]) -> None:
    """What a stream does not repeat is the figures of the steering: the SDK's message keeps no unknown counts."""
    whole = json.loads(shape().whole([parts], USAGE))
    del whole["usage"]["steering"]
    writer, buffers = shape(), dict[int, bytes]()
    snapshot: Json = None
    chunks = [*writer.opening(0), *(chunk for part in parts for chunk in writer.chunks(0, part))]
    for chunk in [*chunks, *writer.closing(USAGE)]:
        assert isinstance(chunk, NamedEvent)
        event = EVENTS.validate_json(chunk.data)
        snapshot = accumulate_event(event=event, current_snapshot=snapshot, json_bufs=buffers)
    assert Message.model_validate(whole).model_dump() == Message.model_validate(snapshot.model_dump()).model_dump()


@pytest.fixture(scope="module")
def client(wide: str) -> Iterator[Json]:
    with anthropic.Anthropic(base_url=wide.removesuffix("/v1"), api_key="any", max_retries=0) as made:
        yield made


def test_an_answer_and_its_stream(client: Json) -> None:
    whole = client.messages.create(**ASKED, system="be brief")
    with client.messages.stream(**ASKED, system="be brief") as stream:
        text = "".join(stream.text_stream)
        message = stream.get_final_message()
    assert text == whole.content[0].text == message.content[0].text
    assert whole.stop_reason == message.stop_reason == "max_tokens"
    assert whole.usage.output_tokens == message.usage.output_tokens
    assert whole.usage.steering["requests"] >= 1
    assert whole._request_id.startswith("req_")
    count = client.messages.count_tokens(model="steered", messages=ASKED["messages"], system="be brief")
    assert count.input_tokens == whole.usage.input_tokens + whole.usage.cache_read_input_tokens


class Weather(BaseModel):
    """Without bounds: the SDK leaves them out of the schema that it sends."""

    unit: Literal["c", "f"]
    days: Literal[1, 2, 3]


def test_a_form(client: Json) -> None:
    parsed = client.messages.parse(**{**ASKED, "max_tokens": 60}, output_format=Weather).parsed_output
    assert isinstance(parsed, Weather)


def test_a_tool_and_its_result(client: Json) -> None:
    whole = client.messages.create(**{**ASKED, **TOOLS})
    with client.messages.stream(**{**ASKED, **TOOLS}) as stream:
        message = stream.get_final_message()
    [call], [streamed] = whole.content, message.content
    assert (call.type, call.name, whole.stop_reason, message.stop_reason) == (
        "tool_use",
        "weather",
        "tool_use",
        "tool_use",
    )
    assert call.input == streamed.input
    assert set(call.input) == {"unit", "days"}
    result = {"type": "tool_result", "tool_use_id": call.id, "content": "warm"}
    turns = [*ASKED["messages"], whole.to_param(), {"role": "user", "content": [result]}]
    after = client.messages.create(
        **{**ASKED, "messages": turns, "tools": TOOLS["tools"], "tool_choice": {"type": "none"}}
    )
    assert after.content[0].text


def test_a_loop_of_tools_runs_by_itself(client: Json) -> None:
    """The SDK's own: it asks for a thread, goes on without one, calls, gives the result, and asks again."""
    ran: list[str] = []

    @anthropic.beta_tool  # type: ignore[untyped-decorator]
    def weather(unit: Literal["c", "f"]) -> str:
        """The weather."""
        ran.append(unit)
        return "warm"

    runner = client.beta.messages.tool_runner(
        **{**ASKED, "max_tokens": 200}, tools=[weather], tool_choice={"type": "any"}, max_iterations=2
    )
    reasons = [message.stop_reason for message in runner]
    assert reasons == ["tool_use", "tool_use"]
    assert len(ran) >= 2


def test_errors_have_their_classes(client: Json) -> None:
    with pytest.raises(anthropic.NotFoundError):
        client.messages.create(**{**ASKED, "model": "nobody"})
    with pytest.raises(anthropic.BadRequestError, match="'thinking'"):
        client.messages.create(**{**ASKED, "max_tokens": 2000}, thinking={"type": "enabled", "budget_tokens": 1024})


def test_many_at_once(wide: str) -> None:
    async def asked() -> list[str]:
        async with anthropic.AsyncAnthropic(base_url=wide.removesuffix("/v1"), api_key="any", max_retries=0) as made:
            replies = await asyncio.gather(*(made.messages.create(**ASKED) for _ in range(4)))
        return [reply.content[0].text for reply in replies]

    assert len(set(asyncio.run(asked()))) == 1
