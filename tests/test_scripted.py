"""Steering over real HTTP against a stand-in whose distribution is known: certificates, bounds, and drawn texts."""

from __future__ import annotations

import os
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest

from blackbox_proxy.api import Api, connect
from blackbox_proxy.core.alignment.vocabulary import Vocabulary
from blackbox_proxy.run.steerer import steer
from blackbox_proxy.standin import Script, running, script
from blackbox_proxy.steering import Steering
from blackbox_proxy.testing import ToyModel, ToyPair
from blackbox_proxy.types import Floats, PairPrompt, Prompt, Result, TokenPath
from tests.properties.test_sampling_properties import LIMIT, PIECES, TOP_K, drawing, surprise, truth

START = b"#"
"""What stands before each answer: a prompt must not be empty."""


def toy_script(toy: ToyModel) -> Script:
    """The toy's distributions after nothing and after each one of its tokens, behind a piece for the prompt."""

    def distribution(path: TokenPath) -> dict[bytes, float]:
        chances = np.exp(toy.distribution(path).logits.astype(np.float64))
        return dict(zip(toy.vocabulary.pieces, chances.tolist(), strict=True))

    distributions = {START: distribution(()), **{START + piece: distribution((i,)) for i, piece in enumerate(PIECES)}}
    return script([*PIECES, START], [b"</s>"], {b"": {b"</s>": 1.0}, **distributions})


SETTINGS = (
    Steering(max_tokens=2, tail="reveal", reveals=8, rule="none", proposals=16, temperature=1.0, draft=8),
    Steering(max_tokens=2, target="topk", rule="none", temperature=0.7, draft=1),
)


def check_drawn(steering: Steering, count: int) -> None:
    toys = drawing(18)
    toy = toy_script(toys.api.toy)
    options = {"top_k": TOP_K, "reveal": "ids", "end_pieces": [b"</s>"]}
    texts: Counter[tuple[bytes, ...]] = Counter()
    with running(toy, name="toy", top_k=TOP_K) as url, connect(url, model="toy", options=options) as connected:
        api = replace(connected, vocabulary=toy.vocabulary)
        for seed in range(count):
            own = replace(steering, seed=seed)
            result = steer(
                Prompt(text=START.decode()), api=api, offsets=toys.pair, steering=own, pair_prompt=Prompt(text="")
            )
            texts[tuple(step.piece for step in result.steps)] += 1
    found = surprise(texts, truth(toys, steering))
    print(f"{steering.target} T{steering.temperature} L{steering.draft}: {found:+.2f} sd over {count} texts by HTTP")
    assert found < LIMIT


@pytest.mark.parametrize("steering", SETTINGS, ids=["full", "topk"])
def test_some_texts_drawn_over_http_follow_the_distribution(steering: Steering) -> None:
    check_drawn(steering, 300)


@pytest.mark.slow
@pytest.mark.long
@pytest.mark.parametrize("steering", SETTINGS, ids=["full", "topk"])
def test_thousands_of_texts_drawn_over_http_follow_the_distribution(steering: Steering) -> None:
    """HTTP_TEXTS=20000 draws as many as the settings in process do, in a quarter of an hour."""
    check_drawn(steering, int(os.environ.get("HTTP_TEXTS", "2000")))


LETTERS = [bytes([letter]) for letter in b"abcdefghijklmnopqrstuvwxyz0123456789"]
DISTRIBUTIONS = Vocabulary([*LETTERS, b"</s>"], ends=[len(LETTERS)])
SHOWN = 6


def random_script(seed: int) -> Script:
    """A distribution after each letter, from peaked to flat; ends are rare."""
    rng = np.random.default_rng(seed)

    def distribution() -> dict[bytes, float]:
        chances = rng.dirichlet(np.full(len(LETTERS), rng.choice([0.05, 0.2, 1.0]))) + 1e-9
        return {**dict(zip(LETTERS, chances.tolist(), strict=True)), b"</s>": 1e-3}

    return script(LETTERS, [b"</s>"], {b"": distribution(), **{letter: distribution() for letter in LETTERS}})


def weights(toy: Script, pair: ToyPair, path: TokenPath, alpha: float) -> Floats:
    """p (E / A)^alpha of every token, from the distributions themselves."""
    (distributions,) = pair.distributions(PairPrompt((), ()), [path])
    p = np.exp(toy.logits(path).astype(np.float64))
    expert, anti = (
        distribution.logits.astype(np.float64) - distribution.log_norm
        for distribution in (distributions.expert, distributions.anti_expert)
    )
    return np.asarray(p / p.sum() * np.exp(alpha * (expert - anti)), dtype=np.float64)


def check_steps(result: Result, toy: Script, pair: ToyPair, *, start: TokenPath, alpha: float) -> tuple[int, int]:
    """Hold every step against the truth; how many steps, and how many of them certified."""
    path, certified = start, 0
    for step in result.steps:
        truly = weights(toy, pair, path, alpha)
        seen = np.argsort(-toy.logits(path), kind="stable")[:SHOWN]
        unseen = 1.0 - truly[seen].sum() / truly.sum()
        assert step.tv_bound >= unseen - 1e-9, "the bound on total variation was passed"
        chosen = int(DISTRIBUTIONS.ends[0]) if not step.piece else DISTRIBUTIONS.ids_of(step.piece)[0]
        assert not step.certified or int(np.argmax(truly)) == chosen, "a certificate is false"
        certified += step.certified
        path = (*path, chosen)
    return len(result.steps), certified


def check_certificates(scripts: int, answers: int) -> None:
    steps, certified = 0, 0
    for seed in range(scripts):
        toy, alpha = random_script(seed), (0.5, 1.0, 1.5)[seed % 3]
        pair = ToyPair(
            ToyModel(DISTRIBUTIONS, 2 * seed, sharpness=0.5), ToyModel(DISTRIBUTIONS, 2 * seed + 1, sharpness=0.5)
        )
        steering = Steering(alpha=alpha, event="ids", tail="drop", max_tokens=20)
        options = {"top_k": SHOWN, "token_ids": True, "end_pieces": [b"</s>"]}
        with running(toy, name="toy", top_k=SHOWN) as url, connect(url, model="toy", options=options) as api:
            for letter in LETTERS[:answers]:
                result = answer(api, pair, letter, steering)
                found = check_steps(result, toy, pair, start=tuple(DISTRIBUTIONS.ids_of(letter)), alpha=alpha)
                steps, certified = steps + found[0], certified + found[1]
    print(f"{steps} steps over HTTP, {certified} certified, 0 false; no bound was passed")
    assert steps / 20 < certified < steps


def answer(api: Api, pair: ToyPair, letter: bytes, steering: Steering) -> Result:
    return steer(Prompt(text=letter.decode()), api=api, offsets=pair, steering=steering)


def test_certificates_of_some_steps_over_http_are_true() -> None:
    check_certificates(3, 3)


@pytest.mark.slow
def test_certificates_of_a_thousand_steps_over_http_are_true() -> None:
    check_certificates(12, 6)
