"""Uses langchain-openai: chats, streams, typed output by its three methods, tools, errors, Responses."""

from __future__ import annotations

from typing import Any

import openai
from langchain_core.messages import HumanMessage, ToolMessage
from langchain_core.tools import tool
from langchain_openai import ChatOpenAI
from pydantic import BaseModel

from tests.contracts.suites.cases import Cases, equal, raised

cases = Cases()
model: Any = ChatOpenAI(model="steered", max_retries=1)
responses: Any = ChatOpenAI(model="steered", max_retries=1, use_responses_api=True)
CAPITAL = "What is the capital of Albania?"
WEATHER = HumanMessage("What is the weather in Paris?")


class Place(BaseModel):
    """A city and where it is."""

    city: str
    country: str


LIMA = Place(city="Lima", country="Peru")


@tool
def get_weather(city: str) -> str:
    """The weather in a city."""
    return f"sun in {city}"


@cases.case
def chat() -> None:
    answer = model.invoke(CAPITAL)
    equal(answer.content, "The capital is Tirana.")
    assert answer.usage_metadata["output_tokens"] > 0


@cases.case
def stream() -> None:
    chunks = list(model.stream(CAPITAL, stream_usage=True))
    equal("".join(chunk.content for chunk in chunks), "The capital is Tirana.")
    assert sum(chunk.usage_metadata is not None for chunk in chunks) == 1


@cases.case
async def awaited() -> None:
    equal((await model.ainvoke(CAPITAL)).content, "The capital is Tirana.")


@cases.case
def batch() -> None:
    equal([answer.content for answer in model.batch([CAPITAL] * 3)], ["The capital is Tirana."] * 3)


@cases.case
def several_answers_with_logprobs() -> None:
    [answers] = model.bind(n=2, logprobs=True, top_logprobs=2).generate([[HumanMessage(CAPITAL)]], n=2).generations
    equal([answer.text for answer in answers], ["The capital is Tirana."] * 2)


@cases.case
def steering_in_the_body() -> None:
    steered = ChatOpenAI(model="steered", extra_body={"steering": {"alpha": 0.25}})
    equal(steered.invoke(CAPITAL).content, "The capital is Tirana.")


def typed(method: str) -> None:
    equal(model.with_structured_output(Place, method=method).invoke("Where is Lima?"), LIMA)


@cases.case
def typed_by_json_schema() -> None:
    typed("json_schema")


@cases.case
def typed_by_function_calling() -> None:
    typed("function_calling")


@cases.case
def typed_by_json_mode() -> None:
    typed("json_mode")


@cases.case
def typed_strictly_by_a_dictionary() -> None:
    schema = {**Place.model_json_schema(), "additionalProperties": False}
    bound = model.with_structured_output(schema, method="json_schema", strict=True)
    equal(bound.invoke("Where is Lima?"), LIMA.model_dump())


@cases.case
def typed_in_a_stream() -> None:
    *_, last = model.with_structured_output(Place, method="json_schema").stream("Where is Lima?")
    equal(last, LIMA)


def turn(bound: Any) -> str:  # noqa: ANN401 - no client's type is known here
    """A call, its result, and what is said then."""
    called = bound.invoke([WEATHER])
    [call] = called.tool_calls
    equal((call["name"], call["args"]), ("get_weather", {"city": "Paris"}))
    result = ToolMessage(get_weather.invoke(call["args"]), tool_call_id=call["id"])
    return str(bound.invoke([WEATHER, called, result]).text)


@cases.case
def tools() -> None:
    equal(turn(model.bind_tools([get_weather])), "It is sunny.")


@cases.case
def a_tool_in_a_stream() -> None:
    first, *others = model.bind_tools([get_weather]).stream([WEATHER])
    for chunk in others:
        first += chunk
    [call] = first.tool_calls
    equal((call["name"], call["args"]), ("get_weather", {"city": "Paris"}))


@cases.case
def a_tool_that_must_be_called() -> None:
    for choice in ("any", "get_weather"):
        [call] = model.bind_tools([get_weather], tool_choice=choice, strict=True).invoke([WEATHER]).tool_calls
        equal(call["args"], {"city": "Paris"})


@cases.case
def no_tool() -> None:
    answer = model.bind_tools([get_weather], tool_choice="none").invoke(CAPITAL)
    equal((answer.content, answer.tool_calls), ("The capital is Tirana.", []))


@cases.case
def several_calls() -> None:
    question = [HumanMessage("What is the weather in Paris and Rome?")]
    called = model.bind_tools([get_weather]).invoke(question)
    equal([call["args"]["city"] for call in called.tool_calls], ["Paris", "Rome"])
    results = [ToolMessage(get_weather.invoke(one["args"]), tool_call_id=one["id"]) for one in called.tool_calls]
    equal(model.bind_tools([get_weather]).invoke([*question, called, *results]).content, "It is sunny in both.")


@cases.case
def one_call_at_a_time() -> None:
    bound = model.bind_tools([get_weather], parallel_tool_calls=False)
    [call] = bound.invoke("What is the weather in Paris and Rome?").tool_calls
    equal(call["args"], {"city": "Paris"})


@cases.case
def responses_chat_and_stream() -> None:
    equal(responses.invoke(CAPITAL).text, "The capital is Tirana.")
    equal("".join(chunk.text for chunk in responses.stream(CAPITAL)), "The capital is Tirana.")


@cases.case
def responses_tools() -> None:
    equal(turn(responses.bind_tools([get_weather])), "It is sunny.")


@cases.case
def responses_typed() -> None:
    equal(responses.with_structured_output(Place, method="json_schema").invoke("Where is Lima?"), LIMA)


@cases.case
def tried_again() -> None:
    equal(model.invoke("Are you there?").content, "Yes.")


@cases.case
def a_model_that_is_not_there() -> None:
    error = raised(openai.NotFoundError, lambda: ChatOpenAI(model="absent").invoke(CAPITAL))
    equal(error.code, "model_not_found")


@cases.case
def a_refusal() -> None:
    error = raised(openai.BadRequestError, lambda: model.bind(logit_bias={"50": 1}).invoke(CAPITAL))
    equal(error.param, "logit_bias")


cases.run()
