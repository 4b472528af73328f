"""The commands with a ledger in a file and in a database: booked, limited, reported, exported, pruned; errors."""

from __future__ import annotations

import csv
import datetime as dt
import io
import json
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from blackbox_proxy.core.money.amounts import Budget
from blackbox_proxy.ledger.opening import open_store
from blackbox_proxy.ledger.rows import LedgerRow
from tests.cli.runs import Cli
from tests.ledger.intents import intent
from tests.ledger.postgres_server import PASSWORD, PostgresServer

pytestmark = pytest.mark.usefixtures("state")

FAST = ("--max-tokens", "6")


def rows(place: str) -> list[LedgerRow]:
    with closing(open_store(place)) as store:
        return list(store.rows())


def steered(cli: Cli, where: tuple[str, ...], *more: str) -> dict[str, Any]:
    said = cli("steer", "What is this?", *where, *FAST, "--json", *more)
    assert said.status == 0, said
    answer: dict[str, Any] = json.loads(said.out)
    return answer


def test_what_is_booked_is_reported_exported_and_limited(cli: Cli, where: tuple[str, ...], ledger_place: str) -> None:
    here = ("--ledger", ledger_place)
    answer = steered(cli, where, *here, "--tag", "project=x", "--max-calls", "3/project=x")
    booked = rows(ledger_place)
    assert len(booked) == answer["usage"]["requests"]
    report = json.loads(cli("cost", "report", "--by", "tag", "--json", *here).out)
    assert [(group["name"], group["requests"]) for group in report["groups"]] == [("project=x", len(booked))]
    assert report["total"]["output"] == sum(row.output or 0 for row in booked)
    exported = list(csv.DictReader(io.StringIO(cli("cost", "export", "--csv", *here).out)))
    assert [int(row["id"]) for row in exported] == [row.id for row in booked]
    later = [steered(cli, where, *here, "--tag", "project=x", "--max-calls", "3/project=x") for _ in range(3)]
    assert later[-1]["finish"] == "budget"
    assert len(rows(ledger_place)) == 3


