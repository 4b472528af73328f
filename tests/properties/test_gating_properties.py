"""Properties of gates and schedules, on random toys: where it is shut the API alone decides, elsewhere nothing changes.

The truth of a step is made from the toys' own distributions by the definition: q ~ p (E / A)^alpha where the members
differ by more than the threshold, and p elsewhere.
"""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from blackbox_proxy.core.decoding.gating import total_variation
from blackbox_proxy.core.decoding.sources import OffsetTable
from blackbox_proxy.errors import InputError
from blackbox_proxy.run.steerer import steer
from blackbox_proxy.schedule import Schedule
from blackbox_proxy.steering import Steering
from blackbox_proxy.testing import ToyApi, ToyModel
from blackbox_proxy.types import Distribution, Floats, Logits, Origin, PairDistributions, TokenPath
from tests.core.toys import TOY, toy_api, toy_pair
from tests.properties.test_loop_properties import PROMPT, WHOLE, greedy, run, seeds, steerings

thresholds = st.floats(0.0, 1.0)
points = st.dictionaries(st.integers(0, 30), st.floats(-3.0, 3.0), min_size=1, max_size=4).map(
    lambda found: tuple(sorted(found.items()))
)
NO_ENDS = np.zeros(0, dtype=np.intp)


def distribution(weights: list[float]) -> Distribution:
    logits: Logits = np.log(np.array(weights, dtype=np.float32))
    return Distribution(logits, float(np.logaddexp.reduce(logits.astype(np.float64))))


@st.composite
def two_distributions(draw: st.DrawFn) -> PairDistributions:
    weights = st.lists(st.floats(1e-3, 1.0), min_size=4, max_size=4)
    return PairDistributions(distribution(draw(weights)), distribution(draw(weights)))


def masses(found: Distribution) -> Floats:
    return np.exp(found.logits.astype(np.float64) - found.log_norm)


@given(distributions=two_distributions())
def test_the_measure_is_the_largest_difference_of_any_event(distributions: PairDistributions) -> None:
    """Of all sets of tokens, the one whose probability differs most."""
    expert, other = masses(distributions.expert), masses(distributions.anti_expert)
    sets = [[bool(n >> i & 1) for i in range(4)] for n in range(16)]
    most = max(abs(float(expert[chosen].sum() - other[chosen].sum())) for chosen in sets)
    assert total_variation(distributions, ends=NO_ENDS) == pytest.approx(most, abs=1e-6)
    swapped = PairDistributions(distributions.anti_expert, distributions.expert)
    assert total_variation(swapped, ends=NO_ENDS) == pytest.approx(most, abs=1e-6)


def test_two_ways_to_end_are_one_event() -> None:
    distributions = PairDistributions(distribution([0.5, 0.4, 0.1]), distribution([0.5, 0.1, 0.4]))
    assert total_variation(distributions, ends=np.array([1, 2])) == pytest.approx(0.0, abs=1e-6)
    assert total_variation(distributions, ends=NO_ENDS) == pytest.approx(0.3, abs=1e-6)


@given(seed=seeds.filter(lambda seed: seed % 4 != 0), steering=steerings)
def test_a_gate_that_never_opens_leaves_the_answer_to_the_api(seed: int, steering: Steering) -> None:
    """Whose tokens are whole characters; where none that it showed may follow, the pair has to decide."""
    shut = replace(steering, gate="divergence", threshold=1.0)
    found, api, _ = run(seed, shut)
    alone, _, _ = run(seed, replace(steering, gate="always", alpha=0.0, schedule=None))
    assert found.text == alone.text
    assert all(step.gated and step.alpha == 0.0 and step.origin is Origin.DRAFT for step in found.steps)
    assert all(step.offset is None for step in found.steps)
    if shut.takes_unseen:
        assert [step.logp_after for step in found.steps] == pytest.approx([step.logp_before for step in found.steps])
    if api.top_k > 1:
        assert found.certified == len(found.steps)


@given(seed=seeds, steering=steerings)
def test_a_gate_that_is_always_open_changes_nothing(seed: int, steering: Steering) -> None:
    """Unrelated toys differ everywhere. What is asked for first is the whole answer, so that calls may be fewer."""
    assume(steering.acts_from(0))
    wide, _, _ = run(seed, replace(steering, gate="divergence", threshold=0.0))
    plain, _, _ = run(seed, replace(steering, gate="always"))
    asked = [step for step in wide.steps if step.origin is not Origin.LOCAL]
    assert all(step.divergence is not None and step.divergence > 0.0 for step in asked)
    assert repr(tuple(replace(step, divergence=None) for step in wide.steps)) == repr(plain.steps)


