"""The command `fit`: from a user's lines to the best recipe, or whether a recipe still holds. Heavy modules inside."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, replace
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from blackbox_proxy.cli.booking import BudgetOptions
from blackbox_proxy.cli.declaring import BUDGET, OUTPUT, with_options
from blackbox_proxy.cli.endpoint import NEEDED, EndpointOptions, required
from blackbox_proxy.cli.evaluate import standin_api, watching
from blackbox_proxy.cli.options import AsJson, PairOptions, page_option, write_json
from blackbox_proxy.cli.pagefile import check_page_file, program, write_page
from blackbox_proxy.cli.taping import TapeOptions
from blackbox_proxy.errors import InputError

if TYPE_CHECKING:
    from blackbox_proxy.api import Api
    from blackbox_proxy.cli.settings import Settings
    from blackbox_proxy.fitting.fit import FitOutcome, Telling
    from blackbox_proxy.fitting.planning import FitOptions
    from blackbox_proxy.recipes import RecipeEndpoint

EXAMPLES = """Examples:

`blackbox-proxy fit lines.jsonl --profile mistral --model mistral-small-latest --budget 0.50 --out recipe.toml`

`blackbox-proxy fit lines.jsonl --standin demo --pair demo --out recipe.toml --html fit.html`

`blackbox-proxy fit lines.jsonl --prefer balanced --base-url https://HOST/v1 --model NAME --out recipe.toml`

`blackbox-proxy fit fresh.jsonl --check recipe.toml`

