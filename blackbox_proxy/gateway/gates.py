"""How many answers are under way at one upstream, and how many requests may wait: who comes after that is sent away."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import final

from blackbox_proxy.openai_http.fields import Refusal

WEIGHT = 0.2
"""Share of the latest answer in the mean time between the ends of two."""

LONGEST = 60
"""Most seconds that somebody is told to wait."""


@final
class AdmissionGate:
    """at_once: answers at a time. queue: requests that may wait besides those that are being answered.

    For one event loop. clock: seconds.
    """

    def __init__(self, at_once: int, queue: int, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._most = at_once + queue
        self._room = asyncio.Semaphore(at_once)
        self._clock = clock
        self._inside = self._busy = 0
        self._ended = -math.inf
        self._pace = 1.0

    @property
    def inside(self) -> int:
        """Requests that are answered or wait."""
        return self._inside

    @property
    def busy(self) -> int:
        """Answers that are made now."""
        return self._busy

    @contextmanager
    def admitted(self) -> Iterator[None]:
        """A request's whole stay. Raises Refusal (429) where too many wait already."""
        if self._inside >= self._most:
            raise Refusal(
                f"Too many requests: {self._inside} are being answered or wait. Please try again later.",
                status=429,
                code="rate_limit_exceeded",
                wait=self.wait(),
            )
        self._inside += 1
        try:
            yield
        finally:
            self._inside -= 1

    @asynccontextmanager
    async def slot(self) -> AsyncIterator[None]:
        """One answer: waits until there is room. One that fails says nothing of the pace."""
        async with self._room:
            began = self._clock()
            self._busy += 1
            try:
                yield
            finally:
                self._busy -= 1
            now = self._clock()
            self._pace += WEIGHT * (now - max(began, self._ended) - self._pace)
            self._ended = now

    def wait(self) -> int:
        """Seconds until those that wait are done, as answers end at present: that may be slower than `at_once` says."""
        return min(max(1, math.ceil(self._pace * (self._inside - self._busy))), LONGEST)
