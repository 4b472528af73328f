"""The runner that fits small tasks: its lines, its figures from raw scores, and the figures that are kept."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from blackbox_proxy.evaluation.arms import Arm, Speaker
from blackbox_proxy.evaluation.scoring import scorer
from blackbox_proxy.evaluation.statistics import Mean
from blackbox_proxy.evaluation.summary import ArmAnswers
from blackbox_proxy.evaluation.task import Item, ScoringRule
from blackbox_proxy.fitting.candidates import FitArm
from blackbox_proxy.fitting.compared import ComparedArms
from blackbox_proxy.fitting.fit import FitOutcome
from blackbox_proxy.fitting.planning import task_of_items
from blackbox_proxy.fitting.selecting import Trial
from blackbox_proxy.recipes import FittedRecipe, RecipeEndpoint, introduction
from tests.bench.fit_figures import (
    ROLES,
    Unit,
    derived,
    flat,
    main,
    merged,
    packed,
    page,
    read_units,
    summary,
    table,
    write_page,
    write_units,
)
from tests.bench.fit_sources import BOXED, names, source
from tests.bench.fit_tasks import IRRELEVANT, Settings, Stopwatch, asked_arms, roles, version_of
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


def test_asked_are_the_chosen_arm_those_that_it_was_chosen_from_and_those_of_every_task() -> None:
    """An arm that was clearly behind in the last round is not asked, nor is one that was dropped before."""
    arms = [arm("c", "closed"), arm("e", "expert"), *(arm(name, "steered") for name in ("s", "t", "u", "v"))]
    trials = {one.name: Trial(one, ArmAnswers(one.arm, {}, {})) for one in arms}
    nobody = ArmAnswers(arms[0].arm, {}, {})
    compared = ComparedArms(
        trials["v"], (*trials.values(),), (trials["s"], trials["t"]), {"u": 3}, Mean(0.5, 0.4, 0.6, 9), nobody
    )
    blank = task_of_items("t", ScoringRule(), max_tokens=9)
    outcome = FitOutcome(FittedRecipe("v", "steered", RecipeEndpoint()), compared, blank, "")
    assert [*asked_arms(outcome)] == ["c", "e", "s", "t", "v"]


RAW: Unit = {
    "mark": "m",
    "code": "new",
    "commit": "abc",
    "at": "2026-12-01T10:00:00+00:00",
    "cores": 2,
    "command": "python -m tests.bench.fit_tasks",
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
        "of_the_last_version": 2,
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


USUAL: dict[str, Any] = {"fresh": 150, "off_task": 60, "boxed_pairs": False, "folder": Path("build"), "code": "new"}


def test_what_is_asked_otherwise_is_measured_again_and_another_version_only_where_that_is_asked_for() -> None:
    usual = Settings(**USUAL)
    marks = {Settings(**(USUAL | other)).mark for other in ({}, {"fresh": 10}, {"off_task": 0}, {"boxed_pairs": True})}
    assert len(marks) == 4
    unit, older = RAW | {"mark": usual.mark}, RAW | {"mark": usual.mark, "code": "old"}
    again = Settings(**USUAL, again=True)
    assert [usual.keeps(one) for one in (None, unit, older, RAW)] == [False, True, True, False]
    assert [again.keeps(one) for one in (None, unit, older, RAW)] == [False, True, False, False]


def test_the_version_changes_with_what_answers_depend_on_and_not_with_the_rest() -> None:
    listing = "100644 blob 1\tblackbox_proxy/api.py\n040000 tree 2\tblackbox_proxy/cli\n040000 tree 3\tadapters/x"
    version = version_of(listing, changed=[])
    assert version_of(listing.replace("tree 2", "tree 9"), changed=[" M blackbox_proxy/cli/fit.py"]) == version
    for other in (listing.replace("blob 1", "blob 9"), listing.replace("tree 3", "tree 9")):
        assert version_of(other, changed=[]) != version
    assert version_of(listing, changed=[" M blackbox_proxy/fitting/fit.py"]) == f"{version}-changed"
    assert version_of("", changed=[]) == "unknown"
    known = {path.name for path in (Path(__file__).parents[1] / "blackbox_proxy").iterdir()}
    assert known >= IRRELEVANT


def test_figures_of_several_runs_are_put_together_and_those_of_another_version_are_marked(tmp_path: Path) -> None:
    older = RAW | derived(RAW) | {"code": "old", "commit": "aaa", "at": "2026-11-01T10:00:00+00:00", "cores": 4}
    newer = RAW | derived(RAW)
    write_units(tmp_path / "fit.json", {"dates": {"0": newer}, "parts": {"0": older}})
    write_units(tmp_path / "other.json", {"dates": {"0": older, "1": older}, "parts": {"1": newer}})
    main(tmp_path, [tmp_path / "other.json"])
    kept = read_units(tmp_path / "fit.json")
    assert {(task, seed): unit["commit"] for task, seed, unit in flat(kept)} == {
        ("dates", "0"): "abc",
        ("dates", "1"): "aaa",
        ("parts", "0"): "aaa",
        ("parts", "1"): "abc",
    }
    shown = (tmp_path / "fit.md").read_text("utf-8")
    assert "4 units; 2 of another version than the last one, marked *" in shown
    assert "| old | aaa | 2026-11-01 | 4 | `python -m tests.bench.fit_tasks` | 2 |" in shown
    assert "| new | abc | 2026-12-01 | 2 | `python -m tests.bench.fit_tasks` | 2 |" in shown
    assert [row.split(" | ")[0] for row in table(kept).splitlines()[2:]] == [
        "| dates",
        "| dates *",
        "| parts *",
        "| parts",
    ]
    assert merged([kept, {}, read_units(tmp_path / "none.json")]) == kept


@pytest.mark.skipif(not (MEASURED / "fit.json").exists(), reason="no figures of `make fit-tasks` are kept")
def test_the_kept_figures_follow_from_their_raw_scores_and_the_page_has_them() -> None:
    kept: dict[str, Any] = json.loads((MEASURED / "fit.json").read_text("utf-8"))
    assert kept["n"] == len([*flat(kept["figures"])])
    for _, _, unit in flat(kept["figures"]):
        assert {name: unit[name] for name in derived(unit)} == derived(unit)
        assert {"commit", "code", "at", "cores", "command"} <= unit.keys()
    assert kept["summary"] == summary(kept["figures"])
    assert (MEASURED / "fit.md").read_text("utf-8").startswith(page(kept))


def test_the_page_is_written_anew_but_for_what_others_wrote(tmp_path: Path) -> None:
    figures = {"dates": {"0": RAW | derived(RAW)}}
    write_units(tmp_path / "fit.json", figures)
    write_page(tmp_path)
    first = (tmp_path / "fit.md").read_text("utf-8")
    assert table(figures) in first
    assert "holds\nthe score in 1 of 1" in first
    (tmp_path / "fit.md").write_text(f"{first}By hand.\n", "utf-8")
    write_page(tmp_path)
    assert (tmp_path / "fit.md").read_text("utf-8") == f"{first}By hand.\n"
