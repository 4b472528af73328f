"""What `/metrics` says: the figures of the ledger, in Prometheus' form, with few labels and no secret."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path

import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families as open_metrics_families
from prometheus_client.parser import text_string_to_metric_families

from blackbox_proxy.errors import InputError
from blackbox_proxy.gateway.keys import add_key
from blackbox_proxy.gateway.limits.rates import KeyLimits
from blackbox_proxy.gateway.optional import open_metrics
from blackbox_proxy.gateway.watching.metrics import PREFIX
from blackbox_proxy.ledger.books import Ledger, open_ledger
from blackbox_proxy.ledger.rows import LedgerRow
from blackbox_proxy.standin import running
from tests.adapters.shapes import body
from tests.gateway.serving import CONTEXT, config_text, gateway
from tests.gateway.test_bills import PRICES
from tests.remote.scripted import Say, ScriptedApi
from tests.standin.raw import Answer, Json, call, post
from tests.tiny_gguf import TinyModel

ASKED: Json = {"model": "steered", "prompt": "the then", "max_tokens": 6, "temperature": 0, "steering": {"draft": 2}}
PRIVATE = "words-of-a-client"

Samples = Mapping[str, Sequence[tuple[Mapping[str, str], float]]]
"""Values by the name of the sample, without our prefix, each with its labels."""


@dataclass
class Measured:
    url: str
    keys: Mapping[str, str]

    def ask(self, path: str = "/v1/completions", *, name: str = "ann", **fields: Json) -> Answer:
        return post(self.url, path, {**ASKED, **fields}, authorization=f"Bearer {self.keys[name]}")

    def scrape(self, *, name: str = "ann", accept: str = "*/*") -> Answer:
        return call(self.url, "/metrics", authorization=f"Bearer {self.keys[name]}", accept=accept)

    def samples(self) -> Samples:
        answer = self.scrape()
        assert answer.status == 200, answer.body
        read: dict[str, list[tuple[Mapping[str, str], float]]] = {}
        for family in text_string_to_metric_families(answer.body.decode()):
            assert family.name.startswith(PREFIX)
            for sample in family.samples:
                read.setdefault(sample.name.removeprefix(PREFIX), []).append((sample.labels, sample.value))
        return read


@contextmanager
def measured(
    closed: TinyModel, pair: Path, folder: Path, *quirks: str, server: str = "", ledger: Ledger | None = None
) -> Iterator[Measured]:
    keys = {"ann": add_key(folder / "keys.txt", "ann"), "ben": add_key(folder / "keys.txt", "ben", KeyLimits(1))}
    more = f'metrics = true\nkeys = "keys.txt"\n{server}\n\n[limits]\nfile = "limits.sqlite"'
    with running(closed.path, name="tiny", context=CONTEXT, quirks=quirks) as api:
        with gateway(config_text(api, pair=pair, server=more), folder=folder, ledger=ledger) as url:
            yield Measured(url, keys)


def total(samples: Samples, name: str, **labels: str) -> float:
    """The sum of what has these labels."""
    return sum(value for kept, value in samples.get(name, ()) if labels.items() <= kept.items())


@pytest.fixture
def books(tmp_path: Path) -> Iterator[Ledger]:
    (tmp_path / "prices.toml").write_text(PRICES)
    with open_ledger(tmp_path / "ledger.sqlite", prices=tmp_path / "prices.toml") as ledger:
        yield ledger


def test_the_figures_are_those_of_the_ledger(closed: TinyModel, pair_file: Path, tmp_path: Path, books: Ledger) -> None:
    """Whole, streamed and broken answers, several in one request, calls that fail, and two keys."""
    faults = "faults=ok,ok,503,ok,ok,garbage,ok"
    with measured(closed, pair_file, tmp_path, faults, ledger=books) as served:
        replies = [
            served.ask(),
            served.ask(stream=True),
            served.ask(prompt=[f"the {PRIVATE}", "then"], stream=True),
            served.ask(model="plain", max_tokens=4),
            served.ask("/v1/chat/completions", messages=[{"role": "user", "content": PRIVATE}]),
            served.ask(name="ben", model="plain", max_tokens=3),
            served.ask(name="ben", model="plain", max_tokens=3),
            served.ask(model=PRIVATE),
        ]
        seen, text = served.samples(), served.scrape().body.decode()
    rows = list(books.store.rows())
    assert {200, 404, 429} <= {reply.status for reply in replies}
    assert total(seen, "upstream_calls_total") == len(rows)
    assert total(seen, "upstream_calls_total", outcome="ok") == sum(row.outcome == "ok" for row in rows) < len(rows)
    assert total(seen, "upstream_call_seconds_count") == len(rows)
    assert total(seen, "cost_usd_total") == pytest.approx(float(spent(rows)), rel=1e-9)
    for key in ("ann", "ben"):
        mine = [row for row in rows if row.tags["key"] == key]
        assert total(seen, "cost_usd_total", key=key) == pytest.approx(float(spent(mine)), rel=1e-9)
    assert total(seen, "upstream_input_tokens_total") == sum(row.input or 0 for row in rows)
    assert total(seen, "upstream_output_tokens_total") == sum(row.output or 0 for row in rows)
    assert total(seen, "requests_total") == len(replies) == total(seen, "request_seconds_count")
    assert total(seen, "requests_total", status="404", model="") == 1
    assert total(seen, "requests_total", route="chat") == 1
    assert total(seen, "rate_limited_total", key="ben", limit="requests") == 1
    assert total(seen, "requests_total", status="502") == total(seen, "answers_total", finish="error") > 0
    told = [reply.json["usage"] for reply in replies if reply.status == 200 and b"data:" not in reply.body]
    assert total(seen, "tokens_total", model="plain") == 4 + 3
    assert total(seen, "tokens_total", model="steered") >= sum(one["completion_tokens"] for one in told) - 7
    assert total(seen, "first_token_seconds_count") >= 5
    assert not [one for one in (PRIVATE, *served.keys.values()) if one in text], "no key, and no word of a client"


def spent(rows: Sequence[LedgerRow]) -> Decimal:
    return sum((row.cost for row in rows if row.cost is not None), Decimal(0))


def test_what_is_steered_is_counted(closed: TinyModel, pair_file: Path, tmp_path: Path, books: Ledger) -> None:
    with measured(closed, pair_file, tmp_path, ledger=books) as served:
        before = served.samples()
        steered = served.ask(steering={"alpha": 3.0, "draft": 2}, max_tokens=12).json["usage"]["steering"]
        alone = served.ask(steering={"alpha": 0.0}, max_tokens=5).json["usage"]["steering"]
        seen = served.samples()
    assert total(before, "pair_batches_total") == 0
    cells = total(before, "pair_cells", member="expert")
    assert cells == total(seen, "pair_cells", member="anti_expert") >= CONTEXT
    assert total(seen, "changed_tokens_total", model="steered") == steered["changed"] + alone["changed"] > 0
    assert total(seen, "outside_tokens_total", model="steered") == steered["outside"] + alone["outside"]
    for member in ("expert", "anti_expert"):
        assert total(seen, "pair_batches_total", member=member, pair="gateway-pair") > 0
        assert total(seen, "pair_batch_tokens_total", member=member) >= total(seen, "pair_batches_total", member=member)
        assert 0 < total(seen, "pair_cells_used", member=member) <= cells
    assert total(seen, "answers_under_way", upstream="tiny") == 0 == total(seen, "requests_waiting", upstream="tiny")


def test_what_is_left_to_the_api_is_counted(tmp_path: Path) -> None:
    """Without a pair all of it."""
    word = Say(body(("word", -0.1, {"word": -0.1, " x": -9.0}), finish="stop"))
    with ScriptedApi(word) as api:
        text = f"""
