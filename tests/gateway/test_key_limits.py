"""Limits of keys over HTTP: who is sent away, what the headers say, what two gateways hold together, and budgets."""

from __future__ import annotations

import json
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path

import openai
import pytest

from blackbox_proxy.core.money.amounts import Budget
from blackbox_proxy.errors import InputError
from blackbox_proxy.gateway.keys import add_key, limit_key, read_keys
from blackbox_proxy.gateway.limits.rates import KeyLimits
from blackbox_proxy.ledger.books import Ledger, open_ledger
from tests.adapters.shapes import body
from tests.gateway.serving import gateway
from tests.gateway.test_bills import PRICES
from tests.remote.scripted import ScriptedApi
from tests.standin.raw import Answer, Json, call, post

CONFIG = """
[server]
port = 0
keys = "keys.txt"

[limits]
{limits}

[upstreams.u]
base_url = "{url}"
attempts = 1
at_once = 16

[models.m]
upstream = "u"
model = "tiny"
template = "chatml"
"""
CHAT: Json = {"model": "m", "messages": [{"role": "user", "content": "12345678"}], "max_tokens": 4}
WORD = body(("word", -0.1, {"word": -0.1, " x": -9.0}), finish="stop")


@dataclass
class Limited:
    """Gateways with the same key file, and the key of `ann`."""

    urls: list[str]
    keys: dict[str, str]

    def ask(self, name: str = "ann", *, at: int = 0, path: str = "/v1/chat/completions", **fields: Json) -> Answer:
        return post(self.urls[at], path, {**CHAT, **fields}, authorization=f"Bearer {self.keys[name]}")


@contextmanager
def limited(
    folder: Path, limits: str, *, names: dict[str, KeyLimits], gateways: int = 1, ledger: Ledger | None = None
) -> Iterator[Limited]:
    keys = {name: add_key(folder / "keys.txt", name, one) for name, one in names.items()}
    with ScriptedApi(answer=lambda _: WORD) as api, ExitStack() as stack:
        text = CONFIG.format(url=api.url, limits=f'file = "limits.sqlite"\n{limits}')
        urls = [stack.enter_context(gateway(text, folder=folder, ledger=ledger)) for _ in range(gateways)]
        yield Limited(urls, keys)


