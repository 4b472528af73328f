"""What a reply costs, what it took, and how a budget that is used up, or an upstream that is too slow, is told."""

from __future__ import annotations

import json
from decimal import Decimal
from pathlib import Path

import pytest

from blackbox_proxy.core.money.amounts import Budget
from blackbox_proxy.ledger.books import open_ledger
from blackbox_proxy.standin import running
from tests.gateway.serving import CONTEXT, bodies, config_text, gateway
from tests.standin.raw import post
from tests.tiny_gguf import TinyModel

BODIES = bodies(model="steered", max_tokens=3, temperature=0, steering={"draft": 1})
PRICES = '[[price]]\nmodel = "tiny"\nsince = 2026-01-01\ninput = 2.5\noutput = 10\n'


@pytest.mark.parametrize("path", BODIES)
def test_the_cost_and_the_usage_of_whole_and_streamed_replies(
    upstream: str, pair_file: Path, tmp_path: Path, ledger_place: str, path: str
) -> None:
    prices = tmp_path / "prices.toml"
    prices.write_text(PRICES)
    with open_ledger(ledger_place, prices=prices) as ledger:
        with gateway(config_text(upstream, pair=pair_file), ledger=ledger) as url:
            whole = post(url, path, BODIES[path])
            first = sum((row.cost or Decimal(0) for row in ledger.store.rows()), Decimal(0))
            streamed = post(
                url, path, {**BODIES[path], "stream": True, "stream_options": {"include_usage": True}}
            ).events
            bare = post(url, path, {**BODIES[path], "stream": True}).events
    used = whole.json["usage"]
    assert Decimal(whole.headers["x-steering-cost-usd"]) == Decimal(used["steering"]["cost_usd"]) == first > 0
    taken = used["steering"]
    cost = (taken["prompt_tokens"] * Decimal("2.5") + taken["completion_tokens"] * 10) / 10**6
    assert Decimal(taken["cost_usd"]) == cost
    assert taken["requests"] == used["completion_tokens"] == 3
    assert used["total_tokens"] == used["prompt_tokens"] + used["completion_tokens"]
    last = json.loads(streamed[-2])
    assert last["choices"] == []
    for one in (used, last["usage"]):
        one["steering"].pop("local_seconds")
        one["prompt_tokens_details"].pop("cached_tokens")
        one["steering"].pop("cached_tokens")
    assert last["usage"] == used
    assert all(not json.loads(event).get("usage") for event in [*streamed[:-2], *bare[:-1]])


def test_without_a_price_no_cost_is_told(served: str) -> None:
    answer = post(served, "/v1/completions", BODIES["/v1/completions"])
    assert "x-steering-cost-usd" not in answer.headers
    assert answer.json["usage"]["steering"]["cost_usd"] is None


@pytest.mark.parametrize("path", BODIES)
@pytest.mark.parametrize("stream", [False, True])
def test_an_upstream_that_is_too_slow_is_a_504(closed: TinyModel, pair_file: Path, path: str, *, stream: bool) -> None:
    with running(closed.path, name="tiny", context=CONTEXT, quirks=["faults=hang,ok"]) as api:
        with gateway(config_text(api, pair=pair_file, upstream="timeout = 0.5")) as url:
            late = post(url, path, {**BODIES[path], "stream": stream})
            assert late.status == 504
            assert late.json == {
                "error": {
                    "message": "The upstream model did not answer in time.",
                    "type": "server_error",
                    "param": None,
                    "code": "upstream_timeout",
                }
            }


@pytest.mark.parametrize("path", BODIES)
def test_a_budget_that_is_used_up_is_told(upstream: str, pair_file: Path, tmp_path: Path, path: str) -> None:
    """Four calls: one answer of three, one that ends after its first, and then none."""
    budgets = [Budget(max_calls=4, per="day")]
    with open_ledger(tmp_path / "ledger.sqlite", budgets=budgets) as ledger:
        with gateway(config_text(upstream, pair=pair_file), ledger=ledger) as url:
            enough, short, *over = (
                post(url, path, {**BODIES[path], "stream": stream}) for stream in (False, False, False, True)
            )
    assert enough.json["usage"]["completion_tokens"] == 3
    assert short.json["usage"]["steering"]["finish"] == ["budget"]
    assert short.json["choices"][0]["finish_reason"] == "length"
    for refused in over:
        assert refused.status == 429
        assert (refused.error["code"], refused.error["type"]) == ("insufficient_quota", "insufficient_quota")
        assert "budget" in refused.error["message"]
        assert "retry-after" not in refused.headers