def test_the_place_may_be_a_setting_and_an_estimate_learns_from_it(
    cli: Cli, where: tuple[str, ...], ledger_place: str, state: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BLACKBOX_PROXY_LEDGER", ledger_place)
    prompt = tmp_path / "prompt.txt"
    prompt.write_text("What is this?")
    assert "assumed" in cli("cost", "estimate", str(prompt), *where[:4], "--json").out
    steered(cli, where)
    assert rows(ledger_place)
    assert not state.exists()
    assert "measured over" in cli("cost", "estimate", str(prompt), *where[:4], "--json").out


@pytest.mark.parametrize("words", [("report",), ("export", "--csv"), ("prune", "--before", "today", "--yes")])
def test_where_there_is_no_ledger_none_is_made(cli: Cli, ledger_place: str, words: tuple[str, ...]) -> None:
    said = cli("cost", *words, "--ledger", ledger_place)
    assert said.status == 2
    assert f"there is no ledger at {ledger_place}" in said.err


def test_old_rows_are_pruned_but_not_what_open_budgets_count(cli: Cli, ledger_place: str) -> None:
    now = dt.datetime.now(dt.UTC)
    held = Budget(max_calls=9, per="project=x")
    with closing(open_store(ledger_place)) as store:
        for ago, project in ((100, "x"), (100, "y"), (1, "x")):
            store.begin(intent(run=f"{ago}{project}", at=now - dt.timedelta(days=ago), project=project), [held])
    prune = ("cost", "prune", "--before", "90d", "--ledger", ledger_place)
    asked = cli(*prune)
    assert asked.status == 2
    assert f"from {ledger_place}?" in asked.err
    said = cli(*prune, "--yes")
    assert said.out == "1 rows deleted\n"
    assert "1 older rows stay" in said.err
    assert "project=x" in said.err
    pruned = json.loads(cli(*prune, "--yes", "--json").out)
    assert (pruned["deleted"], pruned["staying"], pruned["tags"]) == (0, 1, ["project=x"])
    assert json.loads(cli(*prune, "--yes", "--counted", "--json").out)["deleted"] == 1
    after = cli("cost", "prune", "--before", "2999-01-01", "--yes", "--ledger", ledger_place)
    assert after.status == 2
    assert "is after today" in after.err
    assert len(rows(ledger_place)) == 1


def test_a_budget_of_the_settings_counts_as_open(cli: Cli, ledger_place: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with closing(open_store(ledger_place)) as store:
        store.begin(intent(at=dt.datetime.now(dt.UTC) - dt.timedelta(days=9), project="x"))
    monkeypatch.setenv("BLACKBOX_PROXY_MAX_CALLS", "100/project=x")
    said = json.loads(cli("cost", "prune", "--before", "2d", "--yes", "--json", "--ledger", ledger_place).out)
    assert (said["deleted"], said["tags"]) == (0, ["project=x"])


@pytest.mark.parametrize(
    ("place", "status", "says"),
    [
        ("postgresql://ann:s3cret@127.0.0.1:1/books", 1, "Connection refused"),
        ("postgresql://ann:s3cret@127.0.0.1:port/books", 2, "is no URL of PostgreSQL"),
        ("mysql://ann:s3cret@127.0.0.1/books", 2, "is no ledger"),
    ],
)
@pytest.mark.parametrize("words", [("cost", "report"), ("steer", "What is this?")])
def test_a_place_that_leads_nowhere_is_an_error_without_password_and_traceback(
    cli: Cli, where: tuple[str, ...], words: tuple[str, ...], place: str, status: int, says: str
) -> None:
    said = cli(*words, *(where if words[0] == "steer" else ()), "--ledger", place)
    assert said.status == status
    assert says in said.err
    assert "hint: " in said.err
    assert "s3cret" not in said.err + said.out


def test_a_password_on_the_command_line_is_warned_of(cli: Cli, postgres: PostgresServer) -> None:
    said = cli("cost", "report", "--ledger", postgres.fresh().replace("postgres@", "postgres:s3cret@"))
    assert "stands on the command line, where others see it" in said.err
    assert "s3cret" not in said.err


def test_the_password_may_lie_in_a_file_that_a_setting_names(
    cli: Cli, guarded: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PGPASSFILE", str(tmp_path / "none"))
    open_store(guarded.replace("guarded@", f"guarded:{quote(PASSWORD, safe='')}@")).close()
    refused = cli("cost", "report", "--ledger", guarded)
    assert refused.status == 1
    assert "password" in refused.err
    (tmp_path / "password").write_text(PASSWORD)
    monkeypatch.setenv("BLACKBOX_PROXY_LEDGER_PASSWORD_FILE", str(tmp_path / "password"))
    assert cli("cost", "report", "--ledger", guarded).status == 0


def test_a_ledger_is_copied_whole_and_once(cli: Cli, where: tuple[str, ...], state: Path, ledger_place: str) -> None:
    """Budgets count there what they counted here; the file stays as it is."""
    for _ in range(2):
        steered(cli, where, "--tag", "project=x", "--max-calls", "9/project=x")
    with closing(open_store(str(state))) as store:
        store.begin(intent(run="open", at=dt.datetime.now(dt.UTC)))
    before = rows(str(state))
    said = cli("cost", "copy", str(state), ledger_place)
    assert said.out == f"{len(before)} rows copied to {ledger_place}; 0 were there already\n"
    assert [replace(row, id=0) for row in rows(ledger_place)] == [replace(row, id=0) for row in before]
    assert rows(str(state)) == before
    again = json.loads(cli("cost", "copy", str(state), ledger_place, "--json").out)
    assert again == {"copied": 0, "present": len(before)}
    here, tagged = ("--ledger", ledger_place), ("--tag", "project=x")
    over = steered(cli, where, *here, *tagged, "--max-calls", f"{len(before) - 1}/project=x")
    assert over["finish"] == "budget"
    report = ("cost", "report", "--json")
    assert json.loads(cli(*report, *here).out)["total"] == json.loads(cli(*report, "--ledger", str(state)).out)["total"]


def test_from_a_ledger_that_is_not_there_nothing_is_copied(cli: Cli, ledger_place: str, tmp_path: Path) -> None:
    said = cli("cost", "copy", str(tmp_path / "none.sqlite"), ledger_place)
    assert said.status == 2
    assert "there is no ledger at" in said.err
