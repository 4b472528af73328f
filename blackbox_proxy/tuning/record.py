"""The record beside a trained adapter: from what, with which choices and with what result it was made.

Pure but for reading the files that it describes by their hash. Does not know how to train.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

Scalar = str | int | float | bool
Value = Scalar | Sequence[Scalar]


@dataclass(frozen=True, slots=True)
class Record:
    """`choices` are a recipe's fields; `losses` one mean per epoch, nats per token; `date` is ISO."""

    base: Path
    adapter: Path
    lines: Sequence[tuple[str, str]]
    choices: Mapping[str, Scalar | None]
    losses: Sequence[float]
    date: str

    def tables(self) -> dict[str, dict[str, Value]]:
        """What is written down, table by table."""
        return {
            "adapter": {
                "file": self.adapter.name,
                "sha256": file_digest(self.adapter),
                "date": self.date,
            },
            "base": {"sha256": file_digest(self.base)},
            "lines": {"count": len(self.lines), "sha256": lines_digest(self.lines)},
            "recipe": {key: value for key, value in self.choices.items() if value is not None},
            "result": {"losses": [round(loss, 4) for loss in self.losses]},
        }

    def toml(self) -> str:
        """The record as TOML."""
        parts = [
            "\n".join([f"[{name}]", *(f"{key} = {_spell(value)}" for key, value in table.items())])
            for name, table in self.tables().items()
        ]
        return "\n\n".join(parts) + "\n"


def file_digest(path: Path) -> str:
    """SHA-256 of a file's bytes, in hexadecimal."""
    digest = sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def lines_digest(lines: Sequence[tuple[str, str]]) -> str:
    """SHA-256 of the training lines, one JSON array a line."""
    text = "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines)
    return sha256(text.encode()).hexdigest()


def _spell(value: Value) -> str:
    """A TOML value; JSON's spelling of strings, numbers, booleans and lists is also TOML's."""
    return json.dumps(value, ensure_ascii=False)
