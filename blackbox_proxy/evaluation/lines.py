"""A file of lines that only grows: each is on the disk before the next question is asked.

What a crash cut off is left out when the file is read again.
"""

from __future__ import annotations

import os
import threading
from pathlib import Path
from types import TracebackType
from typing import Self, final

from blackbox_proxy.errors import InputError


@final
class KeptLines:
    """An open file of lines; safe from several threads. before: the lines that were there when it was opened."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock = threading.Lock()
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._file = path.open("a+b")
            self._file.seek(0)
            read = self._file.read()
        except OSError as error:
            raise InputError(f"cannot use {path}: {error.strerror}", hint="name another folder") from error
        self.before = read.split(b"\n")
        if read and not read.endswith(b"\n"):
            self._file.write(b"\n")

    def append(self, line: str) -> None:
        """Write a line; it is on the disk when this returns. Raises InputError where the disk refuses."""
        with self._lock:
            try:
                self._file.write(line.encode("utf-8", "backslashreplace") + b"\n")
                self._file.flush()
                os.fsync(self._file.fileno())
            except OSError as error:
                raise InputError(f"cannot write {self.path}: {error.strerror}", hint="check the disk") from error

    def close(self) -> None:
        """Close the file."""
        self._file.close()


class LineStore:
    """What is kept in such a file. Close it, or use it in a `with` block. lines: the file."""

    def __init__(self, lines: KeptLines) -> None:
        self._lines = lines

    def close(self) -> None:
        """Close the file."""
        self._lines.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()
