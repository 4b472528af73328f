"""Several workers behind one address, as the program starts them: the same text and limits, and what signals do."""

from __future__ import annotations

import json
import os
import signal
import threading
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from decimal import Decimal
from http.client import HTTPResponse
from pathlib import Path

import pytest

from blackbox_proxy.gateway.keys import add_key
from blackbox_proxy.gateway.limits.rates import KeyLimits
from blackbox_proxy.ledger.books import open_ledger
from blackbox_proxy.ledger.rows import LedgerRow
from blackbox_proxy.standin import running
from tests.gateway.serving import CONTEXT, config_text, gateway
from tests.gateway.test_life import drains, told
from tests.gateway.test_metrics import Measured, total
from tests.gateway.waiting import until
from tests.gateway.worker_gateway import SECONDS, WorkerGateway, serving_workers
from tests.standin.raw import Answer, Json, call, connect, post, whole
from tests.tiny_gguf import TinyModel

pytestmark = pytest.mark.skipif(not Path("/proc/self/task").is_dir(), reason="workers are looked up in /proc")

ASKED: Json = {"model": "steered", "prompt": "the then", "max_tokens": 12, "temperature": 0, "steering": {"draft": 1}}
LIMIT = 5
STREAMS = 6


def in_one_moment(url: str, requests: int, key: str) -> list[Answer]:
    """So many of the same request at once."""
    start = threading.Barrier(requests)

    def one(_number: int) -> Answer:
        start.wait()
        return post(url, "/v1/completions", ASKED, authorization=f"Bearer {key}")

    with ThreadPoolExecutor(requests) as pool:
        return list(pool.map(one, range(requests)))


def texts(answers: list[Answer]) -> set[str]:
    return {answer.json["choices"][0]["text"] for answer in answers}


def check_killed(served: WorkerGateway, key: str, alone: str) -> None:
    """One worker is killed, is started again, and nobody who asks meanwhile sees it."""
    old = served.workers()
    assert len(old) == 2
    os.kill(old[0], signal.SIGKILL)
    said = served.wait_for(r"worker (\d) \(process (\d+)\) was ended by SIGKILL; it is started again (now|in 1 s)")
    assert int(said[2]) == old[0]
    for _ in range(4):
        answer = post(served.url, "/v1/completions", ASKED, authorization=f"Bearer {key}")
        assert (answer.status, answer.json["choices"][0]["text"]) == (200, alone)
        assert call(served.url, "/health/ready").status == 200, "who loads its pair takes no connection"
    served.wait_for(f"worker {said[1]} answers again")
    assert old[0] not in served.workers()
    assert len(served.workers()) == 2


def cells(served: Measured) -> float:
    return total(served.samples(), "pair_cells", member="expert")


def test_two_workers_are_one_gateway(closed: TinyModel, pair_file: Path, tmp_path: Path) -> None:
    """The same text as one gives, a key's limit to the request, the ledger's figures, and a worker that is killed."""
    names = {"ann": KeyLimits(), "ben": KeyLimits(requests_per_minute=LIMIT)}
    keys = {name: add_key(tmp_path / "keys.txt", name, limits) for name, limits in names.items()}
    with running(closed.path, name="tiny", context=CONTEXT) as url:
        more = 'metrics = true\nkeys = "keys.txt"\n[limits]\nfile = "limits.sqlite"\n[ledger]\nfile = "ledger.sqlite"\n'
        text = config_text(url, pair=pair_file, server=more)
        (tmp_path / "g.toml").write_text(text)
        with gateway(text, folder=tmp_path) as one:
            alone = texts(in_one_moment(one, 1, keys["ann"]))
            one_cells = cells(Measured(one, keys))
        with serving_workers(tmp_path / "g.toml", "--log-format", "json") as two:
            served = Measured(two.url, keys)
            assert texts(in_one_moment(two.url, 8, keys["ann"])) == alone
            statuses = Counter(answer.status for answer in in_one_moment(two.url, 3 * LIMIT, keys["ben"]))
            assert statuses == {200: LIMIT, 429: 2 * LIMIT}
            until(lambda: cells(served) == 2 * one_cells, lambda: "a gauge is not the sum over both", seconds=SECONDS)
            check_killed(two, keys["ann"], *alone)
            until(lambda: cells(served) == 2 * one_cells, lambda: "nor after one was killed", seconds=SECONDS)
            seen = served.samples()
    workers = {json.loads(line).get("worker") for line in two.lines if '"event": "answer"' in line}
    assert workers == {1, 2}, "else one answered them all"
    with open_ledger(tmp_path / "ledger.sqlite") as ledger:
        check_figures(list(ledger.store.rows()), seen)


