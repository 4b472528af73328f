"""Which part of a wrong answer is the ceiling: one case of each, and the place of the fact."""

from __future__ import annotations

import re

import pytest

from blackbox_proxy.evaluation.answers import KeptAnswer
from blackbox_proxy.evaluation.ceiling import PARTS, FactPlace, part, place_of
from blackbox_proxy.evaluation.task import Item

FORM = re.compile(r"answer: (.+?) \| n=.+")
ITEM = Item(prompt="?", reference="answer: New York | n=1", also=("answer: NY | n=1",))


def steered(text: str, *, exact: bool = True) -> KeptAnswer:
    return KeptAnswer("k", "t", ITEM.name, "steered", text, exact=exact)


def place(text: str, *, shown: bool | None, error: str = "") -> KeptAnswer:
    return KeptAnswer("k", "t", ITEM.name, "in_place", text, shown=shown, error=error)


def test_the_fact_stands_where_the_form_has_it() -> None:
    assert place_of(ITEM, FORM) == FactPlace("answer:", (" New York", " NY"))
    assert place_of(ITEM, None) == FactPlace("", ITEM.right)
    assert place_of(Item(prompt="?", reference="New York"), FORM) == FactPlace("", ("New York",))
    assert place_of(ITEM, re.compile("answer: .*")) == FactPlace("", ITEM.right)


@pytest.mark.parametrize(
    ("answer", "said", "found"),
    [
        (steered("answer: Rome | n=1", exact=False), None, "alignment"),
        (steered("New York"), None, "form"),
        (steered("answer: New York | n=2"), None, "rest"),
        (steered("answer: NY | n=2"), None, "rest"),
        (steered("answer: Rome | n=1"), place(" Bonn |", shown=False), "not_shown"),
        (steered("answer: Rome | n=1"), place(" Bonn |", shown=True), "not_said"),
        (steered("answer: Rome | n=1"), place(" New Yorker", shown=True), "not_said"),
        (steered("answer: Rome | n=1"), place(" New York |", shown=True), "overruled"),
        (steered("answer: Rome | n=1"), place(" NY", shown=True), "overruled"),
        (steered("answer: Rome | n=1"), place("", shown=None, error="busy"), "unknown"),
        (steered("answer: Rome | n=1"), None, "unknown"),
    ],
)
def test_a_wrong_answer_has_one_part(answer: KeptAnswer, said: KeptAnswer | None, found: str) -> None:
    assert part(answer, ITEM, said, form=FORM) == found
    assert found in PARTS


def test_without_a_form_the_whole_answer_is_the_fact() -> None:
    item = Item(prompt="?", reference="New York")
    wrong = steered("Rome")
    assert part(wrong, item, place("New York, of course", shown=True), form=None) == "overruled"
    assert part(wrong, item, place("Rome", shown=False), form=None) == "not_shown"
