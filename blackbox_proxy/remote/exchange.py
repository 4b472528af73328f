"""One attempt while it runs: takes the reply's bytes, reads them as JSON, and keeps what it came to.

The module knows no network and no client library; seconds come in as numbers.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import cast, final

from blackbox_proxy.cassettes.schema import HeardReply, RecordedFault
from blackbox_proxy.errors import ApiBusy, BlackboxProxyError, ReplyError
from blackbox_proxy.remote.failing import failure_in
from blackbox_proxy.remote.faults import (
    RequestPlace,
    connection_error,
    malformed_reply_error,
    oversized_reply_error,
    rebuilt,
    refusal,
    timeout_error,
    unsent,
)
from blackbox_proxy.remote.retry import Outcome, asked_wait
from blackbox_proxy.types import Attempt


@final
class Exchange:
    """Attempt `number` at `place`. started, deadline: seconds of one monotonic clock; limit: most bytes of a body."""

    def __init__(self, place: RequestPlace, number: int, *, started: float, deadline: float, limit: int) -> None:
        self.place = place
        self.outcome = Outcome()
        self._number = number
        self._started = started
        self._deadline = deadline
        self._limit = limit
        self._raw = bytearray()
        self._word = "cancelled"
        self._lost = True
        self._status: int | None = None
        self._head: tuple[int | None, Mapping[str, str]] = (None, {})
        self._whole = False
        self._fault: RecordedFault | None = None
        self._at: float | None = None

    @property
    def started(self) -> float:
        """Seconds of the clock."""
        return self._started

    def heard(self, *, at: float) -> HeardReply:
        """What came, for a cassette. at: Unix seconds, where nothing says better."""
        status, headers = self._head
        when = at if self._at is None else self._at
        if self._fault is None and self._whole:
            return HeardReply(when, status, headers, bytes(self._raw))
        fault = self._fault or RecordedFault(kind="cancelled")
        return HeardReply(when, status, headers, fault=fault.model_copy(update={"bytes": len(self._raw)}))

    def begin_reply(self, status: int, headers: Mapping[str, str]) -> None:
        """The reply has begun to come."""
        self._head = (status, headers)

    def take(self, chunk: bytes, *, now: float) -> None:
        """The next bytes of the body. Raises `ReplyError` past the limit and `TimeoutError` past the deadline."""
        self._raw += chunk
        if len(self._raw) > self._limit:
            self._fault = RecordedFault(kind="oversized")
            raise oversized_reply_error(self._limit, self.place)
        if now > self._deadline:
            raise TimeoutError

    def read(self, status: int) -> None:
        """The body is whole: an object, or an error in the guise of a success."""
        self._status, self._whole = status, True
        body = _parse(bytes(self._raw))
        if body is None:
            self.fail(malformed_reply_error(bytes(self._raw), self.place), status=status)
            return
        failure = failure_in(body, status)
        if failure is not None:
            self.fail(
                refusal(failure.status, failure.body, place=self.place),
                status=failure.status,
                lost=failure.begun or None,
            )
        else:
            self._word, self._lost, self.outcome = "ok", False, Outcome(body=body)

    def refuse(self, text: str, *, now: float) -> None:
        """The reply that has begun is a refusal: its status is a failing one. now: Unix seconds."""
        status, headers = self._head
        self._raw, self._whole, self._at = bytearray(text, "utf-8", "replace"), True, now
        wait = asked_wait(headers, now=now)
        error = refusal(status or 0, _refused(text), place=self.place, wait=wait)
        self.fail(error, status=status, wait=wait)

    def break_off(self, fault: RecordedFault) -> None:
        """There will be no reply."""
        self._fault = fault
        if fault.kind == "timeout":
            self.fail(timeout_error(self.place), word="timeout", lost=fault.sent)
        elif fault.kind == "oversized":
            self.fail(oversized_reply_error(self._limit, self.place))
        elif fault.kind == "client":
            self.fail(unsent(fault.text, self.place))
        else:
            self.fail(connection_error(rebuilt(fault.causes), self.place), lost=fault.sent)

    def fail(
        self,
        error: BlackboxProxyError,
        *,
        status: int | None = None,
        wait: float | None = None,
        word: str = "",
        lost: bool | None = None,
    ) -> None:
        """No answer to use.

        word: what accounting should call it, if not by the kind of error. lost: whether it may be billed all the same;
        None where that follows from the error: not if the API itself said no.
        """
        self._status = status
        self._word = word or _word(error)
        self._lost = isinstance(error, ReplyError) if lost is None else lost
        self.outcome = Outcome(error=error, wait=wait)

    def attempt(self, now: float) -> Attempt:
        """What accounting needs to know, at the end or when it was cancelled."""
        body = self.outcome.body or {}
        usage, tier = body.get("usage"), body.get("service_tier")
        return Attempt(
            number=self._number,
            path=self.place.path,
            seconds=now - self._started,
            outcome=self._word,
            status=self._status,
            usage=cast(Mapping[str, object], usage) if isinstance(usage, Mapping) else None,
            lost=self._lost,
            tier=tier if isinstance(tier, str) else "",
        )


def _parse(raw: bytes) -> Mapping[str, object] | None:
    """The JSON object in `raw`, or None. Nesting without end is a RecursionError, a huge integer a ValueError."""
    try:
        body: object = json.loads(raw)
    except (ValueError, RecursionError):
        return None
    return cast(Mapping[str, object], body) if isinstance(body, Mapping) else None


def _refused(text: str) -> object:
    """What a refusal says: the `error` of its JSON, its JSON, or its text."""
    words = text.strip()
    try:
        body: object = json.loads(words)
    except (ValueError, RecursionError):
        return words
    return cast(Mapping[str, object], body).get("error", body) if isinstance(body, Mapping) else body


def _word(error: BlackboxProxyError) -> str:
    if isinstance(error, ReplyError):
        return "unreadable"
    if isinstance(error, ApiBusy):
        return "busy"
    return "unreachable" if error.retryable else "refused"
