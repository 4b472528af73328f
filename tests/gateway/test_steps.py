"""`steering_steps`: who decided each token, and among what, in whole replies and in streams."""

from __future__ import annotations

import json
import math

import openai
import pytest

from blackbox_proxy.gateway.steps import shown_steps
from blackbox_proxy.types import Kind, Origin, ScoredCandidate, Step
from tests.gateway.serving import bodies
from tests.standin.raw import Json, post

BODIES = bodies(model="steered", max_tokens=6, temperature=0)
CHAT = "/v1/chat/completions"


def streamed(url: str, path: str, body: Json) -> list[Json]:
    """The choices of a stream's chunks."""
    *events, done = post(url, path, {**body, "stream": True}).events
    assert done == "[DONE]"
    return [choice for event in events for choice in json.loads(event)["choices"]]


def steps_of(parts: list[Json]) -> list[Json]:
    return [step for part in parts if "steering" in part for step in part["steering"]["steps"]]


def assert_same(some: list[Json], others: list[Json]) -> None:
    """The same tokens by the same hands; what was read beside other texts is rounded otherwise."""
    for one, other in zip(some, others, strict=True):
        assert one.keys() == other.keys()
        assert (one["bytes"], one["origin"], one["kind"]) == (other["bytes"], other["origin"], other["kind"])
        for name in ("logp_before", "logp_after", "offset"):
            assert one[name] == pytest.approx(other[name], abs=1e-2)


@pytest.mark.parametrize("path", BODIES)
def test_a_stream_has_the_steps_of_a_whole_reply_each_with_its_text(served: str, path: str) -> None:
    body = {**BODIES[path], "steering_steps": 3}
    whole = post(served, path, body).json["choices"][0]
    steps = whole["steering"]["steps"]
    parts = streamed(served, path, body)
    assert_same(steps_of(parts), steps)
    text = b"".join(bytes(step["bytes"]) for step in steps).decode("utf-8", "replace")
    assert text == (whole["message"]["content"] if path == CHAT else whole["text"])
    for step in steps:
        assert step["origin"] in {origin.value for origin in Origin}
        assert len(step["candidates"]) <= 3
        assert step["alpha"] == (None if step["origin"] == Origin.LOCAL.value else 0.5)
    scored = next(step for step in steps if step["candidates"])
    best = scored["candidates"][0]
    assert best["score"] == pytest.approx(scored["logp_after"])
    assert best["bytes"] == scored["bytes"]


@pytest.mark.parametrize("path", BODIES)
def test_who_does_not_ask_gets_none(served: str, path: str) -> None:
    assert "steering" not in post(served, path, BODIES[path]).json["choices"][0]
    assert not [part for part in streamed(served, path, BODIES[path]) if "steering" in part]


def test_without_candidates_the_steps_alone_are_shown(served: str) -> None:
    steps = post(served, CHAT, {**BODIES[CHAT], "steering_steps": 0}).json["choices"][0]["steering"]["steps"]
    assert steps
    assert not any(step["candidates"] for step in steps)


@pytest.mark.parametrize(
    ("said", "code"), [(21, "integer_above_max_value"), (-1, "integer_below_min_value"), ("3", "invalid_type")]
)
def test_what_cannot_be_is_refused_by_name(served: str, said: Json, code: str) -> None:
    refused = post(served, CHAT, {**BODIES[CHAT], "steering_steps": said})
    assert (refused.status, refused.error["param"], refused.error["code"]) == (400, "steering_steps", code)


def test_the_other_routes_refuse_it_by_name(served: str) -> None:
    response = post(served, "/v1/responses", {"model": "steered", "input": "the", "steering_steps": 1})
    assert (response.status, response.error["param"]) == (400, "steering_steps")
    message = {"model": "steered", "max_tokens": 2, "messages": [{"role": "user", "content": "the"}]}
    refused = post(served, "/v1/messages", {**message, "steering_steps": 1})
    assert refused.status == 400
    assert "steering_steps" in refused.json["error"]["message"]


def test_an_answer_that_may_call_tools_has_its_steps_too(wide: str) -> None:
    tool = {"type": "function", "function": {"name": "weather", "parameters": {"type": "object", "properties": {}}}}
    body = {**BODIES[CHAT], "tools": [tool], "tool_choice": "auto", "steering_steps": 1}
    steps = post(wide, CHAT, body).json["choices"][0]["steering"]["steps"]
    parts = streamed(wide, CHAT, body)
    assert steps
    assert_same(steps_of(parts), steps)


def test_openais_sdk_reads_replies_with_steps(client: openai.OpenAI) -> None:
    """It checks them against its own types; what it does not know is kept beside."""
    reply = client.chat.completions.create(**BODIES[CHAT], extra_body={"steering_steps": 1})
    more = reply.choices[0].model_extra
    assert more
    assert more["steering"]["steps"][0]["origin"]


def test_what_json_cannot_hold_is_bounded_and_what_nobody_knows_is_null() -> None:
    one = ScoredCandidate(b"\xff", Kind.TEXT, -math.inf, None, -math.inf, inside=False)
    step = Step(b"\xff", Kind.TEXT, b"", None, -math.inf, None, Origin.LOCAL, (one, one), alpha=None)
    (shown,) = shown_steps([step], 1)
    assert json.loads(json.dumps(shown, allow_nan=False)) == shown
    assert (shown["token"], shown["bytes"], shown["api_token"]) == ("\\xff", [255], None)
    assert (shown["logp_before"], shown["logp_after"], shown["offset"], shown["alpha"]) == (None, -9999.0, None, None)
    assert [(one["logp"], one["offset"], one["inside"]) for one in shown["candidates"]] == [(-9999.0, None, False)]
