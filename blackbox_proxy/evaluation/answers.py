"""Answers that were given, kept in a file: one line of JSON each, on the disk before the next question is asked.

A line is found again by a key that stands for everything that the answer depends on, so that a run which is killed, or
done again with other arms, asks nothing twice. A line that was cut off by a crash is left out; so is one of another
version of this file.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, fields
from decimal import Decimal
from pathlib import Path
from typing import Any, final

from blackbox_proxy.kept import KeptLines, LineStore


@dataclass(frozen=True, slots=True)
class KeptAnswer:
    """One answer, or the error that there was in place of one.

    seconds: from question to answer, of which `local` were spent computing the pair. cost: US dollars of its
    requests, None where it is unknown. calls, lost, input, cached, output, wasted: as `types.Usage`. tokens, changed,
    outside, certified, off: of a steered answer its steps, how many of them were not the API's own, came from
    outside the top-k, are certified, and the sum of the bounds on total variation. outweighed: as in `types.Step`.
    exact: whether each step rests on exactly the text before. shown: of the arm `in_place` alone, whether the model
    shows what is right there. samples: the distinct whole answers that it was chosen from. features: of the arm
    `expert` alone, what is known of its answer (`routing.ROUTE_FEATURES`).
    """

    key: str
    task: str
    item: str
    arm: str
    text: str = ""
    error: str = ""
    seconds: float = 0.0
    cost: Decimal | None = None
    calls: int = 0
    lost: int = 0
    input: int = 0
    cached: int = 0
    output: int = 0
    wasted: int = 0
    local: float = 0.0
    tokens: int = 0
    changed: int = 0
    outside: int = 0
    outweighed: int = 0
    certified: int = 0
    off: float = 0.0
    exact: bool = True
    shown: bool | None = None
    samples: tuple[str, ...] = ()
    features: tuple[float, ...] = ()


FIELDS = frozenset(field.name for field in fields(KeptAnswer))


@final
class AnswerStore(LineStore):
    """An open file of answers. Close it, or use it in a `with` block; safe from several threads."""

    def __init__(self, path: Path) -> None:
        self.path = path
        super().__init__(KeptLines(path))
        self._answers = {one.key: one for line in self._lines.before if (one := _read(line)) is not None}

    def __getitem__(self, key: str) -> KeptAnswer | None:
        """The answer of a key; None where there is none, or only an error."""
        answer = self._answers.get(key)
        return None if answer is None or answer.error else answer

    def last(self, key: str) -> KeptAnswer | None:
        """The answer of a key, or the error that was there in its place."""
        return self._answers.get(key)

    def keep(self, answer: KeptAnswer) -> None:
        """Write an answer; it is on the disk when this returns. Raises InputError where the disk refuses."""
        cost = None if answer.cost is None else str(answer.cost)
        self._lines.append(json.dumps(asdict(answer) | {"cost": cost}, ensure_ascii=False))
        self._answers[answer.key] = answer


def _read(line: bytes) -> KeptAnswer | None:
    try:
        row: Any = json.loads(line)
        if not isinstance(row, dict) or row.keys() != FIELDS:
            return None
        cost = None if row["cost"] is None else Decimal(row["cost"])
        read = {"cost": cost, "samples": tuple(row["samples"]), "features": tuple(row["features"])}
        return KeptAnswer(**(row | read))
    except (ValueError, TypeError, ArithmeticError):
        return None
