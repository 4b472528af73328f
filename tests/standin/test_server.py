"""The server as a whole: several requests at once, clients that leave, starting and stopping."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from blackbox_proxy.errors import InputError
from blackbox_proxy.standin import running, serve
from tests.standin.raw import Json, call, connect, post
from tests.tiny_gguf import TinyModel

COUNTING = "Counting: 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13,"


@pytest.fixture(scope="module")
def narrow_url(smollm2_path: Path) -> Iterator[str]:
    """Real weights, and one request at a time."""
    with running(smollm2_path, name="smol", slots=1) as url:
        yield url


def answers(url: str, bodies: list[dict[str, Json]], *, at_once: int) -> list[Json]:
    with ThreadPoolExecutor(at_once) as pool:
        return [answer.json["choices"] for answer in pool.map(lambda body: post(url, "/v1/completions", body), bodies)]


def test_requests_at_once_are_answered_as_one_by_one(smol_url: str) -> None:
    """More requests than slots, each with a prompt of its own, sharing beginnings of different lengths."""
    names = ("France", "Spain", "Italy", "Peru", "Chile", "Japan", "Egypt", "India")
    bodies = [
        {"model": "smol", "prompt": f"The capital of {name} is", "max_tokens": 8, "temperature": 0, "logprobs": 2}
        for name in names
    ]
    alone = answers(smol_url, bodies, at_once=1)
    together = answers(smol_url, bodies, at_once=8)
    assert together == alone
    assert len({choice[0]["text"] for choice in alone}) > 1


def test_many_sampled_requests_do_not_mix(tiny_url: str) -> None:
    bodies = [
        {"model": "tiny", "prompt": "abc" * (n % 5 + 1), "max_tokens": 50, "temperature": 1.0, "seed": n, "echo": True}
        for n in range(24)
    ]
    assert answers(tiny_url, bodies, at_once=12) == answers(tiny_url, bodies, at_once=1)


def test_a_short_request_does_not_wait_for_a_long_one(smol_url: str) -> None:
    body = {"model": "smol", "prompt": COUNTING, "temperature": 0, "max_tokens": 60}
    long = threading.Thread(target=post, args=(smol_url, "/v1/completions", body))
    long.start()
    short = post(smol_url, "/v1/completions", body | {"prompt": "One", "max_tokens": 1})
    still_running = long.is_alive()
    long.join()
    assert short.status == 200
    assert still_running


@pytest.mark.parametrize("way", ["whole", "stream"])
def test_generation_stops_when_the_client_leaves(narrow_url: str, way: str) -> None:
    """The one slot is free again long before 3,000 tokens could have been generated."""
    body = {"model": "smol", "prompt": COUNTING, "temperature": 0, "max_tokens": 3000, "stream": way == "stream"}
    short = body | {"max_tokens": 20, "stream": False}
    per_token = seconds_for(narrow_url, short) / 20
    connection = connect(narrow_url)
    connection.request("POST", "/v1/completions", json.dumps(body).encode())
    if way == "stream":
        with connection.getresponse() as reply:
            reply.read(20)
    else:
        time.sleep(10 * per_token)
    connection.close()
    assert seconds_for(narrow_url, short) < 500 * per_token


def seconds_for(url: str, body: dict[str, Json]) -> float:
    begun = time.monotonic()
    assert post(url, "/v1/completions", body).status == 200
    return time.monotonic() - begun


def test_a_request_goes_to_the_slot_that_knows_its_prompt(tiny: TinyModel) -> None:
    with running(tiny.path, slots=2) as url:
        usages = [
            post(url, "/v1/completions", {"model": "tiny", "prompt": prompt, "max_tokens": 1}).json["usage"]
            for prompt in ("abcde", "vwxyz", "abcde", "vwxyz", "abcdef")
        ]
    assert [usage["prompt_tokens"] for usage in usages] == [5, 5, 5, 5, 6]
    assert [usage["prompt_tokens_details"]["cached_tokens"] for usage in usages] == [0, 0, 4, 4, 5]


def test_two_servers_live_side_by_side_and_end_with_their_block(tiny: TinyModel) -> None:
    with running(tiny.path) as one, running(tiny.path) as other:
        assert one != other
        assert call(one, "/v1/models").json["data"][0]["id"] == "tiny"
        where = urlsplit(one)
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection((where.hostname, where.port), timeout=5)


@pytest.mark.parametrize("delay", [0.02, 0.3])
def test_leaving_the_block_ends_a_request_that_still_runs(smollm2_path: Path, delay: float) -> None:
    """While the prompt is read, or in the middle of the answer; the weights are not freed under the thread at work."""
    body = {"model": "smol", "prompt": COUNTING, "max_tokens": 3000, "temperature": 0}
    ended: list[str] = []

    def ask(url: str) -> None:
        try:
            ended.append(str(post(url, "/v1/completions", body).status))
        except OSError as error:
            ended.append(type(error).__name__)

    with running(smollm2_path, name="smol") as url:
        thread = threading.Thread(target=ask, args=(url,))
        thread.start()
        time.sleep(delay)
        assert ended == []
    thread.join(timeout=30)
    assert len(ended) == 1
    assert ended != ["200"]


def test_a_taken_port_is_refused(tiny: TinyModel, tiny_url: str) -> None:
    port = urlsplit(tiny_url).port
    assert port
    with pytest.raises(InputError, match=str(port)):
        serve(tiny.path, announce=print, port=port)


def test_serve_announces_its_url_and_ends_on_an_interrupt(tiny: TinyModel) -> None:
    script = (
        "import sys; from pathlib import Path; from blackbox_proxy.standin import serve\n"
        "try: serve(Path(sys.argv[1]), announce=lambda url: print(url, flush=True), name='tiny')\n"
        "except KeyboardInterrupt: print('interrupted')"
    )
    with subprocess.Popen([sys.executable, "-c", script, str(tiny.path)], stdout=subprocess.PIPE, text=True) as server:
        try:
            assert server.stdout
            url = server.stdout.readline().strip()
            assert call(url, "/health").status == 200
            server.send_signal(signal.SIGINT)
            rest = server.stdout.read()
        finally:
            server.kill()
    assert url.startswith("http://127.0.0.1:")
    assert url.endswith("/v1")
    assert rest == "interrupted\n"
