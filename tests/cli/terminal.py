"""The program on a terminal of its own: what is typed reaches it as keys, Ctrl-C as a signal."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import select
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

from tests.cli.runs import SECONDS

CTRL_C, CTRL_D, UP, BACKSPACE, TAB = "\x03", "\x04", "\x1b[A", "\x7f", "\t"
PASTE, PASTED = "\x1b[200~", "\x1b[201~"

_OWN_TERMINAL = (
    "import fcntl, os, sys, termios; fcntl.ioctl(0, termios.TIOCSCTTY, 0);"
    "os.execv(sys.executable, [sys.executable, '-m', 'blackbox_proxy', *sys.argv[1:]])"
)
"""Makes standard input the terminal of the session, and becomes the program."""


@dataclass
class Terminal:
    """What it was sent so far, and the program behind it."""

    file: int
    process: subprocess.Popen[bytes]
    shown: str = ""
    read: int = 0

    def type(self, text: str) -> None:
        os.write(self.file, text.encode())

    def wait(self, pattern: str) -> re.Match[str]:
        """Wait until what is new holds the pattern; what stands before its end is old then."""
        self.until(lambda: re.search(pattern, self.shown[self.read :]), pattern)
        match = re.search(pattern, self.shown[self.read :])
        assert match
        self.read += match.end()
        return match

    def until(self, holds: Callable[[], object], what: str) -> None:
        """Read until something holds. what: it in words."""
        until = time.monotonic() + SECONDS
        while not holds():
            assert time.monotonic() < until, f"{what!r} never came: {self.shown[self.read :]!r}"
            ready, _, _ = select.select([self.file], [], [], 0.05)
            if ready:
                self._take()

    def end(self) -> int:
        """Wait for the end of the program; its status."""
        while self._take():
            pass
        return self.process.wait(SECONDS)

    def _take(self) -> bool:
        try:
            fresh = os.read(self.file, 65536)
        except OSError:  # Linux' way of saying that the other side is closed
            fresh = b""
        self.shown += fresh.decode("utf-8", "replace")
        return bool(fresh)


@contextmanager
def on_own_terminal(*argv: str, environ: Mapping[str, str] | None = None, columns: int = 80) -> Iterator[Terminal]:
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
    process = subprocess.Popen(
        [sys.executable, "-c", _OWN_TERMINAL, *argv],
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        start_new_session=True,
        env={**os.environ, "TERM": "xterm", "LC_ALL": "C.UTF-8", **(environ or {})},
    )
    os.close(theirs)
    try:
        yield Terminal(ours, process)
    finally:
        process.kill()
        process.wait(SECONDS)
        os.close(ours)
