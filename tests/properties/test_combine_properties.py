"""Properties of the combination: how the API's log-probs and the pair's masses become one distribution over strings."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from blackbox_proxy.core.alignment.covering import Cover
from blackbox_proxy.core.alignment.tokencover import LEAST_MASS
from blackbox_proxy.core.decoding.combine import REAL, Field, covers, imputed, offsets, remainders, score
from blackbox_proxy.core.decoding.offsets import Pooled
from blackbox_proxy.testing import ToyPair
from tests.properties.oracles import Everything
from tests.properties.strategies import pairs, pieces, strings
from tests.properties.test_covering_properties import from_start, settled

nested = st.lists(st.sampled_from(b"ab"), min_size=1, max_size=3).map(bytes)
"""Strings of which many begin others."""

alphas = st.floats(-3.0, 3.0)
evidences = st.sampled_from([0.0, 1e-6, 1e-3])
probabilities = st.floats(1e-12, 1.0)


def slow_covers(strings: list[bytes]) -> list[bool]:
    """Not begun by another string; of equal strings the first counts."""
    return [
        not any(
            (other and string.startswith(other) and other != string) or (other == string and i < n)
            for i, other in enumerate(strings)
        )
        for n, string in enumerate(strings)
    ]


@given(names=st.lists(pieces, max_size=8, unique=True))
def test_covers_are_the_strings_that_no_other_begins(names: list[bytes]) -> None:
    assert covers(names).tolist() == slow_covers(names)


@given(names=st.lists(nested, min_size=1, max_size=7, unique=True), data=st.data())
def test_with_some_shown_the_covering_strings_are_disjoint_and_cover_all(
    names: list[bytes], data: st.DataObject
) -> None:
    """Whatever a text goes on with: if any string begins it, exactly one of the covering events holds.

    An unseen string stands for the continuations that no shown one begins.
    """
    known = data.draw(st.integers(0, len(names)))
    covering = covers(names, known=known)
    goes_on = data.draw(st.sampled_from(names)) + data.draw(pieces)
    begun = [goes_on.startswith(name) for name in names]
    holds = [begun[n] and (n < known or not any(begun[:known])) for n in range(len(names))]
    assert sum(held and counts for held, counts in zip(holds, covering, strict=True)) == 1


@st.composite
def fields(draw: st.DrawFn) -> tuple[Field, list[bytes]]:
    """A field as the pair would make it: masses of strings after one text, of which the API showed the first few."""
    pair: ToyPair = draw(pairs())
    names = draw(st.lists(strings | nested, min_size=1, max_size=6, unique=True))
    known = draw(st.integers(1, len(names)))
    cover = Cover(pair.vocabulary, from_start(pair, b""), Everything(pair))
    raw = np.array(draw(st.lists(probabilities, min_size=known, max_size=known)))
    tail = draw(st.floats(0.0, 0.5))
    logp = np.log(raw / raw.sum() * (1.0 - tail))
    net = remainders(settled(cover, names), names, known=known)
    return Field(logp, net, net, covers(names, known=known), tail, float(logp.min())), names


@given(made=fields(), evidence=evidences)
def test_alpha_zero_leaves_what_the_api_said(made: tuple[Field, list[bytes]], evidence: float) -> None:
    field, _ = made
    scores = score(field, Pooled(evidence), alpha=0.0, evidence=evidence)
    np.testing.assert_array_equal(scores.score, scores.logp)
    np.testing.assert_array_equal(scores.score[: len(field.logp)], field.logp)


@given(made=fields(), alpha=alphas, evidence=evidences)
def test_scores_are_linear_in_alpha(made: tuple[Field, list[bytes]], alpha: float, evidence: float) -> None:
    field, _ = made
    assume(field.tail > 0.0)
    none, one, some = (score(field, Pooled(evidence), alpha=a, evidence=evidence) for a in (0.0, 1.0, alpha))
    straight = none.score + alpha * (one.score - none.score)
    np.testing.assert_allclose(some.score, straight, rtol=1e-9, atol=1e-6)
    np.testing.assert_array_equal(some.offset, one.offset)


@given(names=st.lists(nested, min_size=1, max_size=6, unique=True), data=st.data(), pair=pairs())
def test_a_remainder_is_what_the_shown_strings_leave_of_an_unseen_one(
    names: list[bytes], data: st.DataObject, pair: ToyPair
) -> None:
    """By brute force: the mass of all continuations that start with the string and with no shown one."""
    known = data.draw(st.integers(0, len(names)))
    whole = settled(Cover(pair.vocabulary, from_start(pair, b""), Everything(pair)), names)
    net = remainders(whole, names, known=known)
    np.testing.assert_array_equal(net[:, :known], whole[:, :known])
    for n in range(known, len(names)):
        inside = [i for i in range(known) if names[i].startswith(names[n])]
        outermost = [i for i in inside if not any(names[i].startswith(names[j]) and i != j for j in inside)]
        right = whole[:, n] - whole[:, outermost].sum(axis=1)
        np.testing.assert_allclose(net[:, n], right, atol=1e-12)


@given(made=fields())
def test_without_evidence_the_offset_is_the_ratio_itself(made: tuple[Field, list[bytes]]) -> None:
    field, _ = made
    assume((field.masses > 0.0).all())
    right = np.log(field.masses[0]) - np.log(field.masses[1])
    np.testing.assert_allclose(offsets(field, evidence=0.0), right, atol=1e-9)


@given(made=fields(), evidence=st.sampled_from([1e-6, 1e-3]), flipped=st.booleans())
def test_offsets_of_the_unknown_go_to_the_offset_of_all_that_is_left(
    made: tuple[Field, list[bytes]], evidence: float, *, flipped: bool
) -> None:
    """A string of no mass gets the pooled offset where that does not favour it; others lie between it and their own."""
    field, _ = made
    masses = np.column_stack([field.masses, [0.0, 0.0]])
    wider = replace(field, masses=masses, once=masses, disjoint=np.append(field.disjoint, True))
    found = offsets(wider, evidence=evidence, flipped=flipped)
    real = field.disjoint & (field.masses >= REAL).any(axis=0)
    left = np.maximum(1.0 - field.masses[:, real].sum(axis=1), LEAST_MASS)
    whole = math.log(left[0]) - math.log(left[1])
    pooled = max(whole, 0.0) if flipped else min(whole, 0.0)
    assert found[-1] == pytest.approx(pooled, abs=1e-6)
    assume((field.masses > 0.0).all())
    own = offsets(field, evidence=0.0)
    assert (found[:-1] >= np.minimum(own, pooled) - 1e-6).all()
    assert (found[:-1] <= np.maximum(own, pooled) + 1e-6).all()


@given(made=fields(), evidence=evidences)
def test_an_imputed_string_is_never_likelier_than_the_api_allows(
    made: tuple[Field, list[bytes]], evidence: float
) -> None:
    """Neither likelier than the last one shown nor than the whole tail."""
    field, _ = made
    found = imputed(field, evidence=evidence)
    assert len(found) == field.masses.shape[1] - len(field.logp)
    assert (found <= field.ceiling).all()
    assert (np.exp(found) <= field.tail + 1e-12).all()


@given(made=fields())
def test_imputed_strings_share_the_tail_as_the_anti_expert_would(made: tuple[Field, list[bytes]]) -> None:
    """log tail + log of the string's share in all that the anti-expert gives to strings that were not shown (3.2)."""
    field, names = made
    known = len(field.logp)
    assume(known < len(names) and field.tail > 0.0)
    seen = field.masses[1, :known][covers(names[:known])].sum()
    found = imputed(replace(field, ceiling=0.0), evidence=0.0)
    rest = field.masses[1, known:]
    assume(1.0 - seen > 1e-6 and (rest > 1e-9).all())
    right = np.log(field.tail) + np.minimum(np.log(rest) - math.log(max(1.0 - seen, rest.max())), 0.0)
    np.testing.assert_allclose(found, right, atol=1e-6)


