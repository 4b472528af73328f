"""Which texts may be answers: all that is UTF-8, or those that a constraint accepts. Pure: the constraint is asked."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import islice
from typing import Protocol, final

from blackbox_proxy.core.alignment.continuations import Continuations
from blackbox_proxy.core.text import CONTINUATION, is_start, is_whole
from blackbox_proxy.types import Candidate, Kind, Origin, Position, Step


class Acceptor(Protocol):
    """Says of a text what may follow it.

    Every text that it is asked about was led to by pieces that it allowed, or begins an answer.
    """

    def follows(self, text: bytes, piece: bytes) -> bool:
        """Whether some answer begins with the text and the piece; for b"", whether the answer may end here."""

    def starts(self, text: bytes) -> Sequence[bytes]:
        """The bytes that may come next, where they are few; empty where they are not."""

    def forced(self, text: bytes) -> bytes:
        """Whole characters that every answer that begins with the text goes on with."""

    def is_over(self, text: bytes) -> bool:
        """Whether the text is an answer, and nothing may follow it."""

    def cut(self, text: bytes, piece: bytes) -> bytes:
        """The piece, up to where the answer is over; the piece itself where it is not over inside it."""


@final
class AnyText:
    """Accepts all UTF-8 text: an open character is finished first."""

    def follows(self, text: bytes, piece: bytes) -> bool:
        """Whether `text` with `piece` is still the beginning of UTF-8 text; an end only after a whole character."""
        return is_start(text + piece) if piece else is_whole(text)

    def starts(self, text: bytes) -> Sequence[bytes]:
        """What goes on in a character."""
        return () if is_whole(text) else CONTINUATION

    def forced(self, _text: bytes) -> bytes:
        """Nothing."""
        return b""

    def is_over(self, _text: bytes) -> bool:
        """Never."""
        return False

    def cut(self, _text: bytes, piece: bytes) -> bytes:
        """The piece."""
        return piece


ANY_TEXT = AnyText()

LOOKED_AT = 128
"""Likely strings of the expert that are looked at before those that start as the constraint wants."""


def allowed_proposals(tree: Continuations, text: bytes, *, count: int, accepts: Acceptor) -> list[bytes]:
    """The expert's strings that a constraint allows, up to `count`, best first, and the end where that is allowed.

    There is always one: where none of the likely ones is allowed, those that begin rightly are, however unlikely; and
    where no token does, the bytes themselves.
    """
    strings = (piece for piece in _by_likelihood(tree, accepts.starts(text)) if accepts.follows(text, piece))
    listed = [*islice(strings, count)]
    return [*listed, b""] if accepts.follows(text, b"") else listed


def _by_likelihood(tree: Continuations, starts: Sequence[bytes]) -> Iterator[bytes]:
    yield from (likely := tree.proposals(LOOKED_AT))
    rest = [*tree.proposals(LOOKED_AT, starts=starts), *starts] if starts else []
    yield from (piece for piece in dict.fromkeys(rest) if piece not in likely)


def cut_position(position: Position, text: bytes, *, accepts: Acceptor) -> Position:
    """The position, each of its tokens cut where the answer is over: what would stand behind is no part of it."""

    def cut(candidate: Candidate) -> Candidate:
        if candidate.kind is not Kind.TEXT:
            return candidate
        piece = accepts.cut(text, candidate.piece)
        return candidate if piece == candidate.piece else replace(candidate, piece=piece)

    top, requested = tuple(map(cut, position.top)), tuple(map(cut, position.requested))
    return replace(position, sampled=cut(position.sampled), top=top, requested=requested)


def constrained_step(piece: bytes) -> Step:
    """The step of what the constraint leaves no choice about; b"" for the end. Nobody was asked."""
    return Step(
        piece=piece,
        kind=Kind.TEXT if piece else Kind.END,
        api_token=b"",
        logp_before=None,
        logp_after=None,
        offset=None,
        origin=Origin.CONSTRAINED,
        certified=True,
        tv_bound=0.0,
        alpha=None,
    )
