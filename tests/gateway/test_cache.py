"""Replies that are given again: to the very same greedy request alone, for nothing, saying so, in a bounded file."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from blackbox_proxy.gateway.cache.caching import as_hit
from blackbox_proxy.gateway.cache.keeping import SqliteReplies, _bytes
from blackbox_proxy.ledger.books import Ledger, open_ledger
from blackbox_proxy.openai_http.frames import Chunk, NamedEvent
from tests.adapters.shapes import body
from tests.gateway.serving import gateway
from tests.gateway.test_bills import PRICES
from tests.remote.scripted import Say, ScriptedApi
from tests.standin.raw import Answer, Json, call, post

CONFIG = """
[server]
port = 0
metrics = true

[cache]
on = true
file = "cache.sqlite"

[upstreams.u]
base_url = "{url}"
attempts = 1

[models.m]
upstream = "u"
model = "tiny"
template = "chatml"
{more}
"""
CHAT: Json = {"model": "m", "messages": [{"role": "user", "content": "hello"}], "max_tokens": 4, "temperature": 0}
ROUTES = ["/v1/chat/completions", "/v1/responses", "/v1/messages", "/v1/completions"]


def word(text: str, *, finish: str = "stop") -> Say:
    return Say(body((text, -0.1, {text: -0.1, " x": -9.0}), finish=finish))


def asked(path: str, **fields: Json) -> Json:
    """One question, as a route reads it."""
    bodies: dict[str, Json] = {
        "/v1/chat/completions": CHAT,
        "/v1/messages": CHAT,
        "/v1/completions": {"model": "m", "prompt": "hello", "max_tokens": 4, "temperature": 0},
        "/v1/responses": {"model": "m", "input": "hello", "max_output_tokens": 4, "temperature": 0},
    }
    return {**bodies[path], **fields}


@dataclass
class Cached:
    url: str
    api: ScriptedApi

    def ask(self, path: str = ROUTES[0], **fields: Json) -> Answer:
        return post(self.url, path, asked(path, **fields))


@contextmanager
def cached(folder: Path, *script: Say, more: str = "", ledger: Ledger | None = None) -> Iterator[Cached]:
    with ScriptedApi(*script) as api:
        with gateway(CONFIG.format(url=api.url, more=more), folder=folder, ledger=ledger) as url:
            yield Cached(url, api)


def bare(answer: Answer) -> str:
    """A reply without what is each one's alone: ids, and what it took."""
    assert answer.status == 200, answer.body
    text = answer.body.decode()
    lines = [line.removeprefix("data: ") for line in text.splitlines()]
    values = [json.loads(line) for line in lines if line.startswith("{")]
    return json.dumps([_without(value) for value in values])


def _without(value: Json) -> Json:
    if isinstance(value, list):
        return [_without(one) for one in value]
    if not isinstance(value, dict):
        return value
    return {name: _without(one) for name, one in value.items() if name not in ("id", "steering", "item_id")}


@pytest.mark.parametrize("path", ROUTES)
@pytest.mark.parametrize("stream", [False, True])
def test_the_same_request_is_answered_once(tmp_path: Path, path: str, *, stream: bool) -> None:
    """The second reply is the first but for its id and what it took: nothing, in the ledger and in its own words."""
    (tmp_path / "prices.toml").write_text(PRICES)
    with (
        open_ledger(tmp_path / "l.sqlite", prices=tmp_path / "prices.toml") as ledger,
        cached(tmp_path, word("one"), ledger=ledger) as served,
    ):
        first, second = (served.ask(path, stream=stream) for _ in range(2))
        metrics = call(served.url, "/metrics").body.decode()
        booked = len(list(ledger.store.rows()))
    assert (len(served.api.seen), booked) == (1, 1)
    assert bare(second) == bare(first)
    assert first.body != second.body, "each has an id of its own"
    assert "x-steering-cache" not in first.headers
    assert (second.headers["x-steering-cache"], second.headers["x-steering-cost-usd"]) == ("hit", "0")
    assert 'blackbox_proxy_cache_hits_total{key="",model="m"} 1.0' in metrics
    if not stream and path in ("/v1/chat/completions", "/v1/completions"):
        before, after = first.json["usage"]["steering"], second.json["usage"]["steering"]
        assert (before["requests"], before["cached"]) == (1, False)
        assert (after["requests"], after["cached"], after["cost_usd"]) == (0, True, "0")
        assert first.json["usage"]["total_tokens"] == second.json["usage"]["total_tokens"]


