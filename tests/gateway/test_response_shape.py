"""Replies of /responses: the events of a stream come to the whole reply, by the SDK's own accumulator and by ours."""

from __future__ import annotations

import json
from collections.abc import Sequence
from copy import deepcopy
from typing import Any

import pytest
from hypothesis import given
from openai import omit
from openai.lib.streaming.responses._responses import ResponseStreamState
from openai.types.responses import Response, ResponseStreamEvent
from pydantic import TypeAdapter

from blackbox_proxy.gateway.responses.shape import GatewayResponseShape
from blackbox_proxy.openai_http.fields import Refusal
from blackbox_proxy.openai_http.frames import Chunk, Head, NamedEvent
from blackbox_proxy.openai_http.responses import ResponseFrame
from blackbox_proxy.openai_http.transcript import Finish, Part
from blackbox_proxy.types import Step
from tests.gateway.written_answers import USAGE, answers, parts_of, reader
from tests.standin.raw import Json

EVENTS: TypeAdapter[Any] = TypeAdapter(ResponseStreamEvent)
FRAME = ResponseFrame(Head("resp_0a", 1, "steered"), {"store": False, "text": {"format": {"type": "text"}}})


def shape(*, tools: bool = True) -> GatewayResponseShape:
    return GatewayResponseShape(FRAME, top=0, reader=reader() if tools else None)


def whole(parts: Sequence[Part[Step]], *, tools: bool = True) -> Json:
    return json.loads(shape(tools=tools).whole([parts], USAGE))


def streamed(parts: Sequence[Part[Step]], *, tools: bool = True) -> list[Json]:
    writer = shape(tools=tools)
    chunks = [*writer.opening(0), *(chunk for part in parts for chunk in writer.chunks(0, part))]
    return read([*chunks, *writer.closing(USAGE)])


def read(chunks: Sequence[Chunk]) -> list[Json]:
    """The events, each of which the SDK's type allows; names and numbers are as they should be."""
    events = []
    for number, chunk in enumerate(chunks):
        assert isinstance(chunk, NamedEvent)
        event = json.loads(chunk.data)
        EVENTS.validate_json(chunk.data)
        assert (event["type"], event["sequence_number"]) == (chunk.name, number)
        events.append(event)
    return events


def assembled(events: Sequence[Json]) -> list[Json]:
    """The output by its events: opened, grown by deltas, and done, where it must be what the deltas came to."""
    output: list[Json] = []
    for event in deepcopy(list(events)):
        match event["type"].removeprefix("response."):
            case "output_item.added":
                assert event["output_index"] == len(output)
                output.append(event["item"])
            case "content_part.added":
                output[event["output_index"]]["content"].append(event["part"])
            case "output_text.delta":
                part = output[event["output_index"]]["content"][event["content_index"]]
                part["text"] += event["delta"]
                part["logprobs"] += event["logprobs"]
            case "output_text.done":
                part = output[event["output_index"]]["content"][event["content_index"]]
                assert (part["text"], part["logprobs"]) == (event["text"], event["logprobs"])
            case "content_part.done":
                assert output[event["output_index"]]["content"][event["content_index"]] == event["part"]
            case "function_call_arguments.delta":
                output[event["output_index"]]["arguments"] += event["delta"]
            case "function_call_arguments.done":
                assert output[event["output_index"]]["arguments"] == event["arguments"]
            case "output_item.done":
                item = output[event["output_index"]]
                item["status"] = event["item"]["status"]
                assert item == event["item"]
    return output


def by_the_sdk(events: Sequence[Json]) -> list[Json]:
    """Text and arguments of each item, as the SDK has put them together before the last event says them again."""
    state: Any = ResponseStreamState(input_tools=omit, text_format=omit)
    for event in events[:-1]:
        state.handle_event(EVENTS.validate_python(event))
    output = state._ResponseStreamState__current_snapshot.output
    return [item.arguments if item.type == "function_call" else item.content[0].text for item in output]


@given(parts=answers())
def test_a_stream_comes_to_the_whole_reply(parts: list[Part[Step]]) -> None:
    reply, events = whole(parts), streamed(parts)
    Response.model_validate(reply)
    assert events[-1]["response"] == reply
    assert assembled(events) == reply["output"]
    said = [item["arguments"] if "arguments" in item else item["content"][0]["text"] for item in reply["output"]]
    assert by_the_sdk(events) == said


@given(parts=answers())
def test_without_tools_all_is_text(parts: list[Part[Step]]) -> None:
    [item] = whole(parts, tools=False)["output"]
    text = "".join(part.text for part in parts)
    assert item["content"][0]["text"] == text
    assert "".join(one["token"] for one in item["content"][0]["logprobs"]) == text
    assert assembled(streamed(parts, tools=False)) == [item]


@given(parts=answers())
def test_log_probs_are_those_of_the_text(parts: list[Part[Step]]) -> None:
    """Of the tokens that begin in it: none of a call, and none twice."""
    for item in whole(parts)["output"]:
        if item["type"] == "message":
            tokens = "".join(one["token"] for one in item["content"][0]["logprobs"])
            assert tokens.startswith(item["content"][0]["text"])


@pytest.mark.parametrize(
    ("finish", "status", "reason"),
    [
        ("stop", "completed", None),
        ("length", "incomplete", "max_output_tokens"),
        ("content_filter", "incomplete", "content_filter"),
    ],
)
def test_a_reply_says_how_it_ended(finish: Finish, status: str, reason: str | None) -> None:
    reply = whole(parts_of(["a"], finish))
    assert (reply["status"], reply["output"][0]["status"]) == (status, status)
    assert reply["incomplete_details"] == (None if reason is None else {"reason": reason})
    assert streamed(parts_of(["a"], finish))[-1]["type"] == f"response.{status}"
    assert reply["usage"] == {
        "input_tokens": 9,
        "input_tokens_details": {"cached_tokens": 4, "cache_write_tokens": 0},
        "output_tokens": 5,
        "output_tokens_details": {"reasoning_tokens": 0},
        "total_tokens": 14,
        "steering": {"requests": 2},
    }


@pytest.mark.parametrize(
    ("status", "code"), [(502, "server_error"), (429, "rate_limit_exceeded"), (400, "invalid_prompt")]
)
@pytest.mark.parametrize("begun", [0, 1])
def test_a_stream_that_breaks_off_says_what_there_was(status: int, code: str, begun: int) -> None:
    writer = shape()
    opened = [*writer.opening(0), *writer.chunks(0, parts_of(["a"], "stop")[0])][: 99 * begun]
    if not begun:
        writer = shape()
    events = read([*opened, *writer.failure(Refusal("It is gone.", status=status))])
    assert [event["type"] for event in events][:2] == ["response.created", "response.in_progress"]
    last = events[-1]
    assert last["type"] == "response.failed"
    assert (last["response"]["status"], last["response"]["error"]) == (
        "failed",
        {"code": code, "message": "It is gone."},
    )
    assert len(last["response"]["output"]) == begun
