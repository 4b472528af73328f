"""Whole answers: what is drawn, weighed and chosen, against exact enumeration of the same procedure."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from blackbox_proxy.core.decoding.whole import chance_of_change, draws_of, shares_of, whole_answers
from blackbox_proxy.core.events import ApiAnswers, Ending, Evidence, ScoreStrings, StringScores
from blackbox_proxy.errors import InputError
from blackbox_proxy.schedule import Schedule
from blackbox_proxy.steering import Steering
from blackbox_proxy.types import FILTERED, DrawnAnswer, Kind, Reply, Result, Sample, Scores, Step, Usage

P = {"a": 0.5, "b": 0.3, "c": 0.15, "d": 0.05}
"""What the API answers."""

OFFSETS = {"a": -1.0, "b": 0.2, "c": 1.2, "d": 2.0}
ALPHA = 0.7
WEIGHTS = {text: math.exp(ALPHA * offset) for text, offset in OFFSETS.items()}
DRAW = Steering(way="answers", pick="draw", samples=3, alpha=ALPHA)
BEST = Steering(way="answers", samples=4)

Says = Callable[[ApiAnswers], Sequence[DrawnAnswer]]


def scores(texts: Sequence[bytes]) -> Scores:
    """The expert finds each text as much likelier as its offset says; ends are equal."""
    zeros = np.zeros(len(texts))
    expert = np.array([OFFSETS.get(text.decode(), 0.0) for text in texts])
    return Scores(expert, zeros, np.zeros((2, len(texts))), np.zeros((2, len(texts))), (0.0, 0.0))


def drive(steering: Steering, says: Says) -> tuple[list[Step], Ending, list[ApiAnswers]]:
    """Run the loop against what the API says, all answers of a question in one reply."""
    run, steps, asked = whole_answers(steering), list[Step](), list[ApiAnswers]()
    evidence: Evidence | None = None
    while True:
        try:
            event = run.send(evidence)
        except StopIteration as stop:
            return steps, stop.value, asked
        evidence = None
        if isinstance(event, ApiAnswers):
            asked.append(event)
            drawn = tuple(says(event))
            evidence = Evidence(replies=[Reply((), None, Usage(output=10 * len(drawn)), drawn=drawn)] if drawn else [])
        elif isinstance(event, ScoreStrings):
            texts = [event.answer + piece for piece in event.pieces] if event.pieces != (b"",) else [b""]
            evidence = Evidence(scores=StringScores(event.pieces, scores(texts)))
        elif isinstance(event, Step):
            steps.append(event)


def listed(*texts: str, logps: Sequence[float | None] = ()) -> Says:
    """An API that gives these answers, one after another."""
    left = [DrawnAnswer(text, "stop", logp) for text, logp in itertools.zip_longest(texts, logps)]

    def says(event: ApiAnswers) -> Sequence[DrawnAnswer]:
        now, left[:] = left[: event.count], left[event.count :]
        return now

    return says


def enumerated(n: int) -> dict[str, float]:
    """How probable each answer is after n draws and one choice by weight, from all samples of n."""
    total = dict.fromkeys(P, 0.0)
    for sample in itertools.product(P, repeat=n):
        chance, norm = math.prod(P[text] for text in sample), sum(WEIGHTS[text] for text in sample)
        for text in sample:
            total[text] += chance * WEIGHTS[text] / norm
    return total


def simulated(runs: int, *, bug: float = 0.0) -> dict[str, int]:
    """How often each answer is chosen. bug: how often the choice is not looked at, and the rarest answer taken."""
    chance = np.random.default_rng(20)
    counts = dict.fromkeys(P, 0)
    names, odds = list(P), list(P.values())
    for seed in range(runs):
        texts = [names[i] for i in chance.choice(len(names), size=3, p=odds)]
        steps, _, _ = drive(replace(DRAW, seed=seed), listed(*texts))
        counts["d" if chance.random() < bug else steps[0].piece.decode()] += 1
    return counts


def p_value(counts: dict[str, int]) -> float:
    expected = [enumerated(3)[text] * sum(counts.values()) for text in P]
    return float(stats.chisquare([counts[text] for text in P], expected).pvalue)


def test_a_draw_of_three_has_the_enumerated_distribution() -> None:
    assert p_value(simulated(1500)) > 1e-3


@pytest.mark.slow
def test_twenty_thousand_draws_have_the_enumerated_distribution_and_find_a_bug_of_two_percent() -> None:
    assert p_value(simulated(20_000)) > 1e-3
    assert p_value(simulated(20_000, bug=0.02)) < 1e-6


def target() -> dict[str, float]:
    norm = sum(P[text] * WEIGHTS[text] for text in P)
    return {text: P[text] * WEIGHTS[text] / norm for text in P}


def expected_shares(n: int) -> dict[str, float]:
    """The expected share of each answer among n draws, by all counts that they can have."""
    total, names = dict.fromkeys(P, 0.0), list(P)
    counted = stats.multinomial(n, list(P.values()))
    for a, b, c in itertools.product(range(n + 1), repeat=3):
        if a + b + c <= n:
            counts = [a, b, c, n - a - b - c]
            shares = shares_of([ALPHA * OFFSETS[name] for name in names], counts)
            for name, share in zip(names, shares.tolist(), strict=True):
                total[name] += counted.pmf(counts) * share
    return total


@pytest.mark.slow
def test_the_bias_falls_as_one_over_the_number_of_draws() -> None:
    assert expected_shares(3) == pytest.approx(enumerated(3))
    bias = {n: sum(abs(expected_shares(n)[text] - target()[text]) for text in P) for n in (4, 16, 64)}
    assert bias[4] > 0.05
    assert bias[64] < 0.02
    assert 64 * bias[64] == pytest.approx(16 * bias[16], rel=0.15)
    assert 16 * bias[16] == pytest.approx(4 * bias[4], rel=0.35)


def result_of(ending: Ending) -> Result:
    return Result("", (), "stop", Usage(), "sampled", 0.0, samples=ending.samples)


@given(st.lists(st.sampled_from(list(P)), min_size=1, max_size=12))
def test_the_effective_sample_size_is_that_of_all_draws(texts: list[str]) -> None:
    _, ending, _ = drive(replace(DRAW, samples=len(texts)), listed(*texts))
    weights = [WEIGHTS[text] for text in texts]
    found = result_of(ending)
    assert found.effective_samples == pytest.approx(sum(weights) ** 2 / sum(weight**2 for weight in weights))
    assert 1.0 - 1e-9 <= found.effective_samples <= len(texts) + 1e-9
    assert found.drawn == len(texts)
    assert len(found.samples) == len(set(texts))
    assert sum(sample.share or 0.0 for sample in found.samples) == pytest.approx(1.0)


@given(
    st.lists(st.floats(-800, 800), min_size=1, max_size=8).flatmap(
        lambda logs: st.tuples(
            st.just(logs), st.lists(st.integers(1, 9), min_size=len(logs), max_size=len(logs)), st.floats(-100, 100)
        )
    )
)
def test_shares_do_not_depend_on_what_all_weights_have_in_common(case: tuple[list[float], list[int], float]) -> None:
    logs, counts, more = case
    shares = shares_of(logs, counts)
    assert shares.sum() == pytest.approx(1.0)
    assert shares_of([log + more for log in logs], counts) == pytest.approx(shares, abs=1e-9)


def test_weights_of_nothing_at_all_are_equal_and_infinite_ones_take_everything() -> None:
    assert shares_of([-math.inf, -math.inf], [1, 3]).tolist() == [0.25, 0.75]
    assert shares_of([0.0, math.inf], [5, 1]).tolist() == [0.0, 1.0]


def test_the_best_is_the_heaviest_and_equal_answers_are_merged() -> None:
    steps, ending, _ = drive(BEST, listed("a", "c", "a", "b"))
    assert [step.piece for step in steps] == [b"c", b""]
    assert [step.kind for step in steps] == [Kind.TEXT, Kind.END]
    assert {(one.text, one.count) for one in ending.samples} == {("a", 2), ("b", 1), ("c", 1)}
    assert [one.text for one in ending.samples if one.chosen] == ["c"]
    assert ending.wasted == 30
    assert steps[0].offset == pytest.approx(1.2)
    mean = sum(math.exp(OFFSETS[text]) for text in "acab") / 4
    assert steps[0].log_weight == pytest.approx(math.log(mean)), "the estimate of the target's normaliser"


def test_known_log_probs_of_the_api_count_for_the_best_alone() -> None:
    said = ("a", "b", "c", "d"), [math.log(P[text]) for text in "abcd"]
    steps, _, _ = drive(BEST, listed(*said[0], logps=said[1]))
    assert steps[0].piece == max("abcd", key=lambda text: math.log(P[text]) + OFFSETS[text]).encode()
    partly, _, _ = drive(BEST, listed(*said[0], logps=said[1][:3]))
    assert partly[0].piece == b"d", "what is not known of all counts for none"


def test_at_alpha_0_the_most_frequent_answer_is_taken() -> None:
    steps, ending, _ = drive(replace(BEST, alpha=0.0), listed("d", "b", "b", "c"))
    assert steps[0].piece == b"b"
    assert result_of(ending).effective_samples == pytest.approx(4.0)


def test_a_stop_string_cuts_and_a_filtered_answer_is_taken_only_where_there_is_no_other() -> None:
    steps, ending, _ = drive(replace(BEST, stop=("!",)), listed("c! and so on", "c!", "a", "b"))
    assert (steps[0].piece, ending.finish, len(steps)) == (b"c", "stop_string", 1)
    assert next(one for one in ending.samples if one.chosen).count == 2
    filtered = [DrawnAnswer("d", FILTERED), DrawnAnswer("a", "stop")]
    assert drive(replace(BEST, samples=2), lambda _: filtered)[1].finish == "stop"
    assert drive(replace(BEST, samples=1), lambda _: filtered[:1])[1].finish == FILTERED


def test_an_answer_that_is_cut_is_said_to_be_one_and_loses_half_a_character() -> None:
    _, ending, _ = drive(replace(BEST, samples=1), lambda _: [DrawnAnswer("caf\ufffd", "length")])
    assert ending.samples[0].text == "caf"
    assert any("cut at the most tokens" in note for note in ending.notes)


def test_what_did_not_come_is_said_and_asked_for_no_more() -> None:
    _, ending, asked = drive(replace(BEST, samples=9), listed("a", "b"))
    assert len(asked) == 1
    assert any("7 of 9 answers did not come" in note for note in ending.notes)


def test_drawing_stops_where_the_best_is_settled() -> None:
    _, ending, asked = drive(replace(BEST, samples=16, settled=0.5), listed(*"cccccccccccccccc"))
    assert [event.count for event in asked] == [4]
    assert sum(one.count for one in ending.samples) == 4
    _, _, more = drive(replace(BEST, samples=16, settled=0.01), listed(*"abcdabcdabcdabcd"))
    assert [event.first for event in more] == [0, 4, 8, 12]


@given(st.integers(1, 6), st.integers(0, 4))
def test_the_chance_that_the_rest_changes_a_best_of_one_is_that_of_all_orders(drawn: int, left: int) -> None:
    orders = range(drawn + left)
    later = sum(at >= drawn for at in orders) / (drawn + left)
    assert chance_of_change(drawn, left, 1) == pytest.approx(later)
    assert chance_of_change(drawn, left, 3) <= chance_of_change(drawn, left, 1)


@given(st.lists(st.text(max_size=8), min_size=1, max_size=6), st.integers(0, 500))
def test_the_tokens_of_a_reply_are_shared_out_whole(texts: list[str], written: int) -> None:
    reply = Reply((), None, Usage(output=written), drawn=tuple(DrawnAnswer(text, "stop") for text in texts))
    assert sum(one.tokens for one in draws_of(reply, BEST)) == written


def test_an_empty_answer_is_one() -> None:
    steps, ending, _ = drive(replace(BEST, samples=1), listed(""))
    assert (steps[0].piece, ending.finish) == (b"", "stop")
    assert isinstance(ending.samples[0], Sample)


def test_knobs_of_single_tokens_are_refused() -> None:
    with pytest.raises(InputError, match="whole texts"):
        Steering(way="answers", gate="divergence")
    with pytest.raises(InputError, match="whole texts"):
        Steering(way="answers", schedule=Schedule(((0, 1.0),)))
    with pytest.raises(InputError, match="needs all samples"):
        Steering(pick="draw", settled=0.1)
