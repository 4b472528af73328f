"""How probable both members of a pair find each of some byte strings after a text: to a tolerance, with bounds.

The covering (core.alignment.covering) by itself, for use without an API. The mass M(x) of a text x is that of its
tokens up to the last border that no token can straddle (the anchor), in the tokenizer's own spelling, times the mass of
the bytes after it in every spelling; and log P(s | x) = log M(x + s) - log M(x) (3.4). So the scores of the parts of a
text add up to the same however it is cut. All masses are worked out side by side, and each distribution is asked for
once; which spellings count for a mass is decided by its text alone. Knows nothing of who evaluates.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from blackbox_proxy.core.alignment.covering import Place, place, probabilities
from blackbox_proxy.core.alignment.vocabulary import Ids, Vocabulary
from blackbox_proxy.core.events import Evaluate, Evidence
from blackbox_proxy.core.pairtable import PairTable
from blackbox_proxy.types import Floats, PairDistributions, Scores, TokenPath

TOLERANCE = 1.0
"""Nats by which the bounds of a score may differ, unless another tolerance is given; it is mostly much nearer (3.4)."""

CLOSE = 1e-3
"""The tolerance for what is computed once, where digits matter more than time."""

SMALL = 1e-6
"""A mass after its anchor that is certainly below this is told by its bounds, to no tolerance."""

BACK_OFF = 24
"""Most tokens re-read before the text's end, in search of a border that no token can straddle."""

MOST = 1024
"""Distributions that count at most for one mass; what is still open then shows in the bounds."""

Scoring = Generator[Evaluate, Evidence | None, Scores]
"""Asks for the pair's distributions, and returns the scores."""


def scored(
    context: bytes,
    pieces: Sequence[bytes],
    *,
    vocabulary: Vocabulary,
    spell: Callable[[bytes], Sequence[int]],
    tolerance: float = TOLERANCE,
    small: float = SMALL,
) -> Scoring:
    """Scores of `pieces` after `context`, and of an end there; b"" among the pieces stands for the end as well.

    tolerance: nats between the bounds of each score. small: a mass after its anchor that is certainly below this is
    followed no further, whatever the tolerance; the bounds hold. A tolerance of 0 reads all of the text in every
    spelling and asks for every distribution there is, which only small vocabularies and short texts allow; then a score
    is the sum over all token sequences.
    """
    enough = _Enough(tolerance / 2, small if tolerance else 0.0)
    texts = (context, *(context + piece for piece in pieces))
    places = {text: _place(text, vocabulary, spell, whole=not tolerance) for text in texts}
    masses = {text: _Mass(vocabulary, at, enough) for text, at in places.items()}
    end = _Mass(vocabulary, places[context], enough, ending=True)
    table = PairTable()
    shared = _common([at.anchor for at in places.values()])
    anchors = [at.anchor[:n] for at in places.values() for n in range(shared, len(at.anchor))]
    yield from _read([*masses.values(), end], anchors, table)
    known = yield from table.know(anchors)
    logs = {text: mass.logs() + _before(mass.at.anchor, shared, known) for text, mass in masses.items()}
    ending = end.logs() + _before(end.at.anchor, shared, known)
    scores = np.array([logs[context + piece] if piece else ending for piece in (*pieces, b"")])
    scores -= logs[context][[0, 2, 1]]
    return Scores(
        expert=scores[:-1, 0, 0],
        anti_expert=scores[:-1, 0, 1],
        lower=scores[:-1, 1].T,
        upper=np.minimum(scores[:-1, 2].T, 0.0),
        end=(float(scores[-1, 0, 0]), float(scores[-1, 0, 1])),
    )


def run(scoring: Scoring, distributions: Callable[[Sequence[TokenPath]], Sequence[PairDistributions]]) -> Scores:
    """Answer what a scoring asks for, until it is done."""
    evidence: Evidence | None = None
    while True:
        try:
            question = scoring.send(evidence)
        except StopIteration as stop:
            scores: Scores = stop.value
            return scores
        evidence = Evidence(distributions(question.paths))


def _read(
    masses: Sequence[_Mass], anchors: Sequence[TokenPath], table: PairTable
) -> Generator[Evaluate, Evidence | None, None]:
    """Ask for the `anchors` and for what the masses need, all of them at a time, until none needs more."""
    paths = [*anchors, *(path for mass in masses for path in mass.paths)]
    while paths:
        known = yield from table.know(paths)
        for mass in masses:
            mass.read(known)
        paths = [path for mass in masses for path in mass.paths]


def _place(text: bytes, vocabulary: Vocabulary, spell: Callable[[bytes], Sequence[int]], *, whole: bool) -> Place:
    """The text's last safe border; `whole`: its very beginning."""
    if whole:
        return Place((), text, tuple(spell(text)))
    return place(text, spell=spell, vocabulary=vocabulary, back_off=BACK_OFF)


