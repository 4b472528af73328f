"""Uses DSPy: predictions by its adapters for chats and for JSON, tools by words and by the API, streams, errors."""

from __future__ import annotations

from typing import Any

import dspy
import litellm

from tests.contracts.suites.cases import Cases, equal, raised

cases = Cases()
dspy.configure_cache(enable_disk_cache=False, enable_memory_cache=False)
ASKED = "What is the capital of Albania?"


def model(name: str = "openai/steered") -> Any:  # noqa: ANN401 - of the client
    return dspy.LM(name, num_retries=1, max_tokens=200)


def get_weather(city: str) -> str:
    """The weather in a city."""
    return f"sun in {city}"


class Called(dspy.Signature):  # type: ignore[misc]
    """Call a tool."""

    question: str = dspy.InputField()
    tools: list[dspy.Tool] = dspy.InputField()
    calls: dspy.ToolCalls = dspy.OutputField()


@cases.case
def predict() -> None:
    with dspy.context(lm=model(), adapter=dspy.ChatAdapter()):
        equal(dspy.Predict("question -> answer")(question=ASKED).answer, "Tirana")


@cases.case
def typed_by_a_schema() -> None:
    with dspy.context(lm=model(), adapter=dspy.JSONAdapter()):
        equal(dspy.Predict("question -> answer")(question=ASKED).answer, "Tirana")


def called() -> None:
    with dspy.context(lm=model(), adapter=dspy.JSONAdapter(use_native_function_calling=True)):
        answer = dspy.Predict(Called)(question="What is the weather in Paris?", tools=[dspy.Tool(get_weather)])
    [call] = answer.calls.tool_calls
    equal((call.name, call.args), ("get_weather", {"city": "Paris"}))


@cases.case
def tools_as_json() -> None:
    called()


@cases.case
def tools() -> None:
    """DSPy sends tools to models of which litellm knows that they call some, and these have to be named to it."""
    can = {"litellm_provider": "openai", "mode": "chat", "supports_function_calling": True}
    litellm.register_model({"openai/steered": can})
    called()


@cases.case
async def stream() -> None:
    with dspy.context(lm=model(), adapter=dspy.ChatAdapter()):
        listener = dspy.streaming.StreamListener(signature_field_name="answer")
        streaming = dspy.streamify(dspy.Predict("question -> answer"), stream_listeners=[listener])
        parts = [part async for part in streaming(question=ASKED)]
    equal(parts[-1].answer, "Tirana")


@cases.case
def a_plain_question() -> None:
    [answer] = model()(ASKED)
    equal(answer["text"] if isinstance(answer, dict) else answer, "The capital is Tirana.")


@cases.case
def tried_again() -> None:
    [answer] = model()("Are you there?")
    equal(answer["text"] if isinstance(answer, dict) else answer, "Yes.")


@cases.case
def a_model_that_is_not_there() -> None:
    error = raised(Exception, lambda: model("openai/absent")(ASKED))
    assert "does not exist" in str(error)


cases.run()
