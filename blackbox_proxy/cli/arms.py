"""What an evaluation found, as a person reads it: arms, tests, exactness and the ceiling."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from rich.text import Text

from blackbox_proxy.cli import show

if TYPE_CHECKING:
    from blackbox_proxy.evaluation.evaluate import TaskOutcomeFigures
    from blackbox_proxy.evaluation.task import Task

COLUMNS = {
    "arm": "left",
    "score": "right",
    "95 %": "right",
    "n": "right",
    "form": "right",
    "USD/1000": "right",
    "seconds": "right",
}


def task_json(task: Task) -> dict[str, object]:
    """A task in short."""
    return {
        "name": task.name,
        "title": task.title,
        "about": task.about,
        "source": task.source,
        "items": {"train": len(task.train), "validation": len(task.validation), "test": len(task.test)},
    }


def tasks(listed: Sequence[Task]) -> None:
    """The tasks that come along."""
    for task in listed:
        sizes = f"{len(task.train):,} train, {len(task.validation):,} validation, {len(task.test):,} test"
        show.line(f"{task.name}: {task.title} ({sizes}; {task.source})")


def outcomes(evaluated: Sequence[TaskOutcomeFigures]) -> None:
    """All tasks, one after another."""
    for one in evaluated:
        show.out.print()
        show.out.rule(one.task.title, align="left")
        _outcome(one)


def _outcome(one: TaskOutcomeFigures) -> None:
    rows = show.table(COLUMNS)
    for column in rows.columns:
        column.no_wrap = True
    for given in one.arms:
        rows.add_row(*_row(given.arm.name, one.figures[given.arm.name]))
    show.out.print(rows)
    if one.tuned is not None:
        tried = ", ".join(f"{alpha:g}: {score.value:.3f}" for alpha, score in one.tuned.scores)
        show.line(f"alpha {one.alpha:g} was chosen on validation ({tried})")
    if one.task.knobs:
        from blackbox_proxy.evaluation.task import written

        show.line(f"steered with {', '.join(f'{name} {value}' for name, value in written(one.task.knobs).items())}")
    for line in _tests(one.figures["tests"]):
        show.line(line)
    for line in _trust(one.figures):
        show.line(line)
    for line in one.advice:
        show.out.print(Text(line, style="bold"))


def _row(name: str, figures: Any) -> tuple[Text, ...]:  # noqa: ANN401 (JSON)
    from blackbox_proxy.evaluation.table import per_thousand

    score = figures["score"]
    form = figures["in_form"]
    cells = (
        name + (f", {figures['errors']} errors" if figures["errors"] else ""),
        "" if score is None else f"{score:.3f}",
        "" if score is None else f"{figures['low']:.2f}-{figures['high']:.2f}",
        str(figures["n"]),
        "" if form is None else f"{form:.2f}",
        per_thousand(figures["cost_usd_per_answer"]),
        "" if figures["seconds_per_answer"] is None else f"{figures['seconds_per_answer']:.2f}",
    )
    style = "bold" if name == "steered" else ""
    return tuple(Text(cell, style=style) for cell in cells)


def _tests(tests: Any) -> list[str]:  # noqa: ANN401 (JSON)
    from blackbox_proxy.evaluation.report import AGAINST

    return [
        f"steered less {AGAINST[name]}: {one['difference']:+.3f} ({one['low']:+.3f} to {one['high']:+.3f}), "
        f"p = {one['p']:.2g}, n = {one['n']}"
        for name, one in tests.items()
    ]


def _trust(figures: Mapping[str, Any]) -> list[str]:
    """How exact the steered answers are, where the wrong ones go wrong, and the gap that is closed."""
    from blackbox_proxy.evaluation.report import PARTS

    lines = []
    steered = figures.get("steered")
    if steered is not None:
        exactness = steered["exactness"]
        lines.append(
            f"steered tokens: {exactness['changed']:.0%} changed, {exactness['outside']:.0%} from outside the top-k, "
            f"{exactness['certified']:.0%} certified"
        )
        ceiling = figures["ceiling"]
        lines.append(f"{ceiling['wrong']} of {ceiling['of']} steered answers are not right")
        lines += [f"  {ceiling[name]:.0%}: {meaning}" for name, meaning in PARTS.items() if ceiling[name]]
    gap = figures.get("gap_closed")
    if gap is not None:
        lines.append(f"gap to the tuned model closed: {gap['value']:.0%} ({gap['low']:.0%} to {gap['high']:.0%})")
    return lines
