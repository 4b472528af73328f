"""Whole answers and chunks under a constraint: what is none weighs nothing, against enumeration of what is."""

from __future__ import annotations

import json
import math
import random
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any

import jsonschema
import pytest
from hypothesis import given
from hypothesis import strategies as st

from blackbox_proxy.constraints import JsonSchema, OneOf, Regex
from blackbox_proxy.core.decoding.chunks import chunked_answers
from blackbox_proxy.core.decoding.jsonspelling import NumberText, read_json, spelt_json
from blackbox_proxy.core.decoding.whole import whole_answers
from blackbox_proxy.errors import Unsatisfied
from blackbox_proxy.guidance import ConstrainedTexts, ConstraintAcceptor
from blackbox_proxy.run.sources import whole_knobs
from blackbox_proxy.steering import Pick, Steering, Way
from tests.core.test_chunks import ENDING, drawn, drive, offset, wild

ALPHA = 0.7
texts = st.text("abc", max_size=3)
options = st.lists(texts.filter(bool), min_size=1, max_size=4, unique=True).map(tuple)
said = st.lists(texts, min_size=1, max_size=8)

SCHEMA: Mapping[str, Any] = {
    "type": "object",
    "properties": {
        "a": {"type": "integer"},
        "b": {"type": "string"},
        "c": {"type": "array", "items": {"type": "null"}},
    },
    "required": ["a"],
    "additionalProperties": False,
}


def cut(text: str, allowed: Sequence[str]) -> str | None:
    """What of a text is one of the options, none of which goes on from it; obvious."""
    if text in allowed:
        return text
    over = [one for one in allowed if text.startswith(one) and not any(o != one and o.startswith(one) for o in allowed)]
    return over[0] if over else None


def weight(text: str) -> float:
    return math.exp(ALPHA * offset(text + ENDING))


@given(said, options)
def test_what_is_no_answer_weighs_nothing_and_the_shares_are_those_of_the_others(
    answers: list[str], allowed: tuple[str, ...]
) -> None:
    steering = Steering(way="answers", samples=len(answers), alpha=ALPHA)
    run = whole_answers(steering, texts=ConstrainedTexts(OneOf(allowed)))
    kept = [one for one in (cut(text, allowed) for text in answers) if one is not None]
    if not kept:
        with pytest.raises(Unsatisfied, match=f"none of the {len(answers)} texts"):
            drive(run, lambda _: [drawn(text + ENDING) for text in answers])
        return
    driven = drive(run, lambda _: [drawn(text + ENDING) for text in answers])
    samples = driven.end.samples
    assert driven.text == max(kept, key=weight)
    assert sum(one.count for one in samples) == len(answers)
    total = math.fsum(map(weight, kept))
    for one in samples:
        expected = kept.count(one.text) * weight(one.text) / total if one.allowed else 0.0
        assert one.share == pytest.approx(expected, abs=1e-9)
    # The mean of the weights, those of no answers being 0, estimates the share of answers in all texts.
    assert driven.steps[0].log_weight == pytest.approx(math.log(total / len(answers)), abs=1e-9)
    assert any("weigh nothing" in note for note in driven.end.notes) == (len(kept) < len(answers))


@given(said, options, st.sampled_from(["best", "draw"]), st.integers(0, 9))
def test_one_beam_whose_chunk_is_the_whole_answer_is_that_of_whole_answers(
    answers: list[str], allowed: tuple[str, ...], pick: Pick, seed: int
) -> None:
    ways: tuple[Way, Way] = ("answers", "chunks")
    both = [
        Steering(way=way, pick=pick, beams=1, samples=len(answers), chunk=4, max_tokens=4, seed=seed) for way in ways
    ]
    outcomes: list[set[tuple[str, int, float]] | str] = []
    for steering, run in zip(both, (whole_answers, chunked_answers), strict=True):
        try:
            driven = drive(
                run(steering, texts=ConstrainedTexts(OneOf(allowed))),
                lambda _: [drawn(text + ENDING) for text in answers],
            )
        except Unsatisfied as error:
            outcomes.append(error.message)
        else:
            outcomes.append({(s.text, s.count, round(s.share or 0.0, 9)) for s in driven.end.samples if s.allowed})
    assert outcomes[0] == outcomes[1]


