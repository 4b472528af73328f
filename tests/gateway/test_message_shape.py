"""Replies of /messages: the events of a stream come to the whole reply. By Anthropic's own accumulator: contracts."""

from __future__ import annotations

import json
from collections.abc import Sequence

import pytest
from hypothesis import given
from pydantic_core import from_json

from blackbox_proxy.gateway.messages.shape import GatewayMessageShape
from blackbox_proxy.openai_http.fields import Refusal
from blackbox_proxy.openai_http.frames import Head, NamedEvent
from blackbox_proxy.openai_http.transcript import Finish, Part
from blackbox_proxy.types import Step
from tests.gateway.written_answers import USAGE, answers, parts_of, reader
from tests.standin.raw import Json

HEAD = Head("msg_0a", 1, "steered")


def shape(*, stops: bool = False) -> GatewayMessageShape:
    return GatewayMessageShape(HEAD, reader(), stops=stops)


def whole(parts: Sequence[Part[Step]], *, stops: bool = False) -> Json:
    return json.loads(shape(stops=stops).whole([parts], USAGE))


def streamed(parts: Sequence[Part[Step]]) -> list[Json]:
    writer = shape()
    chunks = [*writer.opening(0), *(chunk for part in parts for chunk in writer.chunks(0, part))]
    events = []
    for chunk in [*chunks, *writer.closing(USAGE)]:
        assert isinstance(chunk, NamedEvent)
        events.append(json.loads(chunk.data))
        assert events[-1]["type"] == chunk.name
    return events


def assembled(events: Sequence[Json]) -> Json:
    """A message by its events, in the order that Anthropic describes: one block after another."""
    start, *middle, delta, stop = events
    assert (start["type"], delta["type"], stop) == ("message_start", "message_delta", {"type": "message_stop"})
    message, content, is_open = start["message"], [], False
    for event in middle:
        block = event["type"].removeprefix("content_block_")
        assert is_open == (block != "start")
        is_open = block != "stop"
        if block == "start":
            content.append({**event["content_block"], "json": ""})
        assert event["index"] == len(content) - 1
        if block == "delta" and event["delta"]["type"] == "text_delta":
            content[-1]["text"] += event["delta"]["text"]
        elif block == "delta":
            assert event["delta"]["type"] == "input_json_delta"
            content[-1]["json"] += event["delta"]["partial_json"]
    assert not is_open
    for one in content:
        said = one.pop("json")
        if said:
            one["input"] = from_json(said, allow_partial=True)
    return {**message, "content": content, **delta["delta"], "usage": delta["usage"]}


@given(parts=answers())
def test_a_stream_comes_to_the_whole_reply(parts: list[Part[Step]]) -> None:
    reply = whole(parts)
    assert assembled(streamed(parts)) == reply
    assert (reply["id"], reply["type"], reply["role"], reply["model"]) == ("msg_0a", "message", "assistant", "steered")
    calls = [block for block in reply["content"] if block["type"] == "tool_use"]
    if reply["stop_reason"] == "tool_use":
        assert calls
    assert [block["id"] for block in calls] == [f"c{at}" for at in range(len(calls))]


@pytest.mark.parametrize(
    ("finish", "stop", "stops", "reason"),
    [
        ("stop", None, True, "end_turn"),
        ("stop", "x", True, "stop_sequence"),
        ("stop", "", True, "stop_sequence"),
        ("stop", "x", False, "end_turn"),
        ("length", None, True, "max_tokens"),
        ("content_filter", None, True, "refusal"),
    ],
)
def test_a_reply_says_how_it_ended(finish: Finish, stop: str | None, stops: bool, reason: str) -> None:  # noqa: FBT001
    reply = whole([*parts_of(["a"], finish)[:1], Part(finish=finish, stop=stop)], stops=stops)
    assert (reply["stop_reason"], reply["stop_sequence"]) == (reason, (stop or None) if stops else None)
    assert reply["usage"] == {
        "input_tokens": 5,
        "cache_creation_input_tokens": 0,
        "cache_read_input_tokens": 4,
        "output_tokens": 5,
        "steering": {"requests": 2},
    }


@pytest.mark.parametrize(
    ("status", "kind"),
    [(400, "invalid_request_error"), (429, "rate_limit_error"), (502, "api_error"), (504, "timeout_error")],
)
def test_a_stream_that_breaks_off_says_why(status: int, kind: str) -> None:
    [event] = shape().failure(Refusal("It is gone.", status=status))
    assert isinstance(event, NamedEvent)
    assert (event.name, json.loads(event.data)) == (
        "error",
        {"type": "error", "error": {"type": kind, "message": "It is gone."}},
    )
