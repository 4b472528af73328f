"""Asks a scenario through pydantic-ai, unmodified: plain, streamed, with log-probs, with a tool that it calls."""

import asyncio
import json
from typing import Any

from pydantic_ai import Agent
from pydantic_ai.models.openai import OpenAIChatModel, OpenAIChatModelSettings

model = OpenAIChatModel("gpt-4o-mini")
plain: Any = Agent(model, model_settings=OpenAIChatModelSettings(openai_logprobs=True, openai_top_logprobs=2))
capital = "What is the capital of Albania?"
weather: Any = Agent(model)


@weather.tool_plain
def get_weather(city: str) -> str:
    """The weather in a city."""
    return f"sun in {city}"


async def main() -> None:
    answer = await plain.run(capital)
    async with Agent(model).run_stream(capital) as stream:
        streamed = await stream.get_output()
    [told] = [message for message in answer.all_messages() if message.kind == "response"]
    top = told.provider_details["logprobs"][3]["top_logprobs"]
    print(
        json.dumps(
            {
                "capital": answer.output,
                "streamed": streamed,
                "top": [one["token"] for one in top],
                "weather": (await weather.run("What is the weather in Paris?")).output,
                "retried": (await plain.run("Are you there?")).output,
            }
        )
    )


asyncio.run(main())
