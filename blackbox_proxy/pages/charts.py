"""Drawings of amounts: columns over time, and bars under each other. SVG without text, labels in HTML.

The drawings stretch with the page and the labels do not, so that both fit a telephone. What a drawing shows stands in a
table besides; it is one picture to a screen reader.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal

from blackbox_proxy.pages.figures import dollars, money
from blackbox_proxy.pages.html import Html, el, joined

FEWEST = 10
"""Columns that there is room for at least, so that one day is no wall."""

TICKS = 5
"""Most labels under the columns."""


@dataclass(frozen=True, slots=True)
class Pair:
    """What something cost, and what it would have cost one token per call, in dollars."""

    name: str
    cost: Decimal
    naive: Decimal


def legend() -> Html:
    """What is drawn how."""
    return el(
        "p",
        el("span", cls="key cost"),
        "spent ",
        el("span", cls="key naive"),
        "one token per call would have cost",
        cls="legend",
    )


def columns(pairs: Sequence[Pair], *, label: str) -> Html:
    """A column for each, in the order given: filled what was spent, in outline what one token per call would cost."""
    top = _round(max(max(pair.cost, pair.naive) for pair in pairs))
    width = max(len(pairs), FEWEST)
    drawn = [_column(number, pair, top) for number, pair in enumerate(pairs)]
    grid = [el("line", x1=0, x2=width, y1=y, y2=y, cls="grid") for y in (0, 50, 100)]
    picture = el(
        "svg", *grid, *drawn, viewBox=f"0 0 {width} 100", preserveAspectRatio="none", role="img", aria_label=label
    )
    marks = (el("span", dollars(part)) for part in (top, top / 2, Decimal(0)))
    scale = el("div", *marks, cls="scale", aria_hidden="true")
    return el("div", scale, picture, _ticks([pair.name for pair in pairs], width), cls="columns")


def _column(number: int, pair: Pair, top: Decimal) -> Html:
    told = f"{pair.name}: {dollars(pair.cost)}; one token per call: {dollars(pair.naive)}"
    return el(
        "g",
        el("title", told),
        el("rect", x=number, y=0, width=1, height=100, cls="reach"),
        el("rect", x=number + 0.18, width=0.64, cls="cost", **_height(pair.cost, top)),
        el("rect", x=number + 0.18, width=0.64, cls="naive", **_height(pair.naive, top)),
    )


def _height(amount: Decimal, top: Decimal) -> dict[str, float]:
    tall = _percent(amount, top)
    return {"y": round(100 - tall, 2), "height": tall}


def _ticks(names: Sequence[str], width: int) -> Html:
    every = -(-len(names) // TICKS)
    marks = [
        el("span", name, style=f"left:{(number + 0.5) / width:.2%}")
        for number, name in enumerate(names)
        if number % every == 0
    ]
    return el("div", *marks, cls="ticks", aria_hidden="true")


def bars(pairs: Sequence[Pair]) -> Html:
    """A line for each: its name, what was spent and what one token per call would have cost, and both as bars."""
    top = max((max(pair.cost, pair.naive) for pair in pairs), default=Decimal(0))
    return el("ul", *(_bar(pair, top) for pair in pairs), cls="bars")


def _bar(pair: Pair, top: Decimal) -> Html:
    amounts = joined((el("b", money(pair.cost)), " of ", money(pair.naive)))
    drawn = el(
        "svg",
        el("rect", x=0, y=1, height=8, width=_percent(pair.cost, top), cls="cost"),
        el("rect", x=0, y=1, height=8, width=_percent(pair.naive, top), cls="naive"),
        viewBox="0 0 100 10",
        preserveAspectRatio="none",
        aria_hidden="true",
    )
    return el("li", el("span", pair.name, cls="name"), el("span", amounts, cls="amounts"), drawn)


def _percent(amount: Decimal, top: Decimal) -> float:
    return round(float(100 * amount / top), 2) if top else 0.0


def _round(amount: Decimal) -> Decimal:
    """The next amount above that is 1, 2 or 5 of a power of ten; 1 for nothing.

    >>> _round(Decimal("0.034")), _round(Decimal(5)), _round(Decimal(0))
    (Decimal('0.05'), Decimal('5'), Decimal('1'))
    """
    if not amount:
        return Decimal(1)
    power = Decimal(1).scaleb(amount.adjusted())
    return next(step * power for step in (1, 2, 5, 10) if step * power >= amount)
