"""The program as a process: how it is started and stopped, its streams, and its terminal."""

from __future__ import annotations

import json
import os
import pty
import signal
import subprocess
import sys
import time
from pathlib import Path
from urllib.request import urlopen

import pytest

from blackbox_proxy import __version__
from blackbox_proxy.standin import StandinOptions, Traffic, running
from tests.adapters.shapes import body
from tests.cli.runs import PROGRAM, SECONDS, Cli, as_process
from tests.remote.scripted import ScriptedApi
from tests.tiny_gguf import TinyModel

SCRIPT = str(Path(sys.executable).with_name("blackbox-proxy"))


@pytest.mark.parametrize("program", [PROGRAM, (SCRIPT,)], ids=["python -m", "script"])
@pytest.mark.parametrize("word", ["version", "--version"])
def test_the_version_is_printed(program: tuple[str, ...], word: str) -> None:
    ran = subprocess.run([*program, word], capture_output=True, text=True, timeout=SECONDS, check=True)
    assert ran.stdout == f"{__version__}\n"
    assert ran.stderr == ""


def test_an_answer_and_nothing_else_on_standard_output(where: tuple[str, ...]) -> None:
    said = as_process("steer", "-", *where, "--max-tokens", "6", "--trace", stdin=b"hello\n")
    assert said.status == 0
    assert "API token" in said.out
    assert "\x1b" not in said.out + said.err
    assert "tokens in" in said.err


def test_an_error_is_no_traceback(where: tuple[str, ...]) -> None:
    said = as_process("steer", "hello", *where, "--model", "other", "--json")
    assert said.status == 1
    assert json.loads(said.out)["error"]["type"] == "ApiRefused"
    assert said.err == ""


def test_what_is_shown_fits_through_any_encoding(cli: Cli, pair_path: Path) -> None:
    """What the output cannot spell is spelt out."""
    command = ("pair", "check", "--pair", str(pair_path))
    assert not cli(*command).out.isascii()
    said = as_process(*command, environ={"PYTHONIOENCODING": "ascii"})
    assert said.status == 0
    assert said.out.isascii()
    assert r"\u" in said.out


@pytest.mark.parametrize("encoding", ["cp1252", "ascii"])
def test_narrow_consoles_are_written_to(encoding: str, pair_path: Path) -> None:
    """Tables, marks of blanks, and an answer with an emoji: what cannot be written is spelt out."""
    told = body(("Hi \U0001f44d\u4f60", -0.1, {"Hi \U0001f44d\u4f60": -0.1, " x": -9.0}), finish="length")
    with ScriptedApi(answer=lambda _: told) as api:
        options = (
            "--base-url",
            api.url,
            "--model",
            "m",
            "--template",
            "chatml",
            "--pair",
            str(pair_path),
            "--no-ledger",
        )
        commands = (
            ("profiles", "list"),
            ("profiles", "show", "mistral"),
            ("standin", "--list-quirks"),
            ("weights", "list"),
            ("steer", "hi", *options, "--alpha", "0", "--max-tokens", "1", "--trace"),
        )
        for command in commands:
            ran = subprocess.run(
                [*PROGRAM, *command],
                capture_output=True,
                timeout=SECONDS,
                check=False,
                env={**os.environ, "PYTHONIOENCODING": encoding},
            )
            assert ran.returncode == 0, ran.stderr
            assert b"UnicodeEncodeError" not in ran.stderr
            (ran.stdout + ran.stderr).decode(encoding)


