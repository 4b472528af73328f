"""The routes over HTTP: bodies in, JSON or server-sent events out, errors in OpenAI's shape.

Every route stands under /v1 and without it. Nothing that a client sends is answered with a 500. The module knows no
token and no field of a request.
"""

from __future__ import annotations

import secrets
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from contextlib import aclosing
from typing import Protocol, TypeVar, final

import anyio
from openai.types import Model as ModelCard
from sse_starlette import EventSourceResponse, ServerSentEvent
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from blackbox_proxy.errors import BlackboxProxyError
from blackbox_proxy.standin.bending import RouteName, bend, settle
from blackbox_proxy.standin.fields import Body, Refusal, read_body
from blackbox_proxy.standin.quirks import Quirks
from blackbox_proxy.standin.replies import ChatShape, CompletionShape
from blackbox_proxy.standin.responses import ResponseShape, read_response
from blackbox_proxy.standin.service import Service, ShapeKind
from blackbox_proxy.standin.wire import Request as Wanted
from blackbox_proxy.standin.wire import read_chat, read_completion

MOST_BYTES = 16 * 2**20
"""The largest body of a request."""

T = TypeVar("T")


class Read(Protocol):
    """Reads the body of one route."""

    def __call__(self, body: Body, /, *, top_k: int) -> Wanted: ...


@final
class Endpoints:
    """The handlers. api_key: what a bearer must show; None lets everybody in. quirks: those of requests are obeyed."""

    def __init__(self, service: Service, *, api_key: str | None, quirks: Quirks) -> None:
        self._service = service
        self._quirks = quirks
        self._api_key = api_key

    async def health(self, _request: Request) -> Response:
        return JSONResponse({"status": "ok"})

    async def models(self, request: Request) -> Response:
        self._admit(request)
        return JSONResponse({"object": "list", "data": [self._card()]})

    async def model(self, request: Request) -> Response:
        self._admit(request)
        self._service.check_model(request.path_params["name"])
        return JSONResponse(self._card())

    async def completions(self, request: Request) -> Response:
        return await self._answer(request, read_completion, route="completions", kind=CompletionShape)

    async def chat(self, request: Request) -> Response:
        return await self._answer(request, read_chat, route="chat", kind=ChatShape)

    async def responses(self, request: Request) -> Response:
        return await self._answer(request, read_response, route="responses", kind=ResponseShape)

    def _card(self) -> dict[str, object]:
        card = ModelCard(
            id=self._service.name, created=self._service.started, object="model", owned_by="blackbox-proxy"
        )
        return card.model_dump()

    def _admit(self, request: Request) -> None:
        if self._api_key is None:
            return
        scheme, _, key = request.headers.get("authorization", "").partition(" ")
        shown = key.strip().encode("latin-1") if scheme.lower() == "bearer" else b""  # the header's own bytes
        if not shown:
            raise Refusal("You didn't provide an API key: send 'Authorization: Bearer KEY'.", status=401)
        if not secrets.compare_digest(shown, self._api_key.encode()):
            raise Refusal("Incorrect API key provided.", status=401, code="invalid_api_key")

    async def _answer(self, http: Request, read: Read, *, route: RouteName, kind: ShapeKind) -> Response:
        self._admit(http)
        body = bend(read_body(await _body(http)), route=route, quirks=self._quirks)
        request = settle(read(body, top_k=self._service.top_k), quirks=self._quirks)
        tasks = await self._service.prepare(request)
        shape = self._service.shape(request, kind)
        if request.stream:
            return EventSourceResponse(_events(self._service.stream(request, tasks, shape=shape)), sep="\n")
        written = await _while_connected(http, lambda: self._service.whole(request, tasks, shape=shape))
        return Response(written, media_type="application/json")


def build_app(service: Service, *, quirks: Quirks, api_key: str | None = None) -> Starlette:
    """The ASGI application of one served model."""
    endpoints = Endpoints(service, api_key=api_key, quirks=quirks)
    table = (
        ("/health", endpoints.health, "GET"),
        ("/models", endpoints.models, "GET"),
        ("/models/{name:path}", endpoints.model, "GET"),
        ("/completions", endpoints.completions, "POST"),
        ("/chat/completions", endpoints.chat, "POST"),
        ("/responses", endpoints.responses, "POST"),
    )
    routes = [
        Route(prefix + path, handler, methods=[method]) for prefix in ("", "/v1") for path, handler, method in table
    ]
    return Starlette(routes=routes, exception_handlers=_HANDLERS)


async def _body(http: Request) -> bytes:
    """The whole body. Raises Refusal (413) as soon as it is known to be over the limit."""
    body = bytearray()
    if int(http.headers.get("content-length", 0)) <= MOST_BYTES:
        async for piece in http.stream():
            body += piece
            if len(body) > MOST_BYTES:
                break
        else:
            return bytes(body)
    raise Refusal(f"The body of a request may have at most {MOST_BYTES} bytes.", status=413)


async def _while_connected(http: Request, work: Callable[[], Awaitable[T]]) -> T:
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


async def _events(chunks: AsyncGenerator[str, None]) -> AsyncIterator[ServerSentEvent]:
    """Each chunk as an event, then [DONE]. The status is long sent: a failure becomes an event too."""
    try:
        async with aclosing(chunks):
            async for chunk in chunks:
                yield ServerSentEvent(chunk, sep="\n")
    except BlackboxProxyError as error:
        yield ServerSentEvent(bytes(_fault(error).body).decode(), sep="\n")
    yield ServerSentEvent("[DONE]", sep="\n")


def _fault(error: Exception) -> JSONResponse:
    """Any error as OpenAI writes it."""
    refused = isinstance(error, Refusal)
    body = {
        "message": str(error),
        "type": "invalid_request_error" if refused else "server_error",
        "param": error.param if isinstance(error, Refusal) else None,
        "code": error.code if isinstance(error, Refusal) else None,
    }
    return JSONResponse({"error": body}, status_code=error.status if isinstance(error, Refusal) else 500)


async def _on_error(_request: Request, error: Exception) -> Response:
    return _fault(error)


async def _on_http(request: Request, error: Exception) -> Response:
    """Unknown routes and methods; Starlette raises them."""
    status = error.status_code if isinstance(error, HTTPException) else 500
    sentence = f"Invalid URL ({request.method} {request.url.path})"
    if status == 405:
        sentence = f"Not allowed to {request.method} on {request.url.path}."
    response = _fault(Refusal(sentence, status=status))
    if isinstance(error, HTTPException):
        response.headers.update(error.headers or {})
    return response


async def _on_leave(_request: Request, _error: Exception) -> Response:
    """Nobody is there to read this; 499 is what web servers write into their logs."""
    return Response(status_code=499)


_HANDLERS = {
    BlackboxProxyError: _on_error,
    HTTPException: _on_http,
    ClientDisconnect: _on_leave,
    Exception: _on_error,
}
