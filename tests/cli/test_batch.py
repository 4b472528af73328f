"""`batch` on the command line: what it prints, what it says of bad input, and that a full disk loses nothing."""

from __future__ import annotations

import json
import resource
import subprocess
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path

import pytest

from blackbox_proxy.core.money.amounts import plain
from tests.batching.worlds import PRICES, BatchWorld, answers, booked, right, rows_of, world, write_rows
from tests.cli.runs import PROGRAM, SECONDS, Cli

pytestmark = pytest.mark.usefixtures("state")

COUNT = 4


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[BatchWorld]:
    with world(tmp_path_factory.mktemp("world"), COUNT) as one:
        yield one


@pytest.fixture
def rows(tmp_path: Path) -> str:
    return str(write_rows(tmp_path / "rows.jsonl", rows_of(COUNT)))


@pytest.fixture
def asks(served: BatchWorld, tmp_path: Path, config_home: Path) -> tuple[str, ...]:
    """The options that say which API, which pair, which knobs, and where answers go."""
    (config_home / "blackbox-proxy").mkdir(parents=True)
    (config_home / "blackbox-proxy" / "prices.toml").write_text(PRICES, encoding="utf-8")
    api = ("--base-url", served.url, "--model", "tiny", "--pair", str(served.pair))
    return (*api, "--alpha", "0.5", "--max-tokens", "4", "--out", str(tmp_path / "out"))


def test_a_batch_says_what_it_costs_before_and_what_it_came_to(
    cli: Cli, rows: str, asks: tuple[str, ...], state: Path, tmp_path: Path
) -> None:
    said = cli("batch", rows, *asks)
    assert said.status == 0, said
    total, run, file = said.out.splitlines()
    assert total == "4 rows: 4 answered, 0 failed, 0 pending"
    ledger = booked(state)
    spent = sum(row.cost for row in ledger if row.cost is not None)
    assert run.startswith(f"this run: 4 questions, {len(ledger)} calls, cost {plain(Decimal(spent))} USD; ")
    assert file == f"answers: {tmp_path / 'out' / 'answers.jsonl'}"
    first, expected, *_, last = said.err.splitlines()
    assert first == "4 rows: 4 questions to ask; 0 rows cannot be asked, and their answers say why"
    assert expected.startswith("expected, with answers of full length: ")
    assert "about 0." in expected
    assert "USD" in expected
    assert last.startswith("4 of 4: ")
    assert "rows/s; " in last
    assert "about 0 USD to come" in last
    assert [row["text"] for row in answers(tmp_path / "out")] == [right(number) for number in range(COUNT)]


def test_the_summary_as_json_is_the_ledgers(cli: Cli, rows: str, asks: tuple[str, ...], state: Path) -> None:
    said = cli("batch", rows, *asks, "--json")
    assert said.err == ""
    summary = json.loads(said.out)
    spent = sum(row.cost for row in booked(state) if row.cost is not None)
    assert Decimal(summary["cost"]) == spent
    assert summary["calls"] == len(booked(state))
    assert summary["answered"] == COUNT


def test_a_budget_is_said_and_the_next_run_goes_on(cli: Cli, rows: str, asks: tuple[str, ...]) -> None:
    said = cli("batch", rows, *asks, "--parallel", "1", "--max-calls", "3")
    assert said.status == 1
    assert "1 answered, 0 failed, 3 pending" in said.out
    assert "error: the budget of 3 calls per batch=" in said.err
    again = cli("batch", rows, *asks)
    assert again.status == 0
    assert "this run: 3 questions" in again.out


def test_a_row_that_fails_is_told_by_the_status(cli: Cli, asks: tuple[str, ...], tmp_path: Path) -> None:
    rows = write_rows(tmp_path / "rows.jsonl", [*rows_of(1), {"prompt": ""}])
    said = cli("batch", str(rows), *asks)
    assert said.status == 1
    assert "2 rows: 1 answered, 1 failed, 0 pending" in said.out
    assert answers(tmp_path / "out")[1]["error"] == "rows.jsonl, line 2: 'prompt' is empty"


