"""The limits of keys: in no minute do more requests or tokens pass than a limit says, whoever asks, and from where."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import tempfile
import threading
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from blackbox_proxy.gateway.limits.limiting import FREE, RateLimiter
from blackbox_proxy.gateway.limits.rates import MINUTE, Admitted, KeyLimits, duration, pace_verdict
from blackbox_proxy.gateway.limits.windows import SqliteWindows
from blackbox_proxy.openai_http.fields import Refusal

KEY = "a"
GAPS = st.lists(st.floats(0, 45), min_size=1, max_size=40)


@given(GAPS, st.integers(1, 6), st.integers(1, 30), st.data())
def test_in_no_minute_more_passes_and_nobody_is_refused_for_less(
    gaps: Sequence[float], requests: int, tokens: int, data: st.DataObject
) -> None:
    """By an oracle that looks at every window: what passed, and what one more would have made of it."""
    limits, now, passed = KeyLimits(requests, tokens), 0.0, list[Admitted]()
    for gap in gaps:
        now += gap
        asked = data.draw(st.integers(0, tokens))
        verdict = pace_verdict(passed, limits, tokens=asked, now=now)
        recent = [one for one in passed if one.at > now - MINUTE]
        fits = len(recent) < requests and sum(one.tokens for one in recent) + asked <= tokens
        assert (verdict.refused is None) == fits
        by_unit = {one.unit: one for one in verdict.standings}
        more = 1 if fits else 0
        assert by_unit["requests"].remaining == requests - len(recent) - more
        assert by_unit["tokens"].remaining == tokens - sum(one.tokens for one in recent) - more * asked
        if fits:
            passed.append(Admitted(now, 1, asked))
        else:
            assert verdict.wait is not None
            later = pace_verdict(passed, limits, tokens=asked, now=now + verdict.wait + 1e-6)
            assert later.refused is None, "who waits as long as it is told passes"
            early = pace_verdict(passed, limits, tokens=asked, now=now + verdict.wait * 0.999 - 1e-6)
            assert early.refused is not None, "and is not told to wait for longer"
    for one in passed:
        window = [other for other in passed if one.at <= other.at < one.at + MINUTE]
        assert len(window) <= requests
        assert sum(other.tokens for other in window) <= tokens


def test_a_request_that_a_minute_never_allows_is_told_so_and_not_when() -> None:
    verdict = pace_verdict([Admitted(0, 1, 5)], KeyLimits(tokens_per_minute=10), tokens=11, now=1)
    refusal = verdict.refusal()
    assert (verdict.refused, refusal.status, refusal.wait) == ("tokens", 429, None)
    assert "ask for fewer tokens" in refusal.message


def test_what_is_told_is_written_as_openai_does() -> None:
    verdict = pace_verdict([Admitted(0, 1, 7)], KeyLimits(2, 100), tokens=13, now=10)
    assert verdict.headers == {
        "x-ratelimit-limit-requests": "2",
        "x-ratelimit-remaining-requests": "0",
        "x-ratelimit-reset-requests": "1m0s",
        "x-ratelimit-limit-tokens": "100",
        "x-ratelimit-remaining-tokens": "80",
        "x-ratelimit-reset-tokens": "1m0s",
    }
    refused = pace_verdict([Admitted(0, 1, 7), Admitted(5, 1, 0)], KeyLimits(2), tokens=13, now=52.5)
    assert refused.headers["x-ratelimit-reset-requests"] == "13s"
    with pytest.raises(Refusal, match="Please try again in 8s") as told:
        raise refused.refusal()
    assert told.value.wait == 8


@given(st.floats(0, 4000))
def test_a_time_is_never_written_shorter_than_it_is(seconds: float) -> None:
    text = duration(seconds)
    if text.endswith("ms"):
        read = float(text[:-2]) / 1000
    else:
        minutes, _, rest = text[:-1].rpartition("m")
        read = 60 * float(minutes or 0) + float(rest)
    assert seconds <= read + 1e-9 < seconds + 1.001


def passing(path: Path, limit: int, askers: int, each: int) -> int:
    """How many of so many threads' requests pass, each thread with a connection of its own, at one moment."""
    start, passed = threading.Barrier(askers), list[int]()

    def ask() -> None:
        store = SqliteWindows(path)
        start.wait()
        for _ in range(each):
            decides = partial(pace_verdict, limits=KeyLimits(limit), tokens=0, now=100.0)
            number, verdict = store.admit(KEY, decides, tokens=0, now=100.0)
            assert bool(number) == (verdict.refused is None)
            passed.append(bool(number))
        store.close()

    threads = [threading.Thread(target=ask) for _ in range(askers)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(passed) == askers * each
    return sum(passed)


@settings(max_examples=15)
@given(limit=st.integers(1, 12), askers=st.integers(1, 6), each=st.integers(1, 5))
def test_of_clients_that_ask_at_once_exactly_the_limit_passes(limit: int, askers: int, each: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        assert passing(Path(folder) / "limits.sqlite", limit, askers, each) == min(limit, askers * each)


ASKS = """
import sys, json
from functools import partial
from pathlib import Path
from blackbox_proxy.gateway.limits.rates import KeyLimits, pace_verdict
from blackbox_proxy.gateway.limits.windows import SqliteWindows
store = SqliteWindows(Path(sys.argv[1]))
print("open", flush=True)
sys.stdin.readline()
decides = partial(pace_verdict, limits=KeyLimits(50), tokens=0, now=100.0)
print(json.dumps(sum(bool(store.admit("a", decides, tokens=0, now=100.0)[0]) for _ in range(40))), flush=True)
"""


def test_of_several_processes_exactly_the_limit_passes(tmp_path: Path) -> None:
    command = [sys.executable, "-c", ASKS, str(tmp_path / "limits.sqlite")]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    processes = [subprocess.Popen(command, text=True, **pipes) for _ in range(3)]  # type: ignore[call-overload]
    for process in processes:
        assert process.stdout.readline() == "open\n"
    for process in processes:
        process.stdin.write("go\n")
        process.stdin.flush()
    passed = [json.loads(process.communicate(timeout=120)[0]) for process in processes]
    assert sum(passed) == 50


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


def test_what_was_reserved_counts_until_it_is_known_what_was_taken(tmp_path: Path) -> None:
    clock = Clock()
    limiter = RateLimiter(lambda: SqliteWindows(tmp_path / "l.sqlite"), clock=clock)
    limits = KeyLimits(tokens_per_minute=100)

    async def rest() -> int:
        """What remains for a request that takes nothing."""
        return (await limiter.admit(KEY, limits, tokens=0)).verdict.standings[0].remaining

    async def story() -> None:
        first = await limiter.admit(KEY, limits, tokens=90)
        assert (await limiter.admit(KEY, limits, tokens=20)).verdict.refused == "tokens"
        assert (await limiter.admit("other", limits, tokens=20)).verdict.refused is None, "each key has its own"
        limiter.settle(first, taken=30)
        assert await rest() == 70
        second = await limiter.admit(KEY, limits, tokens=10)
        clock.now += 59
        limiter.settle(second, taken=50)
        assert await rest() == 100 - 30 - 10 - 40
        clock.now += 2
        assert await rest() == 100 - 40, "what was more than reserved counts from when it was known"
        assert await limiter.admit(KEY, KeyLimits(max_calls=1), tokens=5) is FREE

    asyncio.run(story())
    limiter.close()


def test_a_clock_that_was_put_back_keeps_nobody_waiting(tmp_path: Path) -> None:
    clock = Clock()
    limiter = RateLimiter(lambda: SqliteWindows(tmp_path / "l.sqlite"), clock=clock)

    async def refused() -> bool:
        return (await limiter.admit(KEY, KeyLimits(1), tokens=0)).verdict.refused is not None

    async def story() -> None:
        assert not await refused()
        assert await refused()
        clock.now -= 3600
        assert not await refused()

    asyncio.run(story())
    limiter.close()
