"""Healing: what follows a text that was held back is the reply's distribution, given that it agrees; bounds hold."""

from __future__ import annotations

import math
from collections import defaultdict

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from blackbox_proxy.types import LOST, Candidate, Floats, Kind, Position
from blackbox_proxy_adapters.healing import heal, healed

PIECES = (b"a", b"b", b" ", b" a", b" b", b"ab", b" ab", b" ba", b"aab", b" abb", b"\xc3", b"\xc3\xa9")
LOST_TOKENS = 2
"""Tokens whose bytes the endpoint loses; behind the pieces, before the end."""

distributions = st.integers(0, 2**32 - 1).map(
    lambda seed: np.random.default_rng(seed).dirichlet(np.full(len(PIECES) + LOST_TOKENS + 1, 0.4))
)
heads = st.sampled_from([b" ", b"a", b" a", b"b", b"ab", b"\xc3", b" ab"])


def token(at: int, p: float) -> Candidate:
    """The token at a place of the distribution, as a decoder gives it."""
    logp = math.log(p) if p > 0.0 else -math.inf
    if at < len(PIECES):
        return Candidate(PIECES[at], logp, Kind.FRAGMENT if PIECES[at] == b"\xc3" else Kind.TEXT)
    return Candidate(LOST, logp, Kind.SPECIAL) if at < len(PIECES) + LOST_TOKENS else Candidate(b"</s>", logp, Kind.END)


def shown(distribution: Floats, sampled: int, k: int) -> Position:
    """What an endpoint that shows its top k says of a distribution; tokens whose bytes it loses are merged."""
    order = [int(at) for at in np.argsort(-distribution)[:k] if distribution[at] > 0.0]
    masses: dict[tuple[bytes, Kind], float] = {}
    for at in order:
        c = token(at, float(distribution[at]))
        masses[c.piece, c.kind] = masses.get((c.piece, c.kind), 0.0) + float(distribution[at])
    top = [Candidate(piece, math.log(mass), kind) for (piece, kind), mass in masses.items()]
    tail = min(1.0, max(0.0, 1.0 - sum(masses.values())))
    ceiling = math.log(distribution[order[-1]]) if len(order) == k else -math.inf
    return Position(token(sampled, float(distribution[sampled])), tuple(top), tail, ceiling)


def behind(distribution: Floats, held: bytes, rest: dict[int, tuple[float, bytes]]) -> dict[bytes, float]:
    """The true distribution of the strings after `held`, token by token: by enumeration.

    rest: of each token that ends inside `held`, or whose bytes are lost, how much of it goes on as `held` says, and
    with which string after it.
    """
    found: dict[bytes, float] = defaultdict(float)
    for at, p in enumerate(distribution.tolist()):
        if at in rest:
            found[rest[at][1]] += p * rest[at][0]
        elif at < len(PIECES) and PIECES[at].startswith(held):
            found[PIECES[at][len(held) :]] += p
    total = sum(found.values())
    return {text: mass / total for text, mass in found.items()} if total > 0.0 else {}


def vague(held: bytes) -> list[int]:
    """Tokens that may turn out to agree."""
    inside = [at for at, piece in enumerate(PIECES) if held.startswith(piece)]
    return inside + list(range(len(PIECES), len(PIECES) + LOST_TOKENS))


@given(distribution=distributions, held=heads, k=st.integers(1, 15), data=st.data())
def test_bounds_hold_for_every_distribution_behind_what_is_shown(
    distribution: Floats, held: bytes, k: int, data: st.DataObject
) -> None:
    """Probabilities are lower bounds, tail and ceiling upper ones, wherever the undecided tokens go."""
    inside = st.tuples(st.sampled_from([0.0, 1.0]) | st.floats(0.0, 1.0), st.sampled_from([b"a", b"b", b"x"]))
    # No two tokens have the same bytes, so each lost one that agrees says something that no other does.
    lost = {len(PIECES) + n: (data.draw(st.sampled_from([0.0, 1.0])), b"y%d" % n) for n in range(LOST_TOKENS)}
    truth = behind(distribution, held, {at: data.draw(inside) for at in vague(held)} | lost)
    sampled = data.draw(
        st.sampled_from([at for at in range(len(distribution)) if at not in vague(held)[: -LOST_TOKENS or None]])
    )
    found = heal([shown(distribution, sampled, k)], held)
    assert found is not None
    [position] = found
    masses = {c.piece: math.exp(c.logp) for c in position.top}
    assert sum(masses.values()) + position.tail == pytest.approx(1.0)
    assert len(masses) == len(position.top)
    if not truth:
        return
    assert all(mass <= truth[text] + 1e-9 for text, mass in masses.items())
    outside = {text: mass for text, mass in truth.items() if text not in masses}
    assert sum(outside.values()) <= position.tail + 1e-9
    assert max(outside.values(), default=0.0) <= math.exp(position.ceiling) + 1e-9


