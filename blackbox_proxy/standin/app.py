"""The routes over HTTP: bodies in, JSON or server-sent events out, errors in OpenAI's shape.

Every route stands under /v1 and without it. Nothing that a client sends is answered with a 500. The module knows no
token and no field of a request.
"""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from typing import Protocol, final

from openai.types import Model as ModelCard
from sse_starlette import EventSourceResponse
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from blackbox_proxy.openai_http.fields import Body, Refusal, read_body
from blackbox_proxy.openai_http.http import events, handlers, while_connected, whole_body
from blackbox_proxy.standin.quirks import Quirks
from blackbox_proxy.standin.reading import PromptTask
from blackbox_proxy.standin.replies import StandinChatShape, StandinCompletionShape, StandinShape
from blackbox_proxy.standin.request_quirks import RouteName, apply_to_body, apply_to_request
from blackbox_proxy.standin.requests import StandinRequest, read_chat, read_completion
from blackbox_proxy.standin.responses import ResponseShape, read_response
from blackbox_proxy.standin.scenarios.desk import without_tools
from blackbox_proxy.standin.scenarios.serving import ScenarioResponder
from blackbox_proxy.standin.service import Service, ShapeKind

ANY_NAME = "standin"
"""What the list of models has where requests may call it as they like."""

MOST_BYTES = 16 * 2**20
"""The largest body of a request."""


class Read(Protocol):
    """Reads the body of one route."""

    def __call__(self, body: Body, /, *, top_k: int) -> StandinRequest: ...


@final
class StandinEndpoints:
    """The handlers.

    api_key: what a bearer must show; None lets everybody in. quirks: those of requests are obeyed. scenario: responds
    in place of a model.
    """

    def __init__(
        self, service: Service, *, api_key: str | None, quirks: Quirks, scenario: ScenarioResponder | None = None
    ) -> None:
        self._service = service
        self._quirks = quirks
        self._api_key = api_key
        self._scenario = scenario

    async def health(self, _request: Request) -> Response:
        return JSONResponse({"status": "ok"})

    async def models(self, http: Request) -> Response:
        self._admit(http)
        return JSONResponse({"object": "list", "data": [self._card()]})

    async def model(self, http: Request) -> Response:
        self._admit(http)
        self._service.check_model(http.path_params["name"])
        return JSONResponse(self._card())

    async def completions(self, http: Request) -> Response:
        return await self._answer(http, read_completion, route="completions", kind=StandinCompletionShape)

    async def chat(self, http: Request) -> Response:
        return await self._answer(http, read_chat, route="chat", kind=StandinChatShape)

    async def responses(self, http: Request) -> Response:
        return await self._answer(http, read_response, route="responses", kind=ResponseShape)

    def _card(self) -> dict[str, object]:
        card = ModelCard(
            id=self._service.name or ANY_NAME, created=self._service.started, object="model", owned_by="blackbox-proxy"
        )
        return card.model_dump()

    def _admit(self, http: Request) -> None:
        if self._api_key is None:
            return
        scheme, _, key = http.headers.get("authorization", "").partition(" ")
        shown = key.strip().encode("latin-1") if scheme.lower() == "bearer" else b""  # the header's own bytes
        if not shown:
            raise Refusal("You didn't provide an API key: send 'Authorization: Bearer KEY'.", status=401)
        if not secrets.compare_digest(shown, self._api_key.encode()):
            raise Refusal("Incorrect API key provided.", status=401, code="invalid_api_key")

    async def _answer(self, http: Request, read: Read, *, route: RouteName, kind: ShapeKind) -> Response:
        self._admit(http)
        body = apply_to_body(read_body(await whole_body(http, most=MOST_BYTES)), route=route, quirks=self._quirks)
        plain = body if self._scenario is None else without_tools(body)
        request = apply_to_request(read(plain, top_k=self._service.top_k), quirks=self._quirks)
        shape = self._service.shape(request, kind)

        async def write(tasks: Sequence[PromptTask]) -> Response:
            return await self._written(http, request, tasks, shape=shape)

        if self._scenario is not None:
            return await self._scenario.respond(body, request, route=route, write=write)
        return await write(await self._service.prepare(request))

    async def _written(
        self, http: Request, request: StandinRequest, tasks: Sequence[PromptTask], *, shape: StandinShape
    ) -> Response:
        await self._service.compile(request)
        if request.stream:
            return EventSourceResponse(events(self._service.stream(request, tasks, shape=shape), _refusal), sep="\n")
        written = await while_connected(http, lambda: self._service.whole(request, tasks, shape=shape))
        return Response(written, media_type="application/json")


def build_app(
    service: Service, *, quirks: Quirks, api_key: str | None = None, scenario: ScenarioResponder | None = None
) -> Starlette:
    """The ASGI application of one served model. scenario: responds in its place."""
    endpoints = StandinEndpoints(service, api_key=api_key, quirks=quirks, scenario=scenario)
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
    return Starlette(routes=routes, exception_handlers=handlers(_refusal))


def _refusal(error: Exception) -> Refusal:
    """Everything is told as it is: there is nobody here to hide it from."""
    return error if isinstance(error, Refusal) else Refusal(str(error), status=500)
