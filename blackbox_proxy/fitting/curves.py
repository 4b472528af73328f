"""The learning curve of an expert, from the record that training leaves beside it."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from blackbox_proxy.pages.fit import CurvePoints

PAIR = ".pair.toml"
RECORD = ".lora.toml"


def read_curve(pair: str) -> CurvePoints | None:
    """The curve of a pair that was trained here; None where no record has one. pair: the pair file."""
    path = Path(pair)
    record = path.with_name(path.name.removesuffix(PAIR) + RECORD)
    if not path.name.endswith(PAIR) or not record.is_file():
        return None
    try:
        table: Mapping[str, Any] = tomllib.loads(record.read_text(encoding="utf-8")).get("curve", {})
    except (OSError, ValueError):
        return None
    lines, losses = table.get("lines", []), table.get("validation_losses", [])
    if not _drawable(lines, losses):
        return None
    more = bool(table.get("more_lines_help", False))
    return CurvePoints(tuple(lines), tuple(float(loss) for loss in losses), more_lines_help=more)


def _drawable(lines: Sequence[Any], losses: Sequence[Any]) -> bool:
    return len(lines) == len(losses) >= 2 and all(isinstance(one, int | float) for one in (*lines, *losses))
