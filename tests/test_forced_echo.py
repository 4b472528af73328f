"""A demanded text as an echo, over real HTTP: drafts of the pair are checked in one request, and texts are scored."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import get_args

import numpy as np
import pytest

from blackbox_proxy.core.alignment.vocabulary import Vocabulary
from blackbox_proxy.core.decoding.sources import OffsetTable
from blackbox_proxy.errors import InputError
from blackbox_proxy.run.steerer import Steerer
from blackbox_proxy.standin import Script
from blackbox_proxy.steering import Steering, Who
from blackbox_proxy.types import (
    Adapter,
    Ask,
    Capabilities,
    Distribution,
    Echo,
    Logits,
    Message,
    PairDistributions,
    PairPrompt,
    Prefix,
    Prompt,
    Reply,
    TokenPath,
    WireRequest,
)
from tests.adapters.shapes import RESPONSES
from tests.fault_bench import EMPTY, QUESTION, STEERING, TOP_K, WORDS, Bench, benched, toy_script
from tests.test_forced import STEERINGS, answer, by_prefill, check_same, served

ABLE = {"structured": "pattern", "structured_logprobs": "before"}
LONGER = STEERINGS[1]
SCORED = Steering(alpha=0.5, rule="none")


@dataclass(frozen=True, slots=True)
class ColourPair:
    """A pair that knows the toy's colours, of which the expert likes others best, and no end."""

    toy: Script

    @property
    def vocabulary(self) -> Vocabulary:
        return self.toy.vocabulary

    def spell(self, text: bytes) -> list[int]:
        return self.vocabulary.spell(text)

    def api_ids(self, text: str) -> TokenPath:
        return tuple(self.spell(text.encode()))

    def prompt(self, prompt: Prompt) -> PairPrompt:
        ids = self.api_ids(prompt.text)
        return PairPrompt(ids, ids)

    def distributions(self, prompt: PairPrompt, paths: Sequence[TokenPath]) -> list[PairDistributions]:
        return [self._both(prompt.expert + path) for path in paths]

    def _both(self, path: TokenPath) -> PairDistributions:
        text = b"".join(self.vocabulary.pieces[i] for i in path)
        at = next((n for n, word in enumerate(WORDS) if text.endswith(word)), 0)
        expert = np.full(len(self.vocabulary), -20.0, np.float32)
        for n, word in enumerate(WORDS):
            expert[self.vocabulary.ids_of(word)[0]] = float((3 * n + 2 * at + 1) % len(WORDS))
        anti_expert = np.where(expert > -20.0, 0.0, expert).astype(np.float32)
        return PairDistributions(_normed(expert), _normed(anti_expert))


def _normed(logits: Logits) -> Distribution:
    return Distribution(logits, float(np.logaddexp.reduce(logits.astype(np.float64))))


@dataclass(slots=True)
class Heard:
    """An adapter, and what it was asked."""

    adapter: Adapter
    asks: list[Ask] = field(default_factory=list)
    name: str = "heard"

    def capabilities(self) -> Capabilities:
        return self.adapter.capabilities()

    def encode(self, ask: Ask) -> WireRequest:
        self.asks.append(ask)
        return self.adapter.encode(ask)

    def decode(self, body: Mapping[str, object], ask: Ask) -> Reply:
        return self.adapter.decode(body, ask)

    @property
    def echoes(self) -> int:
        return sum(isinstance(ask, Echo) for ask in self.asks)


@pytest.fixture(scope="module")
def bench() -> Iterator[Bench]:
    with benched() as opened:
        yield opened


def echoing(steering: Steering) -> Steering:
    return replace(steering, drafter="pair_echo")


@pytest.mark.parametrize("steering", STEERINGS, ids=lambda s: f"{s.max_tokens} tokens by {s.draft}")
@pytest.mark.parametrize("route", [{}, RESPONSES], ids=["chat", "responses"])
def test_the_steered_text_is_that_by_prefill(bench: Bench, steering: Steering, route: Mapping[str, object]) -> None:
    wanted = by_prefill(bench, steering)
    with served(**ABLE, **route) as (api, _):
        heard = Heard(api.adapter)
        result = answer(replace(api, adapter=heard), bench.pair, echoing(steering))
    assert result.way == "forced"
    assert heard.echoes > 1 or steering.draft == 1
    check_same(result, wanted)


@pytest.mark.parametrize("steering", STEERINGS, ids=lambda s: f"{s.max_tokens} tokens by {s.draft}")
def test_windows_by_responses_say_the_same(bench: Bench, steering: Steering) -> None:
    wanted = by_prefill(bench, steering)
    with served(structured="pattern", **RESPONSES) as (api, _):
        result = answer(api, bench.pair, steering)
    assert result.usage.requests > 1
    check_same(result, wanted)


