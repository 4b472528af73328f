"""`--record`, `--replay` and the commands about cassettes: recorded over real HTTP, replayed without a network."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import openai
import pytest

from blackbox_proxy.cassettes.matching import Replay
from blackbox_proxy.cassettes.reading import read_header, rows_of
from blackbox_proxy.cassettes.recording import Recorder
from blackbox_proxy.cli.settings import Settings
from blackbox_proxy.cli.taping import TapeOptions
from blackbox_proxy.gateway.config import parse_config
from blackbox_proxy.gateway.server import running as gateway
from blackbox_proxy.ledger.opening import open_store
from blackbox_proxy.standin import running
from tests.cassettes.bench import no_network
from tests.cli.runs import PROGRAM, Cli, Said
from tests.evaluation.tasks import written
from tests.gateway.serving import config_text
from tests.remote.consulting import patient

QUESTION = ("steer", "the then", "--raw", "--template", "raw", "--max-tokens", "4", "--json")


@pytest.fixture(autouse=True)
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty place for the ledger."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    return tmp_path / "state" / "blackbox-proxy" / "ledger.sqlite"


def replayed_rows(path: Path) -> tuple[int, int]:
    """How many rows of the ledger are live, and how many replayed."""
    with closing(open_store(path)) as store:
        rows = list(store.rows())
    return sum(not row.replayed for row in rows), sum(row.replayed for row in rows)


def timeless(said: Said) -> dict[str, Any]:
    """A JSON result without seconds."""
    assert said.status == 0, said
    found: dict[str, Any] = json.loads(said.out)
    for name in [name for name in found if "seconds" in name]:
        del found[name]
    found.get("usage", {}).pop("local_seconds", None)
    return found


def test_steer_records_and_replays_without_address_and_network(
    cli: Cli, where: tuple[str, ...], pair_path: Path, tmp_path: Path, state: Path
) -> None:
    tape = str(tmp_path / "tape.jsonl.gz")
    before = timeless(cli(*QUESTION, *where, "--record", tape))
    live, none = replayed_rows(state)
    assert (live > 0, none) == (True, 0)
    with no_network():
        after = timeless(cli(*QUESTION, "--pair", str(pair_path), "--replay", tape))
    assert after == before
    assert replayed_rows(state) == (live, live)
    report = cli("cost", "report")
    assert f"{live} requests were replayed from a cassette" in report.err + report.out
    said = cli(*QUESTION, "--pair", str(pair_path), "--replay", tape, "--alpha", "0.25", "--temperature", "0.9")
    assert said.status == 2
    assert "does not hold this request to /completions; the nearest (line 2) differs in" in said.out


def test_the_cassette_wins_over_the_settings_and_the_command_line_over_both(
    cli: Cli, where: tuple[str, ...], pair_path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tape = tmp_path / "tape.jsonl"
    before = timeless(cli(*QUESTION, *where, "--record", str(tape)))
    monkeypatch.setenv("BLACKBOX_PROXY_BASE_URL", "https://api.example/v1")
    monkeypatch.setenv("BLACKBOX_PROXY_MODEL", "another")
    monkeypatch.setenv("BLACKBOX_PROXY_PROFILE", "mistral")
    assert timeless(cli(*QUESTION, "--pair", str(pair_path), "--replay", str(tape))) == before
    said = cli(*QUESTION, "--pair", str(pair_path), "--replay", str(tape), "--model", "third")
    assert "differs in model" in said.out
    settings = TapeOptions(replay=tape).settings(Settings())
    assert (settings.base_url, settings.model, settings.profile) == (where[1], "tiny", "")
    assert TapeOptions().settings(settings) is settings


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (("--record", "a", "--replay", "b"), "there is no cassette b"),
        (("--record-prompts", "hash"), "--record-prompts says how to record"),
        (("--replay-pace", "recorded"), "--replay-pace says how to replay"),
        (("--replay", "nothing.jsonl"), "there is no cassette nothing.jsonl"),
        (("--record", "pyproject.toml"), "pyproject.toml, line 1"),
    ],
)
def test_what_cannot_be_is_said(cli: Cli, where: tuple[str, ...], given: Sequence[str], said: str) -> None:
    told = cli("steer", "x", *where, *given)
    assert (told.status, said in told.err) == (2, True), told.err


def test_record_and_replay_exclude_each_other(cli: Cli, where: tuple[str, ...], tmp_path: Path) -> None:
    tape = tmp_path / "tape.jsonl"
    Recorder(tape).begin()
    said = cli("steer", "x", *where, "--record", str(tape), "--replay", str(tape))
    assert (said.status, "--record and --replay exclude each other" in said.err) == (2, True)


def test_prompts_are_hashed_where_that_is_asked(
    cli: Cli, where: tuple[str, ...], pair_path: Path, tmp_path: Path
) -> None:
    tape = tmp_path / "tape.jsonl"
    before = timeless(cli(*QUESTION, *where, "--record", str(tape), "--record-prompts", "hash"))
    assert "the then" not in tape.read_text()
    assert timeless(cli(*QUESTION, "--pair", str(pair_path), "--replay", str(tape))) == before


def test_choose_and_drift_record_and_replay(cli: Cli, where: tuple[str, ...], pair_path: Path, tmp_path: Path) -> None:
    tape, record = str(tmp_path / "tape.jsonl"), str(tmp_path / "drift.json")
    choosing = ("choose", "the", "--raw", "--option", " then", "--option", " a", "--json")
    before = cli(*choosing, *where, "--template", "raw", "--record", tape)
    with no_network():
        after = cli(*choosing, "--pair", str(pair_path), "--template", "raw", "--replay", tape)
    assert json.loads(after.out)["options"] == json.loads(before.out)["options"]
    place, watched = where[:4], str(tmp_path / "watched.jsonl")
    timeless(cli("drift", "record", *place, "--file", record, "--json", "--record", watched))
    with no_network():
        timeless(cli("drift", "record", "--file", f"{record}.2", "--json", "--replay", watched))
    made, again = (json.loads(Path(path).read_text()) for path in (record, f"{record}.2"))
    assert made["canaries"] == again["canaries"]
    checked = str(tmp_path / "checked.jsonl")
    assert cli("drift", "check", *place, "--file", record, "--record", checked).status == 0
    with no_network():
        assert cli("drift", "check", "--file", record, "--replay", checked).status == 0


def test_a_doctor_examines_a_recording(cli: Cli, tmp_path: Path) -> None:
    tape = str(tmp_path / "tape.jsonl")
    with running(patient(), name="toy", quirks=("no-ids",)) as url:
        before = json.loads(cli("doctor", "--base-url", url, "--model", "toy", "--json", "--record", tape).out)
    with no_network():
        said = cli("doctor", "--json", "--no-write", "--replay", tape)
    after = json.loads(said.out)
    assert "to ask" not in said.err
    for name in ("verdict", "findings", "checks", "options", "calls", "tokens"):
        assert without_seconds(after[name]) == without_seconds(before[name]), name


def without_seconds(value: object) -> str:
    """What the doctor says, but for how long it waited."""
    return re.sub(r"[\d.]+ s\b", "SECONDS s", json.dumps(value))


def test_evaluate_records_and_replays(cli: Cli, where: tuple[str, ...], pair_path: Path, tmp_path: Path) -> None:
    tape, task = str(tmp_path / "tape.jsonl.gz"), str(written(tmp_path / "towns"))
    asked = ("evaluate", task, "--limit", "2", "--only", "closed", "--only", "steered", "--json")
    before = json.loads(cli(*asked, *where, "--answers", str(tmp_path / "a"), "--record", tape).out)["towns"]
    with no_network():
        said = cli(*asked, "--pair", str(pair_path), "--answers", str(tmp_path / "b"), "--replay", tape)
    after = json.loads(said.out)["towns"]
    for arm in ("closed", "steered"):
        assert (after[arm]["n"], after[arm]["score"]) == (before[arm]["n"], before[arm]["score"])
    said = cli(*asked, "--standin", "demo", "--replay", tape)
    assert (said.status, "--standin is neither recorded nor replayed" in said.out) == (2, True)


def test_a_gateway_records_what_it_asks_upstream(api_url: str, pair_path: Path, tmp_path: Path) -> None:
    tape = tmp_path / "tape.jsonl"
    config = parse_config(config_text(api_url, pair=pair_path), where="test", folder=tmp_path, environ={})

    def answer(url: str) -> str:
        with openai.OpenAI(base_url=url, api_key="none", max_retries=0) as client:
            made = client.completions.create(model="steered", prompt="the then", max_tokens=4)
        return made.choices[0].text

    with gateway(config, tape=Recorder(tape)) as url:
        before = answer(url)
    assert read_header(tape).address == api_url
    assert len(list(rows_of(tape))) > 0
    with gateway(config, tape=Replay(tape)) as url:
        assert answer(url) == before


def test_serve_takes_the_options(tmp_path: Path, api_url: str, pair_path: Path) -> None:
    config, tape = tmp_path / "gateway.toml", tmp_path / "tape.jsonl"
    config.write_text(config_text(api_url, pair=pair_path) + "\n[ledger]\noff = true\n")
    command = [*PROGRAM, "serve", "--config", str(config), "--record", str(tape), "--json"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        try:
            assert server.stdout
            assert json.loads(server.stdout.readline())["url"]
        finally:
            server.terminate()
    assert read_header(tape).model == "tiny"


@pytest.fixture
def taped(cli: Cli, where: tuple[str, ...], tmp_path: Path) -> Path:
    tape = tmp_path / "taped.jsonl"
    timeless(cli(*QUESTION, *where, "--record", str(tape)))
    return tape


def test_show_lists_the_attempts(cli: Cli, taped: Path) -> None:
    rows = json.loads(cli("cassette", "show", str(taped), "--json").out)
    assert [row["line"] for row in rows] == list(range(2, len(rows) + 2))
    assert {(row["path"], row["model"], row["outcome"], row["attempt"]) for row in rows} == {
        ("/completions", "tiny", "200", 1)
    }
    assert rows[0]["prompt"] == "the then"
    said = cli("cassette", "show", str(taped)).out
    assert said.count("/completions") == len(rows)
    assert "the then" in said


def test_check_counts_and_names_what_looks_like_a_key(cli: Cli, taped: Path) -> None:
    said = cli("cassette", "check", str(taped))
    assert (said.status, "is right: " in said.out, "prompts plain" in said.out) == (0, True, True)
    lines = taped.read_text().splitlines(keepends=True)
    lines[1] = lines[1].replace("the then", "sk-abcdefghijklmnopqrstuvwx")
    taped.write_text("".join(lines))
    said = cli("cassette", "check", str(taped), "--json")
    assert (said.status, json.loads(said.out)["suspects"]) == (1, [2])
    assert "looks like a key in line 2" in cli("cassette", "check", str(taped)).err
    taped.write_text("".join(lines)[:-5])
    said = cli("cassette", "check", str(taped))
    assert (said.status, "it is cut off" in said.err, "cassette prune" in said.err) == (2, True, True)


def test_diff_says_what_two_do_not_share(cli: Cli, taped: Path, tmp_path: Path) -> None:
    other = tmp_path / "other.jsonl"
    lines = taped.read_text().splitlines(keepends=True)
    other.write_text("".join(lines[:-1]))
    assert cli("cassette", "diff", str(taped), str(taped)).out == "they hold the same\n"
    said = cli("cassette", "diff", str(taped), str(other))
    assert (said.status, said.out.count("only in the first")) == (1, 1)
    other.write_text("".join([*lines[:-1], lines[-1].replace('"status": 200', '"status": 201')]))
    (found,) = json.loads(cli("cassette", "diff", str(taped), str(other), "--json").out)
    assert found["words"] == "attempts[0].status: 200 and 201"
    assert found["lines"] == [len(lines), len(lines)]


def test_merge_and_prune(cli: Cli, taped: Path, tmp_path: Path) -> None:
    count, whole = len(list(rows_of(taped))), tmp_path / "all.jsonl.gz"
    said = cli("cassette", "merge", str(whole), str(taped), str(taped), "--json")
    assert json.loads(said.out) == {"file": str(whole), "attempts": count}
    assert cli("cassette", "merge", str(whole), str(taped)).status == 2
    taped.write_bytes(taped.read_bytes()[:-9])
    said = cli("cassette", "prune", str(taped))
    assert said.out == f"{taped}: {count - 1} of {count - 1} attempts\n"
    assert len(list(rows_of(taped))) == count - 1
