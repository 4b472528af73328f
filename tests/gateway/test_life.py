"""A gateway's life: upstreams that die, clients that leave, queues that are full, signals, what is booked."""

from __future__ import annotations

import http.client
import json
import os
import signal
import subprocess
import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import pytest

from blackbox_proxy.ledger.books import Ledger, open_ledger
from blackbox_proxy.standin import Traffic, running
from tests.cli.runs import PROGRAM
from tests.gateway.serving import CONTEXT, config_text, gateway
from tests.standin.raw import call, connect, post, whole
from tests.tiny_gguf import TinyModel

ASKED = {"model": "steered", "prompt": "the then", "max_tokens": 8, "temperature": 0, "steering": {"draft": 1}}


class Staged(NamedTuple):
    url: str
    traffic: Traffic
    said: list[str]


@contextmanager
def staged(
    closed: TinyModel, pair: Path, *quirks: str, upstream: str = "", ledger: Ledger | None = None
) -> Iterator[Staged]:
    """A gateway over an upstream of its own, whose requests are counted."""
    traffic, said = Traffic(), list[str]()
    with running(closed.path, name="tiny", context=CONTEXT, quirks=quirks, traffic=traffic) as url:
        with gateway(config_text(url, pair=pair, upstream=upstream), ledger=ledger, log=said.append) as served:
            yield Staged(served, traffic, said)


@contextmanager
def sent(url: str, body: dict[str, object]) -> Iterator[http.client.HTTPConnection]:
    """A request for a stream that has been sent; who leaves hangs up."""
    connection = connect(url, timeout=60)
    try:
        text = json.dumps({**body, "stream": True})
        connection.request("POST", "/v1/completions", text, {"content-type": "application/json"})
        yield connection
    finally:
        connection.close()


def told(events: Sequence[str]) -> str:
    """The text of a stream's chunks."""
    return "".join(json.loads(event)["choices"][0]["text"] for event in events)


@pytest.mark.parametrize("fault", ["503", "cut", "reset", "truncated", "garbage", "html", "error200"])
def test_an_upstream_that_dies_ends_one_stream_and_nothing_else(closed: TinyModel, pair_file: Path, fault: str) -> None:
    """What the pair holds of the broken answer is no other answer's: both are what they are where nothing breaks."""
    with staged(closed, pair_file) as stage:
        unbroken = post(stage.url, "/v1/completions", ASKED).json["choices"][0]["text"]
    with staged(closed, pair_file, f"faults=ok,ok,{fault},ok") as stage:
        *chunks, error, done = post(stage.url, "/v1/completions", {**ASKED, "stream": True}).events
        assert unbroken.startswith(told(chunks))
        assert "" != told(chunks) != unbroken
        assert set(json.loads(error)["error"]) == {"message", "type", "param", "code"}
        assert done == "[DONE]"
        for _ in range(2):
            again = post(stage.url, "/v1/completions", ASKED)
            assert (again.status, again.json["usage"]["completion_tokens"]) == (200, 8)
            assert again.json["choices"][0]["text"] == unbroken
        assert len([said for said in stage.said if said.startswith("req_")]) == 1, stage.said


def test_what_fails_before_the_first_token_has_a_status_of_its_own(closed: TinyModel, pair_file: Path) -> None:
    with staged(closed, pair_file, "faults=429,503") as stage:
        busy, broken = (post(stage.url, "/v1/completions", {**ASKED, "stream": True}) for _ in range(2))
    assert (busy.status, busy.error["code"]) == (429, "rate_limit_exceeded")
    assert busy.headers["retry-after"]
    assert (broken.status, broken.error["code"]) == (502, "upstream_unavailable")


def settled(traffic: Traffic) -> int:
    """The requests that came, once none has come for a while."""
    seen = -1
    while seen != traffic.total:
        seen = traffic.total
        time.sleep(0.5)
    return seen


def test_a_client_that_leaves_stops_the_upstream(closed: TinyModel, pair_file: Path) -> None:
    with staged(closed, pair_file, "latency=0.05") as stage:
        with sent(stage.url, {**ASKED, "max_tokens": 200}) as connection:
            assert connection.getresponse().read(10)
            there = stage.traffic.total
        assert settled(stage.traffic) <= there + 3, "else more than the call under way and its next came after the end"
        assert post(stage.url, "/v1/completions", {**ASKED, "max_tokens": 1}).status == 200


