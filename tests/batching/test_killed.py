"""Many rows, in this process and by two actors of Ray: no row is lost or doubled, whatever is killed.

BATCH_ROWS and BATCH_KILLS make it longer, as 2000 and 20.
"""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import time
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from blackbox_proxy.standin import running
from tests.batching.processes import RAY, SECONDS, environ, kill_all, marked, pids, write_prices
from tests.batching.worlds import BatchWorld, answers, booked, right, rows_of, world, write_rows
from tests.cli.runs import PROGRAM
from tests.tiny_gguf import write_tiny_llama

ROWS = int(os.environ.get("BATCH_ROWS", "120"))
KILLS = int(os.environ.get("BATCH_KILLS", "3"))
AT_ONCE = 4
CALLS = 2
"""Requests that a scripted answer takes at most."""

ENGINES = {
    "local": ("--parallel", str(AT_ONCE)),
    "ray": ("--engine", "ray", "--actors", "2", "--parallel", str(AT_ONCE // 2)),
}
BOTH = pytest.mark.parametrize("engine", ["local", pytest.param("ray", marks=RAY)])

pytestmark = pytest.mark.slow


@dataclass(frozen=True, slots=True)
class BatchCommand:
    """A run of the command on the same rows, again and again. mark: of its processes."""

    folder: Path
    arguments: Sequence[str]
    mark: str

    @property
    def out(self) -> Path:
        return self.folder / "out"

    @property
    def ledger(self) -> Path:
        return self.folder / "state" / "blackbox-proxy" / "ledger.sqlite"

    def environ(self) -> Mapping[str, str]:
        return environ(self.folder, self.mark)

    def start(self) -> subprocess.Popen[bytes]:
        command = [*PROGRAM, "batch", *self.arguments, "--out", str(self.out), "--json"]
        return subprocess.Popen(command, env=self.environ(), stdout=subprocess.PIPE, stderr=subprocess.PIPE)

    def finish(self) -> dict[str, Any]:
        """Run it to its end; what it came to."""
        with self.start() as process:
            said, error = process.communicate(timeout=SECONDS)
        assert process.returncode == 0, error.decode() + said.decode()
        summary: dict[str, Any] = json.loads(said)
        return summary

    def kept(self) -> int:
        """How many answers are on the disk."""
        path = self.out / "kept.jsonl"
        return path.read_bytes().count(b"\n") if path.exists() else 0

    def pids(self, name: str) -> list[int]:
        """This run's processes of a name."""
        return pids(self.mark, name)


@contextmanager
def batches(served: BatchWorld, folder: Path, engine: str, rows: Path) -> Iterator[BatchCommand]:
    """The command; at its end no process of it is there any more."""
    write_prices(folder)
    asked = (str(rows), "--base-url", served.url, "--model", "tiny", "--pair", str(served.pair))
    knobs = ("--alpha", "0.5", "--max-tokens", "4", *ENGINES[engine])
    command = BatchCommand(folder, (*asked, *knobs), uuid.uuid4().hex)
    try:
        yield command
    finally:
        kill_all(command.mark)


def check_answers(command: BatchCommand, count: int) -> None:
    """Every row has its own answer, once; nothing is kept twice."""
    given = answers(command.out)
    assert [row["id"] for row in given] == [f"r{number}" for number in range(count)]
    assert [row["text"] for row in given] == [right(number) for number in range(count)]
    assert {row["error"] for row in given} == {None}
    keys = [json.loads(line)["key"] for line in (command.out / "kept.jsonl").read_text(encoding="utf-8").splitlines()]
    assert len(keys) == len(set(keys)) == count


@BOTH
def test_all_rows_have_their_answers(tmp_path: Path, engine: str) -> None:
    rows = write_rows(tmp_path / "rows.jsonl", rows_of(ROWS))
    with world(tmp_path, ROWS) as served, batches(served, tmp_path, engine, rows) as command:
        summary = command.finish()
        check_answers(command, ROWS)
        ledger = booked(command.ledger)
        assert summary["calls"] == len(ledger) == served.traffic.total
        assert Decimal(summary["cost"]) == sum(row.cost for row in ledger if row.cost is not None)
        assert sum(Decimal(row["cost_usd"]) for row in answers(command.out)) == Decimal(summary["cost"])
        again = command.finish()
        assert (again["asked"], again["calls"]) == (0, 0)
        assert served.traffic.total == len(ledger)


@BOTH
def test_whatever_is_killed_the_end_is_the_same(tmp_path: Path, engine: str) -> None:
    """Killed at random numbers of kept answers: the driver, and of Ray's processes now and then an actor."""
    chance = random.Random(engine)
    rows = write_rows(tmp_path / "rows.jsonl", rows_of(ROWS))
    points = sorted(chance.sample(range(1, ROWS - 1), KILLS))
    killed = {"driver": 0, "actor": 0}
    with world(tmp_path, ROWS) as served, batches(served, tmp_path, engine, rows) as command:
        process = command.start()
        try:
            for point in points:
                if not reached(command, process, point):
                    break
                actors = command.pids("ray::PairActor")
                if actors and chance.random() < 0.5:
                    os.kill(chance.choice(actors), signal.SIGKILL)
                    killed["actor"] += 1
                    continue
                process.kill()
                process.communicate()
                killed["driver"] += 1
                process = command.start()
            said, error = process.communicate(timeout=SECONDS)
        finally:
            process.kill()
        assert process.returncode == 0, error.decode() + said.decode()
        check_answers(command, ROWS)
        requests = served.traffic.total
        most = CALLS * (ROWS + AT_ONCE * sum(killed.values()))
        print(f"{engine}: killed {killed}, {requests} requests for {ROWS} rows, {most} at most")
        assert requests <= most, "more was asked again than what was under way"
        assert len(booked(command.ledger)) >= requests
    assert sum(killed.values()) > KILLS // 2


def reached(command: BatchCommand, process: subprocess.Popen[bytes], count: int) -> bool:
    """Wait until so many answers are kept; False where the run ended before."""
    while command.kept() < count:
        if process.poll() is not None:
            return False
        time.sleep(0.01)
    return True


@RAY
def test_a_cluster_that_goes_away_ends_the_run_and_the_next_goes_on(tmp_path: Path) -> None:
    rows = write_rows(tmp_path / "rows.jsonl", rows_of(60))
    with world(tmp_path, 60, quirks=["latency=1"]) as served, batches(served, tmp_path, "ray", rows) as command:
        process = command.start()
        assert reached(command, process, 5)
        (raylet,) = [pid for pid, shown in marked(command.mark) if shown.split()[0].endswith("/raylet")]
        os.kill(raylet, signal.SIGKILL)
        said, error = process.communicate(timeout=SECONDS)
        assert process.returncode == 1, error.decode() + said.decode()
        assert b"Traceback" not in error
        (line,) = [one for one in said.splitlines() if one.startswith(b'{"rows"')]  # Ray prints of its death, too
        summary = json.loads(line)
        assert summary["stopped"]["type"] == "ClusterLost"
        assert (summary["failed"], summary["answered"]) == (0, len(answers(command.out)))
        assert 5 <= summary["answered"] == command.kept()
        assert command.finish()["asked"] == 60 - summary["answered"]
        check_answers(command, 60)


@RAY
def test_actors_answer_as_this_process_does(tmp_path: Path) -> None:
    """Over a model of random weights, whose tokens are not certain, so that the pair has a say."""
    rows = write_rows(tmp_path / "rows.jsonl", rows_of(12))
    closed = write_tiny_llama(tmp_path / "closed.gguf", seed=5).path
    texts: dict[str, list[str]] = {}
    with running(closed, name="tiny", slots=2) as url, world(tmp_path, 1) as scripted:
        served = BatchWorld(url, scripted.traffic, scripted.pair)
        for engine in ENGINES:
            place = tmp_path / engine
            place.mkdir()
            with batches(served, place, engine, rows) as command:
                command.finish()
                texts[engine] = [row["text"] for row in answers(command.out)]
    assert texts["ray"] == texts["local"]
    assert len(set(texts["local"])) > 1


@RAY
def test_a_cluster_that_is_not_there_is_said(tmp_path: Path) -> None:
    rows = write_rows(tmp_path / "rows.jsonl", rows_of(2))
    with world(tmp_path, 2) as served, batches(served, tmp_path, "ray", rows) as command:
        process = subprocess.run(
            [*PROGRAM, "batch", *command.arguments, "--out", str(command.out), "--address", "127.0.0.1:9"],
            env=command.environ(),
            capture_output=True,
            text=True,
            timeout=SECONDS,
            check=False,
        )
        assert process.returncode == 1, process.stderr
        assert "error: cannot use the Ray cluster 127.0.0.1:9" in process.stderr
        assert "2 rows: 0 answered, 0 failed, 2 pending" in process.stdout
        assert "Traceback" not in process.stderr
