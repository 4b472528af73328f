"""A vocabulary as bytes: ids to pieces and back, and ranges of pieces that share a prefix.

Special and end-of-generation tokens have a piece for display only: they are never matched against text. Several ids
may have the same piece. The module knows no tokenizer: how text is cut into tokens is asked of the model.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Callable, Collection, Iterator, Sequence
from copy import copy
from functools import cached_property
from typing import final

import numpy as np
from numpy.typing import NDArray

Ids = NDArray[np.intp]
"""Token ids used as an index, shape (n,)."""


def _after(prefix: bytes) -> bytes | None:
    """The smallest byte string that is greater than everything starting with `prefix`; None if there is none."""
    stem = prefix.rstrip(b"\xff")
    return stem[:-1] + bytes([stem[-1] + 1]) if stem else None


@final
class Vocabulary:
    """Pieces by id, the end-of-generation ids, and the text pieces in byte order.

    pieces: one per id, V of them. ends: ids that end generation. special: further ids that stand for no text.
    spare: ids that come after others of the same piece, such as SentencePiece's byte tokens.
    """

    def __init__(
        self,
        pieces: Sequence[bytes],
        *,
        ends: Collection[int],
        special: Collection[int] = (),
        spare: Collection[int] = (),
    ) -> None:
        self.pieces = tuple(pieces)
        self.ends: Ids = np.array(sorted(ends), dtype=np.intp)
        silent, last = {*ends, *special}, set(spare)
        text = [i for i, piece in enumerate(self.pieces) if piece and i not in silent]
        text.sort(key=lambda i: (self.pieces[i], i in last))
        self.order: Ids = np.array(text, dtype=np.intp)
        self._sorted = [self.pieces[i] for i in text]
        self._ids: dict[bytes, list[int]] = {}
        for i in text:
            self._ids.setdefault(self.pieces[i], []).append(i)
        self.longest = max((len(piece) for piece in self._sorted), default=0)
        self._cut: Callable[[bytes], Sequence[int]] = self.spell

    def cut_by(self, tokenizer: Callable[[bytes], Sequence[int]]) -> Vocabulary:
        """The same vocabulary with the tokenizer that belongs to it: `cut` uses it from now on."""
        other = copy(self)
        other._cut = tokenizer  # noqa: SLF001 (a copy of its own class)
        return other

    def cut(self, text: bytes) -> Sequence[int]:
        """Ids of `text` as the tokenizer cuts it where one is known, otherwise longest pieces first.

        Raises ValueError, or what the tokenizer raises, for what it cannot cut.
        """
        return self._cut(text)

    def __len__(self) -> int:
        return len(self.pieces)

    @cached_property
    def is_text(self) -> NDArray[np.bool_]:
        """Which ids stand for text, shape (V,)."""
        mask = np.zeros(len(self), dtype=np.bool_)
        mask[self.order] = True
        return mask

    @cached_property
    def heads(self) -> NDArray[np.uint8]:
        """The first byte of each piece, 0 for an empty one; shape (V,)."""
        return np.array([piece[0] if piece else 0 for piece in self.pieces], dtype=np.uint8)

    def text_of(self, ids: Sequence[int]) -> bytes:
        """The bytes that a sequence of ids stands for; special and end tokens stand for none."""
        return b"".join(self.pieces[i] for i in ids if self.is_text[i])

    def ids_of(self, piece: bytes) -> Sequence[int]:
        """Every text id with exactly this piece; empty if there is none."""
        return self._ids.get(piece, ())

    def starting_with(self, prefix: bytes) -> Ids:
        """Ids of the text pieces that start with `prefix`: a slice of `order`, in byte order."""
        low = bisect_left(self._sorted, prefix)
        if low == len(self._sorted) or not self._sorted[low].startswith(prefix):
            return self.order[:0]
        above = _after(prefix)
        high = len(self._sorted) if above is None else bisect_left(self._sorted, above, lo=low)
        return self.order[low:high]

    def begins(self, prefix: bytes, *, longer: bool = False) -> bool:
        """Whether some piece starts with `prefix`; `longer`: and goes beyond it."""
        at = bisect_right(self._sorted, prefix) if longer else bisect_left(self._sorted, prefix)
        return at < len(self._sorted) and self._sorted[at].startswith(prefix)

    def proper_prefixes(self, text: bytes, *, beyond: int = 0) -> Iterator[tuple[int, int]]:
        """(id, length) of every piece that `text` starts with and goes beyond, shortest first; longer than `beyond`."""
        for length in range(beyond + 1, min(len(text) - 1, self.longest) + 1):
            for i in self._ids.get(text[:length], ()):
                yield i, length

    def straddled(self, left: bytes, right: bytes) -> bool:
        """Whether one piece could cover the border between `left` and `right`, as far as the bytes allow.

        True if some piece is a non-empty ending of `left` followed by at least one byte that agrees with `right` as
        far as both go (what follows `right` is open). Merge rules and pre-tokenizers can only make the answer False
        more often, so a border that is not straddled is a safe place to start reading.
        """
        for cut in range(1, min(len(left), self.longest - 1) + 1):
            ending = left[-cut:]
            if not self.begins(ending + right[:1], longer=not right):
                continue
            if self.begins(ending + right, longer=not right):
                return True
            if any(ending + right[:n] in self._ids for n in range(1, len(right))):
                return True
        return False

    @cached_property
    def _letters(self) -> frozenset[int]:
        """The bytes that are pieces by themselves."""
        return frozenset(piece[0] for piece in self._ids if len(piece) == 1)

    def can_spell(self, text: bytes) -> bool:
        """Whether the pieces can spell `text`."""
        if self._letters.issuperset(text):
            return True
        try:
            self.spell(text)
        except ValueError:
            return False
        return True

    def spell(self, text: bytes) -> list[int]:
        """Cut `text` into pieces greedily, longest first: a spelling where the model's own tokenizer has none.

        Raises ValueError if some byte has no piece at all.
        """
        ids: list[int] = []
        start = 0
        while start < len(text):
            for length in range(min(self.longest, len(text) - start), 0, -1):
                matches = self._ids.get(text[start : start + length])
                if matches:
                    ids.append(matches[0])
                    start += length
                    break
            else:
                raise ValueError(f"no piece of the vocabulary starts {text[start : start + 8]!r}")
        return ids
