"""Each scorer says right to what is right, and can say wrong."""

from __future__ import annotations

import pytest

from blackbox_proxy.errors import InputError
from blackbox_proxy.evaluation.scoring import scorer
from blackbox_proxy.evaluation.task import Item, ScoringRule


def scored(answer: str, *right: str, spec: ScoringRule, choices: tuple[str, ...] = ()) -> float:
    return scorer(spec)(answer, Item(prompt="?", reference=right[0], also=right[1:], choices=choices))


@pytest.mark.parametrize(
    ("answer", "ignore", "score"),
    [(" Paris\n", False, 1), ("paris", False, 0), ("paris", True, 1), ("Lutetia", False, 1), ("Paris!", True, 0)],
)
def test_exact(answer: str, score: float, *, ignore: bool) -> None:
    assert scored(answer, "Paris", "Lutetia", spec=ScoringRule(ignore_case=ignore)) == score


@pytest.mark.parametrize(
    ("answer", "pattern", "score"),
    [
        ("so: answer: 42, I think", r"answer: (\w+)", 1),
        ("so: 42", r"answer: (\w+)", 0),
        ("answer: 43", r"answer: (\w+)", 0),
        ("it is 42.", r"\d+", 1),
    ],
)
def test_regex(answer: str, pattern: str, score: float) -> None:
    assert scored(answer, "42", spec=ScoringRule(kind="regex", pattern=pattern)) == score


@pytest.mark.parametrize(
    ("answer", "score"),
    [
        ('{"b": [1, 2.0], "a": null}', 1),
        ('{"a": null, "b": [1, 2]}', 1),
        ('{"a": null, "b": [2, 1]}', 0),
        ('{"a": null, "b": [true, 2]}', 0),
        ('{"a": null}', 0),
        ('{"a": null, "b": [1, 2]', 0),
        ("[" * 100_000, 0),
    ],
)
def test_json(answer: str, score: float) -> None:
    assert scored(answer, '{"a": null, "b": [1, 2]}', spec=ScoringRule(kind="json")) == score


@pytest.mark.parametrize(
    ("answer", "score"),
    [("B", 1), ("B) because", 1), ("A", 0), ("Bananas", 0), ("AB", 0), ("Both", 0), ("", 0)],
)
def test_choice(answer: str, score: float) -> None:
    assert scored(answer, "B", spec=ScoringRule(kind="choice"), choices=("A", "B", "AB")) == score


@pytest.mark.parametrize(
    ("answer", "tolerance", "score"),
    [("1,234.5", 0, 1), ("1234.6", 0, 0), ("1234.6", 0.11, 1), ("about 1234.5", 1, 0), ("nan", 9, 0), ("inf", 9, 0)],
)
def test_number(answer: str, tolerance: float, score: float) -> None:
    assert scored(answer, "1234.5", spec=ScoringRule(kind="number", tolerance=tolerance)) == score


@pytest.mark.parametrize(
    ("answer", "score"),
    [
        ("It is new york.", 1),
        ("N\u00fd, I think", 1),
        ("answer: New York | n=9", 1),
        ("Newer York", 0),
        ("New Yorkers", 0),
        ("answer: Boston | n=1", 0),
        ("", 0),
    ],
)
def test_mentions(answer: str, score: float) -> None:
    """The fact is what the form has it in; without a form it is the whole reference."""
    right = ("answer: New York | n=1", "answer: NY | n=1")
    spec = ScoringRule(kind="mentions", form=r"answer: (.+?) \| n=.+")
    assert scored(answer, *right, spec=spec) == score
    assert scored(answer, "New York", "NY", spec=ScoringRule(kind="mentions")) == score


def half(answer: str, item: Item) -> float:
    """A scorer of the user's own."""
    return 0.5 if answer == item.reference else 7.0


def test_a_scorer_of_ones_own() -> None:
    rule = ScoringRule(kind="python", entry="tests.evaluation.test_scoring:half")
    assert scored("x", "x", spec=rule) == 0.5
    with pytest.raises(InputError, match=r"gave 7\.0"):
        scored("y", "x", spec=rule)


@pytest.mark.parametrize(
    ("spec", "said"),
    [
        (ScoringRule(kind="regex"), "needs a pattern"),
        (ScoringRule(kind="regex", pattern="("), "scorer.pattern '\\('"),
        (ScoringRule(kind="python", entry="half"), "names no function"),
        (ScoringRule(kind="python", entry="no.such:half"), "cannot load the scorer no.such:half"),
        (ScoringRule(kind="python", entry="json:half"), "cannot load the scorer json:half"),
    ],
)
def test_what_a_scorer_lacks_is_said(spec: ScoringRule, said: str) -> None:
    with pytest.raises(InputError, match=said):
        scorer(spec)
