"""What a key may do in a minute, and what a client is told of that. Pure: the time is an argument.

A minute is the last sixty seconds at any time, so in no sixty seconds more requests pass than the limit says.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from decimal import Decimal
from typing import Literal, final

from blackbox_proxy.core.money.amounts import Budget
from blackbox_proxy.openai_http.fields import Refusal

MINUTE = 60.0
"""Seconds."""

CHARACTERS_A_TOKEN = 4
"""Of a prompt whose tokens nobody has counted yet."""

Unit = Literal["requests", "tokens"]


@final
@dataclass(frozen=True, slots=True)
class KeyLimits:
    """What holds for one key; None limits nothing.

    Attributes:
        requests_per_minute: Requests for answers.
        tokens_per_minute: Tokens of prompts and answers, as clients are told them.
        max_cost: US dollars, over all that the ledger has of the key.
        max_calls: Requests to upstreams, likewise.
    """

    requests_per_minute: int | None = None
    tokens_per_minute: int | None = None
    max_cost: Decimal | None = None
    max_calls: int | None = None

    def over(self, default: KeyLimits) -> KeyLimits:
        """These, and what the default says where these say nothing."""
        return KeyLimits(**{**default.given(), **self.given()})  # type: ignore[arg-type]  # each field by its own name

    def given(self) -> dict[str, int | Decimal]:
        """Those that limit something, by name."""
        said = {field.name: getattr(self, field.name) for field in fields(self)}
        return {name: value for name, value in said.items() if value is not None}

    def budget(self, key: str) -> Budget | None:
        """What the ledger has to hold for a key of this name; None where that is nothing."""
        if self.max_cost is None and self.max_calls is None:
            return None
        return Budget(self.max_cost, self.max_calls, per=f"key={key}")

    @property
    def is_paced(self) -> bool:
        """Whether there is a limit a minute."""
        return self.requests_per_minute is not None or self.tokens_per_minute is not None


NO_LIMITS = KeyLimits()


@dataclass(frozen=True, slots=True)
class Admitted:
    """Something that counts against the limits of a key for a minute. at: Unix time in seconds."""

    at: float
    requests: int
    tokens: int


@dataclass(frozen=True, slots=True)
class LimitStanding:
    """One limit and where a key stands. reset: seconds until nothing counts any more, if nothing is asked for."""

    unit: Unit
    limit: int
    remaining: int
    reset: float

    def headers(self) -> Mapping[str, str]:
        """As OpenAI writes them."""
        return {
            f"x-ratelimit-limit-{self.unit}": str(self.limit),
            f"x-ratelimit-remaining-{self.unit}": str(self.remaining),
            f"x-ratelimit-reset-{self.unit}": duration(self.reset),
        }


@final
@dataclass(frozen=True, slots=True)
class PaceVerdict:
    """Whether a request may pass, and where its key stands then.

    refused: by which limit. wait: seconds until it may pass; None where it never may. asked: tokens.
    """

    standings: tuple[LimitStanding, ...]
    refused: Unit | None = None
    wait: float | None = None
    asked: int = 0

    @property
    def headers(self) -> dict[str, str]:
        """What is said of all limits."""
        return {name: value for one in self.standings for name, value in one.headers().items()}

    def refusal(self) -> Refusal:
        """What a client is told whose request may not pass."""
        limit = next(one for one in self.standings if one.unit == self.refused)
        said = f"Rate limit reached for {limit.unit} per minute: limit {limit.limit}, remaining {limit.remaining}"
        said += f", requested {self.asked}. " if limit.unit == "tokens" else ". "
        if self.wait is None:
            said += "This request asks for more than a minute allows: ask for fewer tokens."
        else:
            said += f"Please try again in {duration(self.wait)}."
        wait = None if self.wait is None else max(1, math.ceil(self.wait))
        return Refusal(said, status=429, code="rate_limit_exceeded", wait=wait)


def pace_verdict(past: Iterable[Admitted], limits: KeyLimits, *, tokens: int, now: float) -> PaceVerdict:
    """Whether one more request passes. past: what was admitted, in any order. tokens: that it may take."""
    counted = sorted((one for one in past if one.at > now - MINUTE), key=lambda one: one.at)
    measures: tuple[tuple[Unit, int | None, int, Sequence[int]], ...] = (
        ("requests", limits.requests_per_minute, 1, [one.requests for one in counted]),
        ("tokens", limits.tokens_per_minute, tokens, [one.tokens for one in counted]),
    )
    held = [(unit, most, asked, taken) for unit, most, asked, taken in measures if most is not None]
    over = [(unit, most, asked, taken) for unit, most, asked, taken in held if sum(taken) + asked > most]
    refused = over[0][0] if over else None
    standings = tuple(
        LimitStanding(
            unit,
            most,
            max(0, most - sum(taken) - (0 if refused else asked)),
            _reset([one.at for one, amount in zip(counted, taken, strict=True) if amount], now=now, passed=not refused),
        )
        for unit, most, asked, taken in held
    )
    waits = [_wait(counted, taken, room=most - asked, now=now) for _, most, asked, taken in over]
    known = [wait for wait in waits if wait is not None]
    return PaceVerdict(standings, refused, max(known) if known and len(known) == len(waits) else None, tokens)


def _reset(times: Sequence[float], *, now: float, passed: bool) -> float:
    """Seconds until nothing counts any more. passed: the request of now counts too."""
    last = max([*times, *([now] if passed else [])], default=now - MINUTE)
    return max(0.0, last + MINUTE - now)


def _wait(counted: Sequence[Admitted], taken: Sequence[int], *, room: int, now: float) -> float | None:
    """Seconds until no more than `room` is taken; None where that never comes."""
    if room < 0:
        return None
    rest = sum(taken)
    for one, amount in zip(counted, taken, strict=True):
        rest -= amount
        if rest <= room:
            return max(0.0, one.at + MINUTE - now)
    return 0.0


def duration(seconds: float) -> str:
    """A time as OpenAI writes one, never shorter than it is.

    >>> duration(0.0123), duration(7.2), duration(360)
    ('13ms', '8s', '6m0s')
    """
    if seconds < 1:
        return f"{math.ceil(seconds * 1000)}ms"
    whole = math.ceil(seconds)
    return f"{whole // 60}m{whole % 60}s" if whole >= 60 else f"{whole}s"
