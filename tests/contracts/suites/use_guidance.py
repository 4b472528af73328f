"""Uses guidance: text that it generates in a chat, streamed, as JSON of a schema, and errors."""

from __future__ import annotations

import json
import os
from typing import Any

import guidance
from guidance import assistant, gen, models, user
from pydantic import BaseModel

from tests.contracts.suites.cases import Cases, equal, raised

cases = Cases()


class Place(BaseModel):
    """A city and where it is."""

    city: str
    country: str


def asked(text: str, name: str = "steered") -> Any:  # noqa: ANN401 - of the client
    model = models.OpenAI(name, base_url=os.environ["OPENAI_BASE_URL"], api_key="any", echo=False)
    with user():
        model += text
    return model


@cases.case
def chat() -> None:
    model = asked("What is the capital of Albania?")
    with assistant():
        model += gen("answer", max_tokens=32)
    equal(model["answer"], "The capital is Tirana.")


@cases.case
def a_temperature() -> None:
    model = asked("Where is Lima?")
    with assistant():
        model += gen("answer", max_tokens=32, temperature=0.7)
    equal(model["answer"], '{"city": "Lima", "country": "Peru"}')


@cases.case
def typed() -> None:
    model = asked("Where is Lima?")
    with assistant():
        model += guidance.json("place", schema=Place)
    equal(json.loads(model["place"]), {"city": "Lima", "country": "Peru"})


@cases.case
def a_model_that_is_not_there() -> None:
    model = asked("What is the capital of Albania?", "absent")
    with assistant():
        error = raised(Exception, lambda: model + gen("answer", max_tokens=32))
    assert "does not exist" in str(error)


cases.run()
