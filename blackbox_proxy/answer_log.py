"""The log of answers: what was asked and answered, one JSON object a line, in a file that its owner alone may read.

It is kept only where somebody names a file. Several processes may write to one file: each row is appended under a lock,
whole. Keys are taken out of every row, as of cassettes.
"""

from __future__ import annotations

import datetime as dt
import json
import os
import stat
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import fields
from decimal import Decimal
from pathlib import Path
from typing import Any, final

from blackbox_proxy.cassettes.redacting import Redactor
from blackbox_proxy.core.money.amounts import plain
from blackbox_proxy.core.money.spending import known_of, unpriced_of
from blackbox_proxy.errors import InputError
from blackbox_proxy.steering import Steering
from blackbox_proxy.types import Prompt, Result

FORM = 1
"""The version of the rows' form; each row begins with it, so that no other file is taken for a log."""

MARK = "blackbox_proxy_log"
OWNER_ALONE = 0o600
HINT = "name another file, or leave the log out"


def now() -> dt.datetime:
    """The time, UTC."""
    return dt.datetime.now(dt.UTC)


def answer_row(
    prompt: Prompt,
    result: Result,
    steering: Steering,
    *,
    command: str,
    model: str,
    error: str = "",
    more: Mapping[str, object] | None = None,
) -> dict[str, object]:
    """One answer as a row of the log.

    Args:
        prompt: What was asked: of a conversation the last question and the system message alone.
        result: The answer, or what there was of one that broke off.
        steering: Its knobs.
        command: Who asked: `steer`, `chat`.
        model: The name by which the model was called, where the endpoint gives none.
        error: Why it broke off; "" where it did not.
        more: What stands besides, as the place in a conversation.
    """
    asked: dict[str, object] = {"text": prompt.text}
    if prompt.messages:
        asked = {"messages": [{"role": one.role, "content": one.content} for one in prompt.messages]}
    unpriced = unpriced_of(result.calls)
    return {
        "command": command,
        **(more or {}),
        "model": result.model or model,
        **asked,
        "answer": result.text,
        "finish": result.finish,
        "knobs": knobs_of(steering),
        "calls": result.usage.requests,
        "input": result.usage.input,
        "output": result.usage.output,
        "cost": None if result.cost is None else plain(result.cost),
        **({"known_cost": plain(known_of(result.calls)), "unpriced": unpriced} if unpriced else {}),
        "seconds": round(result.seconds, 3),
        **({"error": error} if error else {}),
    }


def is_empty(result: Result) -> bool:
    """Whether nothing came and nothing was paid for."""
    return not (result.steps or result.usage.answered or result.usage.lost)


def knobs_of(steering: Steering) -> dict[str, object]:
    """alpha, and the knobs that are not at their defaults, as JSON has them."""
    usual = Steering()
    changed = {
        one.name: getattr(steering, one.name)
        for one in fields(Steering)
        if one.name == "alpha" or getattr(steering, one.name) != getattr(usual, one.name)
    }
    return {name: _plain(value) for name, value in changed.items()}


def _plain(value: object) -> object:
    if isinstance(value, tuple):
        return list(value)
    return value if isinstance(value, str | int | float | None) else str(value)


