"""The command line: commands parse and call, `show` turns results into text.

This module only starts it and turns errors into sentences; it imports nothing heavy, so that `--help` is quick.
"""

from __future__ import annotations

import io
import json
import os
import sys
import warnings
from collections.abc import Callable, Mapping

from blackbox_proxy.errors import BlackboxProxyError, InputError

INTERRUPTED = 130


def report(error: BlackboxProxyError, *, as_json: bool, beside: Mapping[str, object] | None = None) -> int:
    """Say what went wrong and what to do; give the exit status: 2 for unusable input, 1 for everything else.

    Where an answer broke off, say what it took until then. beside: what stands beside the error as JSON.
    """
    if as_json:
        described = {"type": type(error).__name__, "message": error.message, "hint": error.hint}
        sys.stdout.write(json.dumps({"error": described, **(_partial(error) if beside is None else beside)}) + "\n")
    else:
        sys.stderr.write(f"error: {error.message}\n")
        if error.hint:
            sys.stderr.write(f"hint: {error.hint}\n")
        if error.partial is not None:
            from blackbox_proxy.cli import show

            show.took(error.partial)
    return 2 if isinstance(error, InputError) else 1


def _partial(error: BlackboxProxyError) -> Mapping[str, object]:
    """What there was when it broke off, as JSON; nothing where there was nothing."""
    if error.partial is None:
        return {}
    from blackbox_proxy.cli import show

    return {"partial": show.result_json(error.partial, trace=False)}


def main() -> None:
    """Run the command line on `sys.argv` and exit."""
    exiting(_app)


def _app() -> None:
    from blackbox_proxy.cli.commands import app

    app(prog_name="blackbox-proxy")


def exiting(run: Callable[[], object]) -> None:
    """Run something as a program, whose errors are sentences, and exit."""
    _prepare()
    try:
        try:
            run()
        finally:
            sys.stdout.flush()
    except BlackboxProxyError as error:
        sys.exit(report(error, as_json="--json" in sys.argv[1:]))
    except KeyboardInterrupt:
        sys.exit(INTERRUPTED)
    except OSError as error:
        sys.exit(_stop_writing(error))


def _stop_writing(error: OSError) -> int:
    """Leave quietly where nobody reads on, and say so where something else failed."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # or the interpreter tries the rest once more
    if not isinstance(error, BrokenPipeError):
        sys.stderr.write(f"error: the system refused: {error}\nhint: check the disk, and where the output goes\n")
    return 1


def _prepare() -> None:
    """Make the streams take every character, and warnings read like sentences."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    warnings.showwarning = _warn


def _warn(message: Warning | str, *_where: object, **_lines: object) -> None:
    sys.stderr.write(f"warning: {message}\n")
