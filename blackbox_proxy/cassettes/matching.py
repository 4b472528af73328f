"""Finds what was recorded for a request: by content, in any order, and equal requests in the order of their recording.

The attempts at one request stay together, so that a retried request is retried in the replay, whatever else is asked
meanwhile. Knows no network.
"""

from __future__ import annotations

import hashlib
import json
import threading
from collections import deque
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, cast, final

from blackbox_proxy.cassettes.hashing import hashed
from blackbox_proxy.cassettes.reading import read_header, rows_of
from blackbox_proxy.cassettes.schema import CassetteHeader, RecordedAttempt
from blackbox_proxy.errors import InputError
from blackbox_proxy.types import WireRequest

Pace = Literal["at-once", "recorded"]
"""How a replay takes its time: not at all, or as long as it took, the pauses between attempts included."""

ABSENT = object()
"""In place of a JSON value: there is none."""

_SHOWN = 60
"""Characters of a value that an error shows."""


@dataclass(frozen=True, slots=True)
class Difference:
    """Where two JSON values part, and what stands there; `ABSENT` where nothing does."""

    where: str
    recorded: object
    asked: object

    @property
    def words(self) -> str:
        """For an error."""
        if isinstance(self.recorded, str) and isinstance(self.asked, str):
            at = _shared(self.recorded, self.asked)
            recorded, asked = (_shown(text, at) for text in (self.recorded, self.asked))
            return f"{self.where}, from character {at + 1}: {recorded} recorded, {asked} asked"
        return f"{self.where}: {_shown(self.recorded)} recorded, {_shown(self.asked)} asked"


