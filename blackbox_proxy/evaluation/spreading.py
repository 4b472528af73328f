"""An evaluation's questions, answered by actors of Ray: each opens the endpoint and a pair of its own.

What is answered, and what it is kept under, is as in one process (`answering`), so that a run may go on with either.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from types import TracebackType
from typing import Any, Self, final

from blackbox_proxy.actors import RayCluster, actors, ray_cluster
from blackbox_proxy.api import connect
from blackbox_proxy.errors import InputError
from blackbox_proxy.evaluation.answering import AskBench, Bench, BenchQuestion, ask_here
from blackbox_proxy.evaluation.answers import KeptAnswer
from blackbox_proxy.evaluation.run import Spread
from blackbox_proxy.evaluation.task import Task
from blackbox_proxy.ledger.books import Ledger
from blackbox_proxy.local.loading import pair_files, pair_mark
from blackbox_proxy.local.pair import open_pair


@final
@dataclass(frozen=True, slots=True)
class OpenBench:
    """What an actor answers with. at_once: questions under way at a time."""

    bench: Bench
    at_once: int

    def answer(self, question: BenchQuestion) -> KeptAnswer:
        """What came of a question. Raises as `answering.answer`."""
        return ask_here(self.bench, question)


@final
@dataclass(frozen=True, slots=True)
class BenchPlan:
    """What an evaluation is answered with, described so that any process can open it.

    Attributes:
        task: The task.
        endpoint: Arguments of `connect`; never shown, since a key may be among them.
        pair: The pair file, or its name.
        where: As of `Bench`.
        pair_mark: As of `Bench`: what `pair` has to be where it is opened.
        tuned: Arguments of `connect` for a directly tuned model; None without one.
        at_once: Questions under way at a time, in each process.
    """

    task: Task
    endpoint: Mapping[str, Any] = field(repr=False)
    pair: str
    where: str
    pair_mark: str
    tuned: Mapping[str, Any] | None = field(default=None, repr=False)
    at_once: int = 1

    @contextmanager
    def opened(self, ledger: Ledger | None) -> Iterator[OpenBench]:
        """Open it. Raises InputError where the pair is another one here."""
        with ExitStack() as stack:
            api = stack.enter_context(connect(**self.endpoint, ledger=ledger))
            tuned = None if self.tuned is None else stack.enter_context(connect(**self.tuned, ledger=ledger))
            files = pair_files(self.pair)
            if pair_mark(files) != self.pair_mark:
                raise InputError(
                    f"the pair {self.pair} has other files where an actor runs than where the evaluation was started",
                    hint="put the same files at the same place on each machine",
                )
            pair = stack.enter_context(open_pair(files))
            bench = Bench(self.task, api, pair, self.where, self.pair_mark, tuned)
            yield OpenBench(bench, self.at_once)


@final
@dataclass(slots=True)
class ActorsOfRun:
    """Actors for the tasks of a run: for each task its own, on one cluster.

    Nothing is started before a question has to be asked. Use it in a `with` block.

    Attributes:
        cluster: Where actors run.
        endpoint: As of `BenchPlan`.
        tuned: As of `BenchPlan`.
        ledger: Where requests are booked; None for nowhere.
        at_once: Questions under way at a time, in each actor.
        note: Told in words what is started, and what is answered in this process all the same.
    """

    cluster: RayCluster
    endpoint: Mapping[str, Any] = field(repr=False)
    tuned: Mapping[str, Any] | None = field(repr=False)
    ledger: Ledger | None
    at_once: int
    note: Callable[[str], object]
    _connection: ExitStack = field(default_factory=ExitStack)
    _connected: bool = False
    _said: set[str] = field(default_factory=set)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._connection.close()

    @contextmanager
    def spread(self, bench: Bench, pair: str) -> Iterator[Spread]:
        """Actors for a task, which end with the block. bench: with what this process answers. pair: its file."""
        plan = BenchPlan(
            bench.task, self.endpoint, pair, bench.where, bench.pair_mark, tuned=self.tuned, at_once=self.at_once
        )
        started: list[AskBench] = []

        def failed(question: BenchQuestion, why: str) -> KeptAnswer:
            return replace(question.blank(bench), error=why)

        with ExitStack() as stack:

            def asks(staying: Sequence[str]) -> Sequence[AskBench]:
                self._say(staying)
                if not started:
                    self._connect()
                    opened = actors(plan, self.ledger, self.cluster, failed=failed, most=self.at_once)
                    started.extend(stack.enter_context(opened))
                return started

            yield asks

    def _connect(self) -> None:
        """Reach the cluster, the first time."""
        if not self._connected:
            where = self.cluster.address or "this machine"
            self.note(f"starting {self.cluster.actors} actors of Ray on {where}, each with a pair of its own")
            self._connection.enter_context(ray_cluster(self.cluster))
            self._connected = True

    def _say(self, staying: Sequence[str]) -> None:
        """Say which arms are answered here, the first time."""
        text = ", ".join(staying)
        if text and text not in self._said:
            self._said.add(text)
            self.note(f"answered in this process, since they call no hosted model: {text}")
