"""The record beside a trained adapter: from what, with which choices and with what result it was made.

Pure but for reading the files that it describes by their hash. Does not know how to train.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

from blackbox_proxy.tuning.course import Course
from blackbox_proxy.tuning.facts import FactSearch
from blackbox_proxy.tuning.learning import LearningCurve
from blackbox_proxy.tuning.lines import Line, lines_digest

Scalar = str | int | float | bool
Value = Scalar | Sequence[Scalar]


@dataclass(frozen=True, slots=True)
class TuningFindings:
    """What a run found out besides: whether more lines would help, and where the facts of answers are."""

    learning: LearningCurve | None = None
    facts: FactSearch | None = None

    def tables(self) -> dict[str, dict[str, Value]]:
        """What is written down of it; nothing where it was not looked for."""
        tables: dict[str, dict[str, Value]] = {}
        if self.facts is not None:
            tables["facts"] = {
                "share": round(self.facts.share, 4),
                "used": self.facts.used,
                "examples": self.facts.examples,
            }
        if self.learning is not None:
            tables["curve"] = {
                "lines": self.learning.lines,
                "validation_losses": _rounded(self.learning.losses),
                "last_fall": round(self.learning.last_fall, 4),
                **({"error": round(self.learning.error, 4)} if math.isfinite(self.learning.error) else {}),
                "more_lines_help": self.learning.more_lines_help,
            }
        return tables


@dataclass(frozen=True, slots=True)
class TuningRecord:
    """base: what the base is called, and `base_digest` its SHA-256. choices: a recipe's fields. date: ISO.

    Losses are rounded to four places: nats per learnt token, one mean an epoch.
    """

    base: str
    base_digest: str
    adapter: Path
    lines: Sequence[Line]
    held: Sequence[Line]
    choices: Mapping[str, Value | None]
    course: Course
    date: str
    findings: TuningFindings = TuningFindings()

    def tables(self) -> dict[str, dict[str, Value]]:
        """What is written down, table by table; of validation nothing where there was none."""
        tables: dict[str, dict[str, Value]] = {
            "adapter": {
                "file": self.adapter.name,
                "sha256": file_digest(self.adapter),
                "date": self.date,
            },
            "base": {"file": self.base, "sha256": self.base_digest},
            "lines": {"count": len(self.lines), "sha256": lines_digest(self.lines)},
            "validation": {"count": len(self.held), "sha256": lines_digest(self.held)},
            "recipe": {key: value for key, value in self.choices.items() if value is not None},
            "result": self._result(),
            **self.findings.tables(),
        }
        return tables if self.held else {name: table for name, table in tables.items() if name != "validation"}

    def _result(self) -> dict[str, Value]:
        result: dict[str, Value] = {"losses": _rounded(self.course.means)}
        if self.held:
            result |= {"validation_losses": _rounded(self.course.validations), "best_epoch": self.course.best}
        return result

    def toml(self) -> str:
        """The record as TOML."""
        parts = [
            "\n".join([f"[{name}]", *(f"{key} = {spelt(value)}" for key, value in table.items())])
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


def spelt(value: Value) -> str:
    """A TOML value; JSON's spelling of strings, numbers, booleans and lists is also TOML's."""
    return json.dumps(value, ensure_ascii=False)


def _rounded(losses: Sequence[float]) -> Sequence[float]:
    return [round(loss, 4) for loss in losses]