def test_it_is_there_after_the_next_start(tmp_path: Path) -> None:
    with cached(tmp_path, word("one")) as served:
        first = served.ask()
    with ScriptedApi() as api, gateway(CONFIG.format(url="http://127.0.0.1:9/v1", more=""), folder=tmp_path) as url:
        elsewhere = post(url, ROUTES[0], CHAT)
        assert api.seen == []
    assert first.status == 200
    assert elsewhere.status == 502, "another address is another model"
    assert (tmp_path / "cache.sqlite").stat().st_mode & 0o777 == 0o600
    assert b"hello" not in (tmp_path / "cache.sqlite").read_bytes(), "prompts are kept as hashes alone"


@pytest.mark.parametrize(
    "change",
    [
        {"messages": [{"role": "user", "content": "hello "}]},
        {"max_tokens": 5},
        {"steering": {"draft": 2}},
        {"logprobs": True},
        {"stream": True},
        {"seed": 7},
    ],
)
def test_another_request_is_answered_anew(tmp_path: Path, change: Json) -> None:
    with cached(tmp_path, word("one"), word("two")) as served:
        served.ask()
        assert "x-steering-cache" not in served.ask(**change).headers
    assert len(served.api.seen) == 2


def test_who_asks_does_not_matter(tmp_path: Path) -> None:
    with cached(tmp_path, word("one")) as served:
        served.ask(user="ann", metadata={"task": "one"})
        assert served.ask(user="ben").headers["x-steering-cache"] == "hit"


def test_what_is_drawn_is_never_kept(tmp_path: Path) -> None:
    with cached(tmp_path, word("one"), word("two")) as served:
        assert [served.ask(temperature=0.5, seed=1).status for _ in range(2)] == [200, 200]
    assert len(served.api.seen) == 2


def test_what_broke_off_or_was_filtered_is_not_kept(tmp_path: Path) -> None:
    down = Say({"error": {"message": "no"}}, status=503)
    filtered = word("one", finish="content_filter")
    with cached(tmp_path, down, filtered, word("two")) as served:
        statuses = [served.ask().status for _ in range(3)]
        assert served.ask().json["choices"][0]["message"]["content"] == "two"
    assert (statuses, len(served.api.seen)) == ([502, 200, 200], 3)


def test_another_steering_of_the_model_is_another_answer(tmp_path: Path) -> None:
    with ScriptedApi(word("one"), word("two")) as api:
        for knobs in ("", "steering = { draft = 2 }"):
            with gateway(CONFIG.format(url=api.url, more=knobs), folder=tmp_path) as url:
                assert post(url, ROUTES[0], CHAT).status == 200
    assert len(api.seen) == 2


CHUNKS = st.lists(st.one_of(st.text(), st.builds(NamedEvent, st.text(min_size=1), st.text())), min_size=1, max_size=8)


@given(CHUNKS)
def test_what_is_kept_comes_back_as_it_was(chunks: Sequence[Chunk]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        store = SqliteReplies(Path(folder) / "c.sqlite", most=2**20)
        assert store.get("a") is None
        store.put("a", chunks)
        assert store.get("a") == chunks
        store.close()


@settings(max_examples=25)
@given(st.lists(st.tuples(st.sampled_from("abcdefgh"), st.booleans()), max_size=40), st.integers(1, 4))
def test_the_least_recently_used_makes_room(story: Sequence[tuple[str, bool]], room: int) -> None:
    """An oracle that keeps as many as fit, all of one size, in the order of their use."""
    with tempfile.TemporaryDirectory() as folder:
        store = SqliteReplies(Path(folder) / "c.sqlite", most=room * _size(["x"]))
        kept: list[str] = []
        for key, writes in story:
            if writes:
                store.put(key, ["x"])
                kept = [other for other in kept if other != key] + [key]
                kept = kept[-room:]
            else:
                assert (store.get(key) is not None) == (key in kept)
                kept = [other for other in kept if other != key] + ([key] if key in kept else [])
        assert [key for key in "abcdefgh" if store.get(key) is not None] == sorted(kept)
        store.close()


def _size(chunks: Sequence[Chunk]) -> int:
    return len(_bytes(chunks))


def test_what_is_larger_than_the_file_is_not_kept(tmp_path: Path) -> None:
    store = SqliteReplies(tmp_path / "c.sqlite", most=_size(["x"]))
    store.put("a", ["x"])
    store.put("b", ["x" * 10_000 + json.dumps(list(range(5000)))])
    assert (store.get("a"), store.get("b")) == (["x"], None)
    store.close()


def test_each_hit_has_an_id_of_its_own_in_all_its_chunks() -> None:
    name = "chatcmpl-" + "0" * 32
    kept = [f'{{"id":"{name}","n":1}}', f'{{"id":"{name}","usage":{{"steering":{{"requests":3}}}}}}']
    one, other = as_hit(kept), as_hit(kept)
    ids = {json.loads(str(chunk))["id"] for chunk in one}
    assert len(ids) == 1
    assert ids.isdisjoint({name, json.loads(str(other[0]))["id"]})
    assert json.loads(str(one[1]))["usage"]["steering"]["requests"] == 0
