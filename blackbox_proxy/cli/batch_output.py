"""What a batch shows: what it is expected to cost, how far it is, and what it came to."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from decimal import Decimal
from typing import final

from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn

from blackbox_proxy.batching.answers import KeptRow
from blackbox_proxy.batching.batch import BatchSummary, PlannedBatch
from blackbox_proxy.batching.rows import BrokenRow
from blackbox_proxy.cli import show
from blackbox_proxy.core.money.amounts import plain, rounded
from blackbox_proxy.core.money.estimating import Work

LINES = 10
"""Lines of progress where there is no terminal."""


def opening(plan: PlannedBatch, work: Work | None) -> None:
    """What is to be done, and what that is expected to take; work: None where nobody knows."""
    broken = sum(isinstance(row, BrokenRow) for row, _ in plan.rows)
    total, asked = len(plan.rows), len(plan.units)
    show.note(f"{total:,} rows: {asked:,} questions to ask; {broken:,} rows cannot be asked, and their answers say why")
    if work is None or not asked:
        return
    price = "at unknown cost" if work.cost is None else f"about {plain(rounded(work.cost))} USD"
    show.note(
        f"expected, with answers of full length: {work.calls:,.0f} calls, {work.input:,.0f} tokens in, "
        f"{work.output:,.0f} out, {price}; --max-cost and --max-calls limit that"
    )


@final
@dataclass(slots=True)
class BatchPace:
    """How far a run is. total: questions. clock: seconds."""

    total: int
    clock: Callable[[], float] = time.monotonic
    done: int = 0
    failed: int = 0
    spent: Decimal = Decimal(0)
    unpriced: int = 0
    began: float = field(init=False)

    def __post_init__(self) -> None:
        self.began = self.clock()

    def take(self, kept: KeptRow) -> None:
        """An answer came, or an error in its place."""
        self.done += 1
        self.failed += bool(kept.error)
        self.unpriced += kept.cost is None
        self.spent += kept.cost or 0

    @property
    def words(self) -> str:
        """Rows a second, dollars so far and to come, and the time to come, as far as these are known."""
        seconds = self.clock() - self.began
        pace = self.done / seconds if seconds > 0 else 0.0
        rest = self.total - self.done
        duration = f"{rest / pace:,.0f} s to come" if pace else ""
        failed = f"{self.failed:,} failed" if self.failed else ""
        return "; ".join(part for part in (f"{pace:.1f} rows/s", self._dollars(rest), duration, failed) if part)

    def _dollars(self, rest: int) -> str:
        if self.unpriced or not self.done:
            return "cost unknown" if self.unpriced else ""
        to_come = rounded(self.spent / self.done * rest)
        return f"{plain(rounded(self.spent))} USD so far, about {plain(to_come)} USD to come"


@contextmanager
def pacing(total: int, *, quiet: bool) -> Iterator[Callable[[KeptRow], object]]:
    """Progress on standard error: a bar on a terminal, elsewhere a line at each tenth."""
    pace = BatchPace(total)
    columns = (SpinnerColumn(), BarColumn(), MofNCompleteColumn(), TextColumn("{task.fields[words]}"))
    with Progress(*columns, console=show.err, transient=True, disable=not show.err.is_terminal) as bar:
        task = bar.add_task("batch", total=total, words="")

        def tick(kept: KeptRow) -> None:
            pace.take(kept)
            bar.update(task, advance=1, words=pace.words)
            tenth = pace.done * LINES // total > (pace.done - 1) * LINES // total
            if tenth and not quiet and not show.err.is_terminal:
                show.note(f"{pace.done:,} of {total:,}: {pace.words}")

        yield tick


def closing(summary: BatchSummary) -> None:
    """What a run came to."""
    counts = {"answered": summary.answered, "failed": summary.failed, "pending": summary.pending}
    show.line(f"{summary.rows:,} rows: " + ", ".join(f"{count:,} {what}" for what, count in counts.items()))
    unknown = f" and that of {summary.unpriced:,}, which is unknown" if summary.unpriced else ""
    show.line(
        f"this run: {summary.asked:,} questions, {summary.calls:,} calls, cost {plain(summary.cost)} USD{unknown}; "
        f"{summary.seconds:.1f} s"
    )
    if summary.file is not None:
        show.line(f"answers: {summary.file}")


def summary_json(summary: BatchSummary) -> dict[str, object]:
    """What a run came to, as one JSON object."""
    stopped = summary.stopped
    return {
        "rows": summary.rows,
        "answered": summary.answered,
        "failed": summary.failed,
        "pending": summary.pending,
        "asked": summary.asked,
        "calls": summary.calls,
        "cost": plain(summary.cost) if not summary.unpriced else None,
        "known_cost": plain(summary.cost),
        "unpriced": summary.unpriced,
        "seconds": round(summary.seconds, 3),
        "answers": None if summary.file is None else str(summary.file),
        **({} if stopped is None else {"stopped": {"type": type(stopped).__name__, "message": stopped.message}}),
    }
