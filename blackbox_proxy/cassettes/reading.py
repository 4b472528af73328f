"""Reads cassettes: line by line and within limits, so that a file that is none costs an error and nothing else."""

from __future__ import annotations

import gzip
import hashlib
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, cast

from blackbox_proxy.cassettes.schema import LONGEST_LINE, CassetteHeader, RecordedAttempt, header_of, row_of
from blackbox_proxy.errors import InputError

MOST = 2 * 2**30
"""Most bytes of a cassette, after decompression."""

_PRUNE = "`blackbox-proxy cassette prune` keeps the whole lines before it"


class CutOff(InputError):
    """The end of a cassette is missing: a recording was killed while it wrote, or a copy is not whole."""


def is_packed(path: Path) -> bool:
    """Whether a cassette is compressed, which its ending says."""
    return path.suffix == ".gz"


def packed_as(path: Path, line: bytes) -> bytes:
    """A line as it stands in this file: a gzip member by itself where it is compressed."""
    return gzip.compress(line, mtime=0) if is_packed(path) else line


def read_header(path: Path) -> CassetteHeader:
    """The header of a cassette. Raises InputError for a file that is none."""
    return _header(path, next(lines_of(path), b""))


def digest_of(path: Path) -> str:
    """The SHA-256 of a file, in hexadecimal: cassettes are told apart by it. Raises InputError where there is none."""
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror}", hint="`--record FILE` writes a cassette") from error


def rows_of(path: Path) -> Iterator[tuple[int, RecordedAttempt]]:
    """The attempts of a cassette, each with the number of its line.

    Raises:
        InputError: With file and line, for the first line that is wrong.
    """
    attempts: dict[str, int] = {}
    lines = lines_of(path)
    _header(path, next(lines, b""))
    for number, line in enumerate(lines, 2):
        try:
            row = row_of(line)
        except ValueError as error:
            raise wrong_line(path, number, str(error)) from None
        last = attempts.get(row.call, 0)
        if row.attempt != last + 1:
            said = f"attempt {row.attempt} of call {row.call!r} follows attempt {last}" if last else _headless(row)
            raise wrong_line(path, number, said)
        attempts[row.call] = row.attempt
        yield number, row


def lines_of(path: Path) -> Iterator[bytes]:
    """The lines of a cassette. Raises InputError for one that is too long, or cut off."""
    total, number = 0, 0
    with _reading(path) as file:
        while line := _next(path, file, number + 1):
            number, total = number + 1, total + len(line)
            if len(line) > LONGEST_LINE:
                raise wrong_line(path, number, f"it is longer than {LONGEST_LINE // 2**20} MiB")
            if not line.endswith(b"\n"):
                raise CutOff(f"{path}, line {number}: it is cut off: it has no end", hint=_PRUNE)
            if total > MOST:
                raise wrong_line(path, number, f"all lines together are longer than {MOST // 2**30} GiB")
            yield line


def wrong_line(path: Path, number: int, said: str, *, hint: str = "record it again") -> InputError:
    """The error for a line of a cassette."""
    shown = said if len(said) <= 300 else said[:300] + "..."
    return InputError(f"{path}, line {number}: {shown}", hint=hint)


def _headless(row: RecordedAttempt) -> str:
    return f"call {row.call!r} begins with attempt {row.attempt}"


def _header(path: Path, line: bytes) -> CassetteHeader:
    if not line:
        raise InputError(f"{path} is empty, so it is no cassette", hint="name another file, or remove it")
    try:
        return header_of(line)
    except ValueError as error:
        raise wrong_line(path, 1, str(error), hint="is this a cassette? `--record` writes one") from None


@contextmanager
def _reading(path: Path) -> Iterator[IO[bytes]]:
    if path.exists() and not path.is_file():
        raise InputError(f"{path} is no file", hint="name a file")
    try:
        file = cast(IO[bytes], gzip.GzipFile(path, "rb")) if is_packed(path) else path.open("rb")
    except FileNotFoundError:
        raise InputError(f"there is no cassette {path}", hint="`--record FILE` writes one") from None
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror}", hint="check its permissions") from error
    with file:
        yield file


def _next(path: Path, file: IO[bytes], number: int) -> bytes:
    """The next line, or as much of it as shows that it is too long."""
    try:
        return file.readline(LONGEST_LINE + 1)
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise CutOff(f"{path}, line {number}: the compressed file is broken there: {error}", hint=_PRUNE) from None
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror}", hint="check the disk") from error
