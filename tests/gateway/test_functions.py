"""The deprecated `functions` and `function_call`: read as tools, and answered as they were asked for."""

from __future__ import annotations

import json
from collections.abc import Iterator

import openai
import pytest

from blackbox_proxy.gateway.requests import RequestLimits, read_chat
from blackbox_proxy.openai_http.fields import Refusal
from blackbox_proxy.openai_http.tool_text import written
from blackbox_proxy.openai_http.tools import ToolCall
from blackbox_proxy.standin import Journal, running, scenario_of
from tests.gateway.nonsense import WRONG_CHAT
from tests.gateway.serving import gateway
from tests.standin.raw import Json, post

WEATHER: Json = {
    "name": "weather",
    "description": "Of a city.",
    "parameters": {
        "type": "object",
        "properties": {"city": {"type": "string", "maxLength": 8}},
        "required": ["city"],
    },
}
TIME: Json = {"name": "time"}
FUNCTIONS = [WEATHER, TIME]
TOOLS = [{"type": "function", "function": one} for one in FUNCTIONS]
PARIS = ToolCall("weather", '{"city": "Paris"}')
USER: Json = {"role": "user", "content": "Weather in Paris?"}
CALL: Json = {"name": "weather", "arguments": '{"city": "Paris"}'}
CALLED: Json = {"role": "assistant", "content": None, "function_call": CALL}
RESULT: Json = {"role": "function", "name": "weather", "content": "sun"}
SAID = scenario_of(
    [
        {"asked": "Weather in Paris?", "said": written(PARIS)},
        {"asked": "Look and tell.", "said": "Let me look.\n" + written(PARIS)},
        {"asked": {"regex": "<tool_response>\nsun"}, "said": "It is sunny."},
        {"asked": {"any": True}, "said": "Nothing to say."},
    ]
)
LIMITS = RequestLimits()


@pytest.fixture(scope="module")
def sdk() -> Iterator[openai.OpenAI]:
    with running(SAID) as url:
        text = f'[server]\nport = 0\n[upstreams.u]\nbase_url = "{url}"\n[models.m]\nupstream = "u"\nmodel = "any"\n'
        with (
            gateway(text) as served,
            openai.OpenAI(base_url=served, api_key="any", max_retries=0, _strict_response_validation=True) as made,
        ):
            yield made


@pytest.mark.parametrize(("question", "text"), [("Weather in Paris?", None), ("Look and tell.", "Let me look.")])
def test_a_call_its_result_and_the_answer_to_it(sdk: openai.OpenAI, question: str, text: str | None) -> None:
    turns: list[Json] = [{"role": "user", "content": question}]
    request: Json = {"model": "m", "messages": turns, "functions": FUNCTIONS}
    (choice,) = sdk.chat.completions.create(**request).choices
    assert choice.finish_reason == "function_call"
    assert choice.message.content == text
    assert choice.message.tool_calls is None
    assert choice.message.function_call
    assert choice.message.function_call.model_dump() == CALL
    history = [*turns, choice.message, RESULT]
    second = sdk.chat.completions.create(**{**request, "messages": history}).choices[0]
    assert (second.finish_reason, second.message.content) == ("stop", "It is sunny.")
    assert second.message.function_call is None


def test_a_stream_has_the_name_and_then_the_arguments(sdk: openai.OpenAI) -> None:
    request: Json = {"model": "m", "messages": [USER], "functions": FUNCTIONS, "function_call": {"name": "weather"}}
    chunks = [chunk.choices[0] for chunk in sdk.chat.completions.create(**request, stream=True)]
    first, named, *rest, last = chunks
    assert first.delta.model_dump(exclude_unset=True) == {"role": "assistant", "content": None, "refusal": None}
    assert named.delta.model_dump(exclude_unset=True) == {"function_call": {"name": "weather", "arguments": ""}}
    deltas = [one.delta.model_dump(exclude_unset=True) for one in rest]
    assert all(delta.keys() == {"function_call"} and delta["function_call"].keys() == {"arguments"} for delta in deltas)
    assert "".join(delta["function_call"]["arguments"] for delta in deltas) == CALL["arguments"]
    assert (last.delta.model_dump(exclude_unset=True), last.finish_reason) == ({}, "function_call")


def test_none_calls_nothing_and_a_cut_call_is_no_whole_one(sdk: openai.OpenAI) -> None:
    request: Json = {"model": "m", "messages": [USER], "functions": FUNCTIONS}
    silent = sdk.chat.completions.create(**request, function_call="none").choices[0]
    assert silent.finish_reason == "stop"
    assert silent.message.function_call is None
    cut = sdk.chat.completions.create(**request, max_tokens=3).choices[0]
    assert cut.finish_reason == "length"


