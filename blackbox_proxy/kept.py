"""What was answered, kept in a file of lines that only grows: each is on the disk before the next question is asked.

What a crash cut off is left out when the file is read again. A line is known again by a key that stands for everything
that it depends on, so that nothing is asked twice.
"""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict
from hashlib import sha256
from pathlib import Path
from types import TracebackType
from typing import Self, final

from blackbox_proxy.errors import InputError
from blackbox_proxy.steering import Steering


def key_of(settings: Mapping[str, object]) -> str:
    """A key that changes with anything that an answer depends on."""
    return sha256(json.dumps(settings, sort_keys=True, ensure_ascii=False).encode()).hexdigest()[:32]


def turned_knobs(steering: Steering) -> dict[str, object]:
    """The knobs that are not at their default: a new one that nobody turns makes no answer a different one."""
    usual = asdict(Steering())
    return {name: value for name, value in asdict(steering).items() if value != usual[name]}


@final
class KeptLines:
    """An open file of lines; safe from several threads. before: the lines that were there when it was opened.

    private: the owner alone may read the file, and one process alone may have it open.
    """

    def __init__(self, path: Path, *, private: bool = False) -> None:
        self.path = path
        self._lock = threading.Lock()
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            opener = _owners_opener if private else None
            self._file = open(path, "a+b", buffering=0, opener=opener)  # noqa: SIM115 (no opener there; `close`)
            if private and not _held(self._file.fileno()):
                self._file.close()
                raise InputError(f"another run is writing {path}", hint="wait for its end, or name another folder")
            self._file.seek(0)
            read = self._file.read()
        except OSError as error:
            raise InputError(f"cannot use {path}: {error.strerror}", hint="name another folder") from error
        self.before = read.split(b"\n")
        self._torn = bool(read) and not read.endswith(b"\n")

    def append(self, line: str) -> None:
        """Write a line; it is on the disk when this returns. Raises InputError where the disk refuses."""
        with self._lock:
            rest = (b"\n" if self._torn else b"") + line.encode("utf-8", "backslashreplace") + b"\n"
            self._torn = True  # a line that the disk takes in part is ended before the next one
            try:
                while rest:
                    rest = rest[self._file.write(rest) :]
                os.fsync(self._file.fileno())
            except OSError as error:
                raise InputError(f"cannot write {self.path}: {error.strerror}", hint="check the disk") from error
            self._torn = False

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


def _owners_opener(path: str, flags: int) -> int:
    """Opens a file that the owner alone may read, one that was there too."""
    file = os.open(path, flags, 0o600)
    with suppress(AttributeError):  # Windows has no such rights
        os.fchmod(file, 0o600)
    return file


def _held(file: int) -> bool:
    """Lock a file until it is closed; False where another process holds it."""
    with suppress(ImportError):  # Windows has no such lock
        import fcntl

        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
    return True
