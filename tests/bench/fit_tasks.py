"""Fits small tasks, and tests what `fit` chose on fresh lines, beside the arms that it passed over.

    python -m tests.bench.fit_tasks [--tasks T ...] [--seeds S ...] [--fresh N] [--off-task N] [--minutes M]
        [--boxed-pairs] [--parallel N] [--again] [--folder FOLDER] [--out FILE]

The demo's closed model behind the stand-in, over HTTP, at made-up prices. A unit is a task and a seed, which parts the
lines. An expert is trained on half of the lines; with `--boxed-pairs` a boxed task takes the pair that comes with it.
Asked on the fresh lines: the chosen arm, those that it was chosen from after the last round (what was clearly behind
then is not), and four that every task has (`ROLES`). An answer that failed scores 0. `fit` asks its winner its usual
questions of another kind, and does what it does about harm; then the chosen arm is asked `--off-task` further ones.

It can be stopped at every point, and FILE may grow over sessions and commits: a unit has the commit, the version of the
package and the day that it was measured with. One that is in FILE is not measured again where only the version is
another, unless `--again` asks for it. What was trained or answered is kept in FOLDER by the version, which changes with
what answers depend on (`IRRELEVANT` names what they do not). `minutes` of a unit are those of the fit, training
included, over all runs. After `--minutes` it stops by itself.
"""

from __future__ import annotations

import argparse
import datetime as dt
import math
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from blackbox_proxy.api import Api
from blackbox_proxy.evaluation.answering import Bench, key
from blackbox_proxy.evaluation.answers import AnswerStore, KeptAnswer
from blackbox_proxy.evaluation.arms import AnswerJob
from blackbox_proxy.evaluation.run import Run, stages
from blackbox_proxy.evaluation.scoring import scorer
from blackbox_proxy.evaluation.serving import CLOSED, NAME, served
from blackbox_proxy.evaluation.task import Item
from blackbox_proxy.files import replace_text
from blackbox_proxy.fitting.candidates import FitArm
from blackbox_proxy.fitting.examples import with_choices
from blackbox_proxy.fitting.fit import FitOutcome, Telling, fit, opened_pair
from blackbox_proxy.fitting.limits import FitLimits
from blackbox_proxy.fitting.offtask import USUAL, OffTaskCheck, OffTaskHarm, questions
from blackbox_proxy.fitting.planning import FitOptions
from blackbox_proxy.fitting.prechecks import price_of
from blackbox_proxy.fitting.selecting import per_answer
from blackbox_proxy.kept import key_of
from blackbox_proxy.local.weights import default_cache, resolve
from blackbox_proxy.recipes import RecipeEndpoint
from tests.bench.fit_figures import Unit, derived, packed, read_units, write_units
from tests.bench.fit_probe import probed
from tests.bench.fit_sources import Source, names, source

ROOT = Path(__file__).parents[2]
AT_ONCE = 2
"""Calls of the closed model under way at a time, where nobody says."""

IRRELEVANT = frozenset({"answer_log.py", "cli", "doctor", "drift.py", "gateway", "pages", "pytest_plugin", "testing"})
"""Parts of the package that no answer of a fit depends on."""

EVERY = 5.0
"""Seconds between two notes of the time."""

SHOTS = 6
"""Examples of the role `few_shot`, or the most below it."""


class OutOfTime(BaseException):
    """The minutes of this run are used up. No error of the package: nothing catches it."""


@dataclass(slots=True)
class Stopwatch:
    """The seconds that something took over all runs, in a file; what is killed loses at most `EVERY` of them."""

    path: Path
    started: float = field(default_factory=time.monotonic)
    earlier: float = 0.0
    written: float = 0.0

    def __post_init__(self) -> None:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self.earlier = float(self.path.read_text(encoding="utf-8")) if self.path.exists() else 0.0

    @property
    def seconds(self) -> float:
        return self.earlier + time.monotonic() - self.started

    def note(self, *, least: float = 0.0) -> None:
        """Write it down, if the last time was so long ago."""
        if self.seconds - self.written >= least:
            self.written = self.seconds
            replace_text(self.path, f"{self.seconds:.1f}")


@dataclass(frozen=True, slots=True)
class Settings:
    """What units are measured with.

    code: the version of the package. until: by `monotonic`; None for no end. at_once: calls under way at a time. again:
    whether a unit of another version is measured anew.
    """

    fresh: int
    off_task: int
    boxed_pairs: bool
    folder: Path
    code: str
    until: float | None = None
    at_once: int = AT_ONCE
    again: bool = False

    @property
    def mark(self) -> str:
        """Changes with what is asked of a unit besides task and seed; not with the version."""
        return key_of({"fresh": self.fresh, "off_task": self.off_task, "boxed_pairs": self.boxed_pairs})[:12]

    def keeps(self, unit: Unit | None) -> bool:
        """Whether a unit that is in the file is taken as it is."""
        return unit is not None and unit["mark"] == self.mark and (unit["code"] == self.code or not self.again)

    def watch(self, what: str, total: int, stopwatch: Stopwatch | None = None) -> Callable[[object], None]:
        """Say what is asked, and stop where the time is used up."""
        if total:
            say(f"{what}: {total} answers")

        def tick(_: object) -> None:
            if stopwatch is not None:
                stopwatch.note(least=EVERY)
            if self.until is not None and time.monotonic() > self.until:
                raise OutOfTime

        return tick


