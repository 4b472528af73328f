"""What a gateway tells those that watch it: requests, the answers that they take, and the calls to upstreams.

No event holds a key, a prompt or an answer, but for those that a tracer is asked to keep.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Protocol, final

from blackbox_proxy.core.decoding.given import Given
from blackbox_proxy.steering import Steering
from blackbox_proxy.types import Attempt, Prompt, Result

_LOG = logging.getLogger(__name__)

CLIENT_GONE = 499
"""The status of a request whose client went away, as web servers write it."""


@final
@dataclass(eq=False, slots=True)
class RequestNow:
    """A request to a route that answers, while it is answered.

    Attributes:
        id: As the client sees it.
        route: "" as long as it has come to no route that answers.
        model: The name that is served; "" where there is none of that name.
        key: The name of the key; "" where none was asked for.
        status: Of the reply, or what broke it off once it had begun.
        code: OpenAI's word for the error; "" where there is none.
        limited: By which limit of its key it was sent away; "" where it was not.
        began: Seconds, by a clock that only goes on.
        headers: What its reply has besides, however that is written.
        trace: The headers by which it says what trace it belongs to (W3C's `traceparent` and `tracestate`).
    """

    id: str
    route: str = ""
    model: str = ""
    key: str = ""
    status: int = 0
    code: str = ""
    limited: str = ""
    began: float = field(default_factory=time.monotonic)
    headers: dict[str, str] = field(default_factory=dict)
    trace: Mapping[str, str] = field(default_factory=dict)

    def fail(self, status: int, code: str = "") -> None:
        """Say what kept it from being answered, or from being answered whole."""
        self.status, self.code = status, code


@final
@dataclass(eq=False, slots=True)
class AnswerNow:
    """One answer while it is made. A request may take several.

    Attributes:
        request: Whose it is.
        upstream: The name of the upstream that is asked; the next one's, once that has failed.
        asked: What the upstream calls the model.
        prompt: What is answered, for a tracer that is asked to keep it.
        steering: How.
        choices: The choices of the reply that it stands for.
        first: When its first token came; None as long as none has.
        upstreams: Those that failed before a token came, in order.
    """

    request: RequestNow
    upstream: str
    asked: str
    prompt: Prompt | Given
    steering: Steering
    choices: int
    first: float | None = None
    upstreams: list[str] = field(default_factory=list)


@final
@dataclass(frozen=True, slots=True)
class UpstreamCall:
    """One attempt at a request to an upstream, when it has ended. answer: what it was made for; None for none."""

    model: str
    upstream: str
    asked: str
    attempt: Attempt
    answer: AnswerNow | None


@final
@dataclass(frozen=True, slots=True)
class AnswerEnd:
    """How an answer ended. result: all of it, or what there was. error: why it broke off; "" where it did not.

    ended: when, by the clock of `RequestNow.began`.
    """

    answer: AnswerNow
    result: Result
    error: str
    ended: float

    @property
    def seconds(self) -> float:
        """From the request to the end of the answer."""
        return self.ended - self.answer.request.began


class GatewayWatch(Protocol):
    """Hears of what happens. Called in the event loop's thread, but for `called`, which may come from any."""

    def begun(self, answer: AnswerNow) -> None: ...

    def called(self, call: UpstreamCall) -> None: ...

    def passed_on(self, answer: AnswerNow, failed: str) -> None:
        """The upstream `failed` gave no token, so `answer.upstream` is asked."""

    def answered(self, end: AnswerEnd) -> None: ...

    def cached(self, request: RequestNow) -> None:
        """A request gets a reply that was kept."""

    def replied(self, request: RequestNow, seconds: float) -> None: ...


request_now: ContextVar[RequestNow] = ContextVar("request_now")
"""The request that the present task answers."""

_answer_now: ContextVar[AnswerNow | None] = ContextVar("answer_now", default=None)


@final
@dataclass(frozen=True, slots=True)
class Watches:
    """All that watch. What one of them raises is told in the log, and goes no further."""

    all: Sequence[GatewayWatch] = ()
    clock: Callable[[], float] = time.monotonic

    def begun(self, answer: AnswerNow) -> None:
        """An answer begins; calls of the present task are made for it from now on."""
        _answer_now.set(answer)
        self._each(lambda watch: watch.begun(answer))

    def called(self, model: str, upstream: str, asked: str) -> Callable[[Attempt], None]:
        """What a connection tells of its attempts."""

        def tell(attempt: Attempt) -> None:
            call = UpstreamCall(model, upstream, asked, attempt, _answer_now.get())
            self._each(lambda watch: watch.called(call))

        return tell

    def token(self, answer: AnswerNow) -> None:
        """A token of an answer has come."""
        if answer.first is None:
            answer.first = self.clock()

    def passed_on(self, answer: AnswerNow, failed: str) -> None:
        self._each(lambda watch: watch.passed_on(answer, failed))

    def answered(self, answer: AnswerNow, result: Result, *, error: str = "") -> None:
        end = AnswerEnd(answer, result, error, self.clock())
        self._each(lambda watch: watch.answered(end))

    def cached(self, request: RequestNow) -> None:
        self._each(lambda watch: watch.cached(request))

    @contextmanager
    def replying(self, request: RequestNow) -> Iterator[None]:
        """The whole stay of a request; told at its end, where it came to a route that answers."""
        request_now.set(request)
        try:
            yield
        finally:
            if request.route:
                seconds = self.clock() - request.began
                self._each(lambda watch: watch.replied(request, seconds))

    def _each(self, tell: Callable[[GatewayWatch], None]) -> None:
        for watch in self.all:
            try:
                tell(watch)
            except Exception:  # noqa: BLE001 (an answer must not fail because somebody counts)
                _LOG.exception("%s failed", type(watch).__name__)


NOBODY = Watches()
"""Nobody watches."""
