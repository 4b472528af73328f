"""Properties of the drafters, on random toys: whoever drafts, text and scores are those of one token per call.

The API's tokens may be such that a text has several spellings (LONG): then a draft of the pair holds all the same,
since each place is asked about by itself, or lies at a border where the API, too, would have cut the text before it.
"""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest
from hypothesis import assume, given, reject
from hypothesis import strategies as st

from blackbox_proxy.core.alignment.vocabulary import Vocabulary
from blackbox_proxy.core.decoding.drafting import CostRatios, Planner
from blackbox_proxy.errors import InputError, ReplyError
from blackbox_proxy.run.steerer import Steerer, steer
from blackbox_proxy.steering import Steering, Who
from blackbox_proxy.testing import ToyApi, ToyModel, ToyPair
from blackbox_proxy.types import Echo, Origin, Prompt, Result
from tests.core.toys import OTHER, TOY, toy_api, toy_pair
from tests.properties.test_loop_properties import LONG, PROMPT, WHOLE, seeds, steerings

drafters: st.SearchStrategy[Who] = st.sampled_from(["pair_prefixes", "pair_echo", "auto"])
pair_drafters: st.SearchStrategy[Who] = st.sampled_from(["pair_prefixes", "pair_echo"])
CLEAR = Vocabulary([b"a", b"b", b" ", "é".encode(), b"ab", b"b a", b"</s>"], ends=[6])


def speakers(seed: int, *, one_spelling: bool) -> tuple[ToyApi, ToyPair]:
    """An API of tokens with one spelling each or with many, its vocabulary known or not, and a pair."""
    tokens = [WHOLE, OTHER] if one_spelling else [CLEAR, LONG, TOY]
    vocabulary = tokens[seed % len(tokens)]
    api = toy_api(seed, vocabulary, top_k=1 + seed % 5)
    return (
        replace(api, prompt_lists=seed % 2 == 0, vocabulary=vocabulary if seed % 7 < 3 else None),
        toy_pair(seed + 7, LONG if seed % 3 else TOY),
    )


def run(seed: int, steering: Steering, *, one_spelling: bool = True) -> tuple[Result, ToyApi]:
    """Steer one toy by two others. Toys that say only what is no text at some place are passed over."""
    api, pair = speakers(seed, one_spelling=one_spelling)
    try:
        return steer(PROMPT, api=api, offsets=pair, steering=steering), api
    except ReplyError:
        reject()


def naive(steering: Steering) -> Steering:
    return replace(steering, draft=1, drafter="api")


def check_same(found: Result, one: Result) -> None:
    assert (found.text, found.finish, found.exactness) == (one.text, one.finish, one.exactness)
    assert repr(found.steps) == repr(one.steps), "not even a score differs"


@given(seed=seeds, steering=steerings, drafter=drafters)
def test_whoever_drafts_the_text_is_that_of_one_token_per_call(seed: int, steering: Steering, drafter: Who) -> None:
    one, _ = run(seed, naive(steering))
    found, _ = run(seed, replace(steering, drafter=drafter))
    check_same(found, one)


@given(seed=seeds, steering=steerings, drafter=pair_drafters)
def test_the_pairs_drafts_hold_where_a_text_has_many_spellings(seed: int, steering: Steering, drafter: Who) -> None:
    """Not so a window of the API (3.3): what it drafts may be cut otherwise when it is sent back.

    Nor behind a gate, where the API drafts its whole answer first.
    """
    steering = replace(steering, gate="always")
    assume(steering.acts_from(0))
    one, _ = run(seed, naive(steering), one_spelling=False)
    found, _ = run(seed, replace(steering, drafter=drafter), one_spelling=False)
    check_same(found, one)


@given(seed=seeds, steering=steerings, drafter=drafters)
def test_by_ids_the_text_is_that_of_one_token_per_call(seed: int, steering: Steering, drafter: Who) -> None:
    pair = toy_pair(seed)
    api = ToyApi(ToyModel(TOY, seed + 3), TOY.spell, top_k=1 + seed % 8, prompt_lists=seed % 2 == 0)
    steering = replace(steering, event="ids", rule="pooled")
    one = steer(PROMPT, api=api, offsets=pair, steering=naive(steering))
    found = steer(PROMPT, api=api, offsets=pair, steering=replace(steering, drafter=drafter))
    check_same(found, one)


@given(seed=seeds, steering=steerings, drafter=drafters, stop=st.sampled_from(["a", "b ", "ab", "é"]))
def test_a_stop_string_cuts_the_same_text(seed: int, steering: Steering, drafter: Who, stop: str) -> None:
    steering = replace(steering, stop=(stop,))
    one, _ = run(seed, naive(steering))
    found, _ = run(seed, replace(steering, drafter=drafter))
    assert (found.text, found.finish) == (one.text, one.finish)


