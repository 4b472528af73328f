"""Writes down what is done to a pair's contexts, and does it again with nothing around it."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from blackbox_proxy.local.llama import Context
from blackbox_proxy.local.pair import Pair

Batch = dict[str, Any]
"""The arguments of one `Context.decode`."""

METHODS = ("truncate", "copy", "decode")


@dataclass
class Tape:
    """Everything done to one member's context, in order. mark: decodes before the part that is measured."""

    calls: list[tuple[str, tuple[Any, ...], Batch]] = field(default_factory=list)
    mark: int = 0

    @property
    def decoded(self) -> Sequence[Sequence[int]]:
        """The tokens of each decode."""
        return [args[0] for name, args, _ in self.calls if name == "decode"]


@contextmanager
def recorded(pair: Pair) -> Iterator[tuple[Tape, Tape]]:
    """Forget what the members hold, and let their contexts write down what is done to them."""
    tapes = Tape(), Tape()
    for member, tape in zip(pair.members, tapes, strict=True):
        member.clear()
        _record(member.context, tape)
    try:
        yield tapes
    finally:
        for member in pair.members:
            for name in METHODS:
                delattr(member.context, name)


def _record(context: Context, tape: Tape) -> None:
    for name in METHODS:
        method = getattr(context, name)

        def told(*args: Any, _name: str = name, _method: Any = method, **kwargs: Any) -> None:
            tape.calls.append((_name, args, kwargs))
            _method(*args, **kwargs)

        setattr(context, name, told)


def replay(context: Context, tape: Tape) -> list[float]:
    """Do it again; the seconds of each decode alone."""
    seconds = []
    for name, args, kwargs in tape.calls:
        if name != "decode":
            getattr(context, name)(*args, **kwargs)
            continue
        context._fill(*args, **kwargs)
        before = time.perf_counter()
        context._run()
        seconds.append(time.perf_counter() - before)
    return seconds
