"""The log as JSON: a line for each answer and for each call that failed, with who asked, and without what was said."""

from __future__ import annotations

import io
import json
import logging
import os
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path

from blackbox_proxy.gateway.config import parse_config
from blackbox_proxy.gateway.keys import add_key
from blackbox_proxy.gateway.server import running as serving
from blackbox_proxy.gateway.watching.json_log import json_lines
from blackbox_proxy.ledger.books import open_ledger
from tests.adapters.shapes import body
from tests.cli.runs import PROGRAM
from tests.gateway.test_bills import PRICES
from tests.remote.scripted import Say, ScriptedApi
from tests.standin.raw import Answer, Json, post

PRIVATE = "words-of-a-client"
ANSWERED = "words-of-the-model"
CONFIG = """
[server]
port = 0
keys = "keys.txt"
{more}

[upstreams.u]
base_url = "{url}"
attempts = 2

[models.m]
upstream = "u"
model = "tiny"
template = "chatml"
"""
WORD = Say(body((ANSWERED, -0.1, {ANSWERED: -0.1, " x": -9.0}), finish="stop"))
CHAT: Json = {"model": "m", "messages": [{"role": "user", "content": PRIVATE}], "max_tokens": 4}


@dataclass
class Logged:
    url: str
    key: str
    stream: io.StringIO
    answers: list[Answer] = field(default_factory=list)

    def ask(self, **fields: Json) -> Answer:
        answer = post(self.url, "/v1/chat/completions", {**CHAT, **fields}, authorization=f"Bearer {self.key}")
        self.answers.append(answer)
        return answer


@contextmanager
def logged(folder: Path, *script: Say) -> Iterator[Logged]:
    """A gateway whose log is kept in memory, with a key named `ann` and a ledger."""
    key, stream = add_key(folder / "keys.txt", "ann"), io.StringIO()
    (folder / "prices.toml").write_text(PRICES)
    with ScriptedApi(*script) as api, open_ledger(folder / "l.sqlite", prices=folder / "prices.toml") as ledger:
        text = CONFIG.format(url=api.url, more="")
        config = parse_config(text, where="g.toml", folder=folder, environ={})
        with json_lines(stream) as lines, serving(config, ledger=ledger, log=lines.note, watch=[lines]) as url:
            yield Logged(url, key, stream)


def rows(text: str, event: str) -> Sequence[Json]:
    """The lines of one kind; every line is an object with a time and a level."""
    read = [json.loads(line) for line in text.splitlines()]
    assert all({"time", "level", "event"} <= set(row) for row in read)
    return [row for row in read if row["event"] == event]


def test_an_answer_is_a_line_and_so_is_a_failed_call(tmp_path: Path) -> None:
    busy = Say({"error": {"message": "no"}}, status=503, headers={"retry-after": "0"})
    with logged(tmp_path, WORD, busy, WORD, busy, busy) as served:
        replies = [served.ask(), served.ask(stream=True), served.ask()]
    text = served.stream.getvalue()
    assert [reply.status for reply in replies] == [200, 200, 502]
    ids = [reply.headers["x-request-id"] for reply in replies]
    whole, streamed, broken = rows(text, "answer")
    assert [row["request"] for row in (whole, streamed, broken)] == ids
    for row in (whole, streamed):
        assert (row["route"], row["model"], row["upstream"], row["asked"]) == ("chat", "m", "u", "tiny")
        assert (row["key"], row["finish"], row["level"]) == ("ann", "stop", "info")
        assert row["seconds"] >= row["first_token_seconds"] > 0
    used = replies[0].json["usage"]
    assert (whole["prompt_tokens"], whole["completion_tokens"]) == (used["prompt_tokens"], used["completion_tokens"])
    assert Decimal(whole["cost_usd"]) == Decimal(used["steering"]["cost_usd"]) > 0
    assert (whole["calls"], streamed["calls"], broken["calls"]) == (1, 2, 2)
    assert (broken["finish"], broken["level"]) == ("error", "warning")
    assert "error" in broken
    failures = rows(text, "upstream_failure")
    assert [row["request"] for row in failures] == [ids[1], ids[2], ids[2]]
    assert [(row["outcome"], row["status"], row["attempt"]) for row in failures] == [
        ("busy", 503, 1),
        ("busy", 503, 1),
        ("busy", 503, 2),
    ]
    assert [row["status"] for row in (whole, streamed, broken)] == [200, 200, 502]
    assert broken["code"] == "upstream_unavailable"
    assert rows(text, "refusal") == [], "each has its line"
    assert not [one for one in (PRIVATE, ANSWERED, served.key) if one in text]


def test_what_is_refused_is_a_line_with_its_reason(tmp_path: Path) -> None:
    with logged(tmp_path) as served:
        served.ask(model=PRIVATE)
        post(served.url, "/v1/chat/completions", CHAT, authorization="Bearer wrong")
    unknown, keyless = rows(served.stream.getvalue(), "refusal")
    assert (unknown["status"], unknown["code"], unknown["key"]) == (404, "model_not_found", "ann")
    assert (keyless["status"], keyless["code"]) == (401, "invalid_api_key")
    assert "model" not in unknown, "a name that nobody has could be anything"
    assert PRIVATE not in served.stream.getvalue()


def test_other_records_of_ours_become_lines_too() -> None:
    stream = io.StringIO()
    logger = logging.getLogger("blackbox_proxy.somewhere")
    with json_lines(stream):
        logger.warning("one %s", "word\nand a line")
        logger.debug("not this")
        server = logging.getLogger("uvicorn.error")
        server.info("nor that it has started")
        try:
            raise ValueError(PRIVATE)  # noqa: TRY301 (what a traceback would hold)
        except ValueError:
            server.exception("it failed")
    logger.warning("nor this, after it")
    row, failed = rows(stream.getvalue(), "note")
    assert (row["message"], row["level"]) == ("one word\nand a line", "warning")
    assert (failed["message"], failed["level"], failed["error"]) == ("it failed", "error", "ValueError")
    assert PRIVATE not in stream.getvalue()


def test_the_program_writes_it_on_standard_error(tmp_path: Path) -> None:
    key = add_key(tmp_path / "keys.txt", "ann")
    with ScriptedApi(WORD) as api:
        (tmp_path / "g.toml").write_text(CONFIG.format(url=api.url, more="") + "\n[ledger]\noff = true\n")
        command = [*PROGRAM, "serve", "--config", str(tmp_path / "g.toml"), "--json", "--log-format", "json"]
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        with subprocess.Popen(command, text=True, env=dict(os.environ), **pipes) as server:  # type: ignore[call-overload]
            try:
                url = json.loads(server.stdout.readline())["url"]
                assert post(url, "/v1/chat/completions", CHAT, authorization=f"Bearer {key}").status == 200
            finally:
                server.terminate()
                _, said = server.communicate(timeout=120)
    (row,) = rows(said, "answer")
    assert (row["key"], row["model"]) == ("ann", "m")
    assert "cost_usd" not in row, "nobody knows it"
