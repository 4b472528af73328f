"""The books balance: what the ledger says against what the stand-in counts for itself, over real HTTP, with faults."""

from __future__ import annotations

import asyncio
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from decimal import Decimal
from pathlib import Path

import pytest

from blackbox_proxy import Api, OffsetTable, connect, steer
from blackbox_proxy.core.alignment.vocabulary import Vocabulary
from blackbox_proxy.core.decoding.drafting import CostRatios
from blackbox_proxy.core.money.amounts import Budget
from blackbox_proxy.errors import ApiRefused, InputError, LedgerError, OverBudget
from blackbox_proxy.ledger.books import Ledger, open_ledger
from blackbox_proxy.ledger.report import figures
from blackbox_proxy.ledger.rows import LedgerRow, price_of
from blackbox_proxy.run.steerer import Steerer
from blackbox_proxy.standin import Traffic, running
from blackbox_proxy.standin.plan import FaultPlan, read_plan
from blackbox_proxy.steering import Steering, Who
from blackbox_proxy.testing import ToyApi, ToyPair
from blackbox_proxy.types import (
    NO_RUN,
    Ask,
    Capabilities,
    Generate,
    Origin,
    Prefix,
    Prompt,
    Purpose,
    Reply,
    Result,
    Usage,
    WireRequest,
)
from tests.core.toys import toy_api, toy_pair
from tests.fault_bench import DRIVERS, MORE, ROUTES, Bench, Driver, benched
from tests.fault_bench import STEERING as BRIEF
from tests.ledger.toys import PRICES, STEERING, Books, connected, pair, toy
from tests.remote.scripted import Say, ScriptedApi

ASKED = Prompt(text="abc")


@pytest.fixture(scope="module")
def served() -> Iterator[tuple[str, Traffic]]:
    traffic = Traffic()
    with running(toy(), name="toy", top_k=6, traffic=traffic) as url:
        yield url, traffic


@pytest.fixture(scope="module")
def bench() -> Iterator[Bench]:
    with benched() as made:
        yield made


@pytest.fixture
def books(ledger_place: str, tmp_path: Path) -> Books:
    return Books(tmp_path, ledger_place)


@pytest.fixture
def ledger(books: Books) -> Iterator[Ledger]:
    with books.opened() as made:
        yield made


def rows_of(ledger: Ledger) -> list[LedgerRow]:
    return list(ledger.store.rows())


def summed(rows: list[LedgerRow]) -> Usage:
    """What the rows say in the engine's terms."""
    found = figures("", rows)
    return Usage(
        input=found.input,
        cached=found.cached,
        cache_write=found.cache_write,
        output=found.output,
        requests=found.requests,
        wasted=found.wasted,
        lost=found.lost,
        refused=found.refused,
        estimated=found.estimated,
    )


def test_a_run_is_booked_as_the_engine_and_the_server_count_it(served: tuple[str, Traffic], ledger: Ledger) -> None:
    url, traffic = served
    before = (traffic.total, traffic.read, traffic.written)
    with connected(url, ledger) as api:
        result = steer(ASKED, api=api, offsets=pair(), steering=STEERING)
    rows = rows_of(ledger)
    assert summed(rows) == replace(result.usage, local_seconds=0.0)
    assert result.usage.wasted > 0
    assert (len(rows), summed(rows).input, summed(rows).output) == tuple(
        now - then for now, then in zip((traffic.total, traffic.read, traffic.written), before, strict=True)
    )
    assert result.cost == sum((row.cost for row in rows if row.cost is not None), Decimal(0)) > 0
    assert len({row.run for row in rows}) == 1
    assert [row.step for row in rows] == sorted({row.step for row in rows})
    assert all(row.provider == url.split("/")[2] and row.source == "provider" for row in rows)
    assert figures("", rows).kept == len(result.steps)
    assert figures("", rows).answers == 1
    assert figures("", rows).local_seconds == pytest.approx(result.usage.local_seconds)
    assert [(call.step, call.cost) for call in result.calls] == [(row.step, row.cost) for row in rows]
    assert sum((call.usage for call in result.calls), Usage()) == replace(result.usage, local_seconds=0.0, wasted=0)
    assert all(row.cost is not None and row.reserved is not None and row.cost <= row.reserved for row in rows)


