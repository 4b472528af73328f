"""From the API's log-probs and the pair's masses to steered scores.

Implements q(v) ~ p(v) * (E[v] / A[v]) ** alpha (section 3.0 of docs/method.md) over a finite set of strings, of which
the first `known` were shown by the API and the others get an imputed log-prob (3.2): the unseen tail of the API is
taken to be shaped like the anti-expert. Pure array arithmetic; knows no tokens, only which string begins which.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from blackbox_proxy.core.alignment.tokencover import LEAST_MASS
from blackbox_proxy.types import Floats

REAL = 1e-3
"""A string that a member finds at least this probable carries real evidence."""


LEAST_SHARE = 1e-2
"""Share of a mass that must be left of it, or nothing is taken from it."""


@dataclass(frozen=True, slots=True)
class Field:
    """What competes at one place: n strings (or ids), those that the API showed first.

    logp: the API's log-probs of the shown ones, shape (k,). masses: the pair's probabilities of all, shape (2, n), the
    expert first; those of unseen strings without the shown ones that they begin. once: the same, except that what may
    still become one of several strings is counted for one of them alone, so that only these may be summed; shape
    (2, n). disjoint: which strings are disjoint and cover the rest (`covers`), shape (n,). tail: the API's probability
    of everything it did not show. ceiling: the largest logp that one unseen token can have.
    """

    logp: Floats
    masses: Floats
    once: Floats
    disjoint: NDArray[np.bool_]
    tail: float
    ceiling: float


@dataclass(frozen=True, slots=True)
class FieldScores:
    """For each string: the API's logp (imputed where unseen), the pair's offset, and the steered score; shape (n,).

    rest: the offset of everything else together, as one event. logs: log E and log A of each string, and of all else as
    the last, shape (2, n + 1); None where a rule does not use them apart. fine: what penalties have taken off each
    score; None where there are none.
    """

    logp: Floats
    offset: Floats
    score: Floats
    rest: float = 0.0
    logs: Floats | None = None
    fine: Floats | None = None


def covers(pieces: Sequence[bytes], *, known: int = 0) -> NDArray[np.bool_]:
    """Which strings are disjoint events that together cover all the others.

    Those that no other one begins; where the API showed the first `known`, an unseen string stands only for what no
    shown one begins, so that the shown ones are compared among themselves. b"", the end, begins nothing.

    >>> covers([b"a", b"ab", b"b", b""]).tolist()
    [True, False, True, True]
    >>> covers([b"ab", b"a", b"abc"], known=1).tolist()
    [True, True, False]
    """
    shown, unseen = pieces[:known], pieces[known:]
    stems = tuple(filter(None, shown))
    begun = [piece.startswith(stems) for piece in unseen]
    return np.array([*_unbegun(shown), *(_unbegun(unseen) & ~np.array(begun, dtype=np.bool_))], dtype=np.bool_)


def _unbegun(pieces: Sequence[bytes]) -> NDArray[np.bool_]:
    """Which strings no other one of the list begins; of equal ones the first."""
    unbegun = np.zeros(len(pieces), dtype=np.bool_)
    last: bytes | None = None
    for i in sorted(range(len(pieces)), key=pieces.__getitem__):
        if last and pieces[i].startswith(last):
            continue
        unbegun[i] = True
        last = pieces[i]
    return unbegun


def remainders(masses: Floats, pieces: Sequence[bytes], *, known: int) -> Floats:
    """Masses of all strings, the unseen ones less those of the seen ones that they begin; shape (2, n)."""
    rest = masses.copy()
    for column in range(known, len(pieces)):
        piece = pieces[column]
        within = [j for j in range(known) if piece and pieces[j].startswith(piece)]
        if within:
            outermost = _unbegun([pieces[j] for j in within])
            rest[:, column] -= masses[:, np.array(within)[outermost]].sum(axis=1)
    return np.maximum(rest, 0.0)


def apart(
    tables: Sequence[Floats],
    pieces: Sequence[bytes],
    *,
    foreign: Collection[bytes],
    known: int,
    first: Callable[[bytes], bytes],
) -> list[Floats]:
    """Tables of masses of the same strings, of shape (2, n), each as those of events that exclude each other.

    For an API whose tokenizer is not known. A string stands for its being the first token as the pair's tokenizer cuts;
    but some that the API showed (`foreign`) for all that starts with them. What such a one holds is taken from the
    string that the pair cuts off it (`first`), and from any shorter one of its kind.
    """
    nets = [masses.copy() for masses in tables]
    for column, longer in _within(pieces, foreign=foreign, known=known, first=first).items():
        outermost = np.array(longer)[_unbegun([pieces[j] for j in longer])]
        for masses, net in zip(tables, nets, strict=True):
            rest = masses[:, column] - masses[:, outermost].sum(axis=1)
            # A difference of two nearly equal masses is rounding, and must not become a certainty.
            if (rest > LEAST_SHARE * masses[:, column]).all():
                net[:, column] = rest
    return nets


def _within(
    pieces: Sequence[bytes], *, foreign: Collection[bytes], known: int, first: Callable[[bytes], bytes]
) -> Mapping[int, Sequence[int]]:
    """By the column of a string, those of the foreign ones whose masses it holds: see `apart`."""
    columns = {piece: column for column, piece in enumerate(pieces)}
    within: dict[int, list[int]] = {}
    for j in range(known):
        piece = pieces[j]
        if piece not in foreign:
            continue
        shorter = (piece[:length] for length in range(1, len(piece)))
        for begun in {first(piece), *(one for one in shorter if one in foreign)} - {b"", piece}:
            if begun in columns:
                within.setdefault(columns[begun], []).append(j)
    return within


def within_none(pieces: Sequence[bytes], *, foreign: Collection[bytes], known: int) -> NDArray[np.bool_]:
    """Which strings are no part of another event, shape (n,): all but unseen ones that go on from a `foreign` one."""
    stems = tuple(foreign)
    begun = [column >= known and piece.startswith(stems) for column, piece in enumerate(pieces)]
    return ~np.array(begun, dtype=np.bool_)


def remaining_mass(field: Field) -> Floats:
    """E_r and A_r: what the strings of real mass leave to all others, shape (2,)."""
    real = field.disjoint & (field.once >= REAL).any(axis=0)
    return np.asarray(np.maximum(1.0 - field.once[:, real].sum(axis=1), LEAST_MASS), dtype=np.float64)


def pools(field: Field, *, flipped: bool = False) -> Floats:
    """What strings without evidence are pooled with, shape (2,): E_r and A_r, but never to their advantage.

    That the tuning took mass from all the rest is evidence about each of them. That it gave some is not: it may have
    gone to any one, and the others must not win by it. flipped: for a negative alpha, where losing mass is to gain.
    """
    pool = remaining_mass(field)
    pool[0 if flipped else 1] = pool.max()
    return pool


def offsets(field: Field, *, evidence: float, flipped: bool = False) -> Floats:
    """log E - log A of each string, pooled where neither member has evidence; shape (n,).

    d(s) = log(E[s] + c E_r) - log(A[s] + c max(A_r, E_r)), with c = `evidence` and E_r, A_r what the strings of real
    mass leave over: a string about which neither member knows anything gets the offset of all that is left, and none
    where that is positive (section 1.6). flipped: see `pools`.
    """
    smooth = smoothed(field, evidence=evidence, flipped=flipped)
    return np.asarray(smooth[0] - smooth[1], dtype=np.float64)


def smoothed(field: Field, *, evidence: float, flipped: bool = False) -> Floats:
    """The two logs of `offsets`, the expert's first, shape (2, n)."""
    pool = pools(field, flipped=flipped)
    return np.asarray(np.log(np.maximum(field.masses + evidence * pool[:, None], 1e-300)), dtype=np.float64)


