"""Uses openai-agents: runs, streams, typed output, tools, handoffs and guardrails; by Responses and by chats."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any

import openai
from agents import (
    Agent,
    GuardrailFunctionOutput,
    ModelSettings,
    OpenAIChatCompletionsModel,
    OpenAIResponsesModel,
    RunContextWrapper,
    Runner,
    function_tool,
    output_guardrail,
)
from pydantic import BaseModel

from tests.contracts.suites.cases import Cases, equal, raised_later

cases = Cases()
CAPITAL = "What is the capital of Albania?"
KINDS: dict[str, Any] = {"responses": OpenAIResponsesModel, "chats": OpenAIChatCompletionsModel}


class Place(BaseModel):
    """A city and where it is."""

    city: str
    country: str


LIMA = Place(city="Lima", country="Peru")


@function_tool
def get_weather(city: str) -> str:
    """The weather in a city."""
    return f"sun in {city}"


def agent(kind: str, name: str = "steered", **options: Any) -> Any:  # noqa: ANN401 - of the client
    model = KINDS[kind](model=name, openai_client=openai.AsyncOpenAI(max_retries=1))
    return Agent(name="helper", instructions="Be brief.", model=model, **options)


def by_both(case: Callable[[str], Coroutine[Any, Any, None]]) -> None:
    """The case by Responses and by chats."""
    for kind in KINDS:
        named = case.__name__

        async def run(kind: str = kind) -> None:
            await case(kind)

        run.__name__ = f"{named}_by_{kind}"
        cases.case(run)


@by_both
async def chat(kind: str) -> None:
    run = await Runner.run(agent(kind), CAPITAL)
    equal(run.final_output, "The capital is Tirana.")
    assert run.context_wrapper.usage.output_tokens > 0


@by_both
async def stream(kind: str) -> None:
    run = Runner.run_streamed(agent(kind), CAPITAL)
    parts = [
        event.data.delta
        async for event in run.stream_events()
        if event.type == "raw_response_event" and event.data.type == "response.output_text.delta"
    ]
    equal("".join(parts), "The capital is Tirana.")
    equal(run.final_output, "The capital is Tirana.")


@by_both
async def a_chat_that_goes_on(kind: str) -> None:
    first = await Runner.run(agent(kind), CAPITAL)
    second = await Runner.run(agent(kind), [*first.to_input_list(), {"role": "user", "content": CAPITAL}])
    equal(second.final_output, "The capital is Tirana.")


@by_both
async def typed(kind: str) -> None:
    equal((await Runner.run(agent(kind, output_type=Place), "Where is Lima?")).final_output, LIMA)


@by_both
async def tools(kind: str) -> None:
    run = await Runner.run(agent(kind, tools=[get_weather]), "What is the weather in Paris?")
    equal(run.final_output, "It is sunny.")


@by_both
async def tools_in_a_stream(kind: str) -> None:
    run = Runner.run_streamed(agent(kind, tools=[get_weather]), "What is the weather in Paris?")
    items = [event.item.type async for event in run.stream_events() if event.type == "run_item_stream_event"]
    equal(items, ["tool_call_item", "tool_call_output_item", "message_output_item"])
    equal(run.final_output, "It is sunny.")


@by_both
async def several_calls(kind: str) -> None:
    settings = ModelSettings(parallel_tool_calls=True)
    asked = agent(kind, tools=[get_weather], model_settings=settings)
    equal((await Runner.run(asked, "What is the weather in Paris and Rome?")).final_output, "It is sunny in both.")


@by_both
async def a_tool_that_must_be_called(kind: str) -> None:
    for choice in ("required", "get_weather"):
        asked = agent(kind, tools=[get_weather], model_settings=ModelSettings(tool_choice=choice))
        equal((await Runner.run(asked, "What is the weather in Paris?")).final_output, "It is sunny.")


@by_both
async def a_handoff(kind: str) -> None:
    geographer = agent(kind).clone(name="geographer")
    run = await Runner.run(agent(kind, handoffs=[geographer]), "Hand this over.")
    equal((run.last_agent.name, run.final_output), ("geographer", "Handed over."))


@by_both
async def a_guardrail(kind: str) -> None:
    seen = []

    @output_guardrail
    async def look(_context: RunContextWrapper[None], _agent: Any, output: str) -> GuardrailFunctionOutput:  # noqa: ANN401
        seen.append(output)
        return GuardrailFunctionOutput(output_info=None, tripwire_triggered=False)

    await Runner.run(agent(kind, output_guardrails=[look]), CAPITAL)
    equal(seen, ["The capital is Tirana."])


@by_both
async def tried_again(kind: str) -> None:
    equal((await Runner.run(agent(kind), f"Are you there, {kind}?")).final_output, "Yes.")


@by_both
async def a_model_that_is_not_there(kind: str) -> None:
    error = await raised_later(openai.NotFoundError, Runner.run(agent(kind, name="absent"), CAPITAL))
    equal(error.code, "model_not_found")


@by_both
async def a_refusal(kind: str) -> None:
    settings = ModelSettings(extra_body={"logit_bias": {"50": 1}})
    error = await raised_later(openai.BadRequestError, Runner.run(agent(kind, model_settings=settings), CAPITAL))
    equal(error.param, "logit_bias")


cases.run()