@given(seed=seeds, steering=steerings, drafter=drafters)
def test_what_the_api_wrote_is_used_or_wasted(seed: int, steering: Steering, drafter: Who) -> None:
    """A step stands for a token that the API wrote, or for a border of a draft that it was sent."""
    found, api = run(seed, replace(steering, drafter=drafter))
    asked = sum(step.origin is not Origin.LOCAL for step in found.steps)
    used = found.usage.output - found.usage.wasted
    assert 0 <= used <= asked
    echoes = any(isinstance(ask, Echo) for ask in api.asked)
    assert used == asked or echoes
    assert found.usage.requests <= len(api.asked)


@given(seed=seeds, steering=steerings)
def test_what_the_api_drafts_the_pair_has_not(seed: int, steering: Steering) -> None:
    found, _ = run(seed, replace(steering, drafter="api"))
    assert not any(step.guessed for step in found.steps)


@given(seed=seeds, steering=steerings, drafter=drafters)
def test_one_answer_whichever_driver_makes_it(seed: int, steering: Steering, drafter: Who) -> None:
    found, _ = run(seed, replace(steering, drafter=drafter))
    api, pair = speakers(seed, one_spelling=True)
    other = asyncio.run(Steerer(api, pair, replace(steering, drafter=drafter)).acomplete(PROMPT))
    check_same(other, found)


@pytest.mark.parametrize("drafter", ["pair_prefixes", "pair_echo"])
def test_an_expert_that_is_followed_is_drafted_in_a_few_calls(drafter: Who) -> None:
    """A strong alpha: twenty tokens in drafts of seven guesses and what comes behind them."""
    pair = ToyPair(ToyModel(WHOLE, 3, sharpness=6.0), ToyModel(WHOLE, 3, sharpness=0.1))
    api = replace(toy_api(1, WHOLE), toy=ToyModel(WHOLE, 1, sharpness=0.1))
    found = steer(PROMPT, api=api, offsets=pair, steering=Steering(alpha=1.0, max_tokens=20, drafter=drafter, draft=7))
    rounds = -(-len(found.steps) // 8)
    assert len(found.steps) >= 8
    assert found.usage.requests == rounds
    last = len(found.steps) - 1
    assert [step.guessed for step in found.steps] == [at % 8 < 7 and at < last for at in range(last + 1)]
    if drafter == "pair_echo":
        assert found.usage.output == rounds


def test_where_no_list_is_taken_each_beginning_is_a_request() -> None:
    pair = ToyPair(ToyModel(WHOLE, 3, sharpness=6.0), ToyModel(WHOLE, 3, sharpness=0.1))
    api = replace(toy_api(1, WHOLE), toy=ToyModel(WHOLE, 1, sharpness=0.1), prompt_lists=False)
    found = steer(PROMPT, api=api, offsets=pair, steering=Steering(max_tokens=12, drafter="pair_prefixes", draft=11))
    assert found.usage.requests == len(api.asked) == 12


def test_a_planner_that_is_kept_learns_from_one_answer_to_the_next() -> None:
    """The pair is always followed; after an answer the planner has the pair draft, and as much as it may."""
    pair = ToyPair(ToyModel(WHOLE, 3, sharpness=6.0), ToyModel(WHOLE, 3, sharpness=0.1))
    api = replace(toy_api(1, WHOLE), toy=ToyModel(WHOLE, 1, sharpness=0.1))
    steering = Steering(max_tokens=12, drafter="auto", prefer="cost", draft=12)
    planner = Planner(prefer="cost", prices=CostRatios(0.0, 0.0, 1.0))
    calls = [Steerer(api, pair, steering, planner=planner).complete(PROMPT).usage.requests for _ in range(4)]
    assert calls[-1] == 1


def test_the_pair_drafts_no_drawn_text() -> None:
    api, pair = speakers(3, one_spelling=True)
    with pytest.raises(InputError, match="drafter='pair_prefixes'"):
        steer(PROMPT, api=api, offsets=pair, steering=Steering(temperature=1.0, drafter="pair_prefixes"))


def test_an_endpoint_that_gives_nothing_back_is_not_asked_to() -> None:
    api, pair = speakers(3, one_spelling=True)
    with pytest.raises(InputError, match="drafter='pair_echo'"):
        steer(PROMPT, api=replace(api, echo=False), offsets=pair, steering=Steering(drafter="pair_echo"))
    found = steer(PROMPT, api=replace(api, echo=False), offsets=pair, steering=Steering(drafter="auto", max_tokens=8))
    assert found.text == steer(Prompt(text="ab"), api=api, offsets=pair, steering=Steering(max_tokens=8)).text
