"""How probable both members of a pair find each of some byte strings after a text: to a tolerance, with bounds.

The covering (core.covering) by itself, for use without an API. The mass M(x) of a text x is that of its tokens up to
the last border that no token can straddle, in the tokenizer's own spelling, times the mass of the bytes after it in
every spelling; and log P(s | x) = log M(x + s) - log M(x) (3.4). So the scores of the parts of a text add up to the
same however it is cut. Laws are asked for until M is known as well as wanted. Knows nothing of who evaluates.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass

import numpy as np

from blackbox_proxy.core.covering import Cover, Place, place, probabilities
from blackbox_proxy.core.vocabulary import Vocabulary
from blackbox_proxy.types import Floats, Laws, Scores, TokenPath

TOLERANCE = 1e-3
"""Nats by which the bounds of a score may differ, unless another tolerance is given."""

TOGETHER = 16
"""Laws asked for at a time."""

BACK_OFF = 24
"""Most tokens re-read before the text's end, in search of a border that no token can straddle."""

MOST = 1024
"""Laws asked for at most for one string; what is still open then shows in the bounds."""

Wanted = tuple[TokenPath, ...]
Scoring = Generator[Wanted, Sequence[Laws], Scores]
"""Yields token paths, is sent the laws after them in that order, and returns the scores."""

Mass = Floats
"""Log of a mass as it is found, and its lower and upper bound, by member: shape (3, 2)."""


def scored(
    context: bytes,
    pieces: Sequence[bytes],
    *,
    vocabulary: Vocabulary,
    spell: Callable[[bytes], Sequence[int]],
    tolerance: float = TOLERANCE,
) -> Scoring:
    """Scores of `pieces` after `context`, and of an end there; b"" among the pieces stands for the end as well.

    tolerance: nats between the bounds of each score. 0 reads all of the text in every spelling and asks for every law
    there is, which only small vocabularies and short texts allow; then a score is the sum over all token sequences.
    """
    scorer = _Scorer(vocabulary, spell, tolerance / 2, {})
    before, end = yield from scorer.mass(context)
    found = np.zeros((len(pieces) + 1, 3, 2))
    for n, piece in enumerate((*pieces, b"")):
        after = (yield from scorer.mass(context + piece))[0] if piece else end
        found[n] = after - before[[0, 2, 1]]
    return Scores(
        expert=found[:-1, 0, 0],
        anti_expert=found[:-1, 0, 1],
        lower=found[:-1, 1].T,
        upper=np.minimum(found[:-1, 2].T, 0.0),
        end=(float(found[-1, 0, 0]), float(found[-1, 0, 1])),
    )


@dataclass(frozen=True, slots=True)
class _Scorer:
    """Weighs texts; the laws that are known are shared between them."""

    vocabulary: Vocabulary
    spell: Callable[[bytes], Sequence[int]]
    tolerance: float
    known: dict[TokenPath, Laws]

    def mass(self, text: bytes) -> Generator[Wanted, Sequence[Laws], tuple[Mass, Mass]]:
        """The mass of a text, and that of the text with an end right after it."""
        at, own = self._place(text), dict[TokenPath, Laws]()
        wanted: Wanted = tuple(at.path[:n] for n in range(len(at.path) + 1))
        while True:
            missing = tuple(dict.fromkeys(path for path in wanted if path not in self.known))
            if missing:
                self.known.update(zip(missing, (yield missing), strict=True))
            # Laws that other texts asked for do not count: a mass must depend on its text alone.
            own |= {path: self.known[path] for path in wanted}
            cover = Cover(self.vocabulary, at, own)
            wanted = self._open(cover) if len(own) < MOST or not self.tolerance else ()
            if not wanted:
                return self._logs(cover, at)

    def _place(self, text: bytes) -> Place:
        """The text's last safe border; without a tolerance its very beginning."""
        if not self.tolerance:
            return Place((), text, tuple(self.spell(text)))
        return place(text, spell=self.spell, vocabulary=self.vocabulary, back_off=BACK_OFF)

    def _open(self, cover: Cover) -> Wanted:
        """The spellings to follow next, heaviest first, while those not followed may weigh too much."""
        shares = cover.unread_shares()
        if sum(shares.values()) <= math.expm1(self.tolerance):
            return ()
        return tuple(sorted(shares, key=lambda path: -shares[path])[:TOGETHER])

    def _logs(self, cover: Cover, at: Place) -> tuple[Mass, Mass]:
        """Logs of the text's mass and of its end's; what is not followed may add to both."""
        unread = cover.unread_mass()
        steps = [probabilities(self.known[at.anchor[:n]], np.array([i])) for n, i in enumerate(at.anchor)]
        with np.errstate(divide="ignore"):
            anchor = np.log(np.array(steps).reshape(-1, 2)).sum(axis=0)
            text = np.log([cover.total, cover.total, cover.total + unread])
            end = np.log([cover.end(), cover.end(), cover.end() + unread])
        return anchor + text, anchor + end
