"""A unit of `tests.bench.fit_tasks` over random models: it can be stopped anywhere, and asks nothing twice."""

from __future__ import annotations

import time
from pathlib import Path
from string import ascii_letters

import pytest

from blackbox_proxy.api import connect
from blackbox_proxy.evaluation.task import Item, ScoringRule
from tests.bench.fit_figures import Unit, derived
from tests.bench.fit_sources import Source
from tests.bench.fit_tasks import OutOfTime, Settings, measured

FRESH = 10


def answers(folder: Path) -> int:
    """How many are kept, in all files."""
    return sum(path.read_text("utf-8").count("\n") for path in folder.rglob("*.jsonl") if path.parent.name != "lines")


@pytest.mark.slow
def test_a_unit_that_is_stopped_goes_on_and_asks_nothing_twice(api_url: str, pair_path: Path, tmp_path: Path) -> None:
    items = tuple(Item(prompt=f"{sign}?", reference=sign) for sign in ascii_letters[: 24 + FRESH])
    lines = Source("toys", items[:24], items[24:], "", ScoringRule(), pair_path)

    def unit(until: float | None) -> Unit:
        settings = Settings(FRESH, 10, boxed_pairs=True, folder=tmp_path, code="one", until=until)
        with connect(api_url, model="tiny") as api:
            return measured(lines, 0, api, settings)

    for _ in range(3):
        before = answers(tmp_path)
        with pytest.raises(OutOfTime):
            unit(time.monotonic())
        assert answers(tmp_path) > before
    whole = unit(None)
    asked = answers(tmp_path)
    again = unit(None)
    assert answers(tmp_path) == asked
    timeless = {"minutes": 0, "at": ""}
    assert again | timeless == whole | timeless
    assert whole["n"] == FRESH
    assert {name: whole[name] for name in derived(whole)} == derived(whole)
    assert {"closed", "expert"} <= {*whole["scores"]}
