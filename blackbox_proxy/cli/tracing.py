"""The page of one answer that `steer --trace-html` writes, whether the answer ends or breaks off."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from blackbox_proxy.cli.options import page_option
from blackbox_proxy.cli.pagefile import check_page_file, program, write_page
from blackbox_proxy.errors import InputError

if TYPE_CHECKING:
    from blackbox_proxy.run.engine import Stream
    from blackbox_proxy.steering import Steering
    from blackbox_proxy.types import Prompt

TraceFile = Annotated[Path | None, page_option("--trace-html", " with every token", unset="none")]


def check(file: Path | None, *, answers: int) -> None:
    """Raises InputError where no page can be written, before anything is paid for."""
    if file is None:
        return
    if answers > 1:
        raise InputError(f"--trace-html shows one answer, and --n asks for {answers}", hint="drop --n, or take --trace")
    check_page_file(file)


@contextmanager
def traced(
    running: Iterator[Stream], file: Path | None, *, asked: Prompt, steering: Steering, quiet: bool
) -> Iterator[Iterator[Stream]]:
    """The answers; where there is a file, the only one of them, whose page is written at the end.

    Of an answer that breaks off the page has what there was, if there was anything.
    """
    if file is None:
        yield running
        return
    from blackbox_proxy.pages.trace import Trace, trace_page

    one = next(running)
    try:
        yield iter((one,))
    except BaseException:
        result = one.partial
        raise
    else:
        result = one.result
    finally:
        if result.steps:
            page = trace_page(
                Trace(result, asked, steering.alpha, dt.datetime.now(dt.UTC), program(), steering.schedule)
            )
            write_page(file, page, quiet=quiet)