@given(distribution=distributions, held=st.sampled_from([b" ", b"a", b" a"]))
def test_with_all_shown_and_nothing_undecided_it_is_the_distribution_itself(distribution: Floats, held: bytes) -> None:
    distribution = distribution.copy()
    distribution[vague(held)] = 0.0
    distribution /= distribution.sum()
    truth = behind(distribution, held, {})
    first = int(
        np.argmax([p * (at < len(PIECES) and PIECES[at].startswith(held)) for at, p in enumerate(distribution)])
    )
    if not truth or distribution[first] < 1e-6:
        return
    found = heal([shown(distribution, first, len(distribution))], held)
    assert found is not None
    assert {c.piece: pytest.approx(math.exp(c.logp), abs=1e-9) for c in found[0].top} == {
        text: mass for text, mass in truth.items() if mass > 0.0
    }
    assert found[0].sampled == found[0].top[0]


def position(sampled: str, *top: tuple[str, float], tail: float = 0.0, ceiling: float = -math.inf) -> Position:
    found = tuple(Candidate(piece.encode(), math.log(p)) for piece, p in top)
    return Position(next(c for c in found if c.piece == sampled.encode()), found, tail, ceiling)


FIRST = position(" wo", (" wo", 0.6), (" the", 0.3), tail=0.1, ceiling=math.log(0.05))
SECOND = position("rld", ("rld", 0.5), ("rd", 0.25), ("nder", 0.125), tail=0.125, ceiling=math.log(0.1))
THIRD = position("!", ("!", 0.9), (".", 0.1))


def test_the_walk_goes_on_while_tokens_lie_inside_what_is_held() -> None:
    """After ` wor` stand the second position's tokens that begin with `r`, and the third position as it is."""
    found = heal([FIRST, SECOND, THIRD], b" wor")
    assert found is not None
    assert [c.piece for c in found[0].top] == [b"ld", b"d"]
    assert [math.exp(c.logp) for c in found[0].top] == pytest.approx([0.5 / 0.875, 0.25 / 0.875])
    assert found[0].tail == pytest.approx(0.125 / 0.875)
    assert found[0].ceiling == pytest.approx(math.log(0.125 / 0.875))
    assert found[0].sampled.piece == b"ld"
    assert found[1:] == (THIRD,)


def test_held_text_that_ends_with_a_token_leaves_the_positions_after_it() -> None:
    assert heal([FIRST, SECOND, THIRD], b" wo") == (SECOND, THIRD)
    assert heal([FIRST, SECOND], b" world") == ()
    assert heal([FIRST, SECOND], b"") == (FIRST, SECOND)


def test_a_reply_that_ends_inside_what_is_held_has_nothing_to_say() -> None:
    assert heal([FIRST, SECOND], b" world!") is None
    assert heal([], b" ") is None


def test_positions_after_a_token_that_does_not_agree_are_dropped() -> None:
    """What the endpoint would have taken, given what is held, stands in for it."""
    found = healed([SECOND, THIRD], b"n")
    assert found is not None
    assert found.agrees is False
    assert len(found.positions) == 1
    assert found.positions[0].sampled == found.positions[0].top[0]
    assert found.positions[0].sampled.piece == b"der"


@pytest.mark.parametrize(("chance", "piece"), [(0.0, b"ld"), (0.55, b"ld"), (0.6, b"d"), (0.9, LOST), (0.999, LOST)])
def test_a_drawn_draft_is_drawn_anew_from_the_healed_distribution(chance: float, piece: bytes) -> None:
    """By its own chance, so that it follows that distribution; what falls among the unseen is nobody's."""
    other = position("nder", ("rld", 0.5), ("rd", 0.25), ("nder", 0.125), tail=0.125, ceiling=math.log(0.1))
    found = heal([other], b"r", chance=chance)
    assert found is not None
    assert found[0].sampled.piece == piece
    assert (found[0].sampled.kind is Kind.SPECIAL) == (piece == LOST)


def test_where_nothing_agrees_nothing_is_known() -> None:
    end = Candidate(b"</s>", 0.0, Kind.END)
    found = heal([Position(end, (end,), 0.0, -math.inf)], b" ")
    assert found is not None
    assert (found[0].top, found[0].tail, found[0].ceiling, found[0].sampled.kind) == ((), 1.0, 0.0, Kind.SPECIAL)


def test_a_cut_token_has_the_kind_of_its_rest_and_no_id() -> None:
    top = (Candidate(b" \xc3", math.log(0.5), Kind.FRAGMENT, 3), Candidate(b" a", math.log(0.5), Kind.TEXT, 4))
    found = heal([Position(top[0], top, 0.0, -math.inf)], b" ")
    assert found is not None
    assert [(c.piece, c.kind, c.id) for c in found[0].top] == [(b"\xc3", Kind.FRAGMENT, None), (b"a", Kind.TEXT, None)]
