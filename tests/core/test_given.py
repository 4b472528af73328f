"""Given texts under a steered distribution, on toys whose distribution anyone can compute."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from blackbox_proxy.api import Endpoint
from blackbox_proxy.core.alignment.vocabulary import Vocabulary
from blackbox_proxy.core.decoding.combine import FieldScores, whole
from blackbox_proxy.core.decoding.given import Given
from blackbox_proxy.errors import InputError
from blackbox_proxy.run.steerer import Steerer
from blackbox_proxy.schedule import Schedule
from blackbox_proxy.steering import Steering
from blackbox_proxy.testing import ToyApi, ToyModel, ToyPair
from blackbox_proxy.types import (
    NO_RUN,
    Ask,
    Candidate,
    Capabilities,
    Floats,
    Kind,
    Origin,
    Prompt,
    Purpose,
    Reply,
    Result,
    TokenPath,
)
from tests.core.toys import TOY, toy_pair

IDS = Steering(event="ids", alpha=0.5)
UNSTEERED = replace(IDS, alpha=0.0)


@dataclass
class Bent:
    """A toy API whose replies are changed on the way."""

    toy: ToyApi
    bend: Callable[[Reply], Reply]
    model: str = "bent"
    vocabulary: Vocabulary | None = None

    def capabilities(self) -> Capabilities:
        return self.toy.capabilities()

    def text(self, prompt: Prompt) -> str:
        return self.toy.text(prompt)

    def send(self, ask: Ask, _purpose: Purpose = NO_RUN, /) -> Reply:
        return self.bend(self.toy.send(ask))

    async def asend(self, ask: Ask, _purpose: Purpose = NO_RUN, /) -> Reply:
        return self.send(ask)


def toy(seed: int, *, top_k: int = len(TOY)) -> ToyApi:
    return ToyApi(ToyModel(TOY, seed), TOY.spell, top_k)


def scored(text: Given, api: Endpoint, pair: ToyPair, steering: Steering) -> Result:
    async def to_its_end() -> Result:
        return await Steerer(api, pair, steering).astream_score(text).result()

    return asyncio.run(to_its_end())


def as_ids(path: TokenPath, *, goes_on: bool = False) -> Given:
    tokens = tuple(Candidate(TOY.pieces[i], math.nan, Kind.TEXT, i) for i in path)
    return Given(TOY.text_of(path), tokens, as_ids=True, goes_on=goes_on)


def log_distribution(model: ToyModel, path: TokenPath) -> Floats:
    distribution = model.distribution(path)
    return np.asarray(distribution.logits.astype(np.float64) - distribution.log_norm)


def steered(api: ToyApi, pair: ToyPair, path: TokenPath, *, read: TokenPath, alpha: float) -> Floats:
    """log q of every token after a path that the pair reads as `read`."""
    offset = log_distribution(pair.expert, read) - log_distribution(pair.anti_expert, read)
    score = log_distribution(api.toy, path) + alpha * offset
    return np.asarray(score - np.logaddexp.reduce(score))


paths = st.lists(st.integers(0, 5), min_size=2, max_size=24).map(tuple).filter(lambda path: TOY.text_of(path).strip())


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 99), path=paths, alpha=st.sampled_from([-1.0, 0.5, 1.0, 2.0]))
def test_on_a_shared_vocabulary_the_distribution_is_that_of_the_definition(
    seed: int, path: TokenPath, alpha: float
) -> None:
    """However many places are read at once, and wherever the pair's prompt ends."""
    api, pair = toy(seed + 3), toy_pair(seed)
    result = scored(as_ids(path, goes_on=True), api, pair, replace(IDS, alpha=alpha))
    *steps, last = result.steps
    assert [step.piece for step in steps] == [TOY.pieces[i] for i in path]
    start = next((at for at, step in enumerate(steps) if step.logp_after is not None), len(path))
    assert all(not TOY.text_of(path[:at]).strip() for at in range(start))
    head = tuple(TOY.spell(TOY.text_of(path[:start])))
    for at in range(start, len(path)):
        distribution = steered(api, pair, path[:at], read=head + path[start:at], alpha=alpha)
        assert steps[at].logp_after == pytest.approx(distribution[path[at]], abs=1e-6)
        best = steps[at].candidates[0]
        assert best.score == pytest.approx(distribution.max(), abs=1e-6)
    distribution = steered(api, pair, path, read=head + path[start:], alpha=alpha)
    assert last.logp_after == pytest.approx(distribution.max(), abs=1e-6)
    assert result.usage.requests == 1


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 99), path=paths, top_k=st.integers(1, 9))
def test_at_alpha_0_they_are_the_apis_own_whatever_it_lists(seed: int, path: TokenPath, top_k: int) -> None:
    api, pair = toy(seed + 3, top_k=top_k), toy_pair(seed)
    result = scored(as_ids(path), api, pair, UNSTEERED)
    own = [float(log_distribution(api.toy, path[:at])[i]) for at, i in enumerate(path) if at]
    assert [step.logp_after for step in result.steps[1:]] == pytest.approx(own, abs=1e-6)
    assert not pair.evaluated, "nothing is asked of the pair"
    assert all(step.origin is Origin.GIVEN for step in result.steps)
    assert (result.changed, result.outside) == (0, 0)


