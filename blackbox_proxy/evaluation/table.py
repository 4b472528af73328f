"""The table of results in docs/evaluation.md, written from the figures of `make evaluate`.

    python -m blackbox_proxy.evaluation.table FIGURES PAGE

The figures lie in the package (`data/results.json`), and a test holds that the page says the same.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator, Mapping
from decimal import Decimal
from importlib.resources import files
from pathlib import Path
from typing import Any

from blackbox_proxy.core.money.amounts import plain, rounded
from blackbox_proxy.errors import InputError
from blackbox_proxy.files import replace_text

BEGIN = "<!-- results: written by `make results` -->"
END = "<!-- end of results -->"

ARMS: Mapping[str, str] = {
    "majority": "most common",
    "closed": "closed",
    "closed_few_shot": "few-shot",
    "closed_instructed": "instructed",
    "anti_expert": "untuned SLM",
    "expert": "tuned SLM",
    "steered": "**steered**",
    "steered_few_shot": "**steered, few-shot**",
}
"""The columns of scores, and what stands over them."""

PAID = ("closed", "closed_few_shot", "closed_instructed", "steered", "steered_few_shot")
"""The columns of costs."""

TESTS: Mapping[str, str] = {
    "vs_few_shot": "steered less few-shot",
    "vs_expert": "steered less the tuned SLM",
    "vs_instructed": "steered less instructed",
    "examples_vs_few_shot": "steered few-shot less few-shot",
}


UNKNOWN = "unknown"


def per_thousand(cost: float | None) -> str:
    """Dollars for a thousand answers, since one costs little.

    >>> per_thousand(0.0000421), per_thousand(0.0), per_thousand(None)
    ('0.0421', '0', 'unknown')
    """
    return UNKNOWN if cost is None else plain(rounded(1000 * Decimal(repr(cost)))) if cost else "0"


def committed() -> Mapping[str, Any]:
    """The figures that the package has."""
    text = (files("blackbox_proxy.evaluation") / "data" / "results.json").read_text(encoding="utf-8")
    figures: Mapping[str, Any] = json.loads(text)
    return figures


def markdown(figures: Mapping[str, Any]) -> str:
    """The tables of scores, of differences and of costs, a task a row; a sentence where there are no figures."""
    if not figures:
        return "Not measured yet: `make evaluate`, and then `make results`."
    paid = {arm: ARMS[arm] for arm in PAID}
    tests = {task: sums["tests"] for task, sums in figures.items()}
    return "\n".join(
        (
            *_table("score (95 %)", ARMS, figures, cell=_score),
            "",
            *_table("difference (95 %)", TESTS, tests, cell=_difference),
            "",
            *_table("USD per 1,000 answers; seconds each", paid, figures, cell=_price),
        )
    )


def _table(
    corner: str, columns: Mapping[str, str], rows: Mapping[str, Any], *, cell: Callable[[Any], str]
) -> Iterator[str]:
    """A task a row; a cell stays empty where there is no figure."""
    yield f"| {corner} | {' | '.join(columns.values())} |"
    yield f"|---|{'---|' * len(columns)}"
    for task, sums in rows.items():
        cells = (cell(sums[name]) if name in sums else "" for name in columns)
        yield f"| {task} | {' | '.join(cells)} |"


def _score(one: Any) -> str:  # noqa: ANN401 (JSON)
    return "" if one["score"] is None else f"{one['score']:.2f} ({one['low']:.2f}-{one['high']:.2f}) of {one['n']}"


def _difference(one: Any) -> str:  # noqa: ANN401 (JSON)
    return f"{one['difference']:+.2f} ({one['low']:+.2f} to {one['high']:+.2f})"


def _price(one: Any) -> str:  # noqa: ANN401 (JSON)
    dollars = per_thousand(one["cost_usd_per_answer"])
    return dollars if one["seconds_per_answer"] is None else f"{dollars}; {one['seconds_per_answer']:.1f}"


def replaced(page: str, table: str) -> str:
    """The text with the table between its marks. Raises InputError where they are not there."""
    before, begin, rest = page.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not (begin and end):
        raise InputError(f"there is no place for the results, between {BEGIN} and {END}", hint="put both marks there")
    return f"{before}{BEGIN}\n\n{table}\n\n{END}{after}"


def main(figures: str, page: str) -> None:
    """Write the table of the figures in a file into a page."""
    sums = json.loads(Path(figures).read_text(encoding="utf-8"))
    path = Path(page)
    replace_text(path, replaced(path.read_text(encoding="utf-8"), markdown(sums)))


if __name__ == "__main__":
    main(*sys.argv[1:])
