"""Tools at an upstream that knows tools: one call forwards them with the history, and the answer is held to them."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import openai
import pytest

from blackbox_proxy.gateway.requests import RequestLimits, read_chat
from blackbox_proxy.openai_http.tool_text import TAGGED, written
from blackbox_proxy.openai_http.tools import ToolCall
from blackbox_proxy.run.native import NativeTools
from blackbox_proxy.standin import Journal, running, scenario_of
from blackbox_proxy.steering import Steering
from blackbox_proxy.types import CalledTool, Capabilities, DrawnAnswer, Prompt
from tests.gateway.serving import gateway
from tests.standin.raw import Json
from tests.tiny_gguf import TinyModel

WEATHER: Json = {
    "type": "object",
    "properties": {"city": {"type": "string", "maxLength": 8}, "unit": {"enum": ["C", "F"]}},
    "required": ["city"],
}
TOOLS: list[Json] = [
    {"type": "function", "function": {"name": "weather", "description": "Of a city.", "parameters": WEATHER}},
    {"type": "function", "function": {"name": "time", "parameters": {"type": "object", "properties": {}}}},
]
PARIS: Json = {"name": "weather", "arguments": {"city": "Paris", "unit": "C"}}
SPELT = '{"city": "Paris", "unit": "C"}'
TEXT = written(ToolCall("weather", SPELT))
MODELS = ("plain", "unsteered", "silent", "drawn")
"""Without a pair, with one at alpha 0, without log-probs, and by whole answers."""


class Served(NamedTuple):
    """A gateway, and what was asked of its upstream."""

    sdk: openai.OpenAI
    journal: Journal

    def ask(self, question: str, **fields: Json) -> openai.types.chat.ChatCompletion:
        self.journal.clear()
        messages = [{"role": "user", "content": question}]
        request: Json = {"model": "plain", "messages": messages, "tools": TOOLS, **fields}
        reply: openai.types.chat.ChatCompletion = self.sdk.chat.completions.create(**request)
        return reply

    @property
    def bodies(self) -> list[Json]:
        return [request.body for request in self.journal.requests]


@contextmanager
def upstream(exchanges: Sequence[Json], pair: Path, *, options: str = "tools = true") -> Iterator[Served]:
    journal = Journal()
    with running(scenario_of(exchanges), journal=journal) as url:
        text = f'[server]\nport = 0\n[upstreams.u]\nbase_url = "{url}"\nadapter = "chat_prefill"\nattempts = 1\n'
        entries = {
            "plain": (options, ""),
            "unsteered": (options, f'pair = "{pair}"\nsteering = {{ alpha = 0 }}'),
            "steered": (options, f'pair = "{pair}"\nsteering = {{ alpha = 0.1 }}'),
            "silent": (f"{options}, logprobs = false", ""),
            "drawn": (options, "steering = { way = 'answers', samples = 2 }"),
        }
        for name, (said, more) in entries.items():
            text += f'[models.{name}]\nupstream = "u"\nmodel = "any"\noptions = {{ {said} }}\n{more}\n'
        with (
            gateway(text) as served,
            openai.OpenAI(base_url=served, api_key="any", max_retries=0, _strict_response_validation=True) as sdk,
        ):
            yield Served(sdk, journal)


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory, tiny_bpe: TinyModel, tiny_lora: Path) -> Path:
    file = tmp_path_factory.mktemp("native") / "pair.toml"
    file.write_text(f'model = "{tiny_bpe.path}"\nadapter = "{tiny_lora}"\ncontext = 4096\n')
    return file


@pytest.fixture(scope="module")
def served(pair: Path) -> Iterator[Served]:
    said = [
        {"asked": "Weather in Paris?", "calls": [PARIS]},
        {"asked": "Both?", "said": "Let me look.", "calls": [PARIS, {"name": "time", "arguments": {}}]},
        {"asked": "Hello!", "said": "Hello, you there!"},
        {"asked": {"any": True}, "said": TEXT},
    ]
    with upstream(said, pair) as one:
        yield one


def called(reply: openai.types.chat.ChatCompletion) -> list[tuple[str, str]]:
    calls = reply.choices[0].message.tool_calls or ()
    return [(call.function.name, call.function.arguments) for call in calls if call.type == "function"]


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize(
    ("question", "text", "calls"),
    [
        ("Weather in Paris?", None, [("weather", SPELT)]),
        ("Both?", "Let me look.", [("weather", SPELT), ("time", "{}")]),
        ("Hello!", "Hello, you there!", []),
    ],
)
def test_they_are_forwarded_in_one_call(
    served: Served, model: str, question: str, text: str | None, calls: list[tuple[str, str]]
) -> None:
    reply = served.ask(question, model=model)
    bodies = served.bodies
    assert len(bodies) == (2 if model == "drawn" else 1)
    for body in bodies:
        assert [tool["function"]["name"] for tool in body["tools"]] == ["weather", "time"]
        assert body["tools"][0] == TOOLS[0]
        assert body["messages"] == [{"role": "user", "content": question}]
        assert body["tool_choice"] == "auto"
        assert "logprobs" not in body
    (choice,) = reply.choices
    assert choice.finish_reason == ("tool_calls" if calls else "stop")
    assert choice.message.content == text
    assert called(reply) == calls
    assert len({call.id for call in choice.message.tool_calls or ()}) == len(calls)
    assert reply.usage
    assert reply.usage.completion_tokens > 0
    assert model == "drawn" or reply.usage.model_dump()["steering"]["wasted_tokens"] == 0


def test_a_stream_has_the_calls_in_deltas(served: Served) -> None:
    served.journal.clear()
    messages: Json = [{"role": "user", "content": "Both?"}]
    with served.sdk.chat.completions.stream(model="plain", messages=messages, tools=TOOLS) as stream:
        reply = stream.get_final_completion()
    assert len(served.bodies) == 1
    assert not served.bodies[0].get("stream")
    assert called(reply) == [("weather", SPELT), ("time", "{}")]
    assert reply.choices[0].finish_reason == "tool_calls"


def test_the_history_of_calls_is_forwarded_as_it_is(served: Served) -> None:
    call = {"id": "c1", "type": "function", "function": {"name": "weather", "arguments": '{"city":"Rome"}'}}
    history: Json = [
        {"role": "system", "content": "Be curt."},
        {"role": "user", "content": "Weather in Rome?"},
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "c1", "content": "rain"},
        {"role": "user", "content": "Hello!"},
    ]
    served.ask("", messages=history)
    assert served.bodies[0]["messages"] == history


@pytest.mark.parametrize(
    ("fields", "choice", "names", "parallel"),
    [
        ({"tool_choice": "required"}, "required", ["weather", "time"], None),
        (
            {"tool_choice": {"type": "function", "function": {"name": "weather"}}, "parallel_tool_calls": False},
            {"type": "function", "function": {"name": "weather"}},
            ["weather"],
            False,
        ),
        (
            {
                "tool_choice": {
                    "type": "allowed_tools",
                    "allowed_tools": {"mode": "auto", "tools": [TOOLS[0]]},
                }
            },
            "auto",
            ["weather"],
            None,
        ),
    ],
)
def test_the_choice_is_forwarded_with_the_tools_that_may_be_called(
    served: Served, fields: dict[str, Json], choice: Json, names: list[str], *, parallel: bool | None
) -> None:
    reply = served.ask("Weather in Paris?", **fields)
    (body,) = served.bodies
    assert body["tool_choice"] == choice
    assert [tool["function"]["name"] for tool in body["tools"]] == names
    assert body.get("parallel_tool_calls") == parallel
    assert called(reply) == [("weather", SPELT)]


def test_the_deprecated_spelling_is_forwarded_as_tools(served: Served) -> None:
    served.journal.clear()
    messages: Json = [{"role": "user", "content": "Weather in Paris?"}]
    functions = [tool["function"] for tool in TOOLS]
    (choice,) = served.sdk.chat.completions.create(model="plain", messages=messages, functions=functions).choices
    assert choice.finish_reason == "function_call"
    assert choice.message.function_call
    assert choice.message.function_call.arguments == SPELT
    assert served.bodies[0]["parallel_tool_calls"] is False


@pytest.mark.parametrize(
    "fields",
    [
        {"model": "steered"},
        {"logprobs": True},
        {"stop": "zzz"},
        {"presence_penalty": 1},
        {"response_format": {"type": "json_schema", "json_schema": {"name": "x", "schema": {"type": "integer"}}}},
        {"tool_choice": "none"},
    ],
)
def test_what_is_chosen_or_told_here_is_not_forwarded(served: Served, fields: dict[str, Json]) -> None:
    reply = served.ask("Something else?", **fields)
    assert served.bodies
    assert all("tools" not in body for body in served.bodies)
    if "tool_choice" not in fields:
        assert called(reply) == [("weather", SPELT)]


@pytest.mark.parametrize(
    "first",
    [
        {"calls": [{"name": "nobody", "arguments": {}}]},
        {"calls": [{"name": "weather", "arguments": {"city": 3}}]},
        {"calls": [{"name": "weather", "arguments": {"city": "Paris", "more": 1}}]},
        {"error": {"status": 400, "message": "tools are not supported by this model"}},
    ],
)
@pytest.mark.parametrize("model", ["plain", "silent"])
def test_an_answer_that_does_not_hold_to_them_is_made_anew(pair: Path, first: dict[str, Json], model: str) -> None:
    asked = "Weather in Paris?"
    exchanges = [{"asked": asked, "times": 1, **first}, {"asked": {"any": True}, "said": TEXT}]
    with upstream(exchanges, pair) as one:
        reply = one.ask(asked, model=model)
        assert len(one.bodies) >= 2
    assert called(reply) == [("weather", SPELT)]
    assert reply.choices[0].finish_reason == "tool_calls"


def test_an_upstream_that_is_not_said_to_know_tools_is_told_of_them_in_words(pair: Path) -> None:
    with upstream([{"asked": {"any": True}, "said": TEXT}], pair, options="tools = false") as one:
        reply = one.ask("Weather in Paris?")
        assert all("tools" not in body for body in one.bodies)
        assert "Of a city." in json.dumps(one.bodies[0]["messages"])
    assert called(reply) == [("weather", SPELT)]


class Able:
    """What `NativeTools.of` looks at of an endpoint."""

    model, vocabulary = "any", None

    def capabilities(self) -> Capabilities:
        return Capabilities(chat=True, tools=True)


def native(**fields: Json) -> NativeTools:
    request = read_chat({"messages": [{"role": "user", "content": "?"}], "tools": TOOLS, **fields}, RequestLimits())
    (prompt,) = request.sources
    assert isinstance(prompt, Prompt)
    found = NativeTools.of(prompt, Steering(**request.knobs), Able())  # type: ignore[arg-type]
    assert found is not None
    return found


HEAD = TAGGED.head("weather")


@pytest.mark.parametrize(
    ("fields", "text", "calls", "finish", "said"),
    [
        ({}, "", [("weather", '{"unit":"C",\n"city":"Paris"}')], "stop", TEXT),
        ({}, "So:", [("weather", SPELT)], "stop", f"So:\n{TEXT}"),
        ({}, "", [("weather", '{"city":"Pa')], "length", HEAD + '{"city":"Pa'),
        ({}, "", [("weather", SPELT), ("weather", "")], "length", f"{TEXT}\n{HEAD}"),
        ({}, "Hello", [], "length", "Hello"),
        ({}, "", [], "content_filter", ""),
        ({}, "", [], "stop", ""),
        ({}, "", [("weather", '{"city":3')], "length", None),
        ({}, "", [("nobody", "{")], "length", None),
        ({}, "", [("weather", "no JSON")], "stop", None),
        ({}, "<tool_call>", [], "stop", None),
        ({}, f'{{"name": "weather", "arguments": {SPELT}', [], "stop", None),
        ({"tool_choice": "required"}, "Hello", [], "stop", None),
        ({"tool_choice": "required"}, "So:", [("weather", SPELT)], "stop", None),
        ({"parallel_tool_calls": False}, "", [("weather", SPELT), ("time", "{}")], "stop", None),
    ],
)
def test_what_is_told_is_written_as_it_is_written_here(
    fields: dict[str, Json], text: str, calls: list[tuple[str, str]], finish: str, said: str | None
) -> None:
    drawn = DrawnAnswer(text, finish, calls=tuple(CalledTool(*call) for call in calls))
    found = native(**fields).written(drawn)
    assert (None if found is None else found.decode()) == said
