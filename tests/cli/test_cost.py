"""What a run costs on the command line: shown, limited, reported, exported, estimated and forgotten."""

from __future__ import annotations

import csv
import datetime as dt
import io
import json
import re
from contextlib import closing
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from blackbox_proxy.cli.bills import SHOWN
from blackbox_proxy.core.money.amounts import cost
from blackbox_proxy.ledger.opening import open_store
from blackbox_proxy.ledger.report import DEFINITIONS
from blackbox_proxy.ledger.rows import Counted, Ended
from blackbox_proxy.remote.profiles.finding import user_folder
from blackbox_proxy.remote.profiles.overlays import write_overlay
from blackbox_proxy.types import Usage
from tests.cli.runs import PRICES, Cli
from tests.ledger.intents import PRICE, intent

FAST = ("--max-tokens", "12")

pytestmark = pytest.mark.usefixtures("state")


@pytest.fixture
def priced(config_home: Path) -> None:
    folder = config_home / "blackbox-proxy"
    folder.mkdir(parents=True)
    (folder / "prices.toml").write_text(PRICES)


def rows(path: Path) -> list[Any]:
    with closing(open_store(path)) as store:
        return list(store.rows())


def steered(cli: Cli, where: tuple[str, ...], *more: str) -> dict[str, Any]:
    said = cli("steer", "What is this?", *where, *FAST, "--json", *more)
    assert said.status == 0, said
    found: dict[str, Any] = json.loads(said.out)
    return found


@pytest.mark.usefixtures("priced")
def test_a_run_is_booked_and_its_cost_is_shown(cli: Cli, where: tuple[str, ...], state: Path) -> None:
    found = steered(cli, where, "--tag", "project=x", "--tag", "who=me")
    booked = rows(state)
    assert Decimal(found["cost"]) == sum(row.cost for row in booked) > 0
    assert len(booked) == found["usage"]["requests"]
    assert dict(booked[0].tags) == {"project": "x", "who": "me"}
    said = cli("steer", "What is this?", *where, *FAST)
    amount = sum(row.cost for row in rows(state)[len(booked) :])
    assert f"; cost {amount.normalize():f} USD; " in said.err


def test_without_a_price_the_cost_is_unknown(cli: Cli, where: tuple[str, ...], state: Path) -> None:
    assert steered(cli, where)["cost"] is None
    assert "cost unknown" in cli("steer", "What is this?", *where, *FAST).err
    assert {row.cost for row in rows(state)} == {None}
    said = cli("cost", "report")
    assert "answered requests have no price" in said.err
    assert " 0 + ? " in said.out


