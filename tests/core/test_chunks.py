"""Chunks: what is asked, kept, scored and chosen, against whole answers, a slow search and exact enumeration."""

from __future__ import annotations

import itertools
import math
import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from blackbox_proxy.core.decoding.chunks import chunked_answers
from blackbox_proxy.core.decoding.whole import whole_answers
from blackbox_proxy.core.events import (
    ApiAnswers,
    ApiChunks,
    Beginning,
    Ending,
    Evidence,
    Run,
    ScoreStrings,
    StringScores,
)
from blackbox_proxy.errors import InputError
from blackbox_proxy.steering import Pick, Steering
from blackbox_proxy.types import FILTERED, DrawnAnswer, Kind, Reply, Scores, Step, Usage

ENDING = "$"
"""Stands for the model's own end in the texts of these tests."""

CHUNKS = Steering(way="chunks", beams=2, samples=2, chunk=4, max_tokens=12)

Says = Callable[[Beginning], Sequence[DrawnAnswer] | None]
"""What the API goes on with; None where the request fails."""


def offset(text: str) -> float:
    """What the pair makes of a text: a sum over its characters, each by its place."""
    return sum(math.sin(7.0 * at + ord(character)) for at, character in enumerate(text))


def drawn(text: str, logp: float | None = None) -> DrawnAnswer:
    """A continuation that ends by itself where it says so, and is cut otherwise."""
    return DrawnAnswer(text.removesuffix(ENDING), "stop" if text.endswith(ENDING) else "length", logp)


def saying(*texts: str) -> Sequence[DrawnAnswer]:
    return [drawn(text) for text in texts]


@dataclass
class Driven:
    """A run that was driven to its end, and what it had asked."""

    steps: list[Step] = field(default_factory=list)
    rounds: list[ApiChunks | ApiAnswers] = field(default_factory=list)
    scored: list[ScoreStrings] = field(default_factory=list)
    ending: Ending | None = None

    @property
    def end(self) -> Ending:
        assert self.ending is not None
        return self.ending

    @property
    def text(self) -> str:
        return b"".join(step.piece for step in self.steps).decode()


def drive(run: Run, says: Says, *, backwards: bool = False, shuffled: random.Random | None = None) -> Driven:
    """Run the loop against what the API says. backwards: scores come in another order; shuffled: so do replies."""
    driven = Driven()
    evidence: Evidence | None = None
    while True:
        try:
            event = run.send(evidence)
        except StopIteration as stop:
            driven.ending = stop.value
            return driven
        evidence = None
        if isinstance(event, ApiAnswers | ApiChunks):
            driven.rounds.append(event)
            evidence = answered(event, says, shuffled)
        elif isinstance(event, ScoreStrings):
            driven.scored.append(event)
            evidence = Evidence(scores=scores(event, backwards=backwards))
        elif isinstance(event, Step):
            driven.steps.append(event)


def answered(event: ApiAnswers | ApiChunks, says: Says, shuffled: random.Random | None) -> Evidence:
    if isinstance(event, ApiAnswers):
        return Evidence(replies=[reply_of(says(Beginning(b"", event.count, event.length)) or ())])
    came = [(one.text, said) for one in event.beginnings if (said := says(one)) is not None]
    single = [(text, [one]) for text, said in came for one in said]
    if shuffled is not None:
        shuffled.shuffle(single)
    return Evidence(replies=[reply_of(said) for _, said in single], behind=[text for text, _ in single])


def reply_of(said: Sequence[DrawnAnswer]) -> Reply:
    return Reply((), None, Usage(output=3 * len(said)), drawn=tuple(said))


def scores(event: ScoreStrings, *, backwards: bool) -> StringScores:
    start = event.answer.decode()
    pieces = event.pieces[::-1] if backwards else event.pieces
    values = [offset(start + (piece.decode() or ENDING)) - offset(start) for piece in pieces]
    zeros = np.zeros(len(pieces))
    return StringScores(pieces, Scores(np.array(values), zeros, np.zeros((2, 1)), np.zeros((2, 1)), (0.0, 0.0)))