@given(st.integers(0, 99), options, st.sampled_from(["best", "draw"]))
def test_chunks_end_in_an_answer_or_say_that_there_is_none(seed: int, allowed: tuple[str, ...], pick: Pick) -> None:
    steering = Steering(way="chunks", beams=2, samples=3, chunk=4, max_tokens=12, pick=pick, seed=seed)
    with suppress(Unsatisfied):
        driven = drive(chunked_answers(steering, texts=ConstrainedTexts(OneOf(allowed))), wild(seed))
        assert driven.text in allowed
        assert all(one.text in allowed for one in driven.end.samples)


def test_chunks_under_a_constraint_that_allows_all_are_those_without() -> None:
    steering = Steering(way="chunks", beams=2, samples=3, chunk=4, max_tokens=12)
    for seed in range(20):
        held = drive(chunked_answers(steering, texts=ConstrainedTexts(Regex("(?s:.*)"))), wild(seed))
        free = drive(chunked_answers(steering), wild(seed))
        assert held == free


def test_where_nothing_steers_the_first_that_is_allowed_is_taken() -> None:
    knobs = whole_knobs(Steering(alpha=0.0, samples=6, constraint=OneOf(("ab",))))
    answers = iter(["x", "y", "ab", "ab", "x", "x"])
    driven = drive(
        whole_answers(knobs, texts=ConstrainedTexts(OneOf(("ab",)))),
        lambda beginning: [drawn(next(answers) + ENDING) for _ in range(beginning.count)],
    )
    assert driven.text == "ab"
    assert len(driven.rounds) == 3


def test_an_answer_that_was_cut_counts_where_it_is_one() -> None:
    driven = drive(
        whole_answers(Steering(way="answers", samples=2, alpha=0.0), texts=ConstrainedTexts(Regex("a+"))),
        lambda _: [drawn("aa"), drawn("ab")],
    )
    by_text = {one.text: one for one in driven.end.samples}
    assert by_text["aa"].chosen
    assert not by_text["ab"].allowed
    assert (by_text["ab"].share, by_text["ab"].log_weight) == (0.0, -math.inf)


values = st.fixed_dictionaries(
    {},
    optional={
        "a": st.integers(-99, 99) | st.booleans() | st.text(max_size=2),
        "b": st.text(max_size=5) | st.none(),
        "c": st.lists(st.none() | st.integers(0, 3), max_size=3),
        "d": st.none(),
    },
)


@given(values, st.integers(0, 99), st.sampled_from([None, 1, 3]))
def test_json_in_any_order_and_white_space_is_an_answer_where_it_is_valid(
    value: Mapping[str, Any], seed: int, indent: int | None
) -> None:
    names = list(value)
    random.Random(seed).shuffle(names)
    shuffled = {name: value[name] for name in names}
    valid = jsonschema.Draft202012Validator(SCHEMA).is_valid(shuffled)
    text = json.dumps(shuffled, indent=indent).encode()
    checked = ConstrainedTexts(JsonSchema.of(SCHEMA))
    assert checked.answer(text) == (text if valid else None)
    spelt = spelt_json(shuffled, accepts=ConstraintAcceptor(JsonSchema.of(SCHEMA)))
    assert (spelt is not None) == valid
    assert spelt is None or json.loads(spelt) == value


@pytest.mark.parametrize(
    ("text", "reason"),
    [('{"a": 1, "a": 2}', "twice"), ("NaN", "NaN"), ("", "Expecting"), ("[1", "Expecting"), ("[" * 100_000, "deep")],
)
def test_what_is_no_json_or_names_a_field_twice_is_no_value(text: str, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        read_json(text)


def test_numbers_are_spelt_as_they_were() -> None:
    accepts = ConstraintAcceptor(JsonSchema('{"type": "array", "items": {"type": "number"}}'))
    assert spelt_json(read_json("[1.50, 2e3, -0]"), accepts=accepts) == b"[1.50, 2e3, -0]"
    assert spelt_json([NumberText("07")], accepts=accepts) is None
    assert spelt_json("\ud800", accepts=ConstraintAcceptor(JsonSchema("{}"))) is None


def test_orders_are_tried_only_so_often() -> None:
    """No order of these fields is allowed: the last one of them is none of the schema's."""
    schema = {"type": "object", "additionalProperties": {"type": "integer"}}
    value = {**{f"n{i}": i for i in range(30)}, "bad": "x"}
    assert spelt_json(value, accepts=ConstraintAcceptor(JsonSchema.of(schema))) is None
