"""How an answer in parts is put together where an endpoint is only asked in words to go on from it.

Asked to go on, a model begins a new turn: it drops the space before its first word, or says the last words once more.
So the last word of the text is held back (`parted`), the model is asked to begin with it, and the place where its reply
takes up the text is found by that word (`taken_up`). The module knows no request and no strategy.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Sequence
from dataclasses import replace
from operator import itemgetter

from blackbox_proxy.types import Candidate, Kind, Position

from .positions import log_add

OVERLAP = 8
"""Fewest characters of the text's end that count as repeated, if they are not all of it; fewer agree by accident."""

_WORD = re.compile(r"(?:\A|\s+)\S{1,32}\s*\Z")
_LAST = re.compile(r"\S{0,8}\s*\Z")
_SPACE = re.compile(rb"\s*")


def parted(text: str) -> tuple[str, str]:
    """What is sent of a text, and its last word, with the white space around it, that is held back.

    A word without an end in sight (a long address, Chinese) is cut before its last characters.

    >>> parted("The capital of Alb")
    ('The capital of', ' Alb')
    """
    match = _WORD.search(text) or _LAST.search(text)
    at = match.start() if match else len(text)
    return text[:at], text[at:]


def taken_up(positions: Sequence[Position], sent: bytes, *, held: bytes) -> bytes:
    """The bytes at the end of the text that the reply says again: what was held back, or that and more of the text."""
    said = b"".join(position.sampled.piece for position in positions if position.sampled.kind is not Kind.END)
    if _agree(said, held):
        return held
    text, said = sent + held, said.lstrip()
    if said.startswith(text.lstrip()):
        return text
    return next((end for end in _ends(text, said) if len(end) > len(held) and _repeats(said, end)), held)


def joined(positions: Sequence[Position], text: bytes) -> tuple[Position, ...]:
    """The positions where the first one says `text` with the white space that it begins with.

    A token that begins a turn has none, and the same token with it is another one: both are one event here.
    """
    space = text[: _space(text)]
    return (_spaced(positions[0], space), *positions[1:]) if space and positions else tuple(positions)


def _agree(said: bytes, text: bytes) -> bool:
    """Whether one of them begins the other, white space before them apart."""
    mine, theirs = said[_space(said) :], text[_space(text) :]
    return bool(mine) and (mine.startswith(theirs) or theirs.startswith(mine))


def _ends(text: bytes, said: bytes) -> Iterator[bytes]:
    """Ends of a text that begin like a reply, with the white space before them; the longest first."""
    at = text.find(said[:OVERLAP])
    while at >= 0:
        yield text[len(text[:at].rstrip()) :]
        at = text.find(said[:OVERLAP], at + 1)


def _repeats(said: bytes, end: bytes) -> bool:
    """Whether a reply says an end of the text, or so much of it as there was room for."""
    shared = min(len(said.strip().decode(errors="ignore")), len(end.strip().decode(errors="ignore")))
    return shared >= OVERLAP and _agree(said, end)


def _space(text: bytes) -> int:
    """How many bytes of white space it begins with."""
    match = _SPACE.match(text)
    return match.end() if match else 0


def _spaced(position: Position, space: bytes) -> Position:
    """The position with `space` before each token that has no white space of its own."""
    masses: dict[tuple[bytes, Kind], float] = {}
    for c in position.top:
        key = (_with(c, space).piece, c.kind)
        masses[key] = log_add(masses[key], c.logp) if key in masses else c.logp
    ranked = sorted(masses.items(), key=itemgetter(1), reverse=True)
    top = tuple(Candidate(piece, logp, kind) for (piece, kind), logp in ranked)
    return Position(_with(position.sampled, space), top, position.tail, _doubled(position.ceiling))


def _with(candidate: Candidate, space: bytes) -> Candidate:
    bare = candidate.kind in (Kind.TEXT, Kind.FRAGMENT) and not _space(candidate.piece)
    return replace(candidate, piece=space + candidate.piece, id=None) if bare else candidate


def _doubled(ceiling: float) -> float:
    """What two tokens that are now one may have together."""
    return min(0.0, ceiling + math.log(2.0))
