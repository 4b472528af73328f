"""Properties of the rules by which offsets abstain: what they leave alone, and what they bound."""

from __future__ import annotations

import math
from typing import get_args

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from blackbox_proxy import steering
from blackbox_proxy.core.decoding.combine import REAL, Field, score
from blackbox_proxy.core.decoding.offsets import Clipped, Plausible, Pooled, Ratio, Rule, Weighted, rule_of
from blackbox_proxy.learnt import LearntWeights
from blackbox_proxy.steering import Steering
from tests.properties.test_combine_properties import alphas, fields

RULES = (
    Ratio(),
    Pooled(1e-3),
    Pooled(1e-6, flipped=True),
    Clipped(2.0),
    Plausible(0.02),
    Plausible(0.3, flipped=True),
    Weighted((1.2, 0.4), 1e-6),
    Weighted((0.3, -0.4), 1e-3, flipped=True),
)
WEIGHTS = LearntWeights.read("one:1:0,expert:1:1")
rules = st.sampled_from(RULES)
clips = st.floats(0.1, 10.0)


def with_another(field: Field, masses: tuple[float, float]) -> Field:
    """The same field with one more unseen string, of mass that is still to be had."""
    wider = np.column_stack([field.masses, masses])
    return Field(field.logp, wider, wider, np.append(field.disjoint, True), field.tail, field.ceiling)


@given(made=fields(), rule=rules)
def test_a_rule_gives_every_string_a_finite_offset(made: tuple[Field, list[bytes]], rule: Rule) -> None:
    field, _ = made
    found = rule(field)
    assert found.shape == (field.masses.shape[1],)
    assert np.isfinite(found).all()


@given(made=fields(), clip=clips, alpha=alphas)
def test_a_clipped_offset_is_the_ratio_within_its_bound(
    made: tuple[Field, list[bytes]], clip: float, alpha: float
) -> None:
    field, _ = made
    free, cut = Ratio()(field), Clipped(clip)(field)
    assert (np.abs(cut) <= clip).all()
    inside = np.abs(free) <= clip
    np.testing.assert_array_equal(cut[inside], free[inside])
    np.testing.assert_array_equal(np.sign(cut), np.sign(free))
    assert Clipped(clip).most(field, alpha=alpha) == abs(alpha) * clip


@given(made=fields(), share=st.floats(0.01, 0.9))
def test_only_what_the_expert_finds_plausible_can_win(made: tuple[Field, list[bytes]], share: float) -> None:
    """By the definition: at least `share` of the expert's best, among those that may win at all."""
    field, _ = made
    assume(field.tail > 0.0)
    scores = score(field, Plausible(share), alpha=1.0, evidence=0.0)
    expert = field.masses[0]
    winner = int(np.argmax(scores.score))
    assert expert[winner] >= share * expert.max()
    plausible = expert >= share * expert.max()
    np.testing.assert_array_equal(Plausible(share)(field)[plausible], Ratio()(field)[plausible])


@given(
    made=fields(),
    evidence=st.sampled_from([1e-6, 1e-3, 0.1]),
    alpha=alphas,
    shares=st.tuples(st.floats(0.0, 1.0), st.floats(0.0, 1.0)),
    flipped=st.booleans(),
)
def test_no_string_outside_gains_more_than_the_most(
    made: tuple[Field, list[bytes]], evidence: float, alpha: float, shares: tuple[float, float], *, flipped: bool
) -> None:
    """Whatever shares of what is left over one more string has; with real mass it would be a candidate itself."""
    field, _ = made
    rule = Pooled(evidence, flipped=flipped)
    left = np.maximum(1.0 - field.masses[:, field.disjoint].sum(axis=1), 0.0)
    another = (min(float(left[0] * shares[0]), 0.9 * REAL), min(float(left[1] * shares[1]), 0.9 * REAL))
    gain = alpha * rule(with_another(field, another))[-1]
    assert gain <= rule.most(field, alpha=alpha) + 1e-9


@given(made=fields(), rule=rules)
def test_without_alpha_nothing_is_gained(made: tuple[Field, list[bytes]], rule: Rule) -> None:
    assert rule.most(made[0], alpha=0.0) == 0.0


def test_a_ratio_is_bounded_by_nothing() -> None:
    masses = np.array([[0.5], [0.5]])
    field = Field(np.log([0.5]), masses, masses, np.array([True]), 0.5, math.log(0.5))
    for rule in (Ratio(), Pooled(0.0), Plausible(0.1), Weighted((1.0, 0.1), 0.0), Weighted((-0.1, -1.0), 0.0)):
        assert rule.most(field, alpha=1.0) == math.inf


@pytest.mark.parametrize(
    ("steering", "rule"),
    [
        (Steering(rule="none"), Ratio()),
        (Steering(rule="clip", clip=3.0), Clipped(3.0)),
        (Steering(rule="plausible", plausible=0.1), Plausible(0.1)),
        (Steering(rule="plausible", plausible=0.1, alpha=-1.0), Plausible(0.1, flipped=True)),
        (Steering(rule="pooled", evidence=1e-4), Pooled(1e-4)),
        (Steering(rule="pooled", evidence=1e-4, alpha=-1.0), Pooled(1e-4, flipped=True)),
        (Steering(rule="learnt", learnt=WEIGHTS, evidence=1e-4), Weighted((1.5, 0.5), 1e-4)),
        (Steering(rule="learnt", learnt=WEIGHTS, evidence=1e-4, alpha=-1.0), Weighted((1.5, 0.5), 1e-4, flipped=True)),
    ],
)
def test_the_knobs_name_their_rule(steering: Steering, rule: Rule) -> None:
    powers = steering.powers_at((1.0, 0.5, 0.0, 0.0))
    assert rule_of(steering, alpha=steering.alpha, powers=powers) == rule


def test_every_rule_that_can_be_named_is_among_those_that_are_tested() -> None:
    named = {type(rule_of(Steering(rule=name, learnt=WEIGHTS), alpha=1.0)) for name in get_args(steering.Rule)}
    assert named == {type(rule) for rule in RULES}