def by_asyncio(prompt: Prompt, *, api: Api, offsets: ToyPair, steering: Steering) -> Result:
    async def closing() -> Result:
        async with api:
            return await Steerer(api, offsets, steering).acomplete(prompt)

    return asyncio.run(closing())


@pytest.mark.parametrize("drive", [steer, by_asyncio])
@pytest.mark.parametrize(
    ("drafter", "options"),
    [
        ("pair_prefixes", {}),
        ("pair_prefixes", {"prompt_lists": True}),
        ("pair_echo", {"echo": True}),
        ("auto", {"echo": True}),
    ],
)
def test_whoever_drafts_the_books_are_those_of_the_engine_and_of_the_server(
    served: tuple[str, Traffic], ledger: Ledger, drive: Callable[..., Result], drafter: Who, options: dict[str, object]
) -> None:
    """Several requests a round, several prompts a request, and requests that only tell of what they are sent."""
    url, traffic = served
    before = (traffic.total, traffic.read, traffic.written)
    with connected(url, ledger, options=options) as api:
        result = drive(ASKED, api=api, offsets=pair(), steering=replace(STEERING, drafter=drafter))
    rows = rows_of(ledger)
    assert summed(rows) == replace(result.usage, local_seconds=0.0)
    assert (len(rows), summed(rows).input, summed(rows).output) == tuple(
        now - then for now, then in zip((traffic.total, traffic.read, traffic.written), before, strict=True)
    )
    assert result.cost == sum((row.cost for row in rows if row.cost is not None), Decimal(0)) > 0
    written = [row.output or 0 for row in rows]
    assert [(row.kept or 0) + (row.wasted or 0) - row.echoed for row in rows] == written
    assert figures("", rows).kept == sum(step.origin is not Origin.LOCAL for step in result.steps)
    assert any(row.echoed for row in rows) == (drafter == "pair_echo")
    assert all(row.asked >= wrote for row, wrote in zip(rows, written, strict=True))
    assert figures("", rows).local_seconds == pytest.approx(result.usage.local_seconds)
    # Requests that go out at once are booked in any order.
    assert Counter((call.step, call.cost) for call in result.calls) == Counter((row.step, row.cost) for row in rows)
    assert sum((call.usage for call in result.calls), Usage()) == replace(result.usage, local_seconds=0.0, wasted=0)
    assert all(row.cost is not None and row.reserved is not None and row.cost <= row.reserved for row in rows)


MIXED = "429,ok,500,ok,html,ok,503,garbage,ok,error200,ok,reset,ok"
"""Faults that the model behind the server never hears of."""


@pytest.mark.parametrize("route", ROUTES)
def test_over_a_mixed_load_with_faults_the_books_balance_to_the_token(bench: Bench, ledger: Ledger, route: str) -> None:
    """Every attempt is a row, and the tokens of the rows are those that the model read and wrote."""
    kinds, read, written = Counter(bench.traffic.kinds), bench.traffic.read, bench.traffic.written
    results: list[Result] = []
    for driver in DRIVERS:
        account = ledger.account("http://toy", "toy")
        results.append(bench.answer(route, driver, read_plan(MIXED), account=account, attempts=6))
    rows, told = rows_of(ledger), Counter(bench.traffic.kinds) - kinds
    assert len(rows) == told.total()
    assert sum(row.outcome == "ok" for row in rows) == told["ok"]
    assert Counter(row.outcome for row in rows)["busy"] == sum(told[kind] for kind in ("429", "500", "503", "error200"))
    assert summed(rows).input == bench.traffic.read - read
    assert summed(rows).output == bench.traffic.written - written
    assert summed(rows) == replace(sum((result.usage for result in results), Usage()), local_seconds=0.0)
    calls = Counter((call.step, call.cost) for result in results for call in result.calls)
    assert calls == Counter((row.step, row.cost) for row in rows)
    assert sum((result.cost or Decimal(0) for result in results), Decimal(0)) == figures("", rows).cost
    assert all(row.cost == 0 and row.input == 0 for row in rows if row.outcome == "busy")
    assert all((row.cost, row.input) == (None, None) for row in rows if row.outcome in ("unreadable", "unreachable"))


