"""Tools at /chat/completions: OpenAI's SDK over HTTP, a gateway with and without a pair, a scripted upstream."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import jsonschema
import openai
import pytest
from openai.types.chat import ChatCompletionMessage

from blackbox_proxy.gateway.requests import RequestLimits, read_chat
from blackbox_proxy.openai_http.fields import Refusal
from blackbox_proxy.openai_http.tool_text import chat_prompt, written
from blackbox_proxy.openai_http.tool_turns import read_tool_turns
from blackbox_proxy.openai_http.tools import ToolCall, read_tools
from blackbox_proxy.standin import Journal, running, scenario_of
from blackbox_proxy.types import Message
from tests.gateway.nonsense import WRONG_CHAT
from tests.gateway.serving import gateway
from tests.standin.raw import Json, post
from tests.tiny_gguf import TinyModel

WEATHER = {
    "type": "object",
    "properties": {"city": {"type": "string", "maxLength": 8}, "unit": {"enum": ["C", "F"]}},
    "required": ["city"],
}
TIME = {"type": "object", "properties": {"zone": {"type": "integer", "minimum": -12, "maximum": 14}}}
TOOLS: list[Json] = [
    {"type": "function", "function": {"name": "weather", "description": "Of a city.", "parameters": WEATHER}},
    {"type": "function", "function": {"name": "time", "parameters": TIME, "strict": True}},
]
SCHEMAS = {"weather": WEATHER, "time": TIME}
PARIS, ROME = ToolCall("weather", '{"city": "Paris"}'), ToolCall("weather", '{"city": "Rome"}')
SAID = scenario_of(
    [
        {"asked": "Weather in Paris?", "said": written(PARIS)},
        {"asked": "Both?", "said": "Let me look.\n" + written(PARIS) + "\n" + written(ROME)},
        {"asked": "Bare?", "said": '{"name": "weather", "arguments": {"city": "Paris"}}'},
        {
            "asked": {"regex": "<tool_response>\nsun in Paris\n.*\n<tool_response>\nrain in Rome\n"},
            "said": "Sun and rain.",
        },
        {"asked": {"regex": "<tool_response>\nsun"}, "said": "It is sunny."},
        {"asked": "Hello!", "said": "Hello, you there!"},
        {"asked": "In JSON?", "said": '{"sky": "sun"}'},
        {"asked": {"any": True}, "said": "Nothing to say."},
    ]
)
MODELS = ("steered", "plain", "closed")
"""By tokens with a pair and without one, and by whole answers."""


@pytest.fixture(scope="module")
def scripted(tmp_path_factory: pytest.TempPathFactory, tiny_bpe: TinyModel, tiny_lora: Path) -> Iterator[str]:
    """A gateway over an upstream that says what `SAID` has, and one that writes by chance: `random`."""
    pair = tmp_path_factory.mktemp("tools") / "pair.toml"
    pair.write_text(f'model = "{tiny_bpe.path}"\nadapter = "{tiny_lora}"\ncontext = 4096\n')
    with running(SAID) as url, running(tiny_bpe.path, name="tiny", context=4096, top_k=20) as by_chance:
        entries = {
            "steered": ("said", f'pair = "{pair}"\nsteering = {{ alpha = 0.1 }}'),
            "plain": ("said", ""),
            "random": ("chance", f'pair = "{pair}"'),
            "closed": ("said", "steering = { way = 'answers' }"),
        }
        text = f'[upstreams.said]\nbase_url = "{url}"\n[upstreams.chance]\nbase_url = "{by_chance}"\n'
        for name, (upstream, more) in entries.items():
            model = "tiny" if upstream == "chance" else "any"
            text += f'[models.{name}]\nupstream = "{upstream}"\nmodel = "{model}"\ntemplate = "chatml"\n{more}\n'
        with gateway(f"[server]\nport = 0\n{text}") as served:
            yield served


@pytest.fixture(scope="module")
def sdk(scripted: str) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(
        base_url=scripted, api_key="any", max_retries=0, timeout=60, _strict_response_validation=True
    ) as made:
        yield made


def asked(question: str, **fields: Json) -> dict[str, Json]:
    return {"model": "steered", "messages": [{"role": "user", "content": question}], "tools": TOOLS, **fields}


def calls_of(message: ChatCompletionMessage) -> list[ToolCall]:
    return [
        ToolCall(call.function.name, call.function.arguments, call.id)
        for call in message.tool_calls or ()
        if call.type == "function"
    ]


def called(message: ChatCompletionMessage) -> list[tuple[str, str]]:
    return [(call.name, call.arguments) for call in calls_of(message)]


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize(
    ("question", "text", "calls", "answer"),
    [
        ("Weather in Paris?", None, [PARIS], "It is sunny."),
        ("Both?", "Let me look.", [PARIS, ROME], "Sun and rain."),
        ("Bare?", None, [PARIS], "It is sunny."),
        ("Hello!", "Hello, you there!", [], ""),
    ],
)
def test_a_call_its_result_and_the_answer_to_it(
    sdk: openai.OpenAI, model: str, question: str, text: str | None, calls: list[ToolCall], answer: str
) -> None:
    request = asked(question, model=model)
    (choice,) = sdk.chat.completions.create(**request).choices
    assert choice.finish_reason == ("tool_calls" if calls else "stop")
    assert choice.message.content == text
    assert choice.message.refusal is None
    assert called(choice.message) == [(call.name, call.arguments) for call in calls]
    with sdk.chat.completions.stream(**request) as stream:
        deltas = [event for event in stream if event.type == "tool_calls.function.arguments.delta"]
        streamed = stream.get_final_completion().choices[0]
    assert streamed.finish_reason == choice.finish_reason
    assert streamed.message.content == text
    assert called(streamed.message) == called(choice.message)
    assert len(deltas) >= 2 * len(calls)
    if not calls:
        return
    sky = {PARIS.arguments: "sun in Paris", ROME.arguments: "rain in Rome"}
    results = [
        {"role": "tool", "tool_call_id": call.id, "content": sky[call.arguments]}
        for call in reversed(calls_of(choice.message))
    ]
    history = [*request["messages"], choice.message, *results]
    second = sdk.chat.completions.create(**{**request, "messages": history}).choices[0]
    assert (second.finish_reason, second.message.content) == ("stop", answer)


def test_a_stream_of_calls_has_the_parts_that_openai_sends(scripted: str) -> None:
    events = post(scripted, "/v1/chat/completions", asked("Both?", stream=True)).events[:-1]
    choices = [json.loads(event)["choices"][0] for event in events]
    assert choices[0]["delta"] == {"role": "assistant", "content": "", "refusal": None}
    assert choices[-1] == {**choices[-1], "delta": {}, "finish_reason": "tool_calls"}
    parts = [choice["delta"]["tool_calls"][0] for choice in choices if "tool_calls" in choice["delta"]]
    begins = [part for part in parts if "id" in part]
    assert [part["index"] for part in begins] == [0, 1]
    assert all(part["type"] == "function" for part in begins)
    assert all(part["function"] == {"name": "weather", "arguments": ""} for part in begins)
    assert len({part["id"] for part in begins}) == 2
    rest = [part for part in parts if "id" not in part]
    assert all(part.keys() == {"index", "function"} and part["function"].keys() == {"arguments"} for part in rest)
    only_calls = post(scripted, "/v1/chat/completions", asked("Weather in Paris?", stream=True)).events
    assert json.loads(only_calls[0])["choices"][0]["delta"]["content"] is None


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize(
    ("choice", "parallel", "names"),
    [
        ("required", True, {"weather", "time"}),
        ("required", False, {"weather", "time"}),
        ({"type": "function", "function": {"name": "time"}}, False, {"time"}),
        (
            {
                "type": "allowed_tools",
                "allowed_tools": {
                    "mode": "required",
                    "tools": [{"type": "function", "function": {"name": "weather"}}],
                },
            },
            False,
            {"weather"},
        ),
    ],
)
def test_a_model_that_writes_by_chance_calls_as_it_must(
    sdk: openai.OpenAI, choice: Json, names: set[str], seed: int, *, parallel: bool
) -> None:
    request = asked("?", model="random", tool_choice=choice, parallel_tool_calls=parallel, seed=seed, temperature=1)
    for reply in sdk.chat.completions.create(**request, n=2, max_tokens=300).choices:
        calls = called(reply.message)
        assert reply.message.content is None
        assert {name for name, _ in calls} <= names
        assert parallel or len(calls) <= 1
        assert parallel or reply.finish_reason == "tool_calls"
        for name, written_arguments in calls if reply.finish_reason == "tool_calls" else ():
            jsonschema.validate(json.loads(written_arguments), SCHEMAS[name])


@pytest.mark.parametrize("model", MODELS)
def test_none_is_an_answer_as_if_there_were_no_tools(sdk: openai.OpenAI, model: str) -> None:
    request = asked("Hello!", model=model, tool_choice="none")
    said = sdk.chat.completions.create(**request)
    bare = sdk.chat.completions.create(model=model, messages=request["messages"])
    assert said.choices == bare.choices
    assert said.usage
    assert bare.usage
    assert said.usage.prompt_tokens == bare.usage.prompt_tokens


@pytest.mark.parametrize("question", ["In JSON?", "Weather in Paris?"])
def test_a_form_of_the_text_and_tools_go_together(sdk: openai.OpenAI, question: str) -> None:
    schema = {"type": "object", "properties": {"sky": {"enum": ["sun", "rain"]}}, "required": ["sky"]}
    form = {"type": "json_schema", "json_schema": {"name": "sky", "schema": {**schema, "additionalProperties": False}}}
    for model in MODELS:
        reply = sdk.chat.completions.create(**asked(question, model=model, response_format=form)).choices[0]
        if question == "In JSON?":
            assert (reply.finish_reason, json.loads(reply.message.content or "")) == ("stop", {"sky": "sun"})
            assert not reply.message.tool_calls
        else:
            assert (reply.finish_reason, reply.message.content) == ("tool_calls", None)


def test_a_call_that_is_cut_is_none_that_is_whole(sdk: openai.OpenAI) -> None:
    whole = sdk.chat.completions.create(**asked("Weather in Paris?"), logprobs=True).choices[0]
    assert whole.logprobs
    assert whole.logprobs.content
    for limit in range(1, len(whole.logprobs.content)):
        reply = sdk.chat.completions.create(**asked("Weather in Paris?"), max_tokens=limit).choices[0]
        assert reply.finish_reason == "length"
        assert all(PARIS.arguments.startswith(cut) for _, cut in called(reply.message))


@pytest.mark.parametrize("streamed", [False, True])
def test_log_probs_are_those_of_all_that_was_written(scripted: str, *, streamed: bool) -> None:
    reply = post(scripted, "/v1/chat/completions", asked("Both?", logprobs=True, top_logprobs=2, stream=streamed))
    chunks = [json.loads(event) for event in reply.events[:-1]] if streamed else [reply.json]
    tokens = [one for chunk in chunks for one in (chunk["choices"][0]["logprobs"] or {"content": []})["content"]]
    answer = "Let me look.\n" + written(PARIS) + "\n" + written(ROME)
    assert b"".join(bytes(one["bytes"]) for one in tokens).decode() == answer


def test_several_answers_have_ids_of_their_own(sdk: openai.OpenAI) -> None:
    reply = sdk.chat.completions.create(**asked("Both?", n=3))
    ids = [call.id for choice in reply.choices for call in choice.message.tool_calls or ()]
    assert len(ids) == len(set(ids)) == 6
    assert reply.usage
    assert reply.usage.completion_tokens > 0


FUNCTION = {"name": "f", "parameters": {"type": "object", "properties": {"a": {"type": "string"}}}}
CALL = {"id": "c1", "type": "function", "function": {"name": "weather", "arguments": "{}"}}
CALLS = {"role": "assistant", "content": None, "tool_calls": [CALL]}
RESULT = {"role": "tool", "tool_call_id": "c1", "content": "sun"}
USER = {"role": "user", "content": "Hello!"}


def declared(**function: Json) -> dict[str, Json]:
    return {"tools": [TOOLS[0], {"type": "function", "function": {**FUNCTION, **function}}]}


@pytest.mark.parametrize(
    ("change", "param", "said"),
    [
        ({"tools": 3}, "tools", "array"),
        ({"tools": [{"type": "custom", "custom": {"name": "x"}}]}, "tools[0].type", "custom"),
        ({"tools": [{"type": "function"}]}, "tools[0].function", "object"),
        ({"tools": [TOOLS[0], TOOLS[0]]}, "tools[1]", "twice"),
        ({"tools": [TOOLS[0]] * 129}, "tools", "128"),
        (declared(name="get weather"), "tools[1].function.name", "does not match"),
        (declared(description=3), "tools[1].function.description", "string"),
        (declared(strict="yes"), "tools[1].function.strict", "boolean"),
        (declared(parameters=3), "tools[1].function.parameters", "object"),
        (declared(parameters={"type": "array"}), "tools[1].function.parameters.type", "object"),
        (declared(description="x" * 200_001), "tools", "200,000"),
        (
            declared(parameters={"properties": {"a": {"items": {"type": "array", "uniqueItems": True}}}}),
            "tools[1].function.parameters",
            "/properties/a/items/uniqueItems",
        ),
        (
            declared(
                parameters={
                    "properties": {"a": {"anyOf": [{"type": "integer"}, {"type": "string", "pattern": "(?=a)"}]}}
                }
            ),
            "tools[1].function.parameters",
            "look-around",
        ),
        ({"tools": None, "tool_choice": "required"}, "tool_choice", "only allowed"),
        ({"tool_choice": "any"}, "tool_choice", "none"),
        ({"tool_choice": {"type": "function", "function": {"name": "x"}}}, "tool_choice", "none of the tools"),
        ({"tool_choice": {"type": "function"}}, "tool_choice.function", "object"),
        ({"tool_choice": {"type": "allowed_tools"}}, "tool_choice.allowed_tools", "object"),
        ({"parallel_tool_calls": 1}, "parallel_tool_calls", "boolean"),
        ({"stop": "}"}, "stop", "each call"),
        ({"guided_grammar": 'start: "x"'}, "tool_choice", "grammar"),
        ({"functions": [FUNCTION]}, "functions", "exclude each other"),
        ({"messages": [USER, CALLS]}, "messages[1].tool_calls[0].id", "no result"),
        ({"messages": [USER, CALLS, USER, RESULT]}, "messages[1].tool_calls[0].id", "no result"),
        ({"messages": [USER, RESULT]}, "messages[1].tool_call_id", "no call"),
        ({"messages": [USER, CALLS, RESULT, RESULT]}, "messages[3].tool_call_id", "no call"),
        ({"messages": [USER, CALLS, {**RESULT, "content": None}]}, "messages[2].content", "string"),
        ({"messages": [USER, {**CALLS, "tool_calls": [CALL, CALL]}]}, "messages[1].tool_calls", "same id"),
        ({"messages": [USER, {**CALLS, "tool_calls": {}}]}, "messages[1].tool_calls", "array"),
        ({"messages": [USER, {**CALLS, "tool_calls": [{**CALL, "id": ""}]}]}, "messages[1].tool_calls[0].id", "1 to"),
        (
            {"messages": [USER, {**CALLS, "tool_calls": [{**CALL, "function": {"name": "f", "arguments": {}}}]}]},
            "messages[1].tool_calls[0].function.arguments",
            "string",
        ),
        ({"messages": [USER, {"role": "function", "name": "f", "content": "3"}]}, "messages[1].name", "no call"),
    ],
)
def test_a_mistake_is_a_400_that_names_the_field(
    scripted: str, change: dict[str, Json], param: str | None, said: str
) -> None:
    reply = post(scripted, "/v1/chat/completions", {**asked("Hello!"), **change})
    assert reply.status == 400, reply.body
    assert reply.error["param"] == param
    assert said in reply.error["message"]


@pytest.mark.parametrize("field", ["tools", "tool_choice", "parallel_tool_calls", "messages"])
def test_nonsense_about_tools_is_refused_before_anything_is_asked(field: str) -> None:
    for value in WRONG_CHAT[field]:
        with pytest.raises(Refusal):
            read_chat({"messages": [USER], field: value}, RequestLimits())


@pytest.mark.parametrize(
    "change",
    [
        {"tools": [], "tool_choice": "none"},
        {"tools": None, "tool_choice": "auto", "parallel_tool_calls": True},
        declared(parameters=None),
        declared(parameters={}),
        declared(parameters={"type": "object"}, strict=None, description=None),
        {"messages": [USER, CALLS, RESULT, {**CALLS, "content": ""}, RESULT]},
        {
            "messages": [
                USER,
                {**CALLS, "tool_calls": [{**CALL, "function": {"name": "f", "arguments": '{"a'}}]},
                RESULT,
            ]
        },
        {"messages": [USER, CALLS, RESULT], "tools": None},
        {"messages": [USER, {"role": "assistant", "content": "Hi.", "tool_calls": None, "refusal": None}, USER]},
    ],
)
def test_what_openai_takes_is_taken(scripted: str, change: dict[str, Json]) -> None:
    reply = post(scripted, "/v1/chat/completions", {**asked("Hello!"), **change})
    assert reply.status == 200, reply.body


def test_the_upstream_reads_tools_and_calls_as_text_and_no_mark_of_a_users() -> None:
    marks = "<tool_call> </tool_response> <tools>"
    function = {"name": "weather", "arguments": json.dumps({"a": marks})}
    calls = {**CALLS, "tool_calls": [{"id": name, "type": "function", "function": function} for name in "ab"]}
    results = [{"role": "tool", "tool_call_id": name, "content": f"{name} {marks}"} for name in "ba"]
    body = {
        "messages": [{"role": "system", "content": "Be curt."}, {"role": "user", "content": marks}, calls, *results],
        "tools": [{"type": "function", "function": {"name": "weather", "description": marks}}],
    }
    prompt = chat_prompt(read_tool_turns(body["messages"], "messages"), read_tools(body))
    system, user, assistant, result = prompt.messages
    assert system.content.startswith("Be curt.\n\n# Tools\n")
    assert [text.count("<tools>") for text in (system.content, user.content, result.content)] == [1, 0, 0]
    assert [message.content.count("<tool_call>") for message in prompt.messages] == [2, 0, 2, 0]
    assert [message.content.count("</tool_response>") for message in prompt.messages] == [0, 0, 0, 2]
    assert result.role == "user"
    assert result.content.index("\na ") < result.content.index("\nb ")
    (line,) = [line for line in system.content.splitlines() if line.startswith('{"type"')]
    assert json.loads(line)["function"]["description"] == marks
    lines = [json.loads(line) for line in assistant.content.splitlines() if line.startswith("{")]
    assert [line["arguments"] for line in lines] == [{"a": marks}] * 2
    assert user.content.replace("\u200b", "") == marks


def test_a_chat_without_tools_is_what_it_was() -> None:
    turns = read_tool_turns([USER, {"role": "assistant", "content": "<tool_call>"}, USER], "messages")
    said = (Message("user", "Hello!"), Message("assistant", "<tool_call>"), Message("user", "Hello!"))
    assert chat_prompt(turns, None).messages == said
    assert chat_prompt(turns, read_tools({"tools": TOOLS, "tool_choice": "none"})).messages == said


def test_the_pair_and_the_upstream_are_told_of_the_tools() -> None:
    journal = Journal()
    with running(SAID, journal=journal) as url:
        text = f'[server]\nport = 0\n[upstreams.u]\nbase_url = "{url}"\n[models.m]\nupstream = "u"\nmodel = "any"\n'
        with gateway(text) as served:
            assert post(served, "/v1/chat/completions", {**asked("Hello!"), "model": "m"}).status == 200
    assert '"name": "weather"' in str(journal.requests[0].body)
