"""What was recorded is replayed: equal results to the last float and cent, without a network, whoever asks and when."""

from __future__ import annotations

import socket
from collections import Counter
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path

import pytest

from blackbox_proxy.cassettes.matching import Replay
from blackbox_proxy.cassettes.reading import rows_of
from blackbox_proxy.cassettes.recording import Recorder
from blackbox_proxy.ledger.report import figures
from tests.cassettes.bench import ALL, TapeBench, drawn_runs, exactly, no_network, taped_bench
from tests.fault_bench import DRIVERS
from tests.ledger.toys import opened


@pytest.fixture(scope="module")
def bench() -> Iterator[TapeBench]:
    with taped_bench() as opened_bench:
        yield opened_bench


def test_sockets_are_blocked_where_that_is_said() -> None:
    with no_network(), pytest.raises(Exception, match="socket"):
        socket.socket(socket.AF_INET)
    socket.socket(socket.AF_INET).close()


def check_runs(bench: TapeBench, folder: Path, *, count: int, seed: int, ending: str, prompts: str = "plain") -> None:
    """Record so many runs, 8 at a time; replay them, 8 at a time and in another order, without a network."""
    path, runs = folder / f"tape{ending}", drawn_runs(count, seed=seed)
    recorded_in, replayed_in = folder / "recorded", folder / "replayed"
    recorded_in.mkdir()
    replayed_in.mkdir()
    recorder = Recorder(path, prompts=prompts)  # type: ignore[arg-type]
    with opened(recorded_in) as ledger:
        recorded = bench.answers(runs, recorder, ledger)
        spent = figures("", ledger.store.rows())
    replay = Replay(path)
    with opened(replayed_in) as ledger, no_network():
        replayed = bench.answers(runs[::-1], replay, ledger)[::-1]
        rows = list(ledger.store.rows())
    for run, before, after in zip(runs, recorded, replayed, strict=True):
        assert exactly(after) == exactly(before), run
    assert replay.unused == ()
    tape = [row for _, row in rows_of(path)]
    assert len(rows) == len(tape) == spent.requests
    assert all(row.replayed and row.cost in (None, 0) and row.reserved is None for row in rows)
    nothing = figures("", rows)
    assert (nothing.requests, nothing.cost, nothing.replayed) == (0, Decimal(0), len(rows))
    costs = [came.result.cost for came in replayed if came.result is not None and came.result.cost is not None]
    assert sum(costs, Decimal(0)) > 0
    assert sum(row.attempt > 1 for row in tape) > len(runs) / 4, "hardly anything was tried again"
    print(
        f"{len(runs)} runs, {len(tape)} attempts, {Counter(row.outcome for row in tape)}, "
        f"{sum(came.result is None or bool(came.kind) for came in recorded)} errors, {path.stat().st_size:,} bytes"
    )


@pytest.mark.parametrize("ending", [".jsonl", ".jsonl.gz"])
def test_runs_of_every_route_and_driver_are_replayed(bench: TapeBench, tmp_path: Path, ending: str) -> None:
    check_runs(bench, tmp_path, count=len(ALL) * len(DRIVERS), seed=1, ending=ending)


@pytest.mark.slow
def test_two_hundred_runs_are_replayed(bench: TapeBench, tmp_path: Path) -> None:
    check_runs(bench, tmp_path, count=200, seed=2, ending=".jsonl")
