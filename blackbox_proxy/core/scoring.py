"""How probable both members of a pair find each of some byte strings after a text: to a tolerance, with bounds.

The covering (core.covering) by itself, for use without an API. A long string is scored link by link, a link being what
one token of the tokenizer adds, since the log-probs of the parts of a text add up however it is cut (3.4). For each
link laws are asked for until its bounds are as close as wanted, widest gaps first. Knows nothing of who evaluates.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from blackbox_proxy.core.covering import Cover, Place, place
from blackbox_proxy.core.vocabulary import Vocabulary
from blackbox_proxy.types import Floats, Laws, Scores, TokenPath

TOLERANCE = 1e-3
"""Nats by which the bounds of a link may differ, unless another tolerance is given."""

TOGETHER = 16
"""Laws asked for at a time."""

BACK_OFF = 24
"""Most tokens re-read before the text's end, in search of a border that no token can straddle."""

MOST = 512
"""Laws asked for at most for one link; what is still open then shows in the bounds."""

Wanted = tuple[TokenPath, ...]
Scoring = Generator[Wanted, Sequence[Laws], Scores]
"""Yields token paths, is sent the laws after them in that order, and returns the scores."""

Bounds = Floats
"""Log-probs as they are found, and their lower and upper bounds, by member: shape (3, 2)."""


def scored(
    context: bytes,
    pieces: Sequence[bytes],
    *,
    vocabulary: Vocabulary,
    spell: Callable[[bytes], Sequence[int]],
    tolerance: float = TOLERANCE,
) -> Scoring:
    """Scores of `pieces` after `context`, and of an end there; b"" among the pieces stands for the end as well.

    tolerance: nats between the bounds of each link. What stands before the last border that no token can straddle is
    then read in the tokenizer's own spelling. 0 reads all of the text in every spelling and asks for every law there
    is, which only small vocabularies and short texts allow.
    """
    scorer = _Scorer(vocabulary, spell, tolerance, {})
    found = np.zeros((len(pieces) + 1, 3, 2))
    for n, piece in enumerate((*pieces, b"")):
        text = context
        for link in scorer.links(context, piece):
            found[n] += yield from scorer.link(text, link)
            text += link
    return Scores(
        expert=found[:-1, 0, 0],
        anti_expert=found[:-1, 0, 1],
        lower=found[:-1, 1].T,
        upper=found[:-1, 2].T,
        end=(float(found[-1, 0, 0]), float(found[-1, 0, 1])),
    )


@dataclass(frozen=True, slots=True)
class _Scorer:
    """Scores links; the laws that are known are shared between them."""

    vocabulary: Vocabulary
    spell: Callable[[bytes], Sequence[int]]
    tolerance: float
    known: dict[TokenPath, Laws]

    def links(self, context: bytes, piece: bytes) -> Iterator[bytes]:
        """`piece` cut where the tokenizer's spelling of the whole text has a border; the end is one link."""
        if not piece or not self.tolerance:
            yield piece
            return
        text, start, at = context + piece, len(context), 0
        for i in self.spell(text):
            at += len(self.vocabulary.pieces[i])
            if at > start:
                yield text[start:at]
                start = at

    def link(self, text: bytes, string: bytes) -> Generator[Wanted, Sequence[Laws], Bounds]:
        """One string after a text."""
        at = self._place(text)
        limit = len(self.known) + MOST if self.tolerance else math.inf
        wanted = (*at.paths, *self._usual(at, string))
        while True:
            missing = tuple(dict.fromkeys(path for path in wanted if path not in self.known))
            if missing:
                self.known.update(zip(missing, (yield missing), strict=True))
            cover = Cover(self.vocabulary, at, self.known)
            cover.ask([string])
            cover.absorb()
            wanted = self._open(cover) if len(self.known) < limit else ()
            if not wanted:
                masses = (cover.estimate(), *cover.bounds())
                with np.errstate(divide="ignore"):
                    return np.log(np.stack(masses)[:, :, 0])

    def _place(self, text: bytes) -> Place:
        """The text's last safe border; without a tolerance its very beginning."""
        if not self.tolerance:
            return Place((), text, tuple(self.spell(text)))
        return place(text, spell=self.spell, vocabulary=self.vocabulary, back_off=BACK_OFF)

    def _usual(self, at: Place, string: bytes) -> Iterator[TokenPath]:
        """The paths along the tokenizer's spelling of the re-read text with the string, but for the last."""
        ids = tuple(self.spell(at.rest + string))
        return (at.anchor + ids[:n] for n in range(len(ids)))

    def _open(self, cover: Cover) -> Wanted:
        """The paths to evaluate next: what narrows the bounds most, while they are too far apart.

        A further spelling of the text counts by its share of the text: the string may owe all its probability to it.
        """
        low, high = cover.bounds()
        if (high[:, 0] <= low[:, 0] * np.exp(self.tolerance)).all():
            return ()
        gaps = cover.wide([0]) | cover.unread_shares()
        return tuple(sorted(gaps, key=lambda path: -gaps[path])[:TOGETHER])
