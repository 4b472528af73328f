"""Scores are the sums over every token path, to the tolerance that was asked for, and inside their bounds.

Held against `oracles`, on vocabularies that are awkward on purpose and on ones that are built like real ones. Where a
text is read from a border inside it, both sides take what stands before in the tokenizer's own spelling.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from blackbox_proxy.core.alignment.covering import place
from blackbox_proxy.core.alignment.scoring import BACK_OFF, CLOSE, SMALL, TOLERANCE, scored
from blackbox_proxy.core.alignment.vocabulary import Vocabulary
from blackbox_proxy.core.events import Evidence
from blackbox_proxy.testing import ToyModel, ToyPair
from blackbox_proxy.types import Floats, Scores
from tests.properties import oracles
from tests.properties.oracles import UNPROMPTED
from tests.properties.strategies import letters, pairs, seeds, strings

BYTE_LEVEL = [b"a", b"b", b" ", b" a", b" ab", b"ab", b"\xc3", b"\xa9", b"\xc3\xa9", b"\xff", b"<end>"]
SENTENCE = [b"a", b"b", b" ", b" a", b" ba", b"ba", b"\xc3", b"\xa9", b"\xc3\xa9", b"a", b"\xff", b"</s>", b"<eot>"]
"""With a byte token that doubles a piece, and two ends."""

contexts = st.lists(letters, max_size=3).map(bytes)
questions = st.lists(strings, min_size=1, max_size=4)


@st.composite
def built_like_real_ones(draw: st.DrawFn) -> ToyPair:
    """Byte-level BPE or SentencePiece in small, or anything."""
    if draw(st.booleans()):
        return draw(pairs())
    byte_level = draw(st.booleans())
    pieces, ends = (BYTE_LEVEL, [10]) if byte_level else (SENTENCE, [11, 12])
    vocabulary = Vocabulary(pieces, ends=ends, spare=() if byte_level else [9])
    seed = draw(seeds)
    return ToyPair(ToyModel(vocabulary, seed), ToyModel(vocabulary, seed + 1))


def score(pair: ToyPair, text: bytes, asked: Sequence[bytes], *, tolerance: float, small: float = SMALL) -> Scores:
    """Run the scoring to its end; no distribution is asked for twice."""
    run = scored(text, asked, vocabulary=pair.vocabulary, spell=pair.spell, tolerance=tolerance, small=small)
    question, seen = next(run), set[tuple[int, ...]]()
    while True:
        assert not seen & set(question.paths)
        seen |= set(question.paths)
        try:
            question = run.send(Evidence(pair.distributions(UNPROMPTED, question.paths)))
        except StopIteration as stop:
            scores: Scores = stop.value
            return scores


def mass(pair: ToyPair, model: ToyModel, text: bytes, *, whole: bool) -> tuple[float, float]:
    """The mass of a text, and of the text with an end right after it, by counting every token sequence.

    whole: from the text's very beginning; otherwise from its last safe border, what stands before spelt as usual.
    """
    at = place(text, spell=pair.spell, vocabulary=pair.vocabulary, back_off=BACK_OFF)
    anchor, rest = ((), text) if whole else (at.anchor, at.rest)
    before = oracles.chance(model, anchor)
    return before * oracles.starts(model, rest, after=anchor), before * oracles.stops(model, rest, after=anchor)


def truth(pair: ToyPair, text: bytes, asked: Sequence[bytes], *, whole: bool) -> Floats:
    """Log-probs that the text goes on with each string, and with an end, by both members: shape (2, n + 1)."""
    rows = []
    for model in (pair.expert, pair.anti_expert):
        here, end = mass(pair, model, text, whole=whole)
        row = [mass(pair, model, text + string, whole=whole)[0] / here for string in asked]
        rows.append([*row, end / here])
    with np.errstate(divide="ignore"):
        return np.asarray(np.log(rows), dtype=np.float64)


def check_exact(pair: ToyPair, text: bytes, asked: list[bytes]) -> None:
    found, right = score(pair, text, asked, tolerance=0.0), truth(pair, text, asked, whole=True)
    np.testing.assert_allclose(np.exp([found.expert, found.anti_expert]), np.exp(right[:, :-1]), atol=1e-9)
    np.testing.assert_allclose(np.exp(found.end), np.exp(right[:, -1]), atol=1e-9)
    assert (found.lower <= right[:, :-1] + 1e-9).all()
    assert (right[:, :-1] <= found.upper + 1e-9).all()


def check_close(pair: ToyPair, text: bytes, asked: list[bytes], *, tolerance: float = TOLERANCE) -> None:
    found, right = score(pair, text, asked, tolerance=tolerance, small=0.0), truth(pair, text, asked, whole=False)
    np.testing.assert_allclose([found.expert, found.anti_expert], right[:, :-1], atol=tolerance)
    assert (found.lower <= right[:, :-1] + 1e-9).all()
    assert (right[:, :-1] <= found.upper + 1e-9).all()
    assert (found.upper - found.lower <= tolerance + 1e-9).all()


def check_small(pair: ToyPair, text: bytes, asked: list[bytes], *, small: float) -> None:
    """Bounds hold; only those of a text whose mass after its anchor is below `small` may be farther apart."""
    found, right = score(pair, text, asked, tolerance=CLOSE, small=small), truth(pair, text, asked, whole=False)
    assert (found.lower <= right[:, :-1] + 1e-9).all()
    assert (right[:, :-1] <= found.upper + 1e-9).all()
    whole = np.array([after_anchor(pair, text + string) >= small for string in asked]).T
    here = after_anchor(pair, text) >= small
    wide = found.upper - found.lower > CLOSE + 1e-9
    assert not (wide & whole.all(axis=0) & here.all()).any()


def after_anchor(pair: ToyPair, text: bytes) -> Floats:
    """The mass of the bytes behind the text's last safe border, by member, by counting every token sequence."""
    at = place(text, spell=pair.spell, vocabulary=pair.vocabulary, back_off=BACK_OFF)
    return np.array([oracles.starts(model, at.rest, after=at.anchor) for model in (pair.expert, pair.anti_expert)])


