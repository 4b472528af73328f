"""The one owner of a run's distributions, and the helpers that ask one question each."""

from __future__ import annotations

from collections.abc import Generator
from typing import TypeVar

import pytest

from blackbox_proxy.core.events import (
    ApiDraft,
    Begin,
    Evaluate,
    Evidence,
    ScoreStrings,
    ask_api,
    ask_pair,
    ask_scores,
)
from blackbox_proxy.core.pairtable import PairTable
from blackbox_proxy.types import Reply, TokenPath, Usage
from tests.core.doubles import UNPROMPTED
from tests.core.toys import toy_pair

Q = TypeVar("Q")
T = TypeVar("T")

PAIR = toy_pair()
REPLY = Reply((), "stop", Usage())


def answered(process: Generator[Q, Evidence | None, T], evidence: Evidence | None) -> tuple[T, list[Q]]:
    """Give every question the same answer; what it returns, and what was asked."""
    asked: list[Q] = []
    try:
        asked.append(next(process))
        while True:
            asked.append(process.send(evidence))
    except StopIteration as stop:
        returned: T = stop.value
        return returned, asked


def evidence_at(*paths: TokenPath, seconds: float = 0.0) -> Evidence:
    return Evidence(PAIR.distributions(UNPROMPTED, paths), [REPLY], seconds=seconds)


def test_what_is_missing_is_asked_for_once_and_what_is_known_is_not() -> None:
    table, evidence = PairTable(), evidence_at((), (1,), seconds=0.5)
    known, asked = answered(table.know([(), (1,), ()]), evidence)
    assert asked == [Evaluate(((), (1,)))]
    assert known == dict(zip([(), (1,)], evidence.distributions, strict=True))
    again, asked = answered(table.know([(1,), ()]), None)
    assert (asked, list(again)) == ([], [(1,), ()])
    assert table.missing([(), (2,), (2,)]) == ((2,),)
    assert table.seconds == 0.5


def test_what_the_pair_evaluates_beside_the_api_is_kept() -> None:
    table, evidence = PairTable(), evidence_at((1,))
    returned, asked = answered(table.ask_beside(ApiDraft(b"a", (), 1, ((1,),))), evidence)
    assert returned is evidence
    assert len(asked) == len(table) == 1
    assert table.missing([(1,), (2,)]) == ((2,),)


def test_places_that_lie_behind_are_forgotten_and_behind_another_prompt_nothing_is_known() -> None:
    table, paths = PairTable(), [(), (1,), (1, 2), (3, 2)]
    table.store(paths, PAIR.distributions(UNPROMPTED, paths))
    table.forget_before([])
    assert not table.missing(paths)
    table.forget_before([(1, 2, 5), (1, 2)])
    assert table.missing(paths) == ((), (1,))
    _, asked = answered(table.begin(b"ab"), None)
    assert (asked, len(table)) == ([Begin(b"ab")], 0)


@pytest.mark.parametrize("evidence", [None, Evidence()])
def test_an_answer_that_lacks_what_was_asked_for_is_refused(evidence: Evidence | None) -> None:
    with pytest.raises(TypeError, match="ApiDraft"):
        answered(ask_api(ApiDraft(b"", (), 1, ())), evidence)
    with pytest.raises(TypeError, match="1 distributions"):
        answered(ask_pair(Evaluate(((),))), evidence)
    with pytest.raises(TypeError, match="ScoreStrings"):
        answered(ask_scores(ScoreStrings(b"", (b"a",), 0)), evidence)
