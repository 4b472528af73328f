"""What went wrong at the API, in one sentence with its values and a hint.

Statuses, bodies and the standard library's exceptions come in, errors of our tree go out. The module does not know the
client library, nor how often a request was tried. Every foreign word passes through `RequestPlace.clean` before it is
cut, so that a key which a server echoes is gone before any part of it could be shown.
"""

from __future__ import annotations

import socket
import ssl
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import cast

from blackbox_proxy.cassettes.schema import RecordedCause
from blackbox_proxy.errors import (
    ApiBusy,
    ApiRefused,
    ApiTimeout,
    ApiUnreachable,
    BlackboxProxyError,
    PromptError,
    ReplyError,
)
from blackbox_proxy.remote.retry import is_retryable

_LONGEST = 300
_CONTEXT_CODES = frozenset({"context_length_exceeded", "exceed_context_size_error"})
_CONTEXT_WORDS = ("context length", "context size", "context window", "maximum context", "prompt is too long")
_QUOTA_CODES = frozenset({"insufficient_quota", "billing_hard_limit_reached"})
_V1 = "check that the base URL is the API's root; most end in /v1"


@dataclass(frozen=True, slots=True)
class RequestPlace:
    """Where a request went, for messages. `clean` removes secrets and control characters from foreign text.

    proxy: through which one, and which variable names it; "" for none.
    """

    base_url: str
    path: str
    model: str
    key_name: str
    timeout: float
    clean: Callable[[str], str]
    proxy: str = ""

    @property
    def peer(self) -> str:
        """Whom the connection is made to."""
        return f"the proxy {self.proxy}" if self.proxy else self.base_url

    @property
    def url(self) -> str:
        return self.base_url.rstrip("/") + self.path

    @property
    def doctor(self) -> str:
        """What finds out which routes there are."""
        asked = f"blackbox-proxy doctor --base-url {self.base_url} --model {self.model or 'NAME'}"
        return f"`{asked}` finds out which routes it has, and later commands use them"

    def quote(self, text: str) -> str:
        """Foreign text, cleaned and cut."""
        cleaned = self.clean(text)
        return cleaned if len(cleaned) <= _LONGEST else cleaned[:_LONGEST] + "..."


def refusal(status: int, body: object, *, place: RequestPlace, wait: float | None = None) -> BlackboxProxyError:
    """The error for an answer with a failing status. `body` is its parsed JSON, or its text."""
    words = place.quote(server_words(body))
    said = f": {words}" if words else ""
    code = _code(body)
    if status in (400, 413, 422) and _is_context(code, words.lower(), status=status):
        return PromptError(
            f"the prompt does not fit into the model's context{said}",
            hint="shorten the prompt, or lower max_tokens and the draft length",
            context="api",
        )
    if status == 402 or code in _QUOTA_CODES:
        return ApiRefused(f"the account has no credit left{said}", hint="check the plan and billing", status=status)
    if is_retryable(status):
        return _busy(status, said, wait=wait)
    message, hint = _no(status, words, code=code, place=place)
    return ApiRefused(message + said, hint=hint, status=status)


def connection_error(causes: Iterator[BaseException], place: RequestPlace) -> ApiUnreachable:
    """The error for a connection that failed. `causes`: the exceptions behind it, outermost first."""
    chain = tuple(causes)
    for kind, message, hint, passing in _CONNECTION_ERRORS:
        if any(isinstance(cause, kind) for cause in chain):
            error = ApiUnreachable(message.format(place=place), hint=hint.format(place=place))
            error.retryable = passing
            return error
    last = next((str(cause) for cause in reversed(chain) if str(cause)), "no reason was given")
    through = f" through {place.peer}" if place.proxy else ""
    return ApiUnreachable(
        f"the connection to {place.base_url}{through} failed: {place.quote(last)}",
        hint="check that this is an HTTP API, and that no proxy stands in between",
    )


def timeout_error(place: RequestPlace) -> ApiTimeout:
    """The error for an answer that did not come in time."""
    return ApiTimeout(
        f"no answer from {place.url} within {place.timeout:g} s",
        hint="try again, allow a longer timeout, or ask for fewer tokens per call",
    )


def unsent(words: str, place: RequestPlace) -> ApiRefused:
    """The error for a request that the client library would not send, or an answer that it would not take."""
    return ApiRefused(
        f"the request to {place.url} failed in the client: {place.quote(words)}",
        hint="check the base URL and the key; if they are right, report this with the message",
    )


def malformed_reply_error(raw: bytes, place: RequestPlace) -> ReplyError:
    """The error for a successful answer whose body is no JSON object.

    Half an answer, or the page of a gateway whose server is away, may be a whole answer next time.
    """
    start = raw[:400].decode("utf-8", "replace").strip()
    if start.startswith(("data:", "event:", ":")):
        return ReplyError(f"{place.url} answered with a stream", hint="switch streaming off at the endpoint")
    if start[:1] == "<":
        error = ReplyError(f"{place.url} answered with a web page, not with JSON", hint=_V1)
    else:
        shown = f"it starts with {place.quote(start)[:80]!r}" if start else "it is empty"
        error = ReplyError(f"the answer of {place.url} is not a JSON object: {shown}", hint=_V1)
    error.retryable = True
    return error


