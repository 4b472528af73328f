"""/v1/messages over bare HTTP: a chat's answers in Anthropic's shape. Anthropic's own SDK asks it in the contracts."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.gateway.serving import events_of
from tests.gateway.test_life import staged
from tests.gateway.test_waiting import HASTY, slow
from tests.standin.raw import Answer, Json, call, post
from tests.tiny_gguf import TinyModel

ASKED: Json = {
    "model": "steered",
    "messages": [{"role": "user", "content": "the then"}],
    "max_tokens": 6,
    "temperature": 0,
}
SCHEMA = {
    "type": "object",
    "properties": {"unit": {"enum": ["c", "f"]}, "days": {"type": "integer", "minimum": 0, "maximum": 9}},
    "required": ["unit", "days"],
    "additionalProperties": False,
}
TOOL = {"name": "weather", "description": "w", "input_schema": SCHEMA}


def text_of(events: Sequence[Json]) -> str:
    return "".join(event["delta"]["text"] for event in events if event["type"] == "content_block_delta")


def refused(answer: Answer) -> Json:
    """The error of a reply in Anthropic's shape."""
    assert set(answer.json) == {"type", "error"}
    assert answer.json["type"] == "error"
    assert set(answer.json["error"]) == {"type", "message"}
    assert answer.headers["request-id"] == answer.headers["x-request-id"]
    return answer.json["error"]


def test_the_answer_is_a_chats(served: str) -> None:
    reply = post(served, "/v1/messages", {**ASKED, "system": "be brief"}, anthropic_version="2023-06-01").json
    turns = [{"role": "system", "content": "be brief"}, *ASKED["messages"]]
    chat = post(served, "/v1/chat/completions", {**ASKED, "messages": turns}).json
    assert reply["content"] == [{"type": "text", "text": chat["choices"][0]["message"]["content"]}]
    assert (reply["stop_reason"], reply["stop_sequence"], reply["model"]) == ("max_tokens", None, "steered")
    usage = reply["usage"]
    assert usage["input_tokens"] + usage["cache_read_input_tokens"] == chat["usage"]["prompt_tokens"]
    assert usage["output_tokens"] == chat["usage"]["completion_tokens"]
    assert usage["cache_creation_input_tokens"] == 0
    assert usage["steering"]["requests"] >= 1
    blocks = [{"type": "text", "text": "the "}, {"type": "text", "text": "then"}]
    spelt = {
        **ASKED,
        "messages": [{"role": "user", "content": blocks}],
        "system": [{"type": "text", "text": "be brief"}],
    }
    assert post(served, "/messages/", spelt).json["content"] == reply["content"]


def test_a_stream_comes_to_the_same_answer(served: str) -> None:
    whole = post(served, "/v1/messages", ASKED).json
    events = events_of(post(served, "/v1/messages", {**ASKED, "stream": True}))
    kinds = [event["type"] for event in events]
    assert kinds[:2] == ["message_start", "content_block_start"]
    assert set(kinds[2:-3]) == {"content_block_delta"}
    assert kinds[-3:] == ["content_block_stop", "message_delta", "message_stop"]
    assert text_of(events) == whole["content"][0]["text"]
    assert events[-2]["delta"] == {"stop_reason": "max_tokens", "stop_sequence": None}
    assert events[-2]["usage"]["output_tokens"] == whole["usage"]["output_tokens"]


@pytest.mark.parametrize("stream", [False, True])
def test_the_stop_sequence_that_ended_it_is_told(served: str, *, stream: bool) -> None:
    text = post(served, "/v1/messages", ASKED).json["content"][0]["text"]
    answer = post(served, "/v1/messages", {**ASKED, "stop_sequences": ["\x00\x00", text[2:4]], "stream": stream})
    ending = events_of(answer)[-2]["delta"] if stream else answer.json
    assert (ending["stop_reason"], ending["stop_sequence"]) == ("stop_sequence", text[2:4])


def test_a_form_is_held_to(served: str) -> None:
    form = {"output_config": {"format": {"type": "json_schema", "schema": SCHEMA}}}
    reply = post(served, "/v1/messages", {**ASKED, **form, "max_tokens": 60}).json
    assert reply["stop_reason"] == "end_turn"
    assert json.loads(reply["content"][0]["text"])["unit"] in {"c", "f"}


