"""Properties of the rule `learnt`: what it comes to with one alpha, what it bounds, and how its weights are fitted."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import assume, given, reject
from hypothesis import strategies as st
from scipy.optimize import minimize

from blackbox_proxy.core.decoding import learning
from blackbox_proxy.core.decoding.certificate import Unseen, is_certain
from blackbox_proxy.core.decoding.combine import REAL, Field, score
from blackbox_proxy.core.decoding.learning import fit_weights, nats_lost
from blackbox_proxy.core.decoding.offsets import Pooled, Ratio, Weighted
from blackbox_proxy.errors import InputError, ReplyError
from blackbox_proxy.learnt import FEATURES, LearntWeights
from blackbox_proxy.run.steerer import steer
from blackbox_proxy.steering import Steering
from blackbox_proxy.types import Floats, ReferencePlace, Result
from tests.core.toys import toy_api, toy_pair
from tests.properties.test_combine_properties import alphas, fields
from tests.properties.test_loop_properties import LONG, PROMPT, WHOLE, seeds
from tests.properties.test_offsets_properties import with_another

powers = st.tuples(st.floats(-2.0, 3.0), st.floats(-2.0, 3.0))
weights = st.lists(st.floats(-2.0, 3.0), min_size=8, max_size=8).map(np.array)
evidences = st.sampled_from([1e-9, 1e-6, 1e-3, 0.1])


def random_line(
    rng: np.random.Generator, true: LearntWeights, *, places: int = 8, classes: int = 6
) -> list[ReferencePlace]:
    """Places at which the reference's own class is drawn from the distribution with these weights."""
    return [_random_place(rng, true, classes=classes) for _ in range(places)]


def _random_place(rng: np.random.Generator, true: LearntWeights, *, classes: int) -> ReferencePlace:
    logp, expert, other = np.log(rng.dirichlet(np.full(classes, 0.3), size=3) + 1e-6)
    apart = float(np.abs(np.exp(expert) - np.exp(other)).sum() / 2)
    features = 1.0, float(np.exp(expert.max())), apart, float(np.exp(logp.max()))
    b, c = true.powers(features)
    steered = logp + b * expert - c * other
    share = np.exp(steered - np.logaddexp.reduce(steered))
    chosen = int(rng.choice(classes, p=share / share.sum()))
    return ReferencePlace(tuple(logp.tolist()), tuple(expert.tolist()), tuple(other.tolist()), features, chosen)


def random_lines(seed: int, true: LearntWeights, *, lines: int = 12, places: int = 8) -> list[list[ReferencePlace]]:
    rng = np.random.default_rng(seed)
    return [random_line(rng, true, places=places) for _ in range(lines)]


def weights_of(w: Floats) -> LearntWeights:
    b, c = w.reshape(2, -1).tolist()
    return LearntWeights(tuple(zip(FEATURES, b, c, strict=True)))


def total(w: Floats, lines: list[list[ReferencePlace]]) -> float:
    """Minus the log-likelihood by the definition, place by place."""
    lost = 0.0
    for place in (place for line in lines for place in line):
        b, c = weights_of(w).powers(place.features)
        steered = np.array(place.logp) + b * np.array(place.expert) - c * np.array(place.anti_expert)
        lost += float(np.logaddexp.reduce(steered) - steered[place.chosen])
    return lost


@given(made=fields(), alpha=alphas, evidence=st.sampled_from([0.0, 1e-9, 1e-3]))
def test_with_one_alpha_for_both_it_is_the_ratio(
    made: tuple[Field, list[bytes]], alpha: float, evidence: float
) -> None:
    """That of the rule `pooled`, or without evidence of the rule `none`."""
    field, _ = made
    plain = Pooled(evidence) if evidence else Ratio()
    rule = Weighted((alpha, alpha), evidence)
    usual = score(field, plain, alpha=alpha, evidence=evidence)
    learnt = rule.apart(score(field, rule, alpha=1.0, evidence=evidence), field)
    np.testing.assert_allclose(learnt.score, usual.score, rtol=1e-12, atol=1e-12)
    assert learnt.rest == pytest.approx(alpha * usual.rest, rel=1e-12, abs=1e-12)
    if alpha >= 0.0:
        assert rule.most(field, alpha=1.0) == pytest.approx(plain.most(field, alpha=alpha), rel=1e-12)


