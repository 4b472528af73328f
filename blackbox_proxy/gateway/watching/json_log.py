"""The log as lines of JSON: one for each answer, one for each call to an upstream that failed, and one for each note.

They go through the logging of the standard library, whose own records become such lines too. No line holds a key, a
prompt or an answer.
"""

from __future__ import annotations

import datetime as dt
import json
import logging
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import TextIO, final

from blackbox_proxy.core.money.amounts import plain
from blackbox_proxy.core.money.spending import cost_of
from blackbox_proxy.gateway.replies import counted_tokens
from blackbox_proxy.gateway.watching.events import AnswerEnd, AnswerNow, RequestNow, UpstreamCall

LOGGERS = {"blackbox_proxy": logging.INFO, "uvicorn": logging.WARNING, "opentelemetry": logging.WARNING}
"""Whose records are written, and from which level on: ours, the HTTP server's, and those of what sends traces."""

_LOG = logging.getLogger("blackbox_proxy.gateway")


@final
class JsonFormatter(logging.Formatter):
    """A record as one JSON object on one line; what stands in its `fields` is laid over it. worker: who writes it."""

    def __init__(self, worker: int | None = None) -> None:
        super().__init__()
        self._worker = worker

    def format(self, record: logging.LogRecord) -> str:
        row: dict[str, object] = {
            "time": dt.datetime.fromtimestamp(record.created, dt.UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "event": getattr(record, "event", "note"),
            "worker": self._worker,
            "message": record.getMessage(),
            **getattr(record, "fields", {}),
        }
        if record.exc_info and record.exc_info[0] is not None:
            row["error"] = record.exc_info[0].__name__
        return json.dumps({name: value for name, value in row.items() if value not in ("", None)}, ensure_ascii=False)


@contextmanager
def json_lines(stream: TextIO, *, worker: int | None = None) -> Iterator[JsonLogWatch]:
    """What is logged goes to a stream as JSON while the block runs. worker: which of several writes it."""
    handler = logging.StreamHandler(stream)
    handler.setFormatter(JsonFormatter(worker))
    with ExitStack() as stack:
        for name, level in LOGGERS.items():
            stack.enter_context(_logging_to(handler, name, level))
        yield JsonLogWatch()


@contextmanager
def _logging_to(handler: logging.Handler, name: str, level: int) -> Iterator[None]:
    """A logger that tells this handler alone."""
    logger = logging.getLogger(name)
    before = logger.level, logger.propagate
    logger.addHandler(handler)
    logger.setLevel(level)
    logger.propagate = False
    try:
        yield
    finally:
        logger.removeHandler(handler)
        logger.setLevel(before[0])
        logger.propagate = before[1]


@final
class JsonLogWatch:
    """Writes what is worth a line. An answer's waits for the end of its request, which has the status."""

    def __init__(self) -> None:
        self._answers: dict[RequestNow, list[AnswerEnd]] = {}

    def note(self, said: str) -> None:
        """A sentence for whoever runs the server."""
        _LOG.info("%s", said)

    def begun(self, answer: AnswerNow) -> None:
        """Told when it ends."""

    def called(self, call: UpstreamCall) -> None:
        attempt = call.attempt
        if attempt.outcome == "ok":
            return
        fields = {
            "request": None if call.answer is None else call.answer.request.id,
            "model": call.model,
            "upstream": call.upstream,
            "asked": call.asked,
            "outcome": attempt.outcome,
            "status": attempt.status,
            "attempt": attempt.number,
            "seconds": round(attempt.seconds, 4),
        }
        _write(logging.WARNING, "upstream_failure", fields)

    def passed_on(self, answer: AnswerNow, failed: str) -> None:
        fields = {"request": answer.request.id, "model": answer.request.model, "failed": failed}
        _write(logging.WARNING, "fallback", {**fields, "upstream": answer.upstream})

    def answered(self, end: AnswerEnd) -> None:
        self._answers.setdefault(end.answer.request, []).append(end)

    def _answer(self, end: AnswerEnd) -> None:
        answer, result = end.answer, end.result
        prompt, completion = counted_tokens([(result, 1)])
        cost = cost_of(result.calls) if result.cost is None else result.cost
        first = None if answer.first is None else answer.first - answer.request.began
        fields = {
            "request": answer.request.id,
            "route": answer.request.route,
            "model": answer.request.model,
            "upstream": answer.upstream,
            "asked": answer.asked,
            "key": answer.request.key,
            "status": answer.request.status,
            "code": answer.request.code,
            "finish": result.finish,
            "error": end.error,
            "prompt_tokens": prompt,
            "completion_tokens": completion,
            "calls": result.usage.requests,
            "lost_calls": result.usage.lost or None,
            "upstream_tokens": result.usage.input + result.usage.output,
            "changed": result.changed,
            "outside": result.outside,
            "gated": result.gated,
            "cost_usd": None if cost is None else plain(cost),
            "seconds": round(end.seconds, 4),
            "first_token_seconds": None if first is None else round(first, 4),
        }
        _write(logging.WARNING if end.error else logging.INFO, "answer", fields)

    def cached(self, request: RequestNow) -> None:
        fields = {"request": request.id, "route": request.route, "model": request.model, "key": request.key}
        _write(logging.INFO, "cached", fields)

    def replied(self, request: RequestNow, seconds: float) -> None:
        """Lines of the request's answers; one of its own where there are none, and that is an error."""
        answers = self._answers.pop(request, [])
        for end in answers:
            self._answer(end)
        if request.status >= 400 and not answers:
            fields = {
                "request": request.id,
                "route": request.route,
                "model": request.model,
                "key": request.key,
                "status": request.status,
                "code": request.code,
                "seconds": round(seconds, 4),
            }
            _write(logging.WARNING, "refusal", fields)


def _write(level: int, event: str, fields: Mapping[str, object]) -> None:
    _LOG.log(level, "", extra={"event": event, "fields": fields})
