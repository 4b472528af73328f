"""The command `evaluate`: whether steering makes a model better at a task, and at what price."""

from __future__ import annotations

import datetime as dt
import json
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from blackbox_proxy.cli.booking import BudgetOptions
from blackbox_proxy.cli.declaring import OUTPUT, with_options
from blackbox_proxy.cli.endpoint import EndpointOptions
from blackbox_proxy.cli.engine import EngineOptions
from blackbox_proxy.cli.knobs import Knobs, TaskKnobs, check_alpha
from blackbox_proxy.cli.options import AsJson, PairOptions, page_option, write_json
from blackbox_proxy.cli.pagefile import check_page_file, program, write_page
from blackbox_proxy.cli.recipe import RecipeFile, read_given
from blackbox_proxy.cli.taping import TapeOptions
from blackbox_proxy.errors import InputError
from blackbox_proxy.files import replace_text

if TYPE_CHECKING:
    from blackbox_proxy.api import Api
    from blackbox_proxy.cli.settings import Settings
    from blackbox_proxy.evaluation.evaluate import EvaluationOptions, TaskOutcomeFigures
    from blackbox_proxy.evaluation.spreading import ActorsOfRun
    from blackbox_proxy.evaluation.task import Task
    from blackbox_proxy.ledger.books import Ledger

EXAMPLES = """Examples:

`blackbox-proxy evaluate task.toml --profile mistral --model mistral-small-latest --html report.html`

`blackbox-proxy evaluate --list`

`blackbox-proxy evaluate geography-told --standin --limit 20`

`blackbox-proxy evaluate task.toml --engine ray --actors 4 --gpus 0.25 --base-url https://HOST/v1 --model NAME`

`blackbox-proxy evaluate task.toml --tune-alpha --max-cost 5 --parallel 4 --base-url https://HOST/v1 --model NAME`
"""

FIRST = Path("evaluation")
"""Where answers are kept when nothing else is said."""


@dataclass(frozen=True, slots=True)
class _ClosedModel:
    """What the command line says of the closed model. tuned: a directly tuned one at the same address."""

    settings: Settings
    standin: str | None
    endpoint: EndpointOptions
    cassette: TapeOptions
    tuned: str | None

    @property
    def mark(self) -> str:
        """Which endpoint this is, as answers are told apart by it; a stand-in's port is another each time."""
        return f"standin {self.standin}" if self.standin else self.endpoint.place(self.settings)

    def arguments(self) -> dict[str, Any]:
        """What `connect` takes of it. Raises InputError."""
        return self.endpoint.arguments(self.settings)

    def tuned_arguments(self) -> dict[str, Any] | None:
        """The same of the tuned one; None without one."""
        return None if self.tuned is None else replace(self.endpoint, model=self.tuned).arguments(self.settings)


