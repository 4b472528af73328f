"""The API's first token of a continuation, where both vocabularies are known: the bridge between two tokenizers.

The text goes on with some bytes; the API's first token of them is what its tokenizer cuts off first (`Vocabulary.cut`;
where only pieces are known, the longest one). Merges make the difference: `=capital` is `=` and `capital`, although
`=c` is a piece too. What comes later may still change the first token: `-` is one until `card` follows, and then it is
`-card`. So for a beginning of a continuation it is also told whether its first token is final. Knows no distribution;
answers are kept, since both vocabularies stay the same.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from typing import final

import numpy as np
from numpy.typing import NDArray

from blackbox_proxy.core.alignment.covering import Spell, spelling
from blackbox_proxy.core.alignment.vocabulary import Ids, Vocabulary

KEPT = 1 << 16
"""Answers kept: the same strings come again at every place."""

GAPS = 1 << 10
"""Ends of a text for which it is kept which tokens break the border there: lists of up to half a vocabulary."""

TRIED = 64
"""Longer pieces of the API that are looked at one by one; where there are more, one of them is taken to be possible."""

REMEMBERED = 64
"""Bytes of the text before that are cut to find the API's last token of it."""


@final
class Firsts:
    """First tokens of an API with the vocabulary `api`, for continuations written in the pair's `vocabulary`.

    spell: the pair's tokenizer; without one every spelling of a text is taken to be possible.
    """

    def __init__(self, vocabulary: Vocabulary, api: Vocabulary, spell: Spell | None = None) -> None:
        self._vocabulary, self._api, self._spell = vocabulary, api, spell
        self._lengths = np.zeros(len(vocabulary), dtype=np.int32)
        for i in vocabulary.order.tolist():
            self._lengths[i] = len(self._first(vocabulary.pieces[i]))
        self.first = lru_cache(maxsize=KEPT)(self._first)
        self.ids = lru_cache(maxsize=KEPT)(self._ids)
        self._keeps = lru_cache(maxsize=KEPT)(self._would_keep)
        self.can_change = lru_cache(maxsize=KEPT)(self._can_change)
        self.bytes_after = lru_cache(maxsize=KEPT)(self._bytes_after)
        self.last = lru_cache(maxsize=KEPT)(self._last)
        self.breaking = lru_cache(maxsize=GAPS)(self._breaking)
        self.is_settled = lru_cache(maxsize=KEPT)(self._is_settled)

    def is_piece(self, string: bytes) -> bool:
        """Whether the API has a token of exactly these bytes."""
        return bool(self._api.ids_of(string))

    def _first(self, text: bytes) -> bytes:
        """What the API's tokenizer cuts off `text` first; b"" where it cannot cut it."""
        if not text or self._api.ids_of(text):
            return text
        pieces = self._cut(text)
        return pieces[0] if pieces else self._longest(text)

    def _cut(self, text: bytes) -> list[bytes]:
        """The API's tokens of `text`; none where its tokenizer refuses it, as it may for a part of a character."""
        return [self._api.pieces[i] for i in spelling(self._api.cut, text)]

    def _longest(self, text: bytes) -> bytes:
        """The longest piece of the API that `text` starts with; b"" if none does."""
        for length in range(min(len(text), self._api.longest), 0, -1):
            if self._api.ids_of(text[:length]):
                return text[:length]
        return b""

    def _last(self, text: bytes) -> bytes:
        """The API's last token of `text`, or of its end if it is long; b"" where it cannot be cut."""
        if len(text) > REMEMBERED:
            space = text.find(b" ", len(text) - REMEMBERED)
            text = text[space if space >= 0 else len(text) - REMEMBERED :]
        return (self._cut(text) or [b""])[-1] if text else b""

    def keeps(self, last: bytes, then: bytes) -> bool:
        """Whether the API cuts `last` off as a token where `then` follows: its border is one that it would make."""
        if not last or not then or not self.bytes_after(last, b"")[then[0]]:
            return True
        return self._keeps(last, then)

    def _would_keep(self, last: bytes, then: bytes) -> bool:
        """`keeps` of a text whose first byte may join the token before."""
        if not self._api.straddled(last, then):
            return True
        if self._api.ids_of(last + then):
            return False
        pieces = self._cut(last + then)
        return not pieces or pieces[0] == last

    def _breaking(self, last: bytes, gap: bytes) -> Ids:
        """Ids of the pair's tokens that spell `gap` and then what the API cannot have after its token `last`."""
        ids, looked = [], self.bytes_after(last, b"")
        for i in self._vocabulary.starting_with(gap).tolist() if last else ():
            more = self._vocabulary.pieces[i][len(gap) :]
            if more and looked[more[0]] and not self._keeps(last, more):
                ids.append(i)
        return np.array(ids, dtype=np.intp)

    def next(self, last: bytes, text: bytes) -> bytes | None:
        """The API's next token behind a text that ends with its token `last`, where `text` follows and nothing more.

        None where it would not end `last` there, so that it cannot go on so.
        """
        return self.first(text) if self.keeps(last, text) else None

    def is_final(self, string: bytes, text: bytes) -> bool:
        """Whether the first token `string` of `text` stays the first one, whatever follows.

        It does where no piece of the API can lie across its end: a border vanishes only by a merge across it.
        """
        return not self._api.straddled(string, text[len(string) :])

    def _is_settled(self, last: bytes, text: bytes) -> bool:
        """Whether `next` stays what it is, whatever follows `text`."""
        if self.keeps(last, text):
            return self.is_final(last, last + text) and self.is_final(self.first(text), text)
        end = 0
        for piece in self._cut(last + text):
            end += len(piece)
            if end > len(last):
                break
        return self.is_final((last + text)[:end], last + text)

    def _bytes_after(self, string: bytes, rest: bytes) -> NDArray[np.bool_]:
        """First bytes of what may follow `string` + `rest` and join it across the end of `string`; shape (256,)."""
        mask = np.zeros(256, dtype=np.bool_)
        for stem in (string[n:] + rest for n in range(len(string))):
            for i in self._api.starting_with(stem).tolist():
                piece = self._api.pieces[i]
                if len(piece) > len(stem):
                    mask[piece[len(stem)]] = True
            if self._within(stem, len(stem) - len(rest)):
                mask[:] = True
        return mask

    def _within(self, text: bytes, at: int) -> bool:
        """Whether a piece starts `text`, goes beyond the first `at` bytes and ends before it does."""
        return any(self._api.ids_of(text[:n]) for n in range(at + 1, len(text)))

    def _can_change(self, text: bytes) -> bool:
        """Whether the pair may well go on from `text`, from a token's end there, so that its first token changes.

        Well: in its tokenizer's own spelling of the longer text. A piece of the API must lie across the end of `text`
        and begin inside its first token.
        """
        string = self.first(text)
        if self.is_final(string, text):
            return False
        return any(self._changes(string, text, longer) for longer in self._longer(string, text))

    def _longer(self, string: bytes, text: bytes) -> Iterator[bytes]:
        """Texts that go on from `text` by a piece of the API across its end; b"" in place of too many to look at."""
        for start in range(len(string)):
            stem = text[start:]
            ids = self._api.starting_with(stem)
            if len(ids) > TRIED:
                # Inside a word of letters the pair's own tokens hardly ever end where another cut begins.
                if start == 0 or not stem.isalnum():
                    yield b""
                continue
            for i in ids.tolist():
                if len(self._api.pieces[i]) > len(stem):
                    yield text[:start] + self._api.pieces[i]

    def _changes(self, string: bytes, text: bytes, longer: bytes) -> bool:
        """Whether `longer` has another first token, and the pair's own spelling of it has a border after `text`."""
        return not longer or (self.first(longer) != string and self._has_border(longer, len(text)))

    def _has_border(self, text: bytes, at: int) -> bool:
        if self._spell is None:
            return True
        end = 0
        for i in spelling(self._spell, text):
            end += len(self._vocabulary.pieces[i])
            if end >= at:
                return end == at
        return True

    def _ids(self, string: bytes, gap: bytes) -> Ids:
        """Ids of the pair's tokens that spell `gap` and then what the API's first token of is `string`.

        gap: the end of the text before the continuation begins. A `string` that is no piece of the API stands for all
        that starts with it.
        """
        ids = self._vocabulary.starting_with(gap + string)
        if not self._api.ids_of(string):
            return ids
        if not gap:
            return np.asarray(ids[self._lengths[ids] == len(string)], dtype=np.intp)
        pieces = self._vocabulary.pieces
        kept = [i for i in ids.tolist() if self._length(pieces[i][len(gap) :]) == len(string)]
        return np.array(kept, dtype=np.intp)

    def _length(self, text: bytes) -> int:
        """How long the API's first token of `text` is; of a token of the pair it is known already."""
        ids = self._vocabulary.ids_of(text)
        return int(self._lengths[ids[0]]) if ids else len(self.first(text))


@lru_cache(maxsize=4)
def pair_firsts(vocabulary: Vocabulary, spell: Spell) -> Firsts:
    """The bridge of a vocabulary to itself, for an API of which only the text of its tokens is known.

    It stands for the API's tokenizer: what is a token for the one mostly is one for the other.
    """
    return Firsts(vocabulary, vocabulary.cut_by(spell), spell)


@lru_cache(maxsize=4)
def firsts_of(vocabulary: Vocabulary, api: Vocabulary, spell: Spell | None = None) -> Firsts:
    """The bridge between two vocabularies, made once: reading all pieces takes a tenth of a second."""
    return Firsts(vocabulary, api, spell)