def test_the_ledger_may_lie_elsewhere_or_nowhere(
    cli: Cli, where: tuple[str, ...], state: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    steered(cli, where, "--ledger", str(tmp_path / "mine.sqlite"))
    assert rows(tmp_path / "mine.sqlite")
    monkeypatch.setenv("BLACKBOX_PROXY_LEDGER", str(tmp_path / "set.sqlite"))
    steered(cli, where)
    assert rows(tmp_path / "set.sqlite")
    monkeypatch.delenv("BLACKBOX_PROXY_LEDGER")
    assert steered(cli, where, "--no-ledger")["cost"] is None
    assert not state.exists()


@pytest.mark.parametrize("limit", ["2", "2/day", "2/project=x"])
def test_a_run_stops_before_it_passes_a_budget(cli: Cli, where: tuple[str, ...], state: Path, limit: str) -> None:
    options = ("--max-calls", limit, "--tag", "project=x")
    found = steered(cli, where, *options)
    assert (found["finish"], found["usage"]["requests"], len(rows(state))) == ("budget", 2, 2)
    assert found["notes"][-1].startswith("the budget of 2 calls per ")
    again = cli("steer", "What is this?", *where, *FAST, *options)
    assert again.status == 0
    assert "the budget of 2 calls per " in again.err
    assert len(rows(state)) == (4 if limit == "2" else 2)


@pytest.mark.usefixtures("priced")
def test_a_budget_in_dollars_may_be_a_setting(
    cli: Cli, where: tuple[str, ...], state: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BLACKBOX_PROXY_MAX_COST", "1/day, 0.0007")
    found = steered(cli, where)
    assert found["finish"] == "budget"
    assert sum(row.cost for row in rows(state)) <= Decimal("0.0007")


@pytest.mark.usefixtures("priced")
def test_a_choice_is_booked_and_priced(cli: Cli, where: tuple[str, ...], state: Path) -> None:
    options = ("--option", "a", "--option", "b")
    found = json.loads(cli("choose", "Which?", *options, *where, "--json").out)
    assert Decimal(found["cost"]) == sum(row.cost for row in rows(state)) > 0
    assert " USD" in cli("choose", "Which?", *options, *where).err
    said = cli("choose", "Which?", *options, *where, "--max-calls", "0")
    assert said.status == 1
    assert "error: the budget of 0 calls per run is used up" in said.err


@pytest.mark.usefixtures("priced")
def test_the_doctors_calls_are_booked(cli: Cli, api_url: str, state: Path) -> None:
    found = json.loads(cli("doctor", "--base-url", api_url, "--model", "tiny", "--yes", "--no-write", "--json").out)
    booked = rows(state)
    assert len(booked) >= found["calls"] > 10
    assert len({row.run for row in booked}) == 1


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (("--max-cost", "much"), "--max-cost 'much' does not begin with an amount"),
        (("--max-cost", "-1"), "a budget must be an amount of at least 0 dollars, not -1"),
        (("--max-cost", "nan"), "a budget must be an amount"),
        (("--max-cost", "1/week"), "a budget cannot be per 'week'"),
        (("--max-calls", "1.5"), "--max-calls '1.5' does not begin with a whole number"),
        (("--max-cost", "1"), "nobody says what 'tiny' of 127.0.0.1"),
        (("--tag", "project"), "--tag 'project' is not KEY=VALUE"),
        (("--tag", "a=1", "--tag", "a=2"), "--tag 'a=2' is not KEY=VALUE, or its key is there twice"),
        (("--no-ledger", "--max-calls", "3"), "--no-ledger goes with no --ledger, no --tag and no budget"),
    ],
)
def test_what_cannot_be_kept_is_refused_before_anything_is_sent(
    cli: Cli, where: tuple[str, ...], state: Path, options: tuple[str, ...], says: str
) -> None:
    said = cli("steer", "What is this?", *where, *FAST, *options)
    assert said.status == 2
    assert f"error: {says}" in said.err
    assert not state.exists() or rows(state) == []


def test_a_ledger_that_is_none_is_an_error_without_a_traceback(
    cli: Cli, where: tuple[str, ...], pair_path: Path
) -> None:
    said = cli("steer", "What is this?", *where, "--ledger", str(pair_path))
    assert said.status == 1
    assert "error: the ledger " in said.err
    assert "hint: " in said.err


@pytest.fixture
def spent(priced: None, state: Path) -> list[Any]:  # noqa: ARG001 (prices first)
    """Two runs of today in the ledger, one of them tagged."""
    usage = Usage(input=900, cached=100, output=80, requests=1)
    price = replace(PRICE, source="prices.toml: price 1")
    raw = '{"prompt_tokens": 900}'
    runs: list[tuple[str, dict[str, str]]] = [("r1", {}), ("r1", {}), ("r2", {"project": "x"})]
    with closing(open_store(state)) as store:
        for run, tags in runs:
            asked = intent(run=run, at=dt.datetime.now(dt.UTC), price=price)
            row = store.begin(replace(asked, model="tiny", tags=tags))
            store.end(row, Ended("ok", 200, 0.1, raw, lost=False), Counted(usage, "provider", cost(usage, price)))
            store.accepted(row, kept=3, wasted=1)
    return rows(state)


