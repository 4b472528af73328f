"""Ends a server with the process that started it, so that none outlives a test run. Knows no server."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

EVERY = 0.2
"""Seconds between two looks."""


@contextmanager
def watching_parent(
    parent: int | None, end: Callable[[], object], *, current: Callable[[], int] = os.getppid, every: float = EVERY
) -> Iterator[None]:
    """Call `end` once the parent is another one than it was; until then and inside the block.

    Args:
        parent: The process that is to be there; None watches none.
        end: What is done when it is gone, in a thread of its own.
        current: Gives the parent of this process; an orphan gets another one.
        every: Seconds between two looks.
    """
    over = threading.Event()

    def watch() -> None:
        while not over.wait(every):
            if current() != parent:
                end()
                return

    thread = threading.Thread(target=watch, name="parent", daemon=True)
    if parent is not None:
        thread.start()
    try:
        yield
    finally:
        over.set()
        if parent is not None:
            thread.join()