@final
class AnswerLog:
    """A file that rows are appended to. Made where it is not there; of one that is, the owner's rights alone stay.

    Raises InputError where it cannot be written, or is no log: before anything is asked and paid for.
    """

    def __init__(
        self, path: Path, *, environ: Mapping[str, str] | None = None, clock: Callable[[], dt.datetime] = now
    ) -> None:
        self.path = path
        self._clock = clock
        self._redactor = Redactor.of((), environ=environ)
        with self._open():
            pass

    def append(self, row: Mapping[str, object]) -> None:
        """Write one row, with the time. Raises InputError where the system refuses."""
        at = self._clock().isoformat(timespec="milliseconds")
        text = json.dumps({MARK: FORM, "at": at, **_object(self._redactor.value(row))}, ensure_ascii=False)
        line = text.encode("utf-8", "backslashreplace") + b"\n"
        with self._open() as file:
            if not _ends_whole(file):  # a process that was killed while it wrote
                line = b"\n" + line
            while line:
                line = line[os.write(file, line) :]

    @contextmanager
    def _open(self) -> Iterator[int]:
        """The file, locked. It is opened anew each time: somebody may have moved it away."""
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            # Not blocking: a pipe that nobody reads must be refused, and not waited for.
            flags = os.O_RDWR | os.O_APPEND | os.O_CREAT | getattr(os, "O_NONBLOCK", 0)
            file = os.open(self.path, flags, OWNER_ALONE)
            try:
                _prepare(self.path, file)
                yield file
            finally:
                os.close(file)
        except OSError as error:
            raise InputError(f"cannot write the log {self.path}: {error.strerror}", hint=HINT) from error


def _prepare(path: Path, file: int) -> None:
    """Lock the file, and close it to others. Raises InputError for what is no log, and leaves that as it is."""
    about = os.fstat(file)
    if not stat.S_ISREG(about.st_mode):
        raise InputError(f"the log {path} is no file that can be kept", hint=HINT)
    with suppress(ImportError):  # Windows has no such lock; there a row is whole if one process writes
        import fcntl

        fcntl.flock(file, fcntl.LOCK_EX)  # until the file is closed
    begins = os.read(file, len(_BEGINS))
    if not _BEGINS.startswith(begins):
        raise InputError(f"{path} is there already and is no log of answers", hint=HINT)
    if about.st_mode & 0o077 and hasattr(os, "fchmod"):
        os.fchmod(file, OWNER_ALONE)


def _object(value: object) -> dict[str, object]:
    return value if isinstance(value, dict) else {}


def _ends_whole(file: int) -> bool:
    size = os.lseek(file, 0, os.SEEK_END)
    if not size:
        return True
    os.lseek(file, size - 1, os.SEEK_SET)
    return os.read(file, 1) == b"\n"


_BEGINS = f'{{"{MARK}": '.encode()


def last_rows(path: Path, count: int, *, query: str = "") -> Sequence[Mapping[str, Any]]:
    """The last rows of a log that hold a text in a question, an answer or the model's name; the oldest first.

    Capital and small letters are alike. What is no row, as a line that was cut off, is passed over. The file is read
    through, and no more than `count` rows are held.

    Raises:
        InputError: Where it cannot be read.
    """
    sought = query.casefold()
    try:
        with path.open("rb") as file:
            return deque((row for row in map(_row, file) if row is not None and sought in _words(row)), maxlen=count)
    except OSError as error:
        raise InputError(
            f"cannot read the log {path}: {error.strerror}", hint="a log is kept where --log, or the setting, names it"
        ) from error


def _row(line: bytes) -> Mapping[str, Any] | None:
    with suppress(ValueError, RecursionError):
        row = json.loads(line)
        if isinstance(row, dict) and row.pop(MARK, None) == FORM:
            return row
    return None


def question_of(row: Mapping[str, Any]) -> str:
    """What was asked: the raw text, or the last message."""
    messages = row.get("messages")
    if isinstance(messages, list) and messages and isinstance(messages[-1], dict):
        return str(messages[-1].get("content", ""))
    return str(row.get("text", ""))


def _words(row: Mapping[str, Any]) -> str:
    """Where a search looks."""
    messages = row.get("messages")
    said = [str(one.get("content", "")) for one in messages if isinstance(one, dict)] if messages else []
    return "\n".join(
        (*said, str(row.get("text", "")), str(row.get("answer", "")), str(row.get("model", "")))
    ).casefold()


def cost_of(row: Mapping[str, Any]) -> Decimal | None:
    """US dollars; None where unknown."""
    cost = row.get("cost")
    return Decimal(cost) if isinstance(cost, str) else None
