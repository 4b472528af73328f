"""One knob, `way`: which means of going on from a text is taken, which an endpoint cannot, and what the result says."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest

from blackbox_proxy.errors import InputError
from blackbox_proxy.run.steerer import steer
from blackbox_proxy.steering import Steering, Way
from blackbox_proxy.testing import ToyApi
from blackbox_proxy.types import Result
from tests.fault_bench import EMPTY, QUESTION, STEERING, Bench, benched

LONG = replace(STEERING, max_tokens=9)


@pytest.fixture(scope="module")
def bench() -> Iterator[Bench]:
    with benched() as opened:
        yield opened


def answer(bench: Bench, route: str, way: Way) -> Result:
    return bench.answer(route, "steer", steering=replace(LONG, way=way))


@pytest.mark.parametrize(
    ("route", "way", "taken", "exactness"),
    [
        ("text", "token", "raw", "exact"),
        ("chat_prefill", "auto", "prefill", "exact"),
        ("forcing", "auto", "forced", "forced"),
        ("forcing", "token", "forced", "forced"),
        ("forcing", "forced", "forced", "forced"),
        ("forcing", "words", "words", "approximate"),
        ("three ways", "words", "words", "approximate"),
    ],
)
def test_the_way_that_is_named_is_taken_and_told(
    bench: Bench, route: str, way: Way, taken: str, exactness: str
) -> None:
    result = answer(bench, route, way)
    assert (result.way, result.exactness) == (taken, exactness)


def test_an_answer_of_one_reply_was_gone_on_from_by_nothing(bench: Bench) -> None:
    result = bench.answer("forcing", "steer", steering=Steering(alpha=0.0, max_tokens=3))
    assert (result.way, result.exactness) == ("token", "exact")


@pytest.mark.parametrize("way", ["forced", "words"])
@pytest.mark.parametrize("route", ["text", "chat_prefill", "echo"])
def test_an_endpoint_that_goes_on_by_itself_takes_neither(bench: Bench, route: str, way: Way) -> None:
    with pytest.raises(InputError, match=f"way='{way}' is for a chat"):
        answer(bench, route, way)


def test_what_no_schema_can_demand_is_an_error_before_anything_is_sent(bench: Bench) -> None:
    before = bench.traffic.total
    with pytest.raises(InputError, match="needs an endpoint whose structured output"):
        answer(bench, "three ways", "forced")
    with pytest.raises(InputError, match="needs strategies that go that way, and there are: forced"):
        answer(bench, "forced", "words")
    assert bench.traffic.total == before


def test_an_endpoint_of_another_kind_says_so(bench: Bench) -> None:
    api = ToyApi(bench.pair.expert, bench.pair.spell)
    with pytest.raises(InputError, match="cannot be asked of ToyApi"):
        steer(QUESTION, api=api, offsets=bench.pair, steering=replace(LONG, way="forced"), pair_prompt=EMPTY)
