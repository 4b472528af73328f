"""Writes the items of English to cron, and scores a cron expression by what it means.

    python -m blackbox_proxy.tasks.schedules              # the folder cron
    python -m blackbox_proxy.tasks.schedules LINES.jsonl  # the lines that its adapter is trained on

Expressions are drawn at random; cron-descriptor (MIT) says in English what they mean. Needs the extra [tasks].
"""

from __future__ import annotations

import random
import sys
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Protocol

from cron_descriptor import ExpressionDescriptor, FormatException, MissingFieldException, Options

from blackbox_proxy.evaluation.task import Item
from blackbox_proxy.tasks.items import Line, Part, part_of, write, write_training

QUESTION = "Write the cron expression: {0}"
FIELDS = 5
DRAWN = 6000
TRAINING_LINES = 600


class ScheduleReference(Protocol):
    """What the scorer reads of an item."""

    @property
    def reference(self) -> str: ...


def same_schedule(answer: str, item: ScheduleReference) -> float:
    """1.0 where the answer is a cron expression of five fields that means what the reference means, else 0.0.

    Two expressions mean the same where cron-descriptor describes them in the same words: `0 9 * * 1-5` and
    `0 9 * * MON-FRI`.
    """
    meant = describe(answer.strip())
    return float(meant is not None and meant == describe(item.reference))


@cache
def describe(expression: str) -> str | None:
    """What the expression means in English; None where it is not one of five fields."""
    if len(expression.split(" ")) != FIELDS:
        return None
    options = Options()
    options.use_24hour_time_format = True
    try:
        return str(ExpressionDescriptor(expression, options).get_description())
    except (FormatException, MissingFieldException, ValueError, IndexError):
        return None


def items() -> dict[Part, list[Item]]:
    """Each meaning once; the expression alone says which part an item is in."""
    sizes: dict[Part, int] = {"train": 320, "validation": 60, "test": 200}
    return {part: [_item(*pair) for pair in _pairs(part)[:size]] for part, size in sizes.items()}


def training_lines() -> list[Line]:
    """The training part, longer."""
    return list(_pairs("train")[:TRAINING_LINES])


def _item(asked: str, cron: str) -> Item:
    return Item(prompt=asked, reference=cron)


def _pairs(part: Part) -> list[Line]:
    return [(QUESTION.format(meaning), cron) for meaning, cron in _drawn().items() if part_of(f"cron {cron}") == part]


@cache
def _drawn() -> dict[str, str]:
    """Meanings and their shortest expressions, in the order in which they were drawn."""
    rng = random.Random("schedules")
    expressions: dict[str, str] = {}
    for _ in range(DRAWN):
        cron = _draw(rng)
        meaning = describe(cron)
        if meaning:
            expressions.setdefault(meaning, cron)
    return expressions


def _draw(rng: random.Random) -> str:
    minute, hour = rng.choice(_TIMES)(rng)
    day, month, weekday = rng.choice(_DAYS)(rng)
    return f"{minute} {hour} {day} {month} {weekday}"


def _at(rng: random.Random) -> tuple[str, str]:
    return str(rng.choice((0, 15, 30, 45, rng.randrange(60)))), str(rng.randrange(24))


def _every_minutes(rng: random.Random) -> tuple[str, str]:
    return f"*/{rng.choice((2, 3, 4, 5, 6, 10, 12, 15, 20, 30))}", rng.choice(("*", _span(rng, 0, 23)))


def _every_hours(rng: random.Random) -> tuple[str, str]:
    return str(rng.choice((0, 15, 30, rng.randrange(60)))), f"*/{rng.choice((2, 3, 4, 6, 8, 12))}"


def _past_the_hour(rng: random.Random) -> tuple[str, str]:
    return str(rng.randrange(1, 60)), rng.choice(("*", _span(rng, 0, 23)))


def _any_day(_: random.Random) -> tuple[str, str, str]:
    return "*", "*", "*"


def _weekday(rng: random.Random) -> tuple[str, str, str]:
    return "*", "*", rng.choice(("1-5", _span(rng, 0, 6), str(rng.randrange(7)), _pick(rng, 0, 6)))


def _date(rng: random.Random) -> tuple[str, str, str]:
    return str(rng.randrange(1, 29)), rng.choice(("*", str(rng.randrange(1, 13)))), "*"


def _season(rng: random.Random) -> tuple[str, str, str]:
    return "*", rng.choice((_span(rng, 1, 12), str(rng.randrange(1, 13)), f"*/{rng.choice((2, 3, 4, 6))}")), "*"


def _span(rng: random.Random, low: int, high: int) -> str:
    first, last = sorted(rng.sample(range(low, high + 1), 2))
    return f"{first}-{last}"


def _pick(rng: random.Random, low: int, high: int) -> str:
    return ",".join(map(str, sorted(rng.sample(range(low, high + 1), rng.choice((2, 3))))))


_TIMES: tuple[Callable[[random.Random], tuple[str, str]], ...] = (
    _at,
    _at,
    _every_minutes,
    _every_hours,
    _past_the_hour,
)
_DAYS: tuple[Callable[[random.Random], tuple[str, str, str]], ...] = (_any_day, _weekday, _weekday, _date, _season)


def main() -> None:
    """Writes the training lines to the file that the argument names, or the items where there is none."""
    if sys.argv[1:]:
        write_training(Path(sys.argv[1]), training_lines())
        return
    write(Path(__file__).parent / "cron", items())


if __name__ == "__main__":
    main()
