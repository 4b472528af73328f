"""`batch`: the rows of a file in, a file of answers out. Nothing is asked twice, whatever ended an earlier run.

Rows that ask the same share an answer. What was answered is kept at once; the file of answers is written at the end,
also where a run was stopped before: rows without an answer are pending, and not in it.
"""

from __future__ import annotations

import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from decimal import Decimal
from pathlib import Path
from typing import final

from blackbox_proxy.actors import MOST, actors, ray_cluster
from blackbox_proxy.api import Api
from blackbox_proxy.batching.answering import Ask, BatchModel, BatchUnit, RowPlan, opened
from blackbox_proxy.batching.answers import (
    CHOSEN,
    COLUMNS,
    SCORED,
    KeptRow,
    RowAnswer,
    RowStore,
    write_answers,
)
from blackbox_proxy.batching.options import BatchOptions
from blackbox_proxy.batching.reading import read_rows
from blackbox_proxy.batching.rows import BatchRow, BrokenRow, RowForm
from blackbox_proxy.errors import BlackboxProxyError, InputError
from blackbox_proxy.ledger.books import Ledger, now
from blackbox_proxy.local.loading import pair_files, pair_mark
from blackbox_proxy.steering import Steering
from blackbox_proxy.workers import FailureStreak, work_through

TAG = "batch"
"""The tag that the ledger's rows of a run carry."""

_HOPELESS = "correct what is wrong, and run it again: --retry-failed asks the failed rows too"


KeyedRow = tuple[BatchRow | BrokenRow, str]
"""A row, and the key that its answer is kept under; "" for one that is broken."""


@final
@dataclass(frozen=True, slots=True)
class PlannedBatch:
    """What a run is to do.

    Attributes:
        rows: All rows, those that are broken too.
        units: What is asked now.
        api: The hosted model; None where nobody is called.
        ledger: Where it is booked; None for nowhere.
    """

    rows: Sequence[KeyedRow]
    units: Sequence[BatchUnit]
    api: Api | None
    ledger: Ledger | None


Watch = Callable[[PlannedBatch], Callable[[KeptRow], object]]
"""Told what a run is to do, before anything is asked; gives what is told each answer."""


@final
@dataclass(frozen=True, slots=True)
class BatchSummary:
    """What a run came to.

    Attributes:
        rows: All rows of the file.
        answered: Those that have an answer, of this run or an earlier one.
        failed: Those that have an error, of this run or an earlier one; broken ones are among them.
        pending: Those that have neither.
        asked: Questions that were asked now; rows that ask the same are one.
        calls: Requests of this run, by the ledger; by the answers where nothing is booked.
        cost: US dollars of this run, likewise; of those requests whose cost is known.
        unpriced: How many requests are of unknown cost.
        seconds: Of this run.
        file: The file of answers; None where it could not be written.
        stopped: What ended the run before all rows were asked; None where nothing did.
    """

    rows: int
    answered: int
    failed: int
    pending: int
    asked: int
    calls: int
    cost: Decimal
    unpriced: int
    seconds: float = 0.0
    file: Path | None = None
    stopped: BlackboxProxyError | None = None


def batch(
    rows: Path | str,
    out: Path | str,
    *,
    model: BatchModel,
    steering: Steering | None = None,
    ledger: Ledger | None = None,
    options: BatchOptions | None = None,
    watch: Watch = lambda _: lambda _: None,
) -> BatchSummary:
    """Answer the rows of a file.

    Args:
        rows: The file, by its ending: .jsonl, .csv or .parquet; docs/batch.md has its fields.
        out: The folder of kept answers, and of the file of answers.
        model: Who answers, and what is done with each row.
        steering: The knobs of rows that set none; None for the recipe's, or the defaults.
        ledger: Where requests are booked (`open_ledger`). A budget per run holds for all rows together.
        options: How it is run.
        watch: Told what is to be done, and then each answer.

    Returns:
        What it came to. A budget, errors without end and a full disk end a run, and are in its `stopped`.

    Raises:
        InputError: For a file that is none, or a folder that cannot be used: before anything is asked.
        BlackboxProxyError: For a pair or an endpoint that cannot be opened.
    """
    how, knobs = options or BatchOptions(), steering or _usual(model)
    how.check()
    form = RowForm(knobs, how.system, raw=how.raw, scored=model.scored, ignored=how.ignored)
    read = read_rows(Path(rows), form)
    books = None if ledger is None else ledger.as_one_run(TAG)
    with RowStore(Path(out)) as store, model.connected(books) as api:
        mark = pair_mark(pair_files(model.pair)) if model.pair else ""
        keyed = [(row, "" if isinstance(row, BrokenRow) else model.key(row, api, mark)) for row in read]
        plan = PlannedBatch(keyed, _units(keyed, store, retry=how.retry_failed), api, books)
        return _Run(model, how, store, plan, Path(out))(watch(plan))


