"""The ledger's rows, in a file and in a database: budgets in one transaction, several processes at once, pruning."""

from __future__ import annotations

import datetime as dt
import json
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from blackbox_proxy.core.money.amounts import Budget, cost
from blackbox_proxy.errors import OverBudget
from blackbox_proxy.ledger.opening import open_store
from blackbox_proxy.ledger.report import figures
from blackbox_proxy.ledger.rows import Counted, Ended, LedgerRow
from blackbox_proxy.ledger.store import Pruned, Store
from blackbox_proxy.types import Usage
from tests.ledger.intents import NOON, PRICE, intent

ROOT = Path(__file__).parents[2]
USED = Usage(input=900, cached=400, output=80, requests=1)
OK = Ended("ok", 200, 0.5, '{"prompt_tokens": 900}', lost=False)


def counted(usage: Usage = USED) -> Counted:
    return Counted(usage, "provider", cost(usage, PRICE))


@pytest.fixture
def store(ledger_place: str) -> Iterator[Store]:
    with closing(open_store(ledger_place)) as opened:
        yield opened


def test_a_row_is_there_before_the_request_is_sent(store: Store) -> None:
    store.begin(intent(project="x"))
    (row,) = store.rows()
    assert (row.outcome, row.input, row.output, row.cost, row.source, row.usage) == ("open", *[None] * 5)
    assert (row.reserved, row.asked, dict(row.tags)) == (Decimal("0.0035"), 100, {"project": "x"})
    assert row.at == "2026-11-25T12:00:00.000+00:00"
    assert row.day == "2026-11-25"


def test_a_row_is_completed_in_steps(store: Store) -> None:
    number = store.begin(intent())
    store.end(number, OK, counted())
    store.accepted(number, kept=3, wasted=5)
    store.evaluated(number, 0.25)
    store.evaluated(number, 0.75)
    (row,) = store.rows()
    assert (row.outcome, row.status, row.seconds, row.usage) == ("ok", 200, 0.5, OK.usage)
    assert (row.input, row.cached, row.cache_write, row.output, row.kept, row.wasted) == (900, 400, 0, 80, 3, 5)
    assert row.local_seconds == 0.75
    assert (row.source, row.cost) == ("provider", Decimal("0.00215"))  # 500 * 2.5 + 400 * .25 + 80 * 10
    assert json.loads(row.price or "") == {
        "input": "2.5",
        "cached": "0.25",
        "cache_write": None,
        "output": "10",
        "request": "0",
        "source": "",
        "since": None,
    }


def test_without_a_price_nothing_is_said_of_the_cost(store: Store) -> None:
    number = store.begin(intent(price=None))
    store.end(number, OK, Counted(USED, "provider", None))
    (row,) = store.rows()
    assert (row.price, row.reserved, row.cost, row.input) == (None, None, None, 900)


def full(budget: Budget, store: Store, **one: Any) -> bool:  # noqa: ANN401 (an attempt's fields)
    """Whether the next attempt is refused."""
    try:
        store.begin(intent(**one), [budget])
    except OverBudget:
        return True
    return False


def test_a_reservation_counts_until_the_cost_is_known(store: Store) -> None:
    """An attempt may cost 0.0035."""
    budget = Budget(max_cost=Decimal("0.007"))
    first, _ = store.begin(intent(), [budget]), store.begin(intent(), [budget])
    assert full(budget, store)
    store.end(first, OK, counted(Usage(input=10)))
    assert full(budget, store), "0.000025 + 0.0035 + 0.0035 pass it"
    store.end(first, OK, Counted(Usage(), "provider", Decimal(0)))
    assert not full(budget, store)
    assert len(list(store.rows())) == 3, "what was refused leaves no row"


def test_what_was_lost_counts_as_reserved(store: Store) -> None:
    budget = Budget(max_cost=Decimal("0.0069"))
    store.end(store.begin(intent(), [budget]), Ended("timeout", None, 60.0, None, lost=True), None)
    assert full(budget, store)


@pytest.mark.parametrize(
    ("budget", "same", "other"),
    [
        (Budget(max_calls=1), {"run": "r"}, {"run": "s"}),
        (Budget(max_calls=1, per="project=x"), {"run": "s", "project": "x"}, {"run": "r", "project": "y"}),
        (Budget(max_cost=Decimal("0.0035"), per="project=x"), {"run": "s", "project": "x"}, {"run": "r"}),
    ],
)
def test_a_budget_counts_what_it_is_for(
    store: Store, budget: Budget, same: dict[str, str], other: dict[str, str]
) -> None:
    store.begin(intent(run="r", project="x"), [budget])
    assert full(budget, store, **same)
    assert not full(budget, store, **other)


