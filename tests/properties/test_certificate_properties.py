"""A certificate is never false, and a bound is never passed, whatever the API's distribution is beyond what it showed.

Held against random distributions whose tails are known to the test and hidden from the code.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from blackbox_proxy.core.decoding import sampling
from blackbox_proxy.core.decoding.certificate import NOTHING, Unseen, is_certain, unseen_weight
from blackbox_proxy.steering import Steering
from blackbox_proxy.types import Floats

EXACT = 1e-9


@dataclass
class Case:
    """A distribution p over a few tokens, alpha * offset of each, and how many of the likeliest the API showed."""

    p: Floats
    gain: Floats
    shown: int

    @property
    def weights(self) -> Floats:
        """w of the shown tokens, then of the unseen ones."""
        return np.asarray(self.p * np.exp(self.gain), dtype=np.float64)

    def unseen(self, *, listed: bool) -> Unseen:
        rest = self.gain[self.shown :]
        tail = max(0.0, 1.0 - float(self.p[: self.shown].sum()))
        return Unseen(tail, math.log(self.p[self.shown - 1]), float(rest.max()), rest if listed else None)


def random_case(rng: np.random.Generator) -> Case:
    """Peaked, flat and middling distributions; offsets from timid to wild; from two shown tokens to all but one."""
    size = int(rng.integers(4, 60))
    p = np.sort(rng.dirichlet(np.full(size, rng.choice([0.05, 0.2, 1.0]))) + 1e-12)[::-1]
    gain = rng.choice([0.5, 1.0, 1.5]) * rng.normal(0, rng.choice([0.5, 1.0, 3.0]), size).clip(-6, 6)
    return Case(p / p.sum(), gain, int(rng.integers(2, min(size, 21))))


def check_case(case: Case, knobs: Steering) -> bool:
    """All that a step claims of this distribution, against the truth; whether the greedy choice was certified."""
    log, k = np.log(case.p[: case.shown]) + case.gain[: case.shown], case.shown
    for listed in (True, False):
        unseen = case.unseen(listed=listed)
        low, high = unseen_weight(unseen)
        assert low <= case.weights[k:].sum() * (1 + EXACT) + EXACT
        assert case.weights[k:].sum() <= high * (1 + EXACT) + EXACT
        tempered = ((case.p * np.exp(case.gain)) ** (1 / knobs.temperature))[k:].sum()
        assert tempered <= unseen_weight(unseen, temperature=knobs.temperature)[1] * (1 + EXACT) + EXACT
        bound = sampling.truncated_tv_bound(log, known=k, unseen=unseen, steering=knobs)
        assert distance_to_truth(case, knobs) <= bound + EXACT
    chosen = sampling.best(log, known=k, drafted=None, unseen=case.unseen(listed=True))
    assert not chosen.certified or int(np.argmax(case.weights)) == chosen.index
    return chosen.certified


def distance_to_truth(case: Case, knobs: Steering) -> float:
    """Total variation between the distribution over shown tokens and that over all, both tempered and truncated."""
    whole = sampling.tempered(np.log(case.p) + case.gain, knobs)
    part = np.zeros(len(whole))
    part[: case.shown] = sampling.tempered((np.log(case.p) + case.gain)[: case.shown], knobs)
    return float(0.5 * np.abs(whole - part).sum())


def random_knobs(rng: np.random.Generator) -> Steering:
    temperature = float(rng.choice([0.5, 0.7, 1.0, 1.3, 2.0]))
    if rng.random() < 0.5:
        return Steering(temperature=temperature)
    top_p, min_p = float(rng.uniform(0.3, 1.0)), float(rng.choice([0.0, 0.05, 0.3]))
    return Steering(temperature=temperature, top_p=top_p, min_p=min_p)


def check_many(count: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    certified = sum(check_case(random_case(rng), random_knobs(rng)) for _ in range(count))
    print(f"{count} random distributions: {certified} certified choices, 0 false; no bound passed")
    assert count / 10 < certified < count


def test_no_certificate_is_false_and_no_bound_is_passed() -> None:
    check_many(3000, 0)


@pytest.mark.slow
@pytest.mark.long
def test_a_hundred_thousand_certificates_are_true() -> None:
    check_many(100_000, 1)


@given(st.floats(0.01, 1.0), st.floats(-12.0, -0.1), st.lists(st.floats(-5, 5), min_size=1, max_size=12))
def test_the_bounds_are_tight(tail: float, ceiling: float, gains: list[float]) -> None:
    """The distributions that fill the best (or worst) tokens to the ceiling first reach them."""
    cap = math.exp(min(ceiling, math.log(tail)))
    if cap * len(gains) < tail:
        return  # no such distribution: so few tokens cannot hold the tail
    low, high = unseen_weight(Unseen(tail, ceiling, max(gains), np.array(gains)))
    reached = [filled(sorted(gains), tail, cap), filled(sorted(gains, reverse=True), tail, cap)]
    assert low == pytest.approx(reached[0], rel=1e-4)
    assert high == pytest.approx(reached[1], rel=1e-4)


def filled(gains: list[float], tail: float, cap: float) -> float:
    """Weight of the distribution that gives each token in turn as much as it may have."""
    total = 0.0
    for gain in gains:
        part = min(cap, tail)
        total, tail = total + part * math.exp(gain), tail - part
    return total


def test_nothing_unseen_leaves_nothing_open() -> None:
    score = np.array([0.0, -1.0])
    assert unseen_weight(NOTHING) == (0.0, 0.0)
    assert is_certain(-50.0, NOTHING)
    assert sampling.tv_bound(score, known=2, unseen=NOTHING) == 0.0
    assert sampling.best(score, known=2, drafted=None, unseen=NOTHING).certified


def test_an_imputed_winner_is_never_certified() -> None:
    """Its log-prob is a guess: the API may give it less."""
    assert not sampling.best(np.array([0.0, 1.0]), known=1, drafted=None, unseen=NOTHING).certified


def test_rounding_alone_makes_no_certificate() -> None:
    """The shown log-probs sum to one but for the last digit: an offset of 20 nats could still find a winner there."""
    assert not is_certain(math.log(0.5), Unseen(0.0, math.log(0.5), 20.0))
    assert is_certain(math.log(0.5), Unseen(0.0, math.log(0.5), 5.0))


def test_a_larger_distribution_above_temperature_one_has_no_bound_without_a_list() -> None:
    """Ever more tokens of ever less probability weigh ever more: only a list of them bounds it."""
    open_ended = Unseen(0.1, -5.0, 1.0)
    assert unseen_weight(open_ended, temperature=1.5)[1] == math.inf
    assert sampling.tv_bound(np.array([0.0]), known=1, unseen=open_ended, temperature=1.5) == 1.0
