"""Reads the rows of a file: JSON lines, CSV, or Parquet, by its ending.

A row that cannot be asked is told in its place. A file of another shape altogether is one error, before anything is
asked. Knows what a file is like, and not what a row means.
"""

from __future__ import annotations

import csv
import io
import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from blackbox_proxy.batching.rows import FIELDS, KNOBS, BatchRow, BrokenRow, RowForm, UnreadableRow, only_once
from blackbox_proxy.errors import InputError
from blackbox_proxy.files import decoded

LONGEST_CELL = 2**25
"""Most characters of a cell of a CSV file."""

FORMS = {".jsonl": "JSON lines", ".ndjson": "JSON lines", ".csv": "CSV", ".parquet": "Parquet"}
"""What the ending of a file says."""

HINT = "docs/batch.md has the form: .jsonl with an object a line, .csv with a header, or .parquet"

_TEXTS = {"id", "prompt", "system", "pair_prompt", "text"}
"""Cells of a CSV file that are text, whatever they look like."""


def read_rows(path: Path, form: RowForm) -> list[BatchRow | BrokenRow]:
    """All rows of a file, in their order.

    Raises:
        InputError: For a file that cannot be read, is of another shape, or has no row that can be asked.
    """
    read = {"JSON lines": _json_lines, "CSV": _csv, "Parquet": _parquet}.get(FORMS.get(path.suffix.lower(), ""))
    if read is None:
        raise InputError(f"{path} ends neither in {', '.join(FORMS)}", hint=HINT)
    rows = only_once(
        form.read(value, number=number, where=f"{path.name}, {where}")
        for number, (where, value) in enumerate(read(path, form), 1)
    )
    if not rows:
        raise InputError(f"{path} has no row", hint=HINT)
    first = rows[0]
    if isinstance(first, BrokenRow) and all(isinstance(row, BrokenRow) for row in rows):
        raise InputError(f"no row of {path} can be asked ({len(rows):,} rows); {first.error}", hint=HINT)
    return rows


def _content(path: Path) -> str:
    try:
        return decoded(path.read_bytes())
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror}", hint="check the path") from None
    except UnicodeDecodeError as error:
        raise InputError(f"{path} is no text in UTF-8: {error}", hint="convert it, with iconv for instance") from None


def _json_lines(path: Path, _form: RowForm) -> Iterator[tuple[str, object]]:
    """Each line that is not blank. Raises InputError for one array of all rows."""
    content = _content(path)
    if content.lstrip().startswith("["):
        raise InputError(f"{path} holds a JSON array", hint="write an object a line: `jq -c '.[]'` does that")
    for number, line in enumerate(content.split("\n"), 1):
        if line.strip():
            yield f"line {number}", _object(line)


def _object(line: str) -> object:
    try:
        return json.loads(line)
    except (ValueError, RecursionError) as error:
        return UnreadableRow(f"it is no JSON: {error}")


def _csv(path: Path, form: RowForm) -> Iterator[tuple[str, object]]:
    """Each row as an object; cells that are empty are not set. Raises InputError for a header that is none of ours."""
    csv.field_size_limit(LONGEST_CELL)
    reader = csv.reader(io.StringIO(_content(path), newline=""), strict=True)
    try:
        header = next(reader, [])
        _check_columns(path, header, form)
        line = reader.line_num + 1
        for cells in reader:
            if cells:
                yield f"line {line}", _row(header, cells)
            line = reader.line_num + 1
    except csv.Error as error:
        raise InputError(f"{path}, line {reader.line_num} is no CSV: {error}", hint=HINT) from None


def _check_columns(path: Path, names: list[str], form: RowForm) -> None:
    """Raises InputError for columns that are none of ours: each row would have the same mistake."""
    twice = [name for name, count in Counter(names).items() if count > 1]
    if twice:
        raise InputError(f"{path} has two columns {twice[0]!r}", hint="rename one of them")
    needed = {"text"} if form.scored else {"prompt", "messages"}
    if not needed & set(names):
        shown = ", ".join(names) if len(names) < 20 else f"{len(names)} columns"
        raise InputError(
            f"{path} has no column {' or '.join(repr(name) for name in sorted(needed, reverse=True))}; it has {shown}",
            hint=HINT,
        )
    strange = [name for name in names if name not in FIELDS and name not in KNOBS and name not in form.ignored]
    if strange:
        raise InputError(
            f"{path} has a column {strange[0]!r}, which is neither a field of a row nor a knob of steering",
            hint=f"leave it out, or pass over it: --ignore {strange[0]!r}; docs/batch.md has the columns",
        )


def _row(header: list[str], cells: list[str]) -> object:
    """A row as an object."""
    if len(cells) != len(header):
        return UnreadableRow(f"it has {len(cells)} cells, and the header has {len(header)}")
    return {name: _cell(name, cell) for name, cell in zip(header, cells, strict=True) if cell}


def _cell(name: str, cell: str) -> object:
    """The value of a cell: what JSON has where it is a number or a list, else its text."""
    if name in _TEXTS or (name == "stop" and not cell.startswith("[")):
        return cell
    try:
        return json.loads(cell)
    except (ValueError, RecursionError):
        return cell


def _parquet(path: Path, form: RowForm) -> Iterator[tuple[str, object]]:
    from blackbox_proxy.batching.parquet import read_table

    names, values = read_table(path)
    _check_columns(path, names, form)
    for number, value in enumerate(values, 1):
        yield f"row {number}", value