def test_a_shown_string_counts_as_seen_though_an_unseen_one_begins_it() -> None:
    """The API showed `ab` (.8 of the anti-expert) and `c` (.05), and `a` is proposed.

    Of its .9 it keeps .1, and that is two thirds of the .15 that the API did not show.
    """
    names = [b"ab", b"c", b"a"]
    masses = np.tile([0.8, 0.05, 0.9], (2, 1))
    net = remainders(masses, names, known=2)
    field = Field(np.log([0.5, 0.1]), net, net, covers(names, known=2), tail=0.4, ceiling=0.0)
    (found,) = imputed(field, evidence=0.0)
    assert math.exp(found) == pytest.approx(0.4 * 0.1 / 0.15)


def test_unseen_strings_inside_a_shown_one_keep_their_proportion() -> None:
    """The API showed `a`, nearly all of the anti-expert; `ab`, twice as likely as `ac`, lies inside it as that does."""
    names = [b"a", b"ab", b"ac"]
    masses = np.tile([0.95, 0.6, 0.3], (2, 1))
    net = remainders(masses, names, known=1)
    field = Field(np.log([0.5]), net, net, covers(names, known=1), tail=0.4, ceiling=0.0)
    one, other = imputed(field, evidence=0.0)
    assert one - other == pytest.approx(math.log(2.0))
    assert math.exp(one) <= 0.4


def test_what_is_left_over_is_what_no_string_covers() -> None:
    """The same strings: together they cover .95, so that a string unknown to both members gets log .05 - log .25."""
    names = [b"ab", b"c", b"a", b"zz"]
    masses = np.array([[0.8, 0.05, 0.9, 0.0], [0.3, 0.05, 0.7, 0.0]])
    net = remainders(masses, names, known=2)
    field = Field(np.log([0.5, 0.1]), net, net, covers(names, known=2), tail=0.4, ceiling=0.0)
    found = offsets(field, evidence=1e-3)
    assert found[3] == pytest.approx(math.log(0.05) - math.log(0.25))
