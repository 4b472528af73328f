"""The runner that fits small tasks: its lines, its figures from raw scores, and the figures that are kept."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from blackbox_proxy.evaluation.arms import Arm, Speaker
from blackbox_proxy.evaluation.scoring import scorer
from blackbox_proxy.evaluation.task import Item
from blackbox_proxy.fitting.candidates import FitArm
from blackbox_proxy.recipes import introduction
from tests.bench.fit_figures import ROLES, Unit, derived, flat, packed, page, summary, table, write_page
from tests.bench.fit_sources import BOXED, names, source
from tests.bench.fit_tasks import Settings, Stopwatch, roles
from tests.bench.stranger import TASKS

MEASURED = Path(__file__).parents[1] / "docs" / "measurements"
FRESH = 150
SHAPES = {
    "dates": r"\[\d\d-[A-Z]{3}-\d{4}\]",
    "parts": r"[A-Z]{2}-M\d+-\d{3}-[A-Z]{2}",
    "records": r"\{.*\}",
    "tickets": r"[A-Z][a-z]+ \[[A-Z]{2}-[12]\]",
    "replies": r"Dear colleague, .*\.|Dear colleague, could you please .*\? Many thanks\.",
}


@pytest.mark.parametrize("name", TASKS)
def test_a_strangers_lines_are_few_and_share_no_question_with_fresh_ones(name: str) -> None:
    task = TASKS[name]
    lines, fresh = task.drawn(FRESH)
    assert 60 <= len(lines) <= 120
    assert len(fresh) == FRESH
    assert len({question for question, _ in (*lines, *fresh)}) == len(lines) + FRESH
    assert task.drawn(FRESH) == (lines, fresh)
    assert task.drawn(10)[0] == lines
    assert all(re.fullmatch(SHAPES[name], answer) for _, answer in (*lines, *fresh))


@pytest.mark.parametrize("name", names())
def test_no_fresh_question_is_one_of_the_lines(name: str) -> None:
    for boxed_pairs in (False, True):
        lines = source(name, fresh=FRESH, boxed_pairs=boxed_pairs)
        assert len(lines.fresh) == FRESH
        assert 60 <= len(lines.lines) <= 120
        assert not {item.prompt for item in lines.lines} & {item.prompt for item in lines.fresh}
        assert (lines.pair is not None) is (boxed_pairs and name in BOXED)
        score = scorer(lines.scorer)
        assert all(score(item.reference, item) == 1.0 for item in lines.fresh)
        assert lines.instructions


def test_lines_are_written_as_fit_reads_them(tmp_path: Path) -> None:
    lines = source("geography-told", fresh=10, boxed_pairs=True)
    path = lines.written(tmp_path / "deep" / "lines.jsonl")
    read = [Item.model_validate_json(row) for row in path.read_text("utf-8").splitlines()]
    assert tuple(read) == lines.lines
    assert not any(item.document for item in read)
    assert all("Note: " in item.prompt for item in read)


def arm(name: str, speaker: Speaker, instructions: str = "", shots: int = 0) -> FitArm:
    before = introduction(instructions, [(f"q{n}", f"a{n}") for n in range(shots)])
    return FitArm(Arm(name, speaker, 0, before=before), name)


def test_the_arms_that_every_task_has_are_known_by_what_they_are() -> None:
    closed = [arm("c", "closed"), arm("c2", "closed", "", 2), arm("c6", "closed", "", 6), arm("c12", "closed", "", 12)]
    others = [arm("i", "closed", "do"), arm("i6", "closed", "do", 6), arm("e", "expert"), arm("s", "steered")]
    assert roles([*closed, *others]) == {"closed": "c", "few_shot": "c6", "instructed": "i", "expert": "e"}
    assert roles(closed[:2]) == {"closed": "c", "few_shot": "c2"}


RAW: Unit = {
    "chosen": "b",
    "predicted": 0.5,
    "predicted_low": 0.3,
    "predicted_high": 0.7,
    "roles": {"closed": "a", "expert": "c", "instructed": "gone"},
    "usd_per_1000": 0.02,
    "minutes": 12.0,
    "off_task": {"changed": 0.5, "lost": 0.1},
    "scores": {"a": packed([0, 0, 0, 1]), "b": packed([1, 1, 0, 0]), "c": packed([1, 1, 1, 0.5])},
}


def test_regret_is_what_the_best_arm_scores_more() -> None:
    unit = derived(RAW)
    assert (unit["score"], unit["n"], unit["best_arm"], unit["best_score"]) == (0.5, 4, "c", 0.875)
    assert unit["regret"] == 0.375
    assert unit["covered"] is True
    assert unit["low"] < 0.5 < unit["high"]
    assert [unit[role] for role in ROLES] == [0.25, None, None, 0.875]
    assert derived(RAW | {"chosen": "c"})["regret"] == 0.0
    assert derived(RAW | {"predicted_low": 0.6})["covered"] is False


def test_of_equal_arms_the_chosen_one_is_the_best() -> None:
    equal = RAW | {"scores": {"a": "1 0", "b": "0 1"}}
    assert derived(equal)["best_arm"] == "b"


def test_units_are_summed_and_shown() -> None:
    one = RAW | derived(RAW)
    two = one | {"regret": 0.125, "covered": False, "predicted_high": 0.5, "off_task": None, "usd_per_1000": None}
    units = {"dates": {"0": one, "1": two}}
    assert summary(units) == {
        "units": 2,
        "mean_regret": 0.25,
        "largest_regret": 0.375,
        "covered": 1,
        "mean_width": 0.3,
        "mean_minutes": 12.0,
    }
    rows = table(units).splitlines()
    assert len(rows) == 4
    assert rows[2].startswith("| dates | 0 | b | 0.50 (")
    assert rows[2].endswith("| 0.25 |  |  | 0.88 | 0.50 / +0.10 | 0.02 | 12.0 |")
    assert rows[3].endswith("| 0.25 |  |  | 0.88 |  |  | 12.0 |")


def test_time_is_summed_over_runs(tmp_path: Path) -> None:
    first = Stopwatch(tmp_path / "place" / "seconds", started=-1e9)
    first.note()
    assert Stopwatch(first.path).seconds >= first.earlier + 1e9
    before = first.path.read_text("utf-8")
    first.note(least=1e9)
    assert first.path.read_text("utf-8") == before


def test_what_is_measured_otherwise_is_measured_again() -> None:
    usual = {"fresh": 150, "off_task": 150, "boxed_pairs": False, "folder": Path("build"), "code": "a"}
    marks = {Settings(**(usual | other)).mark for other in ({}, {"fresh": 10}, {"code": "b"}, {"boxed_pairs": True})}  # type: ignore[arg-type]
    assert len(marks) == 4


@pytest.mark.skipif(not (MEASURED / "fit.json").exists(), reason="no figures of `make fit-tasks` are kept")
def test_the_kept_figures_follow_from_their_raw_scores_and_the_page_has_them() -> None:
    kept: dict[str, Any] = json.loads((MEASURED / "fit.json").read_text("utf-8"))
    assert {"commit", "date", "command", "n"} <= kept.keys()
    assert kept["n"] == len([*flat(kept["figures"])])
    for _, _, unit in flat(kept["figures"]):
        assert {name: unit[name] for name in derived(unit)} == derived(unit)
    assert kept["summary"] == summary(kept["figures"])
    assert (MEASURED / "fit.md").read_text("utf-8").startswith(page(kept))


def test_the_page_is_written_anew_but_for_what_others_wrote(tmp_path: Path) -> None:
    figures = {"dates": {"0": RAW | derived(RAW)}}
    kept = {"commit": "abc", "date": "2026-11-30", "command": "make", "cores": 2, "n": 1}
    (tmp_path / "fit.json").write_text(json.dumps(kept | {"summary": summary(figures), "figures": figures}), "utf-8")
    write_page(tmp_path)
    first = (tmp_path / "fit.md").read_text("utf-8")
    assert table(figures) in first
    assert "holds\nthe score in 1 of 1" in first
    (tmp_path / "fit.md").write_text(f"{first}By hand.\n", "utf-8")
    write_page(tmp_path)
    assert (tmp_path / "fit.md").read_text("utf-8") == f"{first}By hand.\n"
