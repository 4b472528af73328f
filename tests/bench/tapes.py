"""Writes down what is done to a pair's contexts, and does it again with nothing around it."""

from __future__ import annotations

import pickle
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from blackbox_proxy.local.llama import Context
from blackbox_proxy.local.pair import Pair

Batch = dict[str, Any]
"""The arguments of one `Context.decode`."""

METHODS = ("truncate", "copy", "decode")
MEMBERS = ("expert", "anti_expert")


@dataclass(frozen=True, slots=True)
class Done:
    """What was done to a context. at: seconds of the machine's monotonic clock; cpu: what its thread computed."""

    at: float
    name: str
    args: tuple[Any, ...]
    kwargs: Batch
    cpu: float


@dataclass
class Tape:
    """Everything done to one member's context, in order. mark: decodes before the part that is measured."""

    calls: list[Done] = field(default_factory=list)
    mark: int = 0

    @property
    def decoded(self) -> Sequence[Sequence[int]]:
        """The tokens of each decode."""
        return [call.args[0] for call in self.calls if call.name == "decode"]

    def cpu_seconds(self) -> float:
        """What the decodes of the measured part computed while they were recorded."""
        return sum([call.cpu for call in self.calls if call.name == "decode"][self.mark :])

    def between(self, began: float, ended: float) -> Tape:
        """The same up to `ended`; what is measured begins at `began`."""
        calls = [call for call in self.calls if call.at <= ended]
        return Tape(calls, sum(call.name == "decode" and call.at < began for call in calls))


@dataclass(frozen=True, slots=True)
class Spent:
    """Seconds of one decode: by the clock, and of its thread's computing."""

    wall: float
    cpu: float


@contextmanager
def recorded(pair: Pair) -> Iterator[tuple[Tape, Tape]]:
    """Forget what the members hold, and let their contexts write down what is done to them."""
    tapes = Tape(), Tape()
    for member, tape in zip(pair.members, tapes, strict=True):
        member.clear()
        _record(member.context, tape.calls.append)
    try:
        yield tapes
    finally:
        for member in pair.members:
            for name in METHODS:
                delattr(member.context, name)


@contextmanager
def written(pair: Pair, folder: Path) -> Iterator[None]:
    """Write down what is done to a pair's contexts from now on, in files: what is kept would count as memory."""
    with ExitStack() as stack:
        for member, name in zip(pair.members, MEMBERS, strict=True):
            file = stack.enter_context((folder / f"{name}.tape").open("wb"))
            _record(member.context, partial(pickle.dump, file=file))
        yield


def read_tapes(folder: Path) -> list[Tape]:
    """What `written` wrote."""
    return [Tape(list(_entries(folder / f"{name}.tape"))) for name in MEMBERS]


def _entries(path: Path) -> Iterator[Done]:
    with path.open("rb") as file:
        while True:
            try:
                yield pickle.load(file)  # noqa: S301 (written by this run)
            except EOFError:
                return


def _record(context: Context, note: Callable[[Done], object]) -> None:
    for name in METHODS:
        method = getattr(context, name)

        def told(*args: Any, _name: str = name, _method: Any = method, **kwargs: Any) -> None:
            at, before = time.monotonic(), time.thread_time()
            _method(*args, **kwargs)
            note(Done(at, _name, args, kwargs, time.thread_time() - before))

        setattr(context, name, told)


def replay(context: Context, tape: Tape) -> list[Spent]:
    """Do it again; what each decode alone took."""
    spent = []
    for call in tape.calls:
        if call.name != "decode":
            getattr(context, call.name)(*call.args, **call.kwargs)
            continue
        context._fill(*call.args, **call.kwargs)
        before, used = time.perf_counter(), time.thread_time()
        context._run()
        spent.append(Spent(time.perf_counter() - before, time.thread_time() - used))
    return spent
