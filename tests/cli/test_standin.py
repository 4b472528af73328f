"""`standin`: quirks are listed, checked before anything is fetched, and obeyed by what is served."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import time
from pathlib import Path

import pytest

from blackbox_proxy.standin import QUIRKS
from blackbox_proxy.standin.scenarios import schema
from tests.cli.runs import PROGRAM, Cli
from tests.standin.raw import call, post


def test_all_quirks_are_listed(cli: Cli) -> None:
    said = cli("standin", "--list-quirks")
    assert (said.status, said.err) == (0, "")
    assert all(quirk.form in said.out and quirk.name in said.out for quirk in QUIRKS.values())
    found = json.loads(cli("standin", "--list-quirks", "--json").out)
    assert [one["name"] for one in found] == list(QUIRKS)
    assert {"name", "form", "what", "seen"} == set(found[0])


@pytest.mark.parametrize(
    ("quirks", "says"),
    [
        (["top-kcap=5"], "did you mean top-k-cap=K?"),
        (["top-k-cap"], "write top-k-cap=K"),
        (["faults=oops"], "'oops' is no fault"),
        (["no-prefill", "implicit-prefill"], "contradict each other"),
    ],
)
def test_a_wrong_quirk_is_refused_before_anything_is_fetched(cli: Cli, quirks: list[str], says: str) -> None:
    words = [word for quirk in quirks for word in ("--quirk", quirk)]
    said = cli("standin", "--model", "pypi:nonsense", *words)
    assert said.status == 2
    assert says in said.err
    refused = json.loads(cli("standin", "--model", "pypi:nonsense", "--json", *words).out)
    assert refused["error"]["type"] == "InputError"


def test_quirks_are_obeyed(tmp_path: Path) -> None:
    toy = tmp_path / "toy.json"
    toy.write_text(json.dumps({"pieces": ["a", "b"], "ends": ["</s>"], "distributions": {"": {"a": 3, "b": 1}}}))
    command = [*PROGRAM, "standin", "--script", str(toy), "--quirk", "top-k-cap=1", "--quirk", "faults=503,ok"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        try:
            assert server.stdout
            url = server.stdout.readline().split()[-1]
            asked = {"model": "toy", "prompt": "a", "max_tokens": 1}
            answers = [post(url, "/completions", asked | {"logprobs": k}) for k in (1, 1, 2)]
            server.send_signal(signal.SIGINT)
            server.wait(30)
        finally:
            server.kill()
    assert [answer.status for answer in answers] == [503, 200, 400]


SCENARIO = '[[exchange]]\nasked = "go"\nsaid = "gone"\n'
SECONDS = 60.0


def until(path: Path, *, there: bool) -> None:
    """Wait for a file to come, or to go."""
    deadline = time.monotonic() + SECONDS
    while path.exists() is not there:
        assert time.monotonic() < deadline, f"{path} is {'not there' if there else 'still there'}"
        time.sleep(0.02)


def test_a_scenario_is_served_with_a_ready_file_and_its_admin_routes(tmp_path: Path) -> None:
    """`--script s.toml --port 0 --ready-file F --admin`: whoever waits for F can ask at once, and F goes at the end."""
    script, ready = tmp_path / "s.toml", tmp_path / "deep" / "ready.txt"
    script.write_text(SCENARIO)
    command = [*PROGRAM, "standin", "--script", str(script), "--port", "0", "--ready-file", str(ready), "--admin"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        try:
            until(ready, there=True)
            url = ready.read_text().strip()
            asked = {"model": "any", "messages": [{"role": "user", "content": "go"}]}
            assert post(url, "/v1/chat/completions", asked).json["choices"][0]["message"]["content"] == "gone"
            assert len(call(url, "/__standin/requests").json) == 1
            assert call(url, "/__standin/reset", method="POST").status == 200
            assert call(url, "/__standin/requests").json == []
            server.send_signal(signal.SIGINT)
            server.wait(30)
        finally:
            server.kill()
    assert url.startswith("http://127.0.0.1:")
    assert not ready.exists()


def test_admin_routes_are_off_unless_asked_for_and_the_address_is_told_as_json_too(tmp_path: Path) -> None:
    script = tmp_path / "s.toml"
    script.write_text(SCENARIO)
    command = [*PROGRAM, "standin", "--script", str(script), "--json"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        try:
            assert server.stdout
            told = json.loads(server.stdout.readline())
            url = told["url"]
            statuses = [call(url, "/__standin/requests").status, call(url, "/__standin/reset", method="POST").status]
        finally:
            server.kill()
    assert statuses == [404, 404]
    assert told == {"url": url, "model": None}


def test_it_ends_with_its_parent(tmp_path: Path) -> None:
    """`--with-parent`: the shell that started it is killed, and the server goes; its ready file too."""
    script, ready = tmp_path / "s.toml", tmp_path / "ready.txt"
    script.write_text(SCENARIO)
    words = [*PROGRAM, "standin", "--script", str(script), "--ready-file", str(ready), "--with-parent"]
    shell = shutil.which("sh") or "/bin/sh"
    line = " ".join(f"'{word}'" for word in words)
    with subprocess.Popen([shell, "-c", f"{line} & echo $!; wait"], stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout
        server = int(parent.stdout.readline())
        until(ready, there=True)
        parent.kill()
        parent.wait(30)
        until(ready, there=False)
        deadline = time.monotonic() + SECONDS
        while is_running(server):
            assert time.monotonic() < deadline
            time.sleep(0.02)


def is_running(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    return True


def test_the_schema_of_a_scenario_is_printed(cli: Cli) -> None:
    said = cli("standin", "--schema")
    assert json.loads(said.out) == schema()


def test_a_mistake_in_a_scenario_has_its_file_and_line(cli: Cli, tmp_path: Path) -> None:
    script = tmp_path / "s.toml"
    script.write_text(SCENARIO + "sad = 1\n")
    said = cli("standin", "--script", str(script))
    assert said.status == 2
    assert "s.toml, line 4: exchange.1.sad: there is no such field" in said.err.replace("\n", "")


def test_a_cassette_is_served(tmp_path: Path) -> None:
    """`--from-cassette`."""
    tape = tmp_path / "tape.jsonl"
    asked = {"model": "m", "prompt": "x"}
    row = {"call": "a", "attempt": 1, "path": "/completions", "body": asked, "status": 200, "text": '{"kept": true}'}
    tape.write_text("".join(json.dumps(line) + "\n" for line in ({"cassette": 1, "model": "m"}, row)))
    command = [*PROGRAM, "standin", "--from-cassette", str(tape)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        try:
            assert server.stdout
            said = server.stdout.readline()
            answer = post(said.split()[-1], "/v1/completions", asked)
        finally:
            server.kill()
    assert said.startswith("serving tape at ")
    assert answer.json == {"kept": True}


def test_one_thing_is_served(cli: Cli, tmp_path: Path) -> None:
    said = cli("standin", "--from-cassette", str(tmp_path / "a"), "--script", str(tmp_path / "b"))
    assert said.status == 2
    assert "one of --model, --script and --from-cassette" in said.err.replace("\n", " ")