def chunks(steering: Steering, says: Says) -> Driven:
    return drive(chunked_answers(steering), says)


def wild(seed: int) -> Says:
    """An API that says one of a few things, the same whenever it is asked the same."""

    def says(beginning: Beginning) -> Sequence[DrawnAnswer]:
        chance = random.Random(f"{seed} {beginning.text!r}")
        texts = ("".join(chance.choices("abc", k=chance.randint(0, 3))) for _ in range(beginning.count))
        return [drawn(text + ENDING * (chance.random() < 0.4)) for text in texts]

    return says


ANSWERS = st.lists(st.text("ab", max_size=3), min_size=1, max_size=6)


@given(ANSWERS, st.sampled_from(["best", "draw"]), st.sampled_from(["known", "hidden"]), st.integers(0, 9))
def test_one_beam_whose_chunk_is_the_whole_answer_is_that_of_whole_answers(
    texts: list[str], pick: Pick, logps: str, seed: int
) -> None:
    said = [drawn(text + ENDING, -float(len(text)) if logps == "known" else None) for text in texts]
    knobs = Steering(samples=len(texts), beams=1, max_tokens=9, chunk=9, pick=pick, seed=seed)
    ours = chunks(replace(knobs, way="chunks"), lambda _: said)
    theirs = drive(whole_answers(replace(knobs, way="answers")), lambda _: said)

    def told(driven: Driven) -> Mapping[str, tuple[object, ...]]:
        return {
            one.text: (one.count, pytest.approx(one.log_weight), pytest.approx(one.share), one.logp)
            for one in driven.end.samples
        }

    assert told(ours) == told(theirs)
    if pick == "best":
        best = {one.text: (one.log_weight or 0.0) + (one.logp or 0.0) for one in theirs.end.samples}
        assert best[ours.text] == pytest.approx(best[theirs.text])
    assert [step.kind for step in ours.steps] == [Kind.TEXT, Kind.END]


def test_one_continuation_of_one_beam_is_the_apis_own_answer() -> None:
    left = ["the ", "cap", "ital" + ENDING]
    driven = chunks(replace(CHUNKS, beams=1, samples=1), lambda _: saying(left.pop(0)))
    assert driven.text == "the capital"
    asked = [event for event in driven.rounds if isinstance(event, ApiChunks)]
    assert [event.beginnings[0].text for event in asked] == [b"", b"the ", b"the cap"]
    assert {event.temperature for event in asked} == {0.0}
    assert driven.end.wasted == 0
    assert driven.end.parts == (((0, 3), (1, 3), (2, 3)),)


@given(st.integers(0, 500), st.integers(1, 3), st.integers(1, 3))
def test_the_search_is_that_of_a_slow_one(seed: int, beams: int, samples: int) -> None:
    steering = replace(CHUNKS, beams=beams, samples=samples)
    driven = chunks(steering, wild(seed))
    best = slow(steering, wild(seed))
    assert {one.text + ENDING * (one.finish == "stop") for one in driven.end.samples} == best
    chosen = next(one for one in driven.end.samples if one.chosen)
    assert chosen.log_weight == pytest.approx(max(offset(text) for text in best))
    assert driven.text == chosen.text


def slow(steering: Steering, says: Says) -> set[str]:
    """All texts that ended, by a search that scores each text from its start; `$` marks an own end."""
    beams, ended, used = [""], set[str](), 0
    while beams:
        copies = steering.beams if not used else 1
        length = min(steering.chunk, steering.max_tokens - used)
        used += length
        grown = set(ended)
        for beam in beams:
            for one in says(Beginning(beam.encode(), copies * steering.samples, length)) or ():
                grown.add(beam + one.text + (ENDING if one.finish == "stop" else "" if used < 12 else "!"))
        ended = {text for text in grown if text[-1:] in (ENDING, "!")}

        def heaviest(text: str) -> tuple[float, str]:
            return offset(text.removesuffix("!")), text

        beams = [text for text in sorted(grown, key=heaviest)[-steering.beams :] if text not in ended]
    return {text.removesuffix("!") for text in ended}


