"""Serves a cassette: a request that was recorded is answered as it was, faults too; any other is refused.

Equal requests get what was recorded in its order. Knows no model.
"""

from __future__ import annotations

from typing import final

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from blackbox_proxy.cassettes.matching import Replay
from blackbox_proxy.cassettes.schema import RecordedAttempt
from blackbox_proxy.errors import InputError
from blackbox_proxy.openai_http.fields import Refusal, read_body
from blackbox_proxy.openai_http.http import handlers, whole_body
from blackbox_proxy.standin.faults import Connections, FaultResponse
from blackbox_proxy.standin.plan import Fault
from blackbox_proxy.types import WireRequest

MOST_BYTES = 16 * 2**20
"""The largest body of a request."""

_FAULTS = {"timeout": Fault("hang"), "connection": Fault("reset")}
"""Faults of a recording that can be played; after others nobody knows what would have come."""


@final
class RecordedApi:
    """A cassette as an application. lines: the connections that it may reset."""

    def __init__(self, replay: Replay, lines: Connections) -> None:
        self._path = replay.path
        self._lines = lines
        self._replay = replay

    def reset(self) -> None:
        """Begin with the first recording of each request again."""
        self._replay = Replay(self._path)

    async def health(self, _request: Request) -> Response:
        return JSONResponse({"status": "ok"})

    async def models(self, _request: Request) -> Response:
        card = {"id": self._replay.header.model, "object": "model", "created": 0, "owned_by": "cassette"}
        return JSONResponse({"object": "list", "data": [card]})

    async def answer(self, http: Request) -> Response:
        body = read_body(await whole_body(http, most=MOST_BYTES))
        path = http.url.path.removeprefix("/v1")
        call = self._replay.call(WireRequest(path, body))
        try:
            return self._response(call.next())
        except InputError as error:
            raise Refusal(error.message, code="unexpected_request") from None
        finally:
            call.end()

    def _response(self, row: RecordedAttempt) -> Response:
        if row.fault is None:
            return Response(row.raw, row.status or 200, {**row.headers, "content-type": _kind(row)})
        fault = _FAULTS.get(row.fault.kind)
        if fault is None:
            raise Refusal(f"{self._path}: this request had no answer when it was recorded ({row.fault.kind})")
        return FaultResponse(fault, self._lines)


def recorded_app(api: RecordedApi) -> Starlette:
    """The ASGI application of a cassette; it answers every path."""
    routes = [
        *(Route(prefix + "/health", api.health) for prefix in ("", "/v1")),
        *(Route(prefix + "/models", api.models) for prefix in ("", "/v1")),
        Route("/{path:path}", api.answer, methods=["POST"]),
    ]
    return Starlette(routes=routes, exception_handlers=handlers(_refusal))


def _kind(row: RecordedAttempt) -> str:
    return "text/event-stream" if row.raw.startswith(b"data:") else "application/json"


def _refusal(error: Exception) -> Refusal:
    return error if isinstance(error, Refusal) else Refusal(str(error), status=500)