def test_exactly_the_limit_passes_two_gateways_together(tmp_path: Path) -> None:
    """Fourteen clients at once, at two servers, and nine of them may: to the request."""
    statuses: Counter[int] = Counter()
    with limited(tmp_path, "requests_per_minute = 9", names={"ann": KeyLimits()}, gateways=2) as served:
        start = threading.Barrier(14)

        def ask(at: int) -> None:
            start.wait()
            answer = served.ask(at=at)
            statuses[answer.status] += 1
            if answer.status == 429:
                assert answer.error["code"] == "rate_limit_exceeded"
                assert 1 <= int(answer.headers["retry-after"]) <= 60

        threads = [threading.Thread(target=ask, args=(at % 2,)) for at in range(14)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert statuses == {200: 9, 429: 5}


@pytest.mark.parametrize("stream", [False, True])
def test_headers_say_where_a_key_stands(tmp_path: Path, *, stream: bool) -> None:
    with limited(tmp_path, "requests_per_minute = 2\ntokens_per_minute = 1000", names={"ann": KeyLimits()}) as served:
        first = served.ask(stream=stream)
        second = served.ask(stream=stream)
        third = served.ask(stream=stream)
        models = call(served.urls[0], "/v1/models", authorization=f"Bearer {served.keys['ann']}")
    assert [first.status, second.status, third.status] == [200, 200, 429]
    seen = [int(one.headers["x-ratelimit-remaining-requests"]) for one in (first, second, third)]
    assert seen == [1, 0, 0]
    assert {one.headers["x-ratelimit-limit-requests"] for one in (first, second, third)} == {"2"}
    assert first.headers["x-ratelimit-reset-requests"] == "1m0s"
    assert int(first.headers["x-ratelimit-remaining-tokens"]) == 1000 - 2 - 4, "a token in four characters, and 4"
    assert "x-ratelimit-limit-requests" not in models.headers, "which counts against nothing"


def test_the_sdk_reads_the_headers_and_waits_as_it_is_told(tmp_path: Path) -> None:
    with limited(tmp_path, "requests_per_minute = 1", names={"ann": KeyLimits()}) as served:
        with openai.OpenAI(base_url=served.urls[0], api_key=served.keys["ann"], max_retries=0) as client:
            client.chat.completions.create(**CHAT)
            with pytest.raises(openai.RateLimitError) as refused:
                client.chat.completions.create(**CHAT)
    assert refused.value.code == "rate_limit_exceeded"
    assert int(refused.value.response.headers["retry-after"]) >= 1


def test_tokens_count_as_the_client_is_told_them(tmp_path: Path) -> None:
    """What was reserved is given back; of a stream too."""
    with limited(tmp_path, "tokens_per_minute = 100", names={"ann": KeyLimits()}) as served:
        used = served.ask(max_tokens=60).json["usage"]["total_tokens"]
        streamed = served.ask(max_tokens=60, stream=True)
        assert streamed.status == 200
        assert streamed.events[-1] == "[DONE]"
        third = served.ask(max_tokens=1)
        assert int(third.headers["x-ratelimit-remaining-tokens"]) == 100 - 2 * used - 2 - 1
        over = served.ask(max_tokens=90)
        never = served.ask(max_tokens=500)
    assert (over.status, never.status) == (429, 429)
    assert "retry-after" in over.headers
    assert "retry-after" not in never.headers
    assert "ask for fewer tokens" in never.error["message"]


def test_what_cannot_be_read_counts_against_nothing(tmp_path: Path) -> None:
    with limited(tmp_path, "requests_per_minute = 1", names={"ann": KeyLimits()}) as served:
        assert served.ask(max_tokens=-1).status == 400
        assert served.ask(model="none").status == 404
        assert served.ask().status == 200


def test_a_key_has_limits_of_its_own_and_each_is_counted_by_itself(tmp_path: Path) -> None:
    names = {"ann": KeyLimits(), "ben": KeyLimits(requests_per_minute=3)}
    with limited(tmp_path, "requests_per_minute = 1", names=names) as served:
        assert [served.ask("ann").status for _ in range(2)] == [200, 429]
        assert [served.ask("ben").status for _ in range(4)] == [200, 200, 200, 429]


def test_anthropics_route_is_limited_in_its_words(tmp_path: Path) -> None:
    with limited(tmp_path, "requests_per_minute = 1", names={"ann": KeyLimits()}) as served:
        statuses = [served.ask(path="/v1/messages").status for _ in range(2)]
        refused = served.ask(path="/v1/messages")
    assert statuses == [200, 429]
    assert refused.json["error"]["type"] == "rate_limit_error"
    assert refused.headers["x-ratelimit-remaining-requests"] == "0"


def test_the_budget_of_one_key_stops_that_key_alone(tmp_path: Path) -> None:
    prices = tmp_path / "prices.toml"
    prices.write_text(PRICES)
    names = {"ann": KeyLimits(max_calls=2), "ben": KeyLimits(), "cem": KeyLimits(max_cost=Decimal(0))}
    with open_ledger(tmp_path / "l.sqlite", prices=prices) as ledger:
        with limited(tmp_path, "max_calls = 3", names=names, ledger=ledger) as served:
            seen = {name: [served.ask(name).status for _ in range(4)] for name in names}
            told = served.ask("ann").error
        rows = Counter(row.tags["key"] for row in ledger.store.rows())
    assert seen == {"ann": [200, 200, 429, 429], "ben": [200, 200, 200, 429], "cem": [429] * 4}
    assert told["code"] == "insufficient_quota"
    assert rows == {"ann": 2, "ben": 3}


@pytest.mark.parametrize(
    ("ledger", "says"),
    [
        ({"prices": False}, "nobody says what"),
        ({"tags": {"key": "x"}}, "gives all rows one such tag"),
        (None, "nothing is booked"),
    ],
)
def test_a_budget_that_could_not_be_kept_ends_the_start(tmp_path: Path, ledger: Json, says: str) -> None:
    names = {"ann": KeyLimits(max_cost=Decimal(1))}
    prices = tmp_path / "prices.toml"
    prices.write_text(PRICES if ledger is None or ledger.get("prices", True) else "")
    with ExitStack() as stack:
        given = ledger and ledger.get("tags")
        books = None if ledger is None else open_ledger(tmp_path / "l.sqlite", prices=prices, tags=given)
        if books is not None:
            stack.enter_context(books)
        with pytest.raises(InputError, match=says):
            stack.enter_context(limited(tmp_path, "", names=names, ledger=books))


def test_limits_stand_behind_a_key_and_can_be_changed(tmp_path: Path) -> None:
    file = tmp_path / "keys.txt"
    limits = KeyLimits(60, 40_000, Decimal("0.5"), 0)
    key, other = add_key(file, "ann", limits), add_key(file, "ben")
    assert {name: entry.limits for name, entry in read_keys(file).items()} == {"ann": limits, "ben": KeyLimits()}
    limit_key(file, "ben", KeyLimits(max_cost=Decimal("1E-7")))
    assert read_keys(file)["ben"].limits == KeyLimits(max_cost=Decimal("0.0000001"))
    limit_key(file, "ann", KeyLimits())
    assert read_keys(file)["ann"].limits == KeyLimits()
    assert not any(one in file.read_text() for one in (key, other))
    with pytest.raises(InputError, match="has no key 'cem'"):
        limit_key(file, "cem", KeyLimits())


@pytest.mark.parametrize(
    "behind",
    ["requests_per_minute=0", "requests=5", "max_cost=1.2.3", "max_calls=5 max_calls=6", "tokens_per_minute=1.5"],
)
def test_what_is_no_limit_is_refused_with_its_line(tmp_path: Path, behind: str) -> None:
    file = tmp_path / "keys.txt"
    add_key(file, "ann")
    file.write_text(file.read_text().rstrip("\n") + f" {behind}\n")
    with pytest.raises(InputError, match="line 2: this is not NAME sha256:HEX with limits"):
        read_keys(file)


def test_a_limit_is_the_budget_of_the_keys_tag() -> None:
    assert KeyLimits(max_cost=Decimal(5)).budget("ann") == Budget(max_cost=Decimal(5), per="key=ann")
    assert KeyLimits(5, 5).budget("ann") is None
    assert json.loads(json.dumps(KeyLimits(5, max_calls=7).over(KeyLimits(9, 8)).given())) == {
        "requests_per_minute": 5,
        "tokens_per_minute": 8,
        "max_calls": 7,
    }
