"""Where the user's own files lie, how a text file is read, and how it is written: whole or not at all."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from blackbox_proxy.errors import InputError


def config_folder(environ: Mapping[str, str], *, home: Path | None = None) -> Path:
    """The user's settings, prices and profiles: `$XDG_CONFIG_HOME/blackbox-proxy`, or under ~/.config."""
    root = environ.get("XDG_CONFIG_HOME", "")
    return (Path(root) if root else (home or Path.home()) / ".config") / "blackbox-proxy"


def state_folder(environ: Mapping[str, str]) -> Path:
    """What the program keeps: `$XDG_STATE_HOME/blackbox-proxy`, or under ~/.local/state where unset or relative."""
    given = Path(environ.get("XDG_STATE_HOME", ""))
    root = given if given.is_absolute() else Path.home() / ".local" / "state"
    return root / "blackbox-proxy"


def read_text(path: Path) -> str:
    """A file of UTF-8 text, without the byte order mark that some editors write; lines end with a line feed alone.

    Raises OSError, or UnicodeDecodeError.
    """
    return path.read_text(encoding="utf-8-sig")


def decoded(content: bytes) -> str:
    """UTF-8 text without a byte order mark, its line ends as they are. Raises UnicodeDecodeError."""
    return content.decode("utf-8-sig")


def replace_text(path: Path, text: str) -> None:
    """Put `text` into `path` as UTF-8 in one step, with the folders above it. Raises InputError where that fails.

    Whoever reads meanwhile sees the old file or the new one.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=path.parent, prefix=".") as scratch:
            fresh = Path(scratch) / path.name
            with fresh.open("w", encoding="utf-8") as file:
                file.write(text)
                file.flush()
                os.fsync(file.fileno())
            fresh.replace(path)
    except OSError as error:
        raise InputError(f"cannot write {path}: {error.strerror}", hint="check the folder's permissions") from error


def create_whole(path: Path, content: bytes) -> bool:
    """Put `content` into a new file in one step, with the folders above it; False, and nothing done, if there is one.

    Raises:
        InputError: Where it cannot be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=path.parent, prefix=".") as scratch:
            fresh = Path(scratch) / path.name
            fresh.write_bytes(content)
            return _named(fresh, path)
    except OSError as error:
        raise InputError(f"cannot write {path}: {error.strerror}", hint="check the folder's permissions") from error


@contextmanager
def writing_whole(path: Path, *, replace: bool) -> Iterator[IO[bytes]]:
    """A file to write to, which gets its name when all of it is written, and is gone where an error comes before.

    Raises:
        InputError: Where it cannot be written, or without `replace` is there already.
    """
    try:
        with tempfile.TemporaryDirectory(dir=path.parent, prefix=".") as scratch:
            fresh = Path(scratch) / path.name
            with fresh.open("wb") as file:
                yield file
            if replace:
                fresh.replace(path)
            elif not _named(fresh, path):
                raise InputError(f"{path} is there already", hint="name a new file")
    except OSError as error:
        raise InputError(f"cannot write {path}: {error.strerror}", hint="check the folder's permissions") from error


def _named(fresh: Path, path: Path) -> bool:
    """Give a file its name, if nobody has it."""
    try:
        path.hardlink_to(fresh)
    except FileExistsError:
        return False
    except OSError:  # a file system without links
        if path.exists():
            return False
        fresh.replace(path)
    return True