`blackbox-proxy fit lines.jsonl --replay tape.jsonl.gz --pair pair.toml --out again.toml`
"""

FIRST = Path("fit")
"""Where answers and experts are kept when nothing else is said."""


@dataclass(frozen=True, slots=True)
class _Called:
    """Which closed model is called, where that is booked and recorded, and where answers are kept."""

    settings: Settings
    endpoint: EndpointOptions
    standin: str | None
    books: BudgetOptions
    cassette: TapeOptions
    folder: Path
    at_once: int = 1

    @contextmanager
    def connected(self) -> Iterator[Api]:
        """Get ready to call it. A stand-in has books and prices of its own."""
        if self.standin:
            self.cassette.check_no_standin()
            with standin_api(self.standin, self.folder, slots=self.at_once) as api:
                yield api
            return
        tape = self.cassette.open()
        with (
            self.books.books(self.settings) as ledger,
            self.endpoint.connect(self.settings, ledger=ledger, tape=tape) as api,
        ):
            yield api

    @property
    def described(self) -> RecipeEndpoint:
        """As a recipe says it."""
        from blackbox_proxy.evaluation.serving import NAME
        from blackbox_proxy.recipes import RecipeEndpoint

        if self.standin:
            return RecipeEndpoint(model=NAME, standin=self.standin)
        return self.endpoint.described(self.settings)


@dataclass(frozen=True, slots=True)
class _Written:
    """What is written: the recipe, and the page."""

    recipe: Path
    html: Path | None


@with_options
def fit(
    lines: Annotated[
        Path, typer.Argument(help="JSONL: [question, answer], {prompt, completion}, {messages}, or a task's items.")
    ],
    *,
    out: Annotated[
        Path | None, typer.Option(help="The recipe to write, .toml.", rich_help_panel=OUTPUT, show_default=NEEDED)
    ] = None,
    check: Annotated[
        Path | None, typer.Option(help="Run this recipe on LINES instead, and say whether it still holds.")
    ] = None,
    standin: Annotated[
        str | None, typer.Option(help="Serve this GGUF as the closed model, at made-up prices; `demo` for the demo's.")
    ] = None,
    instructions: Annotated[str, typer.Option(help="Instructions to try; else the lines' own system turn.")] = "",
    scorer: Annotated[
        Literal["exact", "json", "number", "mentions"], typer.Option(help="When an answer is right.")
    ] = "exact",
    form: Annotated[str, typer.Option(help="Form of a whole answer, group 1 the fact, for `mentions`.")] = "",
    prefer: Annotated[
        Literal["quality", "cost", "balanced"],
        typer.Option(help="The best; the cheapest that is not shown to be worse; or the best at a price (--point)."),
    ] = "quality",
    point: Annotated[
        float, typer.Option(help="US dollars for 1,000 answers that 0.01 of score is worth, for `--prefer balanced`.")
    ] = 0.10,
    base: Annotated[
        str, typer.Option(help="Untuned model of an expert, where --pair names none.")
    ] = "pypi:smollm2-135m-instruct",
    seed: Annotated[int, typer.Option(min=0, help="Draws the parts of the lines, the examples, the expert.")] = 0,
    off_task: Annotated[
        int, typer.Option(min=0, max=150, help="Questions of another kind that the winner is asked; 0 for none.")
    ] = 30,
    endpoint: EndpointOptions,
    pair: PairOptions,
    budget: Annotated[
        str, typer.Option(help="Most US dollars, over all runs of this fit.", rich_help_panel=BUDGET)
    ] = "",
    minutes: Annotated[float | None, typer.Option(help="Most minutes; the best so far is then taken.")] = None,
    parallel: Annotated[int, typer.Option(min=1, help="Calls of the closed model under way at a time.")] = 1,
    books: BudgetOptions,
    cassette: TapeOptions,
    answers: Annotated[
        Path, typer.Option(help="Folder of answers and experts: a fit that is stopped goes on.", rich_help_panel=OUTPUT)
    ] = FIRST,
    html: Annotated[Path | None, page_option("--html", "", unset="none")] = None,
    as_json: AsJson = False,
) -> None:
    """Find out what to run for lines like these: examples, instructions, an expert, or steering, and at what price.

    Arms are compared on a part of the lines, and the best is tested on lines that were held back. "Do not steer" is an
    answer. Nothing is asked twice.
    """
    from blackbox_proxy.cli.settings import read_settings
    from blackbox_proxy.evaluation.task import ScoringRule
    from blackbox_proxy.fitting.limits import FitLimits
    from blackbox_proxy.fitting.planning import FitOptions

    called = _Called(cassette.settings(read_settings()), endpoint, standin, books, cassette, answers, parallel)
    if check is not None:
        _check(check, lines, called, pair=pair, as_json=as_json)
        return
    if html is not None:
        check_page_file(html)
    limits = FitLimits(_dollars(budget), minutes, prefer, point, parallel)
    options = FitOptions(instructions, ScoringRule(kind=scorer, form=form), base, seed, limits, off_task)
    written = _Written(Path(required(str(out) if out else None, "out")), html)
    outcome = _fit(lines, called, options, written=written, pair=pair, quiet=as_json)
    _report(outcome, lines, written, quiet=as_json)


def _dollars(text: str) -> Decimal | None:
    if not text:
        return None
    try:
        amount = Decimal(text)
    except InvalidOperation:
        amount = Decimal(-1)
    if not amount.is_finite() or amount <= 0:
        raise InputError(f"--budget must be an amount above 0, not {text!r}", hint="as in 0.50")
    return amount


def _fit(
    lines: Path, called: _Called, options: FitOptions, *, written: _Written, pair: PairOptions, quiet: bool
) -> FitOutcome:
    from blackbox_proxy.fitting.fit import fit

    given = pair.pair or called.settings.pair
    with _telling(quiet=quiet) as telling, called.connected() as api:
        return fit(
            lines,
            api=api,
            pair=given,
            out=written.recipe,
            folder=called.folder,
            options=options,
            endpoint=called.described,
            telling=telling,
        )


@contextmanager
def _telling(*, quiet: bool) -> Iterator[Telling]:
    """Decisions as lines, questions as a bar; nothing where the output is JSON."""
    from blackbox_proxy.cli import show
    from blackbox_proxy.fitting.fit import Telling

    with watching(quiet=quiet) as watch:
        yield Telling((lambda _: None) if quiet else show.note, watch)


def _report(outcome: FitOutcome, lines: Path, written: _Written, *, quiet: bool) -> None:
    """What to use and why; the page."""
    from blackbox_proxy.cli import show
    from blackbox_proxy.fitting.curves import read_curve
    from blackbox_proxy.fitting.report import off_task_sentence, page_of, sentences
    from blackbox_proxy.pages.fit import fit_page

    said, task = sentences(outcome), outcome.task
    if written.html is not None:
        parted = (
            f"{len(task.train)} lines to learn from, {len(task.validation)} to compare on, {len(task.test)} held back"
        )
        page = page_of(outcome, title=lines.name, lines=parted, by=program(), curve=read_curve(outcome.pair))
        write_page(written.html, fit_page(page), quiet=quiet)
    if quiet:
        recipe = outcome.recipe
        evidence = recipe.evidence.model_dump()
        write_json({"arm": recipe.arm, "way": recipe.way, "out": str(written.recipe), "said": said, **evidence})
        return
    for sentence in filter(None, (*said, off_task_sentence(outcome))):
        show.line(sentence)
    show.line(f"recipe: {written.recipe}")
    show.note(f"next: blackbox-proxy steer --recipe {written.recipe} QUESTION")


def _check(path: Path, lines: Path, called: _Called, *, pair: PairOptions, as_json: bool) -> None:
    """Run a recipe on fresh lines; the exit status is 1 where it no longer holds.

    Answers are kept for a day, since the model behind a name may change.
    """
    from blackbox_proxy.cli import show
    from blackbox_proxy.evaluation.answers import AnswerStore
    from blackbox_proxy.fitting.checking import fresh_task, recheck
    from blackbox_proxy.fitting.fit import opened_pair
    from blackbox_proxy.fitting.planning import where_of
    from blackbox_proxy.recipes import read_recipe

    recipe = read_recipe(path)
    task = fresh_task(recipe, lines)
    standin = called.standin or (
        None if called.endpoint.base_url or called.endpoint.profile else recipe.endpoint.standin
    )
    called = replace(called, endpoint=called.endpoint.or_of(recipe.endpoint), standin=standin or None)
    with ExitStack() as stack:
        telling = stack.enter_context(_telling(quiet=as_json))
        file = pair.file(called.settings, default=Path(recipe.pair)) if recipe.pair else None
        opened = stack.enter_context(opened_pair(file)) if file else None
        api = stack.enter_context(called.connected())
        store = stack.enter_context(AnswerStore(called.folder / "checks.jsonl"))
        came = recheck(
            recipe, task, api=api, where=where_of(called.described), opened=opened, store=store, telling=telling
        )
    if as_json:
        local = {} if came.local is None else {"local": asdict(came.local), "local_before": came.local_before}
        write_json({"holds": came.holds, "scored": asdict(came.scored), "foretold": asdict(came.foretold), **local})
    else:
        show.line(came.sentence)
    if not came.holds:
        raise typer.Exit(1)
