"""The ledger's rows as CSV or as JSON lines, one row each, with the names of `rows.LedgerRow`.

Amounts are text, so that no reader rounds them; what is unknown is empty in CSV and null in JSON.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Iterable
from dataclasses import fields
from typing import TextIO

from blackbox_proxy.core.money.amounts import plain
from blackbox_proxy.ledger.rows import LedgerRow

NAMES = tuple(field.name for field in fields(LedgerRow))


def write_jsonl(rows: Iterable[LedgerRow], out: TextIO) -> int:
    """One JSON object a line; raw usage and price as objects. How many there were."""
    count = 0
    for count, row in enumerate(rows, 1):  # noqa: B007 (the count is the result)
        record = _plain(row)
        for name in ("usage", "price"):
            text = record[name]
            record[name] = json.loads(text) if isinstance(text, str) else None
        out.write(json.dumps(record | {"tags": dict(row.tags)}, ensure_ascii=False) + "\n")
    return count


def write_csv(rows: Iterable[LedgerRow], out: TextIO) -> int:
    """A head and a line per row; raw usage, price and tags as JSON. How many rows there were."""
    writer = csv.DictWriter(out, NAMES, lineterminator="\n")
    writer.writeheader()
    count = 0
    for count, row in enumerate(rows, 1):  # noqa: B007 (the count is the result)
        writer.writerow(_plain(row) | {"tags": json.dumps(dict(row.tags), ensure_ascii=False)})
    return count


def _plain(row: LedgerRow) -> dict[str, object]:
    """The fields by name, amounts as text."""
    record: dict[str, object] = {name: getattr(row, name) for name in NAMES}
    for name in ("reserved", "cost"):
        amount = getattr(row, name)
        record[name] = None if amount is None else plain(amount)
    return record