@settings(max_examples=300)
@given(pair=built_like_real_ones(), text=contexts, asked=questions)
def test_without_a_tolerance_scores_are_the_sums_over_all_sequences(
    pair: ToyPair, text: bytes, asked: list[bytes]
) -> None:
    check_exact(pair, text, asked)


@settings(max_examples=300)
@given(pair=built_like_real_ones(), text=contexts, asked=questions)
def test_at_the_default_tolerance_scores_are_as_close_and_bounds_hold(
    pair: ToyPair, text: bytes, asked: list[bytes]
) -> None:
    check_close(pair, text, asked)


@settings(max_examples=150)
@given(pair=built_like_real_ones(), text=contexts, asked=questions)
def test_closely_scores_are_as_close_and_bounds_hold(pair: ToyPair, text: bytes, asked: list[bytes]) -> None:
    check_close(pair, text, asked, tolerance=CLOSE)


@settings(max_examples=150)
@given(pair=built_like_real_ones(), text=contexts, asked=questions, small=st.sampled_from([SMALL, 1e-3, 0.1]))
def test_small_masses_have_bounds_that_hold_and_others_digits(
    pair: ToyPair, text: bytes, asked: list[bytes], small: float
) -> None:
    check_small(pair, text, asked, small=small)


@given(pair=built_like_real_ones(), text=contexts, asked=questions, tolerance=st.sampled_from([TOLERANCE, CLOSE]))
def test_a_score_does_not_depend_on_what_else_is_asked(
    pair: ToyPair, text: bytes, asked: list[bytes], tolerance: float
) -> None:
    together = score(pair, text, asked, tolerance=tolerance, small=1e-2)
    for n, string in enumerate(asked):
        alone = score(pair, text, [string], tolerance=tolerance, small=1e-2)
        assert together.expert[n] == pytest.approx(alone.expert[0], abs=1e-9)
        assert together.anti_expert[n] == pytest.approx(alone.anti_expert[0], abs=1e-9)
        assert together.lower[:, n] == pytest.approx(alone.lower[:, 0], abs=1e-9)
        assert together.end == pytest.approx(alone.end, abs=1e-9)


