"""Whether text that is sent back is cut into the tokens that were chosen, and whether the tokenizer is the API's.

A text endpoint cuts what it is sent anew: where it cuts elsewhere, its next distribution is that after other tokens
than those that were chosen one by one (3.3). Knows vocabularies only as pieces and a way to cut.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import accumulate

from blackbox_proxy.core.alignment.vocabulary import Vocabulary
from blackbox_proxy.core.text import open_bytes


def strange_borders(pieces: Sequence[bytes], vocabulary: Vocabulary) -> int | None:
    """How many borders between `pieces` the tokenizer does not make when it cuts the whole text anew.

    A character that is not finished at the text's end is left out, and with it the borders inside. None where the
    tokenizer cannot cut the text at all.
    """
    text = b"".join(pieces)
    whole = text[: len(text) - open_bytes(text)]
    try:
        cut = vocabulary.cut(whole)
    except ValueError:
        return None
    chosen = {at for at in _ends(pieces) if at < len(whole)}
    return len(chosen - _ends(vocabulary.pieces[i] for i in cut))


def strange_pieces(pieces: Iterable[bytes], vocabulary: Vocabulary) -> int:
    """How many of the pieces are no tokens of the vocabulary; empty ones are left out."""
    return sum(bool(piece) and not vocabulary.ids_of(piece) for piece in pieces)


def _ends(pieces: Iterable[bytes]) -> set[int]:
    return set(accumulate(len(piece) for piece in pieces)) - {0}