def oversized_reply_error(limit: int, place: RequestPlace) -> ReplyError:
    """The error for a body that is longer than we are ready to hold."""
    return ReplyError(
        f"the answer of {place.url} is longer than {limit:,} bytes",
        hint="ask for fewer tokens per call or a smaller top-k",
    )


def server_words(body: object) -> str:
    """The sentence in an error body, whatever its shape; "" for a web page or nothing."""
    if isinstance(body, Mapping):
        fields = cast(Mapping[str, object], body)
        inner = next((fields[name] for name in ("error", "message", "detail") if fields.get(name)), None)
        return str(dict(fields)) if inner is None and fields else server_words(inner)
    text = "" if body is None else str(body).strip()
    return "" if text.startswith("<") else text


def causes_of(error: BaseException) -> Iterator[BaseException]:
    """The error and all that stand behind it, through chains and groups, outermost first, each once."""
    waiting, seen = [error], set[int]()
    while waiting:
        current = waiting.pop(0)
        if id(current) in seen:
            continue
        seen.add(id(current))
        yield current
        if isinstance(current, BaseExceptionGroup):
            waiting.extend(current.exceptions)
        waiting.extend(cause for cause in (current.__cause__, current.__context__) if cause is not None)


def named_causes(error: BaseException) -> tuple[RecordedCause, ...]:
    """The error and all that stand behind it, as data: the kinds that mean something here, and their texts."""
    return tuple(RecordedCause(kind=_kind(cause), text=str(cause)) for cause in causes_of(error))


def rebuilt(causes: Iterable[RecordedCause]) -> Iterator[BaseException]:
    """Exceptions again, of the kinds that mean something here."""
    kinds = {kind.__name__: kind for kind, *_ in _CONNECTION_ERRORS}
    return (kinds.get(cause.kind, Exception)(cause.text) for cause in causes)


def _kind(cause: BaseException) -> str:
    """The first kind of the table that it is; the name of its class otherwise."""
    known = (kind.__name__ for kind, *_ in _CONNECTION_ERRORS if isinstance(cause, kind))
    return next(known, type(cause).__name__)


def _code(body: object) -> str:
    """The machine-readable code of an error body: `code`, else `type`, of the body or of its `error`."""
    if not isinstance(body, Mapping):
        return ""
    fields = cast(Mapping[str, object], body)
    inner = fields.get("error")
    code = fields.get("code") or fields.get("type")
    return code if isinstance(code, str) else _code(inner)


def _is_context(code: str, words: str, *, status: int) -> bool:
    return status == 413 or code in _CONTEXT_CODES or any(sign in words for sign in _CONTEXT_WORDS)


def _busy(status: int, said: str, *, wait: float | None) -> ApiBusy:
    what = "the API limits the rate of requests" if status == 429 else "the API failed on its side"
    asks = "" if wait is None else f"; it asks to wait {wait:g} s"
    return ApiBusy(f"{what} ({status}){asks}{said}", hint="wait a while and try again", status=status)


_WHOLE = "draw whole answers: --no-logprobs, or options={'logprobs': False} of `connect`"


def _no(status: int, words: str, *, code: str, place: RequestPlace) -> tuple[str, str]:
    """Message and hint for an answer that will stay no."""
    if status == 401:
        return f"{place.base_url} refused the key (401)", f"put a valid key for it into {place.key_name}"
    if status == 403:
        return (
            f"{place.base_url} does not allow this (403)",
            f"check that the key in {place.key_name} may use the model {place.model!r}",
        )
    if status == 404 and (code == "model_not_found" or "model" in words.lower()):
        return (
            f"{place.base_url} does not know the model {place.model!r} (404)",
            f"see which ones it has at {place.base_url.rstrip('/')}/models",
        )
    if status in (404, 405):
        return f"there is nothing to ask at {place.url} ({status})", f"{_V1}; {place.doctor}"
    if 300 <= status < 400:
        return f"{place.url} redirects elsewhere ({status})", "use the address that it redirects to (often https)"
    hint = f"it may give no log-probs (then {_WHOLE}), or fewer (a smaller top-k); {place.doctor}"
    return f"the API refused the request ({status})", hint if "logprob" in words.lower() else "see its words above"


_CONNECTION_ERRORS: tuple[tuple[type[BaseException], str, str, bool], ...] = (
    (
        ssl.SSLCertVerificationError,
        "the certificate of {place.base_url} could not be verified",
        "install your system's ca-certificates, or check the host name",
        False,
    ),
    (
        ssl.SSLError,
        "{place.base_url} does not speak TLS as we do",
        "if the server speaks plain HTTP, write http:// in place of https://",
        False,
    ),
    (
        socket.gaierror,
        "the host of {place.peer} was not found",
        "check the host name and your network",
        True,
    ),
    (
        ConnectionRefusedError,
        "nothing answers at {place.peer}: connection refused",
        "check that the server runs and that the port is right",
        True,
    ),
    (
        ConnectionResetError,
        "{place.base_url} cut the connection",
        "try again; if it stays, check that this is an HTTP API",
        True,
    ),
)
