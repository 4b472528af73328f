"""Prometheus metrics: one registry for each server, and the one door to prometheus_client.

Labels are few: routes, served models, upstreams, names of keys, statuses. A model that nobody serves has the label "".

Several workers count in files of one folder, which any of them sums when it is asked (prometheus_client's multiprocess
mode). What one had counted is there after its end, however that came.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import final

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, values
from prometheus_client.exposition import choose_encoder
from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.multiprocess import MultiProcessCollector, mark_process_dead

from blackbox_proxy.core.money.spending import known_of, unpriced_of
from blackbox_proxy.gateway.gates import AdmissionGate
from blackbox_proxy.gateway.replies import written_tokens
from blackbox_proxy.gateway.watching.events import AnswerEnd, AnswerNow, RequestNow, UpstreamCall
from blackbox_proxy.gateway.watching.places import MetricsPlace
from blackbox_proxy.local.evaluator import EvaluationLoad

PREFIX = "blackbox_proxy_"
SECONDS = (0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 25.0, 50.0, 100.0, 250.0)
TOKEN_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0)

Loads = Callable[[], Mapping[tuple[str, str], EvaluationLoad]]
"""What pairs hold and have evaluated, by the name of the pair and of its member."""

Gates = Callable[[], Mapping[str, AdmissionGate]]

LEVELS_SECONDS = 0.5
"""Seconds after which a worker tells the others again what it has under way."""


@final
class MetricsWatch:
    """Counts what happens. place: where several workers count together; None: this process counts alone."""

    def __init__(self, place: MetricsPlace | None = None) -> None:
        self._place = place
        if place is not None:
            _share(place)
        self._shared: _SharedLevels | None = None
        self.registry = CollectorRegistry()
        counter, histogram = self._counter, self._histogram
        self._requests = counter("requests", "Requests to routes that answer.", "route", "model", "key", "status")
        self._seconds = histogram(
            "request_seconds", "From a request to the end of its reply.", SECONDS, "route", "model"
        )
        self._first = histogram("first_token_seconds", "From a request to its first token.", SECONDS, "model")
        self._each = histogram(
            "token_seconds", "Between two tokens of an answer, on its average.", TOKEN_SECONDS, "model"
        )
        self._answers = counter("answers", "Answers by how they ended.", "model", "finish")
        self._tokens = counter("tokens", "Tokens of answers.", "model")
        self._changed = counter("changed_tokens", "Those that are not what the API had sampled.", "model")
        self._outside = counter("outside_tokens", "Those that the API's top-k did not show.", "model")
        self._gated = counter("gated_tokens", "Those that were left to the API.", "model")
        self._prompt = counter("upstream_input_tokens", "Tokens that upstreams read.", "model")
        self._output = counter("upstream_output_tokens", "Tokens that upstreams wrote.", "model")
        self._calls = counter("upstream_calls", "Requests to upstreams.", "upstream", "model", "outcome")
        self._call_seconds = histogram("upstream_call_seconds", "Of a request to an upstream.", SECONDS, "upstream")
        self._passed_on = counter("fallbacks", "Answers that another upstream gave.", "model", "failed", "upstream")
        self._cost = counter("cost_usd", "US dollars of calls whose cost is known.", "model", "key")
        self._unpriced = counter("unpriced_calls", "Answered calls whose cost nobody knows.", "model", "key")
        self._limited = counter("rate_limited", "Requests over a limit of their key.", "key", "limit")
        self._hits = counter("cache_hits", "Requests that got a reply that was kept.", "model", "key")
        self._spent = counter("over_budget", "Requests that a budget forbade.", "key")

    @contextmanager
    def levels(self, gates: Gates, loads: Loads) -> Iterator[None]:
        """Tell also what is under way, while the block runs."""
        if self._place is None:
            self.registry.register(_Levels(gates, loads))
            yield
            return
        self._shared = _SharedLevels(_Levels(gates, loads))
        with self._shared.telling():
            yield

    def _counter(self, name: str, help_text: str, *labels: str) -> Counter:
        return Counter(PREFIX + name, help_text, labels, registry=self.registry)

    def _histogram(self, name: str, help_text: str, buckets: tuple[float, ...], *labels: str) -> Histogram:
        return Histogram(PREFIX + name, help_text, labels, buckets=buckets, registry=self.registry)

    def exposition(self, accept: str) -> tuple[bytes, str]:
        """All figures as text, and the type of that; in which form is said by what the client accepts."""
        encode, kind = choose_encoder(accept)
        if self._place is None:
            return encode(self.registry), kind
        if self._shared is not None:
            self._shared.tell()
        together = CollectorRegistry()
        MultiProcessCollector(together, str(self._place.folder))
        return encode(together), kind

    def begun(self, answer: AnswerNow) -> None:
        """Counted when it ends."""

    def called(self, call: UpstreamCall) -> None:
        self._calls.labels(call.upstream, call.model, call.attempt.outcome).inc()
        self._call_seconds.labels(call.upstream).observe(call.attempt.seconds)

    def passed_on(self, answer: AnswerNow, failed: str) -> None:
        self._passed_on.labels(answer.request.model, failed, answer.upstream).inc()

    def answered(self, end: AnswerEnd) -> None:
        model, key, result = end.answer.request.model, end.answer.request.key, end.result
        tokens = written_tokens(result)
        self._answers.labels(model, result.finish).inc()
        for count, amount in (
            (self._tokens, tokens),
            (self._changed, result.changed),
            (self._outside, result.outside),
            (self._gated, result.gated),
            (self._prompt, result.usage.input),
            (self._output, result.usage.output),
        ):
            count.labels(model).inc(amount)
        self._cost.labels(model, key).inc(float(known_of(result.calls)))
        self._unpriced.labels(model, key).inc(unpriced_of(result.calls))
        if end.answer.first is not None:
            self._first.labels(model).observe(end.answer.first - end.answer.request.began)
            if tokens > 1:
                self._each.labels(model).observe((end.ended - end.answer.first) / (tokens - 1))

    def cached(self, request: RequestNow) -> None:
        self._hits.labels(request.model, request.key).inc()

    def replied(self, request: RequestNow, seconds: float) -> None:
        self._requests.labels(request.route, request.model, request.key, str(request.status)).inc()
        self._seconds.labels(request.route, request.model).observe(seconds)
        if request.limited:
            self._limited.labels(request.key, request.limited).inc()
        if request.code == "insufficient_quota":
            self._spent.labels(request.key).inc()


@final
class _Levels:
    """What is under way, read when it is asked for."""

    def __init__(self, gates: Gates, loads: Loads) -> None:
        self._gates, self._loads = gates, loads

    def collect(self) -> Iterator[Metric]:
        yield from self._of_gates(self._gates())
        yield from self._of_pairs(self._loads())

    def _of_gates(self, gates: Mapping[str, AdmissionGate]) -> Iterator[Metric]:
        busy = GaugeMetricFamily(PREFIX + "answers_under_way", "Answers that are made now.", labels=["upstream"])
        waiting = GaugeMetricFamily(PREFIX + "requests_waiting", "Requests that wait for room.", labels=["upstream"])
        for name, gate in gates.items():
            busy.add_metric([name], gate.busy)
            waiting.add_metric([name], max(0, gate.inside - gate.busy))
        yield busy
        yield waiting

    def _of_pairs(self, loads: Mapping[tuple[str, str], EvaluationLoad]) -> Iterator[Metric]:
        labels = ["pair", "member"]
        batches = CounterMetricFamily(PREFIX + "pair_batches", "Batches that were evaluated.", labels=labels)
        rows = CounterMetricFamily(PREFIX + "pair_batch_tokens", "Tokens of those batches.", labels=labels)
        used = GaugeMetricFamily(PREFIX + "pair_cells_used", "Cells of the KV cache in use.", labels=labels)
        cells = GaugeMetricFamily(PREFIX + "pair_cells", "Cells of the KV cache.", labels=labels)
        for name, load in loads.items():
            batches.add_metric(name, load.batches)
            rows.add_metric(name, load.tokens)
            used.add_metric(name, load.cells_used)
            cells.add_metric(name, load.cells)
        yield from (batches, rows, used, cells)


@final
class _SharedLevels:
    """The same where several workers count: copied into the files that all of them sum."""

    def __init__(self, levels: _Levels) -> None:
        self._levels = levels
        self._lock = threading.Lock()
        self._gauges: dict[str, Gauge] = {}
        self._counters: dict[str, Counter] = {}
        self._counted: dict[tuple[str, ...], float] = {}

    @contextmanager
    def telling(self) -> Iterator[None]:
        """Copied every so often while the block runs, and at its end."""
        ended = threading.Event()

        def keep_telling() -> None:
            while not ended.wait(LEVELS_SECONDS):
                self.tell()

        thread = threading.Thread(target=keep_telling, name="levels", daemon=True)
        self.tell()
        thread.start()
        try:
            yield
        finally:
            ended.set()
            thread.join()
            self.tell()

    def tell(self) -> None:
        """Copy them now."""
        with self._lock:
            for metric in self._levels.collect():
                for sample in metric.samples:
                    names, label_values = tuple(sample.labels), tuple(sample.labels.values())
                    if metric.type == "gauge":
                        self._gauge(metric, names).labels(*label_values).set(sample.value)
                        continue
                    # The file goes on from what a worker before this one had counted.
                    before = self._counted.get((metric.name, *label_values), 0.0)
                    self._counter(metric, names).labels(*label_values).inc(sample.value - before)
                    self._counted[metric.name, *label_values] = sample.value

    def _gauge(self, metric: Metric, labels: tuple[str, ...]) -> Gauge:
        if metric.name not in self._gauges:
            self._gauges[metric.name] = Gauge(
                metric.name, metric.documentation, labels, registry=None, multiprocess_mode="livesum"
            )
        return self._gauges[metric.name]

    def _counter(self, metric: Metric, labels: tuple[str, ...]) -> Counter:
        if metric.name not in self._counters:
            self._counters[metric.name] = Counter(metric.name, metric.documentation, labels, registry=None)
        return self._counters[metric.name]


def _share(place: MetricsPlace) -> None:
    """Have all that this process counts from now on kept in the folder. Its files are named by the worker's number."""
    os.environ["PROMETHEUS_MULTIPROC_DIR"] = str(place.folder)
    values.ValueClass = values.MultiProcessValue(lambda: place.number)


def forget(place: MetricsPlace) -> None:
    """Drop what a worker that is gone had under way."""
    mark_process_dead(place.number, str(place.folder))
