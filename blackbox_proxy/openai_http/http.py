"""HTTP as OpenAI's clients expect it: whole bodies within a limit, server-sent events, errors as JSON objects.

Every error becomes a `Refusal` first, by a function that the server gives. Knows no route and no field of a request.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Iterable, Mapping
from contextlib import aclosing
from typing import Any, TypeVar

import anyio
from sse_starlette import ServerSentEvent
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response

from blackbox_proxy.errors import BlackboxProxyError
from blackbox_proxy.openai_http.fields import Refusal
from blackbox_proxy.openai_http.frames import Chunk, NamedEvent

T = TypeVar("T")

CLIENT_CLOSED_REQUEST = 499
"""What web servers write into their logs where a client went away; nobody is there to read it."""

Translate = Callable[[Exception], Refusal]
"""Says of any error of ours, or of a bug, what a client is told."""

_DIGITS = 18


async def whole_body(http: Request, *, most: int) -> bytes:
    """The body. Raises Refusal (413) as soon as it is known to have more than `most` bytes."""
    body = bytearray()
    length = http.headers.get("content-length", "0")
    if length.isdecimal() and len(length) <= _DIGITS and int(length) <= most:
        async for piece in http.stream():
            body += piece
            if len(body) > most:
                break
        else:
            return bytes(body)
    raise Refusal(f"The body of a request may have at most {most} bytes.", status=413)


async def while_connected(http: Request, work: Callable[[], Awaitable[T]]) -> T:
    """Do the work, or raise ClientDisconnect as soon as the client is gone."""
    results: list[T] = []
    failures: list[BlackboxProxyError] = []
    async with anyio.create_task_group() as group:

        async def watch() -> None:
            while (await http.receive())["type"] != "http.disconnect":
                pass
            group.cancel_scope.cancel()

        group.start_soon(watch)
        try:
            results.append(await work())
        except BlackboxProxyError as error:  # raised again below: a task group would wrap it
            failures.append(error)
        group.cancel_scope.cancel()
    if failures:
        raise failures[0]
    if not results:
        raise ClientDisconnect
    return results[0]


Failure = Callable[[Refusal], Iterable[Chunk]]
"""What a stream ends with that broke off."""

DONE = "[DONE]"
"""What OpenAI's older routes end a stream with."""


def broken(refusal: Refusal) -> Iterable[Chunk]:
    """The end of a stream that broke off, at OpenAI's older routes."""
    yield bytes(fault(refusal).body).decode()
    yield DONE


async def events(
    chunks: AsyncGenerator[Chunk, None], translate: Translate, *, failure: Failure = broken, last: str | None = DONE
) -> AsyncIterator[ServerSentEvent]:
    """Each chunk as an event, and then the last. The status is long sent: a failure becomes events too."""
    try:
        async with aclosing(chunks):
            async for chunk in chunks:
                yield _event(chunk)
    except BlackboxProxyError as error:
        for chunk in failure(translate(error)):
            yield _event(chunk)
        return
    if last is not None:
        yield _event(last)


def keeping_alive(ping: Chunk | None) -> ServerSentEvent:
    """What keeps a connection alive: an event of the route's, or a comment where it has none."""
    return ServerSentEvent(comment="ping", sep="\n") if ping is None else _event(ping)


def _event(chunk: Chunk) -> ServerSentEvent:
    if isinstance(chunk, NamedEvent):
        return ServerSentEvent(chunk.data, event=chunk.name, sep="\n")
    return ServerSentEvent(chunk, sep="\n")


def fault(refusal: Refusal) -> JSONResponse:
    """A refusal as OpenAI writes it."""
    kind = "rate_limit_error" if refusal.status == 429 else "invalid_request_error"
    if refusal.code == "insufficient_quota":
        kind = refusal.code
    error = {
        "message": utf8(refusal.message),
        "type": "server_error" if refusal.status >= 500 else kind,
        "param": None if refusal.param is None else utf8(refusal.param),
        "code": refusal.code,
    }
    headers = {} if refusal.wait is None else {"retry-after": str(refusal.wait)}
    return JSONResponse({"error": error}, status_code=refusal.status, headers=headers)


def utf8(text: str) -> str:
    """Text as it can be sent: what a client wrote may hold half of a surrogate pair."""
    return text.encode("utf-8", "replace").decode()


Fault = Callable[[Refusal], Response]
"""How a route writes an error."""


def _as_openai(_path: str) -> Fault:
    return fault


def _unknown(_path: str) -> str:
    return ""


def handlers(
    translate: Translate, fault_of: Callable[[str], Fault] = _as_openai, why_absent: Callable[[str], str] = _unknown
) -> Mapping[Any, Callable[[Request, Exception], Awaitable[Response]]]:
    """What Starlette is to do with whatever is raised.

    fault_of: how the route of a path writes an error. why_absent: what is to be said of a path that has no route.
    """

    async def on_error(request: Request, error: Exception) -> Response:
        return fault_of(request.url.path)(translate(error))

    async def on_http(request: Request, error: Exception) -> Response:
        """Unknown routes and methods; Starlette raises them."""
        response = fault_of(request.url.path)(_unrouted(request, error, why_absent(request.url.path)))
        if isinstance(error, HTTPException):
            response.headers.update(error.headers or {})
        return response

    return {
        BlackboxProxyError: on_error,
        HTTPException: on_http,
        ClientDisconnect: _on_leave,
        Exception: on_error,
    }


def _unrouted(request: Request, error: Exception, reason: str) -> Refusal:
    status = error.status_code if isinstance(error, HTTPException) else 500
    if status == 405:
        return Refusal(f"Not allowed to {request.method} on {request.url.path}.", status=status)
    message = f"Invalid URL ({request.method} {request.url.path})"
    return Refusal(f"{message}. {reason}" if reason else message, status=status)


async def _on_leave(_request: Request, _error: Exception) -> Response:
    return Response(status_code=CLIENT_CLOSED_REQUEST)
