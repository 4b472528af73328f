"""Uses outlines: text and typed output by its models for OpenAI and for vLLM's server."""

from __future__ import annotations

import json
from typing import Any, Literal

import openai
import outlines
from outlines.types import Regex
from pydantic import BaseModel

from tests.contracts.suites.cases import Cases, equal, raised

cases = Cases()
CAPITAL = "What is the capital of Albania?"
LIMA = {"city": "Lima", "country": "Peru"}


class Place(BaseModel):
    """A city and where it is."""

    city: str
    country: str


def hosted() -> Any:  # noqa: ANN401 - of the client
    return outlines.from_openai(openai.OpenAI(), "steered")


def vllm() -> Any:  # noqa: ANN401 - of the client
    return outlines.from_vllm(openai.OpenAI(), "steered")


@cases.case
def chat() -> None:
    equal(hosted()(CAPITAL), "The capital is Tirana.")
    equal(vllm()(CAPITAL), "The capital is Tirana.")


@cases.case
def stream() -> None:
    equal("".join(hosted().stream(CAPITAL)), "The capital is Tirana.")


@cases.case
def typed() -> None:
    equal(json.loads(hosted()("Where is Lima?", Place)), LIMA)


@cases.case
def typed_in_a_stream() -> None:
    equal(json.loads("".join(hosted().stream("Where is Lima?", Place))), LIMA)


@cases.case
def typed_by_vllms_fields() -> None:
    equal(json.loads(vllm()("Where is Lima?", Place)), LIMA)


@cases.case
def an_expression_by_vllms_fields() -> None:
    equal(vllm()("Say a number.", Regex(r"[0-9]{2}")), "42")


@cases.case
def a_choice_by_vllms_fields() -> None:
    equal(vllm()("Say yes or no.", Literal["yes", "no"]), "yes")


@cases.case
async def awaited() -> None:
    model = outlines.from_openai(openai.AsyncOpenAI(), "steered")
    equal(json.loads(await model("Where is Lima?", Place)), LIMA)


@cases.case
def a_model_that_is_not_there() -> None:
    error = raised(Exception, lambda: outlines.from_openai(openai.OpenAI(), "absent")(CAPITAL))
    assert "does not exist" in str(error) or "does not exist" in str(error.__cause__), error


cases.run()
