"""Penalties: at each step the choice is that of the definition, wherever it is certified, and drafts change nothing.

The truth is worked out over all ids from the toys' distributions and from what was emitted: nothing of the loop's.
"""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from blackbox_proxy.core.decoding.sources import OffsetTable
from blackbox_proxy.errors import InputError
from blackbox_proxy.run.steerer import steer
from blackbox_proxy.steering import Steering
from blackbox_proxy.testing import ToyApi, ToyModel, ToyPair
from blackbox_proxy.types import Floats, Prompt, TokenPath
from tests.properties.test_loop_properties import run, steerings
from tests.properties.test_sampling_properties import WORDS

PROMPT = Prompt(text="a")
seeds = st.integers(0, 2**16)
penalties = st.sampled_from([-2.0, -0.5, 0.0, 0.3, 1.0, 2.0])
fined = st.builds(
    Steering,
    alpha=st.sampled_from([0.0, 0.5, 1.0, -1.0]),
    max_tokens=st.integers(2, 14),
    presence_penalty=penalties,
    frequency_penalty=penalties,
    event=st.sampled_from(["ids", "bytes"]),
    tail=st.sampled_from(["impute", "reveal", "drop"]),
    gate=st.sampled_from(["always", "always", "divergence"]),
    threshold=st.just(0.3),
    draft=st.integers(1, 8),
    rule=st.just("none"),
    evidence=st.just(0.0),
)


def toys(seed: int, top_k: int) -> tuple[ToyApi, ToyPair]:
    api = ToyApi(ToyModel(WORDS, seed, memory=1), WORDS.spell, top_k, can="ids")
    return api, ToyPair(ToyModel(WORDS, seed + 1, sharpness=0.8), ToyModel(WORDS, seed + 2, sharpness=0.8))


def defined(api: ToyApi, pair: ToyPair, path: TokenPath, steering: Steering, *, alpha: float) -> Floats:
    """log q over all ids after a path of the answer, by the definition; not normalised."""
    before = tuple(api.spell(PROMPT.text.encode()))
    logs = [one.distribution(before + path) for one in (api.toy, pair.expert, pair.anti_expert)]
    api_log, expert, anti_expert = (one.logits.astype(np.float64) - one.log_norm for one in logs)
    log = api_log + alpha * (expert - anti_expert)
    for i in set(path):
        log[i] -= steering.presence_penalty + path.count(i) * steering.frequency_penalty
    return np.asarray(log)


@given(seed=seeds, steering=fined, top_k=st.sampled_from([2, 4, 11]))
def test_what_is_certified_is_the_choice_of_the_definition(seed: int, steering: Steering, top_k: int) -> None:
    api, pair = toys(seed, top_k)
    knobs = replace(steering, target="full", drafter="api")
    result = steer(PROMPT, api=replace(api), offsets=pair, steering=knobs)
    path: TokenPath = ()
    for step in result.steps:
        log = defined(api, pair, path, steering, alpha=step.alpha or 0.0)
        best = int(np.argmax(log))
        chosen = WORDS.ids_of(step.piece)[0] if step.piece else int(WORDS.ends[0])
        if step.certified or top_k == len(WORDS):
            assert log[chosen] == pytest.approx(log[best], abs=1e-4)
        if top_k == len(WORDS) and step.logp_after is not None:
            assert step.logp_after == pytest.approx(log[chosen] - np.logaddexp.reduce(log), abs=1e-3)
        path = (*path, chosen)


@given(seed=seeds, steering=steerings, presence=penalties, frequency=penalties)
def test_drafts_change_nothing(seed: int, steering: Steering, presence: float, frequency: float) -> None:
    knobs = replace(steering, presence_penalty=presence, frequency_penalty=frequency)
    one, _, _ = run(seed, replace(knobs, draft=1))
    many, _, _ = run(seed, knobs)
    assert (one.text, one.finish, repr(one.steps)) == (many.text, many.finish, repr(many.steps))


@given(seed=seeds, presence=penalties, frequency=penalties)
def test_without_a_pair_it_is_the_apis_distribution_that_is_penalised(
    seed: int, presence: float, frequency: float
) -> None:
    api, pair = toys(seed, len(WORDS))
    knobs = Steering(alpha=0.0, max_tokens=9, presence_penalty=presence, frequency_penalty=frequency)
    text = steer(PROMPT, api=api, offsets=OffsetTable({}), steering=knobs).text
    path: TokenPath = ()
    while len(path) < knobs.max_tokens:
        best = int(np.argmax(defined(api, pair, path, knobs, alpha=0.0)))
        if best in WORDS.ends:
            break
        path = (*path, best)
    assert text == WORDS.text_of(path).decode()


def test_penalties_change_what_repeats() -> None:
    """Of fifty toys most say the same again and again; a presence penalty of 2 ends that in many."""
    changed = 0
    for seed in range(50):
        plain, fewer = (
            steer(PROMPT, api=toys(seed, 11)[0], offsets=OffsetTable({}), steering=replace(knobs, alpha=0.0))
            for knobs in (Steering(max_tokens=12), Steering(max_tokens=12, presence_penalty=2.0))
        )
        assert len(set(fewer.text)) >= len(set(plain.text)) or len(fewer.text) < len(plain.text)
        changed += plain.text != fewer.text
    assert changed > 25


@pytest.mark.parametrize("name", ["presence_penalty", "frequency_penalty"])
@pytest.mark.parametrize("value", [-2.1, 2.1, math.nan, math.inf])
def test_a_penalty_is_from_minus_2_to_2(name: str, value: float) -> None:
    with pytest.raises(InputError, match=name):
        Steering(**{name: value})  # type: ignore[arg-type]


@pytest.mark.parametrize("knobs", [{"presence_penalty": 1.0}, {"frequency_penalty": -1.0}, {"top_tokens": 5}])
@pytest.mark.parametrize("way", ["answers", "chunks"])
def test_whole_answers_take_none(way: str, knobs: dict[str, float]) -> None:
    with pytest.raises(InputError, match="penalties"):
        Steering(way=way, **knobs)  # type: ignore[arg-type]