DRAFTERS: dict[str, Who] = {"lists": "pair_prefixes", "echo": "pair_echo"}


def told_by(result: Result) -> Counter[tuple[int, Decimal | None]]:
    """What a summary is made from: each attempt with its cost."""
    return Counter((call.step, call.cost) for call in result.calls)


@pytest.mark.parametrize("driver", DRIVERS)
@pytest.mark.parametrize("route", MORE)
def test_the_summary_is_the_ledger_where_a_question_takes_several_requests(
    bench: Bench, ledger: Ledger, route: str, driver: Driver
) -> None:
    """Replies that were of no use are paid for like the others, and no reply of known cost is said to be unknown."""
    steering = replace(BRIEF, drafter=DRAFTERS.get(route, "api"), max_tokens=6)
    total, read, written = bench.traffic.total, bench.traffic.read, bench.traffic.written
    plan = read_plan("429,ok,html,ok,503,ok,reset,ok,ok,garbage,ok")
    result = bench.answer(
        route, driver, plan, steering=steering, account=ledger.account("http://toy", "toy"), attempts=6
    )
    rows = rows_of(ledger)
    assert len(rows) == result.usage.requests == bench.traffic.total - total
    assert summed(rows) == replace(result.usage, local_seconds=0.0)
    assert (result.usage.input, result.usage.output) == (bench.traffic.read - read, bench.traffic.written - written)
    assert told_by(result) == Counter((row.step, row.cost) for row in rows)
    assert result.cost == figures("", rows).cost > 0
    unknown = [note for note in result.notes if "unknown cost" in note]
    assert unknown == [f"requests without a usable reply, at unknown cost: {figures('', rows).lost}"]
    assert figures("", rows).lost == sum(row.cost is None for row in rows) > 0
    if route == "three ways":
        assert any(row.outcome == "ok" and row.kept is None for row in rows), "a reply was of no use"


@pytest.mark.parametrize("route", [*ROUTES, *MORE])
def test_without_a_ledger_the_same_is_counted_and_no_cost_is_known(bench: Bench, route: str) -> None:
    steering = replace(BRIEF, drafter=DRAFTERS.get(route, "api"))
    total, read, written = bench.traffic.total, bench.traffic.read, bench.traffic.written
    result = bench.answer(route, "steer", read_plan("429,ok,html,ok"), steering=steering)
    assert result.usage.requests == bench.traffic.total - total
    assert (result.usage.input, result.usage.output) == (bench.traffic.read - read, bench.traffic.written - written)
    assert (result.usage.refused, result.usage.lost, result.cost) == (1, 1, None)


@pytest.mark.parametrize("driver", DRIVERS)
@pytest.mark.parametrize("route", [*ROUTES, *MORE])
def test_the_summary_of_an_answer_that_broke_off_is_the_ledger_too(
    bench: Bench, ledger: Ledger, route: str, driver: Driver
) -> None:
    steering = replace(BRIEF, drafter=DRAFTERS.get(route, "api"))
    account = ledger.account("http://toy", "toy")
    with pytest.raises(ApiRefused) as caught:
        bench.answer(route, driver, read_plan("429,ok,html" + ",401" * 20), steering=steering, account=account)
    rows, partial = rows_of(ledger), caught.value.partial
    assert summed(rows) == replace(partial.usage, local_seconds=0.0, wasted=summed(rows).wasted)
    assert told_by(partial) == Counter((row.step, row.cost) for row in rows)
    assert partial.cost == figures("", rows).cost > 0


