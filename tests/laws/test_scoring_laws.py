"""Scores are the sums over every token path, to the tolerance that was asked for, and inside their bounds.

Held against `oracles`, on vocabularies that are awkward on purpose and on ones that are built like real ones.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from blackbox_proxy.core.covering import place
from blackbox_proxy.core.scoring import BACK_OFF, TOLERANCE, scored
from blackbox_proxy.core.vocabulary import Vocabulary
from blackbox_proxy.testing import ToyModel, ToyPair
from blackbox_proxy.types import Floats, Scores
from tests.laws import oracles
from tests.laws.oracles import UNPROMPTED
from tests.laws.strategies import letters, pairs, seeds, strings

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


def score(pair: ToyPair, text: bytes, asked: Sequence[bytes], *, tolerance: float) -> Scores:
    """Run the scoring to its end; no law is asked for twice."""
    run = scored(text, asked, vocabulary=pair.vocabulary, spell=pair.spell, tolerance=tolerance)
    paths, seen = next(run), set[tuple[int, ...]]()
    while True:
        assert not seen & set(paths)
        seen |= set(paths)
        try:
            paths = run.send(pair.laws(UNPROMPTED, paths))
        except StopIteration as stop:
            scores: Scores = stop.value
            return scores


def truth(pair: ToyPair, text: bytes, asked: Sequence[bytes]) -> Floats:
    """Log-probs that the text goes on with each string, and with an end, by both members: shape (2, n + 1)."""
    rows = []
    for model in (pair.expert, pair.anti_expert):
        whole = oracles.starts(model, text)
        row = [oracles.starts(model, text + string) / whole for string in asked]
        rows.append([*row, oracles.stops(model, text) / whole])
    with np.errstate(divide="ignore"):
        return np.asarray(np.log(rows), dtype=np.float64)


@settings(max_examples=700)
@given(pair=built_like_real_ones(), text=contexts, asked=questions)
def test_without_a_tolerance_scores_are_the_sums_over_all_sequences(
    pair: ToyPair, text: bytes, asked: list[bytes]
) -> None:
    found, right = score(pair, text, asked, tolerance=0.0), truth(pair, text, asked)
    np.testing.assert_allclose(np.exp([found.expert, found.anti_expert]), np.exp(right[:, :-1]), atol=1e-9)
    np.testing.assert_allclose(np.exp(found.end), np.exp(right[:, -1]), atol=1e-9)
    assert (found.lower <= right[:, :-1] + 1e-9).all()
    assert (right[:, :-1] <= found.upper + 1e-9).all()


@settings(max_examples=700)
@given(pair=built_like_real_ones(), text=contexts, asked=questions)
def test_at_the_default_tolerance_scores_are_as_close_and_bounds_hold(
    pair: ToyPair, text: bytes, asked: list[bytes]
) -> None:
    """Where the text can only be read from its beginning, so that no spelling of it is taken for granted."""
    at = place(text, spell=pair.spell, vocabulary=pair.vocabulary, back_off=BACK_OFF)
    short = [string for string in asked if links(pair, text, string) == 1]
    if at.anchor or not short:
        return
    found, right = score(pair, text, short, tolerance=TOLERANCE), truth(pair, text, short)
    np.testing.assert_allclose([found.expert, found.anti_expert], right[:, :-1], atol=TOLERANCE)
    assert (found.lower <= right[:, :-1] + 1e-9).all()
    assert (right[:, :-1] <= found.upper + 1e-9).all()
    assert (found.upper - found.lower <= TOLERANCE + 1e-9).all()


def links(pair: ToyPair, text: bytes, string: bytes) -> int:
    """How many tokens the tokenizer needs for what `string` adds."""
    ends = np.cumsum([len(pair.vocabulary.pieces[i]) for i in pair.spell(text + string)])
    return int((ends > len(text)).sum())


@given(pair=pairs(), text=contexts, string=st.lists(letters, min_size=3, max_size=6).map(bytes))
def test_a_long_string_is_scored_link_by_link(pair: ToyPair, text: bytes, string: bytes) -> None:
    """Its score is the sum of what each token's bytes get after those before."""
    whole = score(pair, text, [string], tolerance=TOLERANCE)
    ends = np.cumsum([len(pair.vocabulary.pieces[i]) for i in pair.spell(text + string)])
    cuts = [len(text), *(int(end) for end in ends if end > len(text))]
    parts = [score(pair, (text + string)[:i], [(text + string)[i:j]], tolerance=TOLERANCE) for i, j in pairwise(cuts)]
    assert whole.expert[0] == pytest.approx(math.fsum(part.expert[0] for part in parts), abs=1e-9)
    assert whole.upper[1, 0] == pytest.approx(math.fsum(part.upper[1, 0] for part in parts), abs=1e-9)


def test_what_no_piece_can_spell_is_refused() -> None:
    vocabulary = Vocabulary([b"a", b"<end>"], ends=[1])
    pair = ToyPair(ToyModel(vocabulary, 1), ToyModel(vocabulary, 2))
    with pytest.raises(ValueError, match="no piece"):
        score(pair, b"a", [b"z"], tolerance=TOLERANCE)
