"""Which texts may be answers: all that is UTF-8, or those that a constraint accepts. Pure: the constraint is asked."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Protocol, final

from blackbox_proxy.core.alignment.continuations import Continuations
from blackbox_proxy.core.alignment.covering import NEGLIGIBLE
from blackbox_proxy.core.text import CONTINUATION, is_start, is_whole
from blackbox_proxy.errors import InputError
from blackbox_proxy.types import Candidate, Kind, Origin, Position, Step


class Acceptor(Protocol):
    """Says of a text what may follow it.

    Every text that it is asked about was led to by pieces that it allowed, or begins an answer.
    """

    def follows(self, text: bytes, piece: bytes) -> bool:
        """Whether some answer begins with the text and the piece; for b"", whether the answer may end here."""

    def starts(self, text: bytes) -> Sequence[bytes]:
        """The bytes that may come next; empty where any may that goes on in UTF-8."""

    def forced(self, text: bytes) -> bytes:
        """Whole characters that every answer that begins with the text goes on with."""

    def is_over(self, text: bytes) -> bool:
        """Whether the text is an answer, and nothing may follow it."""

    def cut(self, text: bytes, piece: bytes) -> bytes:
        """The piece, up to where the answer is over; the piece itself where it is not over inside it."""


class LeavesText:
    """An acceptor that changes no text: it forces nothing, cuts nothing, and no text is over."""

    def forced(self, _text: bytes) -> bytes:
        """Nothing."""
        return b""

    def is_over(self, _text: bytes) -> bool:
        """Never."""
        return False

    def cut(self, _text: bytes, piece: bytes) -> bytes:
        """The piece."""
        return piece


@final
class AnyText(LeavesText):
    """Accepts all UTF-8 text: an open character is finished first."""

    def follows(self, text: bytes, piece: bytes) -> bool:
        """Whether `text` with `piece` is still the beginning of UTF-8 text; an end only after a whole character."""
        return is_start(text + piece) if piece else is_whole(text)

    def starts(self, text: bytes) -> Sequence[bytes]:
        """What goes on in a character."""
        return () if is_whole(text) else CONTINUATION


ANY_TEXT = AnyText()


class WholeTexts(Protocol):
    """Says of whole texts and of their beginnings whether they are answers; white space is the writer's."""

    def answer(self, text: bytes) -> bytes | None:
        """What of a text is an answer: all of it, or what stands before the place where it is over; None for none."""

    def beginning(self, text: bytes) -> bytes | None:
        """What of a text some answer begins with: all of it, or up to where it is over; None where none does."""

    def is_over(self, text: bytes) -> bool:
        """Whether a text is an answer, and nothing may follow it."""


@final
class AnyWholeText:
    """Takes every text as it is."""

    def answer(self, text: bytes) -> bytes:
        """The text."""
        return text

    def beginning(self, text: bytes) -> bytes:
        """The text."""
        return text

    def is_over(self, _text: bytes) -> bool:
        """Never."""
        return False


ANY_WHOLE_TEXT = AnyWholeText()


@final
class WithoutWords:
    """Another acceptor without texts that have one of some strings. Nothing that completes one may follow."""

    def __init__(self, accepts: Acceptor, words: Sequence[str]) -> None:
        """words: none of them empty."""
        self._accepts, self._words = accepts, tuple(word.encode() for word in words)
        self._longest = max(map(len, self._words), default=1)
        self.is_over, self.cut = accepts.is_over, accepts.cut

    def follows(self, text: bytes, piece: bytes) -> bool:
        """Whether the other one lets it follow, and no string is completed by it."""
        return not self._completed(text, piece) and self._accepts.follows(text, piece)

    def starts(self, text: bytes) -> Sequence[bytes]:
        """The bytes that may come next: all are listed where the other one lets any come."""
        starts = self._accepts.starts(text) or tuple(bytes([byte]) for byte in range(256))
        return tuple(start for start in starts if self.follows(text, start))

    def forced(self, text: bytes) -> bytes:
        """As the other one. Raises InputError where that has one of the strings: then no answer is left."""
        forced = self._accepts.forced(text)
        if word := self._completed(text, forced):
            raise InputError(
                f"the constraint leaves nothing but {forced!r}, which completes {word!r}, one of the bad words",
                hint="leave that bad word out, or allow other texts",
            )
        return forced

    def _completed(self, text: bytes, piece: bytes) -> bytes:
        """The string that a piece completes; b"" for none. The text itself has none."""
        behind = text[max(len(text) - self._longest + 1, 0) :] + piece
        return next((word for word in self._words if piece and word in behind), b"")


