"""The lines that a recipe is fitted on: read in every form that `tune` and tasks take, checked, parted by a seed."""

from __future__ import annotations

import json
import random
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

from pydantic import ValidationError

from blackbox_proxy.errors import InputError
from blackbox_proxy.evaluation.task import Item
from blackbox_proxy.tuning.lines import Line, read_lines

FORMS = 'a line is ["question", "answer"], {"prompt", "completion"}, {"prompt", "reference"} or {"messages"}'

LEAST = 24
"""Fewest lines: of fewer the smallest part says nothing."""

LABELS = 12
"""Most different answers that are taken for labels."""

REPEATED = 3
"""Lines that each label stands in at least, on average."""


@dataclass(frozen=True, slots=True)
class Examples:
    """Lines that were read and checked.

    items: one for each question. instructions: the system turn that all lines share; "" where there is none. where:
    the file. repeated: lines that said the same as another, which were dropped.
    """

    items: tuple[Item, ...]
    instructions: str
    where: str
    repeated: int = 0

    @property
    def digest(self) -> str:
        """SHA-256 of what the lines say, in any order."""
        rows = sorted(json.dumps([item.prompt, item.reference, item.also]) for item in self.items)
        return sha256("\n".join([self.instructions, *rows]).encode()).hexdigest()

    @property
    def labels(self) -> tuple[str, ...]:
        """The answers, where they are few and come again and again; otherwise none."""
        answers = sorted({item.reference for item in self.items})
        few = 2 <= len(answers) <= LABELS and len(answers) * REPEATED <= len(self.items)
        return tuple(answers) if few and not any(item.also for item in self.items) else ()


@dataclass(frozen=True, slots=True)
class Split:
    """Parts that share no question."""

    train: tuple[Item, ...]
    validation: tuple[Item, ...]
    test: tuple[Item, ...]


def read_examples(path: Path, *, least: int = LEAST) -> Examples:
    """The lines of a JSONL file.

    Args:
        path: The file.
        least: Fewest lines that will do.

    Raises:
        InputError: With one sentence, for the first thing that is wrong: a line that is none, one question with
            different answers, too few lines.
    """
    items, systems = _read(path)
    if len(systems) > 1:
        raise InputError(
            f"{path}: the lines have {len(systems)} different system turns, and a recipe has one",
            hint="part the lines by their system turn, and fit each part",
        )
    kept = _without_repeats(items, path)
    if len(kept) < least:
        raise InputError(
            f"{path} has {len(kept)} different questions, and {least} are needed: with fewer nothing can be told apart",
            hint="give more lines; 60 to 200 are usual",
        )
    return Examples(tuple(kept), next(iter(systems), ""), str(path), len(items) - len(kept))


def split(items: Sequence[Item], *, seed: int, trains: bool) -> Split:
    """Parts, drawn by a seed. trains: whether an expert learns from the first, which is then half of all.

    >>> parts = split([Item(prompt=str(n), reference="r") for n in range(60)], seed=0, trains=True)
    >>> len(parts.train), len(parts.validation), len(parts.test)
    (30, 18, 12)
    """
    drawn = random.Random(seed).sample(list(items), len(items))
    train, held = (0.5, 0.3) if trains else (0.25, 0.4)
    first = round(train * len(drawn))
    second = first + round(held * len(drawn))
    return Split(tuple(drawn[:first]), tuple(drawn[first:second]), tuple(drawn[second:]))


def _read(path: Path) -> tuple[list[tuple[Item, str]], set[str]]:
    """Items, each with the place of its line, and the system turns."""
    if _is_of_tasks(path):
        return list(_items(path)), set()
    lines = read_lines(path)
    return [(_item(line), line.place) for line in lines], {system for line in lines if (system := _system(line))}


def _is_of_tasks(path: Path) -> bool:
    """Whether the first line is an item of a task."""
    try:
        with path.open(encoding="utf-8-sig") as file:
            first = next((row for row in file if row.strip()), "")
        return "reference" in json.loads(first)
    except (OSError, ValueError, TypeError, RecursionError):
        return False


def _items(path: Path) -> Iterator[tuple[Item, str]]:
    for number, row in enumerate(path.read_text(encoding="utf-8-sig").split("\n"), 1):
        if row.strip():
            try:
                item = Item.model_validate_json(row)
            except ValidationError as error:
                said = error.errors()[0]["msg"]
                raise InputError(f"{path}:{number}: {said}", hint=FORMS) from None
            if item.document:
                raise InputError(
                    f"{path}:{number}: fitting takes no documents", hint="write the document into the question"
                )
            yield item, f"{path}:{number}"


def _item(line: Line) -> Item:
    """A question and its answer. Raises InputError for a chat of several turns."""
    turns = [turn for turn in line.prompt.messages if turn.role != "system"]
    if len(turns) != 1 or len(line.prompt.messages) > 2:
        raise InputError(
            f"{line.place}: fitting takes single questions, and this line is a chat of several turns",
            hint="give one question and its answer a line, behind a system turn where there is one",
        )
    return Item(prompt=turns[0].content, reference=line.answer)


def _system(line: Line) -> str:
    return next((turn.content for turn in line.prompt.messages if turn.role == "system"), "")


def _without_repeats(items: Sequence[tuple[Item, str]], path: Path) -> list[Item]:
    """One item for each question. Raises InputError where a question has different answers."""
    by_question: defaultdict[str, list[tuple[Item, str]]] = defaultdict(list)
    for item, place in items:
        by_question[item.prompt].append((item, place))
    torn = [same for same in by_question.values() if len({one.right for one, _ in same}) > 1]
    if torn:
        first = torn[0]
        lines = " and ".join(place.rpartition(":")[2] for _, place in first[:2])
        raise InputError(
            f"{path}: {_questions(len(torn))} with different answers, such as {first[0][0].prompt[:60]!r} in lines "
            f"{lines}",
            hint='correct one of them; where both are right, write one line with "reference" and "also"',
        )
    return [same[0][0] for same in by_question.values()]


def _questions(count: int) -> str:
    return "one question stands there" if count == 1 else f"{count} questions stand there"


def with_choices(items: Sequence[Item], labels: Sequence[str]) -> tuple[Item, ...]:
    """The items as an arm that chooses between labels needs them: each with all of the labels."""
    return tuple(item.model_copy(update={"choices": tuple(labels)}) for item in items)
