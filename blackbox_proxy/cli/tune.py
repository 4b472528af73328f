"""The command `tune`: lines in; an adapter, its record, its loss curve and a pair file out.

Says first what it will take. What goes wrong with options and lines is said before anything is loaded or fetched.
Heavy modules are imported inside.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from blackbox_proxy.cli import inputs
from blackbox_proxy.cli.declaring import with_options
from blackbox_proxy.cli.options import AsJson, write_json
from blackbox_proxy.errors import InputError
from blackbox_proxy.tuning.recipe import Recipe

if TYPE_CHECKING:
    from blackbox_proxy.tuning.agreement import Agreement
    from blackbox_proxy.tuning.learning import LearningCurve
    from blackbox_proxy.tuning.lines import Line
    from blackbox_proxy.tuning.record import TuningFindings
    from blackbox_proxy.tuning.run import Loaded, Outputs, TuningPlan
    from blackbox_proxy.tuning.train import Fitted

EXAMPLES = """Examples:

`blackbox-proxy tune --base pypi:smollm2-135m-instruct --lines lines.jsonl --out my.lora.gguf`

`blackbox-proxy tune --base base.gguf --lines lines.jsonl --validation held.jsonl --out my.lora.gguf --check`

`blackbox-proxy tune --base base.gguf --lines texts.jsonl --raw --rank 4 --targets q_proj,v_proj --out my.lora.gguf`
"""

LONG = 300.0
"""Seconds from which on it is asked whether to go on."""

STOPPED = 130
"""Exit status of a run that was told to stop."""


@with_options
def tune(
    base: Annotated[str, typer.Option(help="The untuned model: a GGUF file, hf:owner/repo/file, or pypi:name.")],
    lines: Annotated[Path, typer.Option(help="JSONL: [question, answer], {prompt, completion} or {messages} a line.")],
    out: Annotated[Path, typer.Option(help="The adapter to write, .gguf; the other files are named after it.")],
    *,
    validation: Annotated[
        str, typer.Option(help="Lines to validate on: a share of LINES, or a file; 0 for none.")
    ] = "0.1",
    raw: Annotated[bool, typer.Option(help="Prompts are raw texts: no chat template around them.")] = False,
    template: Annotated[
        str, typer.Option(help="Chat template: gguf (the base's own), chatml, or a Jinja file.")
    ] = "gguf",
    recipe: Recipe,
    curve: Annotated[
        bool, typer.Option("--curve", help="Say whether more lines would help: train on a quarter and on half, too.")
    ] = False,
    check: Annotated[bool, typer.Option("--check", help="Compare PyTorch and llama.cpp after the export.")] = False,
    fresh: Annotated[
        bool, typer.Option("--fresh", help="Start over, and replace what an earlier run left at --out.")
    ] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask, however long it takes.")] = False,
    as_json: AsJson = False,
) -> None:
    """Train an expert from lines of questions and answers: a LoRA adapter over a small GGUF model.

    A run that was stopped, or killed, goes on where it was when the same command is given again.
    """
    from blackbox_proxy.cli.fetching import fetch
    from blackbox_proxy.tuning.run import TuningJob, load, outputs, plan, require_extra

    files = outputs(out)
    _check_files(files, fresh=fresh)
    form = "gguf" if template == "gguf" and not raw else _form(template, raw=raw)
    train, held = _lines(lines, validation, recipe, raw=raw)
    require_extra()
    path = fetch(base)
    planned = plan(TuningJob(path, base, out, train, held, recipe, template="raw" if raw else template, form=form))
    if fresh:
        files.checkpoint.unlink(missing_ok=True)
    from blackbox_proxy.cli import training

    training.announce(planned)
    loaded = load(planned)
    _ask(planned, loaded, curve=curve, yes=yes)
    fitted, findings = _fit(planned, loaded, curve=curve)
    if not fitted.finished:
        _leave(files, planned, fitted, as_json=as_json)
    _write(planned, loaded, fitted, findings)
    agreement = _check(planned, loaded) if check else None
    loaded.checkpoint.remove()
    outcome = TuningOutcome(fitted, findings, agreement)
    _report(files, planned, outcome, as_json=as_json)
    if agreement is not None and not agreement.agrees:
        raise typer.Exit(1)


def _check_files(files: Outputs, *, fresh: bool) -> None:
    """Raises InputError where an earlier run's files lie that were not told to be replaced."""
    there = next((path for path in (files.adapter, files.pair) if path.exists()), None)
    if there and not fresh and not files.checkpoint.exists():
        raise InputError(f"{there} is there already", hint="name another file, or say --fresh to replace it")


def _form(template: str, *, raw: bool) -> str:
    if raw and template != "gguf":
        raise InputError("--raw goes with no --template: raw text has no turns", hint="leave one of them out")
    return "raw" if raw else inputs.template_text(template)


def _lines(path: Path, validation: str, recipe: Recipe, *, raw: bool) -> tuple[Sequence[Line], Sequence[Line]]:
    """Lines to train on, and to validate on."""
    from blackbox_proxy.tuning.lines import read_lines, split

    lines = read_lines(path, raw=raw)
    try:
        share = float(validation)
    except ValueError:
        return lines, read_lines(Path(validation), raw=raw)
    if not 0 <= share < 1:
        raise InputError(f"--validation must be a share from 0 to 1, or a file, not {validation}", hint="0.1 is usual")
    return split(lines, share, seed=recipe.seed)