def test_guesses_that_are_right_save_calls_and_tokens() -> None:
    pair, steering = ColourPair(toy_script()), replace(STEERING, alpha=8.0, max_tokens=24, draft=12)
    results = {}
    for drafter in get_args(Who):
        with served(**ABLE) as (api, _):
            results[drafter] = answer(api, pair, replace(steering, drafter=drafter))
    windows, echo, prefixes = (results[drafter] for drafter in ("api", "pair_echo", "pair_prefixes"))
    assert len({result.text for result in results.values()}) == 1
    assert len(windows.steps) == 24
    assert any(step.guessed and step.forced for step in echo.steps)
    assert echo.usage.requests < windows.usage.requests / 4
    assert echo.usage.output < windows.usage.output / 2
    assert results["auto"].usage.output < min(windows.usage.output, prefixes.usage.output)


@pytest.mark.parametrize("quirk", ["no-pattern", "no-formatted-logprobs"])
def test_a_refused_draft_costs_nothing_and_is_not_sent_again(bench: Bench, quirk: str) -> None:
    with served(structured="none") as (api, _):
        wanted = answer(api, bench.pair, LONGER)
    with served(quirk, **ABLE) as (api, traffic):
        assert api.capabilities().echo
        result = answer(api, bench.pair, echoing(LONGER))
        assert not api.capabilities().echo
        with pytest.raises(InputError, match="pair_echo"):
            answer(api, bench.pair, echoing(LONGER))
    assert (result.text, result.exactness) == (wanted.text, "approximate")
    assert result.usage.refused == 2, "a draft and an answer so far"
    assert len(result.calls) == result.usage.requests == traffic.total
    assert result.usage.input == wanted.usage.input


def test_a_draft_that_is_not_obeyed_is_paid_for_and_tells_nothing(bench: Bench) -> None:
    with served("ignored-format", **ABLE) as (api, traffic):
        result = answer(api, bench.pair, echoing(STEERING))
        reply = api.send(Echo("toy", Prefix("", b" red", (Message("user", QUESTION),)), TOP_K, b" green"))
    assert (reply.echoed, reply.positions) == ((), ())
    assert sum(call.usage.output for call in reply.calls) == reply.usage.output > 0
    assert result.exactness == "approximate"
    assert result.usage.requests == len(result.calls) == traffic.total - 1


def test_a_text_is_scored_as_the_model_says_it_inside_a_string(bench: Bench) -> None:
    """The toy's distribution depends on the last word alone, so that it is that of raw text."""
    text = " red green grey grey blue"
    raw = Steerer(bench.api("echo", ()), bench.pair, SCORED).score(text)
    with served(**ABLE) as (api, traffic):
        scored = Steerer(api, bench.pair, SCORED).score(text)
    assert traffic.total == 1
    assert [step.piece for step in scored.steps] == [step.piece for step in raw.steps]
    for one, other in zip(scored.steps[1:], raw.steps[1:], strict=True):
        assert one.logp_before == pytest.approx(other.logp_before, abs=1e-5)
        assert one.logp_after == pytest.approx(other.logp_after, abs=1e-5)
        assert one.forced
    assert scored.exactness == "forced"
    assert math.isfinite(sum(step.logp_before or 0.0 for step in scored.steps))


def test_a_text_is_not_scored_where_log_probs_are_those_after_the_mask(bench: Bench) -> None:
    with served("masked-logps", structured="pattern") as (api, _):
        with pytest.raises(InputError, match="does not tell log-probs of a text"):
            Steerer(api, bench.pair, SCORED).score(" red green")


def test_a_text_is_not_scored_in_words(bench: Bench) -> None:
    with served(**ABLE) as (api, traffic):
        with pytest.raises(InputError, match="does not tell log-probs of a text"):
            Steerer(api, bench.pair, replace(SCORED, way="words")).score(" red green")
    assert traffic.total == 0


def test_the_places_of_a_reference_are_collected_in_one_call(bench: Bench) -> None:
    reference = " red green grey"
    steerer = Steerer(bench.api("chat_prefill", ()), bench.pair, SCORED)
    wanted = steerer.collect(QUESTION, reference, pair_prompt=EMPTY)
    with served(**ABLE) as (api, traffic):
        collected = Steerer(api, bench.pair, SCORED).collect(QUESTION, reference, pair_prompt=EMPTY)
    assert traffic.total == 1
    assert [step.piece for step in collected.steps] == [step.piece for step in wanted.steps]
    assert all(step.forced and step.place for step in collected.steps)


def test_an_unsteered_score_is_the_api_s_own() -> None:
    with served(**ABLE) as (api, _):
        scored = Steerer(api, OffsetTable({}), replace(SCORED, alpha=0.0)).score(" red green")
    assert [step.logp_after == step.logp_before for step in scored.steps[1:]] == [True]
