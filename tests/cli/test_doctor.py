"""The command doctor: what it says before, what it shows, what it writes, and how it ends."""

from __future__ import annotations

import json
import os
import pty
import subprocess
from collections.abc import Iterator
from contextlib import closing
from decimal import Decimal
from pathlib import Path

import pytest
from rich.cells import cell_len

from blackbox_proxy.cli import show
from blackbox_proxy.doctor.findings import Check
from blackbox_proxy.doctor.requests import SHORT
from blackbox_proxy.ledger.opening import open_store
from blackbox_proxy.standin import StandinOptions, Traffic, running
from tests.cli.runs import PROGRAM, SECONDS, Cli
from tests.remote.consulting import patient

QUIRKS = ("templated-completions", "trimmed-prefill", "no-ids")


@pytest.fixture
def traffic() -> Traffic:
    return Traffic()


@pytest.fixture
def url(traffic: Traffic) -> Iterator[str]:
    with running(patient(), **StandinOptions(name="toy", quirks=QUIRKS, traffic=traffic)) as url:
        yield url


def overlays(config_home: Path) -> list[Path]:
    return sorted((config_home / "blackbox-proxy" / "profiles").glob("*.toml"))


@pytest.mark.parametrize("width", [80, 120])
def test_the_table_has_a_row_for_each_check_and_fits(
    cli: Cli, url: str, config_home: Path, monkeypatch: pytest.MonkeyPatch, width: int
) -> None:
    monkeypatch.setattr(show.out, "_width", width)
    said = cli("doctor", "--base-url", url, "--model", "toy")
    assert said.status == 0
    assert max(map(cell_len, said.out.splitlines())) <= width
    assert "Deviations: templated-completions, no-ids, trimmed-prefill." in said.out
    assert "Steering will be exact, by prefill: " in " ".join(said.out.split())
    assert "refused token ids " in said.out
    assert said.out.count("        sent /") == said.out.count("        came ") > 20
    assert said.err.startswith(f"to ask toy at {url}: about 37 calls, 1,200 tokens in, 320 out ")
    assert "cost unknown" in said.err
    (path,) = overlays(config_home)
    assert f"written to {path}" in said.err


@pytest.mark.parametrize("named", [(), ("--profile", "compatible"), ("--profile", "vllm")], ids=str)
def test_everything_is_there_as_json_and_is_used_by_the_next_run(
    cli: Cli, url: str, config_home: Path, pair_path: Path, named: tuple[str, ...]
) -> None:
    found = json.loads(cli("doctor", "--base-url", url, "--model", "toy", "--json").out)
    assert found["findings"] == [*QUIRKS[:1], "no-ids", "trimmed-prefill"]
    assert found["verdict"]["way"] == "prefill"
    assert found["cost"] is None
    assert found["options"]["trims"]
    assert found["tokens"]["output"] < 300
    assert {"what", "state", "saw", "finding", "sent", "came"} == found["checks"][0].keys()
    assert found["overlay"] == str(*overlays(config_home))
    said = cli(
        *("steer", SHORT, *named, "--base-url", url, "--model", "toy", "--pair", str(pair_path)),
        *("--alpha", "0", "--max-tokens", "5", "--json"),
    )
    assert json.loads(said.out)["text"] == "ok"


def test_nothing_is_written_where_nothing_is_to_be(cli: Cli, url: str, config_home: Path) -> None:
    found = json.loads(cli("doctor", "--base-url", url, "--model", "toy", "--no-write", "--json").out)
    assert found["overlay"] is None
    assert overlays(config_home) == []


def test_without_logprobs_whole_answers_are_drawn_by_what_was_measured(
    cli: Cli, config_home: Path, pair_path: Path
) -> None:
    """Without a flag: `auto` takes them, and says so before the first call."""
    with running(patient(), name="toy", quirks=["ignored-logprobs", "refused-fields=temperature"]) as url:
        said = cli("doctor", "--base-url", url, "--model", "toy")
        assert "Steering will be by whole answers, exact in the limit of many" in " ".join(said.out.split())
        (path,) = overlays(config_home)
        assert cli("profiles", "check", str(path)).status == 0
        place = ("--base-url", url, "--model", "toy", "--pair", str(pair_path))
        steered = cli("steer", SHORT, *place, "--max-tokens", "5", "--json")
    assert json.loads(steered.out)["samples"][0]["text"] == "ok"
    assert "up to 8 whole answers are drawn" in steered.err
    assert "at unknown cost" in steered.err


@pytest.mark.parametrize(("answer", "status"), [(b"n\n", 1), (b"y\n", 0)])
def test_a_terminal_is_asked_before_the_first_call(url: str, traffic: Traffic, answer: bytes, status: int) -> None:
    ours, theirs = pty.openpty()
    try:
        os.write(ours, answer)
        command = [*PROGRAM, "doctor", "--base-url", url, "--model", "toy", "--json"]
        ran = subprocess.run(command, stdin=theirs, stderr=theirs, stdout=subprocess.PIPE, timeout=SECONDS, check=False)
        shown = os.read(ours, 2**16).decode()
    finally:
        os.close(ours)
        os.close(theirs)
    assert ran.returncode == status
    assert "Go on? [Y/n]" in shown
    assert shown.index("about 37 calls") < shown.index("Go on?")
    assert bool(ran.stdout) == bool(traffic.total) == (status == 0)


