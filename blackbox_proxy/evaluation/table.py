"""The table of results in the README, written from the figures of `make evaluate`.

    python -m blackbox_proxy.evaluation.table FIGURES README

The figures lie in the package (`data/results.json`), and a test holds that the README says the same.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Mapping
from decimal import Decimal
from importlib.resources import files
from pathlib import Path
from typing import Any

from blackbox_proxy.core.money import plain, rounded
from blackbox_proxy.errors import InputError
from blackbox_proxy.files import replace_text

BEGIN = "<!-- results: written by `make results` -->"
END = "<!-- end of results -->"

ARMS: Mapping[str, str] = {
    "majority": "the most common answer",
    "closed": "closed model",
    "closed_few_shot": "closed model, few-shot",
    "closed_instructed": "closed model, instructed",
    "anti_expert": "untuned SLM",
    "expert": "tuned SLM",
    "steered": "**steered**",
    "steered_few_shot": "**steered, few-shot**",
}
TESTS: Mapping[str, str] = {
    "vs_few_shot": "steered less few-shot",
    "vs_expert": "steered less the tuned SLM",
    "vs_instructed": "steered less instructed",
    "examples_vs_few_shot": "steered few-shot less few-shot",
}


def committed() -> Mapping[str, Any]:
    """The figures that the package has."""
    text = (files("blackbox_proxy.evaluation") / "data" / "results.json").read_text(encoding="utf-8")
    found: Mapping[str, Any] = json.loads(text)
    return found


def markdown(figures: Mapping[str, Any]) -> str:
    """The tables of arms and of differences; a sentence where there are no figures."""
    if not figures:
        return "Not measured yet: `make evaluate`, and then `make results`."
    return "\n".join((*_arms(figures), "", *_tests(figures)))


def _arms(figures: Mapping[str, Any]) -> Iterator[str]:
    yield "| task | answered by | score (95 %) | n | USD per 1,000 answers | seconds |"
    yield "|---|---|---|---|---|---|"
    for task, found in figures.items():
        for arm, name in ARMS.items():
            if arm in found:
                yield _row(task, name, found[arm])


def _row(task: str, name: str, one: Any) -> str:  # noqa: ANN401 (JSON)
    cost = one["cost_usd_per_answer"]
    dollars = "unknown" if cost is None else plain(rounded(1000 * Decimal(repr(cost)))) if cost else "0"
    score = "" if one["score"] is None else f"{one['score']:.2f} ({one['low']:.2f}-{one['high']:.2f})"
    seconds = "" if one["seconds_per_answer"] is None else f"{one['seconds_per_answer']:.1f}"
    return f"| {task} | {name} | {score} | {one['n']} | {dollars} | {seconds} |"


def _tests(figures: Mapping[str, Any]) -> Iterator[str]:
    yield f"| task | {' | '.join(TESTS.values())} |"
    yield f"|---|{'---|' * len(TESTS)}"
    for task, found in figures.items():
        cells = (_difference(found["tests"].get(test)) for test in TESTS)
        yield f"| {task} | {' | '.join(cells)} |"


def _difference(one: Any) -> str:  # noqa: ANN401 (JSON)
    return "" if one is None else f"{one['difference']:+.2f} ({one['low']:+.2f} to {one['high']:+.2f})"


def replaced(readme: str, table: str) -> str:
    """The text with the table between its marks. Raises InputError where they are not there."""
    before, begin, rest = readme.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not (begin and end):
        raise InputError(f"there is no place for the results, between {BEGIN} and {END}", hint="put both marks there")
    return f"{before}{BEGIN}\n\n{table}\n\n{END}{after}"


def main(figures: str, readme: str) -> None:
    """Write the table of the figures in a file into a README."""
    found = json.loads(Path(figures).read_text(encoding="utf-8"))
    path = Path(readme)
    replace_text(path, replaced(path.read_text(encoding="utf-8"), markdown(found)))


if __name__ == "__main__":
    main(*sys.argv[1:])