@given(pair=built_like_real_ones(), text=contexts, tolerance=st.sampled_from([TOLERANCE, CLOSE]))
def test_an_end_has_bounds_as_strings_have(pair: ToyPair, text: bytes, tolerance: float) -> None:
    found, right = score(pair, text, [b""], tolerance=tolerance, small=0.0), truth(pair, text, [], whole=False)[:, -1]
    assert (found.lower[:, 0] <= right + 1e-9).all()
    assert (right <= found.upper[:, 0] + 1e-9).all()
    assert (found.upper[:, 0] <= found.lower[:, 0] + tolerance + 1e-9).all()
    assert (found.expert[0], found.anti_expert[0]) == found.end


@given(pair=built_like_real_ones(), text=contexts, asked=questions)
def test_what_all_strings_need_is_asked_together(pair: ToyPair, text: bytes, asked: list[bytes]) -> None:
    """As many rounds as the string that needs most of them, and the end, need alone."""

    def rounds(strings: Sequence[bytes]) -> int:
        run, count = scored(text, strings, vocabulary=pair.vocabulary, spell=pair.spell), 0
        question = next(run)
        while True:
            count += 1
            try:
                question = run.send(Evidence(pair.distributions(UNPROMPTED, question.paths)))
            except StopIteration:
                return count

    assert rounds(asked) <= max(rounds([string]) for string in asked)


@pytest.mark.slow
@pytest.mark.long
@settings(max_examples=2_500)
@given(pair=built_like_real_ones(), text=contexts, asked=questions)
def test_without_a_tolerance_thousands_of_scores_are_the_sums(pair: ToyPair, text: bytes, asked: list[bytes]) -> None:
    check_exact(pair, text, asked)


@pytest.mark.slow
@settings(max_examples=2_500)
@given(pair=built_like_real_ones(), text=contexts, asked=questions)
def test_at_the_default_tolerance_thousands_of_scores_are_as_close(
    pair: ToyPair, text: bytes, asked: list[bytes]
) -> None:
    check_close(pair, text, asked)
    check_close(pair, text, asked, tolerance=CLOSE)


@given(pair=pairs(), text=contexts, cuts=st.lists(strings, min_size=2, max_size=4))
def test_scores_add_up_however_a_text_is_cut(pair: ToyPair, text: bytes, cuts: list[bytes]) -> None:
    whole = score(pair, text, [b"".join(cuts)], tolerance=TOLERANCE)
    parts = [score(pair, text + b"".join(cuts[:n]), [cut], tolerance=TOLERANCE) for n, cut in enumerate(cuts)]
    assert whole.expert[0] == pytest.approx(sum(part.expert[0] for part in parts), abs=1e-9)
    assert whole.anti_expert[0] == pytest.approx(sum(part.anti_expert[0] for part in parts), abs=1e-9)


@given(pair=pairs(), text=contexts.filter(bool))
def test_a_score_is_no_less_than_the_canonical_spelling(pair: ToyPair, text: bytes) -> None:
    path = tuple(pair.spell(text))
    found = score(pair, b"", [text], tolerance=TOLERANCE)
    assert found.expert[0] >= math.log(oracles.chance(pair.expert, path)) - 1e-9


def test_what_no_piece_can_spell_is_refused() -> None:
    vocabulary = Vocabulary([b"a", b"<end>"], ends=[1])
    pair = ToyPair(ToyModel(vocabulary, 1), ToyModel(vocabulary, 2))
    with pytest.raises(ValueError, match="no piece"):
        score(pair, b"a", [b"z"], tolerance=TOLERANCE)
