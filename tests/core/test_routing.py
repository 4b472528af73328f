"""Who answers on a route: the expert at threshold 0, the other way above 1, and never more of it with a higher one."""

from __future__ import annotations

import asyncio
import math
from dataclasses import replace
from decimal import Decimal
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from blackbox_proxy.core.alignment.vocabulary import Vocabulary
from blackbox_proxy.core.decoding.routing import LEAST, Elsewhere, Route, RouteFeature, answer_features
from blackbox_proxy.core.decoding.sources import OffsetTable
from blackbox_proxy.errors import InputError
from blackbox_proxy.run.engine import AsyncStream, Stream
from blackbox_proxy.run.steerer import Steerer
from blackbox_proxy.run.ways import open_choice, open_expert, open_routed
from blackbox_proxy.steering import Steering
from blackbox_proxy.types import Kind, Origin, Prompt, Result, TokenPath
from tests.core.toys import TOY, toy_api, toy_pair

PROMPT = Prompt(text="ab")
STEERING = Steering(max_tokens=6, alpha=0.5, repetition_stop=16)
WEIGHTS: tuple[tuple[RouteFeature, float], ...] = (("one", 1.0), ("answer", 0.3), ("distance", -0.5))
OPTIONS = ("a", "ba")


def routed(
    threshold: float, *, elsewhere: Elsewhere = "steered", seed: int = 1, steering: Steering = STEERING
) -> Result:
    """The answer of a route, by toy models."""
    route = Route(threshold, elsewhere, WEIGHTS)
    api, pair = toy_api(), toy_pair(seed)
    return Stream(open_routed(route, PROMPT, PROMPT, api=api, offsets=pair, steering=steering, options=OPTIONS)).result


def alone(seed: int = 1, steering: Steering = STEERING) -> Result:
    return Stream(open_expert(PROMPT, offsets=toy_pair(seed), steering=steering)).result


def test_the_expert_alone_says_what_it_finds_likeliest_and_calls_nobody() -> None:
    pair, path, said = toy_pair(), TokenPath(), b""
    result = alone()
    for step in result.steps:
        logits = pair.expert.logits(pair.prompt(PROMPT).expert + path)
        best = int(logits.argmax())
        share = math.exp(float(logits[best]) - math.log(sum(math.exp(float(one)) for one in logits)))
        assert step.logp_after == pytest.approx(math.log(share), abs=1e-5)
        assert step.kind is (Kind.END if best in TOY.ends else Kind.TEXT)
        path, said = (*path, best), said + step.piece
    assert result.text == said.decode("utf-8", "replace")
    assert (result.exactness, result.is_local, result.cost, result.usage.requests) == ("local", True, Decimal(0), 0)
    assert {step.origin for step in result.steps} == {Origin.EXPERT}
    assert (result.changed, result.outside) == (0, 0)


def test_a_control_token_is_no_part_of_the_answer_of_the_expert() -> None:
    vocabulary = Vocabulary([b"a", b"b", b"<end>", b"<turn>"], ends=[2], special=[3])
    for seed in range(20):
        stream = Stream(open_expert(PROMPT, offsets=toy_pair(seed, vocabulary), steering=STEERING))
        assert all(step.piece or step.kind is Kind.END for step in stream.result.steps)


