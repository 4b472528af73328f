"""A batch in this process: every row has its answer, nothing is asked twice, and nothing that was paid for is lost."""

from __future__ import annotations

import json
import stat
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from blackbox_proxy import (
    BatchOptions,
    Budget,
    FittedRecipe,
    Ledger,
    RecipeSteerer,
    Steerer,
    batch,
    connect,
    load_pair,
    open_ledger,
)
from blackbox_proxy.batching.answering import BatchModel
from blackbox_proxy.batching.answers import KEPT, RowStore, forget
from blackbox_proxy.errors import InputError, OverBudget
from blackbox_proxy.recipes import RecipeEndpoint
from blackbox_proxy.standin import running
from blackbox_proxy.steering import Steering
from blackbox_proxy.workers import Hopeless
from tests.batching.worlds import (
    PRICES,
    STEERING,
    BatchWorld,
    answers,
    booked,
    question,
    right,
    rows_of,
    world,
    write_rows,
)
from tests.tiny_gguf import TinyModel

COUNT = 6


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[BatchWorld]:
    with world(tmp_path_factory.mktemp("world"), COUNT) as one:
        yield one


@pytest.fixture
def rows(tmp_path: Path) -> Path:
    return write_rows(tmp_path / "rows.jsonl", rows_of(COUNT))


@pytest.fixture
def out(tmp_path: Path) -> Path:
    return tmp_path / "out"


def opened(folder: Path, *budgets: Budget) -> Ledger:
    (folder / "prices.toml").write_text(PRICES, encoding="utf-8")
    return open_ledger(folder / "ledger.sqlite", prices=folder / "prices.toml", budgets=budgets)


def test_every_row_is_answered_once_and_the_sums_are_the_ledgers(
    served: BatchWorld, rows: Path, out: Path, tmp_path: Path
) -> None:
    before = served.traffic.total
    with opened(tmp_path) as ledger:
        summary = batch(rows, out, model=served.model(), steering=STEERING, ledger=ledger)
    given = answers(out)
    assert [row["id"] for row in given] == [f"r{number}" for number in range(COUNT)]
    assert [row["text"] for row in given] == [right(number) for number in range(COUNT)]
    assert {(row["exactness"], row["way"], row["finish"], row["error"]) for row in given} == {
        ("exact", "raw", "stop", None)
    }
    ledger_rows = booked(tmp_path / "ledger.sqlite")
    assert summary.calls == len(ledger_rows) == served.traffic.total - before == sum(row["calls"] for row in given)
    assert (
        summary.cost == sum(row.cost for row in ledger_rows if row.cost) == sum(Decimal(r["cost_usd"]) for r in given)
    )
    assert summary.cost > 0
    assert (summary.rows, summary.answered, summary.failed, summary.pending) == (COUNT, COUNT, 0, 0)
    assert sum(row["input"] for row in given) == sum(row.input or 0 for row in ledger_rows)
    assert sum(row["output"] for row in given) == sum(row.output or 0 for row in ledger_rows)


def test_a_second_run_asks_nothing_and_says_the_same(served: BatchWorld, rows: Path, out: Path) -> None:
    batch(rows, out, model=served.model(), steering=STEERING)
    first, before = answers(out), served.traffic.total
    (out / "answers.jsonl").unlink()
    summary = batch(rows, out, model=served.model(), steering=STEERING)
    assert served.traffic.total == before
    assert (summary.asked, summary.calls, summary.answered) == (0, 0, COUNT)
    assert answers(out) == first


def test_rows_that_ask_the_same_are_one_question(served: BatchWorld, out: Path, tmp_path: Path) -> None:
    same: list[dict[str, Any]] = [
        {"prompt": question(1)},
        {"prompt": question(1)},
        {"prompt": question(1), "max_tokens": 1},
    ]
    summary = batch(write_rows(tmp_path / "rows.jsonl", same), out, model=served.model(), steering=STEERING)
    assert summary.asked == 2
    assert [row["text"] for row in answers(out)] == [right(1), right(1), "Answer"]
    assert [row["id"] for row in answers(out)] == ["1", "2", "3"]


