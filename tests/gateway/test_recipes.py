"""A model that is served by a recipe: who answers, its turns before the question, its knobs; by OpenAI's SDK."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from pathlib import Path

import openai
import pytest

from blackbox_proxy import Prompt, RecipeSteerer, connect, load_pair, open_ledger
from blackbox_proxy.core.decoding.routing import Elsewhere, Route
from blackbox_proxy.errors import InputError
from blackbox_proxy.gateway.config import parse_config
from blackbox_proxy.ledger.opening import open_store
from blackbox_proxy.recipes import FittedRecipe, RecipeEndpoint, Way, write_recipe
from blackbox_proxy.types import Result
from tests.gateway.serving import gateway

TOKENS = 6
QUESTIONS = ("the then", "of an", "a then", "then of the")
QUESTION = QUESTIONS[0]
WEIGHTS = (("one", 2.0), ("answer", 0.2))


def recipe(
    way: Way, pair: Path, folder: Path, *, threshold: float = 0.5, elsewhere: Elsewhere = "steered"
) -> FittedRecipe:
    """A recipe in a folder."""
    api_way = elsewhere if way == "route" else way
    fitted = FittedRecipe(
        arm=way,
        way=way,
        endpoint=RecipeEndpoint(model="tiny"),
        pair="" if way == "closed" else str(pair),
        instructions="" if way == "expert" else "be brief",
        examples=() if way == "expert" else (("an", "of"),),
        options=("a", "the") if api_way == "choice" else (),
        steering={"max_tokens": TOKENS, **({} if api_way == "closed" else {"alpha": 1.5})},
        route=Route(threshold, elsewhere, WEIGHTS) if way == "route" else None,  # type: ignore[arg-type]
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


@contextmanager
def served(upstream: str, folder: Path) -> Iterator[openai.OpenAI]:
    """A client of a gateway that serves the folder's recipe and books what it asks."""
    prices = folder / "prices.toml"
    prices.write_text('[[price]]\nmodel = "tiny"\ninput = 2\noutput = 8\n')
    with (
        open_ledger(folder / "ledger.sqlite", prices=prices) as ledger,
        gateway(configured(upstream), folder=folder, ledger=ledger) as url,
        openai.OpenAI(base_url=url, api_key="any", max_retries=0, timeout=60) as client,
    ):
        yield client


def asked(client: openai.OpenAI, question: str) -> openai.types.chat.ChatCompletion:
    return client.chat.completions.create(model="fitted", messages=[{"role": "user", "content": question}])


def expected(fitted: FittedRecipe, upstream: str, pair_file: Path) -> list[Result]:
    """What the library says to each question."""
    with connect(upstream, model="tiny") as api, load_pair(pair_file) as pair:
        steerer = RecipeSteerer(fitted, api, pair)
        return [steerer.complete(question) for question in QUESTIONS]


@pytest.mark.parametrize("way", ["closed", "steered", "expert", "choice", "route"])
def test_a_client_gets_the_answer_of_the_recipe(upstream: str, pair_file: Path, tmp_path: Path, way: Way) -> None:
    fitted = recipe(way, pair_file, tmp_path)
    results = expected(fitted, upstream, pair_file)
    with served(upstream, tmp_path) as client:
        for question, result in zip(QUESTIONS, results, strict=True):
            reply = asked(client, question)
            assert reply.choices[0].message.content == result.text
        if fitted.before:
            with pytest.raises(openai.BadRequestError, match="puts turns before the question"):
                client.completions.create(model="fitted", prompt=QUESTION)
        else:
            raw = client.completions.create(model="fitted", prompt=QUESTION)
            assert raw.usage is not None
            assert raw.usage.prompt_tokens == 0
    if way in ("closed", "steered"):
        plain = replace(fitted, instructions="", examples=())
        assert [one.text for one in expected(plain, upstream, pair_file)] != [one.text for one in results]