def imputed(field: Field, *, evidence: float) -> Floats:
    """log-probs of the unseen strings: log tail + log A[s] - log A(unseen), at most the ceiling."""
    known = len(field.logp)
    rest = field.masses[1, known:]
    if not len(rest) or field.tail <= 0.0:
        return np.full(len(rest), -np.inf)
    unseen = 1.0 - field.once[1, :known][field.disjoint[:known]].sum()
    unseen = max(unseen, rest.max(), LEAST_MASS)
    shape = np.log(rest + evidence * unseen + 1e-300) - math.log(unseen)
    logp: Floats = np.minimum(math.log(field.tail) + np.minimum(shape, 0.0), field.ceiling)
    return logp


def score(field: Field, rule: Callable[[Field], Floats], *, alpha: float, evidence: float) -> FieldScores:
    """Steered scores of everything in the field, by offsets that `rule` makes of it; evidence smooths the tail."""
    offset = rule(field)
    logp = np.concatenate([field.logp, imputed(field, evidence=evidence)])
    rest = rest_logs(field)
    return FieldScores(logp, offset, logp + alpha * offset, float(rest[0] - rest[1]))


def rest_logs(field: Field) -> Floats:
    """log E and log A of what no string of the field begins, shape (2,); what is left below `REAL` is no evidence."""
    rest = np.maximum(1.0 - field.once[:, field.disjoint].sum(axis=1), 0.0) + REAL
    return np.asarray(np.log(rest), dtype=np.float64)


def whole(scores: FieldScores, *, known: int, alpha: float, barred: float = 0.0) -> float:
    """log Z of the whole distribution: over the field, whose first `known` strings were shown, and all else.

    What was not shown has the probability that is left, divided among the strings that were imputed and the rest, which
    is taken for one event: so that Z is 1 at alpha 0, whatever was shown. barred: probability of what was shown and may
    not follow, which takes no part in it.
    """
    mass = divided(scores, known=known, barred=barred)
    gain = alpha * np.array([*scores.offset, scores.rest]) if alpha else np.zeros(len(mass))
    if scores.fine is not None:
        gain[:-1] -= scores.fine
    kept = mass > 0.0
    log = np.log(mass[kept]) + gain[kept]
    return float(np.logaddexp.reduce(log))


def unlisted(scores: FieldScores, *, known: int, alpha: float, barred: float = 0.0) -> float:
    """Log of the steered weight of all that is not in the field, as one event: see `whole`; -inf where nothing is."""
    mass = float(divided(scores, known=known, barred=barred)[-1])
    return math.log(mass) + alpha * scores.rest if mass > 0.0 else -math.inf


def divided(scores: FieldScores, *, known: int, barred: float = 0.0) -> Floats:
    """The API's probabilities of the field's strings and of the rest, shape (n + 1,)."""
    shown, guessed = np.exp(scores.logp[:known]), np.exp(scores.logp[known:])
    tail = max(0.0, 1.0 - barred - float(shown.sum()))
    guessed *= min(1.0, tail / max(float(guessed.sum()), 1e-300))
    return np.array([*shown, *guessed, tail - float(guessed.sum())])
