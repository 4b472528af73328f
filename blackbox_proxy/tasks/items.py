"""Items of a task, and the files that hold them.

Knows JSON lines and how a thing is put on one side of a split. Does not know what any task asks.
"""

from __future__ import annotations

import json
import random
import unicodedata
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Literal, TypeVar, get_args

Part = Literal["train", "validation", "test"]
PARTS: tuple[Part, ...] = get_args(Part)

Line = tuple[str, str]
"""What the expert is asked and what it shall answer, as `python -m blackbox_proxy.tuning --lines` reads it."""

Thing = TypeVar("Thing")


@dataclass(frozen=True, slots=True)
class WrittenItem:
    """A question and its answer; `also` are other answers that are right, `document` is what some are shown with it."""

    prompt: str
    reference: str
    also: tuple[str, ...] = ()
    document: str = ""

    def json(self) -> str:
        """One line, without what is empty."""
        fields = {
            "prompt": self.prompt,
            "reference": self.reference,
            "also": self.also,
            "document": self.document,
        }
        return json.dumps({name: value for name, value in fields.items() if value}, ensure_ascii=False)


def write(folder: Path, parts: Mapping[Part, Sequence[WrittenItem]]) -> None:
    """One file of items a part, `folder/test.jsonl` and so on."""
    folder.mkdir(parents=True, exist_ok=True)
    for part, items in parts.items():
        _write_lines(folder / f"{part}.jsonl", (item.json() for item in items))


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
    return [item for item in items if fold(of(item)) not in seen]


def fold(text: str) -> str:
    """For comparing: no accents, no case, single spaces."""
    bare = "".join(char for char in unicodedata.normalize("NFKD", text) if not unicodedata.combining(char))
    return " ".join(bare.casefold().replace("\u2019", "'").split())


def _write_lines(path: Path, lines: Iterable[str]) -> None:
    path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
