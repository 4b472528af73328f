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
class CostPair:
    """What something cost, and what it would have cost one token per call, in dollars; None where all is unknown.

    more: there is something besides whose cost nobody knows.
    """

    name: str
    cost: Decimal | None
    naive: Decimal | None
    more: bool = False

    @property
    def most(self) -> Decimal:
        """The larger of both."""
        return max(self.cost or Decimal(0), self.naive or Decimal(0))


def legend() -> Html:
    """What is drawn how."""
    return el(
        "p",
        el("span", cls="key cost"),
        "spent ",
        el("span", cls="key naive"),
        "at one token per call",
        cls="legend",
    )


def columns(pairs: Sequence[CostPair], *, ticks: Sequence[str], label: str) -> Html:
    """A column for each, in the order given: filled what was spent, in outline what one token per call would cost.

    ticks: what may stand under each; there is room for some.
    """
    top = _round(max(pair.most for pair in pairs))
    width = max(len(pairs), FEWEST)
    drawn = [_column(number, pair, top) for number, pair in enumerate(pairs)]
    grid = [el("line", x1=0, x2=width, y1=y, y2=y, cls="grid") for y in (0, 50, 100)]
    picture = el(
        "svg", *grid, *drawn, viewBox=f"0 0 {width} 100", preserveAspectRatio="none", role="img", aria_label=label
    )
    marks = (el("span", dollars(part)) for part in (top, top / 2, Decimal(0)))
    scale = el("div", *marks, cls="scale", aria_hidden="true")
    return el("div", scale, picture, _ticks(ticks, width), cls="columns")


def _column(number: int, pair: CostPair, top: Decimal) -> Html:
    more = ", and something whose cost is unknown" if pair.more else ""
    cost, naive = (dollars(amount or Decimal(0)) for amount in (pair.cost, pair.naive))
    label = f"{pair.name}: {cost}; at one token per call {naive}{more}"
    return el(
        "g",
        el("title", label),
        el("rect", x=number, y=0, width=1, height=100, cls="reach"),
        el("rect", x=number + 0.18, width=0.64, cls="cost", **_height(pair.cost, top)),
        el("rect", x=number + 0.18, width=0.64, cls="naive", **_height(pair.naive, top)),
    )


def _height(amount: Decimal | None, top: Decimal) -> dict[str, float]:
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


def bars(pairs: Sequence[CostPair]) -> Html:
    """A line for each: its name, what was spent and what one token per call would have cost, and both as bars."""
    top = max(pair.most for pair in pairs)
    return el("ul", *(_bar(pair, top) for pair in pairs), cls="bars")


def _bar(pair: CostPair, top: Decimal) -> Html:
    amounts = joined((el("b", money(pair.cost, more=pair.more)), " of ", money(pair.naive, more=pair.more)))
    drawn = el(
        "svg",
        el("rect", x=0, y=1, height=8, width=_percent(pair.cost, top), cls="cost"),
        el("rect", x=0, y=1, height=8, width=_percent(pair.naive, top), cls="naive"),
        viewBox="0 0 100 10",
        preserveAspectRatio="none",
        aria_hidden="true",
    )
    return el("li", el("span", pair.name, cls="name"), el("span", amounts, cls="amounts"), drawn)


def _percent(amount: Decimal | None, top: Decimal) -> float:
    return round(float(100 * amount / top), 2) if amount else 0.0


def _round(amount: Decimal) -> Decimal:
    """The next amount above whose half is short to write; 1 for nothing.

    >>> _round(Decimal("0.024")), _round(Decimal(5)), _round(Decimal(0))
    (Decimal('0.03'), Decimal('5'), Decimal('1'))
    """
    if not amount:
        return Decimal(1)
    power = Decimal(1).scaleb(amount.adjusted())
    return next(step * power for step in (1, 2, 3, 4, 5, 6, 8, 10) if step * power >= amount)
