"""The command `batch`: the rows of a file, answered, within a budget, and resumed where it was stopped."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from blackbox_proxy.cli.booking import BudgetOptions
from blackbox_proxy.cli.declaring import OUTPUT, PROMPT, option, with_options
from blackbox_proxy.cli.endpoint import OFF, EndpointFeatures, EndpointOptions
from blackbox_proxy.cli.engine import EngineOptions
from blackbox_proxy.cli.knobs import AllKnobs, steering_of
from blackbox_proxy.cli.options import AsJson, ConstraintOptions, PairOptions, write_json
from blackbox_proxy.cli.recipe import RecipeFile, read_given, typed
from blackbox_proxy.cli.taping import TapeOptions
from blackbox_proxy.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Callable

    from blackbox_proxy.batching.answering import BatchModel
    from blackbox_proxy.batching.answers import KeptRow
    from blackbox_proxy.batching.batch import PlannedBatch
    from blackbox_proxy.batching.rows import BatchRow
    from blackbox_proxy.cli.settings import Settings
    from blackbox_proxy.core.money.estimating import Work
    from blackbox_proxy.recipes import FittedRecipe
    from blackbox_proxy.steering import Steering
    from blackbox_proxy.types import Prompt

EXAMPLES = """Examples:

`blackbox-proxy batch rows.jsonl --out answers --base-url http://localhost:8000/v1 --model m --pair pair.toml`

`blackbox-proxy batch rows.csv --out answers --max-cost 2 --profile openai --model gpt-5.4 --pair pair.toml`

`blackbox-proxy batch rows.jsonl --out labels --options labels.txt --base-url ... --model ... --pair pair.toml`

`blackbox-proxy batch rows.parquet --out answers --engine ray --actors 4 --gpus 0.25 --recipe recipe.toml`

`blackbox-proxy batch --out answers --forget`
"""

BATCH = "Batch"


@dataclass(frozen=True, slots=True)
class RunOptions:
    """How a batch is run."""

    parallel: int | None = option(
        None, "Rows under way at a time, in each actor.", panel=BATCH, unset="the slots of the pair file, or 4"
    )
    retry_failed: bool = option(
        default=False, help="Ask rows that failed before again.", panel=BATCH, flag="--retry-failed", unset=OFF
    )


@dataclass(frozen=True, slots=True)
class RowOptions:
    """What is read of each row, and what is done with it."""

    system: str = option("", "A system message before each prompt that has none.", panel=PROMPT, unset="none")
    raw: bool = option(default=False, help="Prompts are raw text: no chat template on either side.", panel=PROMPT)
    ignore: tuple[str, ...] = option((), "Pass over this field of the rows; may be repeated.", panel=PROMPT)
    options: Path | None = option(
        None, "File of labels, one a line: choose one for each row.", panel=PROMPT, unset="rows are answered in words"
    )
    calls: int = option(8, "Most calls of the API for each choice, with --options.", panel=PROMPT)
    score: bool = option(
        default=False, help="Score the field `text` of each row.", panel=PROMPT, flag="--score", unset=OFF
    )

    def labels(self) -> tuple[str, ...]:
        """The labels of the file; none where there is no file. Raises InputError for a file without any."""
        if self.options is None:
            return ()
        from blackbox_proxy.cli.inputs import file_text

        labels = tuple(line for line in file_text(self.options).split("\n") if line.strip())
        if not labels:
            raise InputError(f"{self.options} has no label", hint="it should hold one label a line")
        return labels


@with_options
def batch(
    context: typer.Context,
    *,
    rows: Annotated[
        Path | None,
        typer.Argument(metavar="INPUT", help="File of rows: .jsonl, .csv or .parquet.", show_default=False),
    ] = None,
    out: Annotated[
        Path, typer.Option(help="Folder of the answers, and of what is kept of them.", rich_help_panel=OUTPUT)
    ],
    row: RowOptions,
    endpoint: EndpointOptions,
    features: EndpointFeatures,
    pair: PairOptions,
    recipe: RecipeFile = None,
    knobs: AllKnobs,
    constraint: ConstraintOptions,
    run: RunOptions,
    engine: EngineOptions,
    budget: BudgetOptions,
    cassette: TapeOptions,
    output: Annotated[
        Literal["jsonl", "parquet"], typer.Option(help="Form of the file of answers.", rich_help_panel=OUTPUT)
    ] = "jsonl",
    forget: Annotated[
        bool,
        typer.Option(
            "--forget",
            help="Delete what --out keeps of answers, and ask nothing.",
            rich_help_panel=OUTPUT,
            show_default=OFF,
        ),
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Answer every row of a file with the hosted model, steered by the pair.

    Every answer is kept: a run that was stopped goes on where it was. A row that fails has its error in its place. The
    exit status is 1 where a row failed or is pending.
    """
    from blackbox_proxy.batching.batch import batch as run_batch
    from blackbox_proxy.batching.options import BatchOptions
    from blackbox_proxy.cli import batch_output, report
    from blackbox_proxy.cli.settings import read_settings

    if forget:
        _forget(out, rows, as_json=as_json)
        return
    if rows is None:
        raise InputError("there is no INPUT", hint="name a file of rows: .jsonl, .csv or .parquet")
    engine.check(cassette)
    settings, fitted = cassette.settings(read_settings()), read_given(recipe)
    if fitted is not None:
        endpoint, knobs = endpoint.or_of(fitted.endpoint), fitted.with_knobs(typed(context, knobs))
    steering = replace(steering_of(knobs, settings), constraint=constraint.read())
    options = BatchOptions(
        engine.engine, run.parallel, run.retry_failed, output, row.system, row.raw, tuple(row.ignore), engine.cluster
    )
    model = _model(_Asked(settings, endpoint, features, pair, fitted, cassette), row, steering)
    with budget.books(settings) as book, ExitStack() as bars:

        def watch(plan: PlannedBatch) -> Callable[[KeptRow], object]:
            if not as_json:
                batch_output.opening(plan, _expected(plan, model))
            return bars.enter_context(batch_output.pacing(len(plan.units), quiet=as_json))

        summary = run_batch(rows, out, model=model, steering=steering, ledger=book, options=options, watch=watch)
    write_json(batch_output.summary_json(summary)) if as_json else batch_output.closing(summary)
    if summary.stopped is not None:
        raise typer.Exit(1 if as_json else report(summary.stopped, as_json=False))
    if summary.failed or summary.pending:
        raise typer.Exit(1)


