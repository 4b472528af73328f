"""The page of a fit: what to use and why, what else was compared, at what price, and the answers that are wrong."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal

from blackbox_proxy.pages.figures import NONE, count, money
from blackbox_proxy.pages.html import Html, document, el, joined
from blackbox_proxy.pages.plots import Interval, Priced, intervals, scatter
from blackbox_proxy.pages.style import COMMON, COSTS, EVALUATION


@dataclass(frozen=True, slots=True)
class FitRow:
    """One arm. per_1000: dollars for 1,000 answers, None where it is unknown. rounds: that it stayed in.

    best: nothing else is as cheap and as good. chosen: whether it is the one to use.
    """

    name: str
    description: str
    n: int
    score: float
    low: float
    high: float
    per_1000: Decimal | None
    rounds: int
    best: bool = False
    chosen: bool = False


@dataclass(frozen=True, slots=True)
class FitMistake:
    """A line that the chosen arm answers wrongly. others: what other arms answer, in the order of their names."""

    question: str
    reference: str
    answer: str
    others: Sequence[str] = ()


@dataclass(frozen=True, slots=True)
class FittedPage:
    """What the page shows.

    Attributes:
        title: What was fitted.
        sentences: What to use and why.
        lines: How the lines were parted.
        rows: All arms, on validation lines.
        notes: What cut the comparison short.
        others: Names of the arms whose answers stand beside wrong ones.
        mistakes: Lines of validation that the chosen arm answers wrongly.
        recipe: The recipe as a file.
        written_at: UTC.
        by: Which program.
    """

    title: str
    sentences: Sequence[str]
    lines: str
    rows: Sequence[FitRow]
    notes: Sequence[str]
    others: Sequence[str]
    mistakes: Sequence[FitMistake]
    recipe: str
    written_at: dt.datetime
    by: str


HEADS = ("Arm", "Score", "95 % interval", "n", "USD for 1,000", "Rounds")

FRONTIER = "Each dot is an arm. The line goes through those that no other passes both in score and in price."

LONGEST = 600
"""Characters of a question or an answer that are shown."""


def fit_page(shown: FittedPage) -> str:
    """The page as the text of an HTML file."""
    title = "What to use"
    return document(
        title,
        el("header", el("h1", title), el("p", f"For {shown.title}. {shown.lines}.", cls="soft")),
        el(
            "main",
            *(el("p", sentence, cls="advice") for sentence in shown.sentences),
            *(el("p", note, cls="notice") for note in shown.notes),
            el("h2", "What was compared"),
            intervals([_interval(row) for row in shown.rows]),
            _table(shown.rows),
            *_prices(shown.rows),
            *_mistakes(shown),
            el("h2", "The recipe"),
            el("pre", shown.recipe),
        ),
        el("footer", f"Made {shown.written_at:%Y-%m-%d %H:%M} UTC by {shown.by}. Amounts in US dollars."),
        style=COMMON + COSTS + EVALUATION,
        generator=shown.by,
    )


def _interval(row: FitRow) -> Interval:
    label = f"{row.score:.2f} ({row.low:.2f}\u2013{row.high:.2f})"
    return Interval(row.description, row.score, row.low, row.high, label, main=row.chosen)


def _table(rows: Sequence[FitRow]) -> Html:
    heads = (el("th", name, scope="col") for name in HEADS)
    table = el("table", el("thead", el("tr", *heads)), el("tbody", *(_row(row) for row in rows)))
    return el("div", table, cls="wide", tabindex=0, role="region", aria_label="All arms, on validation lines")


def _row(row: FitRow) -> Html:
    cells = (
        el("data", f"{row.score:.3f}", value=repr(row.score)),
        f"{row.low:.3f}\u2013{row.high:.3f}",
        count(row.n),
        money(row.per_1000, more=row.per_1000 is None),
        count(row.rounds),
    )
    name = joined(
        (el("b", row.name) if row.chosen else row.name, el("span", f" {row.description}", cls="soft")),
    )
    return el("tr", el("th", el("span", name, cls="name"), scope="row"), *(el("td", cell) for cell in cells))


def _prices(rows: Sequence[FitRow]) -> list[Html]:
    """Score against price, where prices are known."""
    points = [
        Priced(f"{row.name}: {row.score:.2f}", float(row.per_1000), row.score, row.best, row.chosen)
        for row in rows
        if row.per_1000 is not None
    ]
    if len(points) < 2:
        return []
    label = f"Score against dollars for 1,000 answers, {len(points)} arms; the table has the figures"
    return [el("h2", "Price against quality"), el("p", FRONTIER, cls="soft"), scatter(points, label=label)]


def _mistakes(shown: FittedPage) -> list[Html]:
    if not shown.mistakes:
        return []
    heads = ("Question", "Reference", "Answer", *shown.others)
    rows = (el("tr", el("th", _text(one.question), scope="row"), *_answers(one)) for one in shown.mistakes)
    table = el(
        "table",
        el("thead", el("tr", *(el("th", name, scope="col") for name in heads))),
        el("tbody", *rows),
        cls="mistakes",
    )
    wide = el("div", table, cls="wide", tabindex=0, role="region", aria_label="Wrong answers, beside those of others")
    return [el("h2", "Wrong answers on validation lines"), wide]


def _answers(one: FitMistake) -> list[Html]:
    return [el("td", _text(text) if text.strip() else NONE) for text in (one.reference, one.answer, *one.others)]


def _text(text: str) -> Html:
    return el("span", text if len(text) <= LONGEST else f"{text[:LONGEST]}\u2026", cls="said")
