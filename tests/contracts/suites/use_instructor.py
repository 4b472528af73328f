"""Uses instructor: a model of pydantic's by each of its modes for OpenAI, whole, partial and as a list; errors."""

from __future__ import annotations

from typing import Any

import instructor
import openai
from pydantic import BaseModel, field_validator

from tests.contracts.suites.cases import Cases, equal, raised

cases = Cases()
QUESTION = [{"role": "user", "content": "Where is Lima?"}]


class Place(BaseModel):
    """A city and where it is."""

    city: str
    country: str


LIMA = Place(city="Lima", country="Peru")


def client(mode: str) -> Any:  # noqa: ANN401 - of the client
    return instructor.from_openai(openai.OpenAI(max_retries=1), mode=instructor.Mode[mode])


def typed(mode: str) -> None:
    place = client(mode).chat.completions.create(
        model="steered", response_model=Place, max_retries=0, messages=QUESTION
    )
    equal(Place(**place.model_dump()), LIMA)


@cases.case
def tools() -> None:
    typed("TOOLS")


@cases.case
def tools_strict() -> None:
    typed("TOOLS_STRICT")


@cases.case
def json_object() -> None:
    typed("JSON")


@cases.case
def json_schema() -> None:
    typed("JSON_SCHEMA")


@cases.case
def json_in_markdown() -> None:
    typed("MD_JSON")


@cases.case
def responses_tools() -> None:
    typed("RESPONSES_TOOLS")


@cases.case
def partial() -> None:
    places = list(
        client("JSON_SCHEMA").chat.completions.create_partial(
            model="steered", response_model=Place, max_retries=0, messages=QUESTION
        )
    )
    equal(places[-1].model_dump(), LIMA.model_dump())


@cases.case
def partial_by_tools() -> None:
    places = list(
        client("TOOLS").chat.completions.create_partial(
            model="steered", response_model=Place, max_retries=0, messages=QUESTION
        )
    )
    equal(places[-1].model_dump(), LIMA.model_dump())


@cases.case
async def awaited() -> None:
    asking = instructor.from_openai(openai.AsyncOpenAI(), mode=instructor.Mode.TOOLS)
    place = await asking.chat.completions.create(model="steered", response_model=Place, messages=QUESTION)
    equal(Place(**place.model_dump()), LIMA)


@cases.case
def asked_again_with_what_was_wrong() -> None:
    """A validator refuses the first answer; the next request has the call and, as its result, the complaint."""
    seen = []

    class Picky(Place):
        @field_validator("city")
        @classmethod
        def second_time(cls, city: str) -> str:
            seen.append(city)
            if len(seen) == 1:
                raise ValueError("Where is Lima? Say it again")
            return city

    Picky.__name__ = "Place"
    place = client("TOOLS").chat.completions.create(
        model="steered", response_model=Picky, max_retries=2, messages=QUESTION
    )
    equal((place.city, len(seen)), ("Lima", 2))


@cases.case
def with_the_completion() -> None:
    place, completion = client("JSON_SCHEMA").chat.completions.create_with_completion(
        model="steered", response_model=Place, messages=QUESTION
    )
    equal(place.city, "Lima")
    assert completion.usage.completion_tokens > 0


@cases.case
def a_model_that_is_not_there() -> None:
    creates = client("TOOLS").chat.completions.create
    error = raised(Exception, lambda: creates(model="absent", response_model=Place, max_retries=0, messages=QUESTION))
    assert "does not exist" in str(error), error


cases.run()