@settings(max_examples=60, deadline=None)
@given(
    logp=st.lists(st.floats(-9, 0), min_size=1, max_size=8),
    offset=st.lists(st.floats(-9, 9), min_size=8, max_size=8),
    rest=st.floats(-9, 9),
    known=st.integers(0, 8),
)
def test_the_whole_distribution_has_mass_one_at_alpha_0(
    logp: list[float], offset: list[float], rest: float, known: int
) -> None:
    p = np.exp(np.array(logp))
    lower = np.log(p / max(1.0, float(p.sum())))
    scores = FieldScores(lower, np.array(offset[: len(logp)]), lower, rest)
    assert whole(scores, known=min(known, len(logp)), alpha=0.0) == pytest.approx(0.0, abs=1e-9)
    moved = replace(scores, offset=np.full(len(logp), rest))
    assert whole(moved, known=min(known, len(logp)), alpha=0.7) == pytest.approx(0.7 * rest, abs=1e-9)


def test_text_is_cut_by_the_api_and_an_end_has_a_step() -> None:
    ending = next(seed for seed in range(99) if log_distribution(ToyModel(TOY, seed), (0, 1)).argmax() == 8)
    for steering in (Steering(alpha=0.0), Steering(alpha=1e-9)):
        result = scored(Given(b"abb", goes_on=True), toy(ending), toy_pair(), steering)
        assert [step.piece for step in result.steps[:-1]] == [b"ab", b"b"]
    result = scored(as_ids((0, 1), goes_on=True), toy(ending), toy_pair(), UNSTEERED)
    assert (result.steps[-1].kind, result.steps[-1].origin, result.finish) == (Kind.END, Origin.DRAFT, "stop")
    assert result.steps[-1].logp_after == pytest.approx(log_distribution(ToyModel(TOY, ending), (0, 1)).max(), abs=1e-6)


def test_an_end_that_is_hidden_is_there_and_nobody_knows_its_number() -> None:
    hidden = Bent(toy(3), lambda reply: replace(reply, positions=(), finish="stop"))
    for steering in (IDS, UNSTEERED):
        last = scored(as_ids((0, 1, 2), goes_on=True), hidden, toy_pair(), steering).steps[-1]
        assert last.kind is Kind.END
        assert last.logp_after is None


def test_a_text_of_blanks_alone_is_told_at_alpha_0_and_unknown_to_the_pair() -> None:
    blank = as_ids((2, 2, 2))
    assert not any(step.logp_after is None for step in scored(blank, toy(3), toy_pair(), UNSTEERED).steps[1:])
    assert all(step.logp_after is None for step in scored(blank, toy(3), toy_pair(), IDS).steps)


def _untold(reply: Reply) -> Reply:
    place = reply.given[2]
    silent = replace(place, sampled=replace(place.sampled, logp=-math.inf))
    return replace(reply, given=(*reply.given[:2], silent, *reply.given[3:]))


@pytest.mark.parametrize(
    ("bend", "said"),
    [
        (_untold, "token 2 of the text, b' '"),
        (lambda reply: replace(reply, given=()), "does not tell the tokens"),
        (lambda reply: replace(reply, given=reply.given[1:]), "cuts it into others"),
    ],
)
def test_what_the_api_does_not_tell_is_an_error(bend: Callable[[Reply], Reply], said: str) -> None:
    with pytest.raises(InputError, match=said) as caught:
        scored(as_ids((0, 1, 2, 0)), Bent(toy(3), bend), toy_pair(), IDS)
    assert caught.value.partial
    assert caught.value.partial.usage.requests == 1, "it was paid for"


@pytest.mark.parametrize(
    "steering",
    [replace(IDS, target="nucleus"), replace(IDS, tail="drop"), replace(IDS, schedule=Schedule(((0, 1.0),)))],
)
def test_distributions_that_score_no_text_are_refused(steering: Steering) -> None:
    with pytest.raises(InputError):
        scored(as_ids((0, 1)), toy(3), toy_pair(), steering)


def test_an_endpoint_that_gives_nothing_back_is_not_asked() -> None:
    api = replace(toy(3), echo=False)
    with pytest.raises(InputError, match="does not tell log-probs of a text"):
        scored(as_ids((0, 1)), api, toy_pair(), IDS)
    assert not api.asked
