"""Whole answers over real HTTP: a scripted API without log-probs, every route, its books, its faults, its budgets."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from decimal import Decimal
from pathlib import Path

import pytest

from blackbox_proxy import Budget, JsonSchema, OffsetTable, OneOf, Result, Steerer, Steering, connect
from blackbox_proxy.api import Api
from blackbox_proxy.errors import ApiBusy, InputError, Unsatisfied
from blackbox_proxy.ledger.books import Ledger
from blackbox_proxy.standin import Journal, running
from blackbox_proxy.standin.plan import FaultPlan, read_plan
from blackbox_proxy.testing import ToyModel, ToyPair
from tests.fault_bench import EMPTY, END, QUESTION, TOP_K, Feed, toy_script
from tests.ledger.toys import opened

STEERING = Steering(samples=6, max_tokens=6)
SCRIPT = toy_script()
PAIR = ToyPair(ToyModel(SCRIPT.vocabulary, 3), ToyModel(SCRIPT.vocabulary, 4))
BY_N: dict[str, object] = {"logprobs": False, "answers_at_once": 4}

ROUTES: dict[str, tuple[str, dict[str, object]]] = {
    "completions": ("completions", BY_N),
    "chat": ("chat_continue", BY_N),
    "prefill": ("chat_prefill", BY_N),
    "responses": (
        "chat_continue",
        {
            "path": "/responses",
            "decoder": "openai_responses",
            "logprobs_kind": "include",
            "length_field": "max_output_tokens",
            "seed_field": "",
            "min_output": 16,
            "logprobs": False,
        },
    ),
}


@contextmanager
def served(*quirks: str, feed: Feed | None = None) -> Iterator[tuple[str, Journal]]:
    journal = Journal()
    plan = FaultPlan(Feed() if feed is None else feed)
    with running(SCRIPT, name="toy", top_k=TOP_K, quirks=quirks, journal=journal, plan=plan) as url:
        yield url, journal


@pytest.fixture(scope="module")
def silent() -> Iterator[tuple[str, Journal]]:
    """An API that shows no log-probs."""
    with served("ignored-logprobs") as both:
        yield both


def called(url: str, route: str = "chat", *, ledger: Ledger | None = None, attempts: int = 4, **more: object) -> Api:
    adapter, options = ROUTES[route]
    own = {"top_k": TOP_K, "end_pieces": [END], **options, **more}
    return connect(
        url,
        model="toy",
        adapter=adapter,
        template="{{ messages[0].content }}",
        options=own,
        ledger=ledger,
        attempts=attempts,
    )


async def awaited_answer(url: str, route: str) -> Result:
    async with called(url, route) as api:
        return await Steerer(api, PAIR, STEERING).acomplete(QUESTION, pair_prompt=EMPTY)


@pytest.mark.parametrize("route", ROUTES)
def test_an_api_without_log_probs_is_steered_by_whole_answers_on_every_route(
    silent: tuple[str, Journal], route: str
) -> None:
    url, journal = silent
    journal.clear()
    with called(url, route) as api:
        steerer = Steerer(api, PAIR, STEERING)
        result = steerer.complete(QUESTION, pair_prompt=EMPTY)
        awaited = asyncio.run(awaited_answer(url, route))
    bodies = [request.body for request in journal.requests[: result.usage.requests]]
    assert not any({"logprobs", "top_logprobs", "include"} & body.keys() for body in bodies)
    assert sorted(body.get("n", 1) for body in bodies) == ([1] * 6 if route == "responses" else [2, 4])
    assert result.drawn == 6
    assert result.exactness == "sampled"
    assert result.text == next(one.text for one in result.samples if one.chosen)
    assert all(one.logp is None for one in result.samples)
    best = max(result.samples, key=lambda one: one.log_weight or 0.0)
    assert best.chosen
    scored = PAIR.score(b"", [best.text.encode()], prompt=EMPTY)
    end = PAIR.score(best.text.encode(), [b""], prompt=EMPTY) if best.finish == "stop" else None
    assert best.log_weight == pytest.approx(float(scored.offset[0]) + (0.0 if end is None else float(end.offset[0])))
    if route != "responses":  # which takes no seed, so that chance is another one each time
        assert {(one.text, one.count) for one in awaited.samples} == {(one.text, one.count) for one in result.samples}


def test_where_log_probs_are_shown_they_are_those_of_the_answers() -> None:
    with served() as (url, _), called(url, "completions", logprobs=True) as api:
        result = Steerer(api, PAIR, replace(STEERING, way="answers", samples=12)).complete(QUESTION, pair_prompt=EMPTY)
    assert all(one.logp is not None for one in result.samples)
    for one in result.samples:
        assert one.logp == pytest.approx(true_logp(one.text.encode(), ended=one.finish == "stop"), abs=1e-3)


def true_logp(text: bytes, *, ended: bool) -> float:
    """By the script itself: greedy cutting is the only one, since no word begins another."""
    path = tuple(SCRIPT.vocabulary.spell(QUESTION.encode()))
    total = 0.0
    ids = [*SCRIPT.vocabulary.spell(text), *([int(SCRIPT.vocabulary.ends[0])] if ended else [])]
    for token in ids:
        logits = SCRIPT.logits(path).astype(float)
        total += float(logits[token]) - math.log(math.fsum(math.exp(one) for one in logits))
        path = (*path, token)
    return total


def test_one_step_and_one_for_the_end_come_in_a_stream(silent: tuple[str, Journal]) -> None:
    with called(silent[0]) as api:
        stream = Steerer(api, PAIR, STEERING).stream(QUESTION, pair_prompt=EMPTY)
        steps = tuple(stream)
    assert b"".join(step.piece for step in steps).decode() == stream.result.text
    assert len(steps) == 1 + (stream.result.finish == "stop")


def test_token_by_token_is_refused_without_log_probs_and_so_are_several_answers(silent: tuple[str, Journal]) -> None:
    with called(silent[0]) as api:
        with pytest.raises(InputError, match="tells no log-probs"):
            Steerer(api, PAIR, replace(STEERING, way="token")).complete(QUESTION, pair_prompt=EMPTY)
        with pytest.raises(InputError, match="each of them chosen among whole answers"):
            list(Steerer(api, PAIR, replace(STEERING, temperature=1.0)).sample(QUESTION, 2, pair_prompt=EMPTY))


def test_any_source_of_offsets_chooses(silent: tuple[str, Journal]) -> None:
    with called(silent[0]) as api:
        said = Steerer(api, OffsetTable({}), STEERING).complete(QUESTION)
        wish = min(said.samples, key=lambda one: one.count).text
        table = OffsetTable({wish.encode(): 20.0})
        assert Steerer(api, table, STEERING).complete(QUESTION).text == wish


def test_what_a_constraint_does_not_allow_weighs_nothing(silent: tuple[str, Journal]) -> None:
    with called(silent[0]) as api:
        free = Steerer(api, PAIR, STEERING).complete(QUESTION, pair_prompt=EMPTY)
        rarest = free.samples[-1]
        assert rarest.text
        held = replace(STEERING, constraint=OneOf((rarest.text,)))
        result = Steerer(api, PAIR, held).complete(QUESTION, pair_prompt=EMPTY)
    assert len(free.samples) > 1
    assert (result.text, result.finish, result.drawn) == (rarest.text, "stop", 6)
    assert {(one.text, one.share) for one in result.samples if one.allowed} == {(rarest.text, 1.0)}
    assert any("weigh nothing" in note for note in result.notes)


def test_where_no_answer_is_allowed_all_is_booked_and_kept(silent: tuple[str, Journal], tmp_path: Path) -> None:
    with opened(tmp_path) as ledger, called(silent[0], ledger=ledger) as api:
        steerer = Steerer(api, PAIR, replace(STEERING, constraint=JsonSchema("{}"), way="answers"))
        with pytest.raises(Unsatisfied, match="none of the 6 texts that were drawn") as failed:
            steerer.complete(QUESTION, pair_prompt=EMPTY)
        rows = list(ledger.store.rows())
    partial = failed.value.partial
    assert sum(one.count for one in partial.samples) == 6
    assert not any(one.allowed for one in partial.samples)
    assert len(rows) == partial.usage.requests == 2
    assert sum(row.output or 0 for row in rows) == partial.usage.output == partial.usage.wasted
    assert sum((row.cost for row in rows if row.cost is not None), Decimal(0)) == partial.cost


def test_the_ledger_and_the_summary_agree(silent: tuple[str, Journal], tmp_path: Path) -> None:
    with opened(tmp_path) as ledger, called(silent[0], ledger=ledger) as api:
        result = Steerer(api, PAIR, STEERING).complete(QUESTION, pair_prompt=EMPTY)
        rows = list(ledger.store.rows())
    assert len(rows) == result.usage.requests == 2
    assert sum(row.output or 0 for row in rows) == result.usage.output
    assert sum((row.cost for row in rows if row.cost is not None), Decimal(0)) == result.cost
    assert sum((row.wasted or 0) for row in rows) == result.usage.wasted
    assert sum(row.kept or 0 for row in rows) == result.usage.output - result.usage.wasted
    assert sum(one.tokens for one in result.samples) == result.usage.output
    priced = [one.cost for one in result.samples]
    assert None not in priced
    assert sum(one for one in priced if one is not None) == pytest.approx(result.cost)


def test_a_fault_in_one_request_keeps_the_answers_of_the_others() -> None:
    feed = Feed()
    with served("ignored-logprobs", feed=feed) as (url, _), called(url, answers_at_once=1, attempts=1) as api:
        feed.left.extend(read_plan("ok,500,ok,ok,ok,cut"))
        result = Steerer(api, PAIR, STEERING).complete(QUESTION, pair_prompt=EMPTY)
        assert result.drawn == 4
        assert (result.usage.requests, result.usage.refused, result.usage.lost) == (6, 1, 1)
        assert any("2 of 6 answers did not come" in note for note in result.notes)
        feed.left.extend(read_plan(",".join(["500"] * 6)))
        with pytest.raises(ApiBusy) as failed:
            Steerer(api, PAIR, STEERING).complete(QUESTION, pair_prompt=EMPTY)
    assert failed.value.partial is None or not failed.value.partial.samples


def test_a_fault_that_passes_changes_nothing() -> None:
    feed = Feed()
    with served("ignored-logprobs", feed=feed) as (url, _), called(url) as api:
        plain = Steerer(api, PAIR, STEERING).complete(QUESTION, pair_prompt=EMPTY)
        feed.left.extend(read_plan("truncated,ok,ok"))
        again = Steerer(api, PAIR, STEERING).complete(QUESTION, pair_prompt=EMPTY)
    assert {(one.text, one.count) for one in again.samples} == {(one.text, one.count) for one in plain.samples}
    assert (again.text, again.usage.lost) == (plain.text, 1)


@pytest.mark.parametrize("calls", [0, 2])
def test_a_budget_holds_between_samples(silent: tuple[str, Journal], tmp_path: Path, calls: int) -> None:
    with opened(tmp_path, Budget(max_calls=calls)) as ledger:
        with called(silent[0], ledger=ledger, answers_at_once=1) as api:
            result = Steerer(api, PAIR, STEERING).complete(QUESTION, pair_prompt=EMPTY)
        assert len(list(ledger.store.rows())) == calls
    assert (result.drawn, result.finish == "budget") == (calls, not calls)
    assert any("budget" in note for note in result.notes)


def test_an_error_of_the_source_keeps_what_was_paid_for(silent: tuple[str, Journal]) -> None:
    class Broken:
        def score(self, *_: object, **__: object) -> object:
            raise InputError("no scores today")

    with called(silent[0]) as api, pytest.raises(InputError) as failed:
        Steerer(api, Broken(), STEERING).complete(QUESTION)  # type: ignore[arg-type]  # it returns nothing at all
    partial = failed.value.partial
    assert partial is not None
    assert partial.drawn == 6
    assert partial.samples[0].log_weight is None
    assert partial.usage.output == sum(one.tokens for one in partial.samples)
