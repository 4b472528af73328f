"""/v1/responses over HTTP through OpenAI's SDK, as it is: the same answers as a chat's, in another shape."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import openai
import pytest
from openai.types.responses import Response, ResponseFunctionToolCall, ResponseIncludable, ResponseOutputText
from pydantic import BaseModel, Field

from tests.gateway.serving import events_of
from tests.gateway.test_life import staged
from tests.standin.raw import Json, post
from tests.tiny_gguf import TinyModel

LOGPROBS: list[ResponseIncludable] = ["message.output_text.logprobs"]
ASKED: dict[str, Json] = {"model": "steered", "input": "the then", "max_output_tokens": 6, "temperature": 0}
CHAT: Json = {"model": "steered", "messages": [{"role": "user", "content": "the then"}], "max_tokens": 6}
SCHEMA = {
    "type": "object",
    "properties": {"unit": {"enum": ["c", "f"]}, "days": {"type": "integer", "minimum": 0, "maximum": 9}},
    "required": ["unit", "days"],
    "additionalProperties": False,
}
TOOL: Json = {"type": "function", "name": "weather", "description": "w", "parameters": SCHEMA, "strict": True}


class Weather(BaseModel):
    unit: str = Field(pattern="^[cf]$")
    days: int = Field(ge=0, le=9)


def said(reply: Response) -> ResponseOutputText:
    """The one text of a reply."""
    [item] = reply.output
    assert item.type == "message"
    [part] = item.content
    assert isinstance(part, ResponseOutputText)
    return part


def test_the_answer_is_a_chats(client: openai.OpenAI) -> None:
    reply = client.responses.create(**ASKED, include=LOGPROBS, top_logprobs=2)
    chat = client.chat.completions.create(**CHAT, temperature=0, logprobs=True, top_logprobs=2)
    choice = chat.choices[0]
    assert said(reply).text == reply.output_text == choice.message.content
    assert choice.logprobs
    logprobs = said(reply).logprobs
    assert logprobs
    content = choice.logprobs.content or []
    assert [(one.token, one.bytes, len(one.top_logprobs)) for one in logprobs] == [
        (one.token, one.bytes, len(one.top_logprobs)) for one in content
    ]
    assert [one.logprob for one in logprobs] == pytest.approx([one.logprob for one in content], abs=1e-3)
    assert reply.usage
    assert chat.usage
    assert (reply.usage.input_tokens, reply.usage.output_tokens) == (
        chat.usage.prompt_tokens,
        chat.usage.completion_tokens,
    )
    figures: Json = reply.usage.model_extra
    assert figures["steering"]["requests"] >= 1
    assert reply.id.startswith("resp_")
    assert reply.output[0].id


def test_a_reply_tells_its_request_again(client: openai.OpenAI) -> None:
    reply = client.responses.create(
        **ASKED, instructions="be brief", metadata={"a": "b"}, user="ann", store=False, top_p=0.5
    )
    assert (reply.instructions, reply.metadata, reply.user) == ("be brief", {"a": "b"}, "ann")
    assert (reply.temperature, reply.top_p, reply.max_output_tokens) == (0, 0.5, 6)
    assert (reply.tools, reply.tool_choice, reply.truncation) == ([], "auto", "disabled")
    assert reply.text
    assert reply.text.format
    assert reply.text.format.type == "text"
    assert (reply.status, reply.incomplete_details and reply.incomplete_details.reason) == (
        "incomplete",
        "max_output_tokens",
    )
    assert reply.previous_response_id is None
    extra: Json = reply.model_extra
    assert extra["store"] is False


def test_a_stream_has_named_events_and_ends_with_the_reply(served: str) -> None:
    whole = post(served, "/v1/responses", {**ASKED, "include": LOGPROBS}).json
    answer = post(served, "/v1/responses", {**ASKED, "include": LOGPROBS, "stream": True})
    events = events_of(answer)
    names = [event["type"].removeprefix("response.") for event in events]
    assert names[:4] == ["created", "in_progress", "output_item.added", "content_part.added"]
    assert set(names[4:-4]) == {"output_text.delta"}
    assert names[-4:] == ["output_text.done", "content_part.done", "output_item.done", "incomplete"]
    assert [event["sequence_number"] for event in events] == list(range(len(events)))
    last = events[-1]["response"]
    assert "".join(event["delta"] for event in events[4:-4]) == whole["output"][0]["content"][0]["text"]
    for reply in (last, whole):
        for key in ("id", "created_at", "usage"):
            del reply[key]
        for item in reply["output"]:
            del item["id"]
            for one in item["content"][0]["logprobs"]:
                one["logprob"] = round(one["logprob"], 2)
    assert last == whole


def test_the_sdk_reads_a_stream(client: openai.OpenAI) -> None:
    """One that ends at a stop string, since the SDK gives no final response to an incomplete one."""
    text = client.responses.create(**ASKED).output_text
    stop: Json = {"stop": text[3:5]}
    with client.responses.stream(**ASKED, extra_body=stop) as stream:
        kinds = [event.type for event in stream]
        reply = stream.get_final_response()
    assert kinds[-1] == "response.completed"
    assert (reply.output_text, reply.status) == (text[: text.index(text[3:5])], "completed")


def test_a_form_is_held_to(client: openai.OpenAI) -> None:
    reply = client.responses.parse(
        model="steered", input="the then", max_output_tokens=60, temperature=0, text_format=Weather
    )
    assert isinstance(reply.output_parsed, Weather)
    assert reply.output_text == reply.output_parsed.model_dump_json().replace(":", ": ").replace(",", ", ")
    loose = client.responses.create(
        **{**ASKED, "max_output_tokens": 30}, text={"format": {"type": "json_object"}}, extra_body={"seed": 1}
    )
    assert loose.status == "incomplete" or isinstance(json.loads(loose.output_text), dict)


def test_input_of_items_is_read_as_turns(client: openai.OpenAI) -> None:
    """A reply's own items, sent back as they came, are the assistant's turn."""
    first = client.responses.create(**ASKED)
    items: Json = [{"role": "user", "content": [{"type": "input_text", "text": "the then"}]}]
    items += [item.model_dump(exclude_unset=True) for item in first.output]
    items += [{"type": "message", "role": "user", "content": "and"}]
    reply = client.responses.create(**{**ASKED, "input": items})
    turns: Json = [
        *CHAT["messages"],
        {"role": "assistant", "content": first.output_text},
        {"role": "user", "content": "and"},
    ]
    chat = client.chat.completions.create(**{**CHAT, "messages": turns}, temperature=0)
    assert reply.output_text == chat.choices[0].message.content


@pytest.fixture(scope="module")
def agent(wide: str) -> Iterator[openai.OpenAI]:
    """A client whose models have room for tools."""
    with openai.OpenAI(base_url=wide, api_key="any", max_retries=0, _strict_response_validation=True) as made:
        yield made


CALLING: dict[str, Json] = {**ASKED, "max_output_tokens": 120, "tools": [TOOL], "parallel_tool_calls": False}


@pytest.mark.parametrize(
    "choice",
    [
        "required",
        {"type": "function", "name": "weather"},
        {"type": "allowed_tools", "mode": "required", "tools": [{"type": "function", "name": "weather"}]},
    ],
    ids=["required", "named", "allowed"],
)
def test_a_tool_is_called_and_its_result_read(agent: openai.OpenAI, choice: Json) -> None:
    reply = agent.responses.create(**CALLING, tool_choice=choice)
    [call] = reply.output
    assert isinstance(call, ResponseFunctionToolCall)
    assert (call.name, call.status, reply.status) == ("weather", "completed", "completed")
    Weather.model_validate_json(call.arguments)
    items = [{"role": "user", "content": "the then"}, call.model_dump(exclude_unset=True)]
    items.append({"type": "function_call_output", "call_id": call.call_id, "output": "warm"})
    after = agent.responses.create(**{**CALLING, "input": items, "max_output_tokens": 3, "tool_choice": "none"})
    function = {name: TOOL[name] for name in ("name", "description", "parameters", "strict")}
    turns: Json = [
        *CHAT["messages"],
        {
            "role": "assistant",
            "tool_calls": [
                {
                    "id": call.call_id,
                    "type": "function",
                    "function": {"name": call.name, "arguments": call.arguments},
                }
            ],
        },
        {"role": "tool", "tool_call_id": call.call_id, "content": "warm"},
    ]
    asked: Json = {**CHAT, "messages": turns, "max_tokens": 3, "temperature": 0, "parallel_tool_calls": False}
    asked |= {"tools": [{"type": "function", "function": function}], "tool_choice": "none"}
    chat = agent.chat.completions.create(**asked)
    assert after.output_text == chat.choices[0].message.content


def test_a_streamed_call_comes_to_the_whole_one(agent: openai.OpenAI) -> None:
    whole = agent.responses.create(**CALLING, tool_choice="required")
    with agent.responses.stream(**CALLING, tool_choice="required") as stream:
        events = list(stream)
        reply = stream.get_final_response()
    kinds = [event.type.removeprefix("response.") for event in events]
    assert kinds[:3] == ["created", "in_progress", "output_item.added"]
    assert set(kinds[3:-3]) == {"function_call_arguments.delta"}
    assert kinds[-3:] == ["function_call_arguments.done", "output_item.done", "completed"]
    [call], [other] = reply.output, whole.output
    assert isinstance(call, ResponseFunctionToolCall)
    assert isinstance(other, ResponseFunctionToolCall)
    assert (call.name, call.arguments) == (other.name, other.arguments)


def test_errors_are_openais(client: openai.OpenAI) -> None:
    with pytest.raises(openai.NotFoundError) as missing:
        client.responses.create(**{**ASKED, "model": "nobody"})
    assert missing.value.code == "model_not_found"
    with pytest.raises(openai.BadRequestError) as refused:
        client.responses.create(**ASKED, previous_response_id="resp_1")
    assert refused.value.param == "previous_response_id"
    with pytest.raises(openai.NotFoundError) as kept:
        client.responses.retrieve("resp_1")
    assert "keeps no responses" in kept.value.message


def test_an_upstream_that_dies_fails_the_response(closed: TinyModel, pair_file: Path) -> None:
    with staged(closed, pair_file, "faults=ok,ok,503") as stage:
        with openai.OpenAI(base_url=stage.url, api_key="any", max_retries=0) as client:
            events = list(client.responses.create(**{**ASKED, "stream": True}, extra_body={"steering": {"draft": 1}}))
    assert [event.type for event in events[:2]] == ["response.created", "response.in_progress"]
    last = events[-1]
    assert last.type == "response.failed"
    assert last.response.error
    assert last.response.error.code == "server_error"
    assert last.response.output_text
