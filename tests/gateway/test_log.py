"""The gateway's log: a row for each answer, whole or broken off; nothing where none is switched on."""

from __future__ import annotations

import json
import socket
import stat
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from blackbox_proxy.answer_log import last_rows
from blackbox_proxy.gateway.config import parse_config
from blackbox_proxy.gateway.server import running
from tests.adapters.shapes import body
from tests.remote.scripted import Say, ScriptedApi
from tests.standin.raw import post

KEY = "sk-this-key-must-never-show-0123456789"
CONFIG = """
[server]
{log}
[upstreams.u]
base_url = "{url}"
attempts = 1
[models.plain]
upstream = "u"
model = "m"
template = "chatml"
steering = {{ max_tokens = 4 }}
"""
ASKED: dict[str, Any] = {"model": "plain", "messages": [{"role": "user", "content": f"hello {KEY}"}], "user": "ann"}
WORD = Say(body(("word", -0.1, {"word": -0.1, " x": -9.0}), finish="stop"))
NO = Say({"error": {"message": "no", "code": "model_not_found"}}, status=404)


@contextmanager
def serving(api: ScriptedApi, folder: Path, *, log: str) -> Iterator[str]:
    text = CONFIG.format(url=api.url, log=log)
    config = parse_config(text, where="gateway.toml", folder=folder, environ={})
    with running(config, environ={"SOME_API_KEY": KEY}) as url:
        yield url


def test_each_answer_is_a_row_with_who_asked(tmp_path: Path) -> None:
    with ScriptedApi(WORD, WORD, NO) as api, serving(api, tmp_path, log='log = "answers.jsonl"') as url:
        assert post(url, "/v1/chat/completions", ASKED).status == 200
        assert post(url, "/v1/chat/completions", {**ASKED, "stream": True}).status == 200
        assert post(url, "/v1/chat/completions", ASKED).status != 200
    file = tmp_path / "answers.jsonl"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert KEY not in file.read_text(encoding="utf-8")
    one, streamed = last_rows(file, 9)
    for row in (one, streamed):
        assert (row["command"], row["served"], row["answer"], row["finish"]) == ("serve", "plain", "word", "stop")
        assert row["messages"] == [{"role": "user", "content": "hello [key]"}]
        assert row["tags"]["user"] == "ann"
        assert row["calls"] == 1


def test_an_answer_whose_client_leaves_is_a_row_too(tmp_path: Path) -> None:
    """The call that was under way is counted: it may be billed."""
    file = tmp_path / "answers.jsonl"
    with ScriptedApi(Say(hang=True)) as api:
        with serving(api, tmp_path, log='log = "answers.jsonl"') as url:
            where = urlsplit(url)
            raw = json.dumps({**ASKED, "stream": True}).encode()
            until = time.monotonic() + 60
            head = f"POST /v1/chat/completions HTTP/1.1\r\nhost: {where.netloc}\r\ncontent-type: application/json\r\n"
            with socket.create_connection((where.hostname, where.port)) as client:
                client.sendall(head.encode() + f"content-length: {len(raw)}\r\n\r\n".encode() + raw)
                while not api.seen:
                    assert time.monotonic() < until
                    time.sleep(0.01)
            while not (rows := last_rows(file, 9)):
                assert time.monotonic() < until
                time.sleep(0.01)
    (row,) = rows
    assert (row["answer"], row["finish"], row["error"]) == ("", "error", "the client left")
    assert row["calls"] == 1


def test_nothing_is_kept_unless_it_is_switched_on(tmp_path: Path) -> None:
    with ScriptedApi(WORD) as api, serving(api, tmp_path, log="") as url:
        assert post(url, "/v1/chat/completions", ASKED).status == 200
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", [".", "notes.txt"])
def test_a_log_that_cannot_be_kept_ends_the_start(tmp_path: Path, name: str) -> None:
    (tmp_path / "notes.txt").write_text("notes")
    with ScriptedApi() as api, pytest.raises(Exception, match="log"):
        with serving(api, tmp_path, log=f'log = "{name}"'):
            raise AssertionError
