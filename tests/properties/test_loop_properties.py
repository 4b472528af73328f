"""Properties of the loop, on random toys: drafts change the cost alone; at the ends of alpha stand the models.

The API's tokens are such that a text has one spelling (WHOLE, toys.OTHER): what is sent back is read as it was said.
"""

from __future__ import annotations

import asyncio
import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

import pytest
from hypothesis import assume, given, reject, settings
from hypothesis import strategies as st

from blackbox_proxy.core.alignment.vocabulary import Vocabulary
from blackbox_proxy.core.text import is_start, is_whole
from blackbox_proxy.errors import ReplyError
from blackbox_proxy.learnt import LearntWeights
from blackbox_proxy.run.steerer import Steerer, steer
from blackbox_proxy.schedule import Schedule
from blackbox_proxy.steering import Gate, Rule, Steering, Target
from blackbox_proxy.testing import ToyApi, ToyModel, ToyPair
from blackbox_proxy.types import (
    Kind,
    Origin,
    Prompt,
    Result,
    TokenPath,
)
from tests.core.toys import OTHER, TOY, prefix_of, toy_api, toy_pair

PROMPT = Prompt(text="ab")
HARDLY = 1e-12
"""An alpha that changes nothing. At 0 the API's whole answer is asked for at once."""
WHOLE = Vocabulary([b"a", b"b", b" ", "é".encode(), b"</s>"], ends=[4])
LONG = Vocabulary(
    [b"a", b"b", b" ", b"\xc3", b"\xa9", b"ab", b"ba", b"a b", b" a ", b"bab", b"ab a", b"  ", b"<end>"], ends=[12]
)
"""The pair's tokens, of which one may lie across the border of two of the API's."""
seeds = st.integers(0, 2**16)
targets: st.SearchStrategy[Target] = st.sampled_from(["full", "topk"])
gates: st.SearchStrategy[Gate] = st.sampled_from(["always", "divergence"])
schedules = st.sampled_from([None, None, Schedule(((1, 2.0), (4, -0.5))), Schedule(((0, 0.0), (3, 1.0), (9, 0.0)))])
rules: st.SearchStrategy[Rule] = st.sampled_from(["pooled", "pooled", "learnt"])
WEIGHTS = (
    LearntWeights.read("one:1:0.6,expert:0.5:0.1"),
    LearntWeights.read("one:0.2:0.9,distance:1:-0.3,api:-0.8:0"),
    LearntWeights.read("one:-0.5:0.5,expert:0.2:-1"),
)
steerings = st.builds(
    Steering,
    alpha=st.sampled_from([0.0, 0.25, 0.5, 1.0, 2.0, -1.0]),
    max_tokens=st.integers(1, 20),
    target=targets,
    draft=st.integers(1, 9),
    proposals=st.integers(0, 4),
    evidence=st.sampled_from([0.0, 1e-6, 1e-3]),
    back_off=st.integers(1, 4),
    spread=st.integers(0, 4),
    gate=gates,
    threshold=st.sampled_from([0.0, 0.3, 0.5, 0.7, 1.0]),
    schedule=schedules,
    rule=rules,
    learnt=st.sampled_from(WEIGHTS),
)


def speakers(seed: int) -> tuple[ToyApi, ToyPair]:
    """An API of whole characters, or (one seed in four) of single bytes; a pair of short pieces, or of long ones."""
    pair = toy_pair(seed + 7, LONG if seed % 3 else TOY)
    return toy_api(seed, WHOLE if seed % 4 else OTHER, top_k=1 + seed % 5), pair


def run(seed: int, steering: Steering) -> tuple[Result, ToyApi, ToyPair]:
    """Steer one toy by two others. Toys that say only what is no text at some place are passed over."""
    api, pair = speakers(seed)
    try:
        return steer(PROMPT, api=api, offsets=pair, steering=steering), api, pair
    except ReplyError:
        reject()


def greedy(model: ToyModel, most: int, *, after: TokenPath = ()) -> bytes:
    """The model's own greedy answer to a prompt."""
    path: TokenPath = ()
    while len(path) < most:
        best = int(model.logits(after + path).argmax())
        if best in model.vocabulary.ends:
            break
        path = (*path, best)
    return model.vocabulary.text_of(path)


def timeless(result: Result) -> Result:
    return replace(result, seconds=0.0, usage=replace(result.usage, local_seconds=0.0))


@given(seed=seeds, steering=steerings)
def test_drafts_change_no_token_and_save_calls(seed: int, steering: Steering) -> None:
    """Greedy walk-ahead equals one token per call (3.3)."""
    one, one_api, _ = run(seed, replace(steering, draft=1))
    many, many_api, _ = run(seed, steering)
    assert many.text == one.text
    assert many.finish == one.finish
    assert repr(many.steps) == repr(one.steps), "not even a score differs"
    assert len(many_api.asked) <= len(one_api.asked)


