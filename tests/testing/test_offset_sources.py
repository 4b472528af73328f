"""The check of offset sources: ours pass it, and a source that breaks one rule is told which."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from itertools import count

import numpy as np
import pytest

from blackbox_proxy import OffsetTable, WeightedSum, load_pair
from blackbox_proxy.testing import check_offset_source
from blackbox_proxy.types import OffsetSource, Prompt, Scores
from tests.core.toys import toy_pair

CONTEXTS, PIECES = (b"", b"ab", b"\xc3"), (b"a", b"ab", b" b", b"\xa9", b"")


@pytest.mark.parametrize(
    "source",
    [
        OffsetTable({b"a": 2.0, b"": -1.0}, other=-0.5),
        WeightedSum([(toy_pair(1), 0.5), (OffsetTable({b"a": 2.0}), -1.0), (toy_pair(2), 2.0)]),
    ],
)
def test_a_table_and_a_sum_hold(source: OffsetSource) -> None:
    check_offset_source(source, contexts=CONTEXTS, pieces=PIECES)


@pytest.mark.parametrize("seed", range(4))
def test_a_toy_pair_holds_as_log_probs(seed: int) -> None:
    check_offset_source(toy_pair(seed), contexts=CONTEXTS, pieces=PIECES, prompt=Prompt(text="b a"), probabilities=True)


@pytest.mark.weights
def test_the_pair_of_the_demo_holds_as_log_probs() -> None:
    with load_pair("demo") as pair:
        check_offset_source(pair, prompt=Prompt.ask("What colour is the sky?"), probabilities=True)


Bend = Callable[[Scores, Sequence[bytes]], Scores]


@dataclass
class Bent:
    """A toy pair whose scores are changed."""

    bend: Bend
    asked: count[int] = field(default_factory=count)

    def score(self, context: bytes, pieces: Sequence[bytes], *, prompt: Prompt) -> Scores:
        return self.bend(toy_pair().score(context, pieces, prompt=prompt), pieces)


def by_length(scores: Scores, pieces: Sequence[bytes]) -> Scores:
    """Longer strings are likelier."""
    value = np.array([float(len(piece)) - 9.0 for piece in pieces])
    bounds = np.stack([value, value])
    return replace(scores, expert=value, anti_expert=value, lower=bounds, upper=bounds)


def by_company(scores: Scores, pieces: Sequence[bytes]) -> Scores:
    """What a string is worth depends on how many others are asked about."""
    value = np.full(len(pieces), -float(len(pieces)))
    bounds = np.stack([value, value])
    return replace(scores, expert=value, anti_expert=value, lower=bounds, upper=bounds)


def not_a_number(scores: Scores, _pieces: Sequence[bytes]) -> Scores:
    return replace(scores, expert=scores.expert * np.nan)


@pytest.mark.parametrize(
    ("bend", "fault"),
    [
        (
            lambda scores, _: replace(scores, expert=scores.expert.astype(np.float32)),
            "`expert` of 5 strings holds float32",
        ),
        (
            lambda scores, _: replace(scores, anti_expert=scores.anti_expert[:-1]),
            r"`anti_expert` of 5 strings has shape",
        ),
        (lambda scores, _: replace(scores, lower=scores.expert), "`lower` of 5 strings has shape"),
        (lambda scores, _: replace(scores, lower=scores.lower + 50.0), "outside of its bounds"),
        (not_a_number, "is not a number"),
        (by_company, "their bounds exclude each other"),
        (by_length, "b'ab' is likelier than b'a'"),
        (lambda scores, _: replace(scores, expert=scores.expert + 90.0, upper=scores.upper + 90.0), "above 0"),
    ],
)
def test_a_rule_that_is_broken_is_named(bend: Bend, fault: str) -> None:
    with pytest.raises(AssertionError, match=fault):
        check_offset_source(Bent(bend), contexts=CONTEXTS, pieces=PIECES, probabilities=True)


@dataclass
class Proposing:
    """A table that proposes what it is told to."""

    propose_all: Callable[[int], Sequence[bytes]]

    def score(self, context: bytes, pieces: Sequence[bytes], *, prompt: Prompt) -> Scores:
        return OffsetTable({}).score(context, pieces, prompt=prompt)

    def propose(self, _context: bytes, count: int, *, prompt: Prompt) -> Sequence[bytes]:  # noqa: ARG002
        return self.propose_all(count)


@pytest.mark.parametrize(
    ("propose", "fault"),
    [
        (lambda count: [b"%d" % i for i in range(count + 1)], "9 proposals after b'', where 8 were asked for"),
        (lambda count: [b"a"] * count, "some are named twice"),
        (
            lambda count: [b"%d" % (count - i) for i in range(count)],
            r"\[b'1'\] is proposed where one is asked for, and first of all \[b'8'\]",
        ),
    ],
)
def test_a_proposal_that_is_none_is_named(propose: Callable[[int], Sequence[bytes]], fault: str) -> None:
    with pytest.raises(AssertionError, match=fault):
        check_offset_source(Proposing(propose), contexts=CONTEXTS, pieces=PIECES)