@with_options
def evaluate(
    *,
    tasks: Annotated[
        list[str] | None, typer.Argument(metavar="TASK", help="A task.toml, or the name of a task that comes along.")
    ] = None,
    list_tasks: Annotated[bool, typer.Option("--list", help="Print the tasks that come along and exit.")] = False,
    standin: Annotated[
        str | None, typer.Option(help="Serve this GGUF as the closed model, at made-up prices; `demo` for the demo's.")
    ] = None,
    tuned_model: Annotated[
        str | None, typer.Option(help="A directly tuned version of the closed model, at the same address.")
    ] = None,
    limit: Annotated[int | None, typer.Option(min=1, help="Most questions for each main arm; all if left out.")] = None,
    others: Annotated[int, typer.Option(min=1, help="Most questions for the sweep and other further arms.")] = 40,
    draws: Annotated[
        int,
        typer.Option(
            min=0, max=128, help="Whole answers for the arms closed_best_of_n_majority and steered_answers; 0: without."
        ),
    ] = 0,
    only: Annotated[list[str] | None, typer.Option(help="Ask this arm alone; may be repeated.")] = None,
    tune_alpha: Annotated[
        bool, typer.Option("--tune-alpha", help="Choose alpha on the validation items, and on nothing else.")
    ] = False,
    parallel: Annotated[
        int, typer.Option(min=1, help="Calls of the closed model under way at a time, in each actor.")
    ] = 1,
    engine: EngineOptions,
    endpoint: EndpointOptions,
    pair: PairOptions,
    knobs: TaskKnobs,
    budget: BudgetOptions,
    cassette: TapeOptions,
    answers: Annotated[
        Path, typer.Option(help="Folder where answers are kept: none is asked for twice.", rich_help_panel=OUTPUT)
    ] = FIRST,
    recipe: RecipeFile = None,
    html: Annotated[Path | None, page_option("--html", "")] = None,
    figures: Annotated[
        Path | None, typer.Option(help="Write the figures to this JSON file too.", rich_help_panel=OUTPUT)
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Say whether steering makes a closed model better at a task, beside what else could be done, and at what price.

    Every answer is kept: a run that is stopped goes on where it was. Budgets hold for the whole run. A knob of steering
    that is given holds for all tasks.
    """
    from blackbox_proxy.cli import arms
    from blackbox_proxy.cli.settings import read_settings
    from blackbox_proxy.evaluation.arms import ArmSizes
    from blackbox_proxy.evaluation.evaluate import EvaluationOptions
    from blackbox_proxy.evaluation.task import boxed, read_task

    if list_tasks:
        listed = [read_task(path) for path in boxed().values()]
        write_json([arms.task_json(task) for task in listed]) if as_json else arms.tasks(listed)
        return
    if html is not None:
        check_page_file(html)
    _check_engine(engine, cassette, standin)
    read = _tasks(tasks or (), knobs, tune_alpha=tune_alpha)
    closed = _ClosedModel(cassette.settings(read_settings()), standin, endpoint, cassette, tuned_model)
    fitted = read_given(recipe)
    options = EvaluationOptions(ArmSizes(limit, others, draws), tuple(only or ()), tune_alpha, parallel, fitted)
    if fitted is not None and not standin:
        closed = replace(closed, endpoint=endpoint.or_of(fitted.endpoint))
    outcomes: list[TaskOutcomeFigures] = []
    with (
        _endpoint(closed, answers, budget, slots=parallel) as ready,
        _actors(closed, ready, engine, options, quiet=as_json) as actors,
    ):
        for task in read:
            outcomes.append(_one(task, pair, ready, options, actors, folder=answers, quiet=as_json))
            _write_figures(outcomes, figures)
            _write_page(outcomes, html, closed, quiet=as_json)
    write_json({one.task.name: one.figures for one in outcomes}) if as_json else arms.outcomes(outcomes)


def _check_engine(engine: EngineOptions, tape: TapeOptions, standin: str | None) -> None:
    """Raises InputError for an engine that cannot be, or cannot answer here."""
    engine.check(tape)
    if engine.engine == "ray":
        from blackbox_proxy.actors import check_cluster

        if standin is not None:
            raise InputError(
                "--standin serves its model in this process, for which actors of Ray would only wait",
                hint="use --engine local, or serve it by `blackbox-proxy standin` and give its --base-url",
            )
        check_cluster(engine.cluster)


def _tasks(named: Sequence[str], knobs: Knobs, *, tune_alpha: bool) -> list[Task]:
    """The tasks, with the knobs that the command line gives. Raises InputError."""
    from blackbox_proxy.evaluation.task import find_task, read_task

    if not named:
        raise InputError("there is no task", hint="give a task.toml, or a name that `evaluate --list` prints")
    check_alpha(knobs)
    given = next((option for name, option in _ALPHAS.items() if name in knobs), None)
    if tune_alpha and given is not None:
        raise InputError(f"--tune-alpha chooses alpha, and {given} gives it", hint="leave one of them out")
    tasks = [read_task(find_task(name)).with_knobs(knobs) for name in named]
    _check_names(tasks)
    return tasks


_ALPHAS = {"alpha": "--alpha", "schedule": "--alpha-schedule"}
"""Knobs that say what alpha is, and their options."""


def _check_names(tasks: Sequence[Task]) -> None:
    """Answers and figures are kept by name. Raises InputError where two tasks have the same."""
    names = [task.name for task in tasks]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise InputError(f"two tasks are called {twice!r}", hint="a task is called like its folder: rename one")


@dataclass(frozen=True, slots=True)
class _Endpoint:
    """The closed model, ready to be called. mark: which one it is. ledger: where its requests are booked."""

    settings: Settings
    api: Api
    mark: str
    tuned: Api | None = None
    ledger: Ledger | None = None


@contextmanager
def _endpoint(closed: _ClosedModel, folder: Path, budget: BudgetOptions, *, slots: int) -> Iterator[_Endpoint]:
    if closed.standin:
        if closed.endpoint.base_url or closed.endpoint.profile or budget != BudgetOptions():
            raise InputError(
                "--standin is an endpoint of its own, with books of its own",
                hint="leave out --base-url, --profile, the budgets, the tags and the ledger",
            )
        closed.cassette.check_no_standin()
        with standin_api(closed.standin, folder, slots=slots) as api:
            yield _Endpoint(closed.settings, api, closed.mark)
        return
    from blackbox_proxy.api import connect
    from blackbox_proxy.cassettes.opening import as_arguments

    tape = closed.cassette.open()
    with ExitStack() as stack:
        ledger = stack.enter_context(_books(closed.settings, budget))
        api = stack.enter_context(connect(**closed.arguments(), ledger=ledger, **as_arguments(tape)))
        other = closed.tuned_arguments()
        tuned = None if other is None else stack.enter_context(connect(**other, ledger=ledger, **as_arguments(tape)))
        yield _Endpoint(closed.settings, api, closed.mark, tuned, ledger)


@contextmanager
def _actors(
    closed: _ClosedModel, ready: _Endpoint, engine: EngineOptions, options: EvaluationOptions, *, quiet: bool
) -> Iterator[ActorsOfRun | None]:
    """Who makes the calls in place of this process; None for nobody."""
    if engine.engine == "local":
        yield None
        return
    from blackbox_proxy.cli import show
    from blackbox_proxy.evaluation.spreading import ActorsOfRun

    note = (lambda _: None) if quiet else show.note
    endpoint, tuned = closed.arguments(), closed.tuned_arguments()
    with ActorsOfRun(engine.cluster, endpoint, tuned, ready.ledger, options.at_once, note) as actors:
        yield actors


@contextmanager
def standin_api(spec: str, folder: Path, *, slots: int) -> Iterator[Api]:
    """The stand-in over a model, its books beside the answers."""
    from blackbox_proxy.cli import show
    from blackbox_proxy.evaluation.serving import CLOSED, served
    from blackbox_proxy.local.weights import default_cache, resolve

    named = CLOSED if spec == "demo" else spec
    with show.download(named) as progress:
        path = resolve(named, cache=default_cache(os.environ), progress=progress, announce=show.note)
    with served(path, ledger=folder / "ledger.sqlite", slots=slots) as api:
        yield api


@contextmanager
def _books(settings: Settings, budget: BudgetOptions) -> Iterator[Ledger | None]:
    """The ledger. What limits a run limits the whole evaluation: its rows carry a tag of their own."""
    with budget.books(settings) as ledger:
        yield None if ledger is None else ledger.as_one_run("evaluation")


def _one(
    task: Task,
    pair: PairOptions,
    endpoint: _Endpoint,
    options: EvaluationOptions,
    actors: ActorsOfRun | None,
    *,
    folder: Path,
    quiet: bool,
) -> TaskOutcomeFigures:
    """One task, from the pair that it names, unless the command line names another."""
    from blackbox_proxy.evaluation.answering import Bench
    from blackbox_proxy.evaluation.answers import AnswerStore
    from blackbox_proxy.evaluation.evaluate import Evaluation
    from blackbox_proxy.local.loading import pair_mark
    from blackbox_proxy.local.pair import open_pair
    from blackbox_proxy.local.pairfile import find_pair, read_pair_file
    from blackbox_proxy.local.weights import default_cache, resolve

    cache = default_cache(os.environ)
    fitted = options.recipe.pair if options.recipe is not None else ""
    named = pair.file(endpoint.settings, default=Path(fitted) if fitted else task.pair)
    described = find_pair(named)
    files = read_pair_file(described, lambda spec: resolve(spec, cache=cache))
    with (
        open_pair(files) as local,
        AnswerStore(folder / f"{task.name}.jsonl") as store,
        watching(quiet=quiet) as watch,
        ExitStack() as stack,
    ):
        bench = Bench(task, endpoint.api, local, endpoint.mark, pair_mark(files), endpoint.tuned)
        # `demo` is a name, whose file lies at another place on each machine.
        elsewhere = str(described.absolute() if named.expanduser().is_file() else named)
        spread = None if actors is None else stack.enter_context(actors.spread(bench, elsewhere))
        return Evaluation(bench, store, options, watch, spread)()


@contextmanager
def watching(*, quiet: bool) -> Iterator[Callable[[str, int], Callable[[object], object]]]:
    """A bar for what is asked at the moment, with the time that is left; on no terminal a line now and then."""
    from blackbox_proxy.cli import show

    with ExitStack() as bars:

        def watch(what: str, total: int) -> Callable[[object], object]:
            bars.close()
            if not quiet:
                show.note(f"{what}: {total:,} answers to ask for")
            return bars.enter_context(show.progress(what, total))

        yield watch


def _write_figures(outcomes: Sequence[TaskOutcomeFigures], figures: Path | None) -> None:
    """What there is so far, after each task: a later one may be stopped."""
    if figures is not None:
        replace_text(figures, json.dumps({one.task.name: one.figures for one in outcomes}, indent=1) + "\n")


def _write_page(
    outcomes: Sequence[TaskOutcomeFigures], html: Path | None, closed: _ClosedModel, *, quiet: bool
) -> None:
    if html is None:
        return
    from blackbox_proxy.evaluation.report import task_outcome
    from blackbox_proxy.pages.evaluation import Evaluated, evaluation_page

    model = closed.endpoint.model or closed.settings.model
    named = f"The stand-in over {closed.standin}" if closed.standin else f"{model}"
    priced = STANDIN_PRICES if closed.standin else "Prices are those of the ledger."
    page = Evaluated([task_outcome(one) for one in outcomes], named, priced, dt.datetime.now(dt.UTC), program())
    write_page(html, evaluation_page(page), quiet=quiet)


STANDIN_PRICES = (
    "It costs nothing: its prices are made up, those of a small hosted model (0.15 in, 0.075 cached, 0.60 out, US "
    "dollars per million tokens)."
)
