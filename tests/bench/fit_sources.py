"""Where the lines of `tests.bench.fit_tasks` come from: five small tasks of a stranger's, and the boxed benchmarks.

A boxed task has a pair that was trained on its train part. With that pair the lines to fit on are its validation part;
where an expert is trained instead, they are the first of its train part. Fresh lines are of its test part. A document
that the closed model is shown stands in the question.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from blackbox_proxy.evaluation.arms import in_order
from blackbox_proxy.evaluation.task import Item, ScoringRule, Task, find_task, read_task
from tests.bench.stranger import TASKS, StrangerTask

BOXED = ("geography-told", "geography-known", "translation", "cron")

LINES = 100
"""Lines of a boxed task that an expert is trained and compared on."""


@dataclass(frozen=True, slots=True)
class Source:
    """Lines to fit on, and fresh ones. pair: the pair file; None where an expert is trained."""

    name: str
    lines: tuple[Item, ...]
    fresh: tuple[Item, ...]
    instructions: str
    scorer: ScoringRule
    pair: Path | None

    def written(self, path: Path) -> Path:
        """The lines as a file."""
        path.parent.mkdir(parents=True, exist_ok=True)
        rows = (item.model_dump_json(exclude_defaults=True) for item in self.lines)
        path.write_text("".join(f"{row}\n" for row in rows), encoding="utf-8")
        return path


def names() -> tuple[str, ...]:
    """All tasks, the stranger's first."""
    return (*TASKS, *BOXED)


def source(name: str, *, fresh: int, boxed_pairs: bool) -> Source:
    """The lines of a task. boxed_pairs: whether a boxed task is fitted with its pair."""
    return _stranger(TASKS[name], fresh) if name in TASKS else _boxed(name, fresh, with_pair=boxed_pairs)


def _stranger(task: StrangerTask, fresh: int) -> Source:
    lines, others = (
        tuple(Item(prompt=question, reference=answer) for question, answer in part) for part in task.drawn(fresh)
    )
    return Source(task.name, lines, others, task.instructions, task.rule, None)


def _boxed(name: str, fresh: int, *, with_pair: bool) -> Source:
    task = read_task(find_task(name))
    lines = task.validation if with_pair else in_order(task.train)[:LINES]
    asked, others = _with_documents(task, lines), _with_documents(task, in_order(task.test)[:fresh])
    pair = task.pair if with_pair else None
    return Source(name, asked, others, task.instructions.strip(), task.scorer, pair)


def _with_documents(task: Task, items: Sequence[Item]) -> tuple[Item, ...]:
    """One item for each question as it is asked."""
    asked = (item.model_copy(update={"prompt": task.asked(item, shown=True), "document": ""}) for item in items)
    return tuple({item.prompt: item for item in asked}.values())