def test_what_is_kept_is_for_the_owner_alone(served: BatchWorld, rows: Path, out: Path) -> None:
    out.mkdir()
    (out / KEPT).touch(mode=0o644)
    batch(rows, out, model=served.model(), steering=STEERING)
    assert stat.S_IMODE((out / KEPT).stat().st_mode) == 0o600


def test_a_failed_row_stops_no_other_and_is_asked_again_where_that_is_said(
    served: BatchWorld, out: Path, tmp_path: Path
) -> None:
    mixed: list[dict[str, Any]] = [
        {"prompt": question(0)},
        {"prompt": "nobody scripted this"},
        {"prompt": "word " * 5000},
        {"id": "none"},
    ]
    rows = write_rows(tmp_path / "rows.jsonl", mixed)
    summary = batch(rows, out, model=served.model(), steering=STEERING)
    assert (summary.answered, summary.failed, summary.pending, summary.stopped) == (1, 3, 0, None)
    good, refused, long, broken = answers(out)
    assert (good["text"], good["error"]) == (right(0), None)
    assert (refused["text"], refused["exactness"]) == (None, None)
    for row, line in ((refused, 2), (long, 3), (broken, 4)):
        assert row["error"].startswith(f"rows.jsonl, line {line}: "), row
    assert "tokens" in long["error"]
    again = batch(rows, out, model=served.model(), steering=STEERING)
    assert (again.asked, again.failed) == (0, 3)
    retried = batch(rows, out, model=served.model(), steering=STEERING, options=BatchOptions(retry_failed=True))
    assert (retried.asked, retried.failed, retried.answered) == (2, 3, 1)


def test_a_budget_ends_a_run_and_leaves_the_rest_pending(
    served: BatchWorld, rows: Path, out: Path, tmp_path: Path
) -> None:
    with opened(tmp_path, Budget(max_calls=5)) as ledger:
        summary = batch(
            rows, out, model=served.model(), steering=STEERING, ledger=ledger, options=BatchOptions(parallel=1)
        )
    assert isinstance(summary.stopped, OverBudget)
    assert (summary.answered, summary.failed, summary.pending) == (2, 0, COUNT - 2)
    assert summary.calls == len(booked(tmp_path / "ledger.sqlite")) == 5
    assert [row["id"] for row in answers(out)] == ["r0", "r1"]
    rest = batch(rows, out, model=served.model(), steering=STEERING)
    assert (rest.asked, rest.answered, rest.stopped) == (COUNT - 2, COUNT, None)
    assert [row["text"] for row in answers(out)] == [right(number) for number in range(COUNT)]


def test_an_api_that_is_not_there_ends_the_run(out: Path, served: BatchWorld, tmp_path: Path) -> None:
    """Five rows have the error, the others are pending, and are asked by the next run."""
    rows = write_rows(tmp_path / "rows.jsonl", [{"prompt": f"{number}?"} for number in range(20)])
    gone = BatchModel({"base_url": "http://127.0.0.1:9/v1", "model": "tiny", "attempts": 1}, str(served.pair))
    summary = batch(rows, out, model=gone, steering=STEERING, options=BatchOptions(parallel=1))
    assert isinstance(summary.stopped, Hopeless)
    assert (summary.failed, summary.pending) == (5, 15)
    assert len(answers(out)) == 5


def test_half_a_line_is_not_believed(served: BatchWorld, rows: Path, out: Path) -> None:
    batch(rows, out, model=served.model(), steering=STEERING)
    first = answers(out)
    for cut in (1, 2, 40):
        content = (out / KEPT).read_bytes()
        (out / KEPT).write_bytes(content[:-cut])
        summary = batch(rows, out, model=served.model(), steering=STEERING)
        assert summary.asked == (0 if cut == 1 else 1)
        assert answers(out) == first


def test_two_runs_do_not_write_one_folder(served: BatchWorld, rows: Path, out: Path) -> None:
    with RowStore(out), pytest.raises(InputError, match="another run is writing"):
        batch(rows, out, model=served.model(), steering=STEERING)


def test_kept_answers_can_be_deleted(served: BatchWorld, rows: Path, out: Path) -> None:
    batch(rows, out, model=served.model(), steering=STEERING)
    assert forget(out)
    assert not forget(out)
    assert batch(rows, out, model=served.model(), steering=STEERING).asked == COUNT