@pytest.mark.parametrize("by", ["model", "day", "tag", "run"])
def test_a_report_adds_up_to_the_rows(cli: Cli, spent: list[Any], by: str) -> None:
    found = json.loads(cli("cost", "report", "--by", by, "--json").out)
    assert found["by"] == by
    assert found["total"]["requests"] == len(spent)
    assert Decimal(found["total"]["cost"]) == sum(row.cost for row in spent)
    assert sum(Decimal(group["cost"]) for group in found["groups"]) == Decimal(found["total"]["cost"])
    assert len(found["groups"]) == (1 if by in ("model", "day") else 2)
    assert found["definitions"].keys() == found["total"].keys() - {"name"}
    shown = cli("cost", "report", "--by", by)
    assert shown.out.splitlines()[0].split()[0] == by
    assert "--explain says what each figure means" in shown.err
    assert not [name for name, told in DEFINITIONS.items() if told in shown.err]


def test_a_report_explains_its_figures_where_that_is_wished(cli: Cli, spent: list[Any]) -> None:
    assert spent
    bare, explained = cli("cost", "report"), cli("cost", "report", "--explain")
    assert explained.out == bare.out
    assert "cost: US dollars of all attempts whose cost is known" in explained.err
    assert [name for name in SHOWN if f"{name.replace('_', ' ')}: {DEFINITIONS[name]}" not in explained.err] == []


def test_a_name_is_shown_as_it_is(cli: Cli, spent: list[Any], state: Path) -> None:
    """Whatever a tag holds, the terminal does not obey it."""
    assert spent
    with closing(open_store(state)) as store:
        store.begin(intent(at=dt.datetime.now(dt.UTC), project="[red]\x1b[2J"))
    assert "project=[red]\\x1b[2J" in cli("cost", "report", "--by", "tag").out.replace("\n", "")
    assert "warning: 1 requests were lost: they may cost up to 0.0035 besides" in cli("cost", "report").err


def test_a_report_may_begin_at_a_day(cli: Cli, spent: list[Any]) -> None:
    assert json.loads(cli("cost", "report", "--since", "7d", "--json").out)["total"]["requests"] == len(spent)
    assert json.loads(cli("cost", "report", "--since", "2999-01-01", "--json").out)["total"]["requests"] == 0
    said = cli("cost", "report", "--since", "tomorrow")
    assert (said.status, said.out) == (2, "")
    assert "'tomorrow' is no day" in said.err


def test_rows_are_exported(cli: Cli, spent: list[Any]) -> None:
    as_csv = list(csv.DictReader(io.StringIO(cli("cost", "export", "--csv").out)))
    as_json = [json.loads(line) for line in cli("cost", "export", "--jsonl").out.splitlines()]
    assert [row["cost"] for row in as_csv] == [row["cost"] for row in as_json]
    assert [Decimal(row["cost"]) for row in as_json] == [row.cost for row in spent]
    assert as_json[0]["usage"]["prompt_tokens"] == spent[0].input
    assert as_json[0]["price"]["source"].endswith("prices.toml: price 1")
    assert cli("cost", "export").status == 2
    assert cli("cost", "export", "--csv", "--jsonl").status == 2


def test_an_estimate_comes_before_the_first_call(cli: Cli, tmp_path: Path) -> None:
    path = tmp_path / "prompt.txt"
    path.write_text("x" * 400)
    options = ("--base-url", "https://api.openai.com/v1", "--model", "gpt-4o-mini", "--answer", "10")
    found = json.loads(cli("cost", "estimate", str(path), *options, "--json").out)
    assert (found["prompts"], found["prompt_tokens"], found["acceptance"]) == (1, 100, 0.5)
    assert found["naive"] == {"calls": 10, "input": 1045.0, "output": 10, "cost": "0.0001628"}  # 1045 * .15 + 10 * .6
    assert found["windowed"]["calls"] < 10
    assert Decimal(found["windowed"]["cost"]) < Decimal(found["naive"]["cost"])
    assert any("50%" in note and "assumed" in note for note in found["notes"])
    assert "one token per call" in cli("cost", "estimate", str(path), *options).out


def test_an_estimate_learns_from_the_ledger(cli: Cli, where: tuple[str, ...], spent: list[Any], tmp_path: Path) -> None:
    path = tmp_path / "prompts.jsonl"
    path.write_text('"one"\n{"prompt": "another"}\n')
    found = json.loads(cli("cost", "estimate", str(path), *where[:4], "--json").out)
    assert found["prompts"] == 2
    assert found["price"].endswith("prices.toml: price 1")
    assert found["acceptance"] == pytest.approx(2 / 3)
    assert any(f"measured over {len(spent)} replies of tiny" in note for note in found["notes"])
    given = json.loads(cli("cost", "estimate", str(path), *where[:4], "--acceptance", "1", "--json").out)
    assert given["acceptance"] == 1.0


