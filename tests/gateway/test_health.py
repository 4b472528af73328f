"""Whether a gateway lives and is ready: while it loads, while its ledger cannot be written, and for strangers."""

from __future__ import annotations

import asyncio
import json
import os
import socket
import sqlite3
import subprocess
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from blackbox_proxy.errors import LedgerError
from blackbox_proxy.gateway.config import Config, parse_config
from blackbox_proxy.gateway.health import Readiness, ledger_check
from blackbox_proxy.gateway.models import OpenPair
from blackbox_proxy.gateway.server import serve
from blackbox_proxy.ledger.books import open_ledger
from tests.cli.runs import PROGRAM
from tests.gateway.serving import config_text, gateway
from tests.standin.raw import Answer, Json, call, post

ASKED: Json = {"model": "plain", "prompt": "the then", "max_tokens": 2, "temperature": 0}


def missing(answer: Answer) -> list[str]:
    """What a server says that it is short of."""
    if answer.status == 200:
        assert answer.json == {"status": "ready"}
        return []
    assert answer.status == 503
    assert int(answer.headers["retry-after"]) >= 1
    assert set(answer.json) == {"status", "not_ready"}
    names = answer.json["not_ready"]
    assert set(names) <= {"pairs", "ledger", "draining"}, "nothing but names"
    return list(names)


@pytest.mark.parametrize("prefix", ["", "/v1", "/openai/v1"])
def test_no_key_is_needed_and_none_is_taken_for_another_route(
    upstream: str, pair_file: Path, tmp_path: Path, prefix: str
) -> None:
    text = config_text(upstream, pair=pair_file, server='key_env = "GATEWAY_KEY"')
    with gateway(text, environ={"GATEWAY_KEY": "0123456789abcdef"}, folder=tmp_path) as url:
        assert call(url, f"{prefix}/health/live").json == {"status": "live"}
        assert missing(call(url, f"{prefix}/health/ready/")) == []
        assert call(url, f"{prefix}/health").json == {"status": "ok"}
        assert call(url, f"{prefix}/models").status == 401
        assert post(url, f"{prefix}/health/ready", {}).status == 405


def test_a_ledger_that_another_holds_is_named_until_it_is_free(upstream: str, pair_file: Path, tmp_path: Path) -> None:
    file = tmp_path / "ledger.sqlite"
    with open_ledger(file) as ledger, gateway(config_text(upstream, pair=pair_file), ledger=ledger) as url:
        assert missing(call(url, "/health/ready")) == []
        with closing(sqlite3.connect(file, isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            assert missing(call(url, "/health/ready")) == ["ledger"]
            assert call(url, "/health/live").status == 200
            other.execute("ROLLBACK")
        assert post(url, "/v1/completions", ASKED).status == 200, "it waited for the check that was under way"
        assert missing(call(url, "/health/ready")) == []
        assert all(row.kept != 0 or row.output for row in ledger.store.rows()), "the check changed no row"


def test_the_check_of_a_ledger_leaves_it_as_it_is(tmp_path: Path) -> None:
    with open_ledger(tmp_path / "ledger.sqlite") as ledger:
        check = ledger_check(ledger)
        assert check is not None
        check()
        assert list(ledger.store.rows()) == []
    with pytest.raises(LedgerError):
        check()


def test_of_many_who_ask_at_once_one_looks() -> None:
    entered, may_go = threading.Event(), threading.Event()
    looks: list[int] = []

    def look() -> None:
        looks.append(1)
        entered.set()
        may_go.wait(60)

    async def ask() -> list[list[str]]:
        readiness = Readiness(look, patience=0.05)
        readiness.load()
        impatient = await asyncio.gather(*(readiness.missing() for _ in range(20)))
        assert entered.is_set()
        may_go.set()
        while await readiness.missing():
            pass
        return impatient

    assert asyncio.run(ask()) == [["ledger"]] * 20
    assert len(looks) <= 2, "the one that hung, and one that came after it"


@contextmanager
def loading(config: Config, told: threading.Event, go: threading.Event, url: list[str]) -> Iterator[None]:
    """A gateway whose pair takes until `go`; `told` once that has begun."""

    def slow(_path: Path) -> OpenPair:
        told.set()
        go.wait(60)
        raise LedgerError("the test ends here")

    def run() -> None:
        with pytest.raises(LedgerError, match="the test ends here"):
            serve(config, announce=url.append, open_pair=slow)

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield
    finally:
        go.set()
        thread.join()


def test_while_a_pair_is_loaded_it_lives_and_is_not_ready(upstream: str, pair_file: Path) -> None:
    port = free_port()
    text = config_text(upstream, pair=pair_file).replace("port = 0", f"port = {port}")
    config = parse_config(text, where="g.toml", folder=Path(), environ={})
    told, go, announced = threading.Event(), threading.Event(), list[str]()
    with loading(config, told, go, announced):
        assert told.wait(60)
        url = f"http://127.0.0.1:{port}"
        assert call(url, "/health/live").status == 200
        assert missing(call(url, "/health/ready")) == ["pairs"]
        early = post(url, "/v1/completions", ASKED)
        assert (early.status, early.error["code"]) == (503, "starting")
        assert int(early.headers["retry-after"]) >= 1
    assert announced == [], "what could not be loaded was never announced"


def free_port() -> int:
    """A port that nobody listens on at present."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


def test_a_program_that_has_loaded_answers_at_the_same_address(upstream: str, pair_file: Path, tmp_path: Path) -> None:
    path = tmp_path / "gateway.toml"
    path.write_text(config_text(upstream, pair=pair_file) + f'\n[ledger]\nfile = "{tmp_path}/l.sqlite"\n')
    command = [*PROGRAM, "serve", "--config", str(path), "--json"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=dict(os.environ)) as server:
        try:
            assert server.stdout
            url = json.loads(server.stdout.readline())["url"]
            assert missing(call(url, "/health/ready")) == []
            assert post(url, "/v1/completions", {**ASKED, "model": "steered"}).status == 200
        finally:
            server.terminate()
            server.wait(60)
