"""Lets many callers share one evaluator: their questions are evaluated together, by a thread of its own.

While one batch is being evaluated others arrive; all of them are in the next one. Knows no tokens.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import final

from blackbox_proxy.errors import LocalModelError
from blackbox_proxy.local.evaluator import EvaluationJob, EvaluationLoad, Evaluator
from blackbox_proxy.types import Logits, TokenPath

CLOSED = "the pair is closed"
OPEN_IT = "ask while it is open; `with open_pair(...)` closes it at its end"


@final
class Scheduler:
    """An evaluator with its thread. Close it before the context; whoever still waits then gets an error."""

    def __init__(self, evaluator: Evaluator, *, name: str) -> None:
        self._evaluator = evaluator
        self._pool = ThreadPoolExecutor(1, name)
        self._lock = threading.Lock()
        self._arrived: list[tuple[EvaluationJob, Future[list[Logits]]]] = []
        self._working = self._closed = False

    @property
    def load(self) -> EvaluationLoad:
        """What was evaluated so far."""
        return self._evaluator.load

    def submit(self, paths: Sequence[TokenPath], *, owner: object = None) -> Future[list[Logits]]:
        """The rows that `Evaluator` gives for the paths, once they are there.

        owner: whose text it is, told by identity, so that it goes on where it was. Raises PromptError where a path does
        not fit into the context, LocalModelError after `close()`. A future that is cancelled costs no evaluation that
        has not begun.
        """
        job = self._evaluator.job(paths, owner=owner)
        future: Future[list[Logits]] = Future()
        if job.done:
            future.set_result([])
            return future
        with self._lock:
            self._check_open()
            self._arrived.append((job, future))
            if not self._working:
                self._working = True
                self._pool.submit(self._work)
        return future

    def clear(self) -> None:
        """Forget everything that was read, as soon as nobody waits."""
        with self._lock:
            self._check_open()
            done = self._pool.submit(self._evaluator.clear)
        done.result()

    def close(self) -> None:
        """End after the batch that is being evaluated; harmless when called twice."""
        with self._lock:
            self._closed = True
        self._pool.shutdown()

    def _check_open(self) -> None:
        if self._closed:
            raise LocalModelError(CLOSED, hint=OPEN_IT)

    def _work(self) -> None:
        """Evaluate until nobody waits."""
        promised: dict[EvaluationJob, Future[list[Logits]]] = {}
        while self._take(promised):
            try:
                for job in self._evaluator.turn():
                    _keep(job, promised.pop(job))
            except Exception as error:  # noqa: BLE001 (whatever it is: those who wait must hear of it)
                self._evaluator.clear()
                _break(promised.values(), f"the evaluation broke off: {error!r}", hint="try again")
                promised.clear()

    def _take(self, promised: dict[EvaluationJob, Future[list[Logits]]]) -> bool:
        """Take in what has arrived; whether there is anything to be done."""
        with self._lock:
            arrived = [(job, future) for job, future in self._arrived if future.set_running_or_notify_cancel()]
            self._arrived.clear()
            promised.update(arrived)
            if not self._closed:
                for job, _ in arrived:
                    self._evaluator.add(job)
                self._working = bool(promised)
                return self._working
        _break(promised.values(), CLOSED, hint=OPEN_IT)
        return False


def _keep(job: EvaluationJob, future: Future[list[Logits]]) -> None:
    """Keep the promise of a job that is done."""
    if job.error is None:
        future.set_result(job.rows)
    else:
        future.set_exception(job.error)


def _break(futures: Iterable[Future[list[Logits]]], message: str, *, hint: str) -> None:
    """An error for each, since each caller writes into its own what it has so far."""
    for future in futures:
        future.set_exception(LocalModelError(message, hint=hint))
