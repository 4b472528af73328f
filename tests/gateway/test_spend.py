"""`/spend`: what was spent today, by the client's key where keys are asked for."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path

from blackbox_proxy.gateway.keys import add_key
from blackbox_proxy.ledger.books import Ledger, open_ledger
from blackbox_proxy.ledger.report import figures
from tests.gateway.serving import bodies, config_text, gateway
from tests.gateway.test_bills import PRICES
from tests.standin.raw import Json, call, post

ASKED = bodies(model="steered", max_tokens=2, temperature=0)["/v1/completions"]


def booked(tmp_path: Path, *, prices: str = PRICES) -> Ledger:
    (tmp_path / "prices.toml").write_text(prices)
    return open_ledger(tmp_path / "ledger.sqlite", prices=tmp_path / "prices.toml")


def spent(url: str, **headers: str) -> Json:
    answer = call(url, "/v1/spend", body=b"", **headers)
    assert answer.status == 200
    return answer.json


def test_without_keys_it_is_what_the_ledger_has_of_today(tmp_path: Path, upstream: str, pair_file: Path) -> None:
    with booked(tmp_path) as ledger, gateway(config_text(upstream, pair=pair_file), ledger=ledger) as url:
        before = spent(url)
        assert (before["requests"], before["cost_usd"], before["key"]) == (0, "0", None)
        cost = Decimal(post(url, "/v1/completions", ASKED).headers["x-steering-cost-usd"])
        after, rows = spent(url), list(ledger.store.rows())
    assert Decimal(after["cost_usd"]) == cost > 0
    assert after["requests"] == len(rows) > 0
    assert after["day"] == rows[0].day
    assert after["cost_usd"] == str(figures("", rows).cost.normalize())


def test_a_key_sees_what_it_spent_and_no_more(tmp_path: Path, upstream: str, pair_file: Path) -> None:
    ann, bob = (add_key(tmp_path / "keys.txt", name) for name in ("ann", "bob"))
    text = config_text(upstream, pair=pair_file, server='keys = "keys.txt"')
    with booked(tmp_path) as ledger, gateway(text, folder=tmp_path, ledger=ledger) as url:
        cost = post(url, "/v1/completions", ASKED, authorization=f"Bearer {ann}").headers["x-steering-cost-usd"]
        hers, his = (spent(url, authorization=f"Bearer {key}") for key in (ann, bob))
        assert call(url, "/v1/spend").status == 401
    assert (hers["key"], hers["cost_usd"]) == ("ann", cost)
    assert (his["key"], his["cost_usd"], his["requests"]) == ("bob", "0", 0)


def test_what_nobody_knows_is_null_or_counted_apart(tmp_path: Path, upstream: str, pair_file: Path) -> None:
    with gateway(config_text(upstream, pair=pair_file)) as url:
        unbooked = spent(url)
    assert {name: value for name, value in unbooked.items() if value is not None} == {"object": "spend"}
    with booked(tmp_path, prices="") as ledger, gateway(config_text(upstream, pair=pair_file), ledger=ledger) as url:
        post(url, "/v1/completions", ASKED)
        unpriced = spent(url)
    assert (unpriced["cost_usd"], unpriced["unpriced"]) == ("0", unpriced["requests"])
