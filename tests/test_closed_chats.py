"""The committed figures of closed chats follow from the committed rows, and the page from the figures."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from blackbox_proxy.evaluation.scoring import scorer
from blackbox_proxy.tasks.demo import in_house_form, questions
from tests.bench.closed_page import FOLDER, page
from tests.bench.closed_rows import Figures, Rows, compact, figures
from tests.bench.loads import TASK, states_fact


def read(name: str) -> Figures:
    document: Figures = json.loads((FOLDER / name).read_text(encoding="utf-8"))
    return document


@pytest.fixture(scope="module")
def kept() -> Figures:
    return read("closed_chats_rows.json")


@pytest.fixture(scope="module")
def document() -> Figures:
    return read("closed_chats.json")


def test_the_figures_follow_from_the_rows(kept: Figures, document: Figures) -> None:
    about = {name: document[name] for name in ("commit", "date", "command", "note", "n")}
    assert all(about[name] for name in ("commit", "date", "command", "n"))
    assert document == {**about, **figures(kept)}


def test_each_answer_is_scored_as_the_task_scores_it(kept: Figures) -> None:
    asked = questions("told", "heldout", n=100)
    score = scorer(TASK.scorer)
    for row in (row for ways in kept["told"].values() for rows in ways.values() for row in rows):
        item = asked[row["question"]]
        scores = score(row["answer"], item), in_house_form(row["answer"]), states_fact(row["answer"], item)
        assert (row["exact"], row["form"], row["fact"]) == scores


def test_the_page_follows_from_the_figures(document: Figures) -> None:
    assert (FOLDER / "closed_chats.md").read_text(encoding="utf-8") == page(document)


def test_what_is_done_is_kept_and_a_line_that_was_cut_is_not(tmp_path: Path) -> None:
    unit = {"model": "m", "where": "form", "text": 3, "at": 7, "way": "forced"}
    asked = {"server": "standin", "way": "words", "question": 5}
    path = tmp_path / "rows.jsonl"
    rows = Rows(path)
    rows.add({**unit, "agree": True, "distance": 0.25, "error": ""})
    rows.add({**unit, "at": 9, "agree": False, "distance": None, "error": "ApiBusy"})
    with path.open("a", encoding="utf-8") as out:
        out.write('{"server": "standin", "way": "wor')
    Rows(path).add({**unit, "at": 11, "agree": True, "distance": 0.75, "error": ""})
    again = Rows(path)
    assert again.has(**unit)
    assert not again.has(**asked)
    seen = figures(compact(again.all))["m"]["form"]["forced"]
    assert (seen["places"], seen["agree"], seen["nothing"], seen["distance"]) == (3, 0.667, 0.333, 0.5)
    assert seen["errors"] == {"ApiBusy": 1}
