"""Reference answers, place by place, on toys whose distributions anyone can compute."""

from __future__ import annotations

import asyncio
import json
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from blackbox_proxy.core.alignment.vocabulary import Vocabulary
from blackbox_proxy.core.decoding.learning import fit_weights, nats_lost
from blackbox_proxy.core.decoding.sources import OffsetTable
from blackbox_proxy.errors import InputError
from blackbox_proxy.learnt import LearntWeights
from blackbox_proxy.run.steerer import Steerer
from blackbox_proxy.steering import Steering
from blackbox_proxy.testing import ToyApi, ToyModel, ToyPair
from blackbox_proxy.types import Floats, Kind, Prompt, ReferencePlace, TokenPath
from tests.core.toys import OTHER, TOY, toy_api, toy_pair

WHOLE = Vocabulary([b"a", b"b", b" ", b"c", b"</s>"], ends=[4])
"""Any text over it has one spelling, for an API and a pair alike."""

PROMPT = Prompt(text="ab")
WEIGHTS = LearntWeights.read("one:0.7:0.4,expert:0.3:0.1,distance:0.2:0.1,api:-0.3:0.2")
references = st.text("abc ", min_size=1, max_size=8)
seeds = st.integers(0, 999)


def shares(model: ToyModel, path: TokenPath) -> Floats:
    distribution = model.distribution(path)
    return np.asarray(np.exp(distribution.logits.astype(np.float64) - distribution.log_norm))


def shared(seed: int, *, top_k: int = 5, echo: bool = True) -> tuple[ToyApi, ToyPair]:
    """An API that speaks the pair's vocabulary, and shows all of it or a part."""
    api = replace(toy_api(seed, WHOLE, top_k=top_k), echo=echo, vocabulary=WHOLE)
    return api, toy_pair(seed + 7, WHOLE)


@given(seed=seeds, reference=references)
def test_on_a_shared_vocabulary_a_place_is_what_the_models_say(seed: int, reference: str) -> None:
    """The masses of every token, the features, and what the weights make of the reference, all by the definition."""
    api, pair = shared(seed)
    steering = Steering(rule="learnt", learnt=WEIGHTS, evidence=1e-12, spread=64)
    result = Steerer(api, pair, steering).collect(PROMPT, reference)
    path = tuple(WHOLE.spell(b"ab" + reference.encode()))
    assert [step.piece for step in result.steps] == [*(bytes([c]) for c in reference.encode()), b""]
    assert len(result.places) == len(reference) + 1
    lost = []
    for at, place in enumerate(result.places):
        before = path[: 2 + at]
        p, e, a = (shares(model, before) for model in (api.toy, pair.expert, pair.anti_expert))
        own = path[2 + at] if at < len(reference) else 4
        assert place.features == pytest.approx((1.0, e.max(), np.abs(e - a).sum() / 2, p.max()), abs=1e-6)
        order = np.argsort(-p, kind="stable")
        np.testing.assert_allclose(place.logp[:5], np.log(p[order]), atol=1e-6)
        np.testing.assert_allclose(place.expert[:5], np.log(e[order]), atol=1e-6)
        np.testing.assert_allclose(place.anti_expert[:5], np.log(a[order]), atol=1e-6)
        assert order[place.chosen] == own
        b, c = WEIGHTS.powers(place.features)
        steered = np.log(p) + b * np.log(e) - c * np.log(a)
        lost.append(float(np.logaddexp.reduce(steered) - steered[own]))
    assert nats_lost(WEIGHTS, [result.places]) == pytest.approx(float(np.mean(lost)), abs=1e-6)
    assert [-(step.logp_after or 0.0) for step in result.steps] == pytest.approx(lost, abs=1e-6)


@given(seed=seeds, reference=references, top_k=st.integers(1, 5))
def test_an_echo_and_windows_tell_the_same(seed: int, reference: str, top_k: int) -> None:
    """One call, or one for each stretch that the API drafts; as many as were priced at most."""
    api, pair = shared(seed, top_k=top_k)
    once = Steerer(api, pair).collect(PROMPT, reference)
    silent, _ = shared(seed, top_k=top_k, echo=False)
    steerer = Steerer(silent, pair)
    often = steerer.collect(PROMPT, reference)
    assert once.places == often.places
    assert once.usage.requests == 1
    least, most = steerer.collecting_calls(reference)
    assert least <= often.usage.requests <= most == len(reference) + 1
    assert often.usage.wasted <= often.usage.output


