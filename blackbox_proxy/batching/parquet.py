"""The one door to pyarrow: rows out of a Parquet file, and answers into one. The extra `batch` has it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO, Any

from blackbox_proxy.errors import InputError


def check_parquet() -> None:
    """Raises InputError where pyarrow is not installed."""
    try:
        import pyarrow.parquet  # noqa: F401 (whether it is there)
    except ImportError:
        raise InputError(
            "Parquet needs pyarrow, which is not installed",
            hint="pip install 'blackbox-proxy[batch]', or take JSON lines or CSV",
        ) from None


def read_table(path: Path) -> tuple[list[str], Iterator[Mapping[str, object]]]:
    """The columns of a file, and its rows in their order. Raises InputError for a file that is none."""
    check_parquet()
    import pyarrow as pa
    from pyarrow import parquet

    try:
        table = parquet.read_table(path)
    except OSError as error:
        raise InputError(f"cannot read {path}: {error}", hint="check the path") from None
    except pa.ArrowException as error:
        raise InputError(f"{path} is no Parquet file that can be read: {error}", hint="docs/batch.md") from None
    return list(table.column_names), _rows(table)


def _rows(table: Any) -> Iterator[Mapping[str, object]]:  # noqa: ANN401 (a table of pyarrow, which may be missing)
    for batch in table.to_batches():
        for row in batch.to_pylist():
            yield {name: _plain(value) for name, value in row.items()}


def _plain(value: object) -> object:
    """A value as JSON has it; what JSON has not, such as a date, as its text."""
    if isinstance(value, dict):
        return {name: _plain(one) for name, one in value.items()}
    if isinstance(value, list):
        return [_plain(one) for one in value]
    return value if isinstance(value, str | int | float | None) else str(value)


def write_table(file: IO[bytes], columns: Mapping[str, str], rows: Sequence[Mapping[str, object]]) -> None:
    """Write rows as Parquet.

    Args:
        file: Where.
        columns: Each column with its type: `text`, `whole`, `number` or `numbers` (a number for each of some names).
        rows: Their values, by the columns' names.
    """
    import pyarrow as pa
    from pyarrow import parquet

    types = {
        "text": pa.string(),
        "whole": pa.int64(),
        "number": pa.float64(),
        "numbers": pa.map_(pa.string(), pa.float64()),
    }
    schema = pa.schema([(name, types[kind]) for name, kind in columns.items()])
    values = [{name: _pairs(row.get(name)) for name in columns} for row in rows]
    parquet.write_table(pa.Table.from_pylist(values, schema=schema), file)


def _pairs(value: object) -> object:
    """A mapping as pyarrow takes one."""
    return list(value.items()) if isinstance(value, Mapping) else value