def answered(seed: int, steering: Steering) -> Result:
    try:
        return steer(PROMPT, api=toy_api(seed, WHOLE), offsets=toy_pair(seed + 7, LONG), steering=steering)
    except ReplyError:
        reject()


@given(seed=seeds, alpha=st.sampled_from([0.5, 1.0, 2.0]), temperature=st.sampled_from([0.0, 1.0]))
def test_an_answer_by_one_alpha_is_that_of_the_rule_without_weights(
    seed: int, alpha: float, temperature: float
) -> None:
    plain = Steering(alpha=alpha, rule="none", evidence=0.0, max_tokens=8, temperature=temperature)
    learnt = replace(plain, alpha=1.0, rule="learnt", learnt=LearntWeights.fixed(alpha))
    usual, found = answered(seed, plain), answered(seed, learnt)
    assert found.text == usual.text
    for one, other in zip(found.steps, usual.steps, strict=True):
        assert (one.piece, one.certified, one.origin) == (other.piece, other.certified, other.origin)
        assert one.logp_after == pytest.approx(other.logp_after, abs=1e-12)
        assert one.tv_bound == pytest.approx(other.tv_bound, abs=1e-12)


@given(
    made=fields(),
    powers=powers,
    evidence=evidences,
    alpha=st.sampled_from([1.0, 0.5, -1.0]),
    shares=st.tuples(st.floats(0.0, 1.0), st.floats(0.0, 1.0)),
    p=st.floats(0.0, 1.0),
)
def test_no_string_outside_gains_more_than_the_most_and_no_certificate_is_false(
    made: tuple[Field, list[bytes]],
    powers: tuple[float, float],
    evidence: float,
    alpha: float,
    shares: tuple[float, float],
    p: float,
) -> None:
    """Whatever shares of what remains one more string has, and whatever the API gives it of its tail."""
    field, _ = made
    assume(field.tail > 0.0)
    rule = Weighted(powers, evidence, flipped=alpha < 0.0)
    rest = np.maximum(1.0 - field.masses[:, field.disjoint].sum(axis=1), 0.0)
    another = (min(float(rest[0] * shares[0]), 0.9 * REAL), min(float(rest[1] * shares[1]), 0.9 * REAL))
    gain = alpha * float(rule(with_another(field, another))[-1])
    most = rule.most(field, alpha=alpha)
    assert gain <= most + 1e-9
    scores = score(field, rule, alpha=alpha, evidence=evidence)
    best = float(scores.score[: len(field.logp)].max())
    logp = min(field.ceiling, math.log(max(field.tail * p, 1e-300)))
    if is_certain(best, Unseen(field.tail, field.ceiling, most)):
        assert logp + gain < best


@given(seed=seeds, w=weights, data=st.data())
def test_the_order_of_classes_and_of_places_does_not_count(seed: int, w: Floats, data: st.DataObject) -> None:
    lines = random_lines(seed, LearntWeights.fixed(1.0), lines=2)
    order = data.draw(st.permutations(range(6)))

    def turned(place: ReferencePlace) -> ReferencePlace:
        columns = (tuple(column[i] for i in order) for column in (place.logp, place.expert, place.anti_expert))
        logp, expert, other = columns
        return ReferencePlace(logp, expert, other, place.features, order.index(place.chosen))

    moved = [[turned(place) for place in reversed(line)] for line in reversed(lines)]
    assert nats_lost(weights_of(w), moved) == pytest.approx(nats_lost(weights_of(w), lines), rel=1e-9, abs=1e-12)


