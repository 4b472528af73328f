"""The commands about money: what was spent, what a prompt will take, the ledger's rows, and forgetting old ones.

Each parses its options, calls one function, and hands the result to `bills`; asks no API.
"""

from __future__ import annotations

import datetime as dt
import sys
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from blackbox_proxy.cli.booking import BudgetOptions, place_given
from blackbox_proxy.cli.declaring import Fields, with_options
from blackbox_proxy.cli.endpoint import EndpointOptions
from blackbox_proxy.cli.knobs import DraftKnob, steering_of
from blackbox_proxy.cli.options import AsJson, page_option, write_json
from blackbox_proxy.cli.pagefile import check_page_file, program, write_page
from blackbox_proxy.errors import InputError

if TYPE_CHECKING:
    from blackbox_proxy.ledger.place import LedgerPlace
    from blackbox_proxy.ledger.rows import LedgerRow
    from blackbox_proxy.ledger.store import Store

app = typer.Typer(
    no_args_is_help=True,
    help="What was spent, and what a prompt will take. Every attempt at a request is a row of the ledger.",
    epilog="Examples: `blackbox-proxy cost report --by day`, `blackbox-proxy cost estimate prompt.txt --model m`",
)

LedgerOption = Annotated[BudgetOptions, Fields(only=("ledger",))]
Since = Annotated[str | None, typer.Option(help="Only from this UTC day on: 2026-11-01, `today`, or 7d for a week.")]


@app.command(
    epilog="""Examples:

`blackbox-proxy cost report --by model --since 7d`

`blackbox-proxy cost report --by tag --explain`

`blackbox-proxy cost report --by tag --json`

`blackbox-proxy cost report --since 2026-11-01 --html november.html`
"""
)
@with_options
def report(
    *,
    by: Annotated[
        Literal["model", "day", "tag", "run", "outcome"], typer.Option(help="What the figures are for, each.")
    ] = "model",
    since: Since = None,
    html: Annotated[Path | None, page_option("--html", " with charts")] = None,
    explain: Annotated[bool, typer.Option("--explain", help="Say what each figure means.")] = False,
    ledger: LedgerOption,
    as_json: AsJson = False,
) -> None:
    """Requests, tokens and dollars by model, day, tag, run or outcome."""
    from blackbox_proxy.cli import bills
    from blackbox_proxy.ledger.report import figures
    from blackbox_proxy.ledger.report import report as figures_by

    if html is not None:
        check_page_file(html)
    with _booked(ledger) as store:
        rows = list(store.rows(since=day_of(since)))
    groups, total = figures_by(rows, by=by), figures("total", rows)
    write_json(bills.report_json(groups, total, by=by)) if as_json else bills.report(
        groups, total, by=by, explain=explain
    )
    if html is not None:
        write_page(html, _page(rows, since=day_of(since)), quiet=as_json)


def _page(rows: Sequence[LedgerRow], *, since: str) -> str:
    """The rows as a page for whoever pays."""
    from blackbox_proxy.cli import show
    from blackbox_proxy.ledger.report import By, figures
    from blackbox_proxy.ledger.report import report as figures_by
    from blackbox_proxy.pages.costs import Costs, costs_page

    ways: tuple[By, ...] = ("day", "model", "tag", "outcome")
    groups = {}
    with show.progress("adding up", len(ways)) as tick:
        for by in ways:
            groups[by] = figures_by(rows, by=by)
            tick(by)
    return costs_page(
        Costs(
            total=figures("total", rows),
            days=groups["day"],
            models=groups["model"],
            tags=groups["tag"],
            outcomes=groups["outcome"],
            since=since,
            written_at=dt.datetime.now(dt.UTC),
            by=program(),
        )
    )


@app.command(
    epilog="""Examples:

`blackbox-proxy cost estimate prompt.txt --profile openai --model gpt-4o-mini --answer 200`

`blackbox-proxy cost estimate prompts.jsonl --base-url https://api.openai.com/v1 --model gpt-4o --acceptance 0.8 --json`
"""
)
@with_options
def estimate(
    *,
    file: Annotated[Path, typer.Argument(help="A text file with a prompt; with .jsonl a JSON string on each line.")],
    endpoint: Annotated[EndpointOptions, Fields(only=("base_url", "model", "profile", "tokenizer"))],
    answer: Annotated[int, typer.Option(min=1, help="Tokens of an answer that are expected.")] = 256,
    knobs: DraftKnob,
    acceptance: Annotated[
        float | None, typer.Option(min=0.0, max=1.0, help="Share of drafted tokens that is kept; default: as before.")
    ] = None,
    ledger: LedgerOption,
    as_json: AsJson = False,
) -> None:
    """Calls, tokens and dollars that steering these prompts will take: one token per call, and by drafts.

    The share of drafted tokens that is kept is that of the model's past answers in the ledger, or 0.5.
    """
    from blackbox_proxy.cli import bills
    from blackbox_proxy.cli.estimating import EstimatedPrompts, foreseen
    from blackbox_proxy.cli.settings import read_settings

    settings = read_settings()
    draft = steering_of(knobs, settings).draft
    asked = EstimatedPrompts(file, endpoint, ledger, answer=answer, draft=draft, acceptance=acceptance)
    estimated = foreseen(asked, settings)
    write_json(bills.estimate_json(estimated)) if as_json else bills.estimate(estimated)


