"""Covering on a vocabulary that fits on a page, worked out by hand."""

from __future__ import annotations

import numpy as np
import pytest

from blackbox_proxy.core.alignment.covering import Cover, Place, place
from blackbox_proxy.core.alignment.vocabulary import Vocabulary
from blackbox_proxy.errors import LocalModelError
from blackbox_proxy.types import PairDistributions, TokenPath
from tests.core.doubles import UNPROMPTED, TablePair

VOCABULARY = Vocabulary([b" ", b"a", b" a", b"ab", b"b", b"<end>", b"<turn>"], ends=[5], special=[6])
SPACE, A, SPACE_A, AB, B = range(5)
PAIR = TablePair(
    VOCABULARY,
    expert={
        b"": {b" ": 0.25, b" a": 0.5, b"b": 0.25},
        b" ": {b"a": 0.2, b"ab": 0.6, b"": 0.2},
        b" a": {b"b": 0.5, b"a": 0.25, b"": 0.25},
    },
    anti_expert={
        b"": {b" ": 0.5, b" a": 0.25, b"b": 0.25},
        b" ": {b"a": 0.5, b"ab": 0.1, b"": 0.4},
        b" a": {b"b": 0.1, b"a": 0.4, b"": 0.5},
    },
)


def cover(at: Place, *paths: TokenPath) -> tuple[Cover, dict[TokenPath, PairDistributions]]:
    known = dict(zip(paths, PAIR.distributions(UNPROMPTED, paths), strict=True))
    return Cover(VOCABULARY, at, known), known


def test_a_trailing_space_is_reread_so_that_the_word_behind_it_counts() -> None:
    """After a lone space the pair's own ` a` must be possible: .5 of the expert, beside a + ab after the space."""
    at = place(b" ", spell=VOCABULARY.spell, vocabulary=VOCABULARY, back_off=4)
    assert at == Place((), b" ", (SPACE,))
    found, _ = cover(at, (), (SPACE,))
    found.ask([b"a", b"b"])
    low, high = found.bounds()
    np.testing.assert_allclose(low, high)
    np.testing.assert_allclose(low[:, 0], [(0.5 + 0.25 * 0.8) / 0.75, (0.25 + 0.5 * 0.6) / 0.75], atol=1e-5)
    np.testing.assert_allclose(low[:, 1], 0.0, atol=1e-5)


def test_the_end_counts_only_after_exactly_the_text() -> None:
    found, _ = cover(Place((), b" ", (SPACE,)), (), (SPACE,))
    found.ask([b"a", b""])
    low, high = found.bounds()
    np.testing.assert_array_equal(low, high)
    np.testing.assert_allclose(low[:, 1], [0.25 * 0.2 / 0.75, 0.5 * 0.4 / 0.75], atol=1e-5)


def test_a_string_that_runs_over_a_token_has_a_gap_until_the_next_distribution_is_known() -> None:
    found, known = cover(Place((), b"", ()), ())
    found.ask([b" ab"])
    low, high = found.bounds()
    np.testing.assert_allclose(low, 0.0, atol=1e-5)
    np.testing.assert_allclose(high[:, 0], [0.75, 0.75], atol=1e-5)
    assert found.widest(0) in ((SPACE,), (SPACE_A,))
    for path in ((SPACE,), (SPACE_A,), (SPACE, A)):
        (known[path],) = PAIR.distributions(UNPROMPTED, [path])
    found.absorb()
    low, high = found.bounds()
    right = [0.25 * 0.6 + 0.25 * 0.2 * 0.5 + 0.5 * 0.5, 0.5 * 0.1 + 0.5 * 0.5 * 0.1 + 0.25 * 0.1]
    np.testing.assert_allclose(low[:, 0], right, atol=1e-5)
    np.testing.assert_array_equal(low, high)
    assert found.widest(0) is None


def test_a_border_is_safe_only_where_no_token_can_lie_across_it() -> None:
    """` a` may follow ` `, and `ab` may follow `a`; nothing starts with `b` and goes on."""
    anchors = {
        text: place(text, spell=VOCABULARY.spell, vocabulary=VOCABULARY, back_off=9)
        for text in (b"", b"b", b"b ", b"ba", b"bab", b"b a")
    }
    assert anchors[b""] == Place((), b"", ())
    assert anchors[b"b"] == Place((B,), b"", (B,))
    assert anchors[b"b "] == Place((B,), b" ", (B, SPACE))
    assert anchors[b"ba"] == Place((B,), b"a", (B, A))
    assert anchors[b"bab"] == Place((B, AB), b"", (B, AB))
    assert anchors[b"b a"] == Place((B,), b" a", (B, SPACE_A))


def test_the_anchor_is_never_farther_back_than_allowed() -> None:
    """Every border inside `aaaa` is straddled by `aa`: reading starts as far back as it may."""
    vocabulary = Vocabulary([b"a", b"aa", b"<end>"], ends=[2])
    at = place(b"aaaaaaa", spell=lambda text: [0] * len(text), vocabulary=vocabulary, back_off=2)
    assert at == Place((0,) * 5, b"aa", (0,) * 7)
    assert at.paths == ((0,) * 5, (0,) * 6, (0,) * 7)


