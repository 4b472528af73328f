"""`evaluate` by actors of Ray: the same answers under the same keys as in one process, within the same budgets."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from blackbox_proxy.ledger.rows import LedgerRow
from blackbox_proxy.standin import Traffic, running
from blackbox_proxy.testing.tiny_models import write_tiny_pair
from tests.batching.processes import RAY, SECONDS, environ, kill_all, pids, write_prices
from tests.batching.worlds import booked
from tests.cli.runs import PROGRAM
from tests.evaluation.tasks import written
from tests.tiny_gguf import write_tiny_llama

pytestmark = [pytest.mark.slow, RAY]

ACTORS = ("--engine", "ray", "--actors", "2")
LOCAL_ARMS = {"anti_expert", "expert"}
UNSETTLED = ("seconds", "local", "cached", "cost")
"""Fields of an answer that say how long it took, and what the API's cache had: that depends on what it read before."""


@dataclass(frozen=True, slots=True)
class EvaluateCommand:
    """A run of the command on the same task, again and again. mark: of its processes. traffic: counts the requests."""

    folder: Path
    arguments: tuple[str, ...]
    mark: str
    traffic: Traffic

    def start(self, *more: str) -> subprocess.Popen[str]:
        command = [*PROGRAM, "evaluate", *self.arguments, *more]
        where = environ(self.folder, self.mark)
        return subprocess.Popen(command, env=where, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE)

    def finish(self, *more: str, status: int = 0) -> tuple[str, str]:
        """Run it to its end; what it printed, and what it said beside that."""
        with self.start(*more) as process:
            said, error = process.communicate(timeout=SECONDS)
        assert process.returncode == status, error + said
        assert "Traceback" not in error
        return said, error

    def figures(self, *more: str) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.finish("--json", *more)[0])["towns"]
        return found

    def kept(self) -> list[dict[str, Any]]:
        """What is kept, in the order in which it came."""
        path = self.folder / "answers" / "towns.jsonl"
        return [json.loads(line) for line in path.read_text("utf-8").splitlines()] if path.exists() else []

    def answers(self) -> dict[str, dict[str, Any]]:
        """What is kept, by its key, without UNSETTLED. Nothing is kept twice."""
        kept = self.kept()
        by_key = {one["key"]: {name: one[name] for name in one if name not in UNSETTLED} for one in kept}
        assert len(by_key) == len(kept)
        return by_key

    def booked(self) -> list[LedgerRow]:
        return booked(self.folder / "state" / "blackbox-proxy" / "ledger.sqlite")


@contextmanager
def evaluations(folder: Path, *, quirks: tuple[str, ...] = ()) -> Iterator[EvaluateCommand]:
    """The command against a hosted model of random weights; at its end no process of it is there any more."""
    folder.mkdir(exist_ok=True)
    write_prices(folder)
    (folder / "pair").mkdir()
    pair = write_tiny_pair(folder / "pair")
    closed = write_tiny_llama(folder / "closed.gguf", seed=5).path
    task = written(folder / "towns")
    traffic = Traffic()
    with running(closed, name="tiny", slots=4, traffic=traffic, quirks=quirks) as url:
        asked = (str(task), "--base-url", url, "--model", "tiny", "--pair", str(pair))
        command = EvaluateCommand(folder, (*asked, "--answers", str(folder / "answers")), uuid.uuid4().hex, traffic)
        try:
            yield command
        finally:
            kill_all(command.mark)


def test_actors_give_the_answers_and_the_scores_of_one_process(tmp_path: Path) -> None:
    """Every arm, the choice of alpha, and the places where the steered arm is wrong."""
    with evaluations(tmp_path / "evaluation") as command:
        here = command.figures("--tune-alpha", "--others", "2")
        answers, requests = command.answers(), command.traffic.total
        (command.folder / "answers" / "towns.jsonl").unlink()
        there = command.figures("--tune-alpha", "--others", "2", *ACTORS)
        again = command.answers()
        assert again.keys() == answers.keys()
        differing = {
            (one["arm"], name) for key, one in again.items() for name in one if one[name] != answers[key][name]
        }
        assert differing == set()
        assert command.traffic.total == 2 * requests == len(command.booked())
    assert {one["arm"] for one in answers.values()} >= {"in_place", "steered", "closed", *LOCAL_ARMS}
    assert len({one["text"] for one in answers.values()}) > 4
    assert there.keys() == here.keys()
    scored = ("n", "score", "low", "high", "errors", "in_form", "exactness", "calls_per_answer")
    for arm in {one["arm"] for one in answers.values()} & here.keys():
        assert [(name, there[arm].get(name)) for name in scored] == [(name, here[arm].get(name)) for name in scored]
    assert there["tests"] == here["tests"]


def test_a_run_goes_on_with_the_other_engine_and_asks_nothing_twice(tmp_path: Path) -> None:
    with evaluations(tmp_path / "evaluation") as command:
        _, error = command.finish("--limit", "1")
        assert "actors" not in error
        first, requests = command.answers(), command.traffic.total
        _, error = command.finish(*ACTORS)
        assert "starting 2 actors of Ray on this machine" in error
        assert "answered in this process, since they call no hosted model: anti_expert, expert" in error
        every = command.answers()
        assert first.items() < every.items()
        assert requests < command.traffic.total == len(command.booked())
        assert len({row.tags["evaluation"] for row in command.booked()}) == 2
        requests = command.traffic.total
        assert "actors" not in command.finish(*ACTORS)[1], "actors are started with nothing to ask"
        command.finish()
        assert command.answers() == every
        assert command.traffic.total == requests


def test_a_budget_holds_for_all_actors_together(tmp_path: Path) -> None:
    with evaluations(tmp_path / "evaluation") as command:
        _, error = command.finish("--max-calls", "6", "--parallel", "2", *ACTORS, status=1)
        assert "error: the budget of 6 calls per " in error
        assert len(command.booked()) == command.traffic.total == 6
        before = command.answers()
        assert before
        assert not any(one["error"] for one in before.values())
        command.finish(*ACTORS)
        assert before.items() < command.answers().items()


def test_an_actor_that_dies_loses_no_answer(tmp_path: Path) -> None:
    with evaluations(tmp_path / "evaluation", quirks=("latency=0.3",)) as command:
        with command.start("--json", *ACTORS) as process:
            calls = 0
            while calls < 3 and process.poll() is None:
                calls = sum(one["calls"] > 0 for one in command.kept())
                time.sleep(0.01)
            os.kill(pids(command.mark, "ray::PairActor")[0], signal.SIGKILL)
            said, error = process.communicate(timeout=SECONDS)
        assert process.returncode == 0, error + said
        assert not any(one["error"] for one in command.answers().values())
        requests = command.traffic.total
        command.finish("--json")
        assert command.traffic.total == requests, "an answer was lost"
