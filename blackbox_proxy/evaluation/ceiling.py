"""Where steering loses: what of a wrong steered answer is wrong, and whether the closed model could have had it. Pure.

    alignment   a step does not rest on exactly the text before, so that the API's log-probs were those of another text
    form        the answer is not in the form: the pair's part
    rest        form and fact are right, and something else is wrong (a code, a topic): the pair's part
    not_shown   the fact is wrong, and the closed model does not show the right one there: its ceiling
    not_said    it is shown, and the closed model would say another by itself: its ceiling too
    overruled   the closed model says it there by itself, and the pair's offset led away from it
    unknown     the closed model could not be asked

The first that holds counts. Without a form of the task the whole answer is the fact, and stands at its beginning.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from blackbox_proxy.evaluation.answers import KeptAnswer
from blackbox_proxy.evaluation.task import Item

PARTS: Final = ("alignment", "form", "rest", "not_shown", "not_said", "overruled", "unknown")


@dataclass(frozen=True, slots=True)
class FactPlace:
    """Where the fact of an answer stands: what is before it, and the texts of it that are right there."""

    before: str
    facts: tuple[str, ...]


def place_of(item: Item, form: re.Pattern[str] | None) -> FactPlace:
    """The place of the fact in the reference. White space before it belongs to it, as tokens have it."""
    whole = None if form is None else form.fullmatch(item.reference)
    if form is None or whole is None or not form.groups:
        return FactPlace("", item.right)
    begun = item.reference[: whole.start(1)]
    before = begun.rstrip()
    others = [match[1] for right in item.also if (match := form.fullmatch(right))]
    space = begun[len(before) :]
    return FactPlace(before, tuple(dict.fromkeys(space + fact for fact in (whole[1], *others))))


def in_form(text: str, form: re.Pattern[str]) -> bool:
    """Whether a whole answer has the form; space around it does not count."""
    return form.fullmatch(text.strip()) is not None


def part(steered: KeptAnswer, item: Item, place: KeptAnswer | None, *, form: re.Pattern[str] | None) -> str:
    """Which part of a wrong answer is the ceiling. place: what the closed model said in the fact's place."""
    if not steered.exact:
        return "alignment"
    if form is not None and not in_form(steered.text, form):
        return "form"
    if form is not None and form.groups and _fact(steered.text, form) in _facts(item, form):
        return "rest"
    if place is None or place.error or place.shown is None:
        return "unknown"
    if not place.shown:
        return "not_shown"
    facts = place_of(item, form).facts
    return "overruled" if any(_begins(place.text, fact) for fact in facts) else "not_said"


def _fact(text: str, form: re.Pattern[str]) -> str:
    whole = form.fullmatch(text.strip())
    return "" if whole is None else whole[1].strip()


def _facts(item: Item, form: re.Pattern[str]) -> Sequence[str]:
    return [fact for right in item.right if (fact := _fact(right, form))]


def _begins(said: str, fact: str) -> bool:
    """Whether what is said begins with the fact as words of its own."""
    said, fact = said.lstrip(), fact.strip()
    return said.startswith(fact) and not said[len(fact) :][:1].isalnum()
