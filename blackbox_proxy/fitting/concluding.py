"""The recipe that follows from a comparison, with its evidence. Pure, but for today's date."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from blackbox_proxy.evaluation.statistics import Mean, mean
from blackbox_proxy.evaluation.task import Task
from blackbox_proxy.fitting.compared import ComparedArms
from blackbox_proxy.fitting.harmless import HarmRemedy
from blackbox_proxy.fitting.offtask import OffTaskHarm
from blackbox_proxy.fitting.planning import FitPlan
from blackbox_proxy.fitting.selecting import Trial
from blackbox_proxy.recipes import ArmEvidence, FittedRecipe, RecipeEvidence


@dataclass(frozen=True, slots=True)
class Conclusion:
    """What a recipe is made of.

    pair_file, pair_mark: of the pair. price: which row of which list. harm: what it does to questions of another kind.
    remedy: what became of an arm that harms them.
    """

    plan: FitPlan
    compared: ComparedArms
    task: Task
    pair_file: str
    pair_mark: str
    price: str
    harm: OffTaskHarm | None = None
    remedy: HarmRemedy | None = None

    def recipe(self) -> FittedRecipe:
        """What to run, and why."""
        chosen, way = self.compared.chosen.candidate, self.compared.chosen.candidate.way
        speaker = chosen.arm.api_speaker
        knobs = {"alpha": chosen.arm.alpha, **dict(chosen.arm.knobs)} if speaker in ("steered", "choice") else {}
        if chosen.arm.draws:
            knobs = {"way": "answers", "samples": chosen.arm.draws}
        return FittedRecipe(
            arm=chosen.name,
            way=way,
            endpoint=self.plan.endpoint,
            pair="" if way == "closed" else self.pair_file,
            instructions=chosen.front.instructions,
            examples=chosen.front.examples,
            options=self.plan.examples.labels if speaker == "choice" else (),
            steering={**knobs, "max_tokens": self.task.max_tokens},
            evidence=self._evidence(),
            route=chosen.arm.route,
        )

    def _evidence(self) -> RecipeEvidence:
        plan, compared, parts = self.plan, self.compared, self.plan.parts
        tested = compared.tested
        figures = {} if tested is None else {"n": tested.n, **_rounded("", tested)}
        return RecipeEvidence(
            date=dt.datetime.now(dt.UTC).date().isoformat(),
            lines=Path(plan.examples.where).name,
            lines_digest=plan.examples.digest,
            pair_digest=self.pair_mark,
            seed=plan.options.seed,
            prefer=plan.options.limits.prefer,
            scorer=plan.options.scorer.kind,
            form=plan.options.scorer.form,
            train=len(parts.train),
            validation=len(parts.validation),
            test=len(parts.test),
            **figures,
            **_rounded("predicted", compared.predicted),
            usd_per_1000=_money(compared.chosen.usd_per_1000),
            price=self.price,
            spent_usd=_money(None if compared.spent is None else float(compared.spent)),
            **_off_task(self.harm),
            **_instead(self.remedy),
            arms=tuple(_arm(trial, compared) for trial in compared.trials if trial.scores),
            route=compared.route.evidence if compared.route is not None else None,
        )


def _off_task(harm: OffTaskHarm | None) -> dict[str, Any]:
    if harm is None:
        return {}
    lost = Mean(harm.lost.value, harm.lost.low, harm.lost.high, harm.lost.n)
    return {"off_task": lost.n, **_rounded("changed", harm.changed), **_rounded("lost", lost)}


def _instead(remedy: HarmRemedy | None) -> dict[str, Any]:
    if remedy is None or remedy.taken is None:
        return {}
    return {"instead_of": remedy.before.name, "instead_lost": round(remedy.harm.lost.value, 4)}


def _rounded(name: str, value: Mean) -> dict[str, Any]:
    head = f"{name}_" if name else ""
    ends = {f"{head}low": round(value.low, 4), f"{head}high": round(value.high, 4)}
    return {name or "score": round(value.value, 4), **ends}


def _money(amount: float | None) -> float | None:
    return None if amount is None else round(amount, 6)


def _arm(trial: Trial, compared: ComparedArms) -> ArmEvidence:
    scored = mean(list(trial.scores.values())) or Mean(0.0, 0.0, 1.0, 0)
    return ArmEvidence(
        name=trial.name,
        n=scored.n,
        **_rounded("", scored),
        asked_in=compared.stayed.get(trial.name, 0),
        usd_per_1000=_money(trial.usd_per_1000),
    )
