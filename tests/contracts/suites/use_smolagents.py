"""Uses smolagents: a model, an agent that calls tools, one that writes code; errors."""

from __future__ import annotations

import os
from typing import Any

import openai
from smolagents import CodeAgent, OpenAIModel, ToolCallingAgent, tool

from tests.contracts.suites.cases import Cases, equal, raised

cases = Cases()


@tool
def get_weather(city: str) -> str:
    """The weather in a city.

    Args:
        city: Its name.
    """
    return f"sun in {city}"


def model(name: str = "plain") -> Any:  # noqa: ANN401 - of the client
    return OpenAIModel(model_id=name, api_base=os.environ["OPENAI_BASE_URL"], api_key="any")


def asked(text: str) -> list[Any]:
    return [{"role": "user", "content": [{"type": "text", "text": text}]}]


@cases.case
def chat() -> None:
    equal(model().generate(asked("What is the capital of Albania?")).content, "The capital is Tirana.")


@cases.case
def stream() -> None:
    parts = [delta.content or "" for delta in model().generate_stream(asked("What is the capital of Albania?"))]
    equal("".join(parts), "The capital is Tirana.")


@cases.case
def an_agent_that_calls_tools() -> None:
    agent = ToolCallingAgent(tools=[get_weather], model=model(), max_steps=3, verbosity_level=0)
    equal(agent.run("How is the weather in Oslo?"), "sunny")


@cases.case
def an_agent_that_writes_code() -> None:
    agent = CodeAgent(tools=[get_weather], model=model(), max_steps=2, verbosity_level=0)
    equal(agent.run("Write code for Oslo."), "sun in Oslo")


@cases.case
def typed() -> None:
    form = {
        "type": "json_schema",
        "json_schema": {
            "name": "place",
            "schema": {
                "type": "object",
                "properties": {"city": {"type": "string"}, "country": {"type": "string"}},
                "required": ["city", "country"],
                "additionalProperties": False,
            },
        },
    }
    equal(
        model().generate(asked("Where is Lima?"), response_format=form).content, '{"city": "Lima", "country": "Peru"}'
    )


@cases.case
def a_model_that_is_not_there() -> None:
    error = raised(openai.NotFoundError, lambda: model("absent").generate(asked("What is the capital of Albania?")))
    equal(error.code, "model_not_found")


cases.run()
