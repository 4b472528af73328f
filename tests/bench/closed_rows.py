"""What `tests.bench.closed_chats` keeps of each unit of work, and the figures that all of them come to.

A unit is a place at which two chats are asked what comes next, or a question that is answered in one way. Each is a
line of a file as soon as it is done, so that a run goes on where another one stopped. `compact` is what is committed,
and everything in the figures follows from it (`figures`).
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, final

from blackbox_proxy.evaluation.statistics import mean, paired, wilson

Row = Mapping[str, Any]
Compact = Mapping[str, Any]
Figures = Mapping[str, Any]

PLACE = ("model", "where", "text", "at")
"""What names a place: the text by its number, and how many bytes of its answer come before."""

QUESTION = ("server", "way", "question")
TAKEN = ("calls", "input", "output", "cost", "seconds")
"""What an answer took: requests, tokens, US dollars, seconds of wall time."""


@final
class Rows:
    """The rows of one file, in the order in which they were written."""

    def __init__(self, path: Path) -> None:
        self._path = path
        path.parent.mkdir(parents=True, exist_ok=True)
        lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
        self.all: list[Row] = [json.loads(line) for line in lines if line.endswith("}")]
        self._names = {_name(row) for row in self.all}

    def has(self, **named: object) -> bool:
        """Whether the unit of this name is done."""
        return _name(named) in self._names

    def add(self, row: Row) -> None:
        """Keep a row."""
        with self._path.open("a", encoding="utf-8") as out:
            out.write(json.dumps(row, ensure_ascii=False) + "\n")
        self.all.append(row)
        self._names.add(_name(row))


def _name(row: Mapping[str, object]) -> tuple[object, ...]:
    return tuple(row[part] for part in (PLACE if "where" in row else QUESTION))


def compact(rows: Sequence[Row]) -> Compact:
    """The rows without the names of their units, in the order of the units.

    Places: by model, where and way a character for each (`1` the same likeliest token as by prefill, `0` another, `-`
    nothing known), and the distances where something is known. Questions: by server and way the answers as they are.
    """
    places: dict[str, Any] = {}
    for row in sorted((row for row in rows if "where" in row), key=lambda row: (row["text"], row["at"])):
        of = places.setdefault(row["model"], {}).setdefault(row["where"], {"texts": []})
        of["texts"].append(row["text"])
        for way, seen in row["ways"].items():
            kept = of.setdefault(way, {"agree": "", "distance": [], "errors": {}})
            kept["agree"] += "-" if seen["distance"] is None else str(int(seen["agree"]))
            kept["distance"] += [] if seen["distance"] is None else [seen["distance"]]
            if seen["error"]:
                kept["errors"][seen["error"]] = kept["errors"].get(seen["error"], 0) + 1
    told: dict[str, Any] = {}
    for row in sorted((row for row in rows if "where" not in row), key=lambda row: row["question"]):
        told.setdefault(row["server"], {}).setdefault(row["way"], []).append(row)
    return {"places": places, "told": told}


def figures(kept: Compact) -> Figures:
    """`<model>.<where>.<way>` for places, `told.<way>` at the stand-in, `told_<server>.<way>` at other servers."""
    of_places = {
        model: {
            where: {way: _of_places(seen) for way, seen in ways.items() if way != "texts"}
            | {"texts": len(set(ways["texts"]))}
            for where, ways in by_where.items()
        }
        for model, by_where in kept["places"].items()
    }
    of_told = {
        "told" if server == "standin" else f"told_{server}": _of_server(by_way)
        for server, by_way in kept["told"].items()
    }
    return {**of_places, **of_told}


def _of_places(seen: Mapping[str, Any]) -> Figures:
    marks, distances = seen["agree"], seen["distance"]
    low, high = wilson(marks.count("1"), len(marks))
    known = len(marks) - marks.count("-")
    return {
        "places": len(marks),
        "agree": _share(marks.count("1"), len(marks)),
        "low": low,
        "high": high,
        "agree_where_known": _share(marks.count("1"), known),
        "nothing": _share(marks.count("-"), len(marks)),
        "distance": round(sum(distances) / known, 3) if known else None,
        "errors": seen["errors"],
    }


def _share(hits: int, of: int) -> float | None:
    return round(hits / of, 3) if of else None


def _of_server(by_way: Mapping[str, Sequence[Row]]) -> Figures:
    of_ways: dict[str, Any] = {way: _of_way(rows) for way, rows in by_way.items()}
    if "forced" in by_way:
        others = [way for way in by_way if way != "forced"]
        of_ways["forced_less"] = {way: _less(by_way["forced"], by_way[way]) for way in others}
    return of_ways


def _of_way(rows: Sequence[Row]) -> Figures:
    exact = mean([row["exact"] for row in rows])
    took = {name: sum(row[name] for row in rows) / len(rows) for name in TAKEN}
    return {
        "exact": None if exact is None else round(exact.value, 3),
        "low": None if exact is None else round(exact.low, 3),
        "high": None if exact is None else round(exact.high, 3),
        "n": len(rows),
        "form": round(sum(row["form"] for row in rows) / len(rows), 3),
        "fact": round(sum(row["fact"] for row in rows) / len(rows), 3),
        "calls": round(took["calls"], 2),
        "input_tokens": round(took["input"], 1),
        "output_tokens": round(took["output"], 1),
        "cost_usd": round(took["cost"], 7),
        "seconds": round(took["seconds"], 2),
        "errors": sum(bool(row["error"]) for row in rows),
    }


def _less(rows: Sequence[Row], others: Sequence[Row]) -> Figures:
    """Exact answers, question by question, over the questions that were asked both ways."""
    by_question = {row["question"]: row["exact"] for row in others}
    both = [row for row in rows if row["question"] in by_question]
    gap = paired([row["exact"] for row in both], [by_question[row["question"]] for row in both])
    if gap is None:
        return {}
    return {"value": round(gap.value, 3), "low": round(gap.low, 3), "high": round(gap.high, 3), "n": gap.n, "p": gap.p}