def test_who_comes_when_the_queue_is_full_is_told_when_to_come_back(closed: TinyModel, pair_file: Path) -> None:
    statuses: Counter[int] = Counter()
    with staged(closed, pair_file, "latency=0.1", upstream="at_once = 1\nqueue = 1") as stage:

        def ask() -> None:
            answer = post(stage.url, "/v1/completions", ASKED)
            statuses[answer.status] += 1
            if answer.status == 429:
                assert int(answer.headers["retry-after"]) >= 1

        threads = [threading.Thread(target=ask) for _ in range(6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert statuses[200] >= 2
        assert statuses[200] + statuses[429] == 6
        assert statuses[429] >= 1
        assert post(stage.url, "/v1/completions", ASKED).status == 200


@pytest.mark.parametrize("slots", [1, 3, None])
def test_a_pair_makes_as_many_answers_at_a_time_as_it_holds(
    closed: TinyModel, tiny_bpe: TinyModel, tiny_lora: Path, tmp_path: Path, slots: int | None
) -> None:
    """Two tokens a stream: with one slot a stream ends before the next begins; with three all have begun by then.

    So they have where the file says nothing: a server is there for several.
    """
    pair, held = tmp_path / "pair.toml", f"slots = {slots}\n" if slots else ""
    pair.write_text(f'model = "{tiny_bpe.path}"\nadapter = "{tiny_lora}"\ncontext = {CONTEXT}\n{held}')
    seen: list[str] = []
    with staged(closed, pair, "latency=0.2", upstream="at_once = 3") as stage:

        def ask(word: str) -> None:
            with sent(stage.url, {**ASKED, "prompt": word, "max_tokens": 2}) as connection:
                reply = connection.getresponse()
                reply.read(10)
                seen.append("first")
                reply.read()
                seen.append("last")

        threads = [threading.Thread(target=ask, args=(word,)) for word in ("the", "then", "she")]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        told = [said for said in stage.said if "since its pair holds" in said]
    if slots == 1:
        assert seen == ["first", "last"] * 3
        assert [said.partition(":")[0] for said in told] == ["steered", "blind"]
    else:
        assert seen == ["first"] * 3 + ["last"] * 3
        assert told == []


def test_who_waits_for_a_pair_keeps_nobody_from_the_upstream(closed: TinyModel, pair_file: Path) -> None:
    long = {**ASKED, "max_tokens": 100}
    with staged(closed, pair_file, "latency=0.1", upstream="at_once = 2") as stage, sent(stage.url, long) as first:
        assert first.getresponse().read(10)
        with sent(stage.url, long):
            assert post(stage.url, "/v1/completions", {**ASKED, "model": "plain", "max_tokens": 2}).status == 200
        assert stage.traffic.total < 60, "else it was answered after the first one, which takes 100 requests"


def test_what_is_booked_has_the_tags_of_the_request(closed: TinyModel, pair_file: Path, tmp_path: Path) -> None:
    with (
        open_ledger(tmp_path / "ledger.sqlite", tags={"project": "test"}) as ledger,
        staged(closed, pair_file, ledger=ledger) as stage,
    ):
        tagged = {**ASKED, "user": "ann", "metadata": {"task": "one", "project": "mine", "steered": "no"}}
        assert post(stage.url, "/v1/completions", tagged).status == 200
        rows = list(ledger.store.rows())
    assert rows
    assert all(row.tags == {"user": "ann", "task": "one", "project": "test", "steered": "steered"} for row in rows)


def test_a_signal_lets_answers_end_and_none_begin(closed: TinyModel, pair_file: Path, tmp_path: Path) -> None:
    long = {**ASKED, "max_tokens": 40}
    with running(closed.path, name="tiny", context=CONTEXT, quirks=["latency=0.05"]) as url:
        path = tmp_path / "gateway.toml"
        path.write_text(config_text(url, pair=pair_file) + "\n[ledger]\noff = true\n")
        command = [*PROGRAM, "serve", "--config", str(path), "--json"]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=dict(os.environ)) as server:
            try:
                assert server.stdout
                served = json.loads(server.stdout.readline())["url"]
                alone = post(served, "/v1/completions", long).json["choices"][0]["text"]
                with sent(served, long) as connection:
                    reply = connection.getresponse()
                    first = reply.read(10)
                    server.send_signal(signal.SIGTERM)
                    assert drains(served)
                    late = post(served, "/v1/completions", ASKED)
                    assert (late.status, late.error["code"]) == (503, "shutting_down")
                    assert int(late.headers["retry-after"]) >= 1
                    assert post(served, "/v1/messages", ASKED).json["type"] == "error", "as Anthropic writes it"
                    assert call(served, "/health/live").status == 200
                    *chunks, done = whole(reply, begun=first).events
                assert done == "[DONE]"
                assert told(chunks) == alone
                assert server.wait(60) in {0, -signal.SIGTERM}
            finally:
                server.kill()


def drains(url: str) -> bool:
    """Whether a server says soon that it ends."""
    for _ in range(100):
        answer = call(url, "/health/ready")
        if answer.status == 503:
            return bool(answer.json["not_ready"] == ["draining"])
        time.sleep(0.01)
    return False


def test_health_needs_no_upstream(closed: TinyModel, pair_file: Path) -> None:
    with staged(closed, pair_file, "faults=503") as stage:
        assert call(stage.url, "/health").status == 200
