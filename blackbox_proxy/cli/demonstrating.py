"""What the demo says while it works: what the four answers are, each question, the figures, and what to run next.

Turns questions and answers into what a person reads. Asks nothing itself.
"""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.table import Table
from rich.text import Text

from blackbox_proxy.cli import show

if TYPE_CHECKING:
    from blackbox_proxy.evaluation.task import Task
    from blackbox_proxy.tasks.demo import Load
    from blackbox_proxy.tasks.demonstration import DemoAnswer

LOAD_TITLES = {
    "known": "known: real facts; what the closed model knows, in the pair's form",
    "told": "told: an invented fact in a note that only the closed model is shown",
}

NAMES = {"api": "closed model", "untuned": "untuned SLM", "expert": "tuned SLM", "steered": "steered"}

WHO = {
    "api": "the hosted model by itself: here {closed}, called over HTTP",
    "untuned": "the small local model as it came, the anti-expert: {local}",
    "expert": "the same after a little training, the expert: it learnt the form of an answer, and no fact",
    "steered": "the closed model again, each token moved by the difference of expert and anti-expert",
}
"""What each of the four answers is."""

NEXT = (
    ("demo --questions 100", "the same with more questions: narrower intervals"),
    ("doctor --base-url https://HOST/v1 --model NAME", "what your own endpoint can do"),
    ('steer "..." --base-url https://HOST/v1 --model NAME --pair demo --trace', "your endpoint, steered by this pair"),
    ("tune --help", "train a pair of your own"),
)
"""What to run next, and what for."""

Play = Callable[["Task", Callable[[str], object], Callable[["DemoAnswer"], object]], Sequence["DemoAnswer"]]
"""Answers the questions of a task in order: passes on each before it is asked, and then its answers."""

WHOLE = 4
"""Questions of each load that are shown with all four answers; the others with the steered one."""

PLACES = (
    "The closed model says the fact, in its own words; in place, made to begin as the form does; shows it there, each "
    "token in its top-k. The tuned SLM alone has both form and fact; the rest is the steered answer's."
)


def program() -> str:
    """How this program is called from here."""
    if shutil.which("blackbox-proxy"):
        return "blackbox-proxy"
    called = Path(sys.argv[0])
    return str(called) if called.name == "blackbox-proxy" else "python -m blackbox_proxy"


def opening(*, closed: str, local: str) -> None:
    """What will be seen."""
    show.line("Four answers to each question:")
    for party, name in NAMES.items():
        show.labelled(name, WHO[party].format(closed=closed, local=local), style="green" if party == "steered" else "")


def loads(tasks: Mapping[Load, Task], play: Play) -> dict[Load, Sequence[DemoAnswer]]:
    """Play all loads; behind the first, which shows the idea, one of its answers token by token."""
    played: dict[Load, Sequence[DemoAnswer]] = {}
    for name, task in tasks.items():
        played[name] = _load(name, task, play)
        if len(played) == 1:
            _tokens(played[name][0])
    return played


def _load(name: Load, task: Task, play: Play) -> Sequence[DemoAnswer]:
    """Play one load: each question is there before it is asked, its answers as soon as they are known."""
    show.section(LOAD_TITLES[name])
    begun: list[str] = []

    def ask(question: str) -> None:
        begun.append(question)
        show.out.print(Text(f"{len(begun)}/{len(task.test)} ", style="dim").append(question, style="bold"))

    def tell(answered: DemoAnswer) -> None:
        for party, label in NAMES.items():
            if party == "steered" or len(begun) <= WHOLE:
                show.labelled(label, answered.text(party)[:100], style="green" if party == "steered" else "")

    return play(task, ask, tell)


def _tokens(answered: DemoAnswer) -> None:
    """One answer, token by token."""
    show.section("token by token")
    show.out.print(Text(answered.asked, style="bold"))
    show.out.print(show.steps_table(answered.steps))


def closing(figures: Mapping[Load, Mapping[str, Any]]) -> None:
    """The figures, and what to run next."""
    show.section("figures")
    show.out.print(figures_table(figures))
    for load, sums in figures.items():
        show.out.print(_work_line(load, sums))
    show.section("by kind of question")
    show.out.print(Text(PLACES, style="dim"))
    show.out.print(kinds_table(figures))
    show.section("what to run next")
    for words, what in NEXT:
        show.out.print(Text(f"{program()} {words}").append(f"   # {what}", style="dim"))


def figures_table(figures: Mapping[Load, Mapping[str, Any]]) -> Table:
    """Shares of right facts, right forms and both, with 95 % intervals, by load and party."""
    rows = show.table(dict.fromkeys(("load", "answer", "right fact", "right form", "both"), "left"))
    for load, sums in figures.items():
        for party, name in NAMES.items():
            cells = [_share(sums, f"{party}_{what}") for what in ("fact", "format", "exact")]
            rows.add_row(load, name, *cells, style="green" if party == "steered" else "")
    return rows


def kinds_table(figures: Mapping[Load, Mapping[str, Any]]) -> Table:
    """Shares by load and kind of question."""
    names = ("says", "in place", "shows", "tuned", "fact", "form", "both")
    columns = ("load", "kind", "n", *names)
    rows = show.table(dict.fromkeys(columns, "left"))
    for load, sums in figures.items():
        for kind, shares in sums["kinds"].items():
            count, *rest = shares.values()
            rows.add_row(load, kind, str(count), *(f"{share:.2f}" for share in rest))
    return rows


def _share(sums: Mapping[str, Any], name: str) -> str:
    low, high = sums["intervals_95"][name]
    return f"{sums[name]:.2f}  ({low:.2f}-{high:.2f})"


def _work_line(load: str, sums: Mapping[str, Any]) -> Text:
    return Text(
        f"{load}: {sums['questions']} questions, {sums['emitted_tokens']} tokens in {sums['api_calls']} calls "
        f"(one per token: {sums['naive_calls']}), {sums['changed']:.0%} changed, {sums['outside_top_k']:.0%} from "
        f"outside the top-k; same answer as the tuned SLM alone: {sums['same_as_expert']:.0%}; "
        f"{sums['local_seconds']:.1f} s local, {sums['seconds_per_token'] * 1e3:.0f} ms per token",
        style="dim",
    )
