"""Drawings of scores: intervals under each other, a curve with its band, and shares of a whole.

As in `charts`: SVG without text that stretches with the page, labels in HTML; what is drawn stands in a table besides.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from blackbox_proxy.pages.html import Html, el

GRID = (0, 25, 50, 75, 100)


@dataclass(frozen=True, slots=True)
class Interval:
    """A value with its interval, from 0 to 1. label: as the page writes it. main: what the page is about."""

    name: str
    value: float
    low: float
    high: float
    label: str
    main: bool = False


def intervals(rows: Sequence[Interval]) -> Html:
    """A line for each: its name, its value as a dot on its interval, and the figures."""
    scale = el("div", *(el("span", name) for name in ("0", "0.5", "1")))
    marks = el("li", scale, cls="axis", aria_hidden="true")
    return el("ul", *(_interval(one) for one in rows), marks, cls="intervals")


def _interval(one: Interval) -> Html:
    low, value, high = (_percent(share) for share in (one.low, one.value, one.high))
    drawn = el(
        "svg",
        *(el("line", x1=x, x2=x, y1=0, y2=20, cls="grid") for x in GRID),
        el("line", x1=low, x2=high, y1=10, y2=10, cls="spread"),
        el("line", x1=value, x2=value, y1=10, y2=10, cls="dot"),
        viewBox="0 0 100 20",
        preserveAspectRatio="none",
        aria_hidden="true",
    )
    return el(
        "li",
        el("span", one.name, cls="name"),
        drawn,
        el("span", one.label, cls="amounts"),
        cls="main" if one.main else None,
    )


@dataclass(frozen=True, slots=True)
class Point:
    """A value with its interval, 0 to 1, at a place on the axis."""

    at: float
    value: float
    low: float
    high: float


def curve(points: Sequence[Point], *, marked: float, label: str) -> Html:
    """Values over an axis, in its order, with their intervals as a band. marked: a special place on the axis."""
    first, last = points[0].at, points[-1].at
    span = (last - first) or 1.0

    def x(at: float) -> float:
        return round(100 * (at - first) / span, 2)

    upper = [f"{x(p.at)},{100 - _percent(p.high)}" for p in points]
    lower = [f"{x(p.at)},{100 - _percent(p.low)}" for p in reversed(points)]
    line = " ".join(f"{x(p.at)},{100 - _percent(p.value)}" for p in points)
    dots = [
        el("line", x1=x(p.at), x2=x(p.at), y1=100 - _percent(p.value), y2=100 - _percent(p.value), cls="dot")
        for p in points
    ]
    picture = el(
        "svg",
        *(el("line", x1=0, x2=100, y1=y, y2=y, cls="grid") for y in GRID),
        el("polygon", points=" ".join((*upper, *lower)), cls="band"),
        el("polyline", points=line, cls="curve"),
        el("line", x1=x(marked), x2=x(marked), y1=0, y2=100, cls="special"),
        *dots,
        viewBox="0 0 100 100",
        preserveAspectRatio="none",
        role="img",
        aria_label=label,
    )
    scale = el("div", *(el("span", name) for name in ("1", "0.5", "0")), cls="scale", aria_hidden="true")
    ticks = [el("span", f"{p.at:g}", style=f"left:{x(p.at):g}%") for p in points]
    return el("div", scale, picture, el("div", *ticks, cls="ticks", aria_hidden="true"), cls="columns curves")


@dataclass(frozen=True, slots=True)
class Priced:
    """A score, 0 to 1, at a price. best: nothing else is as cheap and as good. main: what the page is about."""

    name: str
    price: float
    score: float
    best: bool = False
    main: bool = False


def scatter(points: Sequence[Priced], *, label: str) -> Html:
    """Scores over prices, a dot for each, with a line through those that nothing passes in both."""
    most = max((one.price for one in points), default=0.0) or 1.0

    def at(one: Priced) -> tuple[float, float]:
        return round(4 + 92 * one.price / most, 2), 100 - _percent(one.score)

    edge = " ".join(f"{x},{y}" for x, y in sorted(at(one) for one in points if one.best))
    dots = (
        el("g", el("line", el("title", one.name), x1=x, x2=x, y1=y, y2=y, cls="dot"), cls="main" if one.main else None)
        for one in points
        for x, y in (at(one),)
    )
    picture = el(
        "svg",
        *(el("line", x1=0, x2=100, y1=y, y2=y, cls="grid") for y in GRID),
        el("polyline", points=edge, cls="curve"),
        *dots,
        viewBox="0 0 100 100",
        preserveAspectRatio="none",
        role="img",
        aria_label=label,
    )
    scale = el("div", *(el("span", name) for name in ("1", "0.5", "0")), cls="scale", aria_hidden="true")
    prices = [(4, "$0"), (50, f"${most / 2:.3g}"), (96, f"${most:.3g}")]
    ticks = [el("span", text, style=f"left:{x}%") for x, text in prices]
    return el("div", scale, picture, el("div", *ticks, cls="ticks", aria_hidden="true"), cls="columns curves")


def falling(points: Sequence[tuple[float, float]], *, label: str) -> Html:
    """Values, from 0 up, over an axis from 0, in its order: two of them or more, the axis ending at the last."""
    most, last = max(value for _, value in points) or 1.0, points[-1][0] or 1.0
    placed = [(round(4 + 92 * at / last, 2), round(100 - 100 * value / most, 2)) for at, value in points]
    picture = el(
        "svg",
        *(el("line", x1=0, x2=100, y1=y, y2=y, cls="grid") for y in GRID),
        el("polyline", points=" ".join(f"{x},{y}" for x, y in placed), cls="curve"),
        *(el("line", x1=x, x2=x, y1=y, y2=y, cls="dot") for x, y in placed),
        viewBox="0 0 100 100",
        preserveAspectRatio="none",
        role="img",
        aria_label=label,
    )
    scale = el("div", *(el("span", f"{value:.2g}") for value in (most, most / 2, 0)), cls="scale", aria_hidden="true")
    ticks = [el("span", f"{at:g}", style=f"left:{x:g}%") for (at, _), (x, _) in zip(points, placed, strict=True)]
    return el("div", scale, picture, el("div", *ticks, cls="ticks", aria_hidden="true"), cls="columns curves")


@dataclass(frozen=True, slots=True)
class BarPart:
    """A share of a whole, 0 to 1, and what it stands for."""

    name: str
    share: float


def parts(shares: Sequence[BarPart]) -> Html:
    """A bar for each share, with its name."""
    return el("ul", *(_part(one) for one in shares), cls="bars")


def _part(one: BarPart) -> Html:
    drawn = el(
        "svg",
        el("rect", x=0, y=1, height=8, width=100, cls="whole"),
        el("rect", x=0, y=1, height=8, width=_percent(one.share), cls="cost"),
        viewBox="0 0 100 10",
        preserveAspectRatio="none",
        aria_hidden="true",
    )
    return el("li", el("span", one.name, cls="name"), el("span", f"{one.share:.0%}", cls="amounts"), drawn)


def _percent(share: float) -> float:
    return round(100 * min(max(share, 0.0), 1.0), 2)
