"""What a fit comes to, in three sentences and as a page. Pure."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from decimal import Decimal

from blackbox_proxy.evaluation.statistics import Mean, mean, paired
from blackbox_proxy.evaluation.task import Item
from blackbox_proxy.fitting.blaming import Speakers, blame, speakers
from blackbox_proxy.fitting.compared import ComparedArms
from blackbox_proxy.fitting.fit import FitOutcome
from blackbox_proxy.fitting.selecting import Trial, frontier
from blackbox_proxy.pages.fit import CurvePoints, FitAnswer, FitMistake, FitRow, FittedPage

MISTAKES = 25
"""Wrong answers that the page shows."""

BESIDE = 3
"""Arms whose answers stand beside wrong ones."""


def sentences(outcome: FitOutcome) -> tuple[str, str, str]:
    """What to use, and how good that is; why; what it costs."""
    why, remedy = _why(outcome.compared), outcome.remedy
    if remedy is not None and remedy.taken is not None:
        why = f"{why} {remedy.sentence}"
    return _use(outcome.compared), why, _costs(outcome)


def off_task_sentence(outcome: FitOutcome) -> str:
    """What the recipe does to questions of another kind, and what was tried where it harms; "" where nobody asked."""
    harm, remedy = outcome.harm, outcome.remedy
    if harm is None:
        return ""
    tried = f" {remedy.sentence}" if remedy is not None and remedy.taken is None else ""
    return f"{harm.sentence}{tried}"


def _use(compared: ComparedArms) -> str:
    chosen, predicted, tested = compared.chosen, compared.predicted, compared.tested
    head = f"Use {chosen.candidate.description}"
    if tested is None:
        return f"{head}: {predicted} foretold from {predicted.n} validation lines; held-back ones were not asked."
    said = f"{head}: {tested} on {tested.n} held-back lines"
    if predicted.low <= tested.value <= predicted.high:
        return f"{said}, which agree with the {predicted} that validation foretold."
    return f"{said}, which do not agree with the {predicted} that validation foretold: give more lines."


def _costs(outcome: FitOutcome) -> str:
    """The price of answers, beside the closed model's own; what the fit has cost."""
    compared, spent = outcome.compared, outcome.recipe.evidence.spent_usd
    paid = compared.chosen.usd_per_1000
    used = "" if spent is None else f"; the fit took {spent:.4g} USD"
    if paid is None:
        return f"What it costs is unknown, since nobody says the closed model's price{used}."
    alone = next((trial for trial in compared.trials if trial.name == "closed" and trial.scores), None)
    beside = alone.usd_per_1000 if alone is not None and alone.name != compared.chosen.name else None
    held = "" if beside is None else f", and the closed model by itself {beside:.4g} USD for 1,000"
    free = "nothing, since the closed model is not called" if not paid else f"{paid:.4g} USD for 1,000 answers"
    return f"It costs {free}{held}{used}."


def _why(compared: ComparedArms) -> str:
    """Against the closed model by itself, or against the best that was passed over."""
    chosen = compared.chosen
    others = [trial for trial in compared.trials if trial.name != chosen.name and trial.scores]
    if not others:
        return "Nothing else could be compared with it."
    held = next((trial for trial in others if trial.name == "closed"), max(others, key=lambda trial: trial.score))
    shared = [item for item in chosen.scores if item in held.scores]
    tested = paired([chosen.scores[item] for item in shared], [held.scores[item] for item in shared])
    if tested is None:
        return f"No line was answered both by it and by {held.candidate.description}."
    how = "better" if tested.low > 0 else "worse" if tested.high < 0 else "no different as far as it can be told"
    said = f"On {tested.n} validation lines it is {how} than {held.candidate.description}"
    if how.startswith("no"):
        said = f"On {tested.n} validation lines it cannot be told from {held.candidate.description}"
    return f"{said} ({tested.value:+.2f}, {tested.low:+.2f} to {tested.high:+.2f}){_passed_over(chosen, others)}."


def _passed_over(chosen: Trial, others: Sequence[Trial]) -> str:
    """An arm that scored more and was not taken."""
    full = [trial for trial in others if len(trial.scores) == len(chosen.scores) and trial.score > chosen.score]
    if not full:
        return ""
    best = max(full, key=lambda trial: trial.score)
    paid = best.usd_per_1000
    price = "" if paid is None else f" at {paid:.4g} USD for 1,000 answers"
    return f"; {best.candidate.description} scored {best.score:.2f}{price}, which is too little more"


def page_of(outcome: FitOutcome, *, title: str, lines: str, by: str, curve: CurvePoints | None = None) -> FittedPage:
    """The page. title: what was fitted. lines: how they were parted. by: which program. curve: of the expert."""
    compared = outcome.compared
    asked = [trial for trial in compared.trials if trial.scores]
    by_itself = speakers(compared.chosen, compared.trials)
    others = _beside(compared, asked, by_itself)
    return FittedPage(
        title=title,
        sentences=sentences(outcome),
        lines=lines,
        rows=_rows(compared, asked),
        notes=compared.notes,
        off_task=off_task_sentence(outcome),
        harmful=outcome.harm is not None and outcome.harm.harmful,
        others=[trial.name for trial in others],
        mistakes=_mistakes(outcome, others, by_itself),
        wrong=len(_wrong(outcome)),
        curve=curve,
        recipe=outcome.recipe.toml(),
        written_at=dt.datetime.now(dt.UTC),
        by=by,
    )


def _rows(compared: ComparedArms, asked: Sequence[Trial]) -> list[FitRow]:
    edge = {trial.name for trial in frontier(asked)}
    return [_row(trial, compared, best=trial.name in edge) for trial in asked]


def _row(trial: Trial, compared: ComparedArms, *, best: bool) -> FitRow:
    scored, paid = mean([*trial.scores.values()]) or Mean(0.0, 0.0, 1.0, 0), trial.usd_per_1000
    return FitRow(
        name=trial.name,
        description=trial.candidate.description,
        n=scored.n,
        score=scored.value,
        low=scored.low,
        high=scored.high,
        per_1000=None if paid is None else Decimal(f"{paid:.6g}"),
        rounds=compared.stayed.get(trial.name, 0),
        best=best,
        chosen=trial.name == compared.chosen.name,
    )


def _beside(compared: ComparedArms, asked: Sequence[Trial], by: Speakers) -> list[Trial]:
    """The winner's parts by themselves, then the best other arm."""
    parts = [trial for trial in by.asked if trial.name != compared.chosen.name]
    taken = {compared.chosen.name, *(trial.name for trial in parts)}
    others = [trial for trial in asked if trial.name not in taken]
    return [*parts, *sorted(others, key=lambda trial: (-len(trial.scores), -trial.score))][:BESIDE]


def _wrong(outcome: FitOutcome) -> list[Item]:
    chosen = outcome.compared.chosen
    return [item for item in outcome.task.validation if chosen.scores.get(item.name, 1.0) < 1.0]


def _mistakes(outcome: FitOutcome, others: Sequence[Trial], by: Speakers) -> list[FitMistake]:
    chosen = outcome.compared.chosen
    return [
        FitMistake(
            item.prompt,
            item.reference,
            chosen.given.answers[item.name].text,
            blame(chosen, item.name, by),
            [_answer(trial, item.name) for trial in others],
        )
        for item in _wrong(outcome)[:MISTAKES]
    ]


def _answer(trial: Trial, item: str) -> FitAnswer | None:
    kept = trial.given.answers.get(item)
    return None if kept is None else FitAnswer(kept.text, right=trial.scores[item] >= 1.0)
