"""What came of a row: kept in a file under its key, and written into the file of answers.

A kept line is on the disk before the next row is asked. One that a crash cut off is left out, and its row is asked
again.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from decimal import Decimal
from pathlib import Path
from typing import Any, Literal, final

from blackbox_proxy.core.money.amounts import plain
from blackbox_proxy.errors import InputError
from blackbox_proxy.files import writing_whole
from blackbox_proxy.kept import KeptLines, LineStore

KEPT = "kept.jsonl"
"""The file of kept answers, in the folder of a batch."""

Form = Literal["jsonl", "parquet"]


@dataclass(frozen=True, slots=True)
class KeptRow:
    """What came of one question, or the error in its place.

    Attributes:
        key: Stands for everything that it depends on.
        text: The answer; of a choice the best label, None where that is undecided; None where a text was scored.
        exactness: As of `types.Result`; None of a choice, and where there is no answer.
        way: As of `types.Result`, likewise.
        finish: Why it ended, likewise.
        calls: Requests that were sent.
        tokens: Of the answer, or of the text that was scored.
        input: Tokens that the API read.
        output: Tokens that the API wrote.
        cost: US dollars; None where unknown.
        error: What went wrong; "" where nothing did.
        outage: Whether the next row is likely to meet that error too: no network, a wrong key, an API that is down.
        probabilities: Of each label; None where nothing was chosen.
        logp: Natural log-prob of a text in the steered distribution; None where nothing was scored.
        api_logp: The same by the API alone.
    """

    key: str
    text: str | None = None
    exactness: str | None = None
    way: str | None = None
    finish: str | None = None
    calls: int = 0
    tokens: int | None = None
    input: int = 0
    output: int = 0
    cost: Decimal | None = None
    error: str = ""
    outage: bool = False
    probabilities: Mapping[str, float] | None = None
    logp: float | None = None
    api_logp: float | None = None


_FIELDS = frozenset(field.name for field in fields(KeptRow))


@final
class RowStore(LineStore):
    """The kept answers of a folder. Close it, or use it in a `with` block; safe from several threads.

    Its file is for its owner's eyes alone, and of one run at a time. Raises InputError where it cannot be used.
    """

    def __init__(self, folder: Path) -> None:
        super().__init__(KeptLines(folder / KEPT, private=True))
        self._kept = {one.key: one for line in self._lines.before if (one := _read(line)) is not None}

    def __getitem__(self, key: str) -> KeptRow | None:
        """What is kept under a key, an error too; None where nothing is."""
        return self._kept.get(key)

    def keep(self, row: KeptRow) -> None:
        """Write a row; it is on the disk when this returns. Raises InputError where the disk refuses."""
        cost = None if row.cost is None else plain(row.cost)
        self._lines.append(json.dumps(asdict(row) | {"cost": cost}, ensure_ascii=False))
        self._kept[row.key] = row


def _read(line: bytes) -> KeptRow | None:
    try:
        row: Any = json.loads(line)
        if not isinstance(row, dict) or row.keys() != _FIELDS:
            return None
        return KeptRow(**(row | {"cost": None if row["cost"] is None else Decimal(row["cost"])}))
    except (ValueError, TypeError, ArithmeticError):
        return None


def forget(folder: Path) -> bool:
    """Delete the kept answers of a folder; whether there were any. Raises InputError where they cannot be deleted."""
    path = folder / KEPT
    if not path.exists():
        return False
    with RowStore(folder):  # no run may be writing them
        try:
            path.unlink()
        except OSError as error:
            raise InputError(f"cannot delete {path}: {error.strerror}", hint="check the folder's rights") from error
    return True


@final
@dataclass(frozen=True, slots=True)
class RowAnswer:
    """A row of the file of answers. kept: what came of it; only its error where it could not be asked."""

    id: str
    where: str
    kept: KeptRow


COLUMNS: Mapping[str, str] = {
    "id": "text",
    "text": "text",
    "exactness": "text",
    "way": "text",
    "finish": "text",
    "calls": "whole",
    "tokens": "whole",
    "input": "whole",
    "output": "whole",
    "cost_usd": "text",
    "error": "text",
}
"""The columns of answers, each with its type. Dollars are text: to the last digit."""

CHOSEN: Mapping[str, str] = {**COLUMNS, "probabilities": "numbers"}
"""Those where labels are chosen from."""

SCORED: Mapping[str, str] = {**COLUMNS, "logp": "number", "api_logp": "number"}
"""Those where texts are scored."""


def answers_file(folder: Path, form: Form) -> Path:
    """The file of answers."""
    return folder / f"answers.{form}"


def write_answers(folder: Path, answers: Iterable[RowAnswer], *, columns: Mapping[str, str], form: Form) -> Path:
    """Write the file of answers, whole or not at all, in place of an older one; its path.

    Raises InputError where it cannot be written; what is kept stays.
    """
    rows = [_row(one, columns) for one in answers]
    path = answers_file(folder, form)
    with writing_whole(path, replace=True) as file:
        if form == "parquet":
            from blackbox_proxy.batching.parquet import write_table

            write_table(file, columns, rows)
        else:
            file.writelines(_lines(rows))
    return path


def _lines(rows: Sequence[Mapping[str, object]]) -> Iterable[bytes]:
    return ((json.dumps(row, ensure_ascii=False) + "\n").encode("utf-8", "backslashreplace") for row in rows)


def _row(one: RowAnswer, columns: Mapping[str, str]) -> Mapping[str, object]:
    """The values of a row: null where there is nothing to say."""
    kept = one.kept
    error = kept.error if not kept.error or kept.error.startswith(one.where) else f"{one.where}: {kept.error}"
    values = asdict(kept) | {
        "id": one.id,
        "cost_usd": None if kept.cost is None else plain(kept.cost),
        "error": error or None,
    }
    return {name: values[name] for name in columns}