def test_what_it_broke_off_at_is_shown_written_and_said(cli: Cli, config_home: Path) -> None:
    with running(patient(), name="toy", quirks=["no-ids", "faults=ok*25,401"]) as url:
        said = cli("doctor", "--base-url", url, "--model", "toy")
        assert said.status == 1
        assert "Deviations: no-ids." in said.out
        assert "error: " in said.err
        assert "refused the key (401)" in said.err
        (path,) = overlays(config_home)
        assert "unfinished: " in path.read_text()
        assert cli("profiles", "check", str(path)).status == 0
        whole = cli("doctor", "--base-url", url, "--model", "toy")
        assert whole.status == 0
        assert "unfinished" not in path.read_text()


def test_as_json_what_broke_off_is_one_object_too(cli: Cli, config_home: Path) -> None:
    with running(patient(), name="toy", quirks=["faults=ok*5,403"]) as url:
        said = cli("doctor", "--base-url", url, "--model", "toy", "--json")
    found = json.loads(said.out)
    assert said.status == 1
    assert found["error"]["type"] == "ApiRefused"
    assert found["calls"] == 6, "the refused one was sent too"
    assert found["options"] == {}
    assert found["overlay"] == str(*overlays(config_home))


def test_what_is_unfinished_does_not_replace_what_was_whole(cli: Cli, config_home: Path) -> None:
    with running(patient(), name="toy", quirks=["faults=ok*36,ok*5,401"]) as url:
        assert cli("doctor", "--base-url", url, "--model", "toy").status == 0
        (path,) = overlays(config_home)
        before = path.read_text()
        said = cli("doctor", "--base-url", url, "--model", "toy")
    assert said.status == 1
    assert "what was measured here before was whole" in said.err
    assert path.read_text() == before


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--base-url", "http://127.0.0.1:9/v1"), "--model is missing"),
        (("--model", "m"), "--base-url is missing"),
        (
            ("--model", "m-pro", "--profile", "azure", "--base-url", "http://127.0.0.1:9"),
            "azure cannot be steered with 'm-pro'",
        ),
        (("--model", "m", "--profile", "nonesuch"), "there is no profile 'nonesuch'"),
        (("--model", "m", "--profile", "llama_server"), "does not know the route /completion"),
        (("--model", "m", "--base-url", "https://example.com/v1"), "OPENAI_API_KEY is not set"),
        (("--model", "m", "--base-url", "https://example.com/v1", "--api-key-env", "sk-1"), "takes the name of"),
    ],
)
def test_bad_input_is_a_sentence(cli: Cli, words: tuple[str, ...], message: str) -> None:
    said = cli("doctor", *words)
    assert said.status == 2
    assert message in said.err
    assert "sk-1" not in said.err + said.out


def test_a_wrong_key_is_the_usual_error_and_never_shown(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MY_KEY", "sk-wrong-key")
    with running(patient(), **StandinOptions(name="toy", api_key="sk-right")) as url:
        said = cli("doctor", "--base-url", url, "--model", "toy", "--api-key-env", "MY_KEY")
    assert said.status == 1
    assert "refused the key (401)" in said.err
    assert "MY_KEY" in said.err
    assert "sk-wrong" not in said.out + said.err


def test_what_an_endpoint_says_cannot_move_the_cursor() -> None:
    from blackbox_proxy.cli.doctor import rows

    check = Check("bytes", "works", "a\x1b[2Jb " * 20, sent="/c \x1b[1m", came="'🦜\x07'" * 40)
    lines = [str(row) for row in rows(check, what=20, width=60)]
    assert not any(sign < " " for line in lines for sign in line)
    assert max(map(cell_len, lines)) <= 60


def test_its_bill_is_the_ledgers(cli: Cli, traffic: Traffic, config_home: Path, tmp_path: Path) -> None:
    """Faults that pass are attempts too; what it may cost is said before."""
    (config_home / "blackbox-proxy").mkdir(parents=True)
    (config_home / "blackbox-proxy" / "prices.toml").write_text('[[price]]\nmodel = "toy"\ninput = 1\noutput = 2\n')
    book = tmp_path / "book.sqlite"
    with running(patient(), name="toy", quirks=["faults=ok,429:0,ok"], traffic=traffic) as other:
        said = cli("doctor", "--base-url", other, "--model", "toy", "--json", "--ledger", str(book))
    found = json.loads(said.out)
    with closing(open_store(book)) as store:
        rows = list(store.rows())
    assert found["calls"] == len(rows) == traffic.total
    assert Decimal(found["cost"]) == sum((row.cost or Decimal(0) for row in rows), Decimal(0)) > 0
    assert found["tokens"]["input"] == sum(row.input or 0 for row in rows)
    assert "about 0.00184 USD" in said.err
