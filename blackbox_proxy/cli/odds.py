"""Turns choices and scores into what a person reads, or into JSON. Calls nothing that costs time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict

from rich.text import Text

from blackbox_proxy.cli import show
from blackbox_proxy.cli.spent import bill, cost_json
from blackbox_proxy.core.money.spending import spent_notes
from blackbox_proxy.core.visible import visible
from blackbox_proxy.types import Choice, Kind, Scores


def choice(chosen: Choice, notes: Sequence[str] = ()) -> None:
    """The options with their odds, and how far those can be trusted; the best one alone on standard output.

    Where it is undecided nothing stands there.
    """
    rows = show.table(
        {"option": "left", "steered": "right", "bounds": "right", "unsteered": "right", "offset": "right"}
    )
    for option in chosen.options:
        style = "bold green" if option is chosen.best else ""
        bounds = f"{option.lower:.3f}-{option.upper:.3f}"
        cells = (f"{option.steered:.3f}", bounds, f"{option.unsteered:.3f}", f"{option.offset:+.2f}")
        rows.add_row(Text(visible(option.text.encode()), style=style), *cells)
    show.err.print(rows)
    certain = (
        "certified: nothing that the API hid can change it" if chosen.certified else "undecided: the bounds overlap"
    )
    show.note(f"{certain}; {bill(chosen)}")
    for need in chosen.needs:
        show.note(f"what would decide: {need}")
    for remark in (*notes, *spent_notes(chosen.usage)):
        show.note(remark)
    if chosen.best is not None:
        show.write(chosen.best.text + "\n")


def choice_json(chosen: Choice, notes: Sequence[str] = ()) -> dict[str, object]:
    """A choice as one JSON object."""
    return {
        "best": None if chosen.best is None else chosen.best.text,
        "undecided": chosen.undecided,
        "needs": list(chosen.needs),
        "certified": chosen.certified,
        "options": [
            {name: value if isinstance(value, str) else show.number(value) for name, value in asdict(option).items()}
            for option in chosen.options
        ],
        "notes": [*notes, *spent_notes(chosen.usage)],
        "model": chosen.model,
        "usage": asdict(chosen.usage),
        **cost_json(chosen),
        "seconds": round(chosen.seconds, 3),
    }


def scores(strings: Sequence[bytes], scored: Scores) -> None:
    """Log-probs of strings under both members, with the width of their bounds, and of an end."""
    rows = show.table(dict.fromkeys(("string", "expert", "anti-expert", "offset", "uncertain by"), "right"))
    width = (scored.upper - scored.lower).max(axis=0)
    for n, string in enumerate(strings):
        cells = (
            show.figure(scored.expert[n], ".3f"),
            show.figure(scored.anti_expert[n], ".3f"),
            show.figure(scored.offset[n], "+.3f"),
        )
        rows.add_row(Text(visible(string, Kind.TEXT if string else Kind.END)), *cells, f"{width[n]:.1g}")
    rows.add_row("<end>", show.figure(scored.end[0], ".3f"), show.figure(scored.end[1], ".3f"), _offset(scored.end), "")
    show.out.print(rows)


def _offset(both: tuple[float, float]) -> str:
    return show.figure(both[0] - both[1], "+.3f")


def scores_json(strings: Sequence[bytes], scored: Scores) -> dict[str, object]:
    """Scores as one JSON object; bounds have the expert first."""
    listed = [
        {
            "string": string.decode("utf-8", "backslashreplace"),
            "expert": show.number(float(scored.expert[n])),
            "anti_expert": show.number(float(scored.anti_expert[n])),
            "offset": show.number(float(scored.offset[n])),
            "lower": [show.number(float(x)) for x in scored.lower[:, n]],
            "upper": [show.number(float(x)) for x in scored.upper[:, n]],
        }
        for n, string in enumerate(strings)
    ]
    return {"scores": listed, "end": {"expert": show.number(scored.end[0]), "anti_expert": show.number(scored.end[1])}}
