"""Files as editors write them: a byte order mark in front, carriage returns, separators of lines that are none here."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import pytest

from blackbox_proxy.files import read_text
from blackbox_proxy.gateway.config import read_config
from blackbox_proxy.gateway.keys import add_key, read_keys
from blackbox_proxy.local.pairfile import read_pair_file
from blackbox_proxy.remote.profiles.lines import line_of
from blackbox_proxy.tuning.lines import read_lines
from tests.cli.runs import Cli

MARK = "\ufeff"
ELSEWHERE = ("--base-url", "http://127.0.0.1:9/v1", "--model", "m")
WRITTEN = [lambda text: MARK + text, lambda text: MARK + text.replace("\n", "\r\n")]
"""How an editor leaves a text: with a mark, and with carriage returns as well."""

editors = pytest.mark.parametrize("edited", WRITTEN, ids=["mark", "mark and returns"])


def put(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(text.encode())
    return path


@editors
def test_a_pair_file_is_read(edited: type[str], tmp_path: Path) -> None:
    put(tmp_path / "t.jinja", edited("{{ messages[0].content }}\nx"))
    text = edited('model = "a.gguf"\nadapter = "b.gguf"\ntemplate = "t.jinja"\n')
    found = read_pair_file(put(tmp_path / "pair.toml", text), Path)
    assert found.expert == tmp_path / "a.gguf"
    assert found.template == "{{ messages[0].content }}\nx"


@editors
def test_a_gateways_files_are_read(edited: type[str], tmp_path: Path) -> None:
    text = '[upstreams.u]\nbase_url = "http://127.0.0.1:9/v1"\n[models.m]\nupstream = "u"\nmodel = "m"\n'
    assert list(read_config(put(tmp_path / "gateway.toml", edited(text)), {}).models) == ["m"]
    keys = tmp_path / "keys"
    add_key(keys, "ann")
    put(keys, edited(read_text(keys)))
    assert list(read_keys(keys)) == ["ann"]
    add_key(keys, "bob")
    assert list(read_keys(keys)) == ["ann", "bob"]


@editors
def test_settings_prices_and_profiles_are_read(edited: type[str], cli: Cli, config_home: Path, tmp_path: Path) -> None:
    own = config_home / "blackbox-proxy"
    put(own / "config.toml", edited('model = "m"\n'))
    put(own / "prices.toml", edited('[[price]]\nmodel = "m"\ninput = "1"\noutput = "2"\n'))
    put(own / "profiles" / "mine.toml", edited('extends = "openai"\n'))
    prompts = put(tmp_path / "p.txt", edited("hello"))
    assert cli("cost", "estimate", str(prompts)).status == 0
    assert cli("profiles", "show", "mine").status == 0


@editors
def test_a_task_and_its_items_are_read(edited: type[str], cli: Cli, tmp_path: Path) -> None:
    put(tmp_path / "task.toml", edited('title = "T"\n[data]\ntrain = "a.jsonl"\ntest = "b.jsonl"\nfew_shot = 1\n'))
    for name in ("a", "b"):
        put(tmp_path / f"{name}.jsonl", edited(f'{{"prompt": "{name}\u2028", "reference": "b"}}\n'))
    said = cli("evaluate", str(tmp_path / "task.toml"), *ELSEWHERE, "--pair", str(tmp_path / "none.toml"))
    assert "none.toml" in said.err  # everything before the pair was read
    assert "TOML" not in said.err


@editors
def test_messages_and_templates_are_read(edited: type[str], cli: Cli, where: tuple[str, ...], tmp_path: Path) -> None:
    turns = put(tmp_path / "m.json", edited('[{"role": "user",\n "content": "the"}]'))
    template = put(tmp_path / "t.jinja", edited("{% for m in messages %}\n{{ m.content }}{% endfor %}"))
    said = cli(
        "steer", "--messages", str(turns), "--template", str(template), *where, "--max-tokens", "2", "--no-ledger"
    )
    assert said.status == 0


@editors
def test_a_prompt_on_standard_input_has_no_mark(edited: type[str], cli: Cli, where: tuple[str, ...]) -> None:
    options = ("--raw", *where, "--max-tokens", "2", "--no-ledger", "--json")
    plain, marked = (cli("steer", *options, stdin=text.encode()) for text in ("the then", edited("the then\n")))
    assert json.loads(plain.out)["text"] == json.loads(marked.out)["text"]


@editors
def test_lines_to_learn_from_are_read(edited: type[str], tmp_path: Path) -> None:
    rows = '["a\u2028b", "c\x85d"]\n["e", "f"]\n'
    found = read_lines(put(tmp_path / "lines.jsonl", edited(rows)))
    assert [line.answer for line in found] == ["c\x85d", "f"]


SEPARATORS: Mapping[str, str] = {"line": "\u2028", "paragraph": "\u2029", "next line": "\x85", "form feed": "\\f"}


@pytest.mark.parametrize("name", SEPARATORS)
def test_what_separates_lines_elsewhere_separates_none_of_jsonl(name: str, cli: Cli, tmp_path: Path) -> None:
    text = f'{{"prompt": "one{SEPARATORS[name]}two"}}\n"three{SEPARATORS[name]}four"\n'
    said = cli("cost", "estimate", str(put(tmp_path / "p.jsonl", text)), *ELSEWHERE, "--json")
    assert said.status == 0
    assert json.loads(said.out)["prompts"] == 2


def test_lines_of_toml_are_counted_as_toml_has_them() -> None:
    assert line_of('a = "x\u2028y"\r\n# \u2029\r\nb = 2\r\n', ("b",)) == 3
