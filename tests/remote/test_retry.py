"""The retry policy on its own, with times and draws given."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from blackbox_proxy.errors import ApiBusy, ApiRefused, InputError
from blackbox_proxy.remote.retry import Outcome, RetryPolicy, asked_wait, is_retryable


@given(attempt=st.integers(1, 10_000), draw=st.floats(0.0, 1.0, exclude_max=True))
def test_a_pause_never_passes_the_cap_nor_falls_below_half_of_it(attempt: int, draw: float) -> None:
    policy = RetryPolicy(first=0.5, most=8.0)
    doubled = min(8.0, 0.5 * 2.0 ** min(attempt - 1, 100))
    assert doubled / 2 <= policy.pause(attempt, Outcome(), draw=draw) <= doubled


@given(st.text() | st.floats().map(str) | st.integers().map(str), st.floats(0.0, 4e9))
def test_any_header_asks_for_a_finite_pause_or_none(text: str, now: float) -> None:
    for name in ("retry-after", "retry-after-ms"):
        wait = asked_wait({name: text}, now=now)
        assert wait is None or 0.0 <= wait < float("inf")


def test_a_date_that_has_passed_asks_for_no_pause() -> None:
    assert asked_wait({"retry-after": "Thu, 01 Jan 1970 00:00:07 GMT"}, now=1000.0) == 0.0


def test_only_passing_errors_go_on() -> None:
    policy = RetryPolicy(longest=60.0)
    assert policy.goes_on(Outcome(error=ApiBusy("busy"), wait=60.0))
    assert not policy.goes_on(Outcome(error=ApiBusy("busy"), wait=60.1))
    assert not policy.goes_on(Outcome(error=ApiRefused("no")))
    assert not policy.goes_on(Outcome(body={}))


def test_statuses_that_may_pass() -> None:
    assert [status for status in range(300, 502) if is_retryable(status)] == [408, 409, 429, 500, 501]


def test_no_attempt_at_all_is_refused() -> None:
    with pytest.raises(InputError, match="at least 1, not 0"):
        RetryPolicy(attempts=0)
