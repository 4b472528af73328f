"""Who is to blame for a wrong answer: the closed model, the expert, or how the two are combined. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from blackbox_proxy.fitting.selecting import Trial

Blame = Literal["closed model", "expert", "combination", "both", "unknown"]
"""combination: at least the expert alone is right, and what came out is not. both: neither alone is right. unknown:
one of them was not asked this question by itself."""


@dataclass(frozen=True, slots=True)
class Speakers:
    """The winner's parts, each by itself; None where it was not asked. A winner of one part is that part."""

    closed: Trial | None
    expert: Trial | None

    @property
    def asked(self) -> tuple[Trial, ...]:
        """Those that there are."""
        return tuple(one for one in (self.closed, self.expert) if one is not None)


def speakers(chosen: Trial, trials: Sequence[Trial]) -> Speakers:
    """The closed model, after the same turns as the winner where it was asked so, and the expert."""
    answered = [trial for trial in trials if trial.scores]
    closed = [trial for trial in answered if trial.candidate.way == "closed"]
    alike = [trial for trial in closed if trial.candidate.arm.before == chosen.candidate.arm.before]
    alone = [trial for trial in closed if not trial.candidate.arm.before]
    expert = [trial for trial in answered if trial.candidate.way == "expert"]
    return Speakers(next(iter(alike or alone), None), next(iter(expert), None))


def blame(chosen: Trial, item: str, by: Speakers) -> Blame:
    """Who is to blame for a wrong answer of the winner. item: the question's name."""
    if chosen.candidate.way == "closed":
        return "closed model"
    if chosen.candidate.way == "expert":
        return "expert"
    if any(item not in one.scores for one in by.asked) or len(by.asked) < 2:
        return _same_text(chosen, item, by) or "unknown"
    closed, expert = (one.scores[item] >= 1.0 for one in by.asked)
    if expert:
        return "combination"
    return "expert" if closed else _same_text(chosen, item, by) or "both"


def _same_text(chosen: Trial, item: str, by: Speakers) -> Blame | None:
    """The one member that says the same by itself."""
    said = chosen.given.answers[item].text.strip()
    names: tuple[Blame, Blame] = ("closed model", "expert")
    same = [
        name
        for name, one in zip(names, (by.closed, by.expert), strict=True)
        if one is not None and item in one.given.answers and one.given.answers[item].text.strip() == said
    ]
    return same[0] if len(same) == 1 else None
