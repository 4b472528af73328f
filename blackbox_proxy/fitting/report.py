"""What a fit comes to, in three sentences and as a page. Pure."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from decimal import Decimal

from blackbox_proxy.evaluation.statistics import Mean, mean, paired
from blackbox_proxy.fitting.compared import ComparedArms
from blackbox_proxy.fitting.fit import FitOutcome
from blackbox_proxy.fitting.selecting import Trial, frontier
from blackbox_proxy.pages.fit import FitMistake, FitRow, FittedPage

MISTAKES = 25
"""Wrong answers that the page shows."""

BESIDE = 2
"""Arms whose answers stand beside wrong ones."""


def sentences(outcome: FitOutcome) -> tuple[str, str, str]:
    """What to use; why; and how sure that is."""
    return _use(outcome.compared), _why(outcome.compared), _sure(outcome.compared)


def _use(compared: ComparedArms) -> str:
    chosen, tested = compared.chosen, compared.tested
    paid = chosen.usd_per_1000
    price = "an unknown price" if paid is None else f"{paid:.4g} USD for 1,000 answers"
    scored = tested or compared.predicted
    on = f"{scored.n} held-back lines" if tested else f"{scored.n} validation lines"
    return f"Use {chosen.candidate.description}: {_score(scored)} on {on}, at {price}."


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


def _sure(compared: ComparedArms) -> str:
    predicted, tested = compared.predicted, compared.tested
    if tested is None:
        return f"Validation foretells {_score(predicted)}; the held-back lines were not asked."
    if predicted.low <= tested.value <= predicted.high:
        return f"Validation foretold {_score(predicted)}, and the held-back lines agree."
    return f"Validation foretold {_score(predicted)}, and the held-back lines do not agree: give more lines."


def page_of(outcome: FitOutcome, *, title: str, lines: str, by: str) -> FittedPage:
    """The page. title: what was fitted. lines: how they were parted. by: which program."""
    compared = outcome.compared
    asked = [trial for trial in compared.trials if trial.scores]
    others = _beside(compared, asked)
    return FittedPage(
        title=title,
        sentences=sentences(outcome),
        lines=lines,
        rows=_rows(compared, asked),
        notes=compared.notes,
        others=[trial.name for trial in others],
        mistakes=_mistakes(outcome, others),
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


def _beside(compared: ComparedArms, asked: Sequence[Trial]) -> list[Trial]:
    """The best other arms."""
    others = [trial for trial in asked if trial.name != compared.chosen.name]
    return sorted(others, key=lambda trial: (-len(trial.scores), -trial.score))[:BESIDE]


def _mistakes(outcome: FitOutcome, others: Sequence[Trial]) -> list[FitMistake]:
    chosen = outcome.compared.chosen
    wrong = [item for item in outcome.task.validation if chosen.scores.get(item.name, 1.0) < 1.0]
    return [
        FitMistake(
            item.prompt,
            item.reference,
            chosen.given.answers[item.name].text,
            [given.text if (given := trial.given.answers.get(item.name)) else "" for trial in others],
        )
        for item in wrong[:MISTAKES]
    ]


def _score(value: Mean) -> str:
    return f"{value.value:.2f} ({value.low:.2f} to {value.high:.2f})"