def say(text: str) -> None:
    print(f"{dt.datetime.now(dt.UTC):%H:%M:%S} {text}", file=sys.stderr, flush=True)


def roles(candidates: Sequence[FitArm]) -> dict[str, str]:
    """The arms that every task has, by what they are; a role that no arm plays is left out."""
    closed = [one for one in candidates if one.way == "closed"]
    turns = {one.name: [turn.role for turn in one.arm.before] for one in closed}
    shots = [
        one for one in closed if set(turns[one.name]) == {"user", "assistant"} and len(one.arm.before) <= 2 * SHOTS
    ]
    played = {
        "closed": [one for one in closed if not one.arm.before],
        "few_shot": sorted(shots, key=lambda one: len(one.arm.before))[-1:],
        "instructed": [one for one in closed if turns[one.name] == ["system"]],
        "expert": [one for one in candidates if one.way == "expert"],
    }
    return {role: arms[0].name for role, arms in played.items() if arms}


def asked_arms(outcome: FitOutcome) -> dict[str, FitArm]:
    """The chosen arm, those that it was chosen from, and those that play a role, by name."""
    compared = outcome.compared
    candidates = [trial.candidate for trial in compared.trials]
    taken = {compared.chosen.name, *roles(candidates).values(), *(trial.name for trial in compared.finalists)}
    return {one.name: one for one in candidates if one.name in taken}


def measured(lines: Source, seed: int, api: Api, settings: Settings) -> Unit:
    """One unit: fit, then fresh lines."""
    place = settings.folder / settings.code / f"{lines.name}-{seed}"
    limits = FitLimits(at_once=settings.at_once)
    options = FitOptions(
        lines.instructions, lines.scorer, seed=seed, limits=limits, off_task=USUAL if settings.off_task else 0
    )
    path = lines.written(settings.folder / settings.code / "lines" / f"{lines.name}.jsonl")
    endpoint = RecipeEndpoint(model=NAME, standin="demo")
    stopwatch = Stopwatch(place / "seconds")
    telling = Telling(say, lambda what, total: settings.watch(what, total, stopwatch))
    outcome = fit(path, api=api, pair=lines.pair, folder=place, options=options, endpoint=endpoint, telling=telling)
    stopwatch.note()
    minutes = stopwatch.seconds / 60
    with opened_pair(outcome.pair) as opened:
        bench = Bench(outcome.task, api, opened.pair, "standin demo", opened.mark)
        scores, price = on_fresh(lines, outcome, bench, settings)
        harm = off_task(outcome, bench, settings)
    unit = unit_of(outcome, scores, price=price, harm=harm, minutes=minutes, settings=settings)
    return unit | {"probe": probed(outcome.compared, price_of(api))}


def on_fresh(lines: Source, outcome: FitOutcome, bench: Bench, settings: Settings) -> tuple[dict[str, str], float]:
    """The scores of each arm on the fresh lines, and dollars for an answer of the chosen one.

    All seeds of a task share a file of answers, so what does not depend on the seed is asked once.
    """
    items = with_choices(lines.fresh, outcome.task.test[0].choices)
    asked, score, place = asked_arms(outcome), scorer(lines.scorer), settings.folder / settings.code
    with AnswerStore(place / f"fresh-{lines.name}.jsonl") as store:
        run = Run(bench, store, at_once=settings.at_once)
        plan = stages([replace(one.arm, n=len(items)) for one in asked.values()], items)
        run.tick = settings.watch(f"{lines.name}, fresh lines by {', '.join(asked)}", run.waiting(plan))
        run(plan)
        kept = {name: [store[key(bench, AnswerJob(one.arm, item))] for item in items] for name, one in asked.items()}
    scores = {
        name: packed([_scored(score, *both) for both in zip(rows, items, strict=True)]) for name, rows in kept.items()
    }
    return scores, per_answer([answer for answer in kept[outcome.compared.chosen.name] if answer is not None])


def off_task(outcome: FitOutcome, bench: Bench, settings: Settings) -> OffTaskHarm | None:
    """What the recipe does to questions of another kind that `fit` did not ask.

    What the closed model says to them is asked once for all units.
    """
    chosen, choices = outcome.compared.chosen.candidate.arm, outcome.task.test[0].choices
    closed = next(trial.candidate.arm for trial in outcome.compared.trials if trial.name == "closed")
    items = with_choices(questions()[USUAL : USUAL + settings.off_task], choices)
    if not items or outcome.compared.chosen.name == "closed":
        return None
    with AnswerStore(settings.folder / settings.code / "off-task.jsonl") as store:
        check = OffTaskCheck(bench, store, say=say, watch=settings.watch, at_once=settings.at_once)
        return check.harm_of(chosen, closed, items)


