"""Uses llama-index's OpenAI-like model: chats, streams, typed output natively and by text, tools, an agent, errors."""

from __future__ import annotations

import os
from typing import Any

import openai
from llama_index.core.agent.workflow import FunctionAgent
from llama_index.core.llms import ChatMessage
from llama_index.core.program import LLMTextCompletionProgram
from llama_index.core.prompts import PromptTemplate
from llama_index.core.tools import FunctionTool
from llama_index.llms.openai_like import OpenAILike
from pydantic import BaseModel

from tests.contracts.suites.cases import Cases, equal, raised

cases = Cases()
CAPITAL = "What is the capital of Albania?"


class Place(BaseModel):
    """A city and where it is."""

    city: str
    country: str


LIMA = Place(city="Lima", country="Peru")


def model(name: str = "steered", **options: Any) -> Any:  # noqa: ANN401 - of the client
    given = {
        "api_base": os.environ["OPENAI_BASE_URL"],
        "api_key": "any",
        "is_chat_model": True,
        "is_function_calling_model": True,
        "max_retries": 1,
        **options,
    }
    return OpenAILike(model=name, context_window=4096, **given)


def get_weather(city: str) -> str:
    """The weather in a city."""
    return f"sun in {city}"


WEATHER = FunctionTool.from_defaults(get_weather)


@cases.case
def chat() -> None:
    equal(model().chat([ChatMessage(content=CAPITAL)]).message.content, "The capital is Tirana.")


@cases.case
def stream() -> None:
    parts = [chunk.delta for chunk in model().stream_chat([ChatMessage(content=CAPITAL)])]
    equal("".join(parts), "The capital is Tirana.")


@cases.case
def raw_text() -> None:
    equal(model(is_chat_model=False).complete(CAPITAL).text, "The capital is Tirana.")


@cases.case
async def awaited() -> None:
    equal((await model().achat([ChatMessage(content=CAPITAL)])).message.content, "The capital is Tirana.")


def typed(**options: Any) -> None:  # noqa: ANN401 - of the client
    question = PromptTemplate("Where is {city}?")
    equal(model(**options).structured_predict(Place, question, city="Lima"), LIMA)


@cases.case
def typed_natively() -> None:
    typed(should_use_structured_outputs=True)


@cases.case
def typed_by_a_tool() -> None:
    typed()


@cases.case
def typed_by_words_alone() -> None:
    typed(is_function_calling_model=False)


@cases.case
def typed_by_a_program_of_text() -> None:
    described = LLMTextCompletionProgram.from_defaults(
        output_cls=Place, prompt_template_str="Where is {city}?", llm=model(is_function_calling_model=False)
    )
    equal(described(city="Lima"), LIMA)


@cases.case
def typed_as_a_model_of_its_own() -> None:
    answer = (
        model(should_use_structured_outputs=True).as_structured_llm(Place).chat([ChatMessage(content="Where is Lima?")])
    )
    equal(answer.raw, LIMA)


@cases.case
def tools() -> None:
    answer = model().predict_and_call([WEATHER], "What is the weather in Paris?")
    equal(str(answer), "sun in Paris")


@cases.case
def a_tool_that_must_be_called() -> None:
    asked = model().chat_with_tools([WEATHER], "What is the weather in Paris?", tool_required=True)
    [call] = model().get_tool_calls_from_response(asked)
    equal((call.tool_name, call.tool_kwargs), ("get_weather", {"city": "Paris"}))


@cases.case
def several_calls() -> None:
    question = "What is the weather in Paris and Rome?"
    asked = model().chat_with_tools([WEATHER], question, allow_parallel_tool_calls=True)
    calls = model().get_tool_calls_from_response(asked)
    equal([call.tool_kwargs["city"] for call in calls], ["Paris", "Rome"])


@cases.case
async def an_agent() -> None:
    agent = FunctionAgent(tools=[WEATHER], llm=model(), system_prompt="You are helpful.")
    equal(str(await agent.run("What is the weather in Paris?")), "It is sunny.")


@cases.case
def tried_again() -> None:
    equal(model().chat([ChatMessage(content="Are you there?")]).message.content, "Yes.")


@cases.case
def a_model_that_is_not_there() -> None:
    error = raised(openai.NotFoundError, lambda: model("absent").chat([ChatMessage(content=CAPITAL)]))
    equal(error.code, "model_not_found")


@cases.case
def a_refusal() -> None:
    error = raised(
        openai.BadRequestError,
        lambda: model(additional_kwargs={"logit_bias": {"50": 1}}).chat([ChatMessage(content=CAPITAL)]),
    )
    equal(error.param, "logit_bias")


cases.run()
