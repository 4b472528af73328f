"""The engine's arithmetic against slow and obvious versions of it."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from blackbox_proxy.standin.engine import SamplingParams, choose, most_probable, shown_token
from blackbox_proxy.types import Logits

ROWS = arrays(np.float32, st.integers(1, 300), elements=st.integers(-20, 20).map(lambda tenth: tenth / 4))


def softmax(logits: Logits) -> list[float]:
    masses = [math.exp(value) for value in logits.tolist()]
    return [mass / math.fsum(masses) for mass in masses]


@given(ROWS, st.integers(1, 310))
def test_the_most_probable_come_first_and_equals_in_the_order_of_their_ids(logits: Logits, k: int) -> None:
    assert most_probable(logits, k).tolist() == sorted(range(len(logits)), key=lambda i: (-logits[i], i))[:k]


@given(ROWS, st.data())
def test_logps_are_the_softmax_at_temperature_1(logits: Logits, data: st.DataObject) -> None:
    chosen = data.draw(st.integers(0, len(logits) - 1))
    token = shown_token(logits, chosen, top_k=len(logits))
    expected = softmax(logits)
    assert token.logp is not None
    assert token.top is not None
    assert math.exp(token.logp) == pytest.approx(expected[chosen], rel=1e-5)
    assert np.exp(token.top.logps) == pytest.approx([expected[i] for i in token.top.ids], rel=1e-5)


@given(ROWS)
def test_nothing_is_computed_when_nobody_asks(logits: Logits) -> None:
    token = shown_token(logits, 0, top_k=None)
    assert token.logp is None
    assert token.top is None


@given(ROWS)
def test_temperature_0_takes_the_first_of_the_largest(logits: Logits) -> None:
    chance = np.random.default_rng(0)
    assert choose(logits, SamplingParams(max_tokens=1), chance=chance) == logits.tolist().index(max(logits.tolist()))


@given(ROWS, st.integers(0, 2**32))
def test_a_temperature_near_0_is_greedy_where_there_is_no_tie(logits: Logits, seed: int) -> None:
    top = sorted(logits.tolist())[-2:]
    order = SamplingParams(max_tokens=1, temperature=1e-300)
    chosen = choose(logits, order, chance=np.random.default_rng(seed))
    assert logits[chosen] == top[-1]


def nucleus(logits: Logits, *, temperature: float, top_p: float) -> set[int]:
    """The fewest most probable ids whose probabilities reach top_p."""
    ranked = sorted(enumerate(softmax(logits / np.float32(temperature))), key=lambda pair: -pair[1])
    kept: set[int] = set()
    reached = 0.0
    for i, mass in ranked:
        if kept and reached >= top_p - 1e-9:
            break
        kept.add(i)
        reached += mass
    return kept


@given(st.permutations(range(12)), st.floats(0.05, 0.95), st.sampled_from([0.5, 1.0, 2.0]), st.integers(0, 2**32))
def test_only_the_nucleus_is_drawn_from(order: list[int], top_p: float, temperature: float, seed: int) -> None:
    logits: Logits = np.array([rank / 2 for rank in order], dtype=np.float32)
    how = SamplingParams(max_tokens=1, temperature=temperature, top_p=top_p)
    assert choose(logits, how, chance=np.random.default_rng(seed)) in nucleus(
        logits, temperature=temperature, top_p=top_p
    )


@pytest.mark.parametrize("temperature", [0.5, 1.0, 2.0])
def test_draws_follow_the_tempered_distribution(temperature: float) -> None:
    """20,000 draws; a frequency strays from its probability by more than five standard errors once in millions."""
    logits = np.array([1.0, 0.0, 2.5, -1.0, 0.5], dtype=np.float32)
    expected = softmax(logits / np.float32(temperature))
    chance, order, draws = np.random.default_rng(7), SamplingParams(max_tokens=1, temperature=temperature), 20_000
    counts = np.bincount([choose(logits, order, chance=chance) for _ in range(draws)], minlength=5)
    for count, mass in zip(counts, expected, strict=True):
        assert abs(count / draws - mass) < 5 * math.sqrt(mass * (1 - mass) / draws)


def test_a_nucleus_of_more_than_a_thousand_is_whole() -> None:
    """A flat distribution: the shortcut that sorts only the best 1,024 must see that these do not reach top_p."""
    logits = np.zeros(5000, dtype=np.float32)
    chance, order = np.random.default_rng(1), SamplingParams(max_tokens=1, temperature=1.0, top_p=0.9)
    drawn = [choose(logits, order, chance=chance) for _ in range(500)]
    assert 1024 < max(drawn) < 4502
