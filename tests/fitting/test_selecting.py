"""Which arms stay and which one wins, on scores that are written down."""

from __future__ import annotations

from decimal import Decimal

import numpy as np
import pytest

from blackbox_proxy.evaluation.answers import KeptAnswer
from blackbox_proxy.evaluation.arms import Arm, Speaker
from blackbox_proxy.evaluation.statistics import Mean
from blackbox_proxy.evaluation.summary import ArmAnswers
from blackbox_proxy.fitting import selecting
from blackbox_proxy.fitting.candidates import FitArm
from blackbox_proxy.fitting.selecting import Terms, Trial, foretold, frontier, halved, rounds, winner


def trial(name: str, hits: str, *, cost: str | None = "0.001", speaker: Speaker = "closed") -> Trial:
    """An arm that is right where a `1` stands."""
    amount = None if cost is None else Decimal(cost)
    answers = {str(n): KeptAnswer(str(n), "t", str(n), name, cost=amount) for n in range(len(hits))}
    arm = Arm(name, speaker, len(hits))
    return Trial(FitArm(arm, name), ArmAnswers(arm, answers, {str(n): float(one) for n, one in enumerate(hits)}))


GOOD, MIDDLE, BAD = "1" * 18 + "00", "1" * 16 + "0010", "1" + "0" * 19


def test_what_is_clearly_behind_is_dropped_and_the_closed_model_stays() -> None:
    trials = [trial("closed", BAD), trial("a", GOOD), trial("b", MIDDLE), trial("c", BAD), trial("d", BAD)]
    stay, dropped = halved(trials, Terms())
    assert [one.name for one in stay] == ["closed", "a", "b"]
    assert [one.name for one in dropped] == ["c", "d"]


@pytest.mark.parametrize(
    ("terms", "name"),
    [
        (Terms("quality"), "cheap"),
        (Terms("cost"), "cheapest"),
        (Terms("balanced", 100.0), "dear"),
        (Terms("balanced", 0.0), "cheapest"),
    ],
)
def test_who_wins_follows_from_what_is_preferred(terms: Terms, name: str) -> None:
    dear, cheap = trial("dear", GOOD, cost="0.01"), trial("cheap", MIDDLE, cost="0.002")
    cheapest = trial("cheapest", "1" * 13 + "0000011", cost="0.001")
    far = trial("far", BAD, cost="0.0001")
    assert winner([dear, cheap, cheapest], terms).name == name
    assert winner([dear, far], Terms("cost")).name == "dear"


def test_of_equals_the_simpler_wins_and_no_price_is_no_low_price() -> None:
    steered, closed = trial("steered", GOOD, speaker="steered"), trial("closed", GOOD)
    assert winner([steered, closed], Terms()).name == "closed"
    assert winner([trial("unknown", GOOD, cost=None), steered], Terms()).name == "steered"


def test_the_best_of_many_is_foretold_less_than_it_scored() -> None:
    """Twenty arms that are right half of the time: the luckiest scores well, and is foretold less."""
    rng = np.random.default_rng(7)
    trials = [trial(f"arm{n}", "".join(rng.choice(["0", "1"], 20))) for n in range(20)]
    best = max(trials, key=lambda one: one.score)
    said = foretold(best, trials, lines=200)
    assert best.score >= 0.7
    assert said.value < best.score - 0.08
    assert said.low <= 0.5 <= said.high
    assert foretold(best, [best], lines=200).value == best.score


def test_of_arms_that_score_the_same_on_enough_lines_the_cheapest_stays() -> None:
    trials = [trial("closed", BAD), trial("dear", GOOD, cost="0.01"), trial("cheap", GOOD), trial("other", MIDDLE)]
    assert [one.name for one in halved(trials, Terms())[0]] == ["closed", "cheap", "other"]
    few = [trial(one.name, "110110", cost=str(one.per_answer)) for one in trials]
    assert len(halved(few, Terms())[0]) == 4


@pytest.mark.parametrize("alike", [0.0, 0.5])
def test_what_is_foretold_after_halving_is_not_optimistic(alike: float, monkeypatch: pytest.MonkeyPatch) -> None:
    """Eighteen arms that are right half of the time: the interval holds the score on other lines as often as it says.

    Whoever is dropped early is not looked at any more when it is foretold. alike: how much arms err on the same lines.
    """
    monkeypatch.setattr(selecting, "DRAWS", 200)
    rng = np.random.default_rng(11)
    said = [halved_field(rng, alike) for _ in range(200)]
    assert np.mean([one.value for one in said]) < 0.55
    fresh = rng.binomial(21, 0.5, len(said)) / 21
    held = [one.low <= score <= one.high for one, score in zip(said, fresh, strict=True)]
    assert np.mean(held) >= 0.9


def halved_field(rng: np.random.Generator, alike: float) -> Mean:
    """What is foretold of the winner of eighteen arms on 24 lines."""
    hard = rng.normal(size=24) * np.sqrt(alike)
    right = hard + rng.normal(size=(18, 24)) * np.sqrt(1 - alike) > 0
    hits = {f"arm{n}": "".join("01"[int(one)] for one in row) for n, row in enumerate(right)}
    for size in rounds(24):
        stay, _ = halved([trial(name, some[:size]) for name, some in hits.items()], Terms())
        hits = {one.name: hits[one.name] for one in stay}
    finalists = [trial(name, some) for name, some in hits.items()]
    return foretold(winner(finalists, Terms()), finalists, lines=21)


def test_a_prediction_for_few_lines_is_wider() -> None:
    one = trial("a", GOOD)
    few, many = foretold(one, [one], lines=10), foretold(one, [one], lines=1000)
    assert few.high - few.low > many.high - many.low
    assert many.low < one.score < many.high


def test_the_frontier_is_what_nothing_passes_in_both() -> None:
    trials = [
        trial("dear and good", GOOD, cost="0.01"),
        trial("dear and bad", BAD, cost="0.02"),
        trial("cheap", MIDDLE, cost="0.001"),
        trial("unknown", "1" * 20, cost=None),
    ]
    assert [one.name for one in frontier(trials)] == ["cheap", "dear and good"]


def test_rounds_grow_to_all_lines() -> None:
    assert rounds(80) == (20, 40, 80)
    assert rounds(5) == (5,)
