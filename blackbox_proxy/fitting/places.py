"""The places of reference answers, kept in a file: what they cost is paid once (`Steerer.collect`)."""

from __future__ import annotations

import json
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any, final

from blackbox_proxy.errors import InputError
from blackbox_proxy.kept import KeptLines, LineStore
from blackbox_proxy.types import ReferencePlace


@dataclass(frozen=True, slots=True)
class CollectedLine:
    """The places of one reference answer.

    Attributes:
        key: Stands for everything that they depend on.
        item: The name of the line.
        places: Those at which somebody tells what the API says.
        calls: Requests that they took.
        cost: US dollars of these; None where that is unknown.
    """

    key: str
    item: str
    places: tuple[ReferencePlace, ...]
    calls: int = 0
    cost: Decimal | None = None

    def __str__(self) -> str:
        """As one line of JSON."""
        cost = None if self.cost is None else str(self.cost)
        row = {"key": self.key, "item": self.item, "calls": self.calls, "cost": cost}
        return json.dumps(row | {"places": [str(place) for place in self.places]})


@final
class PlaceStore(LineStore):
    """An open file of them. Close it, or use it in a `with` block. A line that was cut off by a crash is left out."""

    def __init__(self, path: Path) -> None:
        super().__init__(KeptLines(path))
        self._kept = {one.key: one for line in self._lines.before if (one := _read(line)) is not None}

    def __getitem__(self, key: str) -> CollectedLine | None:
        """The places of a key; None where there are none."""
        return self._kept.get(key)

    def keep(self, line: CollectedLine) -> None:
        """Write places; they are on the disk when this returns. Raises InputError where the disk refuses."""
        self._lines.append(str(line))
        self._kept[line.key] = line


def _read(line: bytes) -> CollectedLine | None:
    try:
        row: Any = json.loads(line)
        places = tuple(ReferencePlace.read(place) for place in row["places"])
        cost = None if row["cost"] is None else Decimal(row["cost"])
        return CollectedLine(str(row["key"]), str(row["item"]), places, int(row["calls"]), cost)
    except (ValueError, TypeError, KeyError, ArithmeticError, InputError):
        return None