@given(seed=seeds.filter(lambda seed: seed % 4 != 0))
def test_drafts_save_calls_where_nothing_is_changed(seed: int) -> None:
    """Twenty tokens in twenty calls of one, or in calls of 2, 4, 8 and 6."""
    one, one_api, _ = run(seed, Steering(alpha=HARDLY, target="topk", max_tokens=20, draft=1))
    many, many_api, _ = run(seed, Steering(alpha=HARDLY, target="topk", max_tokens=20, draft=8))
    assert [ask.length for ask in many_api.asked] == [2, 4, 8, 6][: len(many_api.asked)]
    assert len(one_api.asked) == len(one.steps) == len(many.steps)
    assert (many.finish == "stop") or len(many_api.asked) == 4


@given(seed=seeds, steering=steerings)
def test_alpha_zero_is_the_api_itself(seed: int, steering: Steering) -> None:
    result, api, _ = run(seed, replace(steering, alpha=0.0, schedule=None))
    own = greedy(api.toy, steering.max_tokens, after=tuple(api.spell(PROMPT.text.encode())))
    assume(is_start(own) and is_whole(own))
    assert result.text == own.decode()
    assert {step.origin for step in result.steps} <= {Origin.DRAFT}
    assert result.exactness == "exact"


@given(seed=seeds, steering=steerings)
def test_at_alpha_zero_log_probs_are_the_apis_own_whatever_it_shows(seed: int, steering: Steering) -> None:
    """Of the token and of its candidates, where whatever the API does not show may win too."""
    result, _, _ = run(seed, replace(steering, alpha=0.0, schedule=None, target="full"))
    for step in result.steps:
        if step.origin is not Origin.LOCAL:
            assert step.logp_after == pytest.approx(step.logp_before, abs=1e-6)
            told = [candidate for candidate in step.candidates if candidate.inside]
            assert [candidate.score for candidate in told] == pytest.approx([candidate.logp for candidate in told])


@given(seed=seeds, steering=steerings)
def test_what_the_api_showed_shares_one_distribution(seed: int, steering: Steering) -> None:
    """Its probabilities sum to one at most. Strings that were guessed may be parts of each other."""
    result, _, _ = run(seed, replace(steering, top_candidates=99))
    for step in result.steps:
        if step.origin is not Origin.LOCAL:
            assert (
                math.fsum(math.exp(candidate.score) for candidate in step.candidates if candidate.inside) <= 1.0 + 1e-6
            )
            assert step.logp_after in [
                candidate.score for candidate in step.candidates if candidate.piece == step.piece
            ]


@given(seed=seeds, steering=steerings)
def test_by_ids_an_api_that_is_the_anti_expert_becomes_the_expert(seed: int, steering: Steering) -> None:
    """p * E / A with p = A (1.8): the steered text is the expert's own, whatever the vocabulary."""
    pair = toy_pair(seed)
    api = ToyApi(pair.anti_expert, TOY.spell, top_k=len(TOY))
    read = pair.prompt(PROMPT).expert
    steering = replace(steering, alpha=1.0, event="ids", evidence=0.0, gate="always", schedule=None, rule="pooled")
    result = steer(PROMPT, api=api, offsets=pair, steering=steering)
    own = greedy(pair.expert, steering.max_tokens, after=read)
    assert b"".join(step.piece for step in result.steps) == own
    assert result.text == own.decode("utf-8", "replace")


@given(seed=seeds, steering=steerings)
def test_the_api_is_only_asked_to_go_on_from_whole_text(seed: int, steering: Steering) -> None:
    """Every prefix decodes, and is a beginning of the answer."""
    result, api, _ = run(seed, steering)
    for ask in api.asked:
        prefix = prefix_of(ask)
        assert result.text.startswith(prefix.answer.decode("utf-8"))
        assert prefix.ids is None


@given(seed=seeds, steering=steerings)
def test_the_text_is_its_pieces_and_steps_are_within_bounds(seed: int, steering: Steering) -> None:
    result, api, _ = run(seed, steering)
    pieces = b"".join(step.piece for step in result.steps)
    assert is_whole(pieces)
    assert pieces.decode() == result.text
    asked = [step for step in result.steps if step.origin is not Origin.LOCAL]
    assert len(asked) <= steering.max_tokens
    assert all(1 <= ask.length <= steering.max_tokens for ask in api.asked)
    assert [step.kind for step in result.steps[:-1]].count(Kind.END) == 0
    ended = bool(result.steps) and result.steps[-1].kind is Kind.END
    assert (result.finish == "stop") == ended
    assert result.finish == "stop" or len(result.steps) >= steering.max_tokens - 3


@given(seed=seeds, steering=steerings)
def test_what_was_asked_for_is_accounted_for(seed: int, steering: Steering) -> None:
    """Every token that the API made was either a place of the answer or wasted."""
    result, api, _ = run(seed, steering)
    used = sum(step.origin is not Origin.LOCAL for step in result.steps)
    assert result.usage.requests == len(api.asked)
    assert result.usage.output == used + result.usage.wasted


