"""A crowd of clients before one gateway and one upstream: its gate, its limits of keys and its retries, as they are.

Only the clock and the upstream are others'. Nothing is computed: an answer is so many calls after one another.
"""

from __future__ import annotations

import asyncio
import random
import statistics
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, final

from tenacity import AsyncRetrying, RetryCallState, stop_after_attempt

from blackbox_proxy.errors import ApiBusy
from blackbox_proxy.gateway.gates import AdmissionGate
from blackbox_proxy.gateway.limits.limiting import RateLimiter
from blackbox_proxy.gateway.limits.rates import MINUTE, NO_LIMITS, KeyLimits
from blackbox_proxy.gateway.limits.windows import SqliteWindows
from blackbox_proxy.openai_http.fields import Refusal
from blackbox_proxy.remote.retry import Outcome, RetryPolicy, on_outcome, outcome_of, settled
from tests.scale.virtual import VirtualLoop, run_virtual

CALLS = 10
"""Calls of an answer, one after the other."""

CALL_SECONDS = 0.5
"""Of a call that is answered."""

ASKS = 3
"""How often a client asks that is sent away: OpenAI's SDK tries twice more."""

End = Literal["answered", "sent away", "over the key's limit", "broken off"]


@final
@dataclass(frozen=True, slots=True)
class CrowdPlan:
    """What is simulated.

    Attributes:
        clients: How many clients each key has; all ask once, the first key's at 0 s, the others' at 1 s.
        at_once, queue: Of the gate.
        limit: Calls a minute that the upstream allows; None: any number.
        tells: Whether the upstream says with a 429 how long to wait.
        key_limit: Requests a minute of each key.
    """

    clients: Mapping[str, int]
    at_once: int
    queue: int
    limit: int | None = None
    tells: bool = True
    key_limit: int | None = None


@final
@dataclass(slots=True)
class LimitedUpstream:
    """A bucket that holds a minute's calls, is full at first, and fills evenly. What it refuses costs it nothing."""

    limit: int | None
    tells: bool
    loop: VirtualLoop
    calls: int = 0
    refused: int = 0
    _room: float = 0.0
    _at: float = 0.0

    def __post_init__(self) -> None:
        self._room = float(self.limit or 0)

    async def call(self) -> Outcome:
        """One attempt."""
        self.calls += 1
        if self.limit is not None:
            now, pace = self.loop.time(), self.limit / MINUTE
            self._room = min(float(self.limit), self._room + pace * (now - self._at))
            self._at = now
            if self._room < 1.0:
                self.refused += 1
                wait = (1.0 - self._room) / pace if self.tells else None
                return Outcome(error=ApiBusy("429"), wait=wait)
            self._room -= 1.0
        await asyncio.sleep(CALL_SECONDS)
        return Outcome(body={})


@final
@dataclass(frozen=True, slots=True)
class ClientEnd:
    """How it went for one client. seconds: from its first question to its end. paid: calls that were answered."""

    key: str
    end: End
    seconds: float
    paid: int


@final
@dataclass(frozen=True, slots=True)
class CrowdResult:
    """How it went for all."""

    plan: CrowdPlan
    ends: Sequence[ClientEnd]
    calls: int
    refused_calls: int

    def count(self, end: End, *, key: str | None = None) -> int:
        return sum(one.end == end and key in (None, one.key) for one in self.ends)

    def waits(self, keys: Iterable[str] | None = None) -> Sequence[float]:
        """Seconds of those who were answered, in order."""
        asked = set(self.plan.clients if keys is None else keys)
        return sorted(one.seconds for one in self.ends if one.end == "answered" and one.key in asked)

    @property
    def lost(self) -> int:
        """Calls that were answered for answers that broke off."""
        return sum(one.paid for one in self.ends if one.end == "broken off")


@final
@dataclass(slots=True)
class _Gateway:
    """What a request passes on its way, in the gateway's own order: its key's limits, the gate, a slot of it."""

    plan: CrowdPlan
    loop: VirtualLoop
    limiter: RateLimiter
    upstream: LimitedUpstream
    gate: AdmissionGate = field(init=False)
    policy: RetryPolicy = field(default_factory=RetryPolicy)
    chance: random.Random = field(default_factory=lambda: random.Random(0))

    def __post_init__(self) -> None:
        self.gate = AdmissionGate(self.plan.at_once, self.plan.queue, clock=self.loop.time)

    async def answer(self, key: str, paid: Counter[str]) -> None:
        """Raises Refusal or ApiBusy. paid: counts calls that were answered."""
        limits = NO_LIMITS if self.plan.key_limit is None else KeyLimits(self.plan.key_limit)
        admission = await self.limiter.admit(key, limits, tokens=0)
        if admission.verdict.refused is not None:
            raise admission.verdict.refusal()
        with self.gate.admitted():
            async with self.gate.slot():
                for _ in range(CALLS):
                    await self._call()
                    paid["calls"] += 1

    async def _call(self) -> None:
        """As `Transport.asend` tries, with the policy's own functions."""
        retrying = AsyncRetrying(
            sleep=asyncio.sleep,
            stop=stop_after_attempt(self.policy.attempts),
            wait=self._pause,
            retry=on_outcome(self.policy.goes_on),
            retry_error_callback=outcome_of,
        )
        settled(await retrying(self.upstream.call), tries=self.policy.attempts)

    def _pause(self, state: RetryCallState) -> float:
        return self.policy.pause(state.attempt_number, outcome_of(state), draw=self.chance.random())


async def _client(gateway: _Gateway, key: str, begins: float) -> ClientEnd:
    """Asks, and where it is sent away asks again as it is told to."""
    await asyncio.sleep(begins)
    paid: Counter[str] = Counter()
    end: End = "answered"
    for number in range(ASKS):
        try:
            await gateway.answer(key, paid)
        except Refusal as refusal:
            limited = refusal.message.startswith("Rate limit reached")
            end = "over the key's limit" if limited else "sent away"
            if refusal.wait is None or number == ASKS - 1:
                break
            await asyncio.sleep(refusal.wait)
        except ApiBusy:
            end = "broken off"
            break
        else:
            end = "answered"
            break
    return ClientEnd(key, end, gateway.loop.time() - begins, paid["calls"])


def simulated(plan: CrowdPlan, folder: Path) -> CrowdResult:
    """What becomes of a crowd. folder: an empty one, for the file of the limits."""

    async def main(loop: VirtualLoop) -> CrowdResult:
        limiter = RateLimiter(lambda: SqliteWindows(folder / "limits.sqlite"), clock=loop.time)
        try:
            gateway = _Gateway(plan, loop, limiter, LimitedUpstream(plan.limit, plan.tells, loop))
            places = [(key, 0.0 if place == 0 else 1.0) for place, key in enumerate(plan.clients)]
            asking = [_client(gateway, key, begins) for key, begins in places for _ in range(plan.clients[key])]
            ends = await asyncio.gather(*asking)
            return CrowdResult(plan, ends, gateway.upstream.calls, gateway.upstream.refused)
        finally:
            limiter.close()

    return run_virtual(main)


def middle(waits: Sequence[float]) -> float | None:
    """The median; None of nobody."""
    return statistics.median(waits) if waits else None


def late(waits: Sequence[float]) -> float | None:
    """What 19 of 20 are below; None of nobody."""
    return waits[min(len(waits) - 1, int(0.95 * len(waits)))] if waits else None