@final
class TextsWithoutWords:
    """Other whole texts without those that have one of some strings."""

    def __init__(self, texts: WholeTexts, words: Sequence[str]) -> None:
        self._texts, self._words = texts, tuple(word.encode() for word in words)
        self.is_over = texts.is_over

    def answer(self, text: bytes) -> bytes | None:
        """See `WholeTexts.answer`."""
        return self._without(self._texts.answer(text))

    def beginning(self, text: bytes) -> bytes | None:
        """See `WholeTexts.beginning`."""
        return self._without(self._texts.beginning(text))

    def _without(self, text: bytes | None) -> bytes | None:
        return None if text is None or any(word in text for word in self._words) else text


@final
class TokensAlone:
    """Another acceptor where an answer is made of token ids: text that is cut or forced would be none of the tokens."""

    def __init__(self, accepts: Acceptor) -> None:
        self.follows, self.starts, self.is_over = accepts.follows, accepts.starts, accepts.is_over

    def forced(self, _text: bytes) -> bytes:
        """Nothing: which tokens it is made of is chosen."""
        return b""

    def cut(self, _text: bytes, piece: bytes) -> bytes:
        """The piece: one that goes beyond the end is not allowed."""
        return piece


@final
class AnswerBehind(LeavesText):
    """Another acceptor where what it is asked about stands behind other text, and the answer behind a prompt.

    before: the text that stands before what it is asked about. Nothing is forced or cut: the text is given.
    """

    def __init__(self, accepts: Acceptor, *, prompt: int) -> None:
        """prompt: how many bytes stand before the answer; of them anything is allowed."""
        self._accepts, self._prompt, self.before = accepts, prompt, b""

    def follows(self, text: bytes, piece: bytes) -> bool:
        """Whether the answer may go on so; where the piece begins before the answer does, it may."""
        whole = self.before + text
        return len(whole) < self._prompt or self._accepts.follows(whole[self._prompt :], piece)

    def starts(self, text: bytes) -> Sequence[bytes]:
        """The bytes that may come next in the answer."""
        whole = self.before + text
        return () if len(whole) < self._prompt else self._accepts.starts(whole[self._prompt :])


LOOKED_AT = 128
"""Likely strings of the expert that are looked at before those that start as the constraint wants."""

FEW = 64
"""Most bytes to start with that narrow down what is looked at."""


def proposals(
    tree: Continuations, text: bytes, *, count: int, accepts: Acceptor, least: float = NEGLIGIBLE
) -> list[bytes]:
    """The expert's strings that may follow, up to `count`, best first, and the end where that is allowed.

    Where a constraint allows none of the likely ones, those that begin rightly are listed, however unlikely, and every
    single byte that is allowed: something always competes. least: as in `Continuations.proposals`.
    """

    def allowed(strings: Iterable[bytes]) -> list[bytes]:
        return [piece for piece in strings if accepts.follows(text, piece)]

    if accepts is ANY_TEXT:
        return allowed([*tree.proposals(count, starts=accepts.starts(text), least=least), b""])
    end, likely = allowed((b"",)), allowed(tree.proposals(LOOKED_AT))[:count]
    if likely:
        return [*likely, *end]
    starts = accepts.starts(text)
    others = allowed(tree.proposals(LOOKED_AT, starts=starts))[:count] if len(starts) <= FEW else []
    return [*dict.fromkeys([*others, *starts, *end])]


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
