"""Tools at the gateway with real weights: how often a call is valid, and the right one, in five questions.

    python -m tests.bench.tools [plain] [steered]

The upstream is Qwen2.5-Coder-0.5B-Instruct, the pair the demo's. A minute or two each, on two cores that are free.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import jsonschema
import openai
from openai.types.chat import ChatCompletionFunctionToolParam

from blackbox_proxy.standin import running
from tests.gateway.serving import gateway

MODEL = "qwen2.5-coder-0.5b-instruct"
TOKENS = 120
SYSTEM = "You are a helpful assistant."


def tool(name: str, description: str, argument: str) -> ChatCompletionFunctionToolParam:
    """A function of one argument, a text."""
    schema: dict[str, object] = {"type": "object", "required": [argument]}
    schema["properties"] = {argument: {"type": "string"}}
    return {"type": "function", "function": {"name": name, "description": description, "parameters": schema}}


TOOLS = (
    tool("get_weather", "The weather in a city today.", "city"),
    tool("calculate", "Compute an arithmetic expression.", "expression"),
)
QUESTIONS = {
    "What is the weather in Paris today?": "get_weather",
    "What is 123 * 456?": "calculate",
    "Is it raining in Tirana?": "get_weather",
    "Compute (17 + 5) * 3 for me.": "calculate",
    "How warm is it in Oslo right now?": "get_weather",
}
"""Each with the tool that it takes."""


@dataclass(slots=True)
class ToolFigures:
    """Of five answers: how many call, begin with the right tool, or were cut; of whole answers' calls, those valid."""

    calling: int = 0
    right: int = 0
    cut: int = 0
    calls: int = 0
    valid: int = 0


def is_valid(name: str, arguments: str) -> bool:
    """Whether arguments are JSON of the tool's schema."""
    schema = next(one["function"]["parameters"] for one in TOOLS if one["function"]["name"] == name)
    try:
        return bool(jsonschema.Draft202012Validator(schema).is_valid(json.loads(arguments)))
    except ValueError:
        return False


def measured(client: openai.OpenAI, model: str, *, required: bool) -> ToolFigures:
    """Ask all questions once, greedily."""
    figures = ToolFigures()
    for question, right in QUESTIONS.items():
        (choice,) = client.chat.completions.create(
            model=model,
            messages=[{"role": "system", "content": SYSTEM}, {"role": "user", "content": question}],
            tools=TOOLS,
            tool_choice="required" if required else "auto",
            max_tokens=TOKENS,
            temperature=0,
        ).choices
        calls = [call.function for call in choice.message.tool_calls or () if call.type == "function"]
        figures.calling += bool(calls)
        figures.right += bool(calls) and calls[0].name == right
        figures.cut += choice.finish_reason == "length"
        if choice.finish_reason == "tool_calls":
            figures.calls += len(calls)
            figures.valid += sum(is_valid(call.name, call.arguments) for call in calls)
    return figures


def config(url: str, models: Sequence[str]) -> Iterator[str]:
    """The gateway's configuration."""
    yield f'[server]\nport = 0\n[upstreams.closed]\nbase_url = "{url}"\ntimeout = 600\n'
    for name in models:
        yield f'[models.{name}]\nupstream = "closed"\nmodel = "{MODEL}"\n'
        if name == "steered":
            yield 'pair = "demo"\nsteering = { alpha = 1.25 }\n'


def main(models: Sequence[str]) -> None:
    """Print the figures of each model, with calls as it likes and with calls required."""
    with running(f"pypi:{MODEL}", context=4096) as url, gateway("".join(config(url, models))) as served:
        client = openai.OpenAI(base_url=served, api_key="any", max_retries=0, timeout=900)
        for model in models:
            for required in (False, True):
                print(model, "required" if required else "auto", measured(client, model, required=required), flush=True)
        client.close()


if __name__ == "__main__":
    main(sys.argv[1:] or ["plain", "steered"])