def test_what_is_lost_after_it_was_made_is_bounded_by_what_was_reserved(bench: Bench, ledger: Ledger) -> None:
    """Half a reply: the model has worked, and nobody here knows how much."""
    read, written = bench.traffic.read, bench.traffic.written
    account = ledger.account("http://toy", "toy")
    bench.answer("text", "steer", read_plan("truncated,ok,truncated,cut,ok"), account=account)
    rows = rows_of(ledger)
    lost = [row for row in rows if row.outcome != "ok"]
    assert len(lost) == figures("", rows).lost == 3
    hidden = (bench.traffic.read - read - summed(rows).input, bench.traffic.written - written - summed(rows).output)
    assert 0 < hidden[1] <= sum(row.asked for row in lost)
    true = (hidden[0] * Decimal("2.5") + hidden[1] * 10).scaleb(-6)
    assert 0 < true <= figures("", rows).at_risk


def test_an_error_that_stays_leaves_its_rows_and_its_cost(bench: Bench, ledger: Ledger) -> None:
    account = ledger.account("http://toy", "toy")
    with pytest.raises(ApiRefused) as raised:
        bench.answer("text", "steer", read_plan("ok,ok,401"), account=account)
    rows = rows_of(ledger)
    assert [row.outcome for row in rows] == ["ok", "ok", "refused"]
    assert raised.value.partial.cost == sum(row.cost or Decimal(0) for row in rows)
    assert summed(rows).wasted == raised.value.partial.usage.wasted


def test_a_choice_and_a_call_by_itself_are_booked(served: tuple[str, Traffic], ledger: Ledger) -> None:
    with connected(served[0], ledger) as api:
        choice = Steerer(api, pair()).choose(ASKED, ["aa", "ab", "ca"])
        api.send(Generate("toy", Prefix("abc"), 6, 3))
    *chosen, single = rows_of(ledger)
    assert len(chosen) == choice.usage.requests > 1
    assert choice.cost == sum(row.cost or Decimal(0) for row in chosen)
    assert len({row.run for row in chosen}) == 1
    assert single.run != chosen[0].run
    assert single.asked == 3


def test_all_answers_of_a_sample_are_one_run(served: tuple[str, Traffic], ledger: Ledger) -> None:
    with connected(served[0], ledger) as api:
        results = list(Steerer(api, pair(), replace(STEERING, temperature=1.0)).sample(ASKED, 3))
    rows = rows_of(ledger)
    assert len({row.run for row in rows}) == 1
    assert sum((result.cost or Decimal(0) for result in results), Decimal(0)) == figures("", rows).cost


def test_a_provider_that_counts_nothing_is_estimated_from_above(books: Books) -> None:
    traffic = Traffic()
    with (
        running(toy(), name="toy", top_k=6, traffic=traffic, quirks=["no-usage"]) as url,
        books.opened() as ledger,
        connected(url, ledger) as api,
    ):
        steer(ASKED, api=api, offsets=pair(), steering=STEERING)
        rows = rows_of(ledger)
    assert {row.source for row in rows} == {"estimated"}
    assert summed(rows).output == traffic.written
    assert summed(rows).input >= traffic.read
    assert all(row.cost is not None and row.usage is None for row in rows)


def test_without_a_price_the_cost_is_unknown_and_never_nothing(served: tuple[str, Traffic], books: Books) -> None:
    with open_ledger(books.place) as ledger, connected(served[0], ledger) as api:
        result = steer(ASKED, api=api, offsets=pair(), steering=STEERING)
        found = figures("", ledger.store.rows())
    assert result.cost is None
    assert (found.unpriced, found.cost, found.per_kept) == (found.answered, Decimal(0), None)


def test_without_a_ledger_nothing_is_said_of_the_cost(served: tuple[str, Traffic]) -> None:
    with connected(served[0], None) as api:
        assert steer(ASKED, api=api, offsets=pair(), steering=STEERING).cost is None