@given(st.integers(0, 500), st.sampled_from(["best", "draw"]))
def test_no_order_of_replies_or_scores_matters(seed: int, pick: Pick) -> None:
    steering = replace(CHUNKS, beams=3, pick=pick, seed=seed)
    plain = chunks(steering, wild(seed))
    other = drive(chunked_answers(steering), wild(seed), backwards=True, shuffled=random.Random(seed))
    assert (other.text, other.end.wasted) == (plain.text, plain.end.wasted)

    def told(driven: Driven) -> Sequence[tuple[object, ...]]:
        return [(one.text, one.finish, one.count, one.share, one.chosen) for one in driven.end.samples]

    assert told(other) == told(plain)


@given(st.integers(0, 500), st.sampled_from(["best", "draw"]))
def test_no_text_is_scored_twice_and_each_from_one_that_was_scored_before(seed: int, pick: Pick) -> None:
    driven = chunks(replace(CHUNKS, beams=3, pick=pick), wild(seed))
    known = {b""}
    for asked in driven.scored:
        assert asked.answer in known
        texts = [asked.answer + (piece or ENDING.encode()) for piece in asked.pieces]
        assert not known & set(texts)
        assert len(set(texts)) == len(texts)
        known |= set(texts)


def test_the_pair_reads_no_more_of_a_long_answer_than_its_chunks() -> None:
    left = ["aaaa", "bbbb", "cc" + ENDING]
    driven = chunks(replace(CHUNKS, beams=1, samples=1), lambda _: saying(left.pop(0)))
    assert [(one.answer, one.pieces) for one in driven.scored] == [
        (b"", (b"aaaa",)),
        (b"aaaa", (b"bbbb",)),
        (b"aaaabbbb", (b"cc",)),
        (b"aaaabbbbcc", (b"",)),
    ]


@pytest.mark.parametrize("pick", ["best", "draw"])
def test_a_text_that_has_ended_stays_there_once_and_is_never_asked_for_again(pick: Pick) -> None:
    def says(beginning: Beginning) -> Sequence[DrawnAnswer]:
        if beginning.text == b"":
            return saying("a" + ENDING, "bb", "bb", "bb")[: beginning.count]
        return saying(*["b"] * beginning.count)

    steering = replace(CHUNKS, alpha=0.0, pick=pick, seed=1)
    driven = chunks(steering, says)
    texts = [one.text for one in driven.end.samples]
    assert texts.count("a") <= 1
    assert len(set(texts)) == len(texts)
    later = [event for event in driven.rounds[1:] if isinstance(event, ApiChunks)]
    assert all(one.text.startswith(b"b") for event in later for one in event.beginnings)
    if pick == "best":
        assert sorted(texts) == ["a", "bbbb"]
        assert all(sum(one.count for one in event.beginnings) == 2 for event in later), "an ended text draws nothing"


def test_equal_continuations_are_one_beam() -> None:
    def says(beginning: Beginning) -> Sequence[DrawnAnswer]:
        return saying(*["same" if not beginning.text else "x" + ENDING] * beginning.count)

    driven = chunks(replace(CHUNKS, beams=4), says)
    assert isinstance(driven.rounds[1], ApiChunks)
    assert driven.rounds[1].beginnings == (Beginning(b"same", 2, 4),)
    assert [(one.text, one.count) for one in driven.end.samples] == [("samex", 2)]
    assert driven.end.wasted == 3 * (8 + 2) - 6


P: Mapping[str, Mapping[str, float]] = {"": {"a": 0.6, "b": 0.3, "c" + ENDING: 0.1}, "a": {"d$": 0.5, "e$": 0.5}}
"""What the API goes on with; behind `b` as behind `a`."""


def said_behind(text: str) -> Mapping[str, float]:
    return P.get(text, P["a"])


