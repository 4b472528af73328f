"""Uses litellm's SDK: chats, streams, typed output, tools, errors, raw text, Responses and Messages."""

from __future__ import annotations

import json
import os
from typing import Any

import litellm
from pydantic import BaseModel

from tests.contracts.suites.cases import Cases, equal, raised

cases = Cases()
MODEL = os.environ.get("CLIENT_MODEL", "openai/steered")
CAPITAL = [{"role": "user", "content": "What is the capital of Albania?"}]
WEATHER = [{"role": "user", "content": "What is the weather in Paris?"}]
LIMA = [{"role": "user", "content": "Where is Lima?"}]


class Place(BaseModel):
    """A city and where it is."""

    city: str
    country: str


PARAMETERS = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
FUNCTION = {"name": "get_weather", "description": "The weather in a city.", "parameters": PARAMETERS}
TOOLS = [{"type": "function", "function": FUNCTION}]


def ask(messages: list[Any], **options: Any) -> Any:  # noqa: ANN401 - of the client
    return litellm.completion(model=MODEL, messages=messages, **options)


def said(reply: Any) -> Any:  # noqa: ANN401 - of the client
    return reply.choices[0].message.content


@cases.case
def chat() -> None:
    reply = ask(CAPITAL)
    equal(said(reply), "The capital is Tirana.")
    assert reply.usage.completion_tokens > 0
    assert reply.usage.steering, "what was asked of the upstream does not arrive"


@cases.case
def stream() -> None:
    chunks = list(ask(CAPITAL, stream=True, stream_options={"include_usage": True}))
    equal("".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices), "The capital is Tirana.")
    assert chunks[-1].usage.completion_tokens > 0


@cases.case
async def awaited() -> None:
    equal(said(await litellm.acompletion(model=MODEL, messages=CAPITAL)), "The capital is Tirana.")


@cases.case
def raw_text() -> None:
    reply = litellm.text_completion(
        model=MODEL.replace("openai/", "text-completion-openai/"), prompt=CAPITAL[0]["content"]
    )
    equal(reply.choices[0].text, "The capital is Tirana.")


@cases.case
def steering_in_the_body() -> None:
    equal(said(ask(CAPITAL, extra_body={"steering": {"alpha": 0.25}})), "The capital is Tirana.")


@cases.case
def logprobs() -> None:
    reply = ask(CAPITAL, logprobs=True, top_logprobs=2)
    assert len(reply.choices[0].logprobs.content[0].top_logprobs) <= 2


@cases.case
def typed() -> None:
    for form in (Place, {"type": "json_object"}):
        equal(json.loads(said(ask(LIMA, response_format=form))), {"city": "Lima", "country": "Peru"})


@cases.case
def tools() -> None:
    called = ask(WEATHER, tools=TOOLS).choices[0]
    equal(called.finish_reason, "tool_calls")
    [call] = called.message.tool_calls
    equal((call.function.name, json.loads(call.function.arguments)), ("get_weather", {"city": "Paris"}))
    result = {"role": "tool", "tool_call_id": call.id, "content": "sun in Paris"}
    equal(said(ask([*WEATHER, called.message, result], tools=TOOLS)), "It is sunny.")


@cases.case
def a_tool_in_a_stream() -> None:
    chunks = list(ask(WEATHER, tools=TOOLS, stream=True))
    built = litellm.stream_chunk_builder(chunks, messages=WEATHER)
    [call] = built.choices[0].message.tool_calls
    equal((call.function.name, json.loads(call.function.arguments)), ("get_weather", {"city": "Paris"}))


@cases.case
def a_tool_that_must_be_called() -> None:
    for choice in ("required", {"type": "function", "function": {"name": "get_weather"}}):
        reply = ask(WEATHER, tools=TOOLS, tool_choice=choice)
        equal(reply.choices[0].message.tool_calls[0].function.name, "get_weather")


@cases.case
def several_calls() -> None:
    question = [{"role": "user", "content": "What is the weather in Paris and Rome?"}]
    calls = ask(question, tools=TOOLS, parallel_tool_calls=True).choices[0].message.tool_calls
    equal([json.loads(call.function.arguments)["city"] for call in calls], ["Paris", "Rome"])


@cases.case
def responses() -> None:
    reply = litellm.responses(model=MODEL, input=CAPITAL[0]["content"])
    equal(reply.output[0].content[0].text, "The capital is Tirana.")


@cases.case
def responses_stream() -> None:
    events = list(litellm.responses(model=MODEL, input=CAPITAL[0]["content"], stream=True))
    deltas = [event.delta for event in events if event.type == "response.output_text.delta"]
    equal("".join(deltas), "The capital is Tirana.")


@cases.case
def responses_tools() -> None:
    reply = litellm.responses(model=MODEL, input=WEATHER[0]["content"], tools=[{"type": "function", **FUNCTION}])
    [call] = [item for item in reply.output if item.type == "function_call"]
    equal((call.name, json.loads(call.arguments)), ("get_weather", {"city": "Paris"}))


@cases.case
async def messages() -> None:
    """Its bridge from Anthropic's Messages."""
    reply = await litellm.anthropic_messages(model=MODEL, messages=CAPITAL, max_tokens=64)
    equal(reply["content"][0]["text"], "The capital is Tirana.")


@cases.case
async def messages_of_the_gateway() -> None:
    """The gateway's route for Anthropic's Messages, by litellm's provider for them."""
    root = os.environ["OPENAI_BASE_URL"].removesuffix("/v1")
    reply = await litellm.acompletion(
        model="anthropic/steered", api_base=root, api_key="any", messages=WEATHER, tools=TOOLS, max_tokens=64
    )
    [call] = reply.choices[0].message.tool_calls
    equal(json.loads(call.function.arguments), {"city": "Paris"})


@cases.case
def tried_again() -> None:
    equal(said(ask([{"role": "user", "content": "Are you there?"}], num_retries=1)), "Yes.")


@cases.case
def a_model_that_is_not_there() -> None:
    error = raised(litellm.NotFoundError, lambda: litellm.completion(model="openai/absent", messages=CAPITAL))
    assert "does not exist" in str(error)


@cases.case
def a_refusal() -> None:
    error = raised(litellm.BadRequestError, lambda: ask(CAPITAL, logit_bias={"50": 1}))
    assert "logit_bias" in str(error)


cases.run()
