"""Whom a wrong answer is blamed on, in every case."""

from __future__ import annotations

import pytest

from blackbox_proxy.evaluation.answers import KeptAnswer
from blackbox_proxy.evaluation.arms import Arm, Speaker
from blackbox_proxy.evaluation.summary import ArmAnswers
from blackbox_proxy.fitting.blaming import blame, speakers
from blackbox_proxy.fitting.candidates import FitArm
from blackbox_proxy.fitting.selecting import Trial
from blackbox_proxy.types import Message

RIGHT = "right"
TURNS = (Message("user", "q"), Message("assistant", "a"))


def trial(name: str, speaker: Speaker, said: str | None, *, before: tuple[Message, ...] = ()) -> Trial:
    """An arm and what it says to the one question; None where it was not asked."""
    arm = Arm(name, speaker, 1, before=before)
    answers = {} if said is None else {"q": KeptAnswer("", "", "q", name, said)}
    return Trial(FitArm(arm, name), ArmAnswers(arm, answers, {item: float(said == RIGHT) for item in answers}))


@pytest.mark.parametrize(
    ("closed", "expert", "whom"),
    [
        ("w", RIGHT, "combination"),
        (RIGHT, RIGHT, "combination"),
        (RIGHT, "w", "expert"),
        ("w", "x", "both"),
        ("said", "x", "closed model"),
        ("x", "said", "expert"),
        ("said", "said", "both"),
        (None, RIGHT, "unknown"),
        (None, "said", "expert"),
    ],
)
def test_of_two_members_that_one_is_to_blame_which_is_wrong_by_itself(
    closed: str | None, expert: str | None, whom: str
) -> None:
    chosen = trial("steered", "steered", "said")
    by = speakers(chosen, [chosen, trial("closed", "closed", closed), trial("expert", "expert", expert)])
    assert blame(chosen, "q", by) == whom


def test_a_winner_of_one_part_is_that_part() -> None:
    one_part: tuple[tuple[Speaker, str], ...] = (("closed", "closed model"), ("expert", "expert"))
    for speaker, whom in one_part:
        chosen = trial("one", speaker, "w")
        assert blame(chosen, "q", speakers(chosen, [chosen])) == whom


def test_the_closed_model_is_asked_after_the_same_turns_where_it_was() -> None:
    chosen = trial("steered_shots", "steered", "said", before=TURNS)
    alone, shots = trial("closed", "closed", "w"), trial("closed_shots", "closed", "w", before=TURNS)
    assert speakers(chosen, [alone, shots, chosen]).closed is shots
    assert speakers(chosen, [alone, chosen]).closed is alone
