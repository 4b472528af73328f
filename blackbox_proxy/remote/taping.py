"""What a cassette has to do with a request: its attempts are written down, or taken from there in place of a network.

Knows no client library: a replayed attempt goes through the same `Exchange` as one that was sent.
"""

from __future__ import annotations

import asyncio
import os
import uuid
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass, field
from typing import final

from blackbox_proxy.cassettes.matching import Replay, ReplayedCall
from blackbox_proxy.cassettes.opening import Tape
from blackbox_proxy.cassettes.recording import Recorder
from blackbox_proxy.cassettes.redacting import Redactor
from blackbox_proxy.cassettes.schema import HeardReply, RecordedAttempt, RecordedFault
from blackbox_proxy.errors import InputError, OverBudget
from blackbox_proxy.remote.address import PLACEHOLDER, Address
from blackbox_proxy.remote.exchange import Exchange
from blackbox_proxy.types import Watcher, WireRequest


@final
@dataclass(slots=True)
class Exchanges:
    """One request, who wants to hear of its attempts, and how many there were.

    call: the request's name in a cassette. played: what is replayed of it; None where it is really sent.
    """

    request: WireRequest
    watcher: Watcher | None
    played: ReplayedCall | None = None
    attempts: int = 0
    call: str = field(default_factory=lambda: uuid.uuid4().hex[:16])

    def play(self) -> RecordedAttempt | None:
        """The recorded attempt that comes next; None where it is to be sent.

        Raises InputError where none was recorded, and OverBudget where a budget ended the recorded run here.
        """
        if self.played is None:
            return None
        row = self.played.next()
        fault = row.fault
        if fault is not None and fault.kind == "budget":
            raise OverBudget(fault.text, hint=fault.hint)
        if fault is not None and fault.kind in ("cancelled", "unrecorded"):
            raise InputError(
                f"{self.played.replay.path} has no reply to this request to {row.path}: {fault.text or fault.kind}",
                hint="record it again",
            )
        return row

    def close(self) -> None:
        """No attempt will follow."""
        if self.played is not None:
            self.played.end()


@final
@dataclass(frozen=True, slots=True)
class Taping:
    """A transport's cassette: one that is recorded, one that is replayed, or none."""

    tape: Tape | None
    redactor: Redactor

    @classmethod
    def of(cls, tape: Tape | None, address: Address, *, secrets: Iterable[str] = ()) -> Taping:
        """secrets: what must not be written down besides the key, the address's query and the keys around us."""
        if not isinstance(tape, Recorder):
            return cls(tape, Redactor())
        keys = [*secrets, "" if address.key == PLACEHOLDER else address.key]
        return cls(tape, Redactor.of(keys, query=address.query, environ=os.environ))

    @property
    def replay(self) -> Replay | None:
        """What is replayed, if anything."""
        return self.tape if isinstance(self.tape, Replay) else None

    def begin(self, request: WireRequest, watcher: Watcher | None) -> Exchanges:
        """A request that is about to be sent, or replayed. Raises InputError for one that cannot be recorded."""
        if isinstance(self.tape, Recorder):
            self.tape.check(request)
        replay = self.replay
        return Exchanges(request, watcher, None if replay is None else replay.call(request))

    def write(self, exchanges: Exchanges, heard: HeardReply, *, seconds: float) -> None:
        """Write down what came of an attempt."""
        if isinstance(self.tape, Recorder):
            self.tape.write(
                exchanges.request,
                heard,
                call=exchanges.call,
                attempt=exchanges.attempts,
                seconds=seconds,
                redactor=self.redactor,
            )

    def stop(self, exchanges: Exchanges, error: OverBudget, *, at: float) -> None:
        """Write down that a budget kept an attempt from being sent."""
        fault = RecordedFault(kind="budget", sent=False, text=error.message, hint=error.hint)
        self.write(exchanges, HeardReply(at, fault=fault), seconds=0.0)

    def introduce(self, *, address: str, model: str, profile: str) -> None:
        """Write into the head of a new cassette what is asked; do nothing where there is none, or it has a head."""
        if isinstance(self.tape, Recorder):
            clean = self.redactor.text
            self.tape.begin(address=clean(address), model=clean(model), profile=clean(profile))

    def sleeps(
        self, sleep: Callable[[float], None], async_sleep: Callable[[float], Awaitable[None]]
    ) -> tuple[Callable[[float], None], Callable[[float], Awaitable[None]]]:
        """How to wait: as the clock does, or not at all."""
        at_once = self.replay is not None and self.replay.pace == "at-once"
        return (_skip, _askip) if at_once else (sleep, async_sleep)


def play(row: RecordedAttempt, exchange: Exchange) -> None:
    """Let an exchange hear what was recorded."""
    if row.status is not None:
        exchange.begin_reply(row.status, row.headers)
    if row.fault is not None or row.status is None:
        exchange.break_off(row.fault or RecordedFault(kind="connection"))
    elif 200 <= row.status < 300:
        exchange.take(row.raw, now=exchange.started)
        exchange.read(row.status)
    else:
        exchange.refuse(row.raw.decode("utf-8", "replace"), now=row.at)


def _skip(_seconds: float) -> None:
    """Do not wait."""


async def _askip(_seconds: float) -> None:
    """Do not wait, but let others go on."""
    await asyncio.sleep(0)
