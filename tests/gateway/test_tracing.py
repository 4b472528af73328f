"""Spans: one for each answer, one below it for each call, as a collector reads them; prompts only where asked for."""

from __future__ import annotations

import json
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, cast

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from blackbox_proxy.errors import InputError
from blackbox_proxy.gateway.keys import add_key
from blackbox_proxy.gateway.optional import open_tracing
from blackbox_proxy.gateway.tables import TracesConfig
from blackbox_proxy.ledger.books import open_ledger
from tests.adapters.shapes import body
from tests.gateway.serving import gateway
from tests.gateway.test_bills import PRICES
from tests.remote.scripted import Say, ScriptedApi
from tests.standin.raw import Json, post

PRIVATE = "words-of-a-client"
ANSWERED = "words-of-the-model"
CONFIG = """
[server]
port = 0
keys = "keys.txt"

[traces]
on = true
endpoint = "{collector}"
{more}

[upstreams.u]
base_url = "{url}"
attempts = 2

[models.m]
upstream = "u"
model = "tiny"
template = "chatml"
"""
WORD = Say(body((ANSWERED, -0.1, {ANSWERED: -0.1, " x": -9.0}), finish="stop"))
BUSY = Say({"error": {"message": "no"}}, status=503, headers={"retry-after": "0"})
CHAT: Json = {"model": "m", "messages": [{"role": "user", "content": PRIVATE}], "max_tokens": 4, "temperature": 0.5}


@dataclass(frozen=True)
class Span:
    name: str
    kind: int
    id: bytes
    parent: bytes
    trace: bytes
    start: int
    end: int
    failed: bool
    attributes: Mapping[str, Any]


def _value(value: Any) -> Any:  # noqa: ANN401 (a message of protobuf)
    kind = value.WhichOneof("value")
    if kind == "array_value":
        return [_value(one) for one in value.array_value.values]
    return getattr(value, kind)


