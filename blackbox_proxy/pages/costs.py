"""The page of what was spent: for whoever pays, with what each figure means. Figures come from `ledger.report`."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from decimal import Decimal

from blackbox_proxy.ledger.report import DEFINITIONS, Figures
from blackbox_proxy.pages.charts import CostPair, bars, columns, legend
from blackbox_proxy.pages.figures import count, dollars, money, ratio, seconds, share
from blackbox_proxy.pages.html import Html, document, el
from blackbox_proxy.pages.style import COMMON, COSTS

MOST_DAYS = 92
"""Longer times are drawn by months."""

MOST_BARS = 12
"""Groups that are drawn; the table has all."""


@dataclass(frozen=True, slots=True)
class Costs:
    """What the page shows. since: its first day where one was asked for, or "". written_at: UTC. by: which program."""

    total: Figures
    days: Sequence[Figures]
    models: Sequence[Figures]
    tags: Sequence[Figures]
    outcomes: Sequence[Figures]
    since: str
    written_at: dt.datetime
    by: str


def _known(one: Figures, amount: Decimal) -> Decimal | None:
    """The amount, unless there is nothing in it because nobody knows what these cost."""
    return None if not amount and (one.unpriced or one.lost) else amount


def _at_risk(one: Figures) -> Html:
    unknown = one.lost and not one.at_risk
    return money(None if unknown else one.at_risk, more=bool(unknown))


def _more(one: Figures) -> bool:
    return bool(one.unpriced) or _known(one, one.cost) is None


SHOWN: dict[str, tuple[str, Callable[[Figures], Html]]] = {
    "cost": ("Spent", lambda one: money(_known(one, one.cost), more=_more(one))),
    "naive": ("At one token per call", lambda one: money(_known(one, one.naive), more=_more(one))),
    "per_kept": ("Cost of a token in an answer", lambda one: money(one.per_kept)),
    "calls_per_answer": ("Calls per answer", lambda one: ratio(one.calls_per_answer)),
    "cached_share": ("Input read from the cache", lambda one: share(one.cached_share)),
    "wasted_share": ("Output that was wasted", lambda one: share(one.wasted_share)),
    "failed": ("Failed attempts", lambda one: count(one.failed)),
    "local_seconds": ("Local computing", lambda one: seconds(one.local_seconds)),
    "requests": ("Requests", lambda one: count(one.requests)),
    "answers": ("Answers", lambda one: count(one.answers)),
    "kept": ("Tokens in answers", lambda one: count(one.kept)),
    "input": ("Input tokens", lambda one: count(one.input)),
    "output": ("Output tokens", lambda one: count(one.output)),
    "wasted": ("Wasted tokens", lambda one: count(one.wasted)),
    "at_risk": ("At risk", _at_risk),
    "seconds": ("Waiting", lambda one: seconds(one.seconds)),
}
"""Each figure that the page shows: what it is called here, and how it is written."""

CARDS = ("cost", "naive", "per_kept", "calls_per_answer", "cached_share", "wasted_share", "failed", "local_seconds")
COLUMNS = (
    *("requests", "answers", "calls_per_answer", "kept", "cost", "naive", "per_kept"),
    *("cached_share", "wasted_share", "failed", "local_seconds"),
)
ATTEMPTS = ("requests", "input", "output", "wasted", "cost", "at_risk", "seconds")

OUTCOMES = {
    "ok": "answered",
    "open": "never ended: the program was stopped meanwhile, or is still waiting",
    "busy": "the API had too much to do, and was asked again later",
    "refused": "the API said no",
    "unreachable": "no connection came about",
    "timeout": "no whole reply in time",
    "unreadable": "the reply was no reply",
    "cancelled": "given up by the caller, or broken off",
}


def costs_page(costs: Costs) -> str:
    """The page as the text of an HTML file."""
    total = costs.total
    return document(
        "What steering cost",
        el("a", "Skip to what the figures mean", href="#means", cls="skip"),
        _head(costs),
        el(
            "main",
            *_notices(total),
            el("dl", *(_card(name, total) for name in CARDS), cls="cards"),
            *_times(costs.days, total),
            *_groups("model", costs.models, total),
            *_groups("tag", costs.tags, total, note=TAG_NOTE),
            *_attempts(costs.outcomes, total),
            el("h2", "What the figures mean", id="means"),
            el("dl", *(_meaning(name) for name in SHOWN), cls="means"),
        ),
        el("footer", f"Made {costs.written_at:%Y-%m-%d %H:%M} UTC by {costs.by}. Amounts in US dollars; days are UTC."),
        style=COMMON + COSTS,
        generator=costs.by,
    )


TAG_NOTE = "What carries several tags counts for each, so that these may add up to more than was spent."


def _head(costs: Costs) -> Html:
    days = [day.name for day in costs.days]
    asked = f" Only from {costs.since} on, as asked." if costs.since else ""
    span = "no requests" if not days else days[0] if days[0] == days[-1] else f"{days[0]} to {days[-1]}"
    return el(
        "header", el("h1", "What steering cost"), el("p", f"{span}, by the ledger of requests.{asked}", cls="soft")
    )


def _notices(total: Figures) -> list[Html]:
    notices = []
    if total.replayed:
        notices.append(f"Requests replayed from a cassette, at no cost: {total.replayed:,}. No figure here has them.")
    if total.unpriced:
        notices.append(f"Answered requests without a known price: {total.unpriced:,}. No amount on this page has them.")
    if total.lost:
        most = (
            f"at most {dollars(total.at_risk)}, as far as prices are known"
            if total.at_risk
            else "nobody knows how much"
        )
        notices.append(
            f"Attempts without a whole reply: {total.lost:,}. They may have been billed all the same, {most}, "
            "and are in no other amount."
        )
    if total.estimated:
        notices.append(f"Replies without counts of tokens: {total.estimated:,}. Theirs are estimated from above.")
    return [el("p", text, cls="notice") for text in notices]


def _card(name: str, total: Figures) -> Html:
    title, written = SHOWN[name]
    meaning = _sentence(DEFINITIONS[name])
    if name == "naive" and total.naive:
        meaning = f"{total.cost / total.naive:.0%} of it was spent. {meaning}"
    return el("div", el("dt", title), el("dd", written(total), cls="figure"), el("dd", meaning, cls="means"))


def _sentence(text: str) -> str:
    return f"{text[0].upper()}{text[1:]}."


def _meaning(name: str) -> Html:
    return el("div", el("dt", SHOWN[name][0]), el("dd", _sentence(DEFINITIONS[name])), id=_anchor(name))


def _anchor(name: str) -> str:
    return f"means-{name.replace('_', '-')}"


def _times(days: Sequence[Figures], total: Figures) -> list[Html]:
    if not days:
        return []
    pairs = over_time([_pair(day) for day in days])
    each = "month" if len(pairs[0].name) < len("2026-11-25") else "day"
    label = f"Spent by {each}, from {pairs[0].name} to {pairs[-1].name}; the table below has the figures"
    drawn = columns(pairs, ticks=[_tick(pair.name) for pair in pairs], label=label)
    return [_together("Over time", legend(), drawn), _table("day", days, total)]


def _together(title: str, *content: Html) -> Html:
    """What stands on one sheet of paper."""
    return el("div", el("h2", title), *content, cls="together")


MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")


def _tick(name: str) -> str:
    """A day or a month, short.

    >>> _tick("2026-10-05"), _tick("2026-10")
    ('5 Oct', 'Oct 2026')
    """
    year, month, *day = name.split("-")
    return f"{int(day[0])} {MONTHS[int(month) - 1]}" if day else f"{MONTHS[int(month) - 1]} {year}"


def over_time(days: Sequence[CostPair]) -> list[CostPair]:
    """A pair for every day from the first to the last, those without requests too; or for every month, if too long."""
    first, last = (dt.date.fromisoformat(day.name) for day in (days[0], days[-1]))
    every = [first + dt.timedelta(days=n) for n in range((last - first).days + 1)]
    form = "%Y-%m-%d" if len(every) <= MOST_DAYS else "%Y-%m"
    pairs = {name: CostPair(name, Decimal(0), Decimal(0)) for name in (day.strftime(form) for day in every)}
    for day in days:
        name = day.name[: 10 if form.endswith("%d") else 7]
        so_far = pairs[name]
        pairs[name] = CostPair(
            name, _sum(so_far.cost, day.cost), _sum(so_far.naive, day.naive), so_far.more or day.more
        )
    return list(pairs.values())


def _sum(one: Decimal | None, other: Decimal | None) -> Decimal:
    return (one or Decimal(0)) + (other or Decimal(0))


def _pair(one: Figures) -> CostPair:
    return CostPair(one.name, _known(one, one.cost), _known(one, one.naive), _more(one))


def _groups(by: str, groups: Sequence[Figures], total: Figures, *, note: str = "") -> list[Html]:
    if not groups:
        return []
    more = f"The first {MOST_BARS} of {len(groups):,} are drawn." if len(groups) > MOST_BARS else ""
    remark = " ".join(filter(None, (note, more)))
    said = [el("p", remark, cls="soft")] if remark else []
    drawn = bars([_pair(one) for one in groups[:MOST_BARS]])
    return [_together(f"By {by}", legend(), *said, drawn), _table(by, groups, total)]


def _attempts(outcomes: Sequence[Figures], total: Figures) -> list[Html]:
    if not outcomes:
        return []
    return [
        el("h2", "Attempts, and how they ended"),
        _table("outcome", outcomes, total),
    ]


def _table(by: str, groups: Sequence[Figures], total: Figures) -> Html:
    """A row for each group and one for all; what a column means is a link away."""
    names, meanings = (ATTEMPTS, OUTCOMES) if by == "outcome" else (COLUMNS, {})
    heads = [el("th", el("a", SHOWN[name][0], href=f"#{_anchor(name)}"), scope="col") for name in names]
    table = el(
        "table",
        el("thead", el("tr", el("th", by.capitalize(), scope="col"), *heads)),
        el("tbody", *(_row(one, names, meanings.get(one.name, "")) for one in groups)),
        el("tfoot", _row(total, names, "")),
    )
    return el("div", table, cls="wide", tabindex=0, role="region", aria_label=f"Figures by {by}")


def _row(one: Figures, names: Sequence[str], meaning: str) -> Html:
    cells = (el("td", SHOWN[name][1](one)) for name in names)
    name = el("span", one.name, *([el("span", f": {meaning}", cls="soft")] if meaning else ()), cls="name")
    return el("tr", el("th", name, scope="row"), *cells)
