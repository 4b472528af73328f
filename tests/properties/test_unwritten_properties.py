"""Properties of what may not be written: bad words, and an end before the least length; the same whoever drafts.

The choices of the definition are made over all ids from the toys' distributions and from what was emitted.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import assume, example, given, reject
from hypothesis import strategies as st

from blackbox_proxy.constraints import OneOf
from blackbox_proxy.core.decoding.acceptors import ANY_TEXT, WithoutWords
from blackbox_proxy.core.decoding.sources import OffsetTable
from blackbox_proxy.errors import InputError, ReplyError, Unsatisfied
from blackbox_proxy.run.steerer import Steerer, steer
from blackbox_proxy.schedule import Schedule
from blackbox_proxy.steering import Steering
from blackbox_proxy.testing import ToyApi, ToyModel
from blackbox_proxy.types import TokenPath
from tests.core.toys import TOY, toy_pair
from tests.properties.test_drafter_properties import check_same, drafters, naive
from tests.properties.test_drafter_properties import run as run_drafter
from tests.properties.test_loop_properties import run, seeds, steerings
from tests.properties.test_penalty_properties import PROMPT, defined, fined, toys
from tests.properties.test_sampling_properties import WORDS

words = st.lists(st.sampled_from(["a", "b", "ab", "ba", "b a", " ", "é", "aa"]), min_size=1, max_size=2, unique=True)
letters = st.lists(st.sampled_from(["a", "c", "ab", "fg", "ee", "abc"]), max_size=3, unique=True)
lengths = st.integers(0, 9)
biases = st.dictionaries(
    st.sampled_from([b"", b"a", b"b", b"c", b"e"]), st.sampled_from([-0.4, -2.0, -100.0]), max_size=3
)


HALF_GUESSED = Steering(
    alpha=0.0, max_tokens=9, target="full", draft=8, proposals=0, schedule=Schedule(((0, 0.0), (3, 1.0), (9, 0.0)))
)
"""With a seed at which the pair guesses half of a character whose other half may not follow."""


@given(seed=seeds, steering=fined, bad=letters, least=lengths, bias=biases, top_k=st.sampled_from([2, 4, 11]))
def test_what_is_certified_is_the_choice_of_the_definition(
    seed: int, steering: Steering, bad: list[str], least: int, bias: dict[bytes, float], top_k: int
) -> None:
    api, pair = toys(seed, top_k)
    knobs = replace(steering, bad_words=tuple(bad), min_tokens=least, token_bias=tuple(bias.items()))
    result = steer(PROMPT, api=api, offsets=pair, steering=knobs)
    path: TokenPath = ()
    for step in result.steps:
        log = defined(api, pair, path, steering, alpha=step.alpha or 0.0)
        for i, piece in enumerate(WORDS.pieces):
            behind = (WORDS.text_of(path) + (b"" if i in WORDS.ends else piece)).decode()
            log[i] += bias.get(b"" if i in WORDS.ends else piece, 0.0)
            if any(word in behind for word in bad) or (i in WORDS.ends and len(path) < least):
                log[i] = -np.inf
        best = int(np.argmax(log))
        chosen = WORDS.ids_of(step.piece)[0] if step.piece else int(WORDS.ends[0])
        assert log[chosen] > -np.inf
        if step.certified or top_k == len(WORDS):
            assert log[chosen] == pytest.approx(log[best], abs=1e-4)
        if top_k == len(WORDS) and step.logp_after is not None:
            assert step.logp_after == pytest.approx(log[chosen] - np.logaddexp.reduce(log), abs=1e-3)
        path = (*path, chosen)


def check_unwritten(text: str, steps: int, finish: str, knobs: Steering) -> None:
    assert not any(word in text for word in knobs.bad_words)
    assert finish != "stop" or steps > min(knobs.min_tokens, knobs.max_tokens)


@given(seed=seeds, steering=steerings, bad=words, least=lengths, bias=biases)
def test_drafts_change_nothing(
    seed: int, steering: Steering, bad: list[str], least: int, bias: dict[bytes, float]
) -> None:
    knobs = replace(steering, bad_words=tuple(bad), min_tokens=least, token_bias=tuple(bias.items()))
    one, _, _ = run(seed, replace(knobs, draft=1))
    many, _, _ = run(seed, knobs)
    assert (one.text, one.finish, repr(one.steps)) == (many.text, many.finish, repr(many.steps))
    check_unwritten(many.text, len(many.steps), many.finish, knobs)


@example(3, HALF_GUESSED, ["é", "a"], 0, {}, "pair_prefixes")
@given(seed=seeds, steering=steerings, bad=words, least=lengths, bias=biases, drafter=drafters)
def test_whoever_drafts_the_text_is_the_same(
    seed: int, steering: Steering, bad: list[str], least: int, bias: dict[bytes, float], drafter: str
) -> None:
    knobs = replace(steering, bad_words=tuple(bad), min_tokens=least, token_bias=tuple(bias.items()))
    one, _ = run_drafter(seed, naive(knobs))
    many, _ = run_drafter(seed, replace(knobs, drafter=drafter))  # type: ignore[arg-type]
    check_same(many, one)


@given(seed=seeds, steering=steerings, bad=words, least=lengths, bias=biases, drafter=drafters)
def test_by_ids_too(
    seed: int, steering: Steering, bad: list[str], least: int, bias: dict[bytes, float], drafter: str
) -> None:
    pair = toy_pair(seed)
    api = ToyApi(ToyModel(TOY, seed + 3), TOY.spell, top_k=1 + seed % 8)
    knobs = replace(steering, event="ids", rule="pooled", bad_words=tuple(bad), min_tokens=least)
    knobs = replace(knobs, token_bias=tuple(bias.items()))
    try:
        one = steer(PROMPT, api=api, offsets=pair, steering=naive(knobs))
    except ReplyError:  # of few candidates none may follow
        reject()
    many = steer(PROMPT, api=api, offsets=pair, steering=replace(knobs, drafter=drafter))  # type: ignore[arg-type]
    check_same(many, one)
    check_unwritten(many.text, len(many.steps), many.finish, knobs)


@given(seed=seeds, bad=letters, least=lengths, temperature=st.sampled_from([0.0, 1.0]))
def test_without_a_pair_the_api_is_held_to_it(seed: int, bad: list[str], least: int, temperature: float) -> None:
    api, _ = toys(seed, len(WORDS))
    knobs = Steering(
        alpha=0.0, max_tokens=12, temperature=temperature, seed=seed, bad_words=tuple(bad), min_tokens=least
    )
    assert not knobs.leaves_alone or not (bad or least)
    result = steer(PROMPT, api=api, offsets=OffsetTable({}), steering=knobs)
    check_unwritten(result.text, len(result.steps), result.finish, knobs)


def test_where_only_the_end_is_shown_and_it_may_not_come_that_is_an_error() -> None:
    ended = next(
        seed
        for seed in range(200)
        if not steer(PROMPT, api=toys(seed, 1)[0], offsets=OffsetTable({}), steering=Steering(alpha=0.0)).text
    )
    with pytest.raises(ReplyError, match="5 tokens at least"):
        steer(PROMPT, api=toys(ended, 1)[0], offsets=OffsetTable({}), steering=Steering(alpha=0.0, min_tokens=5))


@given(text=st.text("ab é", max_size=6), piece=st.text("ab é", max_size=4), bad=words)
def test_a_piece_may_follow_where_it_completes_no_word(text: str, piece: str, bad: list[str]) -> None:
    assume(not any(word in text for word in bad))
    accepts = WithoutWords(ANY_TEXT, bad)
    fits = not any(word in text + piece for word in bad)
    assert accepts.follows(text.encode(), piece.encode()) == fits
    starts = accepts.starts(text.encode())
    assert all(accepts.follows(text.encode(), start) for start in starts)
    assert (piece.encode()[:1] in starts) or not piece or not fits


def test_a_constraint_that_leaves_nothing_else_is_an_error_that_names_the_word() -> None:
    api, pair = toys(1, 11)
    knobs = Steering(constraint=OneOf(("abc", "abd")), bad_words=("ab",))
    with pytest.raises(InputError, match="'ab'"):
        steer(PROMPT, api=api, offsets=pair, steering=knobs)


@given(seed=seeds, bad=letters)
def test_of_whole_answers_those_that_have_one_weigh_nothing(seed: int, bad: list[str]) -> None:
    api, pair = toys(seed, 11)
    knobs = Steering(way="answers", samples=6, max_tokens=3, bad_words=tuple(bad), seed=seed)
    with suppress(Unsatisfied):  # where all of them have one
        result = Steerer(api, pair, knobs).complete(PROMPT)
        assert not any(word in result.text for word in bad)
        for sample in result.samples:
            assert sample.allowed == (not any(word in sample.text for word in bad))


@pytest.mark.parametrize("way", ["answers", "chunks"])
def test_whole_answers_have_no_least_length(way: str) -> None:
    with pytest.raises(InputError, match="min_tokens"):
        Steering(way=way, min_tokens=3)  # type: ignore[arg-type]


@pytest.mark.parametrize("knobs", [{"bad_words": ("",)}, {"min_tokens": -1}, {"token_bias": ((b"a", 1.0),)}])
def test_what_cannot_be_is_refused(knobs: dict[str, object]) -> None:
    with pytest.raises(InputError, match=r"bad word|min_tokens|bias"):
        Steering(**knobs)  # type: ignore[arg-type]
