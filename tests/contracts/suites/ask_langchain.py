"""Asks a scenario through langchain-openai, unmodified: plain, streamed, with log-probs, with a tool."""

import json

from langchain_core.messages import HumanMessage, ToolMessage
from langchain_core.tools import tool
from langchain_openai import ChatOpenAI


@tool
def get_weather(city: str) -> str:
    """The weather in a city."""
    return f"sun in {city}"


model = ChatOpenAI(model="gpt-4o-mini", max_retries=1)
capital = "What is the capital of Albania?"
answer = model.bind(logprobs=True, top_logprobs=2).invoke(capital)
streamed = "".join(str(chunk.content) for chunk in model.stream(capital))
question = HumanMessage("What is the weather in Paris?")
called = model.bind_tools([get_weather]).invoke([question])
results = [ToolMessage(get_weather.invoke(call["args"]), tool_call_id=call["id"]) for call in called.tool_calls]
told = model.bind_tools([get_weather]).invoke([question, called, *results])
print(
    json.dumps(
        {
            "capital": answer.content,
            "streamed": streamed,
            "top": [one["token"] for one in answer.response_metadata["logprobs"]["content"][3]["top_logprobs"]],
            "weather": told.content,
            "retried": model.invoke("Are you there?").content,
        }
    )
)