@given(seed=seeds, steering=steerings)
def test_origins_say_what_happened(seed: int, steering: Steering) -> None:
    result, _, _ = run(seed, steering)
    for step in result.steps:
        assert (step.origin is Origin.DRAFT) == (step.piece == step.api_token and step.origin is not Origin.LOCAL)
        if step.origin is not Origin.LOCAL:
            assert (step.candidates[0].piece, step.candidates[0].inside) == (
                step.piece,
                step.origin is not Origin.OUTSIDE,
            ) or (step.origin is Origin.DRAFT)
    local = any(step.origin is Origin.LOCAL for step in result.steps)
    assert (result.exactness == "approximate") == local
    assert bool(result.notes) == (local or result.outweighed > 0)


@given(seed=seeds, steering=steerings)
def test_with_the_top_k_as_target_nothing_comes_from_outside_it(seed: int, steering: Steering) -> None:
    result, _, _ = run(seed, replace(steering, target="topk"))
    assert not any(step.origin is Origin.OUTSIDE for step in result.steps)


@given(seed=seeds, steering=steerings)
def test_the_pair_is_not_asked_twice_for_a_place_that_still_lies_ahead(seed: int, steering: Steering) -> None:
    """They are kept until the anchor has passed their place; a spelling that reaches back again may need one anew."""
    _, _, pair = run(seed, steering)
    again = [path for path, times in Counter(pair.evaluated).items() if times > 1]
    assert all(len(path) < max(map(len, pair.evaluated)) for path in again)
    for path in again:
        between = pair.evaluated[pair.evaluated.index(path) + 1 :]
        assert any(len(other) > len(path) for other in between[: between.index(path)])


@given(seed=seeds, steering=steerings)
def test_one_answer_whichever_driver_makes_it(seed: int, steering: Steering) -> None:
    by_steer, _, _ = run(seed, steering)
    api, pair = speakers(seed)
    steps = Steerer(api, pair, steering).stream(PROMPT)
    listed = list(steps)
    by_asteer = asyncio.run(Steerer(api, pair, steering).acomplete(PROMPT))
    assert repr(timeless(steps.result)) == repr(timeless(by_steer)) == repr(timeless(by_asteer))
    assert repr(tuple(listed)) == repr(by_steer.steps)


@given(seed=seeds, steering=steerings, stop=st.sampled_from(["a", "b ", "ab", "é", " a b"]))
def test_a_stop_string_cuts_the_answer_where_it_begins(seed: int, steering: Steering, stop: str) -> None:
    """The text up to the stop is the text without it."""
    free, _, _ = run(seed, steering)
    stopped, _, _ = run(seed, replace(steering, stop=(stop,)))
    assert stop not in stopped.text
    assert stopped.text == free.text.split(stop, maxsplit=1)[0]
    assert (stopped.finish == "stop_string") == (stop in free.text)


def test_the_toys_reach_what_the_properties_speak_of() -> None:
    """Among the first seeds: changes, outsiders, completed characters, ends and texts of several bytes a character."""
    results = [run(seed, Steering(max_tokens=12))[0] for seed in range(120) if seed % 4]
    origins = {step.origin for result in results for step in result.steps}
    assert origins == set(Origin) - {Origin.GIVEN, Origin.EXPERT, Origin.CONSTRAINED}
    assert {result.finish for result in results} == {"stop", "length"}
    assert any("é" in result.text for result in results)


def repeated(pieces: Sequence[bytes], size: int) -> bool:
    """By the letter: the last `size` tokens are one piece of text over and over, at least four times."""
    text = b"".join(pieces[-size:])
    periods = (p for p in range(1, len(text)) if all(text[i] == text[i - p] for i in range(p, len(text))))
    return len(pieces) >= size and any(4 * p <= len(text) for p in periods)


@given(seed=seeds, steering=steerings, size=st.integers(16, 24), most=st.integers(30, 70))
@settings(max_examples=30)
def test_a_repetition_ends_an_answer_where_it_is_whole_and_changes_nothing_before(
    seed: int, steering: Steering, size: int, most: int
) -> None:
    """Whatever is drafted: the answer without the stop, up to the first place whose last tokens are a repetition."""
    free, _, _ = run(seed, replace(steering, max_tokens=most))
    cut, _, _ = run(seed, replace(steering, max_tokens=most, repetition_stop=size))
    pieces = [step.piece for step in free.steps]
    ends = (n for n in range(1, len(pieces) + 1) if repeated(pieces[:n], size) and is_whole(b"".join(pieces[:n])))
    first = next(ends, None)
    if first is None or free.steps[first - 1].kind is Kind.END:
        assert (cut.text, cut.finish) == (free.text, free.finish)
    else:
        assert [step.piece for step in cut.steps] == pieces[:first]
        assert cut.finish == "repetition"
