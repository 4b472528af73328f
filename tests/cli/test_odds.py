"""`choose` and `score` from end to end, and the drawn answers of `steer`: the library is the judge."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from pathlib import Path

import pytest

from blackbox_proxy import Pair, Prompt, Steering, connect, load_pair, steer
from blackbox_proxy.errors import InputError
from blackbox_proxy.run.steerer import Steerer
from blackbox_proxy.standin import running, script
from tests.cli.runs import Cli

QUESTION = "Is water wet?"
TEMPLATE = "{% for message in messages %}{{ message.content }}{% endfor %}"
SAYS = {b"Yes": 0.5, b"N": 0.3, b"Maybe": 0.15, b"</s>": 0.05}


@pytest.fixture(scope="module")
def pair(pair_path: Path) -> Iterator[Pair]:
    with load_pair(pair_path) as opened:
        yield opened


@pytest.fixture(scope="module")
def oracle() -> Iterator[str]:
    """An API that says Yes half of the time, and No in two tokens; it shows three."""
    pieces = [
        b"Yes",
        b"N",
        b"o",
        b"ever",
        b"Maybe",
        *(bytes([letter]) for letter in QUESTION.encode() if letter != 111),
    ]
    distributions = {b"": SAYS, b"N": {b"o": 0.8, b"ever": 0.2}}
    toy = script([*dict.fromkeys(pieces)], [b"</s>"], distributions, template=TEMPLATE)
    with running(toy, name="oracle", top_k=3) as url:
        yield url


@pytest.fixture
def there(oracle: str, pair_path: Path) -> tuple[str, ...]:
    """The options that say which API and which pair."""
    return ("--base-url", oracle, "--model", "oracle", "--top-k", "3", "--pair", str(pair_path))


@pytest.mark.parametrize(("how", "calls"), [("--raw", 2), ("--chat", 1)])
def test_the_odds_are_the_apis_own_without_alpha(cli: Cli, there: tuple[str, ...], how: str, calls: int) -> None:
    """A chat cannot be asked for the rest of `No`: then the odds are bounded."""
    said = cli("choose", QUESTION, "--option", "Yes", "--option", "No", "--alpha", "0", "--json", how, *there)
    assert said.status == 0, said.err
    found = json.loads(said.out)
    yes, no = found["options"]
    assert found["best"] == "Yes"
    assert found["certified"] is True
    assert yes["lower"] <= 0.5 / 0.74 <= yes["upper"]
    assert no["lower"] <= 0.24 / 0.74 <= no["upper"]
    assert yes["steered"] == pytest.approx(yes["unsteered"])
    assert found["usage"]["requests"] == calls


def test_a_table_and_the_best_answer_are_shown(cli: Cli, there: tuple[str, ...]) -> None:
    said = cli("choose", QUESTION, "--option", "Yes", "--option", "Maybe", "--raw", "--alpha", "0", *there)
    assert said.out == "Yes\n"
    assert "certified" in said.err
    assert "Maybe" in said.err


@pytest.mark.parametrize("options", [(), ("--option", "Yes"), ("--option", "Yes", "--option", "Yes")])
def test_one_option_is_no_choice(cli: Cli, there: tuple[str, ...], options: tuple[str, ...]) -> None:
    said = cli("choose", QUESTION, *options, "--raw", *there)
    assert said.status == 2
    assert "two options" in said.err


def test_a_chat_without_prefill_is_steered_and_its_first_token_is_exact(oracle: str, pair: Pair) -> None:
    with connect(oracle, model="oracle", adapter="chat_continue", options={"top_k": 3}) as api:
        found = steer(QUESTION, api=api, offsets=pair, steering=Steering(alpha=0.0, max_tokens=1))
    assert (found.text, found.exactness) == ("Yes", "exact")


def test_the_pair_tilts_the_odds_by_what_it_scores(oracle: str, pair: Pair) -> None:
    """q ~ p (E / A)^alpha, by the pair's own scores of the whole options."""
    with connect(oracle, model="oracle", options={"top_k": 3}) as api:
        asked, own = Prompt(text=QUESTION), Prompt(text="Wet?")
        plain, tilted = (
            Steerer(api, pair, Steering(alpha=alpha)).choose(asked, ["Yes", "Maybe"], pair_prompt=own)
            for alpha in (0.0, 1.5)
        )
    offset = pair.score(b"", [b"Yes", b"Maybe"], prompt=own).offset
    assert [o.offset for o in tilted.options] == pytest.approx(offset.tolist(), abs=1e-6)
    odds = plain.options[0].steered / plain.options[1].steered * 2.718281828 ** (1.5 * (offset[0] - offset[1]))
    assert tilted.options[0].steered / tilted.options[1].steered == pytest.approx(odds, rel=1e-5)


def test_scores_are_the_pairs(cli: Cli, pair: Pair, pair_path: Path) -> None:
    said = cli("score", "The ", "a", "\u00e9", "--pair", str(pair_path), "--json")
    assert said.status == 0, said.err
    right = pair.score(b"The ", [b"a", "\u00e9".encode()])
    found = json.loads(said.out)
    assert [row["expert"] for row in found["scores"]] == pytest.approx(right.expert.tolist(), abs=2e-3)
    assert found["end"]["anti_expert"] == pytest.approx(right.end[1], abs=2e-3)
    shown = cli("score", "The ", "a", "\u00e9", "--pair", str(pair_path))
    assert "\u00e9" in shown.out
    assert "<end>" in shown.out


@pytest.mark.parametrize("bad", [{"tolerance": -1.0}, {"tolerance": math.nan}, {"small": 1.0}, {"small": math.nan}])
def test_a_tolerance_that_is_none_is_refused_by_name(pair: Pair, bad: dict[str, float]) -> None:
    with pytest.raises(InputError, match=f"{next(iter(bad))} must be"):
        pair.score(b"The ", [b"a"], **bad)  # type: ignore[arg-type]


def test_several_answers_are_the_librarys(cli: Cli, where: tuple[str, ...], pair: Pair, api_url: str) -> None:
    drawn = ("--temperature", "0.9", "--seed", "5", "--n", "2", "--max-tokens", "6", "--target", "topk", "--trace")
    said = cli("steer", QUESTION, *where, *drawn, "--json")
    assert said.status == 0, said.err
    steering = Steering(temperature=0.9, seed=5, max_tokens=6, target="topk")
    with connect(api_url, model="tiny", template="chatml") as api:
        right = list(Steerer(api, pair, steering).sample(QUESTION, 2))
    found = json.loads(said.out)["answers"]
    assert [one["text"] for one in found] == [result.text for result in right]
    assert found[0]["log_weight"] == pytest.approx(right[0].log_weight, abs=1e-3)
    assert found[0]["certified"] == right[0].certified


def test_equal_greedy_answers_are_not_drawn_twice(cli: Cli, where: tuple[str, ...]) -> None:
    said = cli("steer", QUESTION, *where, "--n", "2")
    assert said.status == 2
    assert "temperature above 0" in said.err