def answers(api_of: Ledger, url: str) -> list[Result]:
    """The same answer by all three drivers."""
    with connected(url, api_of) as api:
        running = Steerer(api, pair(), STEERING).stream(ASKED)
        steps = tuple(running)
        assert running.result.steps == steps
        plain = steer(ASKED, api=api, offsets=pair(), steering=STEERING)

    async def awaited() -> Result:
        async with connected(url, api_of) as api:
            return await Steerer(api, pair(), STEERING).acomplete(ASKED)

    return [running.result, plain, asyncio.run(awaited())]


@pytest.mark.parametrize("calls", [0, 1, 3])
def test_at_a_budget_the_answer_so_far_is_returned(served: tuple[str, Traffic], books: Books, calls: int) -> None:
    url, traffic = served
    with connected(url, None) as api:
        whole = steer(ASKED, api=api, offsets=pair(), steering=STEERING)
    before = traffic.total
    with books.opened(Budget(max_calls=calls)) as ledger:
        found = answers(ledger, url)
        rows = rows_of(ledger)
    assert traffic.total - before == len(rows) == 3 * calls
    for result in found:
        assert result.finish == "budget"
        assert result.usage.requests == calls
        assert result.steps == whole.steps[: len(result.steps)]
        assert 0 <= len(result.steps) < len(whole.steps)
        assert result.notes[-1] == f"the budget of {calls} calls per run is used up"
    assert summed(rows).wasted == sum(result.usage.wasted for result in found)


def test_a_choice_at_a_budget_is_an_error_that_says_what_was_paid(served: tuple[str, Traffic], books: Books) -> None:
    with books.opened(Budget(max_calls=1)) as ledger, connected(served[0], ledger) as api:
        with pytest.raises(OverBudget, match="1 calls per run") as raised:
            Steerer(api, pair()).choose(ASKED, ["aa", "ab", "ca"])
        (row,) = rows_of(ledger)
    assert raised.value.partial.cost == row.cost


def test_a_retry_counts_against_a_budget_too(books: Books) -> None:
    traffic = Traffic()
    with (
        running(toy(), name="toy", top_k=6, traffic=traffic, plan=FaultPlan(read_plan("500:0,500:0,ok"))) as url,
        books.opened(Budget(max_calls=2)) as ledger,
        connected(url, ledger) as api,
    ):
        result = steer(ASKED, api=api, offsets=pair(), steering=STEERING)
        rows = rows_of(ledger)
    assert (result.finish, result.text, traffic.kinds) == ("budget", "", {"500": 2})
    assert [row.attempt for row in rows] == [1, 2]


def test_a_budget_in_dollars_needs_a_price(books: Books) -> None:
    with (
        open_ledger(books.place, budgets=[Budget(max_cost=Decimal(1))]) as ledger,
        pytest.raises(InputError, match=r"nobody says what 'toy' of 127\.0\.0\.1:9 costs"),
    ):
        connected("http://127.0.0.1:9", ledger)


def check_many_runs(books: Books, budget: Budget, *, runs: int) -> tuple[Traffic, list[LedgerRow]]:
    """So many runs at once, each with a connection of its own; half of them by a ledger of their own."""
    traffic, start = Traffic(), threading.Barrier(runs)
    with running(toy(), name="toy", top_k=6, traffic=traffic) as url, books.opened(budget, batch="x") as shared:

        def run(number: int) -> Result:
            start.wait(timeout=60)
            if number % 2:
                return one_run(url, shared, number)
            with books.opened(budget, batch="x") as own:
                return one_run(url, own, number)

        with ThreadPoolExecutor(runs) as pool:
            results = list(pool.map(run, range(runs)))
        rows = rows_of(shared)
    assert {result.finish for result in results} <= {"budget", "length"}
    assert any(result.finish == "budget" for result in results), "the budget was never met"
    assert len(rows) == traffic.total
    return traffic, rows


def one_run(url: str, ledger: Ledger, number: int) -> Result:
    with connected(url, ledger) as api:
        return steer(ASKED, api=api, offsets=pair(3 + number % 4), steering=STEERING)


