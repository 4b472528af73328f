"""The outcomes of an evaluation as a page shows them: figures by arm, in words where an arm has a name of its own."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from decimal import Decimal
from typing import Any

from blackbox_proxy.evaluation.advice import BASELINE, SWEEP
from blackbox_proxy.evaluation.evaluate import TaskOutcomeFigures
from blackbox_proxy.evaluation.summary import ArmAnswers
from blackbox_proxy.evaluation.task import Task, written
from blackbox_proxy.pages.evaluation import Against, ArmRow, Mistake, Mistakes, TaskOutcome
from blackbox_proxy.pages.plots import BarPart

NAMES: Mapping[str, str] = {
    "closed": "the closed model by itself",
    "closed_few_shot": "the closed model, after examples",
    "closed_instructed": "the closed model, after instructions and examples",
    "closed_tuned": "a closed model that was tuned directly",
    "anti_expert": "the small model, untuned",
    "expert": "the small model, tuned",
    "steered": "the closed model, steered by these two",
    "steered_few_shot": "the closed model, steered after examples",
    "closed_best_of_n_majority": "the most frequent of several answers of the closed model",
    "steered_answers": "the best of them by the small models",
    "majority": "always the most common answer",
    "closed_documents": "the closed model, shown the document",
    "closed_few_shot_documents": "the closed model, after examples with documents",
    "anti_expert_documents": "the untuned small model, shown the document",
    "expert_documents": "the tuned small model, shown the document",
    "steered_documents_closed": "steered; the closed model is shown the document",
    "steered_documents_pair": "steered; the pair is shown the document",
    "steered_documents_both": "steered; both are shown the document",
    "recipe": "the fitted recipe",
}
"""What each arm is, after its own name; a sweep's arms say their alpha."""

AGAINST: Mapping[str, str] = {
    "vs_few_shot": "closed few-shot",
    "vs_expert": "the tuned small model",
    "vs_closed": "the closed model by itself",
    "vs_instructed": "closed instructed",
    "vs_majority": "the majority answer",
    "answers_vs_majority": "the most frequent of as many answers, steered by whole answers",
    "answers_vs_instructed": "closed instructed, steered by whole answers",
    "examples_vs_few_shot": "closed few-shot, both after examples",
    "examples_vs_expert": "the tuned small model, steered after examples",
}

PARTS: Mapping[str, str] = {
    "alignment": "A step was not asked after exactly the text before it",
    "form": "The answer is not in the form: the pair's part",
    "rest": "The fact is right, and something else is wrong: the pair's part",
    "not_shown": "The closed model does not show the right fact there: its ceiling",
    "not_said": "The closed model shows it there, and would say another: its ceiling",
    "overruled": "The closed model says it there by itself, and the pair led away from it",
    "unknown": "The closed model could not be asked about it",
}

MISTAKES = 25
"""Wrong answers of an arm that the page shows."""


def task_outcome(outcome: TaskOutcomeFigures) -> TaskOutcome:
    """One task for the page."""
    task, figures = outcome.task, outcome.figures
    rows = [_row(given.arm.name, figures[given.arm.name]) for given in outcome.arms]
    ceiling: Any = figures.get("ceiling") or {"wrong": 0, "of": 0}
    gap: Any = figures.get("gap_closed")
    return TaskOutcome(
        name=task.name,
        title=task.title,
        about=task.about,
        source=task.source,
        alpha=outcome.alpha,
        knobs=written(task.knobs),
        chosen=[(alpha, score.value) for alpha, score in outcome.tuned.scores] if outcome.tuned else (),
        rows=[row for row in rows if not row.name.startswith(SWEEP)],
        sweep=[row for row in rows if row.name.startswith(SWEEP)],
        tests=list(_tests(figures["tests"])),
        wrong=ceiling["wrong"],
        of=ceiling["of"],
        ceiling=[BarPart(meaning, ceiling[name]) for name, meaning in PARTS.items() if ceiling.get(name)],
        exactness=list(_exactness(figures.get("steered"))),
        gap=None if gap is None else (gap["value"], gap["low"], gap["high"]),
        advice=outcome.advice,
        mistakes=[_mistakes(given, task) for given in outcome.arms if _is_main(given.arm.name)],
    )


def _is_main(name: str) -> bool:
    return not name.startswith(SWEEP) and name != BASELINE


def _mistakes(given: ArmAnswers, task: Task) -> Mistakes:
    """What an arm answered wrongly, in the order of the items."""
    wrong = [item for item in task.test if given.scores.get(item.name, 1.0) < 1.0]
    shown = [
        Mistake(item.prompt, item.document, item.reference, given.answers[item.name].text, given.scores[item.name])
        for item in wrong[:MISTAKES]
    ]
    name = given.arm.name
    return Mistakes(name, NAMES.get(name, name), len(wrong), len(given.scores), shown)


def _row(name: str, figures: Any) -> ArmRow:  # noqa: ANN401 (JSON)
    cost = figures["cost_usd_per_answer"]
    alpha = figures.get("alpha")
    bound = f"; in {figures['none_right']:.0%} of questions none of them is right" if "none_right" in figures else ""
    return ArmRow(
        name=name,
        description=(NAMES.get(name) or f"steered at alpha {alpha:g}") + bound,
        n=figures["n"],
        errors=figures["errors"],
        score=figures["score"],
        low=figures["low"] or 0.0,
        high=figures["high"] or 0.0,
        in_form=figures["in_form"],
        cost=None if cost is None else Decimal(repr(cost)),
        seconds=figures["seconds_per_answer"] or 0.0,
        calls=figures["calls_per_answer"] or 0.0,
        alpha=alpha,
    )


def _tests(figures: Any) -> Iterator[Against]:  # noqa: ANN401 (JSON)
    for name, one in figures.items():
        yield Against(AGAINST[name], one["difference"], one["low"], one["high"], one["p"], one["n"])


def _exactness(steered: Any) -> Sequence[tuple[str, str]]:  # noqa: ANN401 (JSON)
    if steered is None:
        return []
    shares = steered["exactness"]
    return [
        (f"{shares['exact'] or 0:.0%} of answers", "rest, at every step, on exactly the text before it."),
        (f"{shares['changed']:.0%} of tokens", "are not what the closed model had written."),
        (f"{shares['outside']:.0%} of tokens", "were not among its candidates: their log-probs are imputed."),
        (
            f"{shares['certified']:.0%} of tokens",
            "are certified: nothing that it did not show can change the choice.",
        ),
    ]
