"""The entries that an endpoint names at one position -> a valid `Position`.

All reply shapes meet here, so that the traps of reading a top-k are dealt with once:

* The sampled token may be appended as entry k + 1, may displace the k-th, or may be missing. It never sets `ceiling`;
  where it is known how many were asked for, an appended one is not in `top` either: what the API's top-k holds must not
  depend on what it drew. The reader finds it in `sampled`.
* There may be fewer entries than asked for, or more (ties): only what they hold counts.
* Entries of one token are one: by its id where the shape tells it, else by its bytes; their probabilities add.
* Low precision may lift the sum above 1: then it is scaled back to 1, and `ceiling` stays where it was.

The module knows no reply shape.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from operator import itemgetter
from typing import Literal, NamedTuple

from blackbox_proxy.errors import ReplyError
from blackbox_proxy.types import LOST, Candidate, Kind, Position

from .pieces import Piece

Trust = Literal["exact", "lossy", "none"]

ROUNDING = 1e-6
"""How far above 1 a sum of probabilities may be without being scaled."""

MOST = 2.0
"""A sum above this is no rounding: numbers that are rounded to half a nat stay below it."""


@dataclass(frozen=True, slots=True)
class Dialect:
    """What a reply shape leaves open, and one endpoint settles.

    ends, end_ids: how it spells the tokens that end an answer, and their ids. trust: whether `bytes` are a token's true
    bytes (`exact`), those of a string that may have lost them (`lossy`), or not to be looked at (`none`). top_k: how
    many alternatives were asked for. repeats: log-probs may begin with text that the reply does not hold, since
    it was sent.
    """

    ends: frozenset[bytes] = frozenset()
    end_ids: frozenset[int] = frozenset()
    trust: Trust = "exact"
    top_k: int | None = None
    repeats: bool = False

    def asked(self, top_k: int) -> Dialect:
        """The same for a request of that many alternatives."""
        return replace(self, top_k=top_k)


class ListedEntry(NamedTuple):
    """One token that an endpoint names; logp is None where nobody tells it."""

    piece: Piece
    logp: float | None
    id: int | None = None


Key = bytes | Piece | int
"""What makes an entry the same token as another one: its id, else its bytes, with its kind where it is no text."""


def entry(piece: Piece, logp: float | None, number: int | None, *, dialect: Dialect) -> ListedEntry:
    """An entry; its id (`number`), where it is told, says whether it is an end.

    A token without bytes is then none by itself, except where no ids of ends are known at all.
    """
    if number is None:
        return ListedEntry(piece, logp)
    if number in dialect.end_ids:
        return ListedEntry(Piece(piece.text, Kind.END), logp, number)
    nameless = piece.kind is Kind.END and not piece.text and b"" in dialect.ends and bool(dialect.end_ids)
    return ListedEntry(Piece(b"", Kind.SPECIAL) if nameless else piece, logp, number)


def position(sampled: ListedEntry, listed: Sequence[ListedEntry], *, top_k: int | None = None) -> Position:
    """What is known where one token was sampled and others listed. Raises ReplyError for what is no distribution."""
    mine = key_of(sampled)
    shown = [(key_of(e), e, e.logp) for e in listed if e.logp is not None]
    same = [logp for key, _, logp in shown if key == mine]
    others = [logp for key, _, logp in shown if key != mine]
    if top_k is not None and len(shown) > top_k and same and others and min(same) <= min(others):
        # Another token of the same name may be among the best: only the least of them is the appended one.
        shown.remove(min((e for e in shown if e[0] == mine), key=itemgetter(2)))
    masses = _masses(shown)
    if not same and sampled.logp is not None and (top_k is None or not shown):
        masses[mine] = (sampled, sampled.logp)
    return _position(sampled, masses, others=others)


def _position(
    sampled: ListedEntry, masses: Mapping[Key, tuple[ListedEntry, float]], *, others: Sequence[float]
) -> Position:
    mine = key_of(sampled)
    total = math.fsum(math.exp(logp) for _, logp in masses.values())
    excess = _excess(total)
    tail = min(1.0, max(0.0, 1.0 - total))
    # The sort keeps the order of equals, and the sampled token comes first: at alpha 0 it must win its ties.
    first = {mine: masses[mine]} if mine in masses else {}
    ranked = sorted((first | dict(masses)).items(), key=lambda item: -item[1][1])
    top = {key: Candidate(e.piece.text, logp - excess, e.piece.kind, e.id) for key, (e, logp) in ranked}
    logp = -math.inf if sampled.logp is None else sampled.logp
    alone = Candidate(sampled.piece.text, logp, sampled.piece.kind, sampled.id)
    return Position(top.get(mine, alone), tuple(top.values()), tail, ceiling_of(others, tail=tail))


def key_of(e: ListedEntry) -> Key:
    """See `Key`. Bytes alone are the quick case: the hash of an enumeration's member is slow."""
    if e.id is not None:
        return e.id
    piece = e.piece
    return piece.text if piece.kind is Kind.TEXT or piece.kind is Kind.FRAGMENT else piece


def ceiling_of(others: Sequence[float], *, tail: float) -> float:
    """The largest log-prob that a token outside the list can have: log p_k. others: the entries but the sampled one.

    The sampled token does not count, because it may have been appended, or may have displaced the k-th; leaving it out
    is sound in both cases. With no other entry only the tail bounds the rest: even a list of 1 need not be the top 1,
    since a sampled token that prints like it takes its place.
    """
    return min(others) if others else log_of(tail)


def log_of(mass: float) -> float:
    """The log of a probability; -inf for none."""
    return math.log(mass) if mass > 0.0 else -math.inf


def unknown(number: int | None = None) -> Position:
    """A position of which nothing is told but that there was one. Its token must not be taken for the end."""
    return Position(Candidate(LOST, -math.inf, Kind.SPECIAL, number), (), 1.0, 0.0)


def _masses(shown: Sequence[tuple[Key, ListedEntry, float]]) -> dict[Key, tuple[ListedEntry, float]]:
    """Log-prob per token; entries of one token are one event: their probabilities add."""
    masses: dict[Key, tuple[ListedEntry, float]] = {}
    for key, e, logp in shown:
        known = masses.get(key)
        masses[key] = (e, logp) if known is None else (known[0], log_add(known[1], logp))
    return masses


def _excess(total: float) -> float:
    """How far log-probs must come down for their sum to be 1."""
    if total > MOST:
        raise ReplyError(
            f"the reply's log-probabilities at one position add up to {total:.3g}",
            hint="the endpoint sends raw scores, or log-probs of something else; it cannot be steered as it is",
        )
    return math.log(total) if total > 1.0 + ROUNDING else 0.0


def log_add(a: float, b: float) -> float:
    """log(e^a + e^b), not above 0: rounded probabilities may add to more than 1."""
    return min(0.0, max(a, b) + math.log1p(math.exp(-abs(a - b))))
