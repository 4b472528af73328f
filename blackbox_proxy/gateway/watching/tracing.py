"""OpenTelemetry: one span for each answer, and one below it for each call to an upstream.

Names of attributes are those of the semantic conventions for generative AI. Prompts and answers are kept only where
that is asked for. The one door to opentelemetry.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import final

from opentelemetry import trace
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter
from opentelemetry.trace import Span, SpanKind, Status, StatusCode
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from blackbox_proxy.core.money.amounts import plain
from blackbox_proxy.core.money.spending import cost_of
from blackbox_proxy.gateway.replies import counted_tokens
from blackbox_proxy.gateway.watching.events import AnswerEnd, AnswerNow, RequestNow, UpstreamCall
from blackbox_proxy.types import Prompt

SERVICE = "blackbox-proxy"
NANOSECONDS = 10**9

_FORM = TraceContextTextMapPropagator()

_OPERATIONS = {"completions": "text_completion"}
"""What a route does, by the conventions; all others are a `chat`."""


@contextmanager
def tracing(endpoint: str | None, *, content: bool, exporter: SpanExporter | None = None) -> Iterator[TracingWatch]:
    """Send spans while the block runs, and what is left at its end.

    endpoint: the collector's address for traces; None leaves it to OTEL_EXPORTER_OTLP_ENDPOINT, or to port 4318 of
    this machine. content: keep prompts and answers. exporter: in place of one for that address.
    """
    provider = TracerProvider(resource=Resource.create({"service.name": SERVICE}))
    provider.add_span_processor(BatchSpanProcessor(exporter or OTLPSpanExporter(endpoint=endpoint)))
    try:
        yield TracingWatch(provider.get_tracer(SERVICE), content=content)
    finally:
        provider.shutdown()


@final
class TracingWatch:
    """Makes spans of what happens. content: whether they hold prompts and answers."""

    def __init__(self, tracer: trace.Tracer, *, content: bool) -> None:
        self._tracer = tracer
        self._content = content
        self._open: dict[AnswerNow, Span] = {}

    def begun(self, answer: AnswerNow) -> None:
        steering, request = answer.steering, answer.request
        operation = _OPERATIONS.get(request.route, "chat")
        attributes = {
            "gen_ai.operation.name": operation,
            "gen_ai.provider.name": SERVICE,
            "gen_ai.request.model": request.model,
            "gen_ai.request.temperature": steering.temperature,
            "gen_ai.request.top_p": steering.top_p,
            "gen_ai.request.max_tokens": steering.max_tokens,
            "gen_ai.request.choice.count": answer.choices,
            "blackbox_proxy.request.id": request.id,
            "blackbox_proxy.route": request.route,
            "blackbox_proxy.key": request.key,
            "blackbox_proxy.alpha": steering.alpha,
        }
        span = self._tracer.start_span(
            f"{operation} {request.model}",
            context=_FORM.extract(request.trace),
            kind=SpanKind.SERVER,
            attributes=attributes,
        )
        if self._content and isinstance(answer.prompt, Prompt):
            turns = [_turn(one.role, one.content) for one in answer.prompt.messages]
            span.set_attribute("gen_ai.input.messages", _json(turns or [_turn("user", answer.prompt.text)]))
        self._open[answer] = span

    def called(self, call: UpstreamCall) -> None:
        parent = None if call.answer is None else self._open.get(call.answer)
        context = None if parent is None else trace.set_span_in_context(parent)
        ended = time.time_ns()
        attempt, usage = call.attempt, call.attempt.usage or {}
        span = self._tracer.start_span(
            f"{_operation(attempt.path)} {call.asked}",
            context=context,
            kind=SpanKind.CLIENT,
            start_time=ended - int(attempt.seconds * NANOSECONDS),
            attributes={
                "gen_ai.operation.name": _operation(attempt.path),
                "gen_ai.provider.name": call.upstream,
                "gen_ai.request.model": call.asked,
                "blackbox_proxy.attempt": attempt.number,
                "blackbox_proxy.outcome": attempt.outcome,
            },
        )
        if attempt.status is not None:
            span.set_attribute("http.response.status_code", attempt.status)
        for name, key in (("input", "prompt_tokens"), ("output", "completion_tokens")):
            if isinstance(count := usage.get(key), int):
                span.set_attribute(f"gen_ai.usage.{name}_tokens", count)
        if attempt.outcome != "ok":
            span.set_attribute("error.type", attempt.outcome)
            span.set_status(Status(StatusCode.ERROR, attempt.outcome))
        span.end(end_time=ended)

    def passed_on(self, answer: AnswerNow, failed: str) -> None:
        span = self._open.get(answer)
        if span is not None:
            span.add_event("fallback", {"blackbox_proxy.failed": failed, "blackbox_proxy.upstream": answer.upstream})

    def answered(self, end: AnswerEnd) -> None:
        span = self._open.pop(end.answer, None)
        if span is None:
            return
        result = end.result
        prompt, completion = counted_tokens([(result, 1)])
        cost = cost_of(result.calls) if result.cost is None else result.cost
        span.set_attributes(
            {
                "gen_ai.response.model": result.model or end.answer.asked,
                "gen_ai.response.finish_reasons": [result.finish],
                "gen_ai.usage.input_tokens": prompt,
                "gen_ai.usage.output_tokens": completion,
                "blackbox_proxy.upstream": end.answer.upstream,
                "blackbox_proxy.calls": result.usage.requests,
                "blackbox_proxy.changed": result.changed,
                "blackbox_proxy.outside": result.outside,
                "blackbox_proxy.gated": result.gated,
            }
        )
        if end.answer.first is not None:
            first = end.answer.first - end.answer.request.began
            span.set_attribute("gen_ai.response.time_to_first_chunk", first)
        if cost is not None:
            span.set_attribute("blackbox_proxy.cost_usd", plain(cost))
        if self._content:
            said = {**_turn("assistant", result.text), "finish_reason": result.finish}
            span.set_attribute("gen_ai.output.messages", _json([said]))
        if end.error:
            span.set_attribute("error.type", "error" if end.answer.request.code == "" else end.answer.request.code)
            span.set_status(Status(StatusCode.ERROR, end.error))
        span.end()

    def cached(self, request: RequestNow) -> None:
        operation = _OPERATIONS.get(request.route, "chat")
        attributes = {
            "gen_ai.operation.name": operation,
            "gen_ai.provider.name": SERVICE,
            "gen_ai.request.model": request.model,
            "blackbox_proxy.request.id": request.id,
            "blackbox_proxy.route": request.route,
            "blackbox_proxy.key": request.key,
            "blackbox_proxy.cached": True,
        }
        name, context = f"{operation} {request.model}", _FORM.extract(request.trace)
        self._tracer.start_span(name, context=context, kind=SpanKind.SERVER, attributes=attributes).end()

    def replied(self, request: RequestNow, seconds: float) -> None:
        """A request has no span of its own; its answers have its id."""


def _turn(role: str, text: str) -> dict[str, object]:
    return {"role": role, "parts": [{"type": "text", "content": text}]}


def _json(value: object) -> str:
    return json.dumps(value, ensure_ascii=False)


def _operation(path: str) -> str:
    """What a path of an upstream does."""
    return "text_completion" if path.strip("/") == "completions" else "chat"
