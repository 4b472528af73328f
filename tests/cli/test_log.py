"""The log of prompts and answers on the command line: off by default, written by `steer` and `chat`, shown by `log`."""

from __future__ import annotations

import json
import stat
from pathlib import Path
from typing import Any

import pytest

from tests.adapters.shapes import body
from tests.cli.runs import Cli, Said
from tests.remote.scripted import Say, ScriptedApi

FAST = ("--max-tokens", "4")
KEY = "sk-this-key-must-never-show-0123456789"

pytestmark = pytest.mark.usefixtures("state")


def rows(said: Said) -> list[dict[str, Any]]:
    return [json.loads(line) for line in said.out.splitlines()]


def test_nothing_is_kept_unless_somebody_names_a_file(
    cli: Cli, where: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert cli("steer", "hello there", *where, *FAST).status == 0
    assert cli("chat", *where, *FAST, stdin=b"hello there\n").status == 0
    kept = [path for path in tmp_path.rglob("*") if path.is_file() and b"hello there" in path.read_bytes()]
    assert kept == []
    said = cli("log")
    assert said.status == 2
    assert "no log is kept" in said.err


def test_steer_and_chat_write_into_the_log_that_the_setting_names(
    cli: Cli, where: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A conversation has a name; its questions stand alone, with the system message."""
    file = tmp_path / "answers.jsonl"
    monkeypatch.setenv("BLACKBOX_PROXY_LOG", str(file))
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    steered = json.loads(cli("steer", f"hello {KEY}", *where, *FAST, "--json").out)
    cli("steer", "colour", *where, *FAST, "--temperature", "1", "--n", "2", "--seed", "5")
    talked = rows(cli("chat", *where, *FAST, "--json", "--system", "S", stdin=b"one\n/alpha 0.5\ntwo\n"))
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert KEY not in file.read_text(encoding="utf-8")
    first, drawn, other, one, two = rows(cli("log", "--json"))
    assert (first["command"], first["answer"], first["model"]) == ("steer", steered["text"], "tiny")
    assert first["messages"] == [{"role": "user", "content": "hello [key]"}]
    assert first["calls"] == steered["usage"]["requests"]
    assert (drawn["knobs"]["seed"], other["knobs"]["seed"]) == (5, 6)
    assert [one["answer"], two["answer"]] == [talked[0]["text"], talked[2]["text"]]
    assert (one["before"], two["before"]) == (0, 2)
    assert one["conversation"] == two["conversation"]
    assert two["messages"] == [{"role": "system", "content": "S"}, {"role": "user", "content": "two"}]
    assert (one["knobs"]["alpha"], two["knobs"]["alpha"]) == (1.0, 0.5)
    shown = cli("log", "-n", "1")
    assert "> two" in shown.out
    assert two["answer"].splitlines()[0] in shown.out
    assert "alpha 0.5" in shown.out
    assert "> one" not in shown.out
    assert [found["answer"] for found in rows(cli("log", "HELLO", "--json"))] == [steered["text"]]
    assert "has no row with 'nowhere'" in cli("log", "nowhere").err


@pytest.mark.parametrize("as_json", [False, True], ids=["text", "json"])
def test_an_answer_that_broke_off_is_kept_with_the_reason(
    cli: Cli, pair_path: Path, tmp_path: Path, *, as_json: bool
) -> None:
    file = tmp_path / "answers.jsonl"
    no = Say({"error": {"message": "no", "code": "model_not_found"}}, status=404)
    some = Say(body(("a", -0.1, {"a": -0.1, "b": -3.0}), finish="length"))
    with ScriptedApi(some, no) as api:
        options = ("--base-url", api.url, "-m", "m", "--pair", str(pair_path), "--template", "chatml", "--draft", "1")
        more = ("--json",) if as_json else ()
        assert cli("steer", "hello", *options, "--log", str(file), *more).status == 1
    (one,) = rows(cli("log", "--log", str(file), "--json"))
    assert one["finish"] == "error"
    assert "'m'" in one["error"]
    assert one["calls"] == 2


def test_a_log_that_cannot_be_written_is_refused_before_anything_is_asked(
    cli: Cli, pair_path: Path, tmp_path: Path
) -> None:
    with ScriptedApi() as api:
        options = ("--base-url", api.url, "-m", "m", "--pair", str(pair_path))
        for command in ("steer", "chat"):
            said = cli(command, *(["hello"] if command == "steer" else []), *options, "--log", str(tmp_path))
            assert said.status == 2
            assert "cannot write the log" in said.err
        assert api.seen == []
