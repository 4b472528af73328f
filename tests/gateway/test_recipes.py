"""A model that is served by a recipe: its turns stand before the question, its knobs steer."""

from __future__ import annotations

from pathlib import Path

import openai
import pytest

from blackbox_proxy import Prompt, Steerer, Steering, connect, load_pair
from blackbox_proxy.core.decoding.sources import OffsetTable
from blackbox_proxy.errors import InputError
from blackbox_proxy.gateway.config import parse_config
from blackbox_proxy.recipes import FittedRecipe, RecipeEndpoint, Way, write_recipe
from tests.gateway.serving import gateway

TOKENS = 6
QUESTION = "the then"


def recipe(way: Way, pair: Path, folder: Path) -> FittedRecipe:
    """A recipe in a folder."""
    fitted = FittedRecipe(
        arm=way,
        way=way,
        endpoint=RecipeEndpoint(model="tiny"),
        pair="" if way == "closed" else str(pair),
        instructions="be brief",
        examples=(("an", "of"),),
        options=("a", "the") if way == "choice" else (),
        steering={"max_tokens": TOKENS, **({} if way == "closed" else {"alpha": 1.5})},
    )
    write_recipe(fitted, folder / "recipe.toml")
    return fitted


def configured(url: str) -> str:
    return f"""
[server]
port = 0
[upstreams.tiny]
base_url = "{url}"
[models.fitted]
upstream = "tiny"
recipe = "recipe.toml"
"""


@pytest.mark.parametrize("way", ["closed", "steered"])
def test_a_client_gets_the_answer_of_the_recipe(upstream: str, pair_file: Path, tmp_path: Path, way: Way) -> None:
    fitted = recipe(way, pair_file, tmp_path)
    asked = Prompt.ask(QUESTION)
    with connect(upstream, model="tiny") as api, load_pair(pair_file) as pair:
        offsets = pair if way == "steered" else OffsetTable({})
        steerer = Steerer(api, offsets, Steering(**fitted.with_knobs({})))
        expected = steerer.complete(fitted.asked(asked), pair_prompt=asked).text
        assert expected != steerer.complete(asked).text
    with (
        gateway(configured(upstream), folder=tmp_path) as url,
        openai.OpenAI(base_url=url, api_key="any", max_retries=0, timeout=60) as client,
    ):
        reply = client.chat.completions.create(model="fitted", messages=[{"role": "user", "content": QUESTION}])
        with pytest.raises(openai.BadRequestError, match="puts turns before the question"):
            client.completions.create(model="fitted", prompt=QUESTION)
    assert reply.choices[0].message.content == expected


def test_what_the_gateway_cannot_serve_is_said_with_its_place(pair_file: Path, tmp_path: Path) -> None:
    text = configured("http://127.0.0.1:9/v1")
    for prepared, said in (
        (None, "cannot read the recipe"),
        ("choice", "a recipe of the way 'choice' cannot be served"),
    ):
        if prepared is not None:
            recipe("choice", pair_file, tmp_path)
        with pytest.raises(InputError) as caught:
            parse_config(text, where="g.toml", folder=tmp_path, environ={})
        assert caught.value.message.startswith("g.toml, line 8: models.fitted.recipe: ")
        assert said in caught.value.message
        recipe("choice", pair_file, tmp_path)
