"""A whole training run: the search for facts, the training itself, and the learning curve. Under one limit of time.

Knows PyTorch (extra [tune]). Writes no files; a checkpoint is saved by the hooks, of the training itself alone.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from blackbox_proxy.tuning.course import Course
from blackbox_proxy.tuning.data import Data
from blackbox_proxy.tuning.facts import FactSearch
from blackbox_proxy.tuning.holding import search
from blackbox_proxy.tuning.learning import SHARES
from blackbox_proxy.tuning.model import copied
from blackbox_proxy.tuning.parts import TuningBench, learning_curve
from blackbox_proxy.tuning.record import TuningFindings
from blackbox_proxy.tuning.run import Loaded, TuningPlan
from blackbox_proxy.tuning.train import Fitted, Hooks, fit

SEARCHING = 1 / 3
"""Share of the limit after which the search for facts is given up, and everything is learnt alike."""


def train_all(
    planned: TuningPlan, loaded: Loaded, *, hooks: Hooks, curve: bool, say: Callable[[str], object]
) -> tuple[Fitted, TuningFindings]:
    """Trains, and leaves the best epoch's changes in the model.

    Args:
        planned: The run.
        loaded: The model with untrained changes, and where an earlier part of the run stopped.
        hooks: `limit` holds for the whole; of every step of the training itself `step` is told.
        curve: Whether the learning curve is measured, where the limit leaves room for it.
        say: Is told in a sentence what was found out.
    """
    bench, begun = TuningBench(loaded.model, loaded.kinds, copied(loaded.model)), hooks.clock()

    def spent() -> float:
        return hooks.clock() - begun

    data, facts = _search(bench, planned, hooks=hooks, spent=spent, say=say)
    if hooks.stop():
        return _stopped(planned, loaded), TuningFindings()
    within = replace(hooks, limit=hooks.limit - spent())
    fitted = fit(loaded.model, data, loaded.kinds, recipe=planned.job.recipe, hooks=within, state=loaded.state)
    findings = TuningFindings(facts=facts)
    if not (fitted.finished and curve and spent() + curve_seconds(fitted) <= hooks.limit):
        return fitted, findings
    say(f"training on parts of the lines too, for a learning curve: about {curve_seconds(fitted):.0f} s")
    learning = learning_curve(bench, data, recipe=planned.job.recipe, course=fitted.course, stop=hooks.stop)
    if learning is not None:
        say(learning.sentence())
    return fitted, replace(findings, learning=learning)


def _stopped(planned: TuningPlan, loaded: Loaded) -> Fitted:
    """Where a run is that was stopped before its first step, or before another one."""
    if loaded.state is None:
        return Fitted(Course(planned.estimate.per_epoch), finished=False, seconds=0.0)
    return Fitted(loaded.state.course, finished=False, seconds=loaded.state.seconds)


def curve_seconds(fitted: Fitted) -> float:
    """What the learning curve of a run will take: its parts are read as often as the epoch that was kept."""
    epochs = max(1, len(fitted.course.means))
    return fitted.seconds * sum(1 / share for share in SHARES) * max(1, fitted.course.best) / epochs


def _search(
    bench: TuningBench, planned: TuningPlan, *, hooks: Hooks, spent: Callable[[], float], say: Callable[[str], object]
) -> tuple[Data, FactSearch | None]:
    recipe = planned.job.recipe
    if not recipe.facts or recipe.slot is not None:
        return planned.data, None

    def stop() -> bool:
        return hooks.stop() or spent() > SEARCHING * hooks.limit

    say("looking for facts in the answers, which takes some short trainings")
    data, facts = search(bench, planned.data, planned.pieces, recipe=recipe, stop=stop)
    if facts is not None:
        say(facts.sentence())
        for example in facts.examples:
            say(f"  facts in << >>: {example}")
    return data, facts