def simulated(runs: int, steering: Steering) -> dict[str, int]:
    chance = np.random.default_rng(3)

    def says(beginning: Beginning) -> Sequence[DrawnAnswer]:
        of = said_behind(beginning.text.decode())
        return saying(*(str(one) for one in chance.choice(list(of), size=beginning.count, p=list(of.values()))))

    counts: dict[str, int] = {}
    for seed in range(runs):
        text = chunks(replace(steering, seed=seed), says).text
        counts[text] = counts.get(text, 0) + 1
    return counts


def listed(text: str, count: int) -> Iterator[tuple[float, tuple[str, ...]]]:
    """Every way in which so many continuations of a text may come, with its chance."""
    if text.endswith(ENDING):
        yield 1.0, (text,) * count
        return
    of = said_behind(text)
    for said in itertools.product(of, repeat=count):
        yield math.prod(of[one] for one in said), tuple(text + one for one in said)


def enumerated(particles: Sequence[str], steering: Steering) -> dict[str, float]:
    """How probable each answer is, from all continuations and all resamplings of the particles, one by one."""
    total: dict[str, float] = {}
    ways = itertools.product(*(list(listed(text, steering.samples)) for text in particles))
    for way in ways:
        chance = math.prod(one for one, _ in way)
        grown = [(text, parent) for (_, texts), parent in zip(way, particles, strict=True) for text in texts]
        weights = [math.exp(steering.alpha * (offset(text) - offset(parent))) for text, parent in grown]
        shares = [weight / sum(weights) for weight in weights]
        if all(text.endswith(ENDING) for text, _ in grown):
            for (text, _), share in zip(grown, shares, strict=True):
                total[text] = total.get(text, 0.0) + chance * share
            continue
        for picks in itertools.product(range(len(grown)), repeat=steering.beams):
            taken = math.prod(shares[at] for at in picks)
            for text, share in enumerated([grown[at][0] for at in picks], steering).items():
                total[text] = total.get(text, 0.0) + chance * taken * share
    return total


def test_drawn_beams_have_the_enumerated_distribution_of_the_procedure() -> None:
    steering = replace(CHUNKS, beams=2, samples=1, pick="draw", alpha=0.8)
    exact = enumerated(["", ""], steering)
    assert sum(exact.values()) == pytest.approx(1.0)
    counts = simulated(1500, steering)
    found = [counts.get(text.removesuffix(ENDING), 0) for text in exact]
    assert sum(found) == 1500
    assert stats.chisquare(found, [1500 * chance for chance in exact.values()]).pvalue > 1e-3


def test_with_many_beams_drawn_ones_come_near_the_distribution_of_whole_answers() -> None:
    steering = replace(CHUNKS, samples=8, pick="draw", alpha=0.8)
    every = {first + more: P[""][first] * P["a"][more] for first in "ab" for more in P["a"]} | {"c$": 0.1}
    weights = {text: chance * math.exp(0.8 * offset(text)) for text, chance in every.items()}
    aim = {text.removesuffix(ENDING): weight / sum(weights.values()) for text, weight in weights.items()}

    counts = simulated(400, replace(steering, beams=8))
    assert stats.chisquare([counts.get(text, 0) for text in aim], [400 * share for share in aim.values()]).pvalue > 1e-3


def test_the_estimate_of_the_normaliser_is_without_bias() -> None:
    steering = replace(CHUNKS, samples=2, pick="draw", alpha=0.8)
    chance = np.random.default_rng(5)

    def says(beginning: Beginning) -> Sequence[DrawnAnswer]:
        of = said_behind(beginning.text.decode())
        return saying(*(str(one) for one in chance.choice(list(of), size=beginning.count, p=list(of.values()))))

    runs = (chunks(replace(steering, seed=seed), says) for seed in range(800))
    estimates = [math.exp(run.steps[0].log_weight) for run in runs]
    every = {first + more: P[""][first] * P["a"][more] for first in "ab" for more in P["a"]} | {"c$": 0.1}
    normaliser = sum(chance * math.exp(0.8 * offset(text)) for text, chance in every.items())
    error = float(np.std(estimates)) / math.sqrt(len(estimates))
    assert abs(float(np.mean(estimates)) - normaliser) < 4 * error


