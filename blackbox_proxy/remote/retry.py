"""The one retry policy: which outcomes are tried again, and after how long.

A try may be worth repeating when its error says so (`retryable`): where the answer may be another next time. To ask
for tokens twice changes nothing but the bill, so what was lost on the way is asked for again as well. The server's own
wish (`retry-after-ms`, `retry-after`) sets the pause, else it doubles from attempt to attempt with jitter. The module
knows no network, clock or randomness: time and a draw from [0, 1) are arguments.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from typing import cast

from tenacity import Future, RetryCallState

from blackbox_proxy.errors import BlackboxProxyError, InputError

RETRYABLE = frozenset({408, 409, 429})
"""Statuses below 500 that may pass; all from 500 on may pass too."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What one attempt came to: a body, or an error with the pause that the server asked for, in seconds."""

    body: Mapping[str, object] | None = None
    error: BlackboxProxyError | None = None
    wait: float | None = None


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """How long to go on trying. Seconds throughout.

    first, most: the pause before the second attempt, and the cap on its doubling. longest: the longest pause that we
    accept from a server; when it asks for more we stop at once, since an earlier request would be refused again.
    """

    attempts: int = 4
    first: float = 0.5
    most: float = 8.0
    longest: float = 60.0

    def __post_init__(self) -> None:
        if self.attempts < 1:
            raise InputError(f"attempts must be at least 1, not {self.attempts}")

    def goes_on(self, outcome: Outcome) -> bool:
        """Whether another attempt may help."""
        if outcome.error is None or not outcome.error.retryable:
            return False
        return outcome.wait is None or outcome.wait <= self.longest

    def pause(self, attempt: int, outcome: Outcome, *, draw: float) -> float:
        """Seconds before attempt number `attempt` + 1; between half and all of the doubled pause, unless asked."""
        if outcome.wait is not None:
            return outcome.wait
        doubled = min(self.most, self.first * 2.0 ** min(attempt - 1, 60))
        return doubled * (0.5 + 0.5 * draw)


def is_retryable(status: int) -> bool:
    """Whether the same request may be answered later."""
    return status in RETRYABLE or status >= 500


def asked_wait(headers: Mapping[str, str], *, now: float) -> float | None:
    """The pause that a reply's headers ask for, in seconds from `now` (Unix time); None if they ask for none.

    `retry-after` holds seconds or an HTTP date. A date that has passed asks for no pause.

    >>> asked_wait({"retry-after-ms": "1500", "retry-after": "9"}, now=0.0)
    1.5
    >>> asked_wait({"retry-after": "Thu, 01 Jan 1970 00:00:07 GMT"}, now=5.0)
    2.0
    """
    milliseconds = _number(headers.get("retry-after-ms", ""))
    if milliseconds is not None:
        return milliseconds / 1000.0
    text = headers.get("retry-after", "")
    seconds = _number(text)
    return _until(text, now=now) if seconds is None else seconds


def on_outcome(wants_another: Callable[[Outcome], bool]) -> Callable[[RetryCallState], bool]:
    """`wants_another` as a tenacity condition; an exception (a bug, a refusal of the ledger) is never tried again."""

    def condition(state: RetryCallState) -> bool:
        return state.outcome is not None and not state.outcome.failed and wants_another(state.outcome.result())

    return condition


def outcome_of(state: RetryCallState) -> Outcome:
    """The outcome of the last attempt, whatever it was: the error is raised by us, not wrapped by tenacity."""
    outcome: Outcome = cast(Future, state.outcome).result()
    return outcome


def settled(outcome: Outcome, *, tries: int) -> Mapping[str, object]:
    """The body, or the last error, which says how often was tried."""
    if outcome.error is None:
        return outcome.body or {}
    if tries > 1:
        outcome.error.message += f" (after {tries} attempts)"
        outcome.error.args = (outcome.error.message,)
    raise outcome.error


def _number(text: str) -> float | None:
    try:
        number = float(text)
    except ValueError:
        return None
    return number if math.isfinite(number) and number >= 0.0 else None


def _until(date: str, *, now: float) -> float | None:
    try:
        return max(0.0, parsedate_to_datetime(date).timestamp() - now)
    except (ValueError, TypeError, IndexError, OverflowError):
        return None
