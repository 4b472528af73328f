"""Writes the items of a task into its files, and puts each on one side of a split.

Knows JSON lines and how a thing is put on one side of a split. Does not know what any task asks.
"""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Iterable, Mapping, Sequence
from hashlib import sha256
from pathlib import Path
from typing import Literal, TypeVar, get_args

from blackbox_proxy.evaluation.scoring import folded
from blackbox_proxy.evaluation.task import Item

Part = Literal["train", "validation", "test"]
PARTS: tuple[Part, ...] = get_args(Part)

Line = tuple[str, str]
"""What the expert is asked and what it shall answer, as `python -m blackbox_proxy.tuning --lines` reads it."""

Thing = TypeVar("Thing")


def write(folder: Path, parts: Mapping[Part, Sequence[Item]]) -> None:
    """One file of items a part, `folder/test.jsonl` and so on."""
    folder.mkdir(parents=True, exist_ok=True)
    for part, items in parts.items():
        _write_lines(folder / f"{part}.jsonl", map(_line, items))


def write_training(path: Path, lines: Sequence[Line]) -> None:
    """The lines that an adapter is trained on."""
    _write_lines(path, (json.dumps(line, ensure_ascii=False) for line in lines))


def part_of(key: str, *, validation: float = 0.12, test: float = 0.36) -> Part:
    """Where a thing belongs by its name alone, so that it does not move when others come or go."""
    place = share(key)
    return "test" if place < test else "validation" if place < test + validation else "train"


def share(key: str) -> float:
    """A number in [0, 1) that depends on nothing but the key: Python's own hash changes by process."""
    return int.from_bytes(sha256(key.encode()).digest()[:6], "big") / 2**48


def in_turn(columns: Iterable[Sequence[Thing]], *, rng: random.Random) -> list[Thing]:
    """One thing of each column in turn until all are empty, each column in random order."""
    shuffled = [rng.sample(column, len(column)) for column in columns]
    longest = max(map(len, shuffled), default=0)
    return [column[row] for row in range(longest) for column in shuffled if row < len(column)]


def unseen(items: Iterable[Thing], seen: set[str], *, of: Callable[[Thing], str]) -> list[Thing]:
    """Those whose folded answer is in none of the other parts."""
    return [item for item in items if folded(of(item)) not in seen]


def _line(item: Item) -> str:
    """One line of JSON, without what is empty."""
    return json.dumps(item.model_dump(mode="json", exclude_defaults=True), ensure_ascii=False)


def _write_lines(path: Path, lines: Iterable[str]) -> None:
    path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
