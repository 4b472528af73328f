"""The committed figures of typed output follow from the committed answers, and each answer is as valid as it says."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.bench.schemas import SCHEMAS
from tests.bench.typed import figures, is_valid

FILE = Path(__file__).parent.parent / "docs" / "measurements" / "typed.json"


@pytest.fixture(scope="module")
def document() -> dict[str, Any]:
    kept: dict[str, Any] = json.loads(FILE.read_text(encoding="utf-8"))
    return kept


def test_the_figures_follow_from_the_answers(document: dict[str, Any]) -> None:
    assert all(document[name] for name in ("commit", "date", "command", "n"))
    known = figures(document["rows"])
    assert {name: document[name] for name in known} == known


def test_an_answer_is_valid_where_it_says_so(document: dict[str, Any]) -> None:
    for key, row in document["rows"].items():
        _, schema = SCHEMAS[key.split("/")[1 if key.startswith("unconstrained") else 2]]
        assert row["valid"] == (row.get("finish", "stop") == "stop" and is_valid(row["text"], schema)), key
