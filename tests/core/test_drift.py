"""The measure of drift: never more than the distance of two distributions, 0 for one and itself, no swap overlooked."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from blackbox_proxy.core.drift import FLOOR, Canary, Take, apart, compare, distance, noise_of
from blackbox_proxy.types import Candidate, Floats, Kind, Position

PIECES = [bytes([letter]) for letter in b"abcdefg"]
weights = st.lists(st.floats(1e-4, 1.0), min_size=8, max_size=8)
tops = st.integers(1, 8)


def distribution(found: list[float]) -> Floats:
    return np.array(found) / math.fsum(found)


def shown(p: Floats, top: int) -> Position:
    """The likeliest of a distribution over seven pieces and the end."""
    order = np.argsort(-p, kind="stable")[:top].tolist()
    listed = tuple(
        Candidate(PIECES[i] if i < 7 else b"</s>", math.log(p[i]), Kind.TEXT if i < 7 else Kind.END) for i in order
    )
    tail = min(1.0, max(0.0, 1.0 - math.fsum(math.exp(one.logp) for one in listed)))
    return Position(listed[0], listed, tail, listed[-1].logp)


@given(one=weights, other=weights, k=tops, m=tops)
def test_two_distributions_are_never_said_to_be_further_apart_than_they_are(
    one: list[float], other: list[float], k: int, m: int
) -> None:
    p, q = distribution(one), distribution(other)
    found = distance(shown(p, k), shown(q, m))
    true = float(np.abs(p - q).sum()) / 2
    assert found <= true + 1e-9
    assert found == pytest.approx(distance(shown(q, m), shown(p, k)), abs=1e-12)
    if k == m == 8:
        assert found == pytest.approx(true, abs=1e-9)


@given(one=weights, k=tops, m=tops)
def test_a_distribution_is_not_apart_from_itself_however_much_is_shown(one: list[float], k: int, m: int) -> None:
    assert distance(shown(distribution(one), k), shown(distribution(one), m)) == pytest.approx(0.0, abs=1e-9)


def test_disjoint_candidates_are_seen_through_what_is_hidden() -> None:
    """Nine tenths on one token cannot be a token that the other hides in a fifth."""
    one = shown(distribution([0.9, 0.1, *[1e-9] * 6]), 1)
    other = shown(distribution([1e-9, 0.8, 0.2, *[1e-9] * 5]), 1)
    assert distance(one, other) == pytest.approx(0.7, abs=1e-6)


def take(*rows: list[float], fingerprint: str = "", model: str = "") -> Take:
    return Take(tuple(shown(distribution(row), 4) for row in rows), model, fingerprint)


SURE = [0.9, 0.05, 0.05, *[1e-6] * 5]
OTHER = [0.05, 0.9, 0.05, *[1e-6] * 5]
CLOSE = [0.89, 0.06, 0.05, *[1e-6] * 5]


def test_places_are_compared_as_far_as_the_text_is_the_same() -> None:
    """Behind another token, the distributions are those after another text."""
    assert apart(take(SURE, SURE), take(SURE, OTHER)) == pytest.approx(0.85, abs=1e-3)
    assert apart(take(OTHER, SURE), take(OTHER, SURE)) == 0.0
    one, other = take(SURE, SURE), take(CLOSE, OTHER)
    flipped = replace(other.positions[0], sampled=other.positions[0].top[1])
    assert apart(one, replace(other, positions=(flipped, other.positions[1]))) == pytest.approx(0.01, abs=1e-3)


def test_the_same_again_is_the_same() -> None:
    found = compare([Canary("q", (take(SURE), take(SURE)))], [take(SURE)])
    assert (found.verdict, found.noise, found.reasons, found.limit) == ("same", 0.0, (), FLOOR)


def test_what_the_record_itself_does_is_noise() -> None:
    wobbly = [0.85, 0.1, 0.05, *[1e-6] * 5]
    canaries = [Canary("q", (take(SURE), take(wobbly))), Canary("r", (take(SURE), take(SURE)))]
    found = compare(canaries, [take(SURE), take(wobbly)])
    assert found.noise == noise_of(canaries) == pytest.approx(0.05, abs=1e-3)
    assert (found.verdict, found.reasons) == ("noise", ())
    assert compare(canaries, [take(SURE), take(OTHER)]).verdict == "changed"


def test_a_distribution_that_moved_beyond_the_noise_is_a_change() -> None:
    found = compare([Canary("q", (take(SURE), take(CLOSE)))], [take(OTHER)])
    assert found.verdict == "changed"
    assert found.canaries[0].flips == 1
    assert "1 of 1 canaries moved by more than" in found.reasons[0]


@pytest.mark.parametrize(
    ("known", "now", "verdict"),
    [
        (("fp-1", "fp-1"), "fp-1", "same"),
        (("fp-1", "fp-1"), "fp-2", "changed"),
        (("fp-1", "fp-1"), "", "same"),
        (("", ""), "fp-2", "same"),
        (("fp-1", "fp-2"), "fp-2", "same"),
        (("fp-1", "fp-2"), "fp-3", "same"),
    ],
)
def test_a_fingerprint_counts_where_it_was_one(known: tuple[str, str], now: str, verdict: str) -> None:
    """Where the record has several, the endpoint has many, and another one says nothing."""
    takes = tuple(take(SURE, fingerprint=name) for name in known)
    found = compare([Canary("q", takes)], [take(SURE, fingerprint=now)])
    assert found.verdict == verdict
    assert all("fingerprint was fp-1, and is fp-2" in reason for reason in found.reasons)


def test_another_name_for_the_model_is_a_change() -> None:
    found = compare([Canary("q", (take(SURE, model="m-05"),))], [take(SURE, model="m-11")])
    assert (found.verdict, found.reasons) == ("changed", ("the model was m-05, and is m-11",))
