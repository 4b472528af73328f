"""Uses a LiteLLM proxy before the gateway, by OpenAI's SDK: what it passes on, translates and cools down."""

from __future__ import annotations

import json
from typing import Any

import openai
from pydantic import BaseModel

from tests.contracts.suites.cases import Cases, equal, raised

cases = Cases()
client: Any = openai.OpenAI(max_retries=0)
CAPITAL: list[Any] = [{"role": "user", "content": "What is the capital of Albania?"}]
WEATHER: list[Any] = [{"role": "user", "content": "What is the weather in Paris?"}]
PARAMETERS = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
FUNCTION = {"name": "get_weather", "parameters": PARAMETERS}
TOOLS = [{"type": "function", "function": FUNCTION}]


class Place(BaseModel):
    """A city and where it is."""

    city: str
    country: str


def ask(messages: list[Any] = CAPITAL, model: str = "steered", **options: Any) -> Any:  # noqa: ANN401 - of the client
    return client.chat.completions.create(model=model, messages=messages, **options)


def said(reply: Any) -> Any:  # noqa: ANN401 - of the client
    return reply.choices[0].message.content


@cases.case
def chat() -> None:
    reply = ask()
    equal(said(reply), "The capital is Tirana.")
    assert reply.usage.completion_tokens > 0


@cases.case
def stream() -> None:
    chunks = list(ask(stream=True, stream_options={"include_usage": True}))
    equal("".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices), "The capital is Tirana.")
    assert any(chunk.usage for chunk in chunks)


@cases.case
def typed() -> None:
    reply = client.chat.completions.parse(
        model="steered", messages=[{"role": "user", "content": "Where is Lima?"}], response_format=Place
    )
    equal(reply.choices[0].message.parsed, Place(city="Lima", country="Peru"))


@cases.case
def tools() -> None:
    message = ask(WEATHER, tools=TOOLS).choices[0].message
    [call] = message.tool_calls
    equal((call.function.name, json.loads(call.function.arguments)), ("get_weather", {"city": "Paris"}))
    result = {"role": "tool", "tool_call_id": call.id, "content": "sun in Paris"}
    equal(said(ask([*WEATHER, message.model_dump(exclude_none=True), result], tools=TOOLS)), "It is sunny.")


@cases.case
def tools_in_a_stream() -> None:
    chunks = ask(WEATHER, tools=TOOLS, stream=True)
    calls = [call for chunk in chunks for choice in chunk.choices for call in choice.delta.tool_calls or []]
    equal(json.loads("".join(call.function.arguments or "" for call in calls)), {"city": "Paris"})


@cases.case
def responses() -> None:
    equal(client.responses.create(model="steered", input=CAPITAL).output_text, "The capital is Tirana.")


@cases.case
def responses_stream() -> None:
    with client.responses.stream(model="steered", input="What is the capital of Albania?") as events:
        deltas = [event.delta for event in events if event.type == "response.output_text.delta"]
    equal("".join(deltas), "The capital is Tirana.")


@cases.case
def responses_tools() -> None:
    tools = [{"type": "function", **FUNCTION, "strict": False}]
    [call] = [
        item
        for item in client.responses.create(model="steered", input=WEATHER, tools=tools).output
        if item.type == "function_call"
    ]
    equal((call.name, json.loads(call.arguments)), ("get_weather", {"city": "Paris"}))


@cases.case
def responses_typed() -> None:
    reply = client.responses.parse(model="steered", input="Where is Lima?", text_format=Place)
    equal(reply.output_parsed, Place(city="Lima", country="Peru"))


def refused(**options: Any) -> openai.APIStatusError:  # noqa: ANN401 - of the client
    return raised(openai.APIStatusError, lambda: ask(**options))


@cases.case
def a_refusal_and_the_next_chat() -> None:
    """Nobody has to wait because somebody else sent nonsense."""
    nonsense: list[dict[str, Any]] = [{"logit_bias": {"50": 1}}, {"top_logprobs": 5}, {"n": 1000}]
    for options in nonsense:
        error = refused(**options)
        equal(error.status_code, 400)
        assert next(iter(options)) in str(error), error
        equal(said(ask()), "The capital is Tirana.")


@cases.case
def a_model_that_is_not_there_and_the_next_chat() -> None:
    """The proxy has a deployment of it, the gateway has not."""
    equal(refused(model="absent").status_code, 404)
    equal(said(ask()), "The capital is Tirana.")


def embedded_then_asked(model: str) -> None:
    error = raised(openai.APIStatusError, lambda: client.embeddings.create(model=model, input="A text."))
    equal(error.status_code, 404)
    equal(said(ask(model=model)), "The capital is Tirana.")


@cases.case
def a_route_that_is_not_there_and_the_next_chat() -> None:
    """The deployment is one that may fail some times."""
    embedded_then_asked("lenient")


@cases.case
def a_route_that_is_not_there_by_default() -> None:
    embedded_then_asked("steered")


cases.run()