@dataclass(frozen=True, slots=True)
class _Asked:
    """What the command line says of who answers."""

    settings: Settings
    endpoint: EndpointOptions
    features: EndpointFeatures
    pair: PairOptions
    recipe: FittedRecipe | None
    tape: TapeOptions


def _model(asked: _Asked, row: RowOptions, steering: Steering) -> BatchModel:
    """Who answers. Raises InputError."""
    from blackbox_proxy.batching.answering import BatchModel
    from blackbox_proxy.cassettes.opening import as_arguments

    recipe, arguments = asked.recipe, dict[str, Any]()
    if recipe is None or recipe.way != "expert":
        arguments = asked.endpoint.arguments(asked.settings, route=asked.features.route(steering))
        arguments |= as_arguments(asked.tape.open())
    pair = ""
    if recipe is None or recipe.way != "closed":
        pair = str(asked.pair.file(asked.settings, default=Path(recipe.pair) if recipe and recipe.pair else None))
    return BatchModel(arguments, pair, recipe, row.labels(), row.calls, row.score)


def _expected(plan: PlannedBatch, model: BatchModel) -> Work | None:
    """What a run is expected to take; None where nobody is called, or a recipe chooses or routes."""
    from blackbox_proxy.cli.estimating import rows_work

    recipe, api = model.recipe, plan.api
    if api is None or (recipe is not None and recipe.way not in ("closed", "steered")):
        return None
    asked = [_question(unit.row, model) for unit in plan.units]
    return rows_work(api, asked, rows=() if plan.ledger is None else plan.ledger.store.rows())


def _question(row: BatchRow, model: BatchModel) -> tuple[Prompt, Steering]:
    """What a row asks, and how; a choice and a score as one call that writes a few tokens."""
    from blackbox_proxy.types import Prompt

    if model.task == "score":
        return Prompt(text=row.text), replace(row.steering, alpha=0.0, schedule=None, max_tokens=1)
    if model.task == "choose":
        length = max(len(label.encode()) for label in model.labels)
        return row.prompt, replace(row.steering, alpha=0.0, schedule=None, max_tokens=length)
    return (row.prompt if model.recipe is None else model.recipe.asked(row.prompt)), row.steering


def _forget(out: Path, rows: Path | None, *, as_json: bool) -> None:
    """Delete what is kept, and say so."""
    from blackbox_proxy.batching.answers import KEPT, forget
    from blackbox_proxy.cli import show

    if rows is not None:
        raise InputError("--forget asks nothing, and INPUT is given", hint="leave one of them out")
    deleted = forget(out)
    if as_json:
        write_json({"deleted": deleted})
    else:
        show.line(f"{out / KEPT}: {'deleted' if deleted else 'there is none'}")