def _ask(planned: TuningPlan, loaded: Loaded, *, curve: bool, yes: bool) -> None:
    """Measures the pace, says how long it will take, and on a terminal asks where that is long."""
    from blackbox_proxy.cli import show, training
    from blackbox_proxy.tuning.train import seconds_per_token

    if loaded.state is not None:
        done = len(loaded.state.course.losses)
        show.note(f"going on after step {done} of {planned.estimate.steps}, from {planned.outputs.checkpoint}")
        return
    recipe = planned.job.recipe
    pace = seconds_per_token(loaded.model, planned.data, loaded.kinds, recipe=recipe)
    seconds = planned.estimate.seconds(pace, recipe, planned.data.held, curve=curve)
    show.note(f"time: about {training.spoken(seconds)}, at {1 / pace:,.0f} tokens/s")
    tight = planned.estimate.memory > 0.9 * training.machine_memory()
    if tight:
        show.warning("the memory may not suffice; a smaller --batch or shorter lines need less")
    if not yes and (tight or seconds > LONG) and not inputs.agreed():
        raise typer.Exit(1)


def _fit(planned: TuningPlan, loaded: Loaded, *, curve: bool) -> tuple[Fitted, TuningFindings]:
    from blackbox_proxy.cli import show, training
    from blackbox_proxy.tuning.train import Hooks
    from blackbox_proxy.tuning.whole import train_all

    state = loaded.state
    before = 0.0 if state is None else state.seconds
    done = 0 if state is None else len(state.course.losses)
    with training.breakable() as stop, training.progress(seconds=before, done=done) as tell:
        hooks = Hooks(step=tell, save=loaded.checkpoint.save, stop=stop)
        return train_all(planned, loaded, hooks=hooks, curve=curve, say=show.note)


def _leave(files: Outputs, planned: TuningPlan, fitted: Fitted, *, as_json: bool) -> None:
    """Says how far it came, and how it goes on."""
    from blackbox_proxy.cli import show

    step, steps = len(fitted.course.losses), planned.estimate.steps
    if as_json:
        write_json({"finished": False, "step": step, "steps": steps, "checkpoint": str(files.checkpoint)})
    show.note(f"stopped after step {step} of {steps}; the same command without --fresh goes on from {files.checkpoint}")
    raise typer.Exit(STOPPED)


def _write(planned: TuningPlan, loaded: Loaded, fitted: Fitted, findings: TuningFindings) -> None:
    """Writes the adapter, its record and pair file, and the loss curve."""
    from blackbox_proxy.files import replace_text
    from blackbox_proxy.pages.curve import Losses, curve
    from blackbox_proxy.tuning.run import write

    course = fitted.course
    write(planned, loaded, course, date=dt.datetime.now(tz=dt.UTC).date(), findings=findings)
    losses = Losses(course.losses, course.validations, course.per_epoch, course.best)
    replace_text(planned.outputs.curve, curve(losses, title=planned.outputs.adapter.name))


def _check(planned: TuningPlan, loaded: Loaded) -> Agreement:
    from blackbox_proxy.cli import show
    from blackbox_proxy.tuning.agreement import CHECKED, compare

    examples = [*planned.data.held, *planned.data.train][:CHECKED]
    with show.progress("checking", len(examples)) as tick:
        return compare(loaded.model, examples, base=planned.base.path, adapter=planned.outputs.adapter, tick=tick)


def _learning(curve: LearningCurve) -> dict[str, object]:
    """The learning curve as JSON; an error that is infinite, of one held line, is null."""
    from blackbox_proxy.cli import show

    return {**asdict(curve), "error": show.number(curve.error), "more_lines_help": curve.more_lines_help}


@dataclass(frozen=True, slots=True)
class TuningOutcome:
    """How a run went, what it found out besides, and whether llama.cpp agrees, where that was asked."""

    fitted: Fitted
    findings: TuningFindings
    agreement: Agreement | None


def _report(files: Outputs, planned: TuningPlan, outcome: TuningOutcome, *, as_json: bool) -> None:
    """What was written, and what came of it."""
    from blackbox_proxy.cli import show, training

    fitted, findings, agreement = outcome.fitted, outcome.findings, outcome.agreement
    course = fitted.course
    epochs = len(course.means)
    if as_json:
        write_json(
            {
                "finished": True,
                "adapter": str(files.adapter),
                "record": str(files.record),
                "curve": str(files.curve),
                "pair": str(files.pair),
                "lines": {"train": len(planned.job.lines), "validation": len(planned.job.held)},
                "steps": len(course.losses),
                "epochs": epochs,
                "best_epoch": course.best,
                "stopped_early": epochs < planned.job.recipe.epochs,
                "losses": [show.number(loss) for loss in course.means],
                "validation_losses": [show.number(loss) for loss in course.validations],
                "seconds": round(fitted.seconds, 3),
                "estimate": asdict(planned.estimate),
                "facts": findings.facts and asdict(findings.facts),
                "learning": findings.learning and _learning(findings.learning),
                "check": agreement and {**asdict(agreement), "agrees": agreement.agrees},
            }
        )
        return
    early = f"; stopped early, {planned.job.recipe.epochs} were allowed" if epochs < planned.job.recipe.epochs else ""
    show.note(f"{epochs} epochs in {training.spoken(fitted.seconds)}, epoch {course.best} was kept{early}")
    if agreement is not None:
        show.line(agreement.sentence())
    for what, path in (
        ("adapter", files.adapter),
        ("record", files.record),
        ("curve", files.curve),
        ("pair", files.pair),
    ):
        show.line(f"{what}: {path}")
    show.note(f"next: blackbox-proxy pair check --pair {files.pair}")