class Collector(ThreadingHTTPServer):
    """An OTLP collector on loopback: keeps the spans that are sent to /v1/traces."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Collecting)
        self.spans: list[Span] = []
        self.raw: list[bytes] = []
        self.url = f"http://127.0.0.1:{self.server_port}/v1/traces"


class _Collecting(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        server = cast(Collector, self.server)
        raw = self.rfile.read(int(self.headers["content-length"]))
        if self.headers.get("content-encoding") == "gzip":
            import gzip

            raw = gzip.decompress(raw)
        server.raw.append(raw)
        for resource in ExportTraceServiceRequest.FromString(raw).resource_spans:
            for scope in resource.scope_spans:
                for one in scope.spans:
                    server.spans.append(
                        Span(
                            one.name,
                            one.kind,
                            one.span_id,
                            one.parent_span_id,
                            one.trace_id,
                            one.start_time_unix_nano,
                            one.end_time_unix_nano,
                            one.status.code == 2,
                            {item.key: _value(item.value) for item in one.attributes},
                        )
                    )
        self.send_response(200)
        self.send_header("content-type", "application/x-protobuf")
        self.end_headers()

    def log_request(self, code: int | str = "-", size: int | str = "-") -> None:
        """Silent."""


@contextmanager
def collecting() -> Iterator[Collector]:
    with Collector() as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()


@dataclass
class Traced:
    url: str
    key: str
    collector: Collector
    ids: list[str] = field(default_factory=list)

    def ask(self, *, trace: str = "", **fields: Json) -> int:
        headers = {"authorization": f"Bearer {self.key}", **({"traceparent": trace} if trace else {})}
        answer = post(self.url, "/v1/chat/completions", {**CHAT, **fields}, **headers)
        self.ids.append(answer.headers["x-request-id"])
        return answer.status


@contextmanager
def traced(folder: Path, *script: Say, more: str = "") -> Iterator[Traced]:
    """A gateway that sends spans; they are all there once it has ended."""
    key = add_key(folder / "keys.txt", "ann")
    (folder / "prices.toml").write_text(PRICES)
    with collecting() as collector, ScriptedApi(*script) as api:
        with open_ledger(folder / "l.sqlite", prices=folder / "prices.toml") as ledger:
            text = CONFIG.format(url=api.url, collector=collector.url, more=more)
            with gateway(text, folder=folder, ledger=ledger) as url:
                served = Traced(url, key, collector)
                yield served


def split(spans: Sequence[Span]) -> tuple[list[Span], list[Span]]:
    """Those of answers, and those of calls, in the order of their begin."""
    ordered = sorted(spans, key=lambda one: one.start)
    return [one for one in ordered if not one.parent], [one for one in ordered if one.parent]


@pytest.mark.parametrize("stream", [False, True])
def test_an_answer_is_a_span_and_each_of_its_calls_one_below_it(tmp_path: Path, *, stream: bool) -> None:
    with traced(tmp_path, BUSY, WORD) as served:
        assert served.ask(stream=stream) == 200
    (answer,), calls = split(served.collector.spans)
    assert (answer.name, answer.kind, answer.failed) == ("chat m", 2, False)
    kept = answer.attributes
    assert {name: kept[name] for name in kept if name.startswith("gen_ai.request")} == {
        "gen_ai.request.model": "m",
        "gen_ai.request.temperature": 0.5,
        "gen_ai.request.top_p": 1.0,
        "gen_ai.request.max_tokens": 4,
        "gen_ai.request.choice.count": 1,
    }
    assert (kept["gen_ai.operation.name"], kept["gen_ai.provider.name"]) == ("chat", "blackbox-proxy")
    assert kept["gen_ai.response.finish_reasons"] == ["stop"]
    assert kept["gen_ai.usage.input_tokens"] > 0
    assert kept["gen_ai.usage.output_tokens"] > 0
    assert (kept["blackbox_proxy.request.id"], kept["blackbox_proxy.key"]) == (served.ids[0], "ann")
    assert (kept["blackbox_proxy.calls"], kept["blackbox_proxy.upstream"]) == (2, "u")
    assert float(kept["blackbox_proxy.cost_usd"]) > 0
    busy, fine = calls
    for call in calls:
        assert (call.name, call.kind, call.parent, call.trace) == ("text_completion tiny", 3, answer.id, answer.trace)
        assert call.start <= call.end <= answer.end
        assert call.attributes["gen_ai.provider.name"] == "u"
    assert (busy.failed, busy.attributes["error.type"], busy.attributes["http.response.status_code"]) == (
        True,
        "busy",
        503,
    )
    used = cast(dict[str, Any], WORD.body)["usage"]
    assert (fine.failed, fine.attributes["gen_ai.usage.output_tokens"]) == (False, used["completion_tokens"])
    assert fine.attributes["gen_ai.usage.input_tokens"] == used["prompt_tokens"] == kept["gen_ai.usage.input_tokens"]
    sent = b"".join(served.collector.raw)
    assert not [one for one in (PRIVATE, ANSWERED, served.key) if one.encode() in sent]


def test_an_answer_that_breaks_off_is_a_span_that_failed(tmp_path: Path) -> None:
    with traced(tmp_path, BUSY, BUSY) as served:
        assert served.ask() == 502
    (answer,), calls = split(served.collector.spans)
    assert answer.failed
    assert answer.attributes["gen_ai.response.finish_reasons"] == ["error"]
    assert [call.failed for call in calls] == [True, True]


def test_prompts_and_answers_are_there_where_they_are_asked_for(tmp_path: Path) -> None:
    with traced(tmp_path, WORD, more="content = true") as served:
        assert served.ask() == 200
    (answer,), _ = split(served.collector.spans)
    asked = json.loads(answer.attributes["gen_ai.input.messages"])
    assert asked == [{"role": "user", "parts": [{"type": "text", "content": PRIVATE}]}]
    (said,) = json.loads(answer.attributes["gen_ai.output.messages"])
    assert said["parts"] == [{"type": "text", "content": ANSWERED}]
    assert served.key.encode() not in b"".join(served.collector.raw)


def test_answers_of_one_time_have_calls_of_their_own(tmp_path: Path) -> None:
    with traced(tmp_path, *[WORD] * 6) as served:
        threads = [threading.Thread(target=served.ask) for _ in range(6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    answers, calls = split(served.collector.spans)
    assert len(answers) == 6
    assert sorted(call.parent for call in calls) == sorted(answer.id for answer in answers)


def test_an_answer_belongs_to_the_trace_that_its_request_names(tmp_path: Path) -> None:
    with traced(tmp_path, WORD, WORD) as served:
        assert served.ask(trace=f"00-{'ab' * 16}-{'cd' * 8}-01") == 200
        assert served.ask(trace="nonsense") == 200
    first, second = (span for span in sorted(served.collector.spans, key=lambda one: one.start) if span.kind == 2)
    assert (first.trace, first.parent) == (bytes.fromhex("ab" * 16), bytes.fromhex("cd" * 8))
    assert second.parent == b""
    assert second.trace != first.trace
    assert first.attributes["gen_ai.response.time_to_first_chunk"] > 0


def test_a_package_that_is_missing_is_named_with_its_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "opentelemetry", None)
    monkeypatch.delitem(sys.modules, "blackbox_proxy.gateway.watching.tracing", raising=False)
    with pytest.raises(InputError, match="needs the package opentelemetry") as missing:
        with open_tracing(TracesConfig(on=True)):
            raise AssertionError
    assert "blackbox-proxy[otel]" in missing.value.hint
