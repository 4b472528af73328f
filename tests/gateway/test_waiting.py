"""A stream whose first token takes long: it opens without one, comments keep it alive, and later errors are events."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from blackbox_proxy.standin import Traffic, running
from tests.gateway.serving import CONTEXT, bodies, config_text, gateway
from tests.standin.raw import Json, connect, post
from tests.tiny_gguf import TinyModel

BODIES = bodies(model="steered", max_tokens=2, temperature=0, steering={"draft": 1}, stream=True)
HASTY = "open_after = 0.1\nping = 0.1"


@contextmanager
def slow(closed: TinyModel, pair: Path, *quirks: str, server: str = HASTY) -> Iterator[tuple[str, Traffic]]:
    """A gateway over an upstream with these quirks, and what that upstream was asked."""
    traffic = Traffic()
    with running(closed.path, name="tiny", context=CONTEXT, quirks=quirks, traffic=traffic) as url:
        with gateway(config_text(url, pair=pair, server=server)) as served:
            yield served, traffic


def blocks_of(body: bytes) -> list[str]:
    """The events and comments of a stream, in order."""
    *blocks, rest = body.decode().split("\n\n")
    assert rest == ""
    assert "\r" not in body.decode()
    assert all(block == ": ping" or block.startswith("data: ") for block in blocks)
    return blocks


@pytest.mark.parametrize("path", BODIES)
def test_comments_come_before_a_slow_first_token(closed: TinyModel, pair_file: Path, path: str) -> None:
    with slow(closed, pair_file, "latency=0.6") as (url, _):
        answer = post(url, path, BODIES[path])
        assert answer.status == 200
        blocks = blocks_of(answer.body)
        first = next(at for at, block in enumerate(blocks) if block.startswith("data: "))
        assert first >= 2, blocks
        assert blocks[-1] == "data: [DONE]"
        whole = post(url, path, {**BODIES[path], "stream": False}).json["choices"][0]
    chunks = [json.loads(block[6:])["choices"][0] for block in blocks[:-1] if block.startswith("data: ")]
    told = "".join(chunk.get("text", chunk.get("delta", {}).get("content", "")) or "" for chunk in chunks)
    assert told == (whole["text"] if "text" in whole else whole["message"]["content"])


@pytest.mark.parametrize("path", BODIES)
def test_an_error_after_the_opening_is_an_event(closed: TinyModel, pair_file: Path, path: str) -> None:
    with slow(closed, pair_file, "latency=0.6", "faults=503,ok") as (url, _):
        answer = post(url, path, BODIES[path])
        assert answer.status == 200
        *comments, error, done = blocks_of(answer.body)
        assert set(comments) == {": ping"}
        assert json.loads(error[6:])["error"]["code"] == "upstream_unavailable"
        assert done == "data: [DONE]"
        assert post(url, path, BODIES[path]).status == 200


def test_an_error_before_the_opening_has_a_status(closed: TinyModel, pair_file: Path) -> None:
    with slow(closed, pair_file, "latency=0.3", "faults=503", server="open_after = 60") as (url, _):
        answer = post(url, "/v1/completions", BODIES["/v1/completions"])
    assert (answer.status, answer.error["code"]) == (502, "upstream_unavailable")


def leave(url: str, path: str, body: Json, *, read: int, wait: float) -> None:
    """Ask, read so many bytes of the reply or wait so many seconds, and hang up."""
    connection = connect(url)
    connection.request("POST", path, json.dumps(body), {"content-type": "application/json"})
    if read:
        reply = connection.getresponse()
        assert len(reply.read(read)) == read
        reply.close()
    time.sleep(wait)
    connection.close()


LATENCY = 0.15


@pytest.mark.parametrize("path", BODIES)
@pytest.mark.parametrize(
    ("stream", "read", "server"), [(True, 10, ""), (False, 0, ""), (True, 0, HASTY), (True, 0, "")]
)
def test_a_client_that_leaves_ends_the_calls_within_one(
    closed: TinyModel, pair_file: Path, path: str, *, stream: bool, read: int, server: str
) -> None:
    """Of 100 calls those that were made stay; the one under way may end; no other begins, however long one waits."""
    with slow(closed, pair_file, f"latency={LATENCY}", server=server) as (url, traffic):
        body = {**BODIES[path], "max_tokens": 100, "stream": stream}
        leave(url, path, body, read=read, wait=0.0 if read else LATENCY / 2 if server or stream else 2.5 * LATENCY)
        left = traffic.total
        time.sleep(6 * LATENCY)
        assert left < 20
        assert traffic.total <= left + 1
        settled = traffic.total
        assert post(url, path, {**BODIES[path], "max_tokens": 1, "stream": False}).status == 200
        assert settled < traffic.total <= settled + 2
