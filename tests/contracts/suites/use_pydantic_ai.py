"""Uses pydantic-ai: chats, streams, tools, typed output by its three ways, errors; by chats and by Responses."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel
from pydantic_ai import Agent, ModelHTTPError, NativeOutput, PromptedOutput, ToolOutput
from pydantic_ai.models.openai import OpenAIChatModel, OpenAIResponsesModel

from tests.contracts.suites.cases import Cases, equal, raised_later

cases = Cases()
CAPITAL = "What is the capital of Albania?"


class Place(BaseModel):
    """A city and where it is."""

    city: str
    country: str


LIMA = Place(city="Lima", country="Peru")


def get_weather(city: str) -> str:
    """The weather in a city."""
    return f"sun in {city}"


def agent(kind: Any = OpenAIChatModel, name: str = "steered", **options: Any) -> Any:  # noqa: ANN401 - of the client
    return Agent(kind(name), **options)


@cases.case
async def chat() -> None:
    run = await agent(instructions="Be brief.").run(CAPITAL)
    equal(run.output, "The capital is Tirana.")
    assert run.usage.output_tokens > 0


@cases.case
async def stream() -> None:
    async with agent().run_stream(CAPITAL) as streamed:
        parts = [part async for part in streamed.stream_text(delta=True, debounce_by=None)]
    equal("".join(parts), "The capital is Tirana.")
    assert len(parts) > 1


@cases.case
async def a_chat_that_goes_on() -> None:
    first = await agent().run(CAPITAL)
    second = await agent().run(CAPITAL, message_history=first.all_messages())
    equal(second.output, "The capital is Tirana.")


@cases.case
async def tools() -> None:
    equal((await agent(tools=[get_weather]).run("What is the weather in Paris?")).output, "It is sunny.")


@cases.case
async def several_calls() -> None:
    run = await agent(tools=[get_weather]).run("What is the weather in Paris and Rome?")
    equal(run.output, "It is sunny in both.")


@cases.case
async def one_call_at_a_time() -> None:
    run = await agent(tools=[get_weather], model_settings={"parallel_tool_calls": False}).run(
        "What is the weather in Paris and Rome?"
    )
    equal(run.output, "It is sunny.")


@cases.case
async def tools_in_a_stream() -> None:
    async with agent(tools=[get_weather]).run_stream("What is the weather in Paris?") as streamed:
        equal(await streamed.get_output(), "It is sunny.")


@cases.case
async def typed_by_a_tool() -> None:
    equal((await agent(output_type=ToolOutput(Place)).run("Where is Lima?")).output, LIMA)


@cases.case
async def typed_by_a_strict_tool() -> None:
    equal((await agent(output_type=ToolOutput(Place, strict=True)).run("Where is Lima?")).output, LIMA)


@cases.case
async def typed_natively() -> None:
    equal((await agent(output_type=NativeOutput(Place)).run("Where is Lima?")).output, LIMA)


@cases.case
async def typed_by_the_prompt() -> None:
    equal((await agent(output_type=PromptedOutput(Place)).run("Where is Lima?")).output, LIMA)


@cases.case
async def typed_in_a_stream() -> None:
    async with agent(output_type=NativeOutput(Place)).run_stream("Where is Lima?") as streamed:
        equal(await streamed.get_output(), LIMA)


@cases.case
async def responses() -> None:
    equal((await agent(OpenAIResponsesModel, instructions="Be brief.").run(CAPITAL)).output, "The capital is Tirana.")


@cases.case
async def responses_stream() -> None:
    async with agent(OpenAIResponsesModel).run_stream(CAPITAL) as streamed:
        equal(await streamed.get_output(), "The capital is Tirana.")


@cases.case
async def responses_tools() -> None:
    run = await agent(OpenAIResponsesModel, tools=[get_weather]).run("What is the weather in Paris?")
    equal(run.output, "It is sunny.")


@cases.case
async def responses_typed() -> None:
    for form in (ToolOutput(Place), NativeOutput(Place), PromptedOutput(Place)):
        equal((await agent(OpenAIResponsesModel, output_type=form).run("Where is Lima?")).output, LIMA)


@cases.case
async def tried_again() -> None:
    equal((await agent().run("Are you there?")).output, "Yes.")


@cases.case
async def a_model_that_is_not_there() -> None:
    error = await raised_later(ModelHTTPError, agent(name="absent").run(CAPITAL))
    equal(error.status_code, 404)


@cases.case
async def a_refusal() -> None:
    error = await raised_later(ModelHTTPError, agent(model_settings={"logit_bias": {"50": 1}}).run(CAPITAL))
    equal(error.status_code, 400)
    assert "logit_bias" in str(error)


cases.run()