@pytest.mark.parametrize(("share", "asked"), [(5e-3, True), (2e-4, False)])
def test_another_spelling_is_asked_for_where_its_share_is_not_negligible(share: float, asked: bool) -> None:  # noqa: FBT001
    """The text ` a` as one token, and in two with a small share of its mass."""
    pair = TablePair(VOCABULARY, {}, other={b" a": 1.0, b" ": share})
    at = Place((), b" a", (SPACE_A,))
    known = dict(zip(at.paths, pair.distributions(UNPROMPTED, at.paths), strict=True))
    assert Cover(VOCABULARY, at, known).unread() == ([(SPACE,)] if asked else [])


def test_with_a_tokenizer_only_the_spellings_of_what_may_come_are_asked_for() -> None:
    """`ab` is one token; only if `c` came next would the tokenizer have cut it after the `a`."""
    vocabulary = Vocabulary([b"a", b"b", b"ab", b"bc", b"c", b"<end>"], ends=[5])
    pair = TablePair(vocabulary, {}, other={b"a": 0.5, b"ab": 0.5}, usual={b"abc": (0, 3)})
    at = Place((), b"ab", (2,))
    known = dict(zip(at.paths, pair.distributions(UNPROMPTED, at.paths), strict=True))
    found = Cover(vocabulary, at, known, spell=pair.spell)
    assert found.unread([b"a", b"b", b""]) == []
    assert found.unread([b"a", b"c"]) == [(0,)]
    assert Cover(vocabulary, at, known).unread() == [(0,)]


def test_the_estimate_is_narrowed_along_the_usual_spelling_only() -> None:
    """` ab` is spelt ` a`, `b`; that a space and `ab` may do it too is in the bounds, not in the estimate."""
    known: dict[TokenPath, PairDistributions] = dict(zip([()], PAIR.distributions(UNPROMPTED, [()]), strict=True))
    found = Cover(VOCABULARY, Place((), b"", ()), known, spell=VOCABULARY.spell)
    found.ask([b" ab"])
    np.testing.assert_allclose(found.estimate()[:, 0], [0.5, 0.25], atol=1e-5)
    assert found.widest(0, usual=True) == (SPACE_A,)
    (known[SPACE_A,],) = PAIR.distributions(UNPROMPTED, [(SPACE_A,)])
    found.absorb()
    np.testing.assert_allclose(found.estimate()[:, 0], [0.5 * 0.5, 0.25 * 0.1], atol=1e-5)
    assert found.widest(0, usual=True) is None
    assert found.widest(0) == (SPACE,)


def test_special_and_end_tokens_are_never_proposed() -> None:
    pair = TablePair(VOCABULARY, {}, other={b"": 0.9, b"a": 0.1})
    known: dict[TokenPath, PairDistributions] = dict(zip([()], pair.distributions(UNPROMPTED, [()]), strict=True))
    assert Cover(VOCABULARY, Place((), b"", ()), known).proposals(5) == [b"a"]


def test_proposals_come_best_first_and_go_on_from_the_text() -> None:
    found, _ = cover(Place((), b" ", (SPACE,)), (), (SPACE,))
    assert found.proposals(3) == [b"a", b"ab"]
    assert found.proposals(1) == [b"a"]
    assert found.proposals(3, starts=[b"ab"]) == [b"ab"]


@pytest.mark.parametrize("count", [0, 1])
def test_a_pair_that_is_sure_of_the_end_proposes_nothing(count: int) -> None:
    pair = TablePair(VOCABULARY, {}, other={b"": 1.0})
    known: dict[TokenPath, PairDistributions] = dict(zip([()], pair.distributions(UNPROMPTED, [()]), strict=True))
    assert Cover(VOCABULARY, Place((), b"", ()), known).proposals(count) == []


@pytest.mark.parametrize("fault", [ValueError("no token"), LocalModelError("no token")])
def test_a_candidate_that_the_tokenizer_cannot_spell_has_no_usual_spelling(fault: Exception) -> None:
    """The API may name bytes that the pair has no token for; a model says so with an error of its own."""

    def spell(text: bytes) -> list[int]:
        if b"x" in text:
            raise fault
        return VOCABULARY.spell(text)

    start: TokenPath = ()
    known = dict(zip([start], PAIR.distributions(UNPROMPTED, [start]), strict=True))
    found = Cover(VOCABULARY, Place((), b"", ()), known, spell=spell)
    found.ask([b" ax", b"b"])
    estimate, (_, high) = found.estimate(), found.bounds()
    assert (high[:, 0] > 0.0).all()
    np.testing.assert_allclose(estimate[:, 0], 0.0, atol=1e-12)
    np.testing.assert_allclose(estimate[:, 1], 0.25, atol=1e-5)
    behind = Cover(VOCABULARY, Place((), b" ", (SPACE,)), known, spell=spell)
    assert behind.unread([b"b"]) == [(SPACE,)]
    assert behind.unread([b"x"]) == []
