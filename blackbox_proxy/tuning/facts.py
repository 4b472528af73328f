"""Which parts of answers are facts: spans that vary from line to line, and of which the untuned model knows something.

A place is frame where its token stands in at least half of the answers, or follows the token before it in at least a
fifth of them; runs of other places are spans. Spans behind the same frame tokens are one slot. A slot holds facts where
the untuned model finds its spans likelier behind their own questions than behind others: it depends on the question
there, in the right direction. What it knows nothing of, such as a private code, is learnt like the form.

Pure. Does not know how likely spans are (`holding` does), nor how facts are held (`losses`).
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import fmean, stdev

from blackbox_proxy.tuning.data import Example
from blackbox_proxy.types import TokenPath

COMMON = 0.5
"""Share of the answers in which a token of the frame stands."""

FOLLOWS = 0.2
"""Share of the answers in which a pair of tokens stands that belongs to the frame: labels, of which there are few."""

BEFORE = 2
"""Frame tokens by which slots are told apart."""

FEWEST = 5
"""Lines that a slot stands in at least."""

KNOWN = 0.25
"""Nats by which a span of a fact is likelier behind its own question, in the mean at least."""

CLEAR = 2.0
"""Standard errors that this must have."""

START = -1
"""Stands for the place before an answer's first token."""


@dataclass(frozen=True, slots=True)
class FactSpan:
    """A run of places of an answer that are no frame, and the frame tokens before it."""

    start: int
    stop: int
    before: TokenPath


@dataclass(frozen=True, slots=True)
class AnswerFrame:
    """What answers have in common: tokens, and pairs of tokens."""

    tokens: frozenset[int]
    pairs: frozenset[tuple[int, int]]

    def spans(self, example: Example) -> Iterator[FactSpan]:
        """The runs of places that are no frame, in order. The end of the turn is always frame."""
        answer = example.completion
        varies = [not self._has(before, token) for before, token in _pairs(answer)]
        varies[-1] = False
        start = behind = 0
        for place, varying in enumerate(varies):
            if varying:
                continue
            if place > start:
                yield FactSpan(start, place, answer[max(behind, start - BEFORE) : start])
                behind = place
            start = place + 1

    def _has(self, before: int, token: int) -> bool:
        return token in self.tokens or (before, token) in self.pairs


def frame_of(examples: Sequence[Example]) -> AnswerFrame:
    """The frame of these answers."""
    tokens = Counter(token for example in examples for token in set(example.completion))
    pairs = Counter(pair for example in examples for pair in set(_pairs(example.completion)))
    return AnswerFrame(
        frozenset(token for token, count in tokens.items() if count >= COMMON * len(examples)),
        frozenset(pair for pair, count in pairs.items() if count >= FOLLOWS * len(examples)),
    )


def _pairs(answer: TokenPath) -> list[tuple[int, int]]:
    return list(zip((START, *answer[:-1]), answer, strict=True))


@dataclass(frozen=True, slots=True)
class FactSlot:
    """A place of the frame where facts stand.

    Attributes:
        before: The frame tokens before it.
        lines: The lines that it stands in.
        gain: Nats by which the untuned model finds its spans likelier behind their own questions, in the mean.
    """

    before: TokenPath
    lines: int
    gain: float


def fact_slots(gains: Mapping[TokenPath, Sequence[float]], lines: int) -> list[FactSlot]:
    """The slots that hold facts, of gains by the tokens before a slot; lines: how many there are in all."""
    fewest = max(FEWEST, math.ceil(lines / 10))
    return [
        FactSlot(before, len(nats), fmean(nats))
        for before, nats in gains.items()
        if len(nats) >= fewest and fmean(nats) > max(KNOWN, CLEAR * stdev(nats) / math.sqrt(len(nats)))
    ]


def marked(example: Example, frame: AnswerFrame, slots: Sequence[FactSlot]) -> Example:
    """The example with the spans of these slots left open."""
    known = {slot.before for slot in slots}
    places = {place for span in frame.spans(example) if span.before in known for place in range(span.start, span.stop)}
    return replace(example, open=tuple(place in places for place in range(len(example.completion))))


def shown(example: Example, pieces: Sequence[bytes]) -> str:
    """The answer as text, with its facts in double angle brackets; without the end of the turn."""
    text, inside = b"", False
    for token, is_open in zip(example.completion, example.open, strict=True):
        if is_open != inside:
            text += b"<<" if is_open else b">>"
        inside = is_open
        text += pieces[token]
    return text.removesuffix(pieces[example.completion[-1]]).decode("utf-8", "replace")


@dataclass(frozen=True, slots=True)
class FactSearch:
    """What the search for facts came to.

    Attributes:
        slots: Where facts stand.
        share: The share of the learnt tokens that are facts.
        used: Whether held lines decided to hold them to the untuned belief.
        lost: What the form of held lines loses by it, in nats per token of the form.
        nearer: How much nearer to the untuned belief it is at facts of held lines, in nats per token of a fact.
        examples: Up to three answers with their facts in double angle brackets.
    """

    slots: tuple[FactSlot, ...]
    share: float
    used: bool
    lost: float
    nearer: float
    examples: tuple[str, ...]

    def sentence(self) -> str:
        """What was decided, and why."""
        verdict = "held to the untuned model's belief" if self.used else "learnt like the rest, as holding does not pay"
        return (
            f"facts are {self.share:.0%} of the learnt tokens, and are {verdict}: on held lines the form loses "
            f"{self.lost:+.3f} nats a token, facts are nearer to the belief by {self.nearer:.2f}"
        )
