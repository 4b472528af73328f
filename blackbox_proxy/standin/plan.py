"""Which request fails how: entries written down one by one, or drawn by chance. Knows no HTTP.

ok, reset (before the first byte), cut (in the middle of the body), truncated (half of the JSON, as if whole),
garbage (no JSON), html (a page, with status 200), error200 (an error object with status 200), hang (no answer),
slow:SECONDS, 500 (any status from 400 to 599), 429:2 (with Retry-After), 429:250ms (with retry-after-ms), 503*3
"""

from __future__ import annotations

import random
import re
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import final

WORDS = ("ok", "reset", "cut", "truncated", "garbage", "html", "error200", "hang")
DRAWN = "429:0+500+503+reset+cut+truncated+garbage+html+error200"
"""What chance draws from unless told otherwise: everything that costs no time."""

MOST_ENTRIES = 10_000
_ENTRY = re.compile(r"(?P<word>[a-z]+|error200|[45]\d\d)(?::(?P<number>\d{1,6}(?:\.\d{1,3})?)(?P<unit>ms)?)?")


@dataclass(frozen=True, slots=True)
class Fault:
    """One entry. word: its kind, or a status; after: the seconds to wait that it names, as written in `unit`."""

    word: str
    after: float | None = None
    in_milliseconds: bool = False

    @property
    def status(self) -> int | None:
        """The status of an error, None for all other kinds."""
        return int(self.word) if self.word.isdecimal() else None


OK = Fault("ok")


def read_fault(text: str) -> Fault:
    """One entry. Raises ValueError for what is none."""
    match = _ENTRY.fullmatch(text)
    if not match or not (match["word"] in (*WORDS, "slow") or match["word"].isdecimal()):
        raise ValueError(f"{text[:40]!r} is no fault; there are {', '.join(WORDS)}, slow:SECONDS and 400 to 599")
    fault = Fault(match["word"], _seconds(match), match["unit"] == "ms")
    misplaced = fault.word == "slow" if fault.after is None else fault.word in WORDS
    if misplaced:
        raise ValueError(f"{text[:40]!r}: seconds stand after `slow:`, and may stand after a status")
    return fault


def _seconds(match: re.Match[str]) -> float | None:
    if match["number"] is None:
        return None
    return float(match["number"]) / (1000 if match["unit"] else 1)


def read_plan(text: str) -> tuple[Fault, ...]:
    """Entries with commas between them, each for one request; `500*3` stands for three."""
    plan: list[Fault] = []
    for part in text.split(","):
        entry, star, times = part.partition("*")
        if star and not (times.isdecimal() and len(times) <= 5):
            raise ValueError(f"{part[:40]!r}: a number stands after *")
        plan += [read_fault(entry)] * (int(times) if star else 1)
        if len(plan) > MOST_ENTRIES:
            raise ValueError(f"at most {MOST_ENTRIES} entries are read")
    return tuple(plan)


def read_kinds(text: str) -> tuple[Fault, ...]:
    """Entries with + between them, to draw from."""
    return tuple(read_fault(part) for part in text.split("+"))


@final
class FaultPlan:
    """What is to happen to each request, in the order in which they come; `ok` when the entries are used up.

    latency: seconds that every answer is late; jitter: the most that chance adds.
    """

    def __init__(
        self, entries: Iterable[Fault] = (), *, latency: float = 0.0, jitter: float = 0.0, seed: int = 0
    ) -> None:
        self._entries = iter(entries)
        self._next: deque[Fault] = deque()
        self._latency = latency
        self._jitter = jitter
        self._chance = random.Random(seed)

    def next(self) -> Fault:
        """What happens to the next request."""
        return self._next.popleft() if self._next else next(self._entries, OK)

    def add(self, entries: Iterable[Fault]) -> None:
        """These happen to the next requests; the entries that were there follow them."""
        self._next.extend(entries)

    def clear(self) -> None:
        """Nothing happens any more of what was added."""
        self._next.clear()

    def delay(self) -> float:
        """How many seconds its answer is late."""
        return self._latency + self._jitter * self._chance.random()


def drawn(share: float, kinds: Sequence[Fault], *, seed: int, budget: int | None) -> Iterator[Fault]:
    """Faults by chance: equal seeds draw equal ones. budget: the most that are drawn; None for no end."""
    chance = random.Random(seed)
    remaining = budget
    while remaining is None or remaining > 0:
        fault = chance.choice(kinds) if chance.random() < share else OK
        if remaining is not None and fault != OK:
            remaining -= 1
        yield fault
