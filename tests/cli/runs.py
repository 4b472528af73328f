"""How the tests of the command line run it: in this process, or as a process of its own where that matters."""

from __future__ import annotations

import io
import os
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import pytest

from blackbox_proxy.cli import main

PRICES = '[[price]]\nmodel = "tiny"\ninput = 2.5\noutput = 10\n'
"""What the tests' API costs, as a file of prices."""

PROGRAM = (sys.executable, "-m", "blackbox_proxy")
SECONDS = 120

API_CONTEXT = 192
"""Tokens that the tests' API takes; less than the pair, so that either limit can be passed alone."""


@dataclass(frozen=True, slots=True)
class Said:
    """What a run of the command line left behind."""

    status: int
    out: str
    err: str


Cli = Callable[..., Said]
"""`cli(*arguments, stdin=b"")`."""


def in_process(*argv: str, stdin: bytes, patch: pytest.MonkeyPatch, capture: pytest.CaptureFixture[str]) -> Said:
    """Run `main`. An exception that is no exit passes through: on a user's screen it would be a traceback."""
    patch.setattr(sys, "argv", ["blackbox-proxy", *argv])
    patch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(stdin), encoding="utf-8"))
    capture.readouterr()
    with pytest.raises(SystemExit) as left:
        main()
    out, err = capture.readouterr()
    return Said(int(left.value.code or 0), out, err)


def as_process(
    *argv: str, stdin: bytes = b"", environ: Mapping[str, str] | None = None, seconds: float = SECONDS
) -> Said:
    """Run the program by itself and wait for its end."""
    ran = subprocess.run(
        [*PROGRAM, *argv],
        input=stdin,
        capture_output=True,
        timeout=seconds,
        check=False,
        env={**os.environ, **(environ or {})},
    )
    return Said(ran.returncode, ran.stdout.decode(), ran.stderr.decode())
