"""The results in docs/evaluation.md are those of the figures that the package has."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from blackbox_proxy.errors import InputError
from blackbox_proxy.evaluation.table import BEGIN, END, committed, main, markdown, replaced

PAGE = Path(__file__).parents[2] / "docs" / "evaluation.md"


def arm(score: float, cost: float | None) -> dict[str, Any]:
    found = {"score": score, "low": score - 0.1, "high": score + 0.1, "n": 150}
    return {**found, "cost_usd_per_answer": cost, "seconds_per_answer": 1.25}


FIGURES: dict[str, Any] = {
    "towns": {
        "closed": arm(0.2, 0.0000123),
        "expert": arm(0.5, 0.0),
        "steered": arm(0.75, None),
        "tests": {"vs_expert": {"difference": 0.25, "low": -0.05, "high": 0.4}},
    }
}


def test_the_page_has_the_results() -> None:
    page = PAGE.read_text(encoding="utf-8")
    assert replaced(page, markdown(committed())) == page


def test_the_table_says_the_figures() -> None:
    lines = markdown(FIGURES).splitlines()
    scores = ["", "0.20 (0.10-0.30) of 150", "", "", "", "0.50 (0.40-0.60) of 150", "0.75 (0.65-0.85) of 150", ""]
    assert f"| towns | {' | '.join(scores)} |" in lines
    assert "| towns |  | +0.25 (-0.05 to +0.40) |  |  |" in lines
    assert "| towns | 0.0123; 1.2 |  |  | unknown; 1.2 |  |" in lines


def test_it_is_written_between_its_marks(tmp_path: Path) -> None:
    figures, page = tmp_path / "figures.json", tmp_path / "page.md"
    figures.write_text("{}", encoding="utf-8")
    page.write_text(f"before {BEGIN} old {END} after", encoding="utf-8")
    main(str(figures), str(page))
    assert page.read_text(encoding="utf-8") == f"before {BEGIN}\n\n{markdown({})}\n\n{END} after"


def test_without_marks_there_is_no_place() -> None:
    with pytest.raises(InputError, match="no place for the results"):
        replaced(f"{END} {BEGIN}", "table")