def test_a_character_that_a_chunk_cuts_is_left_to_the_next_one() -> None:
    left = [DrawnAnswer("caf\ufffd", "length"), DrawnAnswer("é\ufffd", "stop")]
    driven = chunks(replace(CHUNKS, beams=1, samples=1), lambda _: [left.pop(0)])
    assert isinstance(driven.rounds[1], ApiChunks)
    assert driven.rounds[1].beginnings[0].text == b"caf"
    assert driven.text == "café\ufffd", "one that the model ended with is its own"


def test_a_stop_string_ends_a_text_wherever_chunks_cut_it() -> None:
    left = ["one EN", "D two"]
    driven = chunks(replace(CHUNKS, beams=1, samples=1, stop=("END",)), lambda _: saying(left.pop(0)))
    assert (driven.text, driven.end.finish) == ("one ", "stop_string")
    assert [step.kind for step in driven.steps] == [Kind.TEXT]


def test_no_text_gets_longer_than_the_most_tokens() -> None:
    driven = chunks(replace(CHUNKS, max_tokens=10), lambda one: saying(*["ab"] * one.count))
    asked = [event.beginnings[0].length for event in driven.rounds if isinstance(event, ApiChunks)]
    assert asked == [4, 4, 2]
    assert (driven.text, driven.end.finish) == ("ababab", "length")
    assert any("were cut" in note for note in driven.end.notes)


def test_an_end_that_the_provider_names_otherwise_ends_and_what_it_filtered_is_taken_last() -> None:
    odd = DrawnAnswer("a", "tool_calls")
    filtered = DrawnAnswer("z", FILTERED)
    driven = chunks(replace(CHUNKS, beams=1), lambda _: [filtered, odd])
    assert (driven.text, driven.end.finish, len(driven.rounds)) == ("a", "length", 1)
    assert chunks(replace(CHUNKS, beams=1), lambda _: [filtered]).end.finish == FILTERED


@pytest.mark.parametrize("pick", ["best", "draw"])
def test_where_nothing_comes_any_more_what_has_ended_is_chosen_from(pick: Pick) -> None:
    def says(beginning: Beginning) -> Sequence[DrawnAnswer] | None:
        return None if beginning.text else saying("a" + ENDING, "bb")

    steering = replace(CHUNKS, alpha=0.0, samples=1, pick=pick, seed=0)
    driven = chunks(steering, says)
    ended = any(one.text == "a" for one in driven.end.samples)
    assert (driven.text, driven.end.finish) == (("a", "stop") if ended else ("bb", "budget"))
    assert any("did not come" in note for note in driven.end.notes) == (len(driven.rounds) > 1)


def test_where_nothing_has_ended_the_best_beginning_is_the_answer() -> None:
    driven = chunks(CHUNKS, lambda one: None if one.text else saying("aa", "bb", "cc", "dd"))
    assert driven.end.finish == "budget"
    assert driven.text == max(["aa", "bb", "cc", "dd"], key=offset)
    assert driven.end.wasted == 9


def test_a_beam_that_nothing_came_for_is_asked_for_again() -> None:
    failed: list[bytes] = []

    def says(beginning: Beginning) -> Sequence[DrawnAnswer] | None:
        if not beginning.text:
            return saying("a", "b", "a", "b")
        if beginning.text not in failed and len(failed) < 1:
            failed.append(beginning.text)
            return None
        return saying(*["x" + ENDING] * beginning.count)

    driven = chunks(CHUNKS, says)
    assert sorted(one.text for one in driven.end.samples) == ["ax", "bx"]


def test_a_first_round_without_a_reply_is_the_drivers_error() -> None:
    with pytest.raises(TypeError, match="first ApiChunks"):
        chunks(CHUNKS, lambda _: None)


def test_knobs_that_do_not_go_with_chunks_are_refused() -> None:
    with pytest.raises(InputError, match="whole texts"):
        Steering(way="chunks", gate="divergence")
    with pytest.raises(InputError, match="settled is for"):
        Steering(way="chunks", settled=0.1)
    with pytest.raises(InputError, match="chunk must be"):
        Steering(way="chunks", chunk=3)
