"""A run's course: which epoch is the best, when patience ends, what an epoch's loss is; and the learning rate."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from blackbox_proxy.errors import InputError
from blackbox_proxy.tuning.course import Course, steps_of
from blackbox_proxy.tuning.recipe import Recipe

LOSSES = st.lists(st.floats(0, 20), min_size=1, max_size=30)


def validated(*losses: float) -> Course:
    course = Course(1)
    for loss in losses:
        course = course.stepped(loss).validated(loss)
    return course


@given(LOSSES)
def test_the_best_epoch_is_the_first_of_the_lowest_loss(losses: list[float]) -> None:
    course = validated(*losses)
    assert losses[course.best - 1] == min(losses)
    assert min(losses) not in losses[: course.best - 1]
    assert course.is_best == (losses.index(min(losses)) == len(losses) - 1)


@given(LOSSES, st.integers(1, 5))
def test_patience_ends_after_so_many_epochs_in_a_row_that_beat_nothing(losses: list[float], patience: int) -> None:
    first = next(
        (
            number
            for number in range(patience + 1, len(losses) + 1)
            if min(losses[: number - patience]) <= min(losses[number - patience : number])
        ),
        None,
    )
    ended = (number for number in range(1, len(losses) + 1) if validated(*losses[:number]).exhausted(patience))
    assert next(ended, None) == first
    assert not validated(*losses).exhausted(0)


def test_a_loss_that_is_no_number_is_never_the_best() -> None:
    assert validated(math.nan, 3.0, math.nan).best == 2
    assert validated(math.nan).best == 1


def test_without_validation_the_last_epoch_is_kept_and_nothing_ends_early() -> None:
    course = Course(2, losses=(4.0, 2.0, 1.0, 1.0, 9.0))
    assert (list(course.means), course.best, course.ends_an_epoch) == ([3.0, 1.0], 2, False)
    assert not course.exhausted(1)
    assert Course(2, losses=(1.0, 1.0)).ends_an_epoch
    assert not Course(2).ends_an_epoch


@given(st.integers(1, 200), st.integers(1, 20), st.integers(1, 5))
def test_steps_are_enough_for_every_line_and_no_more(examples: int, batch: int, epochs: int) -> None:
    per_epoch, steps = steps_of(examples, batch=batch, epochs=epochs)
    assert (per_epoch - 1) * batch < examples <= per_epoch * batch
    assert steps == epochs * per_epoch


def test_the_learning_rate_rises_then_falls_to_nothing() -> None:
    rates = [Recipe(warmup=0.1).rate(step, 50) for step in range(51)]
    assert rates[:5] == pytest.approx([0.2, 0.4, 0.6, 0.8, 1.0])
    assert rates[5:] == sorted(rates[5:], reverse=True)
    assert rates[50] == pytest.approx(0.0)


@pytest.mark.parametrize(
    ("choice", "says"),
    [
        ({"epochs": 0}, r"epochs must be at least 1, not 0"),
        ({"batch": -1}, r"batch must be"),
        ({"rank": 0}, r"rank must be"),
        ({"patience": -1}, r"patience must be"),
        ({"alpha": 0.0}, r"alpha must be above 0"),
        ({"learning_rate": math.inf}, r"learning_rate must be"),
        ({"hold": 1.5}, r"hold must be in \[0, 1\], not 1\.5"),
        ({"warmup": math.nan}, r"warmup must be"),
        ({"deny": -1.0}, r"deny must be"),
        ({"targets": ("q_proj", "w_proj")}, r"no projection is called 'w_proj'"),
        ({"targets": ()}, r"no projection is to be changed"),
        ({"slot": "("}, r"slot '\(' is no regular expression"),
        ({"slot": "fact"}, r"slot 'fact' has no group"),
        ({"precision": "half"}, r"no precision is called 'half'"),
    ],
)
def test_a_choice_that_cannot_be_is_refused(choice: dict[str, object], says: str) -> None:
    with pytest.raises(InputError, match=says) as error:
        Recipe(**choice)  # type: ignore[arg-type]  # the wrong values are the point
    assert error.value.hint