def check_figures(rows: list[LedgerRow], seen: Json) -> None:
    """What was counted before a worker was killed is there too."""
    assert total(seen, "upstream_calls_total") == len(rows) > 0
    assert total(seen, "upstream_input_tokens_total") == sum(row.input or 0 for row in rows)
    assert total(seen, "upstream_output_tokens_total") == sum(row.output or 0 for row in rows)
    assert total(seen, "requests_total", status="200") == 8 + LIMIT + 4 == total(seen, "answers_total")
    assert total(seen, "rate_limited_total", key="ben") == 2 * LIMIT
    assert total(seen, "unpriced_calls_total", key="ben") == len([row for row in rows if row.tags["key"] == "ben"])
    assert Decimal(total(seen, "request_seconds_count")) == 8 + 3 * LIMIT + 4
    assert total(seen, "answers_under_way") == 0


@contextmanager
def begun_streams(url: str) -> Iterator[list[tuple[HTTPResponse, bytes]]]:
    """Streams that have begun, each with what was read of it."""
    connections = [connect(url, timeout=60) for _ in range(STREAMS)]
    try:
        body = json.dumps({**ASKED, "max_tokens": 40, "stream": True})
        for connection in connections:
            connection.request("POST", "/v1/completions", body, {"content-type": "application/json"})
        replies = [connection.getresponse() for connection in connections]
        yield [(reply, reply.read(10)) for reply in replies]
    finally:
        for connection in connections:
            connection.close()


def ends(begun: list[tuple[HTTPResponse, bytes]]) -> set[str]:
    """The texts of streams, all of which end as they should."""
    events = [whole(reply, begun=first).events for reply, first in begun]
    assert {last for *_, last in events} == {"[DONE]"}
    return {told(chunks) for *chunks, _ in events}


def test_signals_reach_all_workers_and_drop_no_stream(
    closed: TinyModel, tiny_bpe: TinyModel, tiny_lora: Path, tmp_path: Path
) -> None:
    pair = tmp_path / "pair.toml"
    pair.write_text(f'model = "{tiny_bpe.path}"\nadapter = "{tiny_lora}"\ncontext = {CONTEXT}\nslots = {STREAMS}\n')
    with running(closed.path, name="tiny", context=CONTEXT, quirks=["latency=0.05"]) as url:
        text = config_text(url, pair=pair, upstream=f"at_once = {2 * STREAMS}") + "\n[ledger]\noff = true\n"
        (tmp_path / "g.toml").write_text(text)
        with serving_workers(tmp_path / "g.toml") as served:
            with begun_streams(served.url) as begun:
                (tmp_path / "g.toml").write_text(text.replace("[models.blind]", "[models.other]"))
                served.process.send_signal(signal.SIGHUP)
                first = served.wait_for(r"worker (\d): SIGHUP: 3 models and 0 keys hold")[1]
                second = served.wait_for(r"worker (\d): SIGHUP: 3 models and 0 keys hold")[1]
                assert {first, second} == {"1", "2"}
                assert len(ends(begun)) == 1
            for _ in range(4):
                assert post(served.url, "/v1/completions", {**ASKED, "model": "other"}).status == 200
                assert post(served.url, "/v1/completions", {**ASKED, "model": "blind"}).status == 404
            with begun_streams(served.url) as begun:
                served.process.send_signal(signal.SIGTERM)
                assert drains(served.url)
                assert post(served.url, "/v1/completions", ASKED).status == 503
                assert len(ends(begun)) == 1
            assert served.process.wait(60) in {0, -signal.SIGTERM}
            assert not [line for line in served.lines if "started again" in line]


UNSTEERED = """
[server]
port = 0
[ledger]
off = true
[upstreams.u]
base_url = "http://127.0.0.1:9/v1"
[models.m]
upstream = "u"
model = "m"
"""


def is_gone(process: int) -> bool:
    """Whether a process has ended, also where nobody has asked for its status yet."""
    try:
        return "State:\tZ" in Path(f"/proc/{process}/status").read_text(encoding="ascii")
    except OSError:
        return True


def test_workers_do_not_outlive_who_started_them(tmp_path: Path) -> None:
    (tmp_path / "g.toml").write_text(UNSTEERED)
    with serving_workers(tmp_path / "g.toml") as served:
        workers = served.workers()
        assert len(workers) == 2
        served.process.kill()
        assert served.process.wait(60) == -signal.SIGKILL
        until(lambda: all(is_gone(worker) for worker in workers), lambda: workers, seconds=SECONDS)
