"""Whole answers at the gateway: by the model's steering or the request's, streamed or not."""

from __future__ import annotations

import json

import pytest

from tests.standin.raw import post

ASKED = {
    "model": "steered",
    "messages": [{"role": "user", "content": "the then"}],
    "max_tokens": 6,
    "temperature": 0.9,
    "seed": 4,
    "steering": {"way": "answers", "samples": 4},
}


def test_a_chat_is_answered_by_one_of_several_and_the_bill_has_them_all(served: str) -> None:
    reply = post(served, "/v1/chat/completions", ASKED)
    assert reply.status == 200, reply.body
    usage = reply.json["usage"]
    assert usage["steering"]["requests"] == 4
    assert usage["completion_tokens"] + usage["steering"]["wasted_tokens"] == usage["steering"]["completion_tokens"]
    assert not usage["steering"]["exact"]


def test_a_stream_has_the_same_answer(served: str) -> None:
    whole = post(served, "/v1/chat/completions", ASKED).json["choices"][0]
    lines = post(served, "/v1/chat/completions", {**ASKED, "stream": True}).events
    assert lines[-1] == "[DONE]"
    chunks = [json.loads(line) for line in lines[:-1]]
    text = "".join(chunk["choices"][0]["delta"].get("content") or "" for chunk in chunks if chunk["choices"])
    assert text == whole["message"]["content"]
    assert [chunk["choices"][0]["finish_reason"] for chunk in chunks if chunk["choices"]][-1] == whole["finish_reason"]


def test_chunks_are_answered_and_billed_too(served: str) -> None:
    knobs = {"way": "chunks", "beams": 2, "samples": 2, "chunk": 4}
    reply = post(served, "/v1/chat/completions", {**ASKED, "steering": knobs})
    assert reply.status == 200, reply.body
    usage = reply.json["usage"]
    assert usage["steering"]["requests"] >= 4
    assert usage["completion_tokens"] <= 6
    assert usage["completion_tokens"] + usage["steering"]["wasted_tokens"] == usage["steering"]["completion_tokens"]


@pytest.mark.parametrize(
    ("knob", "value"), [("way", "some"), ("beams", 5), ("chunk", 3), ("samples", 17), ("samples", 0), ("pick", "worst")]
)
def test_bad_values_are_told_by_their_names(served: str, knob: str, value: object) -> None:
    reply = post(served, "/v1/chat/completions", {**ASKED, "steering": {knob: value}})
    assert reply.status == 400
    assert knob in reply.body.decode()
