"""Five small tasks as a stranger brings them: 72 to 108 lines, and fresh ones from the same source.

Nothing in the package is chosen on them. Lines follow from the task's name alone; the seed of a fit parts them.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from blackbox_proxy.evaluation.task import ScoringRule
from tests.bench.stranger.forms import date, part, record
from tests.bench.stranger.prose import reply, ticket

Pair = tuple[str, str]
"""A question and its answer."""


@dataclass(frozen=True, slots=True)
class StrangerTask:
    """draw: makes a line. lines: how many there are. instructions: what a stranger writes. rule: how to score."""

    name: str
    draw: Callable[[random.Random], Pair]
    lines: int
    instructions: str
    rule: ScoringRule = field(default_factory=ScoringRule)

    def drawn(self, fresh: int) -> tuple[list[Pair], list[Pair]]:
        """The stranger's lines, and so many others; no question comes twice. The former never depend on `fresh`."""
        source, seen = random.Random(self.name), dict[str, str]()
        while len(seen) < self.lines + fresh:
            question, answer = self.draw(source)
            seen.setdefault(question, answer)
        every = [*seen.items()]
        return every[: self.lines], every[self.lines :]


TASKS: Mapping[str, StrangerTask] = {
    task.name: task
    for task in (
        StrangerTask("dates", date, 90, "Write the date of the note as [DD-MMM-YYYY], like [07-JAN-1999]."),
        StrangerTask(
            "parts", part, 100, "Write the part number: KIND-SIZE-LENGTH-MATERIAL, the length in three digits."
        ),
        StrangerTask(
            "records",
            record,
            80,
            "Extract the order as JSON with the keys name, town, item and count.",
            rule=ScoringRule(kind="json"),
        ),
        StrangerTask("tickets", ticket, 108, "Say the category of the ticket, with its code and its urgency, 1 or 2."),
        StrangerTask("replies", reply, 72, "Rewrite the note as a polite message to a colleague, in one sentence."),
    )
}