def test_fifty_runs_at_once_never_pass_a_budget_in_dollars(books: Books) -> None:
    """By the stand-in's own count of tokens."""
    limit = Decimal("0.01")
    traffic, rows = check_many_runs(books, Budget(max_cost=limit, per="batch=x"), runs=50)
    fresh = traffic.read - traffic.cached
    true = (fresh * Decimal("2.5") + traffic.cached * Decimal("0.25") + traffic.written * 10).scaleb(-6)
    assert figures("", rows).cost == true <= limit
    print(f"50 runs, {len(rows)} requests, {true} USD by the stand-in's count of a budget of {limit} USD")


def test_fifty_runs_at_once_never_pass_a_budget_of_calls(books: Books) -> None:
    traffic, _ = check_many_runs(books, Budget(max_calls=77, per="day"), runs=50)
    assert traffic.total == 77


def test_a_ledger_that_breaks_stops_the_run(served: tuple[str, Traffic], ledger: Ledger) -> None:
    """What cannot be booked is not sent."""
    before = served[1].total
    with connected(served[0], ledger) as api:
        ledger.close()
        with pytest.raises(LedgerError, match="closed"):
            steer(ASKED, api=api, offsets=pair(), steering=STEERING)
    assert served[1].total == before


@dataclass
class Asked:
    """A toy API that is asked for its rates."""

    toys: ToyApi
    rated: list[CostRatios | None]
    model: str = "toy"
    vocabulary: Vocabulary | None = None

    def capabilities(self) -> Capabilities:
        return self.toys.capabilities()

    def text(self, prompt: Prompt) -> str:
        return self.toys.text(prompt)

    def send(self, ask: Ask, _purpose: Purpose = NO_RUN, /) -> Reply:
        return self.toys.send(ask)

    async def asend(self, ask: Ask, _purpose: Purpose = NO_RUN, /) -> Reply:
        return self.toys.send(ask)

    def rates(self) -> CostRatios | None:
        return self.rated.pop()


def test_a_planner_is_told_what_tokens_cost(served: tuple[str, Traffic], ledger: Ledger) -> None:
    with connected(served[0], ledger) as api, connected(served[0], None) as unbooked:
        assert api.rates() == CostRatios(2.5e-6, 0.25e-6, 10e-6)
        assert unbooked.rates() is None
    asked = Asked(toy_api(), [None, CostRatios(1.0, 1.0, 1.0)])
    for left in (1, 0):
        steer(Prompt(text="ab"), api=asked, offsets=toy_pair(), steering=Steering(max_tokens=4, drafter="auto"))
        assert len(asked.rated) == left


ZEROS = {"prompt_tokens": 0, "completion_tokens": 0, "total_tokens": 0}
BESIDE = {
    "prompt_tokens": 1000,
    "completion_tokens": 1,
    "total_tokens": 1401,
    "completion_tokens_details": {"reasoning_tokens": 400},
}


def billed_as(usage: object, ledger: Ledger, *, tier: str = "", options: dict[str, object] | None = None) -> Result:
    """One token of an answer, whose reply has this usage."""
    told = {"token": "a", "logprob": -0.5, "bytes": [97]}
    choice = {"message": {"content": "a"}, "logprobs": {"content": [{**told, "top_logprobs": [told]}]}}
    body = {
        "choices": [{**choice, "finish_reason": "stop"}],
        "usage": usage,
        **({"service_tier": tier} if tier else {}),
    }
    with (
        ScriptedApi(Say(body)) as server,
        connect(server.url, model="toy", adapter="chat_prefill", options=options, ledger=ledger) as api,
    ):
        return steer("hi", api=api, offsets=OffsetTable({}), steering=Steering(max_tokens=1, draft=1))


@pytest.mark.parametrize("usage", [None, {}, ZEROS, {"prompt_tokens": 9, "completion_tokens": 0}, "none"])
def test_counts_that_no_reply_can_have_are_bounded_from_above(ledger: Ledger, usage: object) -> None:
    result = billed_as(usage, ledger)
    (row,) = rows_of(ledger)
    assert (row.source, row.cost) == ("estimated", row.reserved)
    assert result.cost == row.cost is not None
    assert (result.usage.input, result.usage.output, result.usage.estimated) == (row.input, row.output, 1)
    assert any("token counts that can be believed" in note for note in result.notes)


