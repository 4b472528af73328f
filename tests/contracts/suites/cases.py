"""What a program that uses a client tries: cases, each a function that raises where a reply is not as it should be.

The program writes a line of JSON: which cases passed, what the others raised, and which were left out.
"""

from __future__ import annotations

import asyncio
import inspect
import json
import re
import sys
import traceback
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import TypeVar

SHOWN = 3000
"""Characters of a failure that are told, its end."""

Case = Callable[[], object]
Decorated = TypeVar("Decorated", bound=Case)
Raised = TypeVar("Raised", bound=Exception)


@dataclass(frozen=True, slots=True)
class Cases:
    """The cases of a program, by their names."""

    cases: dict[str, Case] = field(default_factory=dict)

    def case(self, function: Decorated) -> Decorated:
        """Add a function, or one that is awaited."""
        self.cases[function.__name__] = function
        return function

    def run(self) -> None:
        """Run what no expression among the program's arguments fits, and write what became of it."""
        left_out = [name for name in self.cases if any(re.search(pattern, name) for pattern in sys.argv[1:])]
        failed = {name: why for name, case in self.cases.items() if name not in left_out and (why := failure(case))}
        passed = [name for name in self.cases if name not in left_out and name not in failed]
        print("\n" + json.dumps({"passed": passed, "failed": failed, "deselected": left_out}), flush=True)


def failure(case: Case) -> str:
    """What a case raised; "" where nothing."""
    try:
        outcome = case()
        if inspect.iscoroutine(outcome):
            asyncio.run(outcome)
    except Exception:  # noqa: BLE001 - a client's own kind, whatever that is
        return traceback.format_exc()[-SHOWN:]
    return ""


def raised(kind: type[Raised], call: Case) -> Raised:
    """The error of this kind that a call ends with; raises AssertionError where there is none."""
    try:
        call()
    except kind as error:
        return error
    raise AssertionError("no error")


async def raised_later(kind: type[Raised], awaited: Awaitable[object]) -> Raised:
    """The same of what is awaited."""
    try:
        await awaited
    except kind as error:
        return error
    raise AssertionError("no error")


def equal(actual: object, expected: object) -> None:
    """Raises AssertionError, with both, where they differ."""
    if actual != expected:
        raise AssertionError(f"{actual!r} is not {expected!r}")