def test_an_estimate_without_a_price_counts_tokens_only(cli: Cli, tmp_path: Path) -> None:
    path = tmp_path / "prompt.txt"
    path.write_text("hello")
    options = ("--base-url", "http://127.0.0.1:9/v1", "--model", "mine")
    assert json.loads(cli("cost", "estimate", str(path), *options, "--json").out)["naive"]["cost"] is None
    assert "unknown" in cli("cost", "estimate", str(path), *options).out


def test_the_fewest_tokens_that_a_call_may_ask_for_are_billed(cli: Cli, config_home: Path, tmp_path: Path) -> None:
    folder = config_home / "blackbox-proxy" / "profiles"
    folder.mkdir(parents=True)
    (folder / "mine.toml").write_text('extends = "vllm"\n[options]\nmin_output = 16\n')
    path = tmp_path / "prompt.txt"
    path.write_text("hello")
    options = ("--profile", "mine", "--base-url", "http://127.0.0.1:9/v1", "--model", "m", "--answer", "10", "--json")
    assert json.loads(cli("cost", "estimate", str(path), *options).out)["naive"]["output"] == 160


@pytest.mark.parametrize(
    ("name", "text", "says"),
    [
        ("none.txt", None, "cannot read prompts from"),
        ("empty.txt", " \n", "holds no prompt"),
        ("bad.jsonl", "{\n", "line 1 is not JSON"),
        ("bad.jsonl", '"a"\n\n{"question": "b"}\n', "line 3 holds no prompt"),
    ],
)
def test_a_file_without_prompts_is_refused(cli: Cli, tmp_path: Path, name: str, text: str | None, says: str) -> None:
    path = tmp_path / name
    if text is not None:
        path.write_text(text)
    said = cli("cost", "estimate", str(path), "--base-url", "http://127.0.0.1:9/v1", "--model", "mine")
    assert said.status == 2
    assert says in said.err


@pytest.fixture
def worded(config_home: Path, where: tuple[str, ...]) -> None:
    """What `doctor` writes of a chat that has to be asked in words."""
    write_overlay(
        user_folder({"XDG_CONFIG_HOME": str(config_home)}),
        extends="compatible",
        base_url=where[1],
        model=where[3],
        measured=dt.date(2026, 11, 25),
        options={"path": "/chat/completions", "decoder": "openai_chat", "logprobs_kind": "bool"},
        adapter="chat_continue",
    )


@pytest.mark.usefixtures("priced", "worded")
def test_before_a_run_in_words_its_calls_and_dollars_are_told_and_come_near(
    cli: Cli, where: tuple[str, ...], state: Path, tmp_path: Path
) -> None:
    """An answer is foreseen by the one before; no profile is named, since `doctor` has measured the place."""
    said = cli("steer", "What is this?", *where, "--max-tokens", "24", "--json")
    first = json.loads(said.out)
    assert re.search(
        r"an answer of 24 tokens about \d+, with .* in and .* out, about [\d.]+ USD; --max-calls", said.err
    )
    assert first["usage"]["requests"] == len(rows(state))
    assert Decimal(first["cost"]) == sum(row.cost for row in rows(state))
    path = tmp_path / "prompt.txt"
    path.write_text("What is this?")
    options = (*where[:4], "--answer", str(first["tokens"]), "--json")
    found = json.loads(cli("cost", "estimate", str(path), *options).out)
    assert found["ways"] is not None
    assert first["usage"]["requests"] / 1.5 <= found["windowed"]["calls"] <= first["usage"]["requests"] * 1.5
    assert "in words" not in cli("steer", "What is this?", *where, "--alpha", "0", "--max-tokens", "4").err


def test_no_warning_where_the_endpoint_goes_on_by_itself(cli: Cli, where: tuple[str, ...]) -> None:
    assert "in words" not in cli("steer", "What is this?", *where, *FAST).err
