"""Pages from end to end: a real server, tiny models, a ledger, and the files that the command line leaves."""

from __future__ import annotations

import json
import re
from decimal import Decimal
from pathlib import Path

import pytest

from blackbox_proxy.standin import running
from tests.cli.runs import API_CONTEXT, Cli
from tests.pages.reading import Page
from tests.tiny_gguf import TinyModel

FAST = ("--max-tokens", "8")
PRICES = '[[price]]\nmodel = "tiny"\ninput = 2.5\noutput = 10\n'


@pytest.fixture(autouse=True)
def priced(tmp_path: Path, config_home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An empty place for the ledger, and a price."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    (config_home / "blackbox-proxy").mkdir(parents=True)
    (config_home / "blackbox-proxy" / "prices.toml").write_text(PRICES)


def read(path: Path) -> Page:
    page = Page.read(path.read_text(encoding="utf-8"))
    page.check()
    return page


def test_an_answer_and_what_it_cost_become_pages(cli: Cli, where: tuple[str, ...], tmp_path: Path) -> None:
    answer, bill = tmp_path / "answer.html", tmp_path / "bill.html"
    said = cli("steer", "<b>What</b> is this?", *where, *FAST, "--trace-html", str(answer), "--tag", "project=<x>")
    assert said.status == 0, said
    assert f"written: {answer}" in said.err
    page = read(answer)
    (turns,) = page.root.find("dl", "turns")
    assert turns.find("dd")[0].text == "<b>What</b> is this?"
    (tokens,) = page.root.find("ol", "tokens")
    assert f"{len(tokens.find('div', 'card'))} tokens in " in said.err
    assert len([card for card in tokens.find("div", "card") if card.find("tr")]) > 3
    costs = [Decimal(cell.attributes["value"] or "") for cell in page.root.find("data")]
    said = cli("cost", "report", "--html", str(bill))
    assert said.status == 0
    assert f"written: {bill}" in said.err
    page = read(bill)
    total = json.loads(cli("cost", "report", "--json").out)["total"]
    assert float(sum(costs)) == pytest.approx(float(total["cost"]))
    shown = [figure.find("data")[0].attributes["value"] for figure in page.root.find("dd", "figure")]
    assert shown[:3] == [total["cost"], total["naive"], total["per_kept"]]
    assert total["local_seconds"] > 0
    assert "project=<x>" in page.root.find("ul", "bars")[1].text


def test_json_stays_alone_on_the_screen(cli: Cli, where: tuple[str, ...], tmp_path: Path) -> None:
    answer, bill = tmp_path / "answer.html", tmp_path / "bill.html"
    said = cli("steer", "What is this?", *where, *FAST, "--trace-html", str(answer), "--json")
    assert (said.status, said.err) == (0, "")
    found = json.loads(said.out)
    assert len(read(answer).root.find("div", "card")) == found["tokens"]
    said = cli("cost", "report", "--since", "7d", "--html", str(bill), "--json")
    assert (said.status, said.err) == (0, "")
    assert re.search(r"Only from \d{4}-\d\d-\d\d on", read(bill).root.find("header")[0].text)
    assert json.loads(said.out)["by"] == "model"


def test_a_page_of_ours_is_replaced_and_nothing_else_is(cli: Cli, where: tuple[str, ...], tmp_path: Path) -> None:
    cli("steer", "What is this?", *where, *FAST)
    bill, notes = tmp_path / "bill.html", tmp_path / "notes.txt"
    notes.write_text("mine")
    for _ in range(2):
        assert cli("cost", "report", "--html", str(bill)).status == 0
    for command in (("cost", "report", "--html"), ("steer", "Hi", *where, "--trace-html")):
        said = cli(*command, str(notes))
        assert (said.status, said.out) == (2, "")
        assert f"error: {notes} is there already, and is no page of ours\nhint: name another file" in said.err
    assert notes.read_text() == "mine"
    assert sorted(path.name for path in tmp_path.iterdir() if path.is_file()) == ["bill.html", "notes.txt"]


@pytest.mark.parametrize(
    ("file", "says"),
    [("none/page.html", "there is no folder "), (".", " is a folder")],
)
def test_a_place_where_no_page_can_be_is_refused_before_anything_is_sent(
    cli: Cli, where: tuple[str, ...], tmp_path: Path, file: str, says: str
) -> None:
    for command in (("steer", "Hi", *where, "--trace-html"), ("cost", "report", "--html")):
        said = cli(*command, str(tmp_path / file))
        assert (said.status, said.out) == (2, "")
        assert says in said.err
        assert "hint: " in said.err
    assert not (tmp_path / "state").exists()


def test_a_page_shows_one_answer(cli: Cli, where: tuple[str, ...], tmp_path: Path) -> None:
    page = tmp_path / "page.html"
    said = cli("steer", "Hi", *where, "--temperature", "1", "--n", "2", "--trace-html", str(page))
    assert said.status == 2
    assert "error: --trace-html shows one answer, and --n asks for 2\nhint: " in said.err
    assert not page.exists()


@pytest.mark.parametrize("as_json", [False, True])
def test_an_answer_that_breaks_off_leaves_a_page_of_what_there_was(
    cli: Cli, tiny_api: TinyModel, pair_path: Path, tmp_path: Path, *, as_json: bool
) -> None:
    page = tmp_path / "page.html"
    with running(tiny_api.path, name="tiny", context=API_CONTEXT, quirks=["faults=ok*2,401"]) as url:
        options = ("--base-url", url, "--model", "tiny", "--pair", str(pair_path), "--trace-html", str(page))
        said = cli("steer", "What is this?", *options, *(["--json"] if as_json else []))
    assert said.status == 1
    assert "It broke off." in read(page).root.find("header")[0].text
    assert read(page).root.find("div", "card")


def test_an_answer_that_never_began_leaves_no_page(cli: Cli, where: tuple[str, ...], tmp_path: Path) -> None:
    page = tmp_path / "page.html"
    said = cli("steer", "What is this?", *where, "--max-calls", "0", "--trace-html", str(page))
    assert said.status == 0
    assert "the budget of 0 calls per run is used up" in said.err
    assert not page.exists()
