"""Which tokens compete where an endpoint shows very many: nothing of what it shows is lost or counted twice."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from blackbox_proxy.core.alignment.vocabulary import Vocabulary
from blackbox_proxy.core.decoding import loop
from blackbox_proxy.core.decoding.acceptors import ANY_TEXT, Acceptor, LeavesText
from blackbox_proxy.core.decoding.shortening import competing, shortened
from blackbox_proxy.run.steerer import Steerer
from blackbox_proxy.steering import Steering
from blackbox_proxy.testing import ToyApi, ToyModel, ToyPair
from blackbox_proxy.types import Candidate, Kind, Position, Prompt

MANY = Vocabulary([*(bytes([a, b]) for a in b"abcdefgh" for b in b"ijklmnop"), b"</s>"], ends=[64])


@dataclass(frozen=True)
class Starting(LeavesText):
    """Allows what starts with one of some letters."""

    letters: bytes

    def follows(self, _text: bytes, piece: bytes) -> bool:
        return not piece or piece[0] in self.letters

    def starts(self, _text: bytes) -> tuple[bytes, ...]:
        return tuple(bytes([letter]) for letter in self.letters)


def place(weights: list[float], *, tail: float) -> Position:
    """A position that shows tokens of two letters and the end, most probable first."""
    shown = sorted(weights, reverse=True)
    logps = np.log(np.array(shown) / sum(shown) * (1.0 - tail))
    kinds = [Kind.END, *[Kind.TEXT] * len(shown)]
    top = tuple(
        Candidate(b"</s>" if kind is Kind.END else MANY.pieces[n], logp, kind)
        for n, (logp, kind) in enumerate(zip(logps.tolist(), kinds, strict=False))
    )
    return Position(top[0], top, tail, top[-1].logp)


positions = st.builds(
    place, st.lists(st.floats(1e-3, 1.0), min_size=1, max_size=60), tail=st.sampled_from([0.0, 0.01, 0.5])
)


@given(positions, st.integers(1, 70), st.sampled_from([ANY_TEXT, Starting(b"a"), Starting(b"bdf"), Starting(b"z")]))
def test_all_probability_is_shown_left_out_or_in_the_tail(whole: Position, count: int, accepts: Acceptor) -> None:
    short, out = shortened(whole, b"", accepts=accepts, count=count)
    shown = math.fsum(math.exp(c.logp) for c in short.top)
    assert shown + out + short.tail == pytest.approx(1.0, abs=1e-9)
    assert all(c.logp <= short.ceiling for c in short.further)
    if len(whole.top) <= count:
        assert short is whole
        return
    fit = [c for c in whole.top if c.kind is Kind.END or accepts.follows(b"", c.piece)]
    assert list(short.top) == fit[:count]
    assert set(fit[count:]) <= set(short.further)


@given(positions, st.integers(1, 70), st.sets(st.sampled_from([b"", *MANY.pieces[:64]]), max_size=8))
def test_what_is_proposed_competes_with_its_own_log_prob(whole: Position, count: int, pieces: set[bytes]) -> None:
    short, _ = shortened(whole, b"", accepts=ANY_TEXT, count=count)
    wider = competing(short, pieces)
    named = {b"" if c.kind is Kind.END else c.piece: c.logp for c in short.further}
    assert {c.piece: c.logp for c in wider.requested if c.kind is Kind.TEXT} == {
        piece: named[piece] for piece in pieces if piece and piece in named
    }
    assert wider.tail == pytest.approx(short.tail - math.fsum(math.exp(c.logp) for c in wider.requested), abs=1e-9)


def test_a_certified_choice_is_that_of_the_whole_list(monkeypatch: pytest.MonkeyPatch) -> None:
    """Eight of 65 shown tokens compete: where the step says that nothing else could win, nothing else does."""
    certified = 0
    for seed in range(12):
        closed, expert, anti_expert = (ToyModel(MANY, seed=3 * seed + n, sharpness=3.0) for n in range(3))
        api, pair = ToyApi(closed, MANY.spell, top_k=65), ToyPair(expert, anti_expert)
        steerer = Steerer(api, pair, Steering(alpha=0.3, max_tokens=12, event="bytes"))
        whole = steerer.complete(Prompt(text=""))
        with monkeypatch.context() as patched:
            patched.setattr(loop, "COMPETING", 8)
            short = steerer.complete(Prompt(text=""))
        for one, other in zip(whole.steps, short.steps, strict=False):
            if not other.certified and one.piece != other.piece:
                break
            assert one.piece == other.piece
            assert other.logp_before == pytest.approx(one.logp_before)
            certified += other.certified
    assert certified > 12
