"""Trains the expert of a fit with `tuning`, or takes that of an earlier run. PyTorch is imported inside."""

from __future__ import annotations

import datetime as dt
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from blackbox_proxy.errors import InputError
from blackbox_proxy.evaluation.evaluate import Watch
from blackbox_proxy.evaluation.task import Item
from blackbox_proxy.tuning.course import Progress
from blackbox_proxy.tuning.lines import Line
from blackbox_proxy.tuning.recipe import Recipe
from blackbox_proxy.tuning.run import TuningJob, load, outputs, plan, require_extra, write
from blackbox_proxy.types import Prompt

BASE = "pypi:smollm2-135m-instruct"
"""The untuned model of an expert where nobody names one."""

ADAPTER = "expert.lora.gguf"
"""What an expert is called in its folder."""

STEPS = 60
"""Fewest steps of a course: of few lines more epochs are read."""

HELD = 0.1
"""Share of the training lines that the epochs are chosen on."""


def check_extra() -> None:
    """Raises InputError where there is no expert, and none can be trained."""
    try:
        require_extra()
    except InputError as error:
        raise InputError(
            f"no pair is given, so an expert is to be trained, and {error.message}",
            hint=f"{error.hint}; or give a pair that is there with --pair",
        ) from None


def kept_expert(folder: Path) -> Path | None:
    """The pair file of an expert whose training has ended; None where there is none. folder: where it is written."""
    if not folder.is_dir():
        return None
    files = outputs(folder / ADAPTER)
    return files.pair if files.pair.exists() and not files.checkpoint.exists() else None


def replayed_expert(folder: Path) -> Path:
    """The expert that a recorded fit has trained. Raises InputError where it is not kept there."""
    kept = kept_expert(folder)
    if kept is None:
        raise InputError(
            f"a cassette holds no expert, and a replay trains none; {folder} keeps none either",
            hint="give the --pair of the fit that was recorded; where it trained its expert, its --answers folder",
        )
    return kept


@dataclass(frozen=True, slots=True)
class TrainingTime:
    """When training ends at the latest. ends: by `clock`, in seconds; infinite for no limit."""

    ends: float = math.inf
    clock: Callable[[], float] = time.monotonic

    @property
    def is_up(self) -> bool:
        return self.clock() > self.ends


def trained(
    items: Sequence[Item],
    *,
    base: Path,
    spec: str,
    folder: Path,
    seed: int,
    say: Callable[[str], object],
    limit: TrainingTime | None = None,
    watch: Watch = lambda _what, _total: lambda _: None,
) -> Path:
    """The pair file of an expert of these lines: one that an earlier run wrote, or a new one.

    A training that was killed goes on from its checkpoint.

    Args:
        items: The lines.
        base: The untuned model.
        spec: How it is named.
        folder: Where the expert is written.
        seed: Of the course.
        say: Told what happens.
        limit: When the best epoch so far is taken; the first is always finished. None for no limit.
        watch: Told of every step.
    """
    out = folder / ADAPTER
    kept = kept_expert(folder)
    if kept is not None:
        say(f"the expert of an earlier run is taken: {kept}")
        return kept
    lines = [Line(Prompt.ask(item.prompt), item.reference) for item in items]
    cut = max(1, round(HELD * len(lines)))
    job = TuningJob(base, spec, out, lines[cut:], lines[:cut], _recipe(len(lines) - cut, seed))
    _train(job, say, limit=limit or TrainingTime(), watch=watch)
    return outputs(out).pair


def _recipe(lines: int, seed: int) -> Recipe:
    """Enough epochs that few lines are read often enough; the best one on held lines is kept."""
    usual = Recipe(seed=seed, precision="auto")
    per_epoch = max(1, lines // usual.batch)
    return replace(usual, epochs=min(12, max(usual.epochs, round(STEPS / per_epoch))))


def _train(job: TuningJob, say: Callable[[str], object], *, limit: TrainingTime, watch: Watch) -> None:
    from blackbox_proxy.tuning.train import Hooks
    from blackbox_proxy.tuning.whole import train_all

    planned = plan(job)
    say(
        f"training an expert over {planned.base.name} on {len(job.lines)} lines: {job.recipe.epochs} epochs, "
        f"{planned.estimate.steps} steps at most"
    )
    loaded = load(planned)
    tick = watch("training", planned.estimate.steps)

    def step(progress: Progress) -> None:
        tick(progress)

    hooks = Hooks(step=step, save=loaded.checkpoint.save, limit=limit.ends - limit.clock())
    fitted, findings = train_all(planned, loaded, hooks=hooks, curve=True, say=say)
    if limit.is_up:
        say("training has taken its share of the time: the best epoch so far is taken")
    write(planned, loaded, fitted.course, date=dt.datetime.now(tz=dt.UTC).date(), findings=findings)
    loaded.checkpoint.remove()
    read, best = len(fitted.course.means), fitted.course.best
    epochs = "1 epoch" if read == 1 else f"{read} epochs"
    say(f"the expert is trained: {epochs} in {fitted.seconds:.0f} s, epoch {best} was kept")