def test_a_day_is_one_of_utc(store: Store) -> None:
    budget = Budget(max_calls=1, per="day")
    evening = dt.datetime(2026, 11, 25, 23, 30, tzinfo=dt.timezone(dt.timedelta(hours=-2)))
    store.begin(intent(at=NOON), [budget])
    store.begin(intent(at=evening.astimezone(dt.UTC)), [budget])
    with pytest.raises(OverBudget):
        store.begin(intent(at=NOON + dt.timedelta(hours=1)), [budget])


def test_all_budgets_hold(store: Store) -> None:
    budgets = [Budget(max_calls=9), Budget(max_calls=1, per="day")]
    store.begin(intent(), budgets)
    with pytest.raises(OverBudget, match="1 calls per day"):
        store.begin(intent(), budgets)


def test_threads_share_a_budget_without_passing_it(store: Store) -> None:
    budget = Budget(max_cost=Decimal("0.0175"))  # five of 0.0035
    with ThreadPoolExecutor(16) as pool:
        refused = list(pool.map(lambda _: full(budget, store), range(60)))
    assert refused.count(False) == len(list(store.rows())) == 5


WRITER = """
import sys
from decimal import Decimal
from blackbox_proxy.core.money.amounts import Budget
from blackbox_proxy.errors import OverBudget
from blackbox_proxy.ledger.rows import Ended
from blackbox_proxy.ledger.opening import open_store
from tests.ledger.intents import intent

store, refused = open_store(sys.argv[1]), 0
for n in range(40):
    try:
        row = store.begin(intent(run=sys.argv[2]), [Budget(max_calls=100, per="day")])
        store.end(row, Ended("ok", 200, 0.1, None, lost=False), None)
    except OverBudget:
        refused += 1
store.close()
print(refused)
"""


def test_processes_open_write_and_share_a_budget_at_once(ledger_place: str) -> None:
    """Four of them make the ledger together, and have 160 attempts where 100 are allowed."""
    command = [sys.executable, "-c", WRITER, ledger_place]
    running = [subprocess.Popen([*command, str(n)], cwd=ROOT, stdout=subprocess.PIPE, text=True) for n in range(4)]
    refused = sum(int(one.communicate(timeout=60)[0]) for one in running)
    assert [one.returncode for one in running] == [0] * 4
    with closing(open_store(ledger_place)) as store:
        rows = list(store.rows())
    assert (len(rows), refused) == (100, 60)
    assert {row.outcome for row in rows} == {"ok"}


def test_replayed_rows_are_marked_and_no_budget_counts_them(store: Store) -> None:
    for replayed in (True, False, True):
        store.begin(replace(intent(project="x"), replayed=replayed))
    assert [row.replayed for row in store.rows()] == [True, False, True]
    for per in ("run", "day", "project=x"):
        assert full(Budget(max_calls=1, per=per), store, project="x")
    assert not full(Budget(max_calls=2, per="day"), store, project="x")


def test_rows_are_chosen_and_forgotten_by_day(store: Store) -> None:
    for day in (1, 2, 3):
        store.begin(intent(run=str(day), at=NOON.replace(day=day), project="x"))
    assert days(store.rows(since="2026-11-02")) == ["02", "03"]
    assert days(store.rows(until="2026-11-03")) == ["01", "02"]
    assert store.prune(before="2026-11-03") == Pruned(2, 0, ())
    assert days(store.rows()) == ["03"]
    assert full(Budget(max_calls=1, per="project=x"), store, project="x")
    assert not full(Budget(max_calls=2, per="project=x"), store, project="x")


def days(rows: Iterator[LedgerRow]) -> list[str]:
    return [row.day[-2:] for row in rows]


def test_a_run_is_forgotten_whole_or_not_at_all(store: Store) -> None:
    for run, day in (("a", 1), ("b", 1), ("b", 2)):
        store.begin(intent(run=run, at=NOON.replace(day=day)))
    assert store.prune(before="2026-11-02") == Pruned(1, 1, ())
    assert [row.run for row in store.rows()] == ["b", "b"]
    assert full(Budget(max_calls=2), store, run="b")


def test_what_an_open_budget_counts_is_not_forgotten(store: Store) -> None:
    """A budget of a tag is open at a day where an attempt was booked under it then or later."""
    held = Budget(max_calls=3, per="project=x")
    for day, project in ((1, "x"), (1, "y"), (2, "x")):
        store.begin(intent(run=str(day) + project, at=NOON.replace(day=day), project=project), [held])
    assert store.prune(before="2026-11-02") == Pruned(1, 1, ("project=x",))
    assert [(row.day[-2:], row.tags["project"]) for row in store.rows()] == [("01", "x"), ("02", "x")]
    assert not full(held, store, run="n", at=NOON.replace(day=3), project="x")
    assert full(held, store, run="n", at=NOON.replace(day=3), project="x"), "three calls were counted"
    assert store.prune(before="2026-11-03", counted=True) == Pruned(2, 0, ())
    assert not full(held, store, run="n", at=NOON.replace(day=3), project="x")