def test_a_stop_string_ends_the_answer_of_the_expert() -> None:
    whole = next(one for seed in range(20) if len((one := alone(seed, Steering(max_tokens=12))).text) > 3)
    stop = whole.text[2:3]
    seed = next(seed for seed in range(20) if alone(seed, Steering(max_tokens=12)).text == whole.text)
    cut = alone(seed, Steering(max_tokens=12, stop=(stop,)))
    assert (cut.finish, cut.text) == ("stop_string", whole.text[: whole.text.index(stop)])


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("elsewhere", ["closed", "steered", "choice"])
def test_at_threshold_0_the_expert_answers_and_above_1_the_other_way(elsewhere: Elsewhere, seed: int) -> None:
    steering = replace(STEERING, alpha=0.0) if elsewhere == "closed" else STEERING
    local = routed(0.0, elsewhere=elsewhere, seed=seed, steering=steering)
    assert local.steps == alone(seed, steering).steps
    assert (local.is_local, local.cost, local.usage.requests) == (True, Decimal(0), 0)
    api, pair = toy_api(), toy_pair(seed)
    other = routed(1.1, elsewhere=elsewhere, seed=seed, steering=steering)
    if elsewhere == "choice":
        best = Steerer(api, pair, steering).choose(PROMPT, OPTIONS).likeliest
        assert other.text == best.text
        assert other.steps[0].logp_after == pytest.approx(math.log(best.steered))
    else:
        offsets = OffsetTable({}) if elsewhere == "closed" else pair
        assert other.text == Steerer(api, offsets, steering).complete(PROMPT).text
    assert (other.is_local, other.usage.requests > 0) == (False, True)
    assert local.sureness == other.sureness
    assert local.sureness is not None


@settings(max_examples=30, deadline=None)
@given(st.lists(st.floats(0.0, 1.2), min_size=2, max_size=6), st.integers(0, 400))
def test_the_share_of_the_expert_falls_with_the_threshold(thresholds: list[float], seed: int) -> None:
    features = [answer_features(alone(seed + n).steps) for n in range(4)]
    shares = [sum(map(Route(one, "closed", WEIGHTS).takes, features)) for one in sorted(thresholds)]
    assert all(more >= fewer for more, fewer in pairwise(shares))


def test_what_is_known_of_an_answer() -> None:
    steps = alone(steering=Steering(max_tokens=4)).steps
    logps = [step.logp_after or 0.0 for step in steps]
    one, answer, weakest, end, distance = answer_features(steps)
    assert one == 1.0
    ended = steps[-1].kind is Kind.END
    assert end == (logps[-1] if ended else LEAST)
    assert answer == pytest.approx(sum(logps) + (0.0 if ended else LEAST))
    assert weakest == min([*logps, end])
    assert distance == pytest.approx(sum(step.divergence or 0.0 for step in steps) / len(steps))
    assert answer_features(()) == (1.0, LEAST, LEAST, LEAST, 0.0)


def test_a_route_is_the_same_for_asyncio() -> None:
    for threshold in (0.0, 1.1):
        opened = open_routed(
            Route(threshold, "steered", WEIGHTS), PROMPT, PROMPT, api=toy_api(), offsets=toy_pair(), steering=STEERING
        )
        awaited = asyncio.run(AsyncStream(opened).result())
        assert awaited.steps == routed(threshold).steps


def test_options_are_chosen_among_as_by_choose() -> None:
    for seed in range(8):
        api, pair = toy_api(seed), toy_pair(seed)
        opened = open_choice(PROMPT, PROMPT, OPTIONS, api=api, offsets=pair, steering=STEERING)
        result, choice = Stream(opened).result, Steerer(api, pair, STEERING).choose(PROMPT, OPTIONS)
        assert (result.text, result.finish) == (choice.likeliest.text, "stop")
        assert result.usage.requests == choice.usage.requests
        assert result.steps[0].certified is choice.certified


@pytest.mark.parametrize(
    ("threshold", "weights", "said"),
    [
        (0.5, (), "must name some of"),
        (0.5, (("one", 1.0), ("one", 2.0)), "each once"),
        (math.nan, (("one", 1.0),), "finite"),
        (-0.1, (("one", 1.0),), "0 or more"),
    ],
)
def test_what_is_no_route_is_said(threshold: float, weights: tuple[tuple[str, float], ...], said: str) -> None:
    with pytest.raises(InputError, match=said):
        Route(threshold, "closed", weights)  # type: ignore[arg-type]


def test_without_a_pair_nobody_can_answer_alone() -> None:
    with pytest.raises(InputError, match="is no pair"):
        open_expert(PROMPT, offsets=OffsetTable({}), steering=STEERING)
