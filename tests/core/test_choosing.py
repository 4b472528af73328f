"""Choosing between given answers: what one call decides, what further calls do, and what stays open."""

from __future__ import annotations

import math

import pytest

from blackbox_proxy.core.decoding.choosing import Masses, masses
from blackbox_proxy.core.events import Evidence
from blackbox_proxy.errors import InputError
from blackbox_proxy.types import Reply, Usage
from tests.core.doubles import position

FIRST = position(b"P", {b"P": 0.6, b"Rome": 0.3})
AFTER = {b"P": position(b"aris", {b"aris": 0.9, b"rag": 0.05})}


def ask(options: list[bytes], *, goes_on: bool, calls: int = 8) -> tuple[Masses, list[bytes]]:
    """Answer what is asked, one position at a time, and say what was asked."""
    run, asked = masses(options, goes_on=goes_on, calls=calls), list[bytes]()
    question = next(run)
    while True:
        asked.append(question.answer)
        said = FIRST if not question.answer else AFTER[question.answer]
        try:
            question = run.send(Evidence(replies=[Reply((said,), "length", Usage())]))
        except StopIteration as stop:
            found: Masses = stop.value
            return found, asked


def test_one_call_is_enough_where_the_options_show() -> None:
    found, asked = ask([b"Rome", b"P"], goes_on=True)
    assert asked == [b""]
    assert found.low.tolist() == pytest.approx([0.3, 0.6])
    assert found.high().tolist() == pytest.approx([0.4, 0.7])


def test_a_beginning_is_gone_on_from() -> None:
    found, asked = ask([b"Rome", b"Paris", b"Prag"], goes_on=True)
    assert asked == [b"", b"P"]
    assert found.low.tolist() == pytest.approx([0.3, 0.54, 0.03])


def test_without_going_on_a_beginning_stays_open_and_is_guessed() -> None:
    found, asked = ask([b"Rome", b"Paris", b"Prag"], goes_on=False)
    assert asked == [b""]
    assert found.low.tolist() == pytest.approx([0.3, 0.0, 0.0])
    assert found.high().tolist() == pytest.approx([0.4, 0.7, 0.7])
    chances = {b"P": 0.5, b"Paris": 0.4, b"Prag": 0.1, b"Rome": 0.2}
    guess = found.guessed(lambda text: math.log(chances[text]))
    assert guess.tolist() == pytest.approx([0.3, 0.6 * 0.8, 0.6 * 0.2])


@pytest.mark.parametrize("options", [[b"A"], [b"A", b"A"], [b"A", b""]])
def test_options_that_are_none_are_refused(options: list[bytes]) -> None:
    with pytest.raises(InputError, match="two options"):
        next(masses(options, goes_on=True, calls=1))
