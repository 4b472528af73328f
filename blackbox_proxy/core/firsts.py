"""Which tokens of the pair let the API's next token be a given one: the bridge between two known vocabularies.

The text goes on with some bytes; the API's first token of them is what its tokenizer cuts off first (`Vocabulary.cut`;
where only pieces are known, the longest one). Merges make the difference: `=capital` is `=` and `capital`, although
`=c` is a piece too. Knows no law; answers are kept, since both vocabularies stay the same.
"""

from __future__ import annotations

from functools import lru_cache
from typing import final

import numpy as np

from blackbox_proxy.core.vocabulary import Ids, Vocabulary
from blackbox_proxy.errors import LocalModelError

KEPT = 1 << 14
"""Answers kept: the same strings come again at every place."""


@final
class Firsts:
    """First tokens of an API with the vocabulary `api`, in terms of the pair's `vocabulary`."""

    def __init__(self, vocabulary: Vocabulary, api: Vocabulary) -> None:
        self._vocabulary, self._api = vocabulary, api
        self._lengths = np.zeros(len(vocabulary), dtype=np.int32)
        for i in vocabulary.order.tolist():
            self._lengths[i] = len(self._first(vocabulary.pieces[i]))
        self.first = lru_cache(maxsize=KEPT)(self._first)
        self.ids = lru_cache(maxsize=KEPT)(self._ids)
        self.ends_at = lru_cache(maxsize=KEPT)(self._ends_at)

    def _first(self, text: bytes) -> bytes:
        """What the API's tokenizer cuts off `text` first; b"" where it cannot cut it."""
        if not text or self._api.ids_of(text):
            return text
        pieces = self._cut(text)
        return pieces[0] if pieces else self._longest(text)

    def _cut(self, text: bytes) -> list[bytes]:
        """The API's tokens of `text`; none where its tokenizer refuses it, as it may for a part of a character."""
        try:
            return [self._api.pieces[i] for i in self._api.cut(text)]
        except (LocalModelError, ValueError):
            return []

    def _longest(self, text: bytes) -> bytes:
        """The longest piece of the API that `text` starts with; b"" if none does."""
        for length in range(min(len(text), self._api.longest), 0, -1):
            if self._api.ids_of(text[:length]):
                return text[:length]
        return b""

    def last(self, text: bytes) -> bytes:
        """The API's last token of `text`, read from its beginning; b"" where it cannot be cut."""
        return (self._cut(text) or [b""])[-1] if text else b""

    def keeps(self, last: bytes, then: bytes) -> bool:
        """Whether the API cuts `last` off as a token where `then` follows: its border is one that it would make."""
        if not last or not self._api.begins(last + then[:1]):
            return True
        return len(self.first(last + then)) == len(last)

    def _ends_at(self, last: bytes, left: bytes) -> Ids:
        """Ids of the pair's tokens that start with `left`, and leave a border of the API at the end of it.

        last: the API's last token before that border. Where the API goes on from a text, one of its tokens ends there:
        continuations that it would cut otherwise are not among those that it weighs.
        """
        pieces, size = self._vocabulary.pieces, len(left)
        ids = self._vocabulary.starting_with(left)
        return np.array([i for i in ids.tolist() if self.keeps(last, pieces[i][size:])], dtype=np.intp)

    def _ids(self, string: bytes, left: bytes, *, drop: int, last: bytes) -> Ids:
        """Ids of the pair's tokens that start with `left` and after which the API's first token is `string`.

        left: what is still to be spelt: the first `drop` bytes belong to the text before, of which `last` is the API's
        last token; the rest is the end of `string`. A `string` that is no piece of the API stands for all that starts
        with it.
        """
        ids = self._vocabulary.starting_with(left)
        pieces = self._vocabulary.pieces
        if drop and not self.keeps(last, string):
            return ids[:0]
        if not self._api.ids_of(string):
            return ids
        head = string[: len(string) - (len(left) - drop)]
        if not head and not drop:
            return np.asarray(ids[self._lengths[ids] == len(string)], dtype=np.intp)
        kept = [i for i in ids.tolist() if len(self.first(head + pieces[i][drop:])) == len(string)]
        return np.array(kept, dtype=np.intp)


@lru_cache(maxsize=4)
def firsts_of(vocabulary: Vocabulary, api: Vocabulary) -> Firsts:
    """The bridge between two vocabularies, made once: reading all pieces takes a tenth of a second."""
    return Firsts(vocabulary, api)