def test_what_a_budget_of_the_settings_counts_is_not_forgotten_either(store: Store) -> None:
    store.begin(intent(project="x"))
    held = Budget(max_calls=3, per="project=x")
    assert store.prune(before="2026-11-26", budgets=[held], today="2026-11-27") == Pruned(0, 1, ("project=x",))
    assert store.prune(before="2026-11-28", budgets=[held], today="2026-11-27") == Pruned(1, 0, ())


def test_it_may_be_read_while_it_is_written(store: Store) -> None:
    done = threading.Event()

    def write() -> None:
        for _ in range(50):
            store.begin(intent())
        done.set()

    with ThreadPoolExecutor(1) as pool:
        writing = pool.submit(write)
        counts = [len(list(store.rows()))]
        while not done.is_set():
            counts.append(len(list(store.rows())))
        writing.result()
    assert counts == sorted(counts)
    assert len(list(store.rows())) == 50


RUNS = """
import sys
from decimal import Decimal
from blackbox_proxy.core.money.amounts import Budget
from blackbox_proxy.errors import OverBudget
from blackbox_proxy.ledger.opening import open_store
from blackbox_proxy.ledger.rows import Counted, Ended
from blackbox_proxy.types import Usage
from tests.ledger.intents import PRICE, intent
from blackbox_proxy.core.money.amounts import cost

place, number, per = sys.argv[1:]
store, refused = open_store(place), 0
for n in range(50):
    used = Usage(input=100 + 16 * n, output=n, requests=1)
    try:
        row = store.begin(intent(run=f"{number}-{n}", project="x"), [Budget(max_cost=Decimal("0.5"), per=per)])
    except OverBudget:
        refused += 1
    else:
        store.end(row, Ended("ok", 200, 0.1, None, lost=False), Counted(used, "provider", cost(used, PRICE)))
store.close()
print(refused)
"""


@pytest.mark.slow
@pytest.mark.parametrize("per", ["day", "project=x"])
def test_eight_processes_of_fifty_runs_never_pass_one_budget(ledger_place: str, per: str) -> None:
    """0.5 dollars, where the runs together would take 0.7, and up to 0.0035 is reserved for each."""
    command = [sys.executable, "-c", RUNS, ledger_place]
    running = [subprocess.Popen([*command, str(n), per], cwd=ROOT, stdout=subprocess.PIPE, text=True) for n in range(8)]
    refused = sum(int(one.communicate(timeout=300)[0]) for one in running)
    assert [one.returncode for one in running] == [0] * 8
    with closing(open_store(ledger_place)) as store:
        rows = list(store.rows())
    total = sum(row.cost or Decimal(0) for row in rows)
    assert len(rows) + refused == 400
    assert refused > 0
    assert Decimal("0.5") - Decimal("0.0035") < total <= Decimal("0.5")
    print(f"8 processes: {len(rows)} attempts, {refused} refused, {total} of 0.5 USD")


def test_what_a_day_came_to_is_what_its_rows_come_to(store: Store) -> None:
    """Answered, unpriced, lost, refused, under way, replayed, of another day: each counts as the report counts it."""
    lost, refused = Ended("timeout", None, 1.0, None, lost=True), Ended("refused", 400, 0.1, None, lost=False)
    for price in (PRICE, None):
        store.end(
            store.begin(intent(price=price, project="x")), OK, counted() if price else replace(counted(), cost=None)
        )
    store.end(store.begin(intent(project="y")), lost, None)
    store.end(store.begin(intent(project="x")), refused, Counted(Usage(), None, Decimal(0)))
    store.begin(intent(project="x"))
    store.end(
        store.begin(replace(intent(project="x"), replayed=True, reserved=None)), OK, replace(counted(), cost=Decimal(0))
    )
    store.end(store.begin(intent(at=NOON - dt.timedelta(days=1), project="x")), OK, counted())
    for tag in (None, ("project", "x"), ("project", "y"), ("project", "none")):
        rows = [
            row for row in store.rows() if row.day == "2026-11-25" and (tag is None or row.tags["project"] == tag[1])
        ]
        known, spend = figures("", rows), store.spent_on("2026-11-25", tag)
        assert (spend.requests, spend.cost, spend.unpriced, spend.at_risk) == (
            known.requests,
            known.cost,
            known.unpriced,
            known.at_risk,
        )
    assert store.spent_on("2026-11-25").unpriced == 1
    assert store.spent_on("2026-11-25").at_risk == 2 * Decimal("0.0035")
