"""A fit that is recorded is replayed with the endpoint gone, to the same recipe; what is missing ends it."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal
from pathlib import Path

import pytest

from blackbox_proxy.cassettes.matching import NotRecorded
from blackbox_proxy.fitting.limits import FitLimits
from tests.cassettes.bench import no_network
from tests.fitting.test_fit import STEERED, plain
from tests.fitting.test_harmless import ASKED, NEAR
from tests.fitting.worlds import served

LIMITS = FitLimits(budget=Decimal("0.05"), prefer="cost")


def test_a_recorded_fit_is_replayed_without_an_endpoint_to_the_same_recipe(tmp_path: Path) -> None:
    """With weights that were collected, questions of another kind, and a gate that takes the winner's place."""
    tape, cut = tmp_path / "tape.jsonl", tmp_path / "cut.jsonl"
    with served(replace(STEERED, elsewhere=NEAR), tmp_path) as setting:
        outcome = replace(setting, record=tape).fit(LIMITS, off_task=ASKED)
    rows = tape.read_text("utf-8").splitlines(keepends=True)
    cut.write_text("".join(rows[:30]), "utf-8")
    for folder in ("again", "cut"):
        (tmp_path / folder).mkdir()
    gone = replace(setting, said=[], url="", folder=tmp_path / "again", replay=tape)
    with no_network():
        again = gone.fit(LIMITS, off_task=ASKED)
        with pytest.raises(NotRecorded, match="does not hold this request"):
            replace(gone, folder=tmp_path / "cut", replay=cut).fit(LIMITS, off_task=ASKED)
    assert outcome.recipe.evidence.instead_of
    assert plain(again.recipe).split("price =")[0] == plain(outcome.recipe).split("price =")[0]
    assert again.recipe.evidence.spent_usd == outcome.recipe.evidence.spent_usd
    assert gone.booked() == 0