def _common(paths: Sequence[TokenPath]) -> int:
    """How many tokens all paths have in common from their start: their distributions cancel in a score."""
    low, high = min(paths), max(paths)
    return next((n for n, (i, j) in enumerate(zip(low, high, strict=False)) if i != j), min(len(low), len(high)))


def _before(anchor: TokenPath, shared: int, known: Mapping[TokenPath, PairDistributions]) -> Floats:
    """Log of the mass of the anchor's tokens after the first `shared`, by member, shape (2,)."""
    steps = [probabilities(known[anchor[:n]], np.array([anchor[n]])) for n in range(shared, len(anchor))]
    with np.errstate(divide="ignore"):
        return np.asarray(np.log(np.array(steps).reshape(-1, 2)).sum(axis=0))


@dataclass(frozen=True, slots=True)
class _Open:
    """A spelling that is not followed yet: the bytes that it lacks, and its mass by member, shape (2,)."""

    rest: bytes
    mass: Floats


@dataclass(frozen=True, slots=True)
class _Enough:
    """When a mass is known well enough: to so many nats, or to be below `small`. Without nats: when all is read."""

    nats: float
    small: float

    def open(self, total: Floats) -> Floats:
        """What may stay unread, by member, where `total` is read; shape (2,)."""
        return np.maximum(total * math.expm1(self.nats), self.small - total if self.small else 0.0)


class _Mass:
    """The mass of the bytes behind an anchor in every spelling, or of those and an end right after them (`ending`).

    The tokenizer's own spelling is followed in any case, others as far as the tolerance asks for. paths: those to
    follow next. Distributions that nobody asked for on behalf of this mass do not count: it must depend on its text
    alone.
    """

    def __init__(self, vocabulary: Vocabulary, at: Place, enough: _Enough, *, ending: bool = False) -> None:
        self.at = at
        self.paths: Sequence[TokenPath] = tuple(at.path[:n] for n in range(len(at.anchor), len(at.path) + ending))
        self._vocabulary, self._enough, self._ending = vocabulary, enough, ending
        self._total: Floats = np.zeros(2) if at.rest or ending else np.ones(2)
        self._open = {at.anchor: _Open(at.rest, np.ones(2))} if self.paths else {}
        self._followed = 0

    def read(self, known: Mapping[TokenPath, PairDistributions]) -> None:
        """Follow the paths, and name those that are needed next."""
        for path in self.paths:
            if path in self._open:
                self._follow(path, known[path])
        self._followed += len(self.paths)
        self.paths = self._needed() if self._followed < MOST or not self._enough.nats else ()

    def logs(self) -> Floats:
        """Logs of the mass as it was read, and of its lower and upper bound; shape (3, 2)."""
        most = self._total + self._unread()
        with np.errstate(divide="ignore"):
            return np.log([self._total, self._total, most])

    def _follow(self, path: TokenPath, distributions: PairDistributions) -> None:
        state = self._open.pop(path)
        self._total += state.mass * probabilities(distributions, self._counting(state.rest)).sum(axis=1)
        following = list(self._vocabulary.proper_prefixes(state.rest))
        if self._ending and state.rest:
            following += [(i, len(state.rest)) for i in self._vocabulary.ids_of(state.rest)]
        if following:
            masses = state.mass[:, None] * probabilities(distributions, np.array([i for i, _ in following]))
            for column, (i, length) in enumerate(following):
                self._open[*path, i] = _Open(state.rest[length:], masses[:, column])

    def _counting(self, rest: bytes) -> Ids:
        """The tokens that make the text complete where `rest` is still lacking."""
        if not self._ending:
            return self._vocabulary.starting_with(rest)
        return self._vocabulary.order[:0] if rest else self._vocabulary.ends

    def _unread(self) -> Floats:
        """What the spellings that are not followed could add, shape (2,)."""
        return np.asarray(sum((state.mass for state in self._open.values()), np.zeros(2)))

    def _needed(self) -> Sequence[TokenPath]:
        """The fewest spellings, heaviest first, without which the others would not weigh too much."""
        if not self._open:
            return ()
        may = self._enough.open(self._total)
        paths = list(self._open)
        masses = np.stack([self._open[path].mass for path in paths], axis=1)
        shares = (masses / np.maximum(may, 1e-300)[:, None]).max(axis=0)
        order = np.argsort(shares, kind="stable")
        fits = (np.cumsum(masses[:, order], axis=1) <= may[:, None]).all(axis=0)
        fit = int(np.argmin(fits)) if not fits.all() else len(paths)
        return tuple(paths[n] for n in order[fit:][::-1])
