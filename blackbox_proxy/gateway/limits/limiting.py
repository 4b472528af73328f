"""Holds the limits a minute of each key while requests come: reserves what one may take, and settles it afterwards."""

from __future__ import annotations

import asyncio
import logging
import math
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import final

from blackbox_proxy.errors import LedgerError
from blackbox_proxy.gateway.limits.rates import CHARACTERS_A_TOKEN, KeyLimits, PaceVerdict, pace_verdict
from blackbox_proxy.gateway.limits.windows import WindowStore
from blackbox_proxy.gateway.requests import GatewayRequest
from blackbox_proxy.types import Prompt

_LOG = logging.getLogger(__name__)


def reserved_tokens(request: GatewayRequest) -> int:
    """What a request may take: its prompts, at so many characters a token, and `max_tokens` where it names them."""
    prompts = sum(_length(source) for source in request.sources)
    most = request.knobs.get("max_tokens")
    answers = request.n * len(request.sources)
    return prompts + (most * answers if isinstance(most, int) else 0)


def _length(source: Prompt | tuple[int, ...]) -> int:
    if not isinstance(source, Prompt):
        return len(source)
    characters = len(source.text) + sum(len(message.content) for message in source.messages)
    return math.ceil(characters / CHARACTERS_A_TOKEN)


@final
@dataclass(frozen=True, slots=True)
class Admission:
    """A request that passed, or did not. number, key, reserved: as the store has it."""

    verdict: PaceVerdict
    number: int = 0
    key: str = ""
    reserved: int = 0


FREE = Admission(PaceVerdict(()))
"""Of a key without a limit a minute."""


@final
class RateLimiter:
    """Asks a store, in a thread of its own, so that another process that holds the file keeps nobody from answers.

    opens: gives the store, when it is needed first. clock: Unix time in seconds.
    """

    def __init__(self, opens: Callable[[], WindowStore], *, clock: Callable[[], float] = time.time) -> None:
        self._opens, self._clock = opens, clock
        self._store: WindowStore | None = None
        self._pool = ThreadPoolExecutor(1, "limits")

    def open(self) -> WindowStore:
        """The store. Raises LedgerError where it cannot be used."""
        if self._store is None:
            self._store = self._opens()
        return self._store

    async def admit(self, key: str, limits: KeyLimits, *, tokens: int) -> Admission:
        """Whether a request of a key passes; what it may take is reserved then. Raises LedgerError."""
        if not limits.is_paced:
            return FREE
        return await asyncio.get_running_loop().run_in_executor(self._pool, self._admit, key, limits, tokens)

    def _admit(self, key: str, limits: KeyLimits, tokens: int) -> Admission:
        now = self._clock()
        decides = partial(pace_verdict, limits=limits, tokens=tokens, now=now)
        number, verdict = self.open().admit(key, decides, tokens=tokens, now=now)
        return Admission(verdict, number, key, tokens)

    def settle(self, admission: Admission, *, taken: int) -> None:
        """Say what a request took. Waits for nothing; whoever is admitted later comes after it."""
        if admission.number:
            self._pool.submit(self._settle, admission, taken)

    def _settle(self, admission: Admission, taken: int) -> None:
        try:
            self.open().settle(
                admission.number, admission.key, reserved=admission.reserved, taken=taken, now=self._clock()
            )
        except LedgerError as error:
            _LOG.warning("what a request took stays as it was reserved: %s", error.message)

    def close(self) -> None:
        """Close the store once all is settled."""
        self._pool.shutdown()
        if self._store is not None:
            self._store.close()
