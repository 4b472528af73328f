"""docs/deploy as it runs: the gateway over PostgreSQL, scraped as prometheus.yml says, and the dashboard's queries."""

from __future__ import annotations

import math
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path

import pytest

from blackbox_proxy.gateway.config import Config, parse_config
from blackbox_proxy.gateway.keys import add_key
from blackbox_proxy.gateway.limits.rates import KeyLimits
from blackbox_proxy.gateway.server import running as serving
from blackbox_proxy.ledger.books import Ledger, open_ledger
from blackbox_proxy.standin import running
from tests.deployment import gateway_text, prometheus_text, queries
from tests.gateway.prometheus_server import PATIENCE, PrometheusServer, program, prometheus_server
from tests.gateway.serving import CONTEXT
from tests.gateway.test_bills import PRICES
from tests.gateway.waiting import until
from tests.ledger.postgres_server import PASSWORD
from tests.standin.raw import Answer, Json, post
from tests.tiny_gguf import TinyModel

pytestmark = pytest.mark.slow

ASKED: Json = {"prompt": "the then", "max_tokens": 6, "temperature": 0, "steering": {"draft": 2}}
OF_A_SECOND = prometheus_text().replace("scrape_interval: 15s", "scrape_interval: 1s")
KEYS: Mapping[str, KeyLimits] = {
    "prometheus": KeyLimits(),
    "ann": KeyLimits(),
    "ben": KeyLimits(requests_per_minute=1),
    "col": KeyLimits(max_calls=0),
}


@dataclass(frozen=True)
class Deployed:
    url: str
    keys: Mapping[str, str]
    ledger: Ledger
    seeds: Iterator[int] = field(default_factory=count)

    def ask(self, *, name: str = "ann", model: str = "steered", **fields: Json) -> Answer:
        """A request that nobody has made before, unless it has a seed that was taken."""
        body = {**ASKED, "seed": next(self.seeds), **fields, "model": model}
        return post(self.url, "/v1/completions", body, authorization=f"Bearer {self.keys[name]}")

    def work(self) -> list[int]:
        """Requests that move every metric: answers, limits, budgets, kept replies, and calls that fail."""
        asked = [self.ask(), self.ask(stream=True), self.ask(steering={"alpha": 0.0}), self.ask(model="plain")]
        asked += [self.ask(name="ben"), self.ask(name="ben"), self.ask(name="col")]
        asked += [
            self.ask(model="plain", seed=10_000, max_tokens=1) for _ in range(3)
        ]  # of two calls in a row one is answered
        return [answer.status for answer in asked]


def place(text: str, changes: Mapping[str, str]) -> str:
    """A file of the deployment with other places; each one stands in it."""
    for before, after in changes.items():
        assert before in text, before
        text = text.replace(before, after)
    return text


def configured(api: str, other: str, folder: Path, *, ledger: str, pair: Path) -> Config:
    """The gateway's file, where it runs as no container does. other: an upstream that fails."""
    changes = {
        'host = "0.0.0.0"': 'host = "127.0.0.1"',
        "port = 8080": "port = 0",
        "[limits]": f'[cache]\non = true\nfile = "{folder}/cache.sqlite"\n\n[limits]',
        "postgresql://blackbox_proxy@postgres/blackbox_proxy": ledger,
        "/run/secrets/": f"{folder}/",
        "/var/lib/blackbox-proxy": str(folder),
        '[upstreams.hosted]\nprofile = "together" ': f'[upstreams.second]\nbase_url = "{api}"\n\n'
        f'[upstreams.hosted]\nattempts = 1\nbase_url = "{other}" ',
        "Qwen/Qwen2.5-7B-Instruct-Turbo": "tiny",
        'pair = "demo" ': f'pair = "{pair}"\nfallbacks = [{{ upstream = "second" }}] ',
    }
    text = place(gateway_text(), changes)
    return parse_config(text, where="gateway.toml", folder=folder, environ={})


@contextmanager
def deployed(closed: TinyModel, pair: Path, folder: Path, *, books: str) -> Iterator[Deployed]:
    keys = {name: add_key(folder / "keys.txt", name, limits) for name, limits in KEYS.items()}
    (folder / "prices.toml").write_text(PRICES)
    secrets = {"postgres_password": PASSWORD, "upstream_key": "k", "prometheus_key": keys["prometheus"]}
    for name, text in secrets.items():
        (folder / name).write_text(f"{text}\n")
    faults = "faults=" + ",".join(["503", "ok", "ok"] * 200)
    with ExitStack() as stack:
        api = stack.enter_context(running(closed.path, name="tiny", context=CONTEXT, top_k=20))
        other = stack.enter_context(running(closed.path, name="tiny", context=CONTEXT, top_k=20, quirks=(faults,)))
        config = configured(api, other, folder, ledger=books, pair=pair)
        ledger = stack.enter_context(open_ledger(config.ledger_place, prices=folder / "prices.toml"))
        yield Deployed(stack.enter_context(serving(config, {}, ledger=ledger)), keys, ledger)


@pytest.fixture
def watched(
    closed: TinyModel, pair_file: Path, tmp_path: Path, guarded: str
) -> Iterator[tuple[Deployed, PrometheusServer]]:
    if program() is None:
        pytest.skip("there is no Prometheus here (Debian: apt-get install prometheus)")
    with deployed(closed, pair_file, tmp_path, books=guarded) as served:
        target = served.url.removeprefix("http://").removesuffix("/v1")
        config = tmp_path / "prometheus.yml"
        config.write_text(place(OF_A_SECOND, {"gateway:8080": target, "/run/secrets/": f"{tmp_path}/"}))
        checker = shutil.which("promtool")
        assert checker
        subprocess.run([checker, "check", "config", str(config)], check=True, capture_output=True)
        data = tmp_path / "prometheus"
        data.mkdir()
        with prometheus_server(config, data) as prometheus:
            yield served, prometheus


def test_every_query_of_the_dashboard_gives_data(watched: tuple[Deployed, PrometheusServer]) -> None:
    served, prometheus = watched
    statuses = set(served.work())
    assert {200, 429} <= statuses <= {200, 429, 502}, "502 is what fails where nobody else can be asked"
    scrapes = "count_over_time(blackbox_proxy_requests_total[5m])"
    until(lambda: bool(prometheus.query(scrapes)), prometheus.targets, seconds=PATIENCE)
    served.work()  # a rate is the difference of two scrapes
    asked = [(title, query.replace("$__rate_interval", "5m")) for title, query in queries()]
    assert len(asked) >= 20

    def without() -> list[tuple[str, str]]:
        return [(title, query) for title, query in asked if not numbers(prometheus, query)]

    until(lambda: not without(), without, seconds=PATIENCE)
    (target,) = prometheus.targets()
    assert (target["health"], target["lastError"]) == ("up", "")
    rows = len(list(served.ledger.store.rows()))
    calls = "sum(blackbox_proxy_upstream_calls_total)"
    until(lambda: numbers(prometheus, calls) == [rows], lambda: (numbers(prometheus, calls), rows), seconds=PATIENCE)


def numbers(prometheus: PrometheusServer, query: str) -> list[float]:
    """The values that are numbers: a share of nothing is none."""
    values = [float(one["value"][1]) for one in prometheus.query(query)]
    return [value for value in values if math.isfinite(value)]
