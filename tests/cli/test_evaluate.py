"""`evaluate` over real HTTP: every arm is answered and kept, nothing is asked twice, and what is wrong is said."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import time
from collections.abc import Sequence
from contextlib import closing
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from blackbox_proxy.errors import InputError
from blackbox_proxy.evaluation.task import boxed, read_task
from blackbox_proxy.evaluation.task import written as knobs_written
from blackbox_proxy.learnt import LearntWeights
from blackbox_proxy.ledger.opening import open_store
from blackbox_proxy.schedule import Schedule
from tests.cli.runs import PRICES, PROGRAM, Cli
from tests.evaluation.tasks import written
from tests.pages.reading import Page
from tests.tiny_gguf import TinyModel

pytestmark = pytest.mark.usefixtures("state")


@pytest.fixture
def task(tmp_path: Path) -> str:
    return str(written(tmp_path / "towns"))


@pytest.fixture
def here(where: tuple[str, ...], tmp_path: Path) -> tuple[str, ...]:
    """The options that say which API, which pair, and where answers are kept."""
    return (*where, "--answers", str(tmp_path / "answers"))


def booked(path: Path) -> Sequence[Any]:
    with closing(open_store(path)) as store:
        return list(store.rows())


def kept(tmp_path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (tmp_path / "answers" / "towns.jsonl").read_text("utf-8").splitlines()]


def plain(text: str) -> str:
    """What of a text of a random model a page shows for sure."""
    return re.sub("[^ -~]", "", text)


def figures(cli: Cli, task: str, *more: str) -> dict[str, Any]:
    said = cli("evaluate", task, "--json", *more)
    assert said.status == 0, said
    found: dict[str, Any] = json.loads(said.out)["towns"]
    return found


MAIN = ("closed", "closed_few_shot", "anti_expert", "expert", "steered")
ARMS = (*MAIN, "steered_few_shot", "steered_alpha_0", "steered_alpha_1.5")


def test_every_arm_is_answered_priced_and_kept(
    cli: Cli, task: str, here: tuple[str, ...], config_home: Path, state: Path, tmp_path: Path
) -> None:
    (config_home / "blackbox-proxy").mkdir(parents=True)
    (config_home / "blackbox-proxy" / "prices.toml").write_text(PRICES)
    found = figures(cli, task, *here, "--others", "2")
    assert {name: found[name]["n"] for name in (*ARMS, "majority")} == {
        **dict.fromkeys(MAIN, 4),
        **dict.fromkeys(ARMS[len(MAIN) :], 2),
        "majority": 4,
    }
    for name in ("closed", "closed_few_shot", "steered", "steered_few_shot"):
        assert found[name]["cost_usd"] > 0
        assert found[name]["calls_per_answer"] >= 1
    assert found["expert"]["cost_usd"] == found["expert"]["calls_per_answer"] == 0
    assert found["tests"].keys() == {
        *("vs_few_shot", "vs_expert", "vs_closed", "vs_majority"),
        *("examples_vs_few_shot", "examples_vs_expert"),
    }
    places = sum(one["arm"] == "in_place" for one in kept(tmp_path))
    assert found["ceiling"]["wrong"] == places == 4
    rows = booked(state)
    priced = sum(Decimal(one["cost"]) for one in kept(tmp_path) if one["cost"] and one["arm"] in ARMS)
    assert 0 < priced < sum(row.cost for row in rows)
    assert {dict(row.tags)["evaluation"] for row in rows} == {dict(rows[0].tags)["evaluation"]}


def test_nothing_is_asked_twice(cli: Cli, task: str, here: tuple[str, ...], state: Path, tmp_path: Path) -> None:
    """Alpha 1.5 of the sweep is the steered arm itself; a second run asks nothing and says the same."""
    first = figures(cli, task, *here)
    keys = [one["key"] for one in kept(tmp_path)]
    assert len(keys) == len(set(keys)) == 4 * len(ARMS[:-1]) + 4
    requests = len(booked(state))
    assert figures(cli, task, *here) == first
    assert len(booked(state)) == requests
    assert [one["key"] for one in kept(tmp_path)] == keys


def test_one_arm_may_be_asked_alone_and_the_others_later(cli: Cli, task: str, here: tuple[str, ...]) -> None:
    alone = figures(cli, task, *here, "--only", "expert", "--only", "closed", "--limit", "3")
    assert [name for name in ARMS if name in alone] == ["closed", "expert"]
    assert "ceiling" not in alone
    whole = figures(cli, task, *here, "--limit", "3")
    assert whole["expert"] == alone["expert"]
    assert whole["closed"] == alone["closed"]


def test_chunks_are_an_answer_like_any_other(cli: Cli, task: str, here: tuple[str, ...], tmp_path: Path) -> None:
    knobs = ("--way", "chunks", "--beams", "2", "--samples", "2", "--chunk", "4")
    steered = figures(cli, task, *here, "--only", "steered", "--limit", "2", *knobs)["steered"]
    assert steered["n"] == 2
    assert kept(tmp_path)[0]["calls"] > 1


def test_several_calls_at_once_give_the_same_answers(
    cli: Cli, task: str, where: tuple[str, ...], tmp_path: Path
) -> None:
    texts = []
    for parallel in ("1", "3"):
        figures(cli, task, *where, "--answers", str(tmp_path / "answers"), "--parallel", parallel)
        texts.append({one["key"]: one["text"] for one in kept(tmp_path)})
        (tmp_path / "answers" / "towns.jsonl").unlink()
    assert texts[0] == texts[1]


def test_alpha_is_chosen_on_validation_and_on_nothing_else(
    cli: Cli, task: str, here: tuple[str, ...], tmp_path: Path
) -> None:
    said = cli("evaluate", task, *here, "--tune-alpha", "--only", "expert")
    assert said.status == 0
    assert re.search(r"alpha \d\.?\d* was chosen on validation \(0: 0\.000, 1\.5: 0\.000\)", said.out)
    tuning = [one for one in kept(tmp_path) if one["arm"].startswith("validation_alpha_")]
    read = read_task(Path(task))
    assert {one["item"] for one in tuning} == {item.name for item in read.validation}
    assert len(tuning) == 2 * len(read.validation)
    assert not {one["item"] for one in tuning} & {item.name for item in (*read.test, *read.train)}


def test_a_knob_that_is_given_stands_in_place_of_the_task(cli: Cli, task: str, here: tuple[str, ...]) -> None:
    """Other knobs make other answers, which are kept beside those of the task."""
    alone = ("--only", "steered", "--limit", "1")
    usual = figures(cli, task, *here, *alone)["steered"]
    turned = figures(cli, task, *here, *alone, "--alpha", "0", "--max-tokens", "2", "--rule", "clip")["steered"]
    assert (usual["alpha"], turned["alpha"]) == (1.5, 0.0)
    assert usual["exactness"]["tokens"] > turned["exactness"]["tokens"]
    assert turned["exactness"]["tokens"] <= 2
    assert turned["exactness"]["changed"] == 0.0
    assert (usual.get("knobs"), turned.get("knobs")) == (None, {"rule": "clip"})
    assert figures(cli, task, *here, *alone)["steered"] == usual


def test_an_alpha_that_is_given_stands_in_place_of_a_schedule_of_the_task(tmp_path: Path) -> None:
    path = written(tmp_path / "towns", rest='[steering]\nalpha = 1.5\nschedule = "0:1,4:0"\nclip = 2.0\n')
    read = read_task(path)
    assert read.knobs == {"schedule": Schedule(((0, 1.0), (4, 0.0))), "clip": 2.0}
    assert read.with_knobs({}) == read
    turned = read.with_knobs({"alpha": 0.5, "max_tokens": 9})
    assert (turned.alpha, turned.max_tokens, turned.knobs) == (0.5, 9, {"clip": 2.0})
    with pytest.raises(InputError, match="clip must be above 0, not"):
        read.with_knobs({"clip": -1.0})


def test_learnt_weights_stand_in_a_task_as_on_the_command_line(tmp_path: Path) -> None:
    rest = '[steering]\nrule = "learnt"\nlearnt = "one:1.2:0.8,expert:0.5:0.0"\n'
    task = read_task(written(tmp_path / "towns", rest=rest))
    assert task.steering.learnt == LearntWeights((("one", 1.2, 0.8), ("expert", 0.5, 0.0)))
    assert knobs_written(task.knobs) == {"rule": "learnt", "learnt": "one:1.2:0.8,expert:0.5:0.0"}
    with pytest.raises(InputError, match=r"task.toml: \[steering\]: rule='learnt' needs weights"):
        read_task(written(tmp_path / "bare", rest='[steering]\nrule = "learnt"\n'))


def test_a_budget_holds_for_the_whole_run_and_what_was_answered_is_kept(
    cli: Cli, task: str, here: tuple[str, ...], state: Path, tmp_path: Path
) -> None:
    said = cli("evaluate", task, *here, "--max-calls", "6")
    assert said.status == 1
    assert "error: the budget of 6 calls per " in said.err
    assert len(booked(state)) == 6
    before = {one["key"] for one in kept(tmp_path)}
    assert len(before) >= 4
    assert "steered" in figures(cli, task, *here)
    assert before < {one["key"] for one in kept(tmp_path)}


def test_errors_are_counted_and_without_end_they_end_the_run(
    cli: Cli, task: str, api_url: str, pair_path: Path, tmp_path: Path
) -> None:
    strange = ("--base-url", api_url, "--model", "another", "--pair", str(pair_path), "--only", "closed", "--no-ledger")
    said = cli("evaluate", task, *strange, "--answers", str(tmp_path / "few"))
    assert said.status == 0
    assert "closed, 4 errors" in said.out
    path = written(tmp_path / "more", parts={"test": [{"prompt": f"p{n}", "reference": "a"} for n in range(9)]})
    said = cli("evaluate", str(path), *strange, "--answers", str(tmp_path / "many"))
    assert said.status == 1
    assert "error: 5 questions failed one after another: " in said.err
    assert "hint: " in said.err


def test_the_page_and_the_figures_are_files(cli: Cli, task: str, here: tuple[str, ...], tmp_path: Path) -> None:
    page, file = tmp_path / "page.html", tmp_path / "deep" / "figures.json"
    said = cli("evaluate", task, *here, "--html", str(page), "--figures", str(file))
    assert said.status == 0
    assert f"written: {page}" in said.err
    shown = Page.read(page.read_text("utf-8"))
    shown.check()
    assert "Towns: " in said.err
    assert "towns" not in said.err.replace(str(tmp_path), "")
    last = said.out.splitlines()[-1]
    assert last.startswith("No arm answered any of 4 items rightly")
    assert shown.root.find("p", "advice")[0].text == last
    asked = {item.prompt: item.reference for item in read_task(Path(task)).test}
    rows = [row.inner for table in shown.root.find("table", "mistakes") for row in table.find("tr")[1:]]
    assert {row[0].text: row[1].text for row in rows} == asked
    texts = {plain(one["text"]) for one in kept(tmp_path)}
    assert all(plain(row[2].text) in texts or row[2].text == "nothing" for row in rows)
    assert json.loads(file.read_text("utf-8")) == {"towns": figures(cli, task, *here)}
    assert re.search(r"^steered +\d\.\d{3} +\d\.\d\d-\d\.\d\d +4 ", said.out, re.MULTILINE)
    assert "steered less closed few-shot: " in said.out


def test_the_standin_may_be_the_closed_model(
    cli: Cli, task: str, tiny_api: TinyModel, pair_path: Path, tmp_path: Path
) -> None:
    """At made-up prices, in books beside the answers."""
    folder = tmp_path / "answers"
    options = ("--standin", str(tiny_api.path), "--pair", str(pair_path), "--answers", str(folder))
    found = figures(cli, task, *options, "--only", "closed")
    assert found["closed"]["cost_usd"] == pytest.approx(
        float(sum(row.cost for row in booked(folder / "ledger.sqlite")))
    )
    assert figures(cli, task, *options, "--only", "closed") == found


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ((), "there is no task"),
        (("nowhere",), "there is no task 'nowhere'"),
        (("TASK", "TASK"), "two tasks are called 'towns'"),
        (("TASK", "--only", "stear"), "this task has no arm 'stear'"),
        (("TASK", "--standin", "demo", "--max-cost", "1"), "--standin is an endpoint of its own"),
        (("TASK", "--html", "/nowhere/x.html"), "there is no folder /nowhere"),
        (("TASK", "--threshold", "2"), "threshold must be in [0, 1], not 2.0"),
        (("TASK", "--alpha", "1", "--alpha-schedule", "0:1"), "--alpha 1 and --alpha-schedule 0:1 are both given"),
        (("TASK", "--actors", "3"), "--actors is for --engine ray"),
        (("TASK", "--engine", "ray", "--record", "t"), "a cassette is of one process"),
        (("TASK", "--engine", "ray", "--standin", "demo"), "--standin serves its model in this process"),
        (("TASK", "--alpha", "1", "--tune-alpha"), "--tune-alpha chooses alpha, and --alpha gives it"),
        (("TASK", "--alpha-schedule", "0:1", "--tune-alpha"), "--tune-alpha chooses alpha, and --alpha-schedule gives"),
    ],
)
def test_what_is_wrong_is_said(cli: Cli, task: str, here: tuple[str, ...], options: tuple[str, ...], said: str) -> None:
    own = () if "--standin" in options else here
    found = cli("evaluate", *(task if one == "TASK" else one for one in options), *own)
    assert found.status == 2
    assert f"error: {said}" in found.err
    assert "hint: " in found.err


def test_the_tasks_that_come_along_are_listed(cli: Cli) -> None:
    said = cli("evaluate", "--list", "--json")
    assert [one["name"] for one in json.loads(said.out)] == list(boxed())
    assert cli("evaluate", "--list").out.count(" test; ") == len(boxed())


@pytest.mark.parametrize("kill", [signal.SIGKILL, signal.SIGINT])
def test_a_run_that_is_killed_goes_on_where_it_was(
    cli: Cli, task: str, here: tuple[str, ...], tmp_path: Path, kill: int
) -> None:
    """Wherever the signal comes, every answer that was there stays, and none is asked for again."""
    file = tmp_path / "answers" / "towns.jsonl"
    run = subprocess.Popen([*PROGRAM, "evaluate", task, *here], env=dict(os.environ), stderr=subprocess.DEVNULL)
    while run.poll() is None and (not file.exists() or file.read_bytes().count(b"\n") < 5):
        time.sleep(0.002)
    run.send_signal(kill)
    run.wait(60)
    before = [line for line in file.read_text("utf-8").splitlines() if line.endswith("}")]
    assert len(before) >= 5
    figures(cli, task, *here)
    lines = file.read_text("utf-8").splitlines()
    assert lines[: len(before)] == before
    keys = [json.loads(line)["key"] for line in lines if line.endswith("}")]
    assert len(keys) == len(set(keys)) == 4 * len(ARMS[:-1]) + 4


def test_drawn_answers_are_chosen_from_and_all_are_paid_for(cli: Cli, task: str, here: tuple[str, ...]) -> None:
    only = ("--draws", "3", "--only", "closed_best_of_n_majority", "--only", "steered_answers")
    sums = figures(cli, task, *here, *only)
    assert sums["closed_best_of_n_majority"]["calls_per_answer"] == sums["steered_answers"]["calls_per_answer"] == 3
    assert "answers_vs_majority" in sums["tests"]
    assert sums["steered_answers"]["some"] == sums["closed_best_of_n_majority"]["some"], "they choose from the same"
    assert 0.0 <= sums["steered_answers"]["none_right"] <= 1.0
    assert figures(cli, task, *here, *only) == sums, "nothing is asked twice"
