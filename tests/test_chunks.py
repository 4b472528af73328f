"""Chunks over real HTTP: an API without log-probs that goes on from a text, its budgets, its faults, its books."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from blackbox_proxy.api import Api, connect
from blackbox_proxy.core.money.amounts import Budget
from blackbox_proxy.errors import ApiBusy, InputError
from blackbox_proxy.run.steerer import Steerer
from blackbox_proxy.standin import Journal
from blackbox_proxy.standin.plan import read_plan
from blackbox_proxy.steering import Steering
from blackbox_proxy.types import Result
from tests.fault_bench import EMPTY, QUESTION, Feed
from tests.ledger.toys import opened
from tests.test_whole_answers import PAIR, called, served

CHUNKS = Steering(way="chunks", beams=2, samples=3, chunk=4, max_tokens=10)
ONE = replace(CHUNKS, beams=1, samples=1)
OWN = replace(ONE, way="answers")
"""The API's own greedy answer."""


@pytest.fixture(scope="module")
def silent() -> Iterator[tuple[str, Journal]]:
    """An API that shows no log-probs."""
    with served("ignored-logprobs") as both:
        yield both


def answered(api: Api, steering: Steering = CHUNKS) -> Result:
    return Steerer(api, PAIR, steering).complete(QUESTION, pair_prompt=EMPTY)


async def awaited(url: str, route: str) -> Result:
    async with called(url, route) as api:
        return await Steerer(api, PAIR, CHUNKS).acomplete(QUESTION, pair_prompt=EMPTY)


@pytest.mark.parametrize("route", ["completions", "prefill"])
def test_an_api_without_log_probs_is_steered_by_chunks(silent: tuple[str, Journal], route: str) -> None:
    url, journal = silent
    journal.clear()
    with called(url, route) as api:
        result = answered(api)
        bodies = [request.body for request in journal.requests]
        again = asyncio.run(awaited(url, route))
    assert not any({"logprobs", "top_logprobs"} & body.keys() for body in bodies)
    assert [body["max_tokens"] for body in bodies] == sorted((body["max_tokens"] for body in bodies), reverse=True)
    assert sum(body.get("n", 1) for body in bodies[:2]) == 6, "the first round draws for all beams, four in a request"
    assert result.text == next(one.text for one in result.samples if one.chosen)
    for one in result.samples:
        scored = PAIR.score(b"", [one.text.encode()], prompt=EMPTY)
        end = PAIR.score(one.text.encode(), [b""], prompt=EMPTY).offset if one.finish == "stop" else [0.0]
        assert one.log_weight == pytest.approx(float(scored.offset[0]) + float(end[0]), abs=1e-6)
    assert max(result.samples, key=lambda one: one.log_weight or 0.0).chosen
    assert result.exactness == "approximate"
    assert (again.text, again.samples) == (result.text, result.samples)


@pytest.mark.parametrize("route", ["completions", "prefill"])
def test_one_continuation_of_one_beam_is_the_apis_own_answer(silent: tuple[str, Journal], route: str) -> None:
    with called(silent[0], route) as api:
        own = Steerer(api, PAIR, replace(OWN, samples=1)).complete(QUESTION, pair_prompt=EMPTY)
        result = answered(api, ONE)
    assert (result.text, result.finish) == (own.text, own.finish)
    assert result.usage.wasted == 0


@pytest.mark.parametrize(("quirk", "option"), [("echoed-prefix", "echoes"), ("trimmed-prefill", "trims")])
def test_a_prefill_that_is_repeated_or_trimmed_is_gone_on_with_too(quirk: str, option: str) -> None:
    with served("ignored-logprobs") as (url, _), called(url, "prefill") as api:
        plain = answered(api, ONE)
    more: dict[str, Any] = {option: True}
    with served("ignored-logprobs", quirk) as (url, _), called(url, "prefill", **more) as api:
        assert answered(api, ONE).text == plain.text


def test_with_log_probs_those_of_the_chunks_add_up() -> None:
    with served() as (url, _), called(url, "completions", logprobs=True) as api:
        whole = answered(api, replace(OWN, samples=1))
        result = answered(api, ONE)
    assert result.samples[0].logp == pytest.approx(whole.samples[0].logp, abs=1e-3)


