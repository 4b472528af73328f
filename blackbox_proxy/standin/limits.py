"""A limit on requests per time, and the headers that say how much of it is left. Knows no HTTP but their names."""

from __future__ import annotations

import math
import time
from collections import deque
from collections.abc import Callable
from typing import final

Headers = dict[str, str]


@final
class Limit:
    """At most so many requests within any so many seconds. clock: seconds since some fixed moment."""

    def __init__(self, most: int, seconds: float, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._most = most
        self._seconds = seconds
        self._clock = clock
        self._admitted: deque[float] = deque()

    def admit(self) -> float | None:
        """Count a request; or give the seconds after which one will be let in again."""
        now = self._clock()
        while self._admitted and self._admitted[0] <= now - self._seconds:
            self._admitted.popleft()
        if len(self._admitted) < self._most:
            self._admitted.append(now)
            return None
        first = self._admitted[0] if self._admitted else now
        return min(first + self._seconds - now, self._seconds)  # rounding may say a little more

    def headers(self, wait: float | None) -> Headers:
        """As OpenAI tells them: the limit, what is left of it, and when all of it is there again."""
        until = self._admitted[-1] + self._seconds - self._clock() if self._admitted else 0.0
        headers = {
            "x-ratelimit-limit-requests": str(self._most),
            "x-ratelimit-remaining-requests": str(self._most - len(self._admitted)),
            "x-ratelimit-reset-requests": duration(until),
        }
        return headers if wait is None else {**headers, "retry-after": str(math.ceil(wait))}


def duration(seconds: float) -> str:
    """As Go writes it.

    >>> duration(0.25), duration(1), duration(61.5), duration(3600)
    ('250ms', '1s', '1m1.5s', '1h0m0s')
    """
    milliseconds = max(round(seconds * 1000), 0)
    if milliseconds < 1000:
        return f"{milliseconds}ms"
    minutes, rest = divmod(milliseconds, 60_000)
    hours, minutes = divmod(minutes, 60)
    before = f"{hours}h{minutes}m" if hours else f"{minutes}m" if minutes else ""
    return f"{before}{rest / 1000:g}s"
