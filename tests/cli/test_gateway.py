"""`init`, `keys` and `serve` on the command line: what they write, what they refuse, and in which words."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import pytest

from blackbox_proxy.cli.serving import _announce
from blackbox_proxy.gateway.config import parse_config, read_config
from blackbox_proxy.gateway.keys import read_keys
from tests.cli.runs import PROGRAM, Cli
from tests.standin.raw import call, post

INIT = ("init", "--model", "tiny", "--base-url")


def test_serve_reads_what_init_writes(cli: Cli, tmp_path: Path, api_url: str, pair_path: Path) -> None:
    """Untouched but for the variables that win over the file."""
    path = tmp_path / "gateway.toml"
    said = cli(*INIT, api_url, "--pair", str(pair_path), "--config", str(path), "--json")
    assert said.status == 0
    assert json.loads(said.out) == {"file": str(path), "models": ["tiny"]}
    assert sum(line.startswith("# ") for line in path.read_text().splitlines()) > 20
    own = {"BLACKBOX_PROXY_SERVER__PORT": "0", "BLACKBOX_PROXY_LEDGER__OFF": "true"}
    read = read_config(path, own)
    assert not read.server.ui
    assert list(read.models) == ["steered-tiny"]
    assert (read.server.port, read.ledger.off) == (0, True)
    command = [*PROGRAM, "serve", "--config", str(path), "--json"]
    environ = {**os.environ, **own, "BLACKBOX_PROXY_SERVER__MAX_TOKENS": "2", "BLACKBOX_PROXY_SERVER__UI": "true"}
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environ) as server:
        try:
            assert server.stdout
            said_first = json.loads(server.stdout.readline())
            url, page = said_first["url"], said_first["page"]
            assert page == f"{url.removesuffix('/v1')}/"
            assert call(page, "/").headers["content-type"].startswith("text/html")
            assert [one["id"] for one in call(url, "/v1/models").json["data"]] == ["steered-tiny"]
            asked = {"model": "steered-tiny", "messages": [{"role": "user", "content": "the then"}]}
            answer = post(url, "/v1/chat/completions", {**asked, "max_tokens": 2})
            assert (answer.status, answer.json["usage"]["completion_tokens"]) == (200, 2)
            refused = post(url, "/v1/chat/completions", {**asked, "max_tokens": 3})
            assert refused.status == 400, "the variable's limit"
        finally:
            server.kill()


@pytest.mark.parametrize("ui", [True, False])
def test_serve_says_where_it_listens_and_where_the_page_is(capsys: pytest.CaptureFixture[str], *, ui: bool) -> None:
    text = f'[server]\nui = {str(ui).lower()}\n[upstreams.u]\nbase_url = "http://h/v1"\n'
    text += '[models.m]\nupstream = "u"\nmodel = "x"\n'
    read = parse_config(text, where="gateway.toml", folder=Path(), environ={})
    _announce("http://127.0.0.1:8080/v1", read, as_json=False)
    first, *more = capsys.readouterr().out.splitlines()
    assert first == "serving m at http://127.0.0.1:8080/v1"
    assert more == (["page to ask by: http://127.0.0.1:8080/"] if ui else [])


def test_init_overwrites_nothing(cli: Cli, tmp_path: Path, api_url: str) -> None:
    path = tmp_path / "gateway.toml"
    path.write_text("mine")
    said = cli(*INIT, api_url, "--config", str(path))
    assert said.status != 0
    assert f"{path} is there already" in said.err.replace("\n", "")
    assert path.read_text() == "mine"
    assert said.out == ""


def test_init_needs_a_place(cli: Cli, tmp_path: Path) -> None:
    path = tmp_path / "gateway.toml"
    assert "a model needs --model" in cli("init", "--model", "m", "--config", str(path)).err
    assert "`doctor` has looked at none" in cli("init", "--config", str(path)).err
    assert not path.exists()


def test_keys_are_added_listed_and_withdrawn(cli: Cli, tmp_path: Path) -> None:
    path = tmp_path / "keys.txt"
    added = json.loads(cli("keys", "add", "ann", "--file", str(path), "--json").out)
    assert (added["name"], added["file"]) == ("ann", str(path))
    bare = cli("keys", "add", "ben", "--file", str(path))
    key = bare.out.strip()
    assert key.startswith("bbp-")
    assert key not in bare.err
    assert not [one for one in (key, added["key"]) if one in path.read_text()]
    assert cli("keys", "list", "--file", str(path)).out.split() == ["ann", "ben"]
    twice = cli("keys", "add", "ann", "--file", str(path))
    assert twice.status != 0
    assert "'ann' cannot be the name of a new key" in twice.err
    kept = [line for line in path.read_text().splitlines(keepends=True) if not line.startswith("ann ")]
    path.write_text("".join(kept))
    assert json.loads(cli("keys", "list", "--file", str(path), "--json").out) == [{"name": "ben"}]
    missing = cli("keys", "list", "--file", str(tmp_path / "none.txt"))
    assert missing.status != 0
    assert "cannot read the key file" in missing.err


def test_limits_of_a_key_are_given_changed_and_listed(cli: Cli, tmp_path: Path) -> None:
    file = ("--file", str(tmp_path / "keys.txt"))
    assert cli("keys", "add", "ann", *file, "--requests-per-minute", "60", "--max-cost", "0.50").status == 0
    cli("keys", "add", "ben", *file)
    assert cli("keys", "list", *file).out.splitlines() == ["ann requests_per_minute=60 max_cost=0.5", "ben"]
    changed = cli("keys", "limit", "ann", *file, "--tokens-per-minute", "40000", "--max-calls", "7", "--json")
    assert json.loads(changed.out) == {"name": "ann", "tokens_per_minute": 40_000, "max_calls": 7}
    listed = json.loads(cli("keys", "list", *file, "--json").out)
    assert listed == [{"name": "ann", "tokens_per_minute": 40_000, "max_calls": 7}, {"name": "ben"}]
    assert cli("keys", "limit", "ann", *file).out == "ann\n"
    for wrong, says in (
        (("limit", "cem"), "has no key 'cem'"),
        (("limit", "ann", "--max-cost", "much"), "'much' is no amount of dollars"),
        (("add", "dan", "--max-cost", "-1"), "'-1' is no amount of dollars"),
    ):
        refused = cli("keys", *wrong, *file)
        assert refused.status != 0
        assert says in refused.err


def test_the_line_that_switches_keys_on_is_told_and_does(
    cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What it says is put where it says; then it says that it is there."""
    monkeypatch.chdir(tmp_path)
    config = tmp_path / "blackbox-proxy.toml"
    cli(*INIT, "http://127.0.0.1:9/v1")
    said = cli("keys", "add", "ann")
    line = said.err.rpartition("has the line: ")[2].strip()
    assert line == 'keys = "keys.txt"'
    assert "[server] in blackbox-proxy.toml" in said.err
    config.write_text(config.read_text().replace("[server]\n", f"[server]\n{line}\n"))
    read = read_config(config, {})
    assert read.server.keys is not None
    assert read_keys(read.path(read.server.keys)).keys() == {"ann"}
    assert "asks clients for the keys of keys.txt already" in cli("keys", "add", "ben").err
    assert "has the line" in cli("keys", "add", "ann", "--file", "others.txt").err


