"""What any source of offsets must hold to (`types.OffsetSource`), as a check for a test of one's own.

def test_my_source() -> None:
check_offset_source(MySource(), contexts=[b"", b"The sky is"], pieces=[b" blue", b" grey", b""])
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from blackbox_proxy.testing.checking import expect
from blackbox_proxy.types import OffsetSource, Prompt, Proposer, Scores

CLOSE = 1e-6
"""Nats by which two answers to one question may differ where no bounds say more."""

PROPOSALS = 8


def check_offset_source(
    source: OffsetSource,
    *,
    contexts: Sequence[bytes] = (b"", b"The sky is", "caf\u00e9".encode()[:-1]),
    pieces: Sequence[bytes] = (b" blue", b" bl", b" grey", b"\xa9", b""),
    prompt: Prompt | None = None,
    probabilities: bool = False,
) -> None:
    """Check that the loop can rely on a source of offsets.

    What is asked: scores have the right shapes and types, lie within their own bounds, and are the same whether strings
    are asked for together or alone, in another order, twice, or again; no strings are an answer too; proposals are
    different strings, no more than were asked for.

    Args:
        source: The source.
        contexts: Answers so far, some of which end inside a character.
        pieces: Strings to score after each of them; b"" is the end.
        prompt: What stands before the answer; None for an empty one.
        probabilities: Whether its scores are log-probs of texts that go on so, as a pair's are: then none is above 0,
            and a string is at most as likely as its own beginning.

    Raises:
        AssertionError: For the first rule that does not hold, with the context, the strings and the values.
    """
    before = prompt or Prompt()
    for context in contexts:
        together = source.score(context, pieces, prompt=before)
        _check_shapes(together, pieces, context)
        _check_bounds(together, pieces, context)
        _check_repeats(source, together, pieces, context=context, prompt=before)
        if probabilities:
            _check_probabilities(together, pieces, context)
        if isinstance(source, Proposer):
            _check_proposals(source, context, before)


def _check_shapes(scores: Scores, pieces: Sequence[bytes], context: bytes) -> None:
    count = len(pieces)
    for name, shape in (("expert", (count,)), ("anti_expert", (count,)), ("lower", (2, count)), ("upper", (2, count))):
        value, where = getattr(scores, name), f"after {context!r}, `{name}` of {count} strings"
        expect(isinstance(value, np.ndarray), f"{where} is a {type(value).__name__}, not an array")
        expect(value.dtype == np.float64, f"{where} holds {value.dtype}, not float64")
        expect(value.shape == shape, f"{where} has shape {value.shape}, not {shape}")
    expect(len(scores.end) == 2, f"after {context!r}, `end` is {scores.end!r}, not (expert, anti-expert)")


def _check_bounds(scores: Scores, pieces: Sequence[bytes], context: bytes) -> None:
    for at, piece in enumerate(pieces):
        for name, value, low, high in _Scored(scores, at).members():
            where = f"`{name}` of {piece!r} after {context!r}"
            expect(not np.isnan([value, low, high]).any(), f"{where}: {value} in [{low}, {high}] is not a number")
            expect(value < np.inf, f"{where} is infinite")
            within = low - CLOSE <= value <= high + CLOSE
            expect(within, f"{where} is {value:.6f}, outside of its bounds [{low:.6f}, {high:.6f}]")


def _check_repeats(
    source: OffsetSource, together: Scores, pieces: Sequence[bytes], *, context: bytes, prompt: Prompt
) -> None:
    def check(way: str, strings: Sequence[bytes], places: Sequence[int]) -> None:
        other = source.score(context, strings, prompt=prompt)
        _check_shapes(other, strings, context)
        for at, place in enumerate(places):
            where = f"of {strings[at]!r} after {context!r}, {way}"
            _check_same(_Scored(other, at), _Scored(together, place), where)

    every = range(len(pieces))
    check("asked for again", pieces, every)
    check("asked for in reverse", pieces[::-1], every[::-1])
    check("asked for twice", [*pieces, *pieces], [*every, *every])
    for at, piece in enumerate(pieces):
        check("asked for alone", [piece], [at])
    check("where no strings are asked for", [], [])


def _check_same(one: _Scored, other: _Scored, where: str) -> None:
    """Both values lie within both bounds, so that they are about the same number."""
    for (name, value, low, high), (_, before, least, most) in zip(one.members(), other.members(), strict=True):
        lower, upper = max(low, least), min(high, most)
        values = f"`{name}` {where}, is {value:.6f}, and was {before:.6f}"
        expect(lower <= upper + CLOSE, f"{values}: their bounds exclude each other")
        expect(value == before or lower < upper or abs(value - before) <= CLOSE, values)


def _check_probabilities(scores: Scores, pieces: Sequence[bytes], context: bytes) -> None:
    for at, piece in enumerate(pieces):
        for name, value, _, _ in _Scored(scores, at).members():
            expect(value <= CLOSE, f"`{name}` of {piece!r} after {context!r} is {value:.6f}, above 0")
    for at, piece in enumerate(pieces):
        for shorter, beginning in enumerate(pieces):
            if beginning and piece != beginning and piece.startswith(beginning):
                within = (scores.lower[:, at] <= scores.upper[:, shorter] + CLOSE).all()
                expect(within, f"after {context!r}, {piece!r} is likelier than {beginning!r}")


def _check_proposals(source: Proposer, context: bytes, prompt: Prompt) -> None:
    proposals = list(source.propose(context, PROPOSALS, prompt=prompt))
    where = f"{len(proposals)} proposals after {context!r}"
    expect(len(proposals) <= PROPOSALS, f"{where}, where {PROPOSALS} were asked for")
    expect(all(isinstance(piece, bytes) for piece in proposals), f"not all are bytes among {where}: {proposals!r}")
    expect(len(proposals) == len(set(proposals)), f"some are named twice among {where}: {proposals!r}")
    first = list(source.propose(context, 1, prompt=prompt))
    expect(first == proposals[:1], f"{first!r} is proposed where one is asked for, and first of all {proposals[:1]!r}")


@dataclass(frozen=True, slots=True)
class _Scored:
    """One of the strings that were scored."""

    scores: Scores
    at: int

    def members(self) -> Iterator[tuple[str, float, float, float]]:
        """Of both members: its name, the log-prob, and its bounds."""
        values = {"expert": self.scores.expert, "anti_expert": self.scores.anti_expert}
        for row, (name, logps) in enumerate(values.items()):
            low, high = self.scores.lower[row, self.at], self.scores.upper[row, self.at]
            yield name, float(logps[self.at]), float(low), float(high)
