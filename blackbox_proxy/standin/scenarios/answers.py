"""What is said, token by token: at each spot a distribution over a few tokens, whose remainder is its tail.

A text that an answer begins with is looked up token by token. Where it ends inside a token, the tokens that go on with
it are what may follow, in their proportion. Pure; knows no request.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import final

END = b""
"""Stands among the tokens of a spot for the end of the answer."""

_TOKENS = re.compile(r" ?\w+| ?[^\w\s]+|\s+")


@final
@dataclass(frozen=True, slots=True)
class Branch:
    """A token that may stand at a spot.

    Attributes:
        piece: Its bytes; `END` for the end of the answer.
        p: Its probability.
        then: What follows it; None for the rest of the answer that it stands in.
    """

    piece: bytes
    p: float
    then: ScriptedAnswer | None = None


@final
@dataclass(frozen=True, slots=True)
class ScriptedSpot:
    """The tokens that may stand at one place: first the one that is said, then its alternatives."""

    branches: tuple[Branch, ...]


@final
@dataclass(frozen=True, slots=True)
class ScriptedAnswer:
    """The spots of an answer, in their order; its end follows."""

    spots: tuple[ScriptedSpot, ...]

    def spot(self, at: int) -> ScriptedSpot:
        """The spot at an index; behind the last one stands the end."""
        return self.spots[at] if at < len(self.spots) else _LAST


_LAST = ScriptedSpot((Branch(END, 1.0),))


@final
@dataclass(frozen=True, slots=True)
class Following:
    """What may follow a text.

    Attributes:
        weights: Probabilities by the bytes of tokens; where the text ends inside a token, by those of its rest.
        said: Which of them is said.
        remaining: How many tokens the answer has from here on, its end not counted.
    """

    weights: Mapping[bytes, float]
    said: bytes
    remaining: int

    @property
    def tail(self) -> float:
        """The probability of all other tokens together."""
        return max(0.0, 1.0 - sum(self.weights.values()))


@final
@dataclass(frozen=True, slots=True)
class _State:
    answer: ScriptedAnswer
    at: int
    read: int


def tokens_of(text: str) -> list[bytes]:
    """A text in words and marks, each with the blank before it.

    >>> tokens_of("It is 5 o'clock.")
    [b'It', b' is', b' 5', b' o', b"'", b'clock', b'.']
    """
    return [token.encode() for token in _TOKENS.findall(text)]


def pieces_of(answer: ScriptedAnswer) -> Iterator[bytes]:
    """The tokens of all spots, `END` too."""
    for spot in answer.spots:
        for branch in spot.branches:
            yield branch.piece
            if branch.then is not None:
                yield from pieces_of(branch.then)


def text_of(answer: ScriptedAnswer) -> bytes:
    """What is said where no alternative is taken."""
    return b"".join(spot.branches[0].piece for spot in answer.spots)


def following(answer: ScriptedAnswer, text: bytes) -> Following | None:
    """What may follow `text`, which the answer begins with; None where it does not.

    A border between tokens comes before the inside of one, what is said before its alternatives.
    """
    inside: Following | None = None
    states, seen = [_State(answer, 0, 0)], set()
    while states:
        state = states.pop()
        place = (id(state.answer), state.at, state.read)
        if place in seen:
            continue
        seen.add(place)
        rest = text[state.read :]
        if not rest:
            return _at_border(state)
        branches = state.answer.spot(state.at).branches
        inside = inside or _inside(state, branches, rest)
        states += reversed([_behind(state, branch) for branch in branches if _is_next(branch, rest)])
    return inside


def _is_next(branch: Branch, rest: bytes) -> bool:
    return branch.piece != END and rest.startswith(branch.piece)


def _behind(state: _State, branch: Branch) -> _State:
    read = state.read + len(branch.piece)
    return _State(state.answer, state.at + 1, read) if branch.then is None else _State(branch.then, 0, read)


def _at_border(state: _State) -> Following:
    branches = state.answer.spot(state.at).branches
    return Following({one.piece: one.p for one in branches}, branches[0].piece, _length(state, branches[0]))


def _inside(state: _State, branches: Sequence[Branch], rest: bytes) -> Following | None:
    going = [one for one in branches if len(one.piece) > len(rest) and one.piece.startswith(rest)]
    whole = sum(one.p for one in going)
    if not whole:
        return None
    weights = {one.piece[len(rest) :]: one.p / whole for one in going}
    return Following(weights, going[0].piece[len(rest) :], _length(state, going[0]))


def _length(state: _State, branch: Branch) -> int:
    """Tokens from a branch on, along what is said."""
    if branch.piece == END:
        return 0
    return 1 + (len(state.answer.spots) - state.at - 1 if branch.then is None else len(branch.then.spots))