@given(seed=seeds, reference=st.text("ab é", min_size=1, max_size=6), echo=st.booleans())
def test_an_api_of_another_tokenizer_is_followed_token_by_token(seed: int, reference: str, *, echo: bool) -> None:
    """Its tokenizer is not known: the reference goes on by the longest token that it shows, else by one of the pair."""
    api = replace(toy_api(seed, OTHER, top_k=1 + seed % 6), echo=echo)
    result = Steerer(api, toy_pair(seed + 7, TOY)).collect(PROMPT, reference)
    assert b"".join(step.piece for step in result.steps).decode() == reference
    assert [step.kind for step in result.steps].index(Kind.END) == len(result.steps) - 1
    for step in result.steps:
        if step.place is not None:
            assert np.logaddexp.reduce(step.place.logp) == pytest.approx(0.0, abs=1e-6), "the classes are all there is"
    assert result.finish == "stop"


def test_a_token_that_nobody_lists_is_one_of_all_others() -> None:
    api, pair = shared(3, top_k=1)
    result = Steerer(api, pair, Steering(proposals=0)).collect(PROMPT, "abc")
    outside = [step for step in result.steps if step.place and step.logp_before is None]
    assert outside
    assert all(step.place and step.place.chosen == len(step.place.logp) - 1 for step in outside)


def test_asyncio_gives_the_same() -> None:
    api, pair = shared(4, echo=False)
    steerer = Steerer(api, pair)
    assert asyncio.run(steerer.acollect(PROMPT, "ba c")).places == steerer.collect(PROMPT, "ba c").places


def test_nothing_new_is_asked_of_the_pair_for_the_features() -> None:
    """Weights that use all of them cost the evaluations of weights that use none."""
    asked = []
    for weights in (LearntWeights.fixed(1.0), LearntWeights.read("one:1:1,expert:0:0,distance:0:0,api:0:0")):
        api, pair = shared(6)
        Steerer(api, pair, Steering(rule="learnt", learnt=weights, max_tokens=6)).complete(PROMPT)
        asked.append(pair.evaluated)
    plain_api, plain_pair = shared(6)
    Steerer(plain_api, plain_pair, Steering(max_tokens=6)).complete(PROMPT)
    assert asked[0] == asked[1] == plain_pair.evaluated


def test_a_place_is_a_line_of_json_and_back() -> None:
    api, pair = shared(5)
    for place in Steerer(api, pair).collect(PROMPT, "a b").places:
        assert ReferencePlace.read(str(place)) == place
    whole = json.loads(str(place))
    for bad in ("", "[]", "{}", json.dumps(whole | {"chosen": 99}), json.dumps(whole | {"expert": [0.0]})):
        with pytest.raises(InputError):
            ReferencePlace.read(bad)


def test_what_cannot_be_collected_is_refused_before_anything_is_sent() -> None:
    api, pair = shared(1)
    with pytest.raises(InputError, match="weighs the members of a pair one by one, and OffsetTable scores strings"):
        Steerer(api, OffsetTable({b"a": 1.0})).collect(PROMPT, "a")
    with pytest.raises(InputError, match="weighs the members of a pair"):
        Steerer(api, OffsetTable({}), Steering(rule="learnt", learnt=WEIGHTS)).complete(PROMPT)
    with pytest.raises(InputError, match="'learnt' acts on strings"):
        Steerer(api, pair, Steering(event="ids")).collect(PROMPT, "a")
    with pytest.raises(InputError, match="needs weights"):
        Steering(rule="learnt")
    assert not api.asked


def test_two_models_are_mixed_better_by_fitted_weights_than_by_any_alpha() -> None:
    """From the lines to the text: who wrote them follows the expert where that is sure, and the API elsewhere."""
    api, pair = shared(11)
    api, pair = replace(api, toy=replace(api.toy, memory=4)), replace(pair, expert=replace(pair.expert, memory=4))
    true = LearntWeights.read("one:-0.5:0,expert:2.5:0")
    author = Steerer(api, pair, Steering(rule="learnt", learnt=true, temperature=1.0, max_tokens=8))
    prompts = [Prompt(text="".join("abc "[n // 4**digit % 4] for digit in range(3))) for n in range(64)]
    lines = [(prompt, answer.text) for prompt in prompts for answer in author.sample(prompt, 2)]
    steerer = Steerer(api, pair)
    places = [steerer.collect(prompt, text).places for prompt, text in lines]
    fit = fit_weights(places[::2])
    held = places[1::2]
    best = min(nats_lost(LearntWeights.fixed(alpha), held) for alpha in np.arange(0.0, 3.0, 0.05))
    assert not fit.is_fixed
    assert nats_lost(fit.weights, held) < best - 0.02
    ideal = nats_lost(true, held)
    assert nats_lost(fit.weights, held) - ideal < 0.5 * (best - ideal)
    steered = Steerer(api, pair, Steering(rule="learnt", learnt=fit.weights, max_tokens=8))
    assert steered.complete(prompts[0]).steps
