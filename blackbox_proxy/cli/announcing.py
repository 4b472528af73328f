"""Tells other programs where a server is: a file that holds its URL for as long as it answers."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from blackbox_proxy.files import replace_text


@contextmanager
def ready_in(file: Path | None) -> Iterator[Callable[[str], None]]:
    """Give what writes the URL into the file, whole or not at all; before, and behind the block, there is no file.

    Args:
        file: The file; None writes none.

    Raises:
        InputError: Where it cannot be written.
    """
    if file is None:
        yield lambda _url: None
        return
    file.unlink(missing_ok=True)
    try:
        yield lambda url: replace_text(file, f"{url}\n")
    finally:
        file.unlink(missing_ok=True)
