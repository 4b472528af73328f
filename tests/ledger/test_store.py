"""The ledger's file: rows, budgets in one transaction, several processes at once, schemas old and new, bad files."""

from __future__ import annotations

import datetime as dt
import hashlib
import json
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import replace
from decimal import Decimal
from pathlib import Path

import pytest

from blackbox_proxy.core.money.amounts import Budget, cost
from blackbox_proxy.errors import LedgerError, OverBudget
from blackbox_proxy.ledger.report import figures
from blackbox_proxy.ledger.rows import Counted, Ended
from blackbox_proxy.ledger.store import MIGRATIONS, Store
from blackbox_proxy.types import Usage
from tests.ledger.intents import NOON, PRICE, intent

ROOT = Path(__file__).parents[2]
USED = Usage(input=900, cached=400, output=80, requests=1)
OK = Ended("ok", 200, 0.5, '{"prompt_tokens": 900}', lost=False)


def counted(usage: Usage = USED) -> Counted:
    return Counted(usage, "provider", cost(usage, PRICE))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "state" / "ledger.sqlite"


@pytest.fixture
def store(path: Path) -> Iterator[Store]:
    with closing(Store(path)) as opened:
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
    store.evaluated(number, 0.5)
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


def full(budget: Budget, store: Store, **one: str) -> bool:
    """Whether the next attempt is refused."""
    try:
        store.begin(intent(**one), [budget])  # type: ignore[arg-type]  # run and tags are text
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
from pathlib import Path
from blackbox_proxy.core.money.amounts import Budget
from blackbox_proxy.errors import OverBudget
from blackbox_proxy.ledger.rows import Ended
from blackbox_proxy.ledger.store import Store
from tests.ledger.intents import intent

store, refused = Store(Path(sys.argv[1])), 0
for n in range(40):
    try:
        row = store.begin(intent(run=sys.argv[2]), [Budget(max_calls=100, per="day")])
        store.end(row, Ended("ok", 200, 0.1, None, lost=False), None)
    except OverBudget:
        refused += 1
store.close()
print(refused)
"""


def test_processes_open_write_and_share_a_budget_at_once(path: Path) -> None:
    """Four of them make the file together, and have 160 attempts where 100 are allowed."""
    command = [sys.executable, "-c", WRITER, str(path)]
    running = [subprocess.Popen([*command, str(n)], cwd=ROOT, stdout=subprocess.PIPE, text=True) for n in range(4)]
    refused = sum(int(one.communicate(timeout=60)[0]) for one in running)
    assert [one.returncode for one in running] == [0] * 4
    with closing(Store(path)) as store:
        rows = list(store.rows())
    assert (len(rows), refused) == (100, 60)
    assert {row.outcome for row in rows} == {"ok"}


def test_the_file_is_in_wal_mode_and_stays_whole(store: Store, path: Path) -> None:
    store.begin(intent())
    with closing(sqlite3.connect(path)) as other:
        assert other.execute("PRAGMA journal_mode").fetchone() == ("wal",)
        assert other.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        assert other.execute("PRAGMA user_version").fetchone() == (len(MIGRATIONS),)


NEXT = "ALTER TABLE attempts ADD COLUMN colour TEXT; UPDATE attempts SET colour = 'grey'"


def test_an_older_file_is_brought_up_to_date(store: Store, path: Path) -> None:
    store.begin(intent(project="x"))
    with closing(Store(path, migrations=(*MIGRATIONS, NEXT))) as newer:
        (row,) = newer.rows()
    assert dict(row.tags) == {"project": "x"}
    with closing(sqlite3.connect(path)) as other:
        assert other.execute("SELECT colour FROM attempts").fetchall() == [("grey",)]
    with pytest.raises(LedgerError, match=r"newer version .*\(schema 4, and 3 is the newest known here\)"):
        Store(path)


def test_a_file_of_the_first_schema_is_read(path: Path) -> None:
    with closing(Store(path, migrations=MIGRATIONS[:1])) as first:
        first.begin(intent())
    with closing(Store(path)) as newer:
        (row,) = newer.rows()
        newer.evaluated(row.id, 1.5)
        assert [row.local_seconds, *(row.local_seconds for row in newer.rows())] == [None, 1.5]


def test_a_migration_that_fails_leaves_the_file_as_it_was(store: Store, path: Path) -> None:
    store.begin(intent())
    with pytest.raises(LedgerError, match="no such table: gone"):
        Store(path, migrations=(*MIGRATIONS, f"{NEXT}; DROP TABLE gone"))
    with closing(Store(path)) as again:
        assert len(list(again.rows())) == 1


def test_released_schemas_do_not_change() -> None:
    """A file that is out there was made by this script; a change takes a new one."""
    assert [hash_of(one) for one in MIGRATIONS] == ["6818581d77dd5666", "26ec79c3f932583c", "39b08ac76498314f"]


def hash_of(text: str) -> str:
    return hashlib.sha256(" ".join(text.split()).encode()).hexdigest()[:16]


@pytest.mark.parametrize("content", [b"this is no database, but a text that is long enough to be read as one" * 20])
def test_a_file_that_is_no_ledger_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "notes.txt"
    path.write_bytes(content)
    with pytest.raises(LedgerError, match=r"the ledger .*notes\.txt cannot be used: file is not a database"):
        Store(path)
    assert path.read_bytes() == content


def test_a_place_that_cannot_be_written_is_an_error_with_a_hint(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(LedgerError, match="cannot be used") as raised:
        Store(tmp_path / "file" / "ledger.sqlite")
    assert "--no-ledger" in raised.value.hint


def test_replayed_rows_are_marked_and_no_budget_counts_them(store: Store) -> None:
    for replayed in (True, False, True):
        store.begin(replace(intent(project="x"), replayed=replayed))
    assert [row.replayed for row in store.rows()] == [True, False, True]
    for per in ("run", "day", "project=x"):
        assert full(Budget(max_calls=1, per=per), store, project="x")
    assert not full(Budget(max_calls=2, per="day"), store, project="x")


def test_rows_are_chosen_and_forgotten_by_day(store: Store) -> None:
    for day in (1, 2, 3):
        store.begin(intent(at=NOON.replace(day=day), project="x"))
    assert [row.day[-2:] for row in store.rows(since="2026-11-02")] == ["02", "03"]
    assert [row.day[-2:] for row in store.rows(until="2026-11-03")] == ["01", "02"]
    assert store.prune(before="2026-11-03") == 2
    assert [row.day[-2:] for row in store.rows()] == ["03"]
    assert full(Budget(max_calls=1, per="project=x"), store, project="x")
    assert not full(Budget(max_calls=2, per="project=x"), store, project="x")


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