@given(seed=seeds, w=weights, other=weights, share=st.floats(0.0, 1.0))
def test_the_loss_is_that_of_the_definition_and_convex(seed: int, w: Floats, other: Floats, share: float) -> None:
    lines = random_lines(seed, LearntWeights.fixed(1.0), lines=2)
    count = sum(map(len, lines))
    assert nats_lost(weights_of(w), lines) * count == pytest.approx(total(w, lines), rel=1e-9)
    between = total(share * w + (1.0 - share) * other, lines)
    assert between <= share * total(w, lines) + (1.0 - share) * total(other, lines) + 1e-6


@given(seed=seeds, w=weights)
def test_gradient_and_hessian_are_those_of_finite_differences(seed: int, w: Floats) -> None:
    lines = random_lines(seed, LearntWeights.fixed(1.0), lines=2)
    table = learning._Table.of(lines)
    gradient, hessian, step = learning._gradient(table, w), learning._hessian(table, w), 1e-5
    for n, direction in enumerate(np.eye(len(w)) * step):
        slope = (total(w + direction, lines) - total(w - direction, lines)) / (2 * step)
        assert gradient[n] == pytest.approx(slope, rel=1e-4, abs=1e-3)
        ahead, behind = (learning._gradient(table, w + sign * direction) for sign in (1, -1))
        np.testing.assert_allclose(hessian[n], (ahead - behind) / (2 * step), rtol=1e-3, atol=1e-2)


@pytest.mark.parametrize("penalty", [100.0, 1.0, 0.1])
def test_a_fit_is_the_least_loss_that_another_method_finds(penalty: float) -> None:
    lines = random_lines(3, LearntWeights.read("one:0.5:0.2,expert:1:0"))
    near = np.array([0.4, 0, 0, 0, 0.4, 0, 0, 0])
    fitted = learning._fitted(learning._Table.of(lines), near, near=near, penalty=penalty)
    other = minimize(lambda w: total(w, lines) + penalty / 2 * ((w - near) ** 2).sum(), near, method="BFGS").x
    np.testing.assert_allclose(fitted, other, atol=1e-3)


@pytest.mark.parametrize("seed", range(3))
def test_weights_that_depend_on_the_place_are_found_again(seed: int) -> None:
    """On lines that were not seen they lose less than any one alpha, and hardly more than those that drew the lines."""
    true = LearntWeights.read("one:0.3:0.2,expert:1.2:-0.1")
    fit = fit_weights(random_lines(seed, true, lines=60))
    fresh = random_lines(seed + 100, true, lines=100)
    found, ideal = nats_lost(fit.weights, fresh), nats_lost(true, fresh)
    best = min(nats_lost(LearntWeights.fixed(alpha), fresh) for alpha in np.arange(0.0, 3.0, 0.05))
    assert not fit.is_fixed
    assert fit.learnt < fit.fixed
    assert ideal - 0.01 < found < ideal + 0.1 * (best - ideal)


@given(seed=seeds, lines=st.integers(1, 9), true=weights)
def test_it_never_loses_to_the_best_fixed_alpha_on_the_lines_held_out(seed: int, lines: int, true: Floats) -> None:
    """Where nothing does better that alpha stays, and of less than a line a fold nothing is concluded."""
    made = random_lines(seed, weights_of(0.3 * true), lines=lines, places=2)
    fit = fit_weights(made, seed=seed)
    assert fit.learnt <= fit.fixed
    assert fit.fixed <= nats_lost(LearntWeights.fixed(1.0), made) + 1e-9
    assert (fit.lines, fit.places) == (lines, 2 * lines)
    if fit.is_fixed:
        assert fit.weights == LearntWeights.fixed(fit.alpha)
    if lines < learning.FOLDS:
        assert fit.is_fixed


def test_of_no_place_there_is_nothing_to_fit() -> None:
    for lines in range(2):
        with pytest.raises(InputError, match="no place of a reference answer"):
            fit_weights([()] * lines)
