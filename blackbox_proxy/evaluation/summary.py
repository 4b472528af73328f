"""The figures of a task from its answers: scores with intervals, tests, costs, exactness, and the ceiling. Pure."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from decimal import Decimal
from statistics import fmean, median

from blackbox_proxy.evaluation.answers import KeptAnswer
from blackbox_proxy.evaluation.arms import Arm
from blackbox_proxy.evaluation.ceiling import PARTS, in_form, part
from blackbox_proxy.evaluation.scoring import Score
from blackbox_proxy.evaluation.statistics import gap_closed, mean, paired
from blackbox_proxy.evaluation.task import Item, Task, written

Figures = Mapping[str, object]

TESTS: Mapping[str, tuple[str, str]] = {
    "vs_few_shot": ("steered", "closed_few_shot"),
    "vs_expert": ("steered", "expert"),
    "vs_closed": ("steered", "closed"),
    "vs_instructed": ("steered", "closed_instructed"),
    "vs_majority": ("steered", "majority"),
    "answers_vs_majority": ("steered_answers", "closed_best_of_n_majority"),
    "answers_vs_instructed": ("steered_answers", "closed_instructed"),
    "examples_vs_few_shot": ("steered_few_shot", "closed_few_shot"),
    "examples_vs_expert": ("steered_few_shot", "expert"),
}
"""A steered arm, and what it is held against, on the items that both answered."""


@dataclass(frozen=True, slots=True)
class ArmAnswers:
    """What an arm answered, by item, without errors, which are counted.

    scores: by item too. reached: the best score among the whole answers that each was chosen from.
    """

    arm: Arm
    answers: Mapping[str, KeptAnswer]
    scores: Mapping[str, float]
    errors: int = 0
    reached: Mapping[str, float] = field(default_factory=dict)


def given(arm: Arm, asked: Sequence[tuple[Item, KeptAnswer | None]], score: Score) -> ArmAnswers:
    """What an arm answered to its questions, in their order; None stands where there is no answer yet."""
    there = {item.name: answer for item, answer in asked if answer is not None and not answer.error}
    scores = {item.name: score(there[item.name].text, item) for item, _ in asked if item.name in there}
    errors = sum(answer is not None and bool(answer.error) for _, answer in asked)
    drawn = [(item, there[item.name].samples) for item, _ in asked if item.name in there]
    reached = {item.name: max(score(text, item) for text in texts) for item, texts in drawn if texts}
    return ArmAnswers(arm, there, scores, errors, reached)


def majority(task: Task, items: Sequence[Item], score: Score) -> ArmAnswers:
    """The most common reference of train as the answer to everything; the first of those that are equally common."""
    counts = Counter(item.reference for item in task.train)
    text = max(counts, key=lambda one: counts[one])
    asked = [(item, KeptAnswer("", task.name, item.name, "majority", text, cost=Decimal(0))) for item in items]
    return given(Arm("majority", "closed", len(items)), asked, score)


def figures(
    task: Task, arms: Sequence[ArmAnswers], items: Sequence[Item], *, places: Mapping[str, KeptAnswer]
) -> dict[str, object]:
    """All figures of a task, ready for JSON. places: what the closed model said in the place of facts, by item."""
    by_name = {one.arm.name: one for one in arms}
    sums: dict[str, object] = {name: _arm(one, task) for name, one in by_name.items()}
    sums["tests"] = _tests(by_name)
    steered = by_name.get("steered")
    if steered is not None:
        sums["ceiling"] = ceiling(steered, items, places, form=task.form)
        sums["gap_closed"] = _gap(by_name)
    return sums


def _arm(one: ArmAnswers, task: Task) -> Figures:
    answers, n = list(one.answers.values()), len(one.answers)
    score = mean(list(one.scores.values()))
    costs = [answer.cost for answer in answers]
    known = [cost for cost in costs if cost is not None]
    total = sum(known, Decimal(0)) if len(known) == n else None
    sums: dict[str, object] = {
        "score": _round(score.value) if score else None,
        "low": _round(score.low) if score else None,
        "high": _round(score.high) if score else None,
        "n": n,
        "errors": one.errors,
        "cost_usd": None if total is None or not n else float(total),
        "cost_usd_per_answer": None if total is None or not n else float(total / n),
        "seconds_per_answer": round(fmean(answer.seconds for answer in answers), 4) if n else None,
        "seconds_median": round(median(answer.seconds for answer in answers), 4) if n else None,
        "calls_per_answer": round(fmean(answer.calls for answer in answers), 3) if n else None,
        "in_form": None if task.form is None or not n else _share(in_form(a.text, task.form) for a in answers),
    }
    if one.reached:
        sums |= {"draws": one.arm.draws, **_reached(list(one.reached.values()))}
    if one.arm.route is not None:
        sums["local"] = _share(not answer.calls for answer in answers) if n else None
    if one.arm.speaker == "steered":
        sums |= {"alpha": one.arm.alpha, "exactness": _exactness(answers)}
        sums |= {"knobs": written(task.knobs)} if task.knobs else {}
    return sums


def _reached(best: Sequence[float]) -> Figures:
    """What bounds every choice among whole answers.

    some: the mean of the best score among those of each question; none_right: the share of questions without one that
    is right.
    """
    return {"some": _round(fmean(best)), "none_right": _share(score < 1.0 for score in best)}


def _exactness(answers: Sequence[KeptAnswer]) -> Figures:
    """Shares of tokens, but for `exact`, which is one of answers. off: bound on the total variation of a token."""
    tokens = max(sum(answer.tokens for answer in answers), 1)
    return {
        "tokens": sum(answer.tokens for answer in answers),
        "changed": _round(sum(answer.changed for answer in answers) / tokens),
        "outside": _round(sum(answer.outside for answer in answers) / tokens),
        "outweighed": _round(sum(answer.outweighed for answer in answers) / tokens),
        "certified": _round(sum(answer.certified for answer in answers) / tokens),
        "off": _round(sum(answer.off for answer in answers) / tokens),
        "exact": _share(answer.exact for answer in answers) if answers else None,
    }


def _tests(arms: Mapping[str, ArmAnswers]) -> Figures:
    tests: dict[str, object] = {}
    for name, (steered, other) in TESTS.items():
        if not {steered, other} <= arms.keys():
            continue
        mine, theirs = arms[steered].scores, arms[other].scores
        both = [item for item in mine if item in theirs]
        tested = paired([mine[item] for item in both], [theirs[item] for item in both])
        if tested is not None:
            tests[name] = {
                "difference": _round(tested.value),
                "low": _round(tested.low),
                "high": _round(tested.high),
                "p": float(f"{tested.p:.3g}"),
                "n": tested.n,
            }
    return tests


def _gap(arms: Mapping[str, ArmAnswers]) -> Figures | None:
    """Share of the way from `closed` to `closed_tuned`; None where there is no tuned model, or it is no better."""
    if not {"steered", "closed", "closed_tuned"} <= arms.keys():
        return None
    rows = [arms[name].scores for name in ("steered", "closed", "closed_tuned")]
    shared = [item for item in rows[0] if all(item in row for row in rows)]
    share = gap_closed(*([row[item] for item in shared] for row in rows))
    return None if share is None else {key: _round(value) for key, value in asdict(share).items()}


def ceiling(
    steered: ArmAnswers, items: Sequence[Item], places: Mapping[str, KeptAnswer], *, form: re.Pattern[str] | None
) -> Figures:
    """How many steered answers are wrong, and of these the share of each part (`ceiling`)."""
    wrong = [item for item in items if steered.scores.get(item.name, 1.0) < 1.0]
    parts = Counter(part(steered.answers[i.name], i, places.get(i.name), form=form) for i in wrong)
    shares = {name: _round(parts[name] / len(wrong)) if wrong else None for name in PARTS}
    return {"wrong": len(wrong), "of": len(steered.scores), **shares}


def _share(flags: Iterable[bool]) -> float:
    values = list(flags)
    return _round(sum(values) / len(values))


def _round(value: float) -> float:
    return round(value, 4)