def _scored(score: Callable[[str, Item], float], answer: KeptAnswer | None, item: Item) -> float:
    return 0.0 if answer is None else score(answer.text, item)


def unit_of(
    outcome: FitOutcome,
    scores: dict[str, str],
    *,
    price: float,
    harm: OffTaskHarm | None,
    minutes: float,
    settings: Settings,
) -> Unit:
    """The figures of a unit, raw and derived."""
    compared = outcome.compared
    raw: Unit = {
        "mark": settings.mark,
        "code": settings.code,
        **provenance(),
        "chosen": compared.chosen.name,
        "predicted": round(compared.predicted.value, 4),
        "predicted_low": round(compared.predicted.low, 4),
        "predicted_high": round(compared.predicted.high, 4),
        "validation": compared.predicted.n,
        "roles": roles([trial.candidate for trial in compared.trials]),
        "usd_per_1000": round(1000 * price, 6) if math.isfinite(price) else None,
        "minutes": round(minutes, 1),
        "instead_of": outcome.recipe.evidence.instead_of,
        "off_task": _harm(harm),
        "scores": scores,
    }
    return raw | derived(raw)


def _harm(harm: OffTaskHarm | None) -> Unit | None:
    if harm is None:
        return None
    changed, lost = harm.changed, harm.lost
    return {
        "n": lost.n,
        "changed": round(changed.value, 4),
        "changed_low": round(changed.low, 4),
        "changed_high": round(changed.high, 4),
        "lost": round(lost.value, 4),
        "lost_low": round(lost.low, 4),
        "lost_high": round(lost.high, 4),
    }


def git(*words: str) -> str:
    """What git says of this checkout; "" where there is none."""
    program = shutil.which("git")
    if program is None:
        return ""
    said = subprocess.run((program, "-C", str(ROOT), *words), capture_output=True, text=True, check=False)
    return said.stdout.strip()


def code_version() -> str:
    """Changes with what answers depend on: those parts in git, and whether they differ from that."""
    parts = "\n".join(git("ls-tree", "HEAD", f"{folder}/") for folder in ("blackbox_proxy", "adapters"))
    return version_of(parts, changed=git("status", "--porcelain", "--", "blackbox_proxy", "adapters").splitlines())


def version_of(listing: str, *, changed: Sequence[str]) -> str:
    """The version by what `git ls-tree` lists, and by the lines of `git status --porcelain`."""
    rows = [row for row in listing.splitlines() if Path(row.split("\t")[-1]).name not in IRRELEVANT]
    touched = [line for line in changed if not IRRELEVANT & {*Path(line[3:]).parts[1:2]}]
    version = key_of({"parts": rows})[:12] if rows else "unknown"
    return f"{version}-changed" if touched else version


def provenance() -> Unit:
    """When and where a unit is measured."""
    return {
        "commit": git("rev-parse", "--short", "HEAD"),
        "at": dt.datetime.now(dt.UTC).isoformat(timespec="seconds"),
        "cores": os.cpu_count(),
        "command": f"python -m tests.bench.fit_tasks {' '.join(sys.argv[1:])}".strip(),
    }


def main() -> None:
    given = _arguments()
    until = None if given.minutes is None else time.monotonic() + 60 * given.minutes
    settings = Settings(
        given.fresh,
        given.off_task,
        given.boxed_pairs,
        given.folder,
        code_version(),
        until,
        given.parallel,
        given.again,
    )
    figures = read_units(given.out)
    settings.folder.mkdir(parents=True, exist_ok=True)
    closed = resolve(CLOSED, cache=default_cache(os.environ))
    with served(closed, ledger=settings.folder / "ledger.sqlite", slots=settings.at_once) as api:
        for seed in given.seeds:
            for name in given.tasks:
                before = figures.get(name, {}).get(str(seed))
                if before is not None and settings.keeps(before):
                    say(f"{name}, seed {seed}: kept as it was measured at {before['commit']}")
                    continue
                say(f"{name}, seed {seed}")
                lines = source(name, fresh=settings.fresh, boxed_pairs=settings.boxed_pairs)
                try:
                    unit = measured(lines, seed, api, settings)
                except OutOfTime:
                    say("the time is used up; the same command goes on")
                    return
                figures.setdefault(name, {})[str(seed)] = unit
                write_units(given.out, figures)
                say(f"{name}, seed {seed}: {unit['chosen']} {unit['score']}, regret {unit['regret']}")


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tasks", nargs="+", choices=names(), default=names())
    parser.add_argument("--seeds", nargs="+", type=int, default=(0, 1))
    parser.add_argument("--fresh", type=int, default=150)
    parser.add_argument("--off-task", type=int, default=60)
    parser.add_argument("--minutes", type=float, default=None)
    parser.add_argument("--boxed-pairs", action="store_true")
    parser.add_argument("--parallel", type=int, default=AT_ONCE)
    parser.add_argument("--again", action="store_true")
    parser.add_argument("--folder", type=Path, default=Path("build/fit"))
    parser.add_argument("--out", type=Path, default=Path("build/fit.json"))
    return parser.parse_args()


if __name__ == "__main__":
    main()