def test_a_key_file_elsewhere_is_named_from_the_configuration(cli: Cli, tmp_path: Path) -> None:
    config, keys = tmp_path / "here" / "gateway.toml", tmp_path / "there" / "keys.txt"
    config.parent.mkdir()
    keys.parent.mkdir()
    found = json.loads(cli("keys", "add", "ann", "--file", str(keys), "--config", str(config), "--json").out)
    assert (found["config"], found["line"]) == (str(config), f'keys = "{keys}"')
    config.write_text("keys = [")
    assert "has the line" in cli("keys", "add", "ben", "--file", str(keys), "--config", str(config)).err


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("[server]\nprot = 1\n", "line 2: server.prot: there is no such field; did you mean port?"),
        ("[server]\nport = 70000\n", "line 2: server.port: 70000 will not do"),
        ('[server]\nhost = "0.0.0.0"\n', "'0.0.0.0' can be reached from other machines"),
        ("= 1\n", "is not TOML"),
        ('[server]\nkeys = "none.txt"\n', "cannot read the key file"),
        ('[server]\nkey_env = "NOT_SET_HERE"\n', "NOT_SET_HERE is not set, and clients' key should be in it"),
    ],
)
def test_a_wrong_file_is_told_and_not_served(cli: Cli, tmp_path: Path, text: str, says: str) -> None:
    path = tmp_path / "gateway.toml"
    rest = '[upstreams.one]\nbase_url = "http://127.0.0.1:9/v1"\n[models.m]\nupstream = "one"\nmodel = "tiny"\n'
    path.write_text(text + rest + "[ledger]\noff = true\n")
    said = cli("serve", "--config", str(path), *(() if "port" in text else ("--port", "0")))
    assert said.status != 0
    assert says.replace(" ", "") in "".join(said.err.split())
    assert "Traceback" not in said.err
    assert said.out == ""


def test_a_missing_file_and_a_wrong_variable_are_told(
    cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    said = cli("serve", "--config", str(tmp_path / "none.toml"))
    assert said.status != 0
    assert "none.toml" in said.err
    path = tmp_path / "gateway.toml"
    cli(*INIT, "http://127.0.0.1:9/v1", "--config", str(path))
    monkeypatch.setenv("BLACKBOX_PROXY_SERVER__PORT", "x")
    said = cli("serve", "--config", str(path))
    assert said.status != 0
    assert "BLACKBOX_PROXY_SERVER__PORT:server.port:'x'willnotdo" in "".join(said.err.split())
