"""The course of a training run as a drawing that stands by itself: one SVG file, light or dark as the reader's screen.

Losses go in, text comes out.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from blackbox_proxy.pages.html import Html, el, joined
from blackbox_proxy.pages.style import CURVE

WIDTH, HEIGHT = 760, 420
LEFT, RIGHT, TOP, BOTTOM = 64, 736, 96, 364
"""The drawing's size, and the frame inside it."""

SMOOTHED = 20
"""Steps whose mean the thick line shows, at most."""


@dataclass(frozen=True, slots=True)
class Losses:
    """Nats per learnt token: `steps` one a step, `validations` one an epoch. best: the epoch that was kept, from 1."""

    steps: Sequence[float]
    validations: Sequence[float]
    per_epoch: int
    best: int


def curve(losses: Losses, *, title: str) -> str:
    """The SVG of a run of at least one step. Raises ValueError for none."""
    scale = _Scale(len(losses.steps), _round_up(max((*losses.steps, *losses.validations))))
    drawn = [*_axes(scale, losses.per_epoch), *_lines(scale, losses), *_points(scale, losses), *_legend(losses)]
    svg = el(
        "svg",
        el("title", title),
        Html(f"<style>{CURVE}</style>"),
        el("rect", width=WIDTH, height=HEIGHT, cls="paper"),
        el("text", title, x=LEFT, y=32, cls="head"),
        *drawn,
        xmlns="http://www.w3.org/2000/svg",
        viewBox=f"0 0 {WIDTH} {HEIGHT}",
        width=WIDTH,
        height=HEIGHT,
        role="img",
    )
    return f"{svg.text}\n"


@dataclass(frozen=True, slots=True)
class _Scale:
    """From steps and nats to the frame."""

    steps: int
    top: float

    def x(self, step: float) -> float:
        return round(LEFT + (RIGHT - LEFT) * step / self.steps, 1)

    def y(self, loss: float) -> float:
        return round(BOTTOM - (BOTTOM - TOP) * min(loss, self.top) / self.top, 1)


def _axes(scale: _Scale, per_epoch: int) -> Iterator[Html]:
    for part in range(5):
        loss = scale.top * part / 4
        yield el("line", x1=LEFT, x2=RIGHT, y1=scale.y(loss), y2=scale.y(loss), cls="grid")
        yield el("text", f"{loss:.3g}", x=LEFT - 10, y=scale.y(loss) + 4, cls="left")
    epochs = scale.steps // per_epoch
    every = max(1, math.ceil(epochs / 10))
    for epoch in range(every, epochs + 1, every):
        at = scale.x(epoch * per_epoch)
        yield el("line", x1=at, x2=at, y1=BOTTOM, y2=BOTTOM + 6, cls="tick")
        yield el("text", str(epoch), x=at, y=BOTTOM + 22, cls="middle")
    yield el("text", "epoch", x=(LEFT + RIGHT) / 2, y=BOTTOM + 44, cls="middle")
    yield el("text", "nats per learnt token", x=LEFT, y=TOP - 12, cls="unit")


def _lines(scale: _Scale, losses: Losses) -> Iterator[Html]:
    window = max(1, min(SMOOTHED, losses.per_epoch))
    yield _line(scale, enumerate(losses.steps, 1), "each")
    yield _line(scale, enumerate(_smoothed(losses.steps, window), 1), "train")
    yield _line(scale, ((n * losses.per_epoch, loss) for n, loss in enumerate(losses.validations, 1)), "held")


def _line(scale: _Scale, points: Iterator[tuple[int, float]], cls: str) -> Html:
    return el("polyline", points=" ".join(f"{scale.x(step)},{scale.y(loss)}" for step, loss in points), cls=cls)


def _points(scale: _Scale, losses: Losses) -> Iterator[Html]:
    for epoch, loss in enumerate(losses.validations, 1):
        label = el("title", f"epoch {epoch}: validation loss {loss:.4f}")
        best = "dot best" if epoch == losses.best else "dot"
        yield el("circle", label, cx=scale.x(epoch * losses.per_epoch), cy=scale.y(loss), r=5, cls=best)


def _legend(losses: Losses) -> Iterator[Html]:
    names = [("train", f"training, mean of {max(1, min(SMOOTHED, losses.per_epoch))} steps")]
    if losses.validations:
        names += [("held", f"validation; the ring is what was kept, epoch {losses.best}")]
    at = LEFT
    for cls, name in names:
        yield joined(
            (
                el("line", x1=at, x2=at + 22, y1=51, y2=51, cls=cls),
                el("text", name, x=at + 30, y=55, cls="name"),
            )
        )
        at += 250


def _smoothed(losses: Sequence[float], window: int) -> Iterator[float]:
    """At each step the mean of the last `window`."""
    for stop in range(1, len(losses) + 1):
        last = losses[max(0, stop - window) : stop]
        yield sum(last) / len(last)


def _round_up(most: float) -> float:
    """The next number above whose quarters are short to write; 1 for nothing, or for less than a curve can show.

    >>> _round_up(7.3), _round_up(0.31), _round_up(0.0)
    (8.0, 0.4, 1.0)
    """
    if most < 1e-6:
        return 1.0
    power = 10.0 ** math.floor(math.log10(most))
    return next(step * power for step in (1, 1.2, 1.6, 2, 2.4, 3.2, 4, 6, 8, 10, 12) if step * power >= most)
