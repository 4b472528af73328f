"""What `tune` shows while it works: what it is going to take, a bar or plain lines, and how Ctrl-C is heard."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from rich.progress import BarColumn, Progress, TextColumn

from blackbox_proxy.cli import show

if TYPE_CHECKING:
    from types import FrameType

    from blackbox_proxy.tuning import course
    from blackbox_proxy.tuning.run import TuningPlan

EVERY = 10.0
"""Seconds between two lines where there is no terminal."""

HEARD = b"finishing this step and saving; once more breaks off at once\n"


def spoken(seconds: float) -> str:
    """A time as one says it.

    >>> spoken(41.2), spoken(150), spoken(4000)
    ('41 s', '3 min', '1 h 7 min')
    """
    if seconds < 100:
        return f"{seconds:.0f} s"
    hours, minutes = divmod(round(seconds / 60), 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min"


def announce(planned: TuningPlan) -> None:
    """What is going to be trained on what, and the memory that it takes."""
    job, base, expected = planned.job, planned.base, planned.estimate
    recipe = job.recipe
    show.note(f"base: {base.name}, architecture {base.architecture}, {base.sizes.parameters:,} weights")
    show.note(
        f"lines: {len(job.lines):,} to train on, {len(job.held):,} to validate on; {expected.tokens:,} tokens, "
        f"{expected.learnt:,} of them learnt; the longest line has {expected.longest:,}"
    )
    show.note(f"adapter: rank {recipe.rank} on {', '.join(recipe.targets)}; {expected.trained:,} weights")
    show.note(f"steps: {expected.steps:,} at most, {recipe.epochs} epochs of {expected.per_epoch:,}")
    show.note(f"memory: about {expected.memory / 1e9:.1f} GB of {machine_memory() / 1e9:.1f} GB")


def machine_memory() -> int:
    """Bytes of memory that this machine has."""
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


class Meter:
    """Turns a run's progress into figures: tokens a second since it was started or gone on with, and seconds left."""

    def __init__(self, *, seconds: float) -> None:
        self._before, self._tokens = seconds, 0
        self.rate = self.remaining = 0.0

    def read(self, now: course.Progress) -> str:
        """Takes a step in, and says where the run is."""
        done = len(now.course.losses)
        self._tokens += now.tokens
        self.rate = self._tokens / max(now.seconds - self._before, 1e-9)
        self.remaining = now.seconds / done * (now.steps - done)
        return f"loss {now.course.losses[-1]:.3f}, {self.rate:,.0f} tokens/s, {spoken(self.remaining)} left"


@contextmanager
def progress(*, seconds: float, done: int) -> Iterator[Callable[[course.Progress], None]]:
    """A bar on a terminal, otherwise a line now and then; every epoch leaves a line of its own.

    seconds, done: what the run had taken, and its steps, before it was gone on with.
    """
    meter, columns = (
        Meter(seconds=seconds),
        (BarColumn(), TextColumn("{task.completed}/{task.total} {task.description}")),
    )
    with Progress(*columns, console=show.err, transient=True, disable=not show.err.is_terminal) as bar:
        task, said = bar.add_task("", completed=done, total=None), time.monotonic()

        def tell(now: course.Progress) -> None:
            nonlocal said
            step, where = len(now.course.losses), meter.read(now)
            bar.update(task, completed=step, total=now.steps, description=where)
            if now.course.ends_an_epoch:
                show.note(epoch_line(now.course))
            elif not show.err.is_terminal and time.monotonic() - said >= EVERY:
                show.note(f"step {step} of {now.steps}: {where}")
            else:
                return
            said = time.monotonic()

        yield tell


def epoch_line(now: course.Course) -> str:
    """The losses of the epoch that has just ended."""
    line = f"epoch {len(now.means)}: loss {now.means[-1]:.4f}"
    if not now.validations:
        return line
    return f"{line}, validation {now.validations[-1]:.4f}{' (the best so far)' if now.is_best else ''}"


@contextmanager
def breakable() -> Iterator[Callable[[], bool]]:
    """Tells whether Ctrl-C or a request to end came, so that a step can be finished first; a second one breaks off."""
    asked = False

    def hear(_number: int, _frame: FrameType | None) -> None:
        nonlocal asked
        if asked:
            raise KeyboardInterrupt
        asked = True
        os.write(2, HEARD)  # sys.stderr may be in the middle of a write, and takes no second one within it

    before = {number: signal.signal(number, hear) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield lambda: asked
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