@app.command(epilog="Examples: `blackbox-proxy cost export --csv`, `blackbox-proxy cost export --jsonl --since 30d`")
@with_options
def export(
    *,
    as_csv: Annotated[bool, typer.Option("--csv", help="Comma-separated, with a head.")] = False,
    as_jsonl: Annotated[bool, typer.Option("--jsonl", "--json", help="One JSON object a line.")] = False,
    since: Since = None,
    ledger: LedgerOption,
) -> None:
    """Write the ledger's rows to standard output, one for each attempt at a request."""
    from blackbox_proxy.ledger.export import write_csv, write_jsonl

    if as_csv == as_jsonl:
        raise InputError("either --csv or --jsonl says how the rows are written", hint="give one of them")
    with _booked(ledger) as store:
        (write_csv if as_csv else write_jsonl)(store.rows(since=day_of(since)), sys.stdout)


@app.command(epilog="Example: `blackbox-proxy cost prune --before 2026-01-01 --yes`")
@with_options
def prune(
    *,
    before: Annotated[str, typer.Option(help="Rows of the UTC days before this one: 2026-01-01, or 90d for 90 days.")],
    counted: Annotated[
        bool, typer.Option("--counted", help="Also what budgets of tags count; they then allow as much again.")
    ] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Delete without a question.")] = False,
    ledger: LedgerOption,
    as_json: AsJson = False,
) -> None:
    """Delete old rows for good, as far as no open budget counts them.

    What stays: rows of a run that goes on at that day or later, and those of a tag for which a budget held then.
    """
    from blackbox_proxy.cli import bills
    from blackbox_proxy.cli.settings import read_settings

    day, today = day_of(before), day_of("today")
    if day > today:
        raise InputError(f"{day} is after today, {today}: the budgets of a day count its rows", hint="--before today")
    with _booked(ledger) as store:
        if not yes:
            _ask(f"delete the rows of the days before {day} from {store.place}?")
        budgets = ledger.standing(read_settings())
        pruned = store.prune(before=day, budgets=budgets, today=today, counted=counted)
    write_json(bills.pruned_json(pruned, before=day)) if as_json else bills.pruned(pruned)


@app.command(epilog="Example: `blackbox-proxy cost copy ~/.local/state/blackbox-proxy/ledger.sqlite more.sqlite`")
def copy(
    source: Annotated[str, typer.Argument(metavar="FROM", help="The ledger whose rows are read; it stays as it is.")],
    target: Annotated[str, typer.Argument(metavar="TO", help="The ledger that gets them; made where there is none.")],
    *,
    as_json: AsJson = False,
) -> None:
    """Copy all rows of a ledger into another: a file, or postgresql://USER@HOST/DATABASE. Nobody may book meanwhile.

    All of it or nothing; runs that are there already are passed over, so it may be called again.
    """
    from blackbox_proxy.cli import show
    from blackbox_proxy.cli.settings import read_settings
    from blackbox_proxy.ledger.opening import open_store

    settings = read_settings()
    places = [BudgetOptions(ledger=place_given(text)).place(settings) for text in (source, target)]
    with _opened(places[0]) as store, closing(open_store(places[1])) as other:
        done = store.copy_to(other)
    if as_json:
        write_json({"copied": done.copied, "present": done.present})
    else:
        show.line(f"{done.copied} rows copied to {places[1]}; {done.present} were there already")


def _ask(question: str) -> None:
    """Raises InputError where nobody can be asked, and leaves where the answer is no."""
    if not sys.stdin.isatty():
        raise InputError(f"nobody is there to say yes: {question}", hint="add --yes")
    typer.confirm(question, abort=True, err=True)


@contextmanager
def _booked(ledger: BudgetOptions) -> Iterator[Store]:
    """The open ledger of an option or of the settings."""
    from blackbox_proxy.cli.settings import read_settings

    with _opened(ledger.place(read_settings())) as store:
        yield store


@contextmanager
def _opened(place: LedgerPlace) -> Iterator[Store]:
    """The open ledger. Raises InputError where there is none: a report must not make one."""
    from blackbox_proxy.ledger.opening import existing_store

    store = existing_store(place)
    if store is None:
        raise InputError(
            f"there is no ledger at {place}", hint="`blackbox-proxy steer` makes one, or name it: --ledger"
        )
    with closing(store):
        yield store


def day_of(text: str | None) -> str:
    """A UTC day as ISO 8601: as given, `today`, or so many days ago; "" for None. Raises InputError for others."""
    if text is None:
        return ""
    today = dt.datetime.now(dt.UTC).date()
    if text == "today":
        return today.isoformat()
    try:
        if text.endswith("d") and text[:-1].isdecimal():
            return (today - dt.timedelta(days=int(text[:-1]))).isoformat()
        return dt.date.fromisoformat(text).isoformat()
    except (ValueError, OverflowError):
        raise InputError(f"{text!r} is no day", hint="write 2026-11-01, `today`, or 7d for seven days ago") from None
