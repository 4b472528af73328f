"""The page of a fit: what to use and why, what else was compared, at what price, and the answers that are wrong."""

from __future__ import annotations

import datetime as dt
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal

from blackbox_proxy.pages.figures import NONE, count, money
from blackbox_proxy.pages.html import Html, document, el, joined
from blackbox_proxy.pages.plots import Interval, Priced, falling, intervals, scatter
from blackbox_proxy.pages.style import COMMON, COSTS, EVALUATION, FIT


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
class FitAnswer:
    """What an arm answers, and whether that is right."""

    text: str
    right: bool


@dataclass(frozen=True, slots=True)
class FitMistake:
    """A line that the chosen arm answers wrongly.

    blame: which member of it is to blame. others: what other arms answer, in the order of their names; None where one
    was not asked.
    """

    question: str
    reference: str
    answer: str
    blame: str
    others: Sequence[FitAnswer | None] = ()


@dataclass(frozen=True, slots=True)
class CurvePoints:
    """What an expert loses on held lines after so many lines, in nats per learnt token; the last is after all of them.

    more_lines_help: whether it clearly loses less after all than after half of them.
    """

    lines: Sequence[int]
    losses: Sequence[float]
    more_lines_help: bool


@dataclass(frozen=True, slots=True)
class FittedPage:
    """What the page shows.

    Attributes:
        title: What was fitted.
        sentences: What to use and why.
        lines: How the lines were parted.
        rows: All arms, on validation lines.
        notes: What cut the comparison short.
        off_task: What the recipe does to questions of another kind; "" where nobody asked.
        harmful: Whether that is more than is tolerated.
        others: Names of the arms whose answers stand beside wrong ones.
        mistakes: Lines of validation that the chosen arm answers wrongly, the first ones.
        wrong: How many there are.
        curve: How much the expert has learnt from how many lines, where that was measured.
        recipe: The recipe as a file.
        written_at: UTC.
        by: Which program.
    """

    title: str
    sentences: Sequence[str]
    lines: str
    rows: Sequence[FitRow]
    notes: Sequence[str]
    off_task: str
    harmful: bool
    others: Sequence[str]
    mistakes: Sequence[FitMistake]
    wrong: int
    curve: CurvePoints | None
    recipe: str
    written_at: dt.datetime
    by: str


HEADS = ("Arm", "Score", "95 % interval", "n", "USD for 1,000", "Rounds")

FRONTIER = "Each dot is an arm. The line goes through those that no other passes both in score and in price."

CURVE_MEANS = "The expert's loss on lines that it has not learnt from, in nats per token, after so many lines."
MORE_HELP = "It still falls: more lines like these would make a better expert."
MORE_DO_NOT = "It no longer clearly falls: more lines like these would bring little."

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
            *([el("p", shown.off_task, cls="notice" if shown.harmful else None)] if shown.off_task else []),
            *(el("p", note, cls="notice") for note in shown.notes),
            el("h2", "What was compared"),
            intervals([_interval(row) for row in shown.rows]),
            _table(shown.rows),
            *_prices(shown.rows),
            *_curve(shown.curve),
            *_mistakes(shown),
            el("h2", "The recipe"),
            el("pre", shown.recipe),
        ),
        el("footer", f"Made {shown.written_at:%Y-%m-%d %H:%M} UTC by {shown.by}. Amounts in US dollars."),
        style=COMMON + COSTS + EVALUATION + FIT,
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
    return [
        el("h2", "Price against quality"),
        el("p", FRONTIER, cls="soft"),
        scatter(points, label=label),
        el("p", "Dollars for 1,000 answers; the score from 0 to 1.", cls="soft"),
        el("ol", *(_edge(row) for row in _cheapest_first(rows)), cls="frontier"),
    ]


def _cheapest_first(rows: Sequence[FitRow]) -> list[FitRow]:
    """The arms that nothing passes, as the line goes."""
    return sorted((row for row in rows if row.best), key=lambda row: (row.per_1000 or 0, row.score))


def _edge(row: FitRow) -> Html:
    price = "free" if not row.per_1000 else money(row.per_1000)
    return el("li", el("b", row.name) if row.chosen else row.name, f": {row.score:.2f}, ", price)


def _curve(learnt: CurvePoints | None) -> list[Html]:
    """How the expert's loss falls with its lines."""
    if learnt is None:
        return []
    said = MORE_HELP if learnt.more_lines_help else MORE_DO_NOT
    label = ", ".join(f"{loss:.2f} after {n} lines" for n, loss in zip(learnt.lines, learnt.losses, strict=True))
    points = list(zip(map(float, learnt.lines), learnt.losses, strict=True))
    return [
        el("h2", "What more lines would bring"),
        el("p", CURVE_MEANS, " ", said, cls="soft"),
        falling(points, label=f"Loss on held lines in nats per token: {label}"),
    ]


def _mistakes(shown: FittedPage) -> list[Html]:
    if not shown.mistakes:
        return []
    heads = ("Question", "Reference", "Answer", "To blame", *(f"{name} by itself" for name in shown.others))
    rows = (el("tr", el("th", _text(one.question), scope="row"), *_answers(one)) for one in shown.mistakes)
    table = el(
        "table",
        el("thead", el("tr", *(el("th", name, scope="col") for name in heads))),
        el("tbody", *rows),
        cls="mistakes",
    )
    wide = el("div", table, cls="wide", tabindex=0, role="region", aria_label="Wrong answers, beside those of others")
    return [el("h2", "Wrong answers on validation lines"), el("p", _blamed(shown), cls="soft"), wide]


def _blamed(shown: FittedPage) -> str:
    """How many wrong answers there are, and how often whom to blame."""
    counts = Counter(one.blame for one in shown.mistakes).most_common()
    of = f"{shown.wrong} lines" if shown.wrong == len(shown.mistakes) else f"the first {len(shown.mistakes)}"
    head = f"{shown.wrong} wrong. " if shown.wrong > len(shown.mistakes) else ""
    listed = ", ".join(f"{name} {number}" for name, number in counts)
    return f"{head}To blame, of {of}: {listed}. A mark shows an answer that is right."


def _answers(one: FitMistake) -> list[Html]:
    mine = (el("td", _text(text) if text.strip() else NONE) for text in (one.reference, one.answer))
    return [*mine, el("td", one.blame, cls="blame"), *(_other(answer) for answer in one.others)]


def _other(answer: FitAnswer | None) -> Html:
    if answer is None:
        return el("td", el("span", "not asked", cls="none"))
    if not answer.text.strip():
        return el("td", NONE)
    mark = [el("span", "\u2713 right", cls="right")] if answer.right else []
    return el("td", *mark, _text(answer.text))


def _text(text: str) -> Html:
    return el("span", text if len(text) <= LONGEST else f"{text[:LONGEST]}\u2026", cls="said")