@pytest.mark.parametrize("choice", [{"type": "any"}, {"type": "tool", "name": "weather"}])
def test_a_tool_is_called_and_its_result_read(wide: str, choice: Json) -> None:
    body = {**ASKED, "max_tokens": 120, "tools": [TOOL], "tool_choice": {**choice, "disable_parallel_tool_use": True}}
    reply = post(wide, "/v1/messages", body).json
    assert reply["stop_reason"] == "tool_use", reply
    [block] = reply["content"]
    assert (block["type"], block["name"], set(block["input"])) == ("tool_use", "weather", {"unit", "days"})
    events = events_of(post(wide, "/v1/messages", {**body, "stream": True}))
    assert events[1]["content_block"] == {"type": "tool_use", "id": events[1]["content_block"]["id"]} | {
        "name": "weather",
        "input": {},
    }
    deltas = [event["delta"] for event in events if event["type"] == "content_block_delta"]
    assert json.loads("".join(delta["partial_json"] for delta in deltas)) == block["input"]
    result = {"type": "tool_result", "tool_use_id": block["id"], "content": [{"type": "text", "text": "warm"}]}
    turns = [*ASKED["messages"], {"role": "assistant", "content": [block]}, {"role": "user", "content": [result]}]
    after = post(wide, "/v1/messages", {**ASKED, "messages": turns, "tools": [TOOL], "tool_choice": {"type": "none"}})
    assert after.json["content"][0]["type"] == "text"


def test_tokens_are_counted_where_the_upstreams_are_known(served: str) -> None:
    body = {name: ASKED[name] for name in ("model", "messages")} | {"system": "be brief"}
    usage = post(served, "/v1/messages", {**ASKED, **body}).json["usage"]
    count = post(served, "/v1/messages/count_tokens", body)
    assert count.json == {"input_tokens": usage["input_tokens"] + usage["cache_read_input_tokens"]}
    unknown = post(served, "/v1/messages/count_tokens", {**body, "model": "blind"})
    assert unknown.status == 501
    assert "tokenizer" in refused(unknown)["message"]
    assert refused(post(served, "/v1/messages/count_tokens", {"model": "steered"}))["type"] == "invalid_request_error"


@pytest.mark.parametrize(
    ("method", "path", "body", "status", "kind"),
    [
        ("POST", "/v1/messages", {**ASKED, "max_tokens": None}, 400, "invalid_request_error"),
        ("POST", "/v1/messages", {**ASKED, "thinking": {"type": "enabled"}}, 400, "invalid_request_error"),
        ("POST", "/v1/messages", {**ASKED, "model": "nobody"}, 404, "not_found_error"),
        ("POST", "/v1/messages", 3, 400, "invalid_request_error"),
        ("GET", "/v1/messages", None, 405, "invalid_request_error"),
        ("POST", "/v1/messages/batches", None, 404, "not_found_error"),
    ],
)
def test_errors_are_anthropics(served: str, method: str, path: str, body: Json, status: int, kind: str) -> None:
    answer = call(served, path, method=method, body=json.dumps(body).encode())
    assert answer.status == status
    assert refused(answer)["type"] == kind


def test_a_page_of_another_origin_is_refused_in_the_same_shape(served: str) -> None:
    answer = post(served, "/v1/messages", ASKED, origin="https://evil.example")
    assert (answer.status, refused(answer)["type"]) == (403, "permission_error")


def test_an_upstream_that_dies_ends_the_stream_with_an_error(closed: TinyModel, pair_file: Path) -> None:
    body = {**ASKED, "stream": True, "steering": {"draft": 1}}
    with staged(closed, pair_file, "faults=ok,ok,503,503") as stage:
        *events, error = events_of(post(stage.url, "/v1/messages", body))
        assert text_of(events)
        assert (error["type"], error["error"]["type"]) == ("error", "api_error")
        whole = post(stage.url, "/v1/messages", {**body, "stream": False})
    assert (whole.status, refused(whole)["type"]) == (502, "api_error")


def test_pings_come_before_a_slow_first_token(closed: TinyModel, pair_file: Path) -> None:
    body = {**ASKED, "max_tokens": 2, "stream": True, "steering": {"draft": 1}}
    with slow(closed, pair_file, "latency=0.6", server=HASTY) as (url, _):
        events = events_of(post(url, "/v1/messages", body))
    assert events[0] == {"type": "ping"}
    assert next(event["type"] for event in events if event["type"] != "ping") == "message_start"