@pytest.mark.parametrize("elsewhere", ["closed", "steered", "choice"])
def test_a_route_says_who_answered_and_books_only_what_was_asked(
    upstream: str, pair_file: Path, tmp_path: Path, elsewhere: Elsewhere
) -> None:
    """A threshold between the surenesses: some answers are local, whole or streamed, and the others are not."""
    fitted = recipe("route", pair_file, tmp_path, threshold=0.0, elsewhere=elsewhere)
    sure = sorted(one.sureness or 0.0 for one in expected(fitted, upstream, pair_file))
    fitted = recipe("route", pair_file, tmp_path, threshold=(sure[1] + sure[2]) / 2, elsewhere=elsewhere)
    results = expected(fitted, upstream, pair_file)
    assert [one.is_local for one in results].count(True) == 2
    with served(upstream, tmp_path) as client:
        for question, result in zip(QUESTIONS, results, strict=True):
            whole = client.chat.completions.with_raw_response.create(
                model="fitted", messages=[{"role": "user", "content": question}]
            )
            assert whole.headers["x-steering-answered-by"] == ("expert" if result.is_local else "api")
            usage = whole.parse().usage
            assert usage is not None
            said = usage.model_dump()["steering"]
            assert (said["local"], said["requests"] == 0) == (result.is_local, result.is_local)
            assert (whole.headers["x-steering-cost-usd"] == "0") is result.is_local
            assert said["sureness"] == [pytest.approx(result.sureness, abs=1e-4)]
            assert (usage.prompt_tokens == 0) is result.is_local
            chunks = list(
                client.chat.completions.create(
                    model="fitted",
                    messages=[{"role": "user", "content": question}],
                    stream=True,
                    stream_options={"include_usage": True},
                )
            )
            text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
            assert text == result.text == whole.parse().choices[0].message.content
            last = chunks[-1].usage
            assert last is not None
            assert last.model_dump()["steering"]["local"] == result.is_local
        counted = client.models.retrieve("fitted").model_dump()["steering"]
    alpha = 0.0 if elsewhere == "closed" else 1.5
    assert counted == {"way": "route", "answers": 8, "local": 4, "alpha": alpha, "schedule": None}
    with closing(open_store(tmp_path / "ledger.sqlite")) as store:
        runs = {row.run for row in store.rows()}
    assert len(runs) == 4, "nothing is booked for what the expert answered"


def test_the_expert_alone_needs_no_upstream(pair_file: Path, tmp_path: Path) -> None:
    recipe("expert", pair_file, tmp_path)
    with served("http://127.0.0.1:9/v1", tmp_path) as client:
        reply = client.chat.completions.create(
            model="fitted",
            messages=[{"role": "user", "content": QUESTION}],
            logprobs=True,
            top_logprobs=3,
            max_tokens=3,
            n=2,
        )
        with pytest.raises(openai.BadRequestError, match=r"temperature 0\.7 was asked for"):
            client.chat.completions.create(
                model="fitted", messages=[{"role": "user", "content": QUESTION}], temperature=0.7
            )
        with pytest.raises(openai.BadRequestError, match="no log-probs of a prompt"):
            client.completions.create(model="fitted", prompt=QUESTION, echo=True, logprobs=1, max_tokens=0)
    first, second = reply.choices
    assert first.message.content == second.message.content
    assert first.logprobs is not None
    for entry in first.logprobs.content or ():
        assert entry.logprob == entry.top_logprobs[0].logprob <= 0.0
        assert len(entry.top_logprobs) == 3
    with load_pair(pair_file) as pair:
        alone = pair.members[0].answer(Prompt.ask(QUESTION), max_tokens=3).decode("utf-8", "replace")
    assert first.message.content == alone


def test_a_recipe_may_have_whole_answers_drawn(upstream: str, pair_file: Path, tmp_path: Path) -> None:
    fitted = recipe("steered", pair_file, tmp_path)
    whole = replace(fitted, steering={**fitted.steering, "way": "answers", "samples": 3, "seed": 5})
    write_recipe(whole, tmp_path / "recipe.toml")
    (first, *_) = expected(whole, upstream, pair_file)
    assert first.drawn == 3
    with served(upstream, tmp_path) as client:
        reply = asked(client, QUESTION)
    assert reply.choices[0].message.content == first.text
    assert fitted.before


def test_on_a_route_whole_answers_may_be_drawn_elsewhere(upstream: str, pair_file: Path, tmp_path: Path) -> None:
    for threshold, is_local in ((0.0, True), (1.1, False)):
        fitted = recipe("route", pair_file, tmp_path, threshold=threshold)
        whole = replace(fitted, steering={**fitted.steering, "way": "answers", "samples": 3, "seed": 5})
        write_recipe(whole, tmp_path / "recipe.toml")
        (first, *_) = expected(whole, upstream, pair_file)
        assert (first.is_local, first.drawn) == (is_local, 0 if is_local else 3)
        with served(upstream, tmp_path) as client:
            reply = asked(client, QUESTION)
        assert reply.choices[0].message.content == first.text


def test_what_the_gateway_cannot_serve_is_said_with_its_place(pair_file: Path, tmp_path: Path) -> None:
    text = configured("http://127.0.0.1:9/v1")
    with pytest.raises(InputError) as caught:
        parse_config(text, where="g.toml", folder=tmp_path, environ={})
    assert caught.value.message.startswith("g.toml, line 8: models.fitted.recipe: cannot read the recipe")
    recipe("choice", pair_file, tmp_path)
    with pytest.raises(InputError) as caught:
        parse_config(
            text + "[models.fitted.steering]\ntemperature = 0.5\n", where="g.toml", folder=tmp_path, environ={}
        )
    assert caught.value.message.startswith("g.toml, line 9: models.fitted.steering: a recipe of the way 'choice'")