def test_a_budget_holds_where_zeros_are_reported(books: Books) -> None:
    with books.opened(Budget(max_cost=Decimal("0.002"), per="day")) as ledger:
        found = [billed_as(ZEROS, ledger) for _ in range(10)]
    assert [result.finish for result in found].count("budget") > 0
    assert found[0].finish == "length"


def test_what_was_reasoned_is_paid_for_wherever_it_is_counted(ledger: Ledger) -> None:
    result = billed_as(BESIDE, ledger)
    assert result.cost == (1000 * Decimal("2.5") + 401 * Decimal(10)).scaleb(-6)
    assert result.usage.output == 401


def test_of_counts_that_contradict_each_other_the_cost_is_unknown_and_the_reservation_stays(ledger: Ledger) -> None:
    result = billed_as({**BESIDE, "total_tokens": 1500}, ledger)
    (row,) = rows_of(ledger)
    assert (row.cost, row.source, result.cost) == (None, "provider", None)
    assert figures("", [row]).unpriced == 1
    assert row.reserved is not None


TIERS = """
[[price]]
model = "toy"
service_tier = "flex"
input = 1
output = 4
"""


@pytest.mark.parametrize(
    ("asked", "served", "rate"),
    [
        ("", "", Decimal("2.5")),
        ("auto", "default", Decimal("2.5")),
        ("", "flex", Decimal(1)),
        ("flex", "flex", Decimal(1)),
        ("flex", "", Decimal(1)),
        ("flex", "default", Decimal("2.5")),
        ("auto", "priority", None),
        ("priority", "priority", None),
    ],
)
def test_a_service_tier_has_a_price_of_its_own(books: Books, asked: str, served: str, rate: Decimal | None) -> None:
    (books.folder / "prices.toml").write_text(PRICES + TIERS)
    usage = {"prompt_tokens": 1000, "completion_tokens": 1}
    options: dict[str, object] = {"extra_body": {"service_tier": asked}} if asked else {}
    with books.opened() as ledger:
        result = billed_as(usage, ledger, tier=served, options=options)
        (row,) = rows_of(ledger)
    wanted = None if rate is None else (1000 * rate + (4 if rate == 1 else 10)).scaleb(-6)
    assert (result.cost, row.cost) == (wanted, wanted)
    if rate is not None and row.price is not None:
        assert price_of(row.price).input.base == rate


def test_a_budget_in_dollars_cannot_be_kept_in_a_tier_of_unknown_price(books: Books) -> None:
    options: dict[str, object] = {"extra_body": {"service_tier": "priority"}}
    with books.opened(Budget(max_cost=Decimal(1))) as ledger, pytest.raises(InputError, match="'priority'"):
        billed_as({"prompt_tokens": 10, "completion_tokens": 1}, ledger, options=options)


def test_of_requests_at_once_no_more_are_sent_than_a_budget_allows(books: Books) -> None:
    """Twelve with a ledger of their own each, none of which ends before all have asked."""
    request, most = WireRequest("/completions", {"prompt": "ab", "max_tokens": 20}), Decimal("0.001")
    together = threading.Barrier(12)

    def one(_: int) -> bool:
        with books.opened(Budget(max_cost=most, per="day")) as ledger:
            entry = ledger.account("http://toy", "toy").entry(request, run="", step=0)
            together.wait(60)
            try:
                entry.begin(1)
            except OverBudget:
                return False
            return True

    with books.opened() as ledger, ThreadPoolExecutor(12) as pool:
        sent = list(pool.map(one, range(12)))
        booked = rows_of(ledger)
    assert 0 < sum(sent) == len(booked) < 12
    assert sum((row.reserved or Decimal(0) for row in booked), Decimal(0)) <= most