def _usual(model: BatchModel) -> Steering:
    return Steering() if model.recipe is None else Steering(**model.recipe.with_knobs({}))


def _units(rows: Sequence[KeyedRow], store: RowStore, *, retry: bool) -> list[BatchUnit]:
    """What has no answer yet, each question once. retry: also what failed before."""
    units: dict[str, BatchUnit] = {}
    for row, key in rows:
        kept = store[key]
        if isinstance(row, BatchRow) and (kept is None or (retry and kept.error)):
            units.setdefault(key, BatchUnit(key, row))
    return list(units.values())


@final
@dataclass(slots=True)
class _Run:
    """One pass over what has no answer yet."""

    model: BatchModel
    options: BatchOptions
    store: RowStore
    plan: PlannedBatch
    folder: Path
    asked: list[KeptRow] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)
    streak: FailureStreak = field(default_factory=lambda: FailureStreak(_HOPELESS))

    def __call__(self, tick: Callable[[KeptRow], object]) -> BatchSummary:
        began, since, stopped = time.perf_counter(), now().date().isoformat(), None
        try:
            if self.plan.units:
                self._ask(tick)
        except BlackboxProxyError as error:
            stopped = error
        finally:
            file, refused = self._written()
        summary = replace(self._summary(since), file=file, stopped=stopped or refused)
        return replace(summary, seconds=time.perf_counter() - began)

    def _ask(self, tick: Callable[[KeptRow], object]) -> None:
        """Ask what has no answer. Raises what ends a run; those rows that are under way then are finished first."""
        with self._engine() as asks:
            queue = deque(self.plan.units)
            posts = [(queue, self._keeping(ask, tick)) for ask in asks]
            work_through(posts, stop=threading.Event(), name="batch")

    def _keeping(self, ask: Ask, tick: Callable[[KeptRow], object]) -> Callable[[BatchUnit], object]:
        """Has a unit answered, and keeps what came."""

        def through(unit: BatchUnit) -> None:
            kept = ask(unit)
            self.store.keep(kept)
            with self.lock:
                self.asked.append(kept)
                tick(kept)
            self.streak.note(kept.error if kept.outage else "")

        return through

    @contextmanager
    def _engine(self) -> Iterator[Sequence[Ask]]:
        how = self.options
        if how.engine == "ray":
            plan = RowPlan(self.model, how.parallel)
            with (
                ray_cluster(how.cluster),
                actors(plan, self.plan.ledger, how.cluster, failed=_failed_row, most=how.parallel or MOST) as asks,
            ):
                yield asks
            return
        with opened(self.model, self.plan.api, how.parallel) as answerer:
            yield [answerer.answer] * answerer.at_once

    def _written(self) -> tuple[Path | None, BlackboxProxyError | None]:
        """Write the file of answers from all that is kept; the file, or why there is none."""
        columns = {"answer": COLUMNS, "choose": CHOSEN, "score": SCORED}[self.model.task]
        try:
            return write_answers(self.folder, self._answers(), columns=columns, form=self.options.form), None
        except InputError as error:
            return None, error

    def _answers(self) -> Iterator[RowAnswer]:
        for row, key in self.plan.rows:
            kept = KeptRow("", error=row.error) if isinstance(row, BrokenRow) else self.store[key]
            if kept is not None:
                yield RowAnswer(row.id, row.where, kept)

    def _summary(self, since: str) -> BatchSummary:
        """What it came to. since: the day on which it began."""
        kinds = Counter("failed" if one.kept.error else "answered" for one in self._answers())
        calls, cost, unpriced = self._spent(since)
        rows, asked = len(self.plan.rows), len(self.asked)
        pending = rows - kinds.total()
        return BatchSummary(rows, kinds["answered"], kinds["failed"], pending, asked, calls, cost, unpriced)

    def _spent(self, since: str) -> tuple[int, Decimal, int]:
        """Requests of this run, their dollars as far as these are known, and of how many they are not."""
        ledger = self.plan.ledger
        if ledger is None:
            costs = [one.cost for one in self.asked if one.calls]
            calls = sum(one.calls for one in self.asked)
            return calls, _known(costs), sum(one.calls for one in self.asked if one.cost is None)
        booked = [row.cost for row in ledger.store.rows(since=since) if row.tags.get(TAG) == ledger.tags[TAG]]
        return len(booked), _known(booked), booked.count(None)


def _failed_row(unit: BatchUnit, why: str) -> KeptRow:
    return KeptRow(unit.key, error=why)


def _known(costs: Sequence[Decimal | None]) -> Decimal:
    return sum((cost for cost in costs if cost is not None), Decimal(0))
