"""What a gate tells those whom it sends away: how long those before them take, at the pace at which answers end."""

from __future__ import annotations

import asyncio
from contextlib import ExitStack

import pytest

from blackbox_proxy.gateway.gates import LONGEST, AdmissionGate
from blackbox_proxy.openai_http.fields import Refusal

SECONDS = 2.0
"""Of one answer."""


class Clock:
    """Stands until it is moved."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


def told(at_once: int, *, together: int, queue: int) -> int:
    """What the first one is told that is too many, after many answers, `together` of them at a time."""
    clock = Clock()
    gate = AdmissionGate(at_once, queue, clock=clock)

    async def answered(start: asyncio.Barrier, end: asyncio.Barrier) -> None:
        with gate.admitted():
            async with gate.slot():
                await start.wait()
                await end.wait()

    async def crowd() -> None:
        for _ in range(60):
            start, end = asyncio.Barrier(together + 1), asyncio.Barrier(together + 1)
            tasks = [asyncio.create_task(answered(start, end)) for _ in range(together)]
            await start.wait()
            clock.now += SECONDS
            await end.wait()
            await asyncio.gather(*tasks)

    asyncio.run(crowd())
    with ExitStack() as inside:
        for _ in range(at_once + queue):
            inside.enter_context(gate.admitted())
        with pytest.raises(Refusal) as refused:
            inside.enter_context(gate.admitted())
    assert refused.value.wait is not None
    return refused.value.wait


def test_one_is_told_the_time_of_those_before_it() -> None:
    """One at a time, two seconds each, five before it; the gate itself would let four go at once."""
    assert told(4, together=1, queue=1) == pytest.approx(5 * SECONDS, abs=1)


def test_answers_that_end_together_end_faster() -> None:
    assert told(4, together=4, queue=4) < told(4, together=1, queue=4) / 2


def test_an_answer_that_fails_leaves_no_trace() -> None:
    gate = AdmissionGate(1, 10)

    async def fails() -> None:
        with gate.admitted():
            async with gate.slot():
                raise EOFError

    for _ in range(3):
        with pytest.raises(EOFError):
            asyncio.run(fails())
    with ExitStack() as inside:
        for _ in range(3):
            inside.enter_context(gate.admitted())
        assert (gate.inside, gate.wait()) == (3, 3)


def test_nobody_is_told_a_long_time_or_none_at_all() -> None:
    assert told(1, together=1, queue=100) == LONGEST
    assert AdmissionGate(1, 1).wait() == 1
