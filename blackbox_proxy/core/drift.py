"""Whether the model behind a name is still the one that was recorded, by its own log-probs on fixed questions.

Two takes of a canary are compared as far as they stand after the same text. Each place gives the least total variation
that two distributions can have which show these top-k; so what an endpoint hides never makes an alarm. How far the
recorded takes are from one another is the endpoint's own noise (section 2.2 of docs/method.md). Pure: knows no file, no
clock.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Literal

from blackbox_proxy.types import Position

FLOOR = 0.01
"""Total variation that rounding on the wire and in the arithmetic of a server may come to."""

FACTOR = 3.0
"""How many times the recorded noise is still noise: the recorded takes are few."""

Verdict = Literal["same", "noise", "changed"]


@dataclass(frozen=True, slots=True)
class Take:
    """What the API once said to a canary. model, fingerprint: what it called itself, "" where it did not say."""

    positions: tuple[Position, ...]
    model: str = ""
    fingerprint: str = ""


@dataclass(frozen=True, slots=True)
class Canary:
    """A fixed question, as it was sent, with what the API said to it when it was recorded."""

    asked: str
    takes: tuple[Take, ...]


@dataclass(frozen=True, slots=True)
class Compared:
    """A canary now. shift: how far it is from the nearest recorded take; flips: other likeliest tokens."""

    asked: str
    shift: float
    flips: int


@dataclass(frozen=True, slots=True)
class Comparison:
    """What was found. noise: how far the recorded takes were apart; limit: what a shift must exceed; reasons: why.

    same: no shift above `FLOOR`. noise: one, but none above the limit. changed: one above it, or another name.
    """

    verdict: Verdict
    shift: float
    noise: float
    limit: float
    canaries: tuple[Compared, ...]
    reasons: tuple[str, ...]


def compare(canaries: Sequence[Canary], now: Sequence[Take]) -> Comparison:
    """Compare what the API says now with what was recorded, canary by canary."""
    noise = noise_of(canaries)
    limit = FACTOR * noise + FLOOR
    compared = tuple(_compared(canary, take) for canary, take in zip(canaries, now, strict=True))
    shift = max((one.shift for one in compared), default=0.0)
    names = [*_renamed(canaries, now, what="model"), *_renamed(canaries, now, what="fingerprint")]
    over = sum(one.shift > limit for one in compared)
    moved = (f"{over} of {len(compared)} canaries moved by more than {limit:.3g}, the most by {shift:.3g}",)
    reasons = (*names, *(moved if over else ()))
    verdict: Verdict = "changed" if reasons else "noise" if shift > FLOOR else "same"
    return Comparison(verdict, shift, noise, limit, compared, reasons)


def noise_of(canaries: Sequence[Canary]) -> float:
    """How far the recorded takes of one canary are apart, at most; 0 where there is one take each."""
    return max((apart(a, b) for one in canaries for a, b in combinations(one.takes, 2)), default=0.0)


def _compared(canary: Canary, now: Take) -> Compared:
    nearest = min(canary.takes, key=lambda take: apart(take, now))
    flips = sum(_best(one) != _best(other) for one, other in _together(nearest, now))
    return Compared(canary.asked, apart(nearest, now), flips)


def _renamed(
    canaries: Sequence[Canary], now: Sequence[Take], *, what: Literal["model", "fingerprint"]
) -> Iterator[str]:
    """Names that were never recorded. Where the record itself has several, one more is no evidence."""
    known = {getattr(take, what) for canary in canaries for take in canary.takes} - {""}
    fresh = {getattr(take, what) for take in now} - {"", *known}
    if len(known) == 1 and fresh:
        yield f"the {what} was {known.pop()}, and is {', '.join(sorted(fresh))}"


def apart(one: Take, other: Take) -> float:
    """The largest distance between two takes at any place that both stand at; 0 where they share none."""
    return max((distance(a, b) for a, b in _together(one, other)), default=0.0)


def _together(one: Take, other: Take) -> Iterator[tuple[Position, Position]]:
    """The places of both that stand after the same text."""
    for a, b in zip(one.positions, other.positions, strict=False):
        yield a, b
        if a.sampled.piece != b.sampled.piece:
            return


def distance(one: Position, other: Position) -> float:
    """The least total variation that two distributions can have which show these candidates, in [0, 1]."""
    p, q = _masses(one), _masses(other)
    return min(1.0, max(_excess(p, q, hidden=other), _excess(q, p, hidden=one)))


def _excess(p: Mapping[bytes, float], q: Mapping[bytes, float], *, hidden: Position) -> float:
    """The least by which the first distribution exceeds the second, summed over all events where it does.

    What the second does not show has at most its ceiling each, and at most its tail together.
    """
    shared = math.fsum(max(0.0, mass - q[piece]) for piece, mass in p.items() if piece in q)
    alone = [mass for piece, mass in p.items() if piece not in q]
    cap = min(math.exp(min(hidden.ceiling, 0.0)), hidden.tail)
    each = math.fsum(max(0.0, mass - cap) for mass in alone)
    return shared + max(each, math.fsum(alone) - hidden.tail, 0.0)


def _masses(position: Position) -> dict[bytes, float]:
    """Probabilities by piece, b"" the end; equal pieces are one event."""
    masses: dict[bytes, float] = {}
    for candidate in position.top:
        if math.isfinite(candidate.logp):
            key = candidate.string
            masses[key] = masses.get(key, 0.0) + math.exp(min(candidate.logp, 0.0))
    return masses


def _best(position: Position) -> bytes:
    return (position.top[0] if position.top else position.sampled).string
