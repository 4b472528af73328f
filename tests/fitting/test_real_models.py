"""A fit with the demo's models: 60 questions in the house format, within a budget, and again for nothing."""

from __future__ import annotations

import json
from contextlib import closing
from decimal import Decimal
from pathlib import Path

import pytest

from blackbox_proxy.evaluation.task import boxed, read_task
from blackbox_proxy.ledger.opening import open_store
from blackbox_proxy.recipes import read_recipe
from tests.cli.runs import as_process

pytestmark = [pytest.mark.slow, pytest.mark.long, pytest.mark.weights]

LINES = 60
BUDGET = Decimal("0.50")


def test_a_fit_with_small_models_decides_and_is_done_again_for_nothing(tmp_path: Path) -> None:
    items = read_task(boxed()["demo-known"]).test[:LINES]
    lines, out, folder = tmp_path / "lines.jsonl", tmp_path / "recipe.toml", tmp_path / "fit"
    lines.write_text("".join(json.dumps([item.prompt, item.reference]) + "\n" for item in items), "utf-8")
    command = ("fit", str(lines), "--standin", "demo", "--pair", "demo", "--budget", str(BUDGET), "--out", str(out))
    said = as_process(*command, "--answers", str(folder), "--json", seconds=1500)
    assert said.status == 0, said.err
    evidence = read_recipe(out).evidence
    arms = {one.name: one for one in evidence.arms}
    assert (evidence.n, evidence.validation, arms["closed"].score) == (21, 24, 0.0)
    assert evidence.score >= 0.15
    assert evidence.predicted_low <= evidence.score <= evidence.predicted_high
    with closing(open_store(folder / "ledger.sqlite")) as store:
        costs = [row.cost for row in store.rows()]
    assert 0 < sum(cost for cost in costs if cost) <= BUDGET
    first = out.read_text("utf-8")
    assert as_process(*command, "--answers", str(folder), "--json", seconds=1500).status == 0
    assert out.read_text("utf-8") == first
    with closing(open_store(folder / "ledger.sqlite")) as store:
        assert len(list(store.rows())) == len(costs)