def test_a_folder_that_cannot_be_used_is_said_before_anything_is_asked(
    served: BatchWorld, rows: Path, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("", encoding="utf-8")
    before = served.traffic.total
    with pytest.raises(InputError, match=r"cannot use .*file"):
        batch(rows, tmp_path / "file" / "out", model=served.model(), steering=STEERING)
    assert served.traffic.total == before


def test_labels_are_chosen_with_their_probabilities(served: BatchWorld, out: Path, tmp_path: Path) -> None:
    rows = write_rows(tmp_path / "rows.jsonl", rows_of(2))
    model = served.model(labels=("Answer", "Nothing"))
    summary = batch(rows, out, model=model, steering=STEERING)
    assert summary.answered == 2
    for row in answers(out):
        assert row["text"] == "Answer"
        assert row["probabilities"].keys() == {"Answer", "Nothing"}
        assert sum(row["probabilities"].values()) == pytest.approx(1.0)
        assert row["probabilities"]["Answer"] > 0.9


def test_texts_are_scored_by_an_endpoint_that_gives_them_back(
    served: BatchWorld, out: Path, tmp_path: Path, tiny_bpe: TinyModel
) -> None:
    rows = write_rows(tmp_path / "rows.jsonl", [{"id": "a", "text": "the sea is"}, {"prompt": "none"}])
    with running(tiny_bpe.path, name="tiny") as url, load_pair(served.pair) as pair:
        hosted: dict[str, Any] = {"base_url": url, "model": "tiny", "options": {"echo": True}}
        summary = batch(rows, out, model=BatchModel(hosted, str(served.pair), scored=True), steering=STEERING)
        with connect(**hosted) as api:
            expected = Steerer(api, pair, STEERING).score("the sea is")
    assert (summary.answered, summary.failed) == (1, 1)
    row, _ = answers(out)
    assert (row["text"], row["tokens"]) == (None, len(expected.steps))
    assert row["logp"] == pytest.approx(sum(step.logp_after or 0.0 for step in expected.steps), abs=0.01)
    assert row["api_logp"] == pytest.approx(sum(step.logp_before or 0.0 for step in expected.steps), abs=0.01)


def test_a_recipe_says_who_answers(served: BatchWorld, rows: Path, out: Path) -> None:
    """Here the expert alone, so that nobody is called and nothing is paid."""
    recipe = FittedRecipe("expert", "expert", RecipeEndpoint(), str(served.pair), steering={"max_tokens": 3})
    before = served.traffic.total
    summary = batch(rows, out, model=BatchModel({}, str(served.pair), recipe))
    assert served.traffic.total == before
    assert (summary.answered, summary.calls, summary.cost) == (COUNT, 0, Decimal(0))
    assert {(row["exactness"], row["way"], row["cost_usd"]) for row in answers(out)} == {("local", "local", "0")}
    with load_pair(served.pair) as pair:
        alone = RecipeSteerer(recipe, offsets=pair).complete(question(0)).text
    assert answers(out)[0]["text"] == alone


def test_the_key_of_an_endpoint_is_never_shown(served: BatchWorld) -> None:
    model = BatchModel({"base_url": served.url, "model": "tiny", "api_key": "sk-secret"})
    assert "sk-secret" not in repr(model)


@pytest.mark.parametrize("labels", [("one",), ("a", "a")])
def test_labels_that_are_none_are_refused(labels: tuple[str, ...]) -> None:
    with pytest.raises(InputError, match="nothing to choose from"):
        BatchModel({}, labels=labels)


def test_a_knob_of_a_row_changes_what_is_kept(served: BatchWorld, out: Path, tmp_path: Path) -> None:
    rows = write_rows(tmp_path / "rows.jsonl", [{"prompt": question(0)}])
    batch(rows, out, model=served.model(), steering=STEERING)
    summary = batch(rows, out, model=served.model(), steering=Steering(alpha=0.25, max_tokens=4))
    assert summary.asked == 1
    assert len({json.loads(line)["key"] for line in (out / KEPT).read_text(encoding="utf-8").splitlines()}) == 2