@pytest.fixture(params=["", "1"], ids=["buffered", "unbuffered"])
def buffering(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Output fails when it is written, or only when it is flushed at the end."""
    monkeypatch.setenv("PYTHONUNBUFFERED", request.param)


@pytest.mark.usefixtures("buffering")
def test_a_reader_that_leaves_is_no_error() -> None:
    """As in `blackbox-proxy version | true`."""
    reading, writing = os.pipe()
    os.close(reading)
    ran = subprocess.run([*PROGRAM, "version"], stdout=writing, stderr=subprocess.PIPE, timeout=SECONDS, check=False)
    os.close(writing)
    assert ran.returncode == 1
    assert ran.stderr == b""


@pytest.mark.usefixtures("buffering")
@pytest.mark.skipif(not Path("/dev/full").exists(), reason="only Linux has a device that is always full")
def test_a_full_disk_is_said() -> None:
    with Path("/dev/full").open("wb") as full:
        ran = subprocess.run([*PROGRAM, "version"], stdout=full, stderr=subprocess.PIPE, timeout=SECONDS, check=False)
    assert ran.returncode == 1
    assert ran.stderr.startswith(b"error: ")
    assert ran.stderr.count(b"\n") == 2


def on_terminal(*argv: str) -> tuple[int, str]:
    """Status, and what a terminal was sent: all three streams are one."""
    ours, theirs = pty.openpty()
    with subprocess.Popen([*PROGRAM, *argv], stdin=theirs, stdout=theirs, stderr=theirs) as shell:
        os.close(theirs)
        shown = b"".join(iter(lambda: _read(ours), b""))
        status = shell.wait(SECONDS)
    os.close(ours)
    return status, shown.decode()


def _read(terminal: int) -> bytes:
    try:
        return os.read(terminal, 65536)
    except OSError:  # Linux' way of saying that the other side is closed
        return b""


def test_colour_is_for_terminals() -> None:
    status, shown = on_terminal("weights", "list")
    assert status == 0
    assert "\x1b[1m" in shown
    assert "\x1b" not in as_process("weights", "list").out


def test_a_forgotten_prompt_is_not_waited_for(where: tuple[str, ...]) -> None:
    status, shown = on_terminal("steer", *where)
    assert status == 2
    assert "error: there is no prompt" in shown


@pytest.mark.parametrize("as_json", [False, True], ids=["text", "json"])
def test_an_interrupt_keeps_what_is_there(tiny_api: TinyModel, pair_path: Path, *, as_json: bool) -> None:
    """And does not wait for the call that hangs."""
    traffic = Traffic()
    options: StandinOptions = {"name": "tiny", "quirks": ["faults=ok,ok,hang"], "traffic": traffic}
    with running(tiny_api.path, **options) as url:
        command = [*PROGRAM, "steer", "hello", "--base-url", url, "--model", "tiny", "--pair", str(pair_path)]
        command += ["--draft", "1", "--json"] if as_json else ["--draft", "1"]
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as asking:
            try:
                while "hang" not in traffic.kinds:
                    assert asking.poll() is None
                    time.sleep(0.05)
                asking.send_signal(signal.SIGINT)
                out, err = asking.communicate(timeout=30)
            finally:
                asking.kill()
    assert asking.returncode == 128 + signal.SIGINT
    if as_json:
        partial = json.loads(out)["partial"]
        assert (partial["tokens"], partial["finish"], err) == (2, "error", "")
        assert (partial["usage"]["requests"], partial["usage"]["lost"]) == (3, 1)
        assert len(partial["text"]) > 0
    else:
        assert len(out) > 1
        assert err.startswith("2 tokens in 3 calls (1 lost); ")
        assert "requests without a usable reply, at unknown cost: 1" in err


def test_the_standin_prints_its_address_answers_and_stops_on_an_interrupt(tiny_bpe: TinyModel) -> None:
    command = [*PROGRAM, "standin", "--model", str(tiny_bpe.path), "--name", "tiny", "--port", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as server:
        assert server.stdout
        assert server.stderr
        try:
            line = server.stdout.readline()
            assert line.startswith("serving tiny at http://127.0.0.1:")
            with urlopen(line.split()[-1].removesuffix("/v1") + "/health", timeout=30) as health:  # noqa: S310
                assert health.status == 200
            server.send_signal(signal.SIGINT)
            assert server.wait(30) == 128 + signal.SIGINT
            assert server.stdout.read() == ""
            assert server.stderr.read().strip() == ""
        finally:
            server.kill()
