"""The page of an evaluation: whether steering made a model better at a task, beside what else was tried, at what price.

For whoever decides. It shows figures that were counted elsewhere, what they come to, and the answers that are wrong.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal

from blackbox_proxy.pages.figures import NONE, count, money, ratio, share
from blackbox_proxy.pages.html import Html, document, el, joined
from blackbox_proxy.pages.plots import BarPart, Interval, Point, curve, intervals, parts
from blackbox_proxy.pages.style import COMMON, COSTS, EVALUATION


@dataclass(frozen=True, slots=True)
class ArmRow:
    """One arm. description: what it is. alpha: where it is steered. cost: dollars an answer, None where it is unknown.

    score with `low` and `high`: None where it has no answer. seconds and calls are of one answer.
    """

    name: str
    description: str
    n: int
    errors: int
    score: float | None
    low: float
    high: float
    in_form: float | None
    cost: Decimal | None
    seconds: float
    calls: float
    alpha: float | None = None


@dataclass(frozen=True, slots=True)
class Against:
    """How much better the steered arm is than another: a difference with its interval, and the chance of it."""

    name: str
    difference: float
    low: float
    high: float
    p: float
    n: int


@dataclass(frozen=True, slots=True)
class Mistake:
    """A wrong answer. document: what the answer stands in, where the item has one. score: below 1."""

    question: str
    document: str
    reference: str
    answer: str
    score: float


@dataclass(frozen=True, slots=True)
class Mistakes:
    """The wrong answers of an arm. description: what it is. wrong: how many of `of`; `shown` are the first."""

    name: str
    description: str
    wrong: int
    of: int
    shown: Sequence[Mistake]


@dataclass(frozen=True, slots=True)
class TaskOutcome:
    """One task.

    Attributes:
        name: Its name.
        title: What it is called.
        about: What it is, in a sentence.
        source: Where its items come from.
        alpha: What `steered` used.
        chosen: The scores on validation that alpha was chosen by, where it was.
        rows: Arms in order.
        sweep: Further alphas.
        tests: Comparisons of arms.
        wrong: Steered answers that are not right.
        of: All steered answers.
        ceiling: What of the wrong ones is wrong.
        exactness: Shares by name.
        gap: Share of the gap to a tuned model that is closed, with its interval.
        advice: What it comes to.
        mistakes: Wrong answers by arm.
        knobs: What else steers, where the task or the command line sets it.
    """

    name: str
    title: str
    about: str
    source: str
    alpha: float
    chosen: Sequence[tuple[float, float]]
    rows: Sequence[ArmRow]
    sweep: Sequence[ArmRow]
    tests: Sequence[Against]
    wrong: int
    of: int
    ceiling: Sequence[BarPart]
    exactness: Sequence[tuple[str, str]]
    gap: tuple[float, float, float] | None
    advice: Sequence[str] = ()
    mistakes: Sequence[Mistakes] = ()
    knobs: Mapping[str, object] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Evaluated:
    """What the page shows. priced: whose prices these are. written_at: UTC. by: which program."""

    tasks: Sequence[TaskOutcome]
    model: str
    priced: str
    written_at: dt.datetime
    by: str


HEADS = ("Arm", "Score", "95 % interval", "n", "Errors", "In form", "USD an answer", "Seconds", "Calls")

MEANINGS = (
    ("Score", "Mean over the answered questions; 1 is right, 0 is wrong"),
    (
        "95 % interval",
        "Bootstrap over questions; where all scores are equal, by Wilson's bound on how many unseen ones may differ",
    ),
    ("n", "Questions that were answered; arms of fewer questions answer the first ones of the same order"),
    ("Errors", "Questions without an answer, since a call failed; they are in no other figure, and are asked again"),
    ("In form", "Share of answers that have the task's form, whatever they say"),
    ("USD an answer", "By the ledger; what the small models do costs no dollars. Unknown where nobody has a price"),
    ("Seconds", "From question to answer, on the machine that evaluated, with what ran beside it"),
    ("Calls", "Requests to the closed model for an answer"),
    ("Difference", "Steered less the other, over the questions that both answered"),
    (
        "p",
        "Two-sided, that there is no difference: McNemar's exact test; signs at random where scores are not 0 or 1",
    ),
)


def evaluation_page(shown: Evaluated) -> str:
    """The page as the text of an HTML file."""
    title = "Does steering help?"
    return document(
        title,
        el("a", "Skip to what the figures mean", href="#means", cls="skip"),
        el(
            "header",
            el("h1", title),
            el("p", f"{shown.model}, on {_titles(shown.tasks)}. {shown.priced}", cls="soft"),
        ),
        el(
            "main",
            *(piece for number, task in enumerate(shown.tasks, 1) for piece in _task(task, number)),
            el("h2", "What the figures mean", id="means"),
            el("dl", *(el("div", el("dt", name), el("dd", f"{meaning}.")) for name, meaning in MEANINGS), cls="means"),
        ),
        el("footer", f"Made {shown.written_at:%Y-%m-%d %H:%M} UTC by {shown.by}. Amounts in US dollars."),
        style=COMMON + COSTS + EVALUATION,
        generator=shown.by,
    )


def _titles(tasks: Sequence[TaskOutcome]) -> str:
    """What was asked, by name.

    >>> _titles([])
    'no task'
    """
    return ", ".join(f"\u201c{task.title}\u201d" for task in tasks) or "no task"


def _task(task: TaskOutcome, number: int) -> list[Html]:
    drawn = [_interval(row) for row in task.rows if row.score is not None]
    return [
        el("h2", task.title, id=f"task-{number}"),
        *([el("p", task.about)] if task.about else []),
        el("p", f"{f'Source: {task.source}. ' if task.source else ''}{_alpha(task)}", cls="soft"),
        *([el("p", " ".join(task.advice), cls="advice")] if task.advice else []),
        *(el("p", line, cls="notice") for line in _verdict(task)),
        el("h3", "Scores"),
        intervals(drawn),
        _table(task.rows, f"All arms of {task.title}"),
        *_tests(task),
        *_sweep(task),
        *_ceiling(task),
        *_exactness(task),
        *_mistakes(task),
    ]


def _alpha(task: TaskOutcome) -> str:
    if not task.chosen:
        return f"Steered at alpha {task.alpha:g}, which was set before.{_knobs(task)}"
    tried = ", ".join(f"{alpha:g}: {score:.2f}" for alpha, score in task.chosen)
    return f"Steered at alpha {task.alpha:g}, chosen on validation questions alone ({tried}).{_knobs(task)}"


def _knobs(task: TaskOutcome) -> str:
    """What else steers, in words."""
    return f" Other knobs: {', '.join(f'{name} {value}' for name, value in task.knobs.items())}." if task.knobs else ""


def _verdict(task: TaskOutcome) -> list[str]:
    """What the tests say, in words: better or worse only where the interval leaves out 0."""
    verdicts = []
    for test in task.tests:
        sure = "is better than" if test.low > 0 else "is worse than" if test.high < 0 else "cannot be told from"
        verdicts.append(f"steered {sure} {test.name} ({_signed(test.difference)})")
    return [f"{'; '.join(verdicts).capitalize()}."] if verdicts else []


def _interval(row: ArmRow) -> Interval:
    value = row.score or 0.0
    label = f"{value:.2f} ({row.low:.2f}\u2013{row.high:.2f})"
    return Interval(row.description, value, row.low, row.high, label, main=row.name == "steered")


def _table(rows: Sequence[ArmRow], label: str) -> Html:
    heads = (el("th", name, scope="col") for name in HEADS)
    body = (_row(row) for row in rows)
    return _wide(el("table", el("thead", el("tr", *heads)), el("tbody", *body)), label)


def _wide(table: Html, label: str) -> Html:
    return el("div", table, cls="wide", tabindex=0, role="region", aria_label=label)


def _row(row: ArmRow) -> Html:
    cells = (
        NONE if row.score is None else el("data", f"{row.score:.3f}", value=repr(row.score)),
        NONE if row.score is None else f"{row.low:.3f}\u2013{row.high:.3f}",
        count(row.n),
        count(row.errors),
        share(row.in_form),
        money(row.cost, more=row.cost is None),
        el("data", f"{row.seconds:.2f}", value=repr(row.seconds)) if row.n else NONE,
        ratio(row.calls if row.n else None),
    )
    name = joined(
        (el("b", row.name) if row.name == "steered" else row.name, el("span", f" {row.description}", cls="soft"))
    )
    return el("tr", el("th", el("span", name, cls="name"), scope="row"), *(el("td", cell) for cell in cells))


def _tests(task: TaskOutcome) -> list[Html]:
    if not task.tests:
        return []
    heads = (el("th", name, scope="col") for name in ("Steered against", "Difference", "95 % interval", "p", "n"))
    rows = [
        el(
            "tr",
            el("th", test.name, scope="row"),
            el("td", el("data", _signed(test.difference), value=repr(test.difference))),
            el("td", f"{_signed(test.low)} to {_signed(test.high)}"),
            el("td", f"{test.p:.2g}"),
            el("td", count(test.n)),
        )
        for test in task.tests
    ]
    gap = []
    if task.gap is not None:
        value, low, high = task.gap
        gap = [el("p", f"Of the gap to the directly tuned model {value:.0%} is closed ({low:.0%} to {high:.0%}).")]
    table = el("table", el("thead", el("tr", *heads)), el("tbody", *rows))
    return [el("h3", "Differences"), _wide(table, f"Differences, {task.title}"), *gap]


def _signed(value: float) -> str:
    """A difference with a true minus.

    >>> _signed(-0.5), _signed(0.25)
    ('\u22120.500', '+0.250')
    """
    return f"{value:+.3f}".replace("-", "\u2212")


SWEEP = "To look at, not to choose by, since these are test questions. The line marks the alpha of the steered arm."


def _sweep(task: TaskOutcome) -> list[Html]:
    points = [
        Point(row.alpha, row.score, row.low, row.high)
        for row in sorted(task.sweep, key=lambda row: row.alpha or 0.0)
        if row.alpha is not None and row.score is not None
    ]
    if len(points) < 2:
        return []
    label = f"Score by alpha, from {points[0].at:g} to {points[-1].at:g}; the table below has the figures"
    return [
        el("h3", "Other alphas"),
        el("p", SWEEP, cls="soft"),
        curve(points, marked=min(max(task.alpha, points[0].at), points[-1].at), label=label),
        _table(task.sweep, f"Other alphas of {task.title}"),
    ]


def _ceiling(task: TaskOutcome) -> list[Html]:
    if not task.of:
        return []
    said = f"{task.wrong:,} of {task.of:,} steered answers are not right."
    drawn = [parts(task.ceiling)] if task.wrong else []
    return [el("h3", "Where steered answers go wrong"), el("p", said), *drawn]


def _exactness(task: TaskOutcome) -> list[Html]:
    if not task.exactness:
        return []
    items = (el("div", el("dt", name), el("dd", figure)) for name, figure in task.exactness)
    return [el("h3", "How exact the steered answers are"), el("dl", *items, cls="means")]


LONGEST = 600
"""Characters of a question, a reference or an answer that are shown."""


def _mistakes(task: TaskOutcome) -> list[Html]:
    """The wrong answers, arm by arm; those of the steered one are open."""
    listed = [_of_arm(arm, task) for arm in task.mistakes if arm.shown]
    return [el("h3", "Wrong answers"), *listed] if listed else []


def _of_arm(arm: Mistakes, task: TaskOutcome) -> Html:
    more = f", the first {len(arm.shown):,} of them here" if len(arm.shown) < arm.wrong else ""
    heads = (el("th", name, scope="col") for name in ("Question", "Reference", "Answer", "Score"))
    rows = (
        el(
            "tr",
            el("th", _text(_asked(one)), scope="row"),
            el("td", _text(_short(one.reference))),
            el("td", _text(_short(one.answer)) if one.answer.strip() else el("span", "nothing", cls="none")),
            el("td", el("data", f"{one.score:.2f}", value=repr(one.score))),
        )
        for one in arm.shown
    )
    table = el("table", el("thead", el("tr", *heads)), el("tbody", *rows), cls="mistakes")
    return el(
        "details",
        el("summary", f"{arm.name}, {arm.description}: {arm.wrong:,} of {arm.of:,} are wrong{more}"),
        _wide(table, f"Wrong answers of {arm.name}, {task.title}"),
        open=arm.name == "steered",
    )


def _asked(one: Mistake) -> Html:
    """The question, behind what it stands in."""
    before = [el("span", f"{_short(one.document)}\n", cls="soft")] if one.document else []
    return joined((*before, _short(one.question)))


def _text(content: Html | str) -> Html:
    return el("span", content, cls="said")


def _short(text: str) -> str:
    return text if len(text) <= LONGEST else f"{text[:LONGEST]}\u2026"