def test_labels_come_from_a_file(cli: Cli, rows: str, asks: tuple[str, ...], tmp_path: Path) -> None:
    (tmp_path / "labels.txt").write_text("Answer\nNothing\n", encoding="utf-8")
    said = cli("batch", rows, *asks, "--options", str(tmp_path / "labels.txt"))
    assert said.status == 0, said
    assert {row["text"] for row in answers(tmp_path / "out")} == {"Answer"}


def test_kept_answers_are_deleted_where_that_is_asked_for(
    cli: Cli, rows: str, asks: tuple[str, ...], tmp_path: Path
) -> None:
    cli("batch", rows, *asks)
    kept = tmp_path / "out" / "kept.jsonl"
    assert cli("batch", "--out", str(tmp_path / "out"), "--forget").out == f"{kept}: deleted\n"
    assert not kept.exists()
    assert cli("batch", "--out", str(tmp_path / "out"), "--forget").out == f"{kept}: there is none\n"


def test_a_recorded_batch_is_replayed_without_the_api(
    cli: Cli, rows: str, asks: tuple[str, ...], served: BatchWorld, tmp_path: Path
) -> None:
    tape = str(tmp_path / "tape.jsonl")
    assert cli("batch", rows, *asks, "--record", tape).status == 0
    first, before = answers(tmp_path / "out"), served.traffic.total
    here = ("--pair", str(served.pair), "--alpha", "0.5", "--max-tokens", "4", "--out", str(tmp_path / "again"))
    assert cli("batch", rows, "--replay", tape, *here).status == 0
    assert served.traffic.total == before
    assert answers(tmp_path / "again") == first


BAD = {
    "no input": ((), "there is no INPUT"),
    "not there": (("gone.jsonl",), "cannot read gone.jsonl: No such file"),
    "other engine": (("gone.jsonl", "--actors", "3"), "--actors is for --engine ray"),
    "tape": (("gone.jsonl", "--engine", "ray", "--record", "t"), "a cassette is of one process"),
    "forget": (("gone.jsonl", "--forget"), "--forget asks nothing"),
    "none at a time": (("gone.jsonl", "--parallel", "0"), "0 rows at a time"),
    "labels": (("gone.jsonl", "--options", "gone.txt"), "cannot read gone.txt"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input_is_a_sentence(cli: Cli, asks: tuple[str, ...], case: str) -> None:
    given, message = BAD[case]
    said = cli("batch", *given, *asks)
    assert said.status == 2
    assert said.err.startswith(f"error: {message}")
    assert "Traceback" not in said.err


def limited() -> None:
    """The system refuses to write more than this into a file, as a full disk does."""
    resource.setrlimit(resource.RLIMIT_FSIZE, (600, 600))


def test_a_disk_that_is_full_is_said_and_nothing_is_lost(
    rows: str, asks: tuple[str, ...], served: BatchWorld, tmp_path: Path
) -> None:
    command = [*PROGRAM, "batch", rows, *asks, "--no-ledger", "--parallel", "1"]
    ran = subprocess.run(command, capture_output=True, text=True, timeout=SECONDS, check=False, preexec_fn=limited)
    assert ran.returncode == 2, ran.stderr
    assert "error: cannot write" in ran.stderr
    assert "Traceback" not in ran.stderr
    before = served.traffic.total
    again = subprocess.run([*command[:-1], "2"], capture_output=True, text=True, timeout=SECONDS, check=False)
    assert again.returncode == 0, again.stderr
    assert [row["text"] for row in answers(tmp_path / "out")] == [right(number) for number in range(COUNT)]
    assert served.traffic.total - before < 2 * COUNT, "what was kept before the disk was full was asked again"