[server]
port = 0
metrics = true
[upstreams.u]
base_url = "{api.url}"
[models.m]
upstream = "u"
model = "tiny"
"""
        with gateway(text, folder=tmp_path) as url:
            post(url, "/v1/completions", {**ASKED, "model": "m", "steering": {}})
            seen = Measured(url, {"ann": ""}).samples()
    assert total(seen, "gated_tokens_total", model="m") == total(seen, "tokens_total", model="m") > 0


def test_they_are_read_in_both_forms_by_whoever_may(closed: TinyModel, pair_file: Path, tmp_path: Path) -> None:
    with measured(closed, pair_file, tmp_path, server='metrics_key = "ben"') as served:
        assert served.scrape(name="ann").status == 403
        assert call(served.url, "/metrics").status == 401
        plain = served.scrape(name="ben")
        newer = served.scrape(name="ben", accept="application/openmetrics-text; version=1.0.0")
    assert plain.headers["content-type"].startswith("text/plain; version=")
    assert newer.headers["content-type"].startswith("application/openmetrics-text")
    names = {family.name for family in text_string_to_metric_families(plain.body.decode())}
    assert names == {family.name for family in open_metrics_families(newer.body.decode())}


def test_there_are_none_unless_they_are_switched_on(served: str) -> None:
    answer = call(served, "/metrics")
    assert (answer.status, answer.error["message"]) == (404, "Invalid URL (GET /metrics)")


def test_a_package_that_is_missing_is_named_with_its_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "prometheus_client", None)
    monkeypatch.delitem(sys.modules, "blackbox_proxy.gateway.watching.metrics")
    with pytest.raises(InputError, match="needs the package prometheus_client") as missing:
        open_metrics()
    assert "blackbox-proxy[metrics]" in missing.value.hint
