"""What a route by agreement would have saved: by kept answers, and never more than the lines that agree are worth."""

from __future__ import annotations

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from blackbox_proxy.core.money.amounts import Price, Rate, cost
from blackbox_proxy.evaluation.answers import KeptAnswer
from blackbox_proxy.evaluation.arms import Arm, Speaker
from blackbox_proxy.evaluation.statistics import Mean
from blackbox_proxy.evaluation.summary import ArmAnswers
from blackbox_proxy.fitting.candidates import FitArm
from blackbox_proxy.fitting.compared import ComparedArms
from blackbox_proxy.fitting.selecting import Trial
from blackbox_proxy.types import Usage
from tests.bench.fit_figures import Units, probes
from tests.bench.fit_probe import TOKENS, probed

PRICE = Price(input=Rate(Decimal("0.15")), output=Rate(Decimal("0.60")), source="made up")


def trial(speaker: Speaker, texts: list[str], right: list[float], *, usage: Usage | None = None) -> Trial:
    """An arm that says these; each answer takes the same."""
    spent, taken = Decimal(0) if usage is None else cost(usage, PRICE), usage or Usage()
    answers = {
        str(n): KeptAnswer(str(n), "t", str(n), speaker, text, cost=spent, input=taken.input, output=taken.output)
        for n, text in enumerate(texts)
    }
    arm = Arm(speaker, speaker, 0)
    return Trial(FitArm(arm, speaker), ArmAnswers(arm, answers, {str(n): one for n, one in enumerate(right)}))


def compared(*trials: Trial) -> ComparedArms:
    nobody = ArmAnswers(trials[0].candidate.arm, {}, {})
    return ComparedArms(trials[0], trials, trials, {}, Mean(0.5, 0.4, 0.6, 9), nobody)


@given(
    agree=st.lists(st.booleans(), min_size=1, max_size=30),
    prompt=st.integers(1, 5000),
    length=st.integers(TOKENS, 500),
)
def test_of_one_call_an_answer_it_saves_the_share_that_agrees_less_the_share_of_the_price(
    agree: list[bool], prompt: int, length: int
) -> None:
    usage = Usage(input=prompt, output=length)
    closed = trial("closed", ["yes it is"] * len(agree), [1.0] * len(agree), usage=usage)
    expert = trial("expert", ["yes" if one else "no" for one in agree], [float(one) for one in agree])
    said = probed(compared(closed, expert), PRICE)
    assert said is not None
    asked = cost(Usage(input=prompt, output=TOKENS), PRICE)
    paid = cost(usage, PRICE)
    assert asked is not None
    assert paid is not None
    share = sum(agree) / len(agree)
    assert said["agree"] == pytest.approx(share, abs=1e-4)
    assert said["price"] == pytest.approx(float(asked / paid), abs=1e-4)
    assert said["saved"] == pytest.approx(share - float(asked / paid), abs=2e-4)
    assert said["loss"] == 0.0
    assert said["right"] == (1.0 if any(agree) else None)


def test_the_break_even_that_the_documentation_names() -> None:
    usage = Usage(input=60, output=10)
    closed, expert = trial("closed", ["a"], [1.0], usage=usage), trial("expert", ["a"], [1.0])
    said = probed(compared(closed, expert), PRICE)
    assert said is not None
    assert said["price"] == pytest.approx(0.76)


def test_an_expert_that_is_wrong_where_it_agrees_loses_score_and_silence_is_no_agreement() -> None:
    closed = trial("closed", ["x", "", "x", "x"], [1.0, 1.0, 1.0, 0.0], usage=Usage(input=10, output=10))
    expert = trial("expert", ["x y", "", "z", "x"], [0.0, 0.0, 1.0, 1.0])
    said = probed(compared(closed, expert), PRICE)
    assert said is not None
    assert (said["agree"], said["right"], said["loss"], said["local"]) == (0.5, 0.5, 0.0, None)


def test_without_an_expert_a_price_or_anybody_to_call_there_is_no_figure() -> None:
    closed, expert = trial("closed", ["x"], [1.0], usage=Usage(input=1, output=1)), trial("expert", ["x"], [1.0])
    assert probed(compared(closed), PRICE) is None
    assert probed(compared(expert), PRICE) is None
    assert probed(compared(closed, expert), None) is None


def test_the_page_says_in_how_many_units_it_would_be_better() -> None:
    one = {"price": 0.5, "agree": 0.75, "saved": 0.25, "loss": 0.0, "local": 0.5}
    units: Units = {"t": {"0": {"probe": one}, "1": {"probe": one | {"local": 0.0}}, "2": {"probe": None}, "3": {}}}
    said = probes(units)
    assert "a question costs 0.50 of an answer, 0.75 of the lines agree, and +0.25 of the price is saved" in said
    assert "In 1 of 2 units it saves more" in said
    assert probes({"t": {"2": {"probe": None}}}) == ""