def test_drawn_chunks_say_that_they_are_samples_and_repeat_with_the_seed(silent: tuple[str, Journal]) -> None:
    with called(silent[0], "completions") as api:
        first, again = (answered(api, replace(CHUNKS, pick="draw", seed=5)) for _ in range(2))
    assert first.exactness == "sampled"
    assert (first.text, first.samples) == (again.text, again.samples)
    assert sum(one.share or 0.0 for one in first.samples) == pytest.approx(1.0)


def test_a_replay_gives_an_equal_result(silent: tuple[str, Journal], tmp_path: Path) -> None:
    tape, options = tmp_path / "tape.jsonl", {"logprobs": False, "answers_at_once": 4, "seed_field": ""}

    with connect(silent[0], model="toy", adapter="chat_prefill", options=options, record=tape) as api:
        result = answered(api)
    with connect(silent[0], model="toy", adapter="chat_prefill", options=options, replay=tape) as api:
        again = answered(api)
    assert (again.text, again.samples, again.usage.output) == (result.text, result.samples, result.usage.output)


def test_a_chat_that_is_asked_in_words_is_refused_before_anything_is_sent(silent: tuple[str, Journal]) -> None:
    url, journal = silent
    with called(url, "chat") as api:
        sent = len(journal.requests)
        with pytest.raises(InputError, match="way='chunks' needs"):
            answered(api)
    assert len(journal.requests) == sent


def test_the_ledger_and_the_summary_agree(silent: tuple[str, Journal], tmp_path: Path) -> None:
    with opened(tmp_path) as ledger, called(silent[0], "prefill", ledger=ledger) as api:
        result = answered(api)
        rows = list(ledger.store.rows())
    assert len(rows) == result.usage.requests
    assert sum(row.output or 0 for row in rows) == result.usage.output
    assert sum((row.cost for row in rows if row.cost is not None), Decimal(0)) == result.cost
    assert sum(row.wasted or 0 for row in rows) == result.usage.wasted
    chosen = next(one for one in result.samples if one.chosen)
    assert sum(row.kept or 0 for row in rows) == result.usage.output - result.usage.wasted == chosen.tokens
    assert chosen.cost is not None
    assert result.cost is not None
    assert 0 < chosen.cost < result.cost


@pytest.mark.parametrize("calls", [2, 4])
def test_a_budget_that_ends_between_rounds_ends_the_search(
    silent: tuple[str, Journal], tmp_path: Path, calls: int
) -> None:
    with opened(tmp_path, Budget(max_calls=calls)) as ledger:
        with called(silent[0], "prefill", ledger=ledger) as api:
            result = answered(api, replace(CHUNKS, max_tokens=40))
        assert len(list(ledger.store.rows())) == calls
    assert result.text
    assert result.finish == ("budget" if all(one.finish == "budget" for one in result.samples) else "stop")
    assert any("max_calls" in note or "budget" in note for note in result.notes)
    assert result.usage.output - result.usage.wasted == next(one.tokens for one in result.samples if one.chosen)


def test_a_fault_in_one_request_of_several_costs_its_continuations_alone() -> None:
    feed = Feed()
    with served("ignored-logprobs", feed=feed) as (url, _):
        with called(url, "prefill", answers_at_once=1, attempts=1) as api:
            feed.left.extend(read_plan("ok,500,ok,cut,ok,ok"))
            result = answered(api)
    assert (result.usage.refused, result.usage.lost) == (1, 1)
    assert any("2 of " in note and "did not come" in note for note in result.notes)
    assert result.text


def test_where_no_request_of_a_round_succeeds_the_error_has_what_was_paid() -> None:
    feed = Feed()
    with served("ignored-logprobs", feed=feed) as (url, _):
        with called(url, "prefill", answers_at_once=8, attempts=1) as api:
            feed.left.extend(read_plan("ok," + ",".join(["500"] * 2)))
            with pytest.raises(ApiBusy) as failed:
                answered(api, replace(CHUNKS, max_tokens=64, seed=3))
    partial = failed.value.partial
    assert partial is not None
    assert partial.samples
    assert {one.finish for one in partial.samples} == {"error"}
    assert partial.usage.output == partial.usage.wasted > 0