@pytest.mark.parametrize(
    ("older", "newer"),
    [
        ({"functions": FUNCTIONS}, {"tools": TOOLS}),
        ({"functions": FUNCTIONS, "function_call": "auto"}, {"tools": TOOLS, "tool_choice": "auto"}),
        ({"functions": FUNCTIONS, "function_call": "none"}, {"tools": TOOLS, "tool_choice": "none"}),
        (
            {"functions": FUNCTIONS, "function_call": {"name": "time"}},
            {"tools": TOOLS, "tool_choice": {"type": "function", "function": {"name": "time"}}},
        ),
        ({"functions": [], "function_call": "none"}, {}),
        ({"functions": None, "function_call": "auto"}, {}),
    ],
)
def test_it_is_the_same_chat_as_in_the_newer_spelling(older: Json, newer: Json) -> None:
    calls = [{"id": "weather", "type": "function", "function": CALL}]
    results = {"role": "tool", "tool_call_id": "weather", "content": "sun"}
    new = [USER, {"role": "assistant", "content": None, "tool_calls": calls}, results, USER]
    first = read_chat({"messages": [USER, CALLED, RESULT, USER], **older}, LIMITS)
    second = read_chat({"messages": new, **newer, "parallel_tool_calls": False}, LIMITS)
    assert first.sources == second.sources
    assert first.knobs == second.knobs
    assert (first.tools is None) == (second.tools is None)
    assert first.tools is None or first.tools.as_functions


def test_the_upstream_is_told_of_functions_and_of_one_call_at_a_time() -> None:
    journal = Journal()
    with running(SAID, journal=journal) as url:
        text = f'[server]\nport = 0\n[upstreams.u]\nbase_url = "{url}"\n[models.m]\nupstream = "u"\nmodel = "any"\n'
        with gateway(text) as served:
            body = {"model": "m", "messages": [USER], "functions": FUNCTIONS}
            assert post(served, "/v1/chat/completions", body).status == 200
    said = json.dumps(journal.requests[0].body)
    assert "Of a city." in said
    assert "one call at a time" in said


@pytest.mark.parametrize(
    ("change", "param", "said"),
    [
        ({"functions": 3}, "functions", "array"),
        ({"functions": [3]}, "functions[0]", "object"),
        ({"functions": [{"name": "a b"}]}, "functions[0].name", "does not match"),
        ({"functions": [TIME, TIME]}, "functions[1]", "twice"),
        ({"functions": [TIME] * 129}, "functions", "128"),
        (
            {"functions": [{"name": "f", "parameters": {"properties": {"a": {"not": {}}}}}]},
            "functions[0].parameters",
            "/properties/a/not",
        ),
        ({"functions": FUNCTIONS, "function_call": "required"}, "function_call", "required"),
        ({"functions": FUNCTIONS, "function_call": 3}, "function_call", "'auto'"),
        ({"functions": FUNCTIONS, "function_call": {}}, "function_call.name", "string"),
        ({"functions": FUNCTIONS, "function_call": {"name": "nobody"}}, "function_call", "nobody"),
        ({"function_call": {"name": "weather"}}, "function_call", "'functions'"),
        ({"functions": FUNCTIONS, "tools": TOOLS}, "functions", "exclude"),
        ({"functions": FUNCTIONS, "tool_choice": "required"}, "functions", "exclude"),
        ({"function_call": {"name": "weather"}, "tools": TOOLS}, "function_call", "exclude"),
        ({"functions": FUNCTIONS, "parallel_tool_calls": 3}, "parallel_tool_calls", "boolean"),
        ({"messages": [USER, RESULT]}, "messages[1].name", "no call"),
        ({"messages": [USER, CALLED]}, "messages[1].function_call", "no result"),
        ({"messages": [USER, CALLED, USER]}, "messages[1].function_call", "no result"),
        ({"messages": [USER, CALLED, RESULT, RESULT]}, "messages[3].name", "no call"),
        ({"messages": [USER, CALLED, {**RESULT, "name": "time"}]}, "messages[2].name", "'time'"),
        ({"messages": [USER, CALLED, {**RESULT, "name": 3}]}, "messages[2].name", "string"),
        ({"messages": [USER, {**CALLED, "function_call": 3}, RESULT]}, "messages[1].function_call", "object"),
        (
            {"messages": [USER, {**CALLED, "function_call": {**CALL, "arguments": {}}}, RESULT]},
            "messages[1].function_call.arguments",
            "string",
        ),
        (
            {"messages": [USER, {**CALLED, "tool_calls": [{"id": "c"}]}, RESULT]},
            "messages[1].function_call",
            "exclude",
        ),
    ],
)
def test_a_mistake_is_refused_by_the_name_that_the_client_knows(change: Json, param: str, said: str) -> None:
    with pytest.raises(Refusal) as caught:
        read_chat({"messages": [USER], **change}, LIMITS)
    assert caught.value.param == param
    assert said in caught.value.message
    assert not any(newer in caught.value.message for newer in ("tools[", "tool_calls[", "'tool_call_id'"))


@pytest.mark.parametrize("field", ["functions", "function_call"])
def test_nonsense_is_refused_before_anything_is_asked(field: str) -> None:
    for value in WRONG_CHAT[field]:
        with pytest.raises(Refusal):
            read_chat({"messages": [USER], field: value}, LIMITS)
