"""Threads that take work from queues until there is none, and what ends them before.

Knows no question and no answer.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TypeVar, final

from blackbox_proxy.errors import BlackboxProxyError

FAILURES = 5
"""So many errors one after another, without an answer between them, end a run: the next will not be better."""

JOIN_SECONDS = 10.0
"""Seconds that a run which is stopped waits for what is under way."""

_Unit = TypeVar("_Unit")


class Hopeless(BlackboxProxyError):
    """Errors without an answer between them."""


def work_through(
    posts: Sequence[tuple[deque[_Unit], Callable[[_Unit], object]]], *, stop: threading.Event, name: str
) -> None:
    """Have a thread for each post take units from its queue until there are none, and wait for all of them.

    Args:
        posts: For each thread its queue, which others may share, and what it does with a unit.
        stop: Set where no further unit is to be taken: by whoever wants that, or by an error.
        name: Of the threads.

    Raises:
        BaseException: The first that a thread raised, when the others have done what they had begun; or an interrupt,
            after JOIN_SECONDS at most.
    """
    broken: list[BaseException] = []

    def take(queue: deque[_Unit], do: Callable[[_Unit], object]) -> None:
        try:
            while not stop.is_set():
                try:
                    unit = queue.popleft()
                except IndexError:
                    return
                do(unit)
        except BaseException as error:  # noqa: BLE001 (it is raised in the thread that waits)
            broken.append(error)
            stop.set()

    threads = [threading.Thread(target=take, args=post, name=name, daemon=True) for post in posts]
    for thread in threads:
        thread.start()
    try:
        for thread in threads:
            thread.join()
    except BaseException:
        stop.set()
        for thread in threads:
            thread.join(JOIN_SECONDS)
        raise
    if broken:
        raise broken[0]


@final
@dataclass(slots=True)
class FailureStreak:
    """How many questions failed one after another; safe from several threads. hint: what to do where it ends a run."""

    hint: str
    _count: int = 0
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def note(self, error: str) -> None:
        """Count an answer (""), or an error in its place. Raises Hopeless at the last of FAILURES."""
        with self._lock:
            self._count = self._count + 1 if error else 0
            if self._count >= FAILURES:
                raise Hopeless(f"{FAILURES} questions failed one after another: {error}", hint=self.hint)