def content_key(path: str, body: Mapping[str, object]) -> str:
    """A digest of a path and a body that does not depend on the order of fields."""
    spelt = json.dumps([path, body], sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(spelt.encode("ascii")).hexdigest()


def differences(recorded: object, asked: object, where: str = "") -> Iterator[Difference]:
    """Where two JSON values differ, in the order of what is asked."""
    if isinstance(recorded, dict) and isinstance(asked, dict):
        for name in dict.fromkeys((*asked, *recorded)):
            inner = f"{where}.{name}" if where else str(name)
            yield from differences(recorded.get(name, ABSENT), asked.get(name, ABSENT), inner)
    elif isinstance(recorded, list) and isinstance(asked, list):
        for at in range(max(len(recorded), len(asked))):
            there, here = (one[at] if at < len(one) else ABSENT for one in (recorded, asked))
            yield from differences(there, here, f"{where}[{at}]")
    elif type(recorded) is not type(asked) or recorded != asked:
        yield Difference(where, recorded, asked)


class NotRecorded(InputError):
    """A request that a cassette which is replayed does not hold, or not as often."""


@final
@dataclass(slots=True)
class RecordedCall:
    """The attempts at one request. line: of the first. given: how many were replayed."""

    line: int
    attempts: list[RecordedAttempt] = field(default_factory=list)
    given: int = 0

    @property
    def is_over(self) -> bool:
        return self.given == len(self.attempts)

    @property
    def is_broken_off(self) -> bool:
        """Whether a replay ends here too, so that a later recording of the same request is better."""
        fault = self.attempts[-1].fault
        return fault is not None and fault.kind in ("cancelled", "unrecorded")


def calls_of(path: Path) -> Mapping[str, RecordedCall]:
    """The calls of a cassette by their names, in the order of their first attempts. Raises InputError."""
    calls: dict[str, RecordedCall] = {}
    for number, row in rows_of(path):
        call = calls.setdefault(row.call, RecordedCall(number))
        if call.attempts and (call.attempts[0].path, call.attempts[0].body) != (row.path, row.body):
            raise InputError(
                f"{path}, line {number}: call {row.call!r} asks something else than in line {call.line}",
                hint="attempts at one request are equal; record it again",
            )
        call.attempts.append(row)
    return calls


@final
class Replay:
    """A cassette that is replayed, read whole. Threads and event loops may share it.

    Args:
        path: The file.
        pace: Whether replies come at once or as they came.
    """

    def __init__(self, path: Path | str, *, pace: Pace = "at-once") -> None:
        if pace not in ("at-once", "recorded"):
            raise InputError(f"a replay's pace is at-once or recorded, not {pace!r}", hint="at-once is the default")
        self.path = Path(path)
        self.pace = pace
        self.header: CassetteHeader = read_header(self.path)
        self._calls = tuple(calls_of(self.path).values())
        self._lock = threading.Lock()
        self._waiting: dict[str, deque[RecordedCall]] = {}
        self._begun: dict[str, deque[RecordedCall]] = {}
        for call in sorted(self._calls, key=lambda one: one.is_broken_off):
            first = call.attempts[0]
            self._waiting.setdefault(content_key(first.path, first.body), deque()).append(call)

    def __repr__(self) -> str:
        return f"Replay({str(self.path)!r})"

    @property
    def unused(self) -> tuple[RecordedAttempt, ...]:
        """Attempts that nobody asked for yet, in the order of the recording."""
        with self._lock:
            return tuple(row for call in self._calls for row in call.attempts[call.given :])

    def call(self, request: WireRequest) -> ReplayedCall:
        """What was recorded for a request that is about to be sent."""
        body = self._spelt(request.body)
        return ReplayedCall(self, request.path, body, content_key(request.path, body))

    def take(self, key: str) -> RecordedCall | None:
        """The next call that asks this: one that was not begun, or else what is left of one that was."""
        with self._lock:
            for calls in (self._waiting.get(key), self._begun.get(key)):
                if calls:
                    return calls.popleft()
            return None

    def put_back(self, key: str, call: RecordedCall) -> None:
        """The request has ended before all attempts were replayed."""
        with self._lock:
            if not call.is_over:
                self._begun.setdefault(key, deque()).append(call)

    def given(self, call: RecordedCall) -> RecordedAttempt:
        """The next attempt of a call."""
        with self._lock:
            call.given += 1
            return call.attempts[call.given - 1]

    def missing(self, path: str, body: Mapping[str, object], key: str) -> NotRecorded:
        """The error for a request that was not recorded, or not as often."""
        equal = [call for call in self._calls if content_key(call.attempts[0].path, call.attempts[0].body) == key]
        if equal:
            times = sum(len(call.attempts) for call in equal)
            return NotRecorded(
                f"{self.path} holds this request to {path} {times} times (line {equal[0].line}), and it is sent again",
                hint="record again what is asked more often",
            )
        nearest = min(self._calls, key=lambda call: _distance(call.attempts[0], path, body), default=None)
        if nearest is None:
            return NotRecorded(f"{self.path} holds no attempt at all", hint="record into it with `--record`")
        return NotRecorded(
            f"{self.path} does not hold this request to {path}; the nearest (line {nearest.line}) differs in "
            f"{_first(nearest.attempts[0], path, body).words}",
            hint="record it (`--record`), or ask as it was recorded: same model, knobs, prompts and pair",
        )

    def _spelt(self, body: Mapping[str, object]) -> dict[str, object]:
        """A body as a cassette has it: JSON, and prompts in its form."""
        plain = cast(dict[str, object], json.loads(json.dumps(dict(body))))
        return hashed(plain) if self.header.prompts == "hash" else plain


@final
@dataclass(slots=True)
class ReplayedCall:
    """One request while it is replayed: its attempts are those of one recorded call."""

    replay: Replay
    path: str
    body: Mapping[str, object]
    key: str
    _call: RecordedCall | None = None

    def next(self) -> RecordedAttempt:
        """The next attempt. Raises InputError where nothing was recorded."""
        if self._call is None or self._call.is_over:
            self._call = self.replay.take(self.key)
        if self._call is None:
            raise self.replay.missing(self.path, self.body, self.key)
        return self.replay.given(self._call)

    def end(self) -> None:
        """No attempt will follow."""
        if self._call is not None:
            self.replay.put_back(self.key, self._call)
            self._call = None


def _first(row: RecordedAttempt, path: str, body: Mapping[str, object]) -> Difference:
    if row.path != path:
        return Difference("the path", row.path, path)
    return next(differences(row.body, body), Difference("nothing", ABSENT, ABSENT))


def _distance(row: RecordedAttempt, path: str, body: Mapping[str, object]) -> tuple[bool, float]:
    """How far a recorded request is from one that is asked; the smaller the nearer."""
    names = {*row.body, *body}
    return row.path != path, sum(_apart(row.body.get(name, ABSENT), body.get(name, ABSENT)) for name in names)


def _apart(one: object, other: object) -> float:
    """How much of two JSON values differs, 0 to 1: by their fields, their places, or how far texts are alike."""
    if isinstance(one, str) and isinstance(other, str):
        return 0.0 if one == other else 1.0 - _shared(one, other) / max(len(one), len(other))
    if isinstance(one, dict) and isinstance(other, dict):
        names = {*one, *other}
        return sum(_apart(one.get(name, ABSENT), other.get(name, ABSENT)) for name in names) / max(len(names), 1)
    if isinstance(one, list) and isinstance(other, list):
        longest = max(len(one), len(other), 1)
        return (sum(map(_apart, one, other)) + abs(len(one) - len(other))) / longest
    return float(type(one) is not type(other) or one != other)


def _shared(one: str, other: str) -> int:
    """Characters that both begin with."""
    shorter = min(len(one), len(other))
    return next((at for at in range(shorter) if one[at] != other[at]), shorter)


def _shown(value: object, at: int = 0) -> str:
    """A value for an error: text from shortly before a place."""
    if value is ABSENT:
        return "nothing"
    if not isinstance(value, str):
        return repr(value)[:_SHOWN]
    start = max(0, at - 10)
    cut = value[start : start + _SHOWN]
    return repr(("..." if start else "") + cut + ("..." if start + _SHOWN < len(value) else ""))