@given(seed=seeds, steering=steerings, threshold=thresholds)
def test_steps_are_left_where_the_members_do_not_differ_by_more(
    seed: int, steering: Steering, threshold: float
) -> None:
    found, _, _ = run(seed, replace(steering, gate="divergence", threshold=threshold))
    for step in found.steps:
        if step.origin is Origin.LOCAL:
            assert step.divergence is None
            continue
        assert step.divergence is not None
        assert step.gated <= (step.divergence <= threshold)
        assert (step.offset is None) == step.gated
        assert step.offset is None or math.isfinite(step.offset)
    assert found.gated == sum(step.gated for step in found.steps)


@given(seed=seeds, threshold=thresholds, alpha=st.sampled_from([0.5, 1.0, 2.0]), draft=st.integers(1, 8))
def test_by_ids_each_step_is_that_of_the_definition(seed: int, threshold: float, alpha: float, draft: int) -> None:
    pair = toy_pair(seed)
    api = ToyApi(ToyModel(TOY, seed + 3), TOY.spell, top_k=len(TOY))
    steering = Steering(alpha=alpha, max_tokens=10, event="ids", gate="divergence", threshold=threshold, draft=draft)
    found = steer(PROMPT, api=api, offsets=pair, steering=steering)
    read = pair.prompt(PROMPT).expert
    path: TokenPath = ()
    for step in found.steps:
        p, expert, other = (
            masses(model.distribution(read + path)) for model in (api.toy, pair.expert, pair.anti_expert)
        )
        apart = float(np.abs(expert - other).sum()) / 2
        assert step.divergence == pytest.approx(apart, abs=1e-6)
        scores = np.log(p) + (alpha if apart > threshold else 0.0) * np.log(expert / other)
        best = int(np.argmax(scores))
        assert step.logp_after == pytest.approx(scores[best] - np.logaddexp.reduce(scores), abs=1e-5)
        assert step.piece == (b"" if best in TOY.ends else TOY.pieces[best])
        path = (*path, best)


@given(seed=seeds, steering=steerings)
def test_a_schedule_of_one_point_is_that_alpha(seed: int, steering: Steering) -> None:
    plain, _, _ = run(seed, replace(steering, schedule=None))
    flat, _, _ = run(seed, replace(steering, alpha=9.0, schedule=Schedule(((3, steering.alpha),))))
    assert repr(flat.steps) == repr(plain.steps)


@given(seed=seeds, steering=steerings, token=st.integers(1, 6))
def test_a_schedule_that_ends_at_nought_gives_the_api_back(seed: int, steering: Steering, token: int) -> None:
    """Up to there the text is that of a constant alpha, and each step has the alpha of its place."""
    steering = replace(steering, alpha=1.0)
    cut = replace(steering, schedule=Schedule(((token - 1, 1.0), (token, 0.0))))
    found, _, _ = run(seed, cut)
    plain, _, _ = run(seed, replace(steering, schedule=None))
    assert repr(found.steps[:token]) == repr(plain.steps[:token])
    weights = [step.alpha for step in found.steps if step.origin is not Origin.LOCAL and not step.gated]
    assert set(weights) <= {0.0, 1.0}
    for at, step in enumerate(found.steps):
        if step.origin is not Origin.LOCAL and not step.gated:
            assert step.alpha == (1.0 if at < token else 0.0)


@given(points=points, token=st.integers(0, 40))
def test_a_schedule_stays_between_its_points(points: tuple[tuple[int, float], ...], token: int) -> None:
    schedule = Schedule(points)
    alphas = [alpha for _, alpha in points]
    assert min(alphas) - 1e-9 <= schedule.at(token) <= max(alphas) + 1e-9
    assert all(schedule.at(at) == alpha for at, alpha in points)
    assert Schedule.read(",".join(f"{at}:{alpha!r}" for at, alpha in points)) == schedule


@pytest.mark.parametrize("text", ["", "1.5", "0:1.5,0:1.0", "8:1,4:2", "-1:1", "0:nan", "0:x", "a:1", "0:1,,2:1"])
def test_what_is_no_schedule_is_refused(text: str) -> None:
    with pytest.raises(InputError, match=r"schedule|alpha must be a finite number"):
        Schedule.read(text)


def test_a_source_of_scores_has_nothing_to_measure() -> None:
    with pytest.raises(InputError, match="gate='divergence' needs the distributions of a pair's members"):
        steer(PROMPT, api=toy_api(1, WHOLE), offsets=OffsetTable({b"a": 1.0}), steering=Steering(gate="divergence"))


def test_a_schedule_weighs_the_offsets_of_any_source() -> None:
    """A ban that is lifted after two tokens."""
    api = toy_api(3, WHOLE)
    table = OffsetTable(dict.fromkeys((b" ", b"b", b""), -50.0))
    steering = Steering(max_tokens=6, schedule=Schedule(((1, 1.0), (2, 0.0))), rule="none", tail="drop")
    found = steer(PROMPT, api=api, offsets=table, steering=steering)
    assert not set(found.text[:2]) & set(" b")
    own = greedy(api.toy, 6, after=tuple(api.spell(PROMPT.text.encode() + found.text[:2].encode())))
    assert found.text[2:].encode() == own[: len(found.text[2:].encode())]
