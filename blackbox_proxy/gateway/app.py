"""The routes over HTTP: bodies in, JSON or server-sent events out, errors in OpenAI's shape.

Every route stands under /v1, under Azure's /openai/v1 and without either, with a slash at its end or without. The
module knows no field of a request and no token.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import aclosing, asynccontextmanager, nullcontext
from dataclasses import asdict, replace
from typing import final

import anyio
from openai.types import Model as ModelCard
from sse_starlette import EventSourceResponse
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp

from blackbox_proxy.gateway.absent import why_absent
from blackbox_proxy.gateway.answering import GatewayTally, Parts, answer_tasks, answers
from blackbox_proxy.gateway.cache.caching import CACHE, cache_key, replayed
from blackbox_proxy.gateway.failures import translating
from blackbox_proxy.gateway.guard import Guard
from blackbox_proxy.gateway.health import HealthEndpoints, Readiness
from blackbox_proxy.gateway.keys import Keys
from blackbox_proxy.gateway.limits.limiting import Admission, reserved_tokens
from blackbox_proxy.gateway.limits.spending import TAG
from blackbox_proxy.gateway.messages.faults import fault_of
from blackbox_proxy.gateway.messages.reading import read_counted
from blackbox_proxy.gateway.models import Catalogue, SteeredModel
from blackbox_proxy.gateway.operations import Operations
from blackbox_proxy.gateway.page.serving import page_routes
from blackbox_proxy.gateway.reloading import Reloader, on_hangup
from blackbox_proxy.gateway.replies import GatewayShape, counted_tokens
from blackbox_proxy.gateway.replying import (
    ANSWERED_BY,
    COST,
    GatewayReply,
    begun_stream,
    reply_chunks,
    whole_hit,
    whole_reply,
)
from blackbox_proxy.gateway.requests import GatewayRequest, read_model
from blackbox_proxy.gateway.routes import ROUTES, RouteName
from blackbox_proxy.gateway.spending import spend_of
from blackbox_proxy.gateway.tables import ServerConfig
from blackbox_proxy.gateway.tokens import info, prompt_length, tokens_of
from blackbox_proxy.gateway.watching.events import NOBODY, RequestNow, request_now
from blackbox_proxy.ledger.books import Ledger
from blackbox_proxy.openai_http.fields import Body, Refusal, read_body
from blackbox_proxy.openai_http.frames import Chunk
from blackbox_proxy.openai_http.http import Translate, events, handlers, keeping_alive, while_connected, whole_body

BODY_SECONDS = 60.0
"""Seconds in which the body of a request must have come."""

PREFIXES = ("", "/v1", "/openai/v1")

KEY_HEADERS = ("api-key", "x-api-key")
"""Where Azure's clients, and Anthropic's, show their key."""

PACE_HEADERS = tuple(
    f"x-ratelimit-{figure}-{unit}" for unit in ("requests", "tokens") for figure in ("limit", "remaining", "reset")
)
"""The headers that tell where a key stands (`LimitStanding.headers`)."""

SPARE_THREADS = 4
"""Threads for reading prompts, besides one for each answer that may be under way."""


@final
class GatewayEndpoints:
    """The handlers."""

    def __init__(
        self,
        catalogue: Catalogue,
        server: ServerConfig,
        keys: Keys,
        *,
        operations: Operations,
        translate: Translate,
        ledger: Ledger | None = None,
    ) -> None:
        self._limiter = operations.limiter
        self._metrics = operations.metrics
        self._cache = operations.cache
        self._watches = operations.watches
        self._catalogue = catalogue
        self._server = server
        self._keys = keys
        self._retired: list[SteeredModel] = []
        self._translate = translate
        self._ledger = ledger

    def serve(self, catalogue: Catalogue, keys: Keys) -> None:
        """What holds for requests from now on; those under way go on with what they began with."""
        self._retired += [old for name, old in self._catalogue.models.items() if not _is_same(old, catalogue, name)]
        self._catalogue, self._keys = catalogue, keys

    async def aclose(self) -> None:
        """Close all connections, in the event loop that used them."""
        await self._catalogue.aclose()
        for api in (api for model in self._retired for api in model.apis):
            await api.aclose()

    async def models(self, http: Request) -> Response:
        self._admit(http)
        cards = [_card(model) for model in self._catalogue.models.values()]
        return JSONResponse({"object": "list", "data": cards})

    async def model(self, http: Request) -> Response:
        self._admit(http)
        return JSONResponse(_card(self._catalogue.find(http.path_params["name"].rstrip("/"))))

    async def chat(self, http: Request) -> Response:
        return await self._answer(http, "chat")

    async def completions(self, http: Request) -> Response:
        return await self._answer(http, "completions")

    async def responses(self, http: Request) -> Response:
        return await self._answer(http, "responses")

    async def messages(self, http: Request) -> Response:
        return await self._answer(http, "messages")

    async def spend(self, http: Request) -> Response:
        key = self._admit(http)
        return JSONResponse(await asyncio.to_thread(spend_of, self._ledger, key))

    async def count_tokens(self, http: Request) -> Response:
        self._admit(http)
        body = await self._body(http)
        model = self._catalogue.find(read_model(body))
        request = read_counted(body, self._server.limits)
        return JSONResponse({"input_tokens": await asyncio.to_thread(prompt_length, request, model)})

    async def metrics(self, http: Request) -> Response:
        """What was counted. Raises Refusal where it is not switched on, or for a key that may not read it."""
        only = self._server.metrics_key
        if self._metrics is None:
            raise HTTPException(404)
        if self._admit(http) != (only or "") and only is not None:
            raise Refusal("This key may not read metrics.", status=403, code="metrics_not_allowed")
        text, kind = self._metrics.exposition(http.headers.get("accept", ""))
        return Response(text, headers={"content-type": kind})

    async def tokenize(self, http: Request) -> Response:
        self._admit(http)
        body = await self._body(http)
        model = self._catalogue.find(read_model(body))
        return JSONResponse(await asyncio.to_thread(tokens_of, body, model, self._server.limits))

    async def tokenizer_info(self, http: Request) -> Response:
        self._admit(http)
        return JSONResponse(info(self._catalogue.find(http.query_params.get("model", ""))))

    def _admit(self, http: Request) -> str:
        shown = http.headers.get("authorization")
        if shown is None and (key := next(filter(None, map(http.headers.get, KEY_HEADERS)), None)):
            shown = f"Bearer {key}"
        return self._keys.admit(shown)

    async def _body(self, http: Request) -> Body:
        try:
            with anyio.fail_after(BODY_SECONDS):
                raw = await whole_body(http, most=self._server.max_body, said="`max_body` of [server]")
        except TimeoutError:
            raise Refusal("The body of the request did not come in time.", status=408) from None
        return read_body(raw)

    async def _answer(self, http: Request, route: RouteName) -> Response:
        now = request_now.get()
        now.route = route
        now.key = key = self._admit(http)
        body = await self._body(http)
        # A schema may take a second to compile, in which others are to be answered.
        request = await asyncio.to_thread(ROUTES[route].read, body, self._server.limits)
        model = self._catalogue.find(request.model).budgeted(self._keys.limits(key).budget(key))
        now.model = model.name
        tags = {**(request.tags or {}), "steered": model.name, **({TAG: key} if key else {})}
        request = replace(request, tags=tags)
        tally = GatewayTally()
        tasks = answer_tasks(request, model)
        shape = ROUTES[route].shape(body, request, model)
        admission = await self._paced(now, request)
        kept_under = None if self._cache is None else cache_key(route, body, model=model, tasks=tasks)
        kept = None if self._cache is None or kept_under is None else await self._cache.get(kept_under)
        if kept is not None:
            self._limiter.settle(admission, taken=0)
            self._watches.cached(now)
            now.headers |= {CACHE: "hit", COST: "0"}
            return self._events(replayed(kept), shape) if request.stream else whole_hit(kept)
        parts = self._settling(answers(request, tasks, model, tally=tally), admission, tally)
        reply = GatewayReply(shape, parts, tally, request.n * len(request.sources))
        if request.stream:
            chunks = reply_chunks(reply)
            if self._cache is not None and kept_under is not None:
                chunks = self._cache.keeping(kept_under, chunks, tally)
            return self._events(await begun_stream(http, chunks, self._server.open_after), shape)
        response = await while_connected(http, lambda: whole_reply(reply))
        if self._cache is not None and kept_under is not None:
            self._cache.put(kept_under, [bytes(response.body).decode()], tally)
        return response

    def _events(self, chunks: AsyncGenerator[Chunk, None], shape: GatewayShape) -> Response:
        """A stream, which lives as long as its chunks come, and through the server's end."""
        return EventSourceResponse(
            events(chunks, self._translate, failure=shape.failure, last=shape.last),
            ping=self._server.ping,
            ping_message_factory=lambda: keeping_alive(shape.ping),
            sep="\n",
            shutdown_event=anyio.Event(),
            shutdown_grace_period=self._server.drain,
        )

    async def _paced(self, now: RequestNow, request: GatewayRequest) -> Admission:
        """What the key's limits let pass. Raises Refusal (429); the reply tells where the key stands either way."""
        keys = self._keys
        tokens = reserved_tokens(request)
        admission = await self._limiter.admit(keys.owner(now.key), keys.limits(now.key), tokens=tokens)
        now.headers.update(admission.verdict.headers)
        if admission.verdict.refused is not None:
            now.limited = admission.verdict.refused
            raise admission.verdict.refusal()
        return admission

    async def _settling(self, parts: Parts, admission: Admission, tally: GatewayTally) -> Parts:
        """The parts; when they end, however they end, what they took counts in place of what was reserved."""
        try:
            async with aclosing(parts):
                async for part in parts:
                    yield part
        finally:
            self._limiter.settle(admission, taken=sum(counted_tokens([*tally.results, *tally.broken])))


def _is_same(model: SteeredModel, catalogue: Catalogue, name: str) -> bool:
    """Whether a catalogue has the connection of a model too."""
    return name in catalogue.models and catalogue.models[name].api is model.api


def build_app(
    catalogue: Catalogue,
    server: ServerConfig,
    keys: Keys,
    *,
    operations: Operations,
    threads: int,
    log: Callable[[str], object],
    reload: Reloader | None = None,
    ledger: Ledger | None = None,
) -> ASGIApp:
    """The ASGI application.

    operations: what its operator has. threads: answers that may be under way at a time. log: is told of what went
    wrong. reload: what SIGHUP does. ledger: where requests are booked; None books nothing.
    """
    in_words = translating(lambda said: log(f"{request_now.get().id} {said}"))

    def translate(error: Exception) -> Refusal:
        refusal = in_words(error)
        request_now.get().fail(refusal.status, refusal.code or "")
        return refusal

    endpoints = GatewayEndpoints(catalogue, server, keys, operations=operations, translate=translate, ledger=ledger)

    @asynccontextmanager
    async def lifespan(_app: Starlette) -> AsyncIterator[None]:
        with ThreadPoolExecutor(threads + SPARE_THREADS, "pair") as pool:
            asyncio.get_running_loop().set_default_executor(pool)
            with nullcontext() if reload is None else on_hangup(lambda: reload.run(endpoints.serve)):
                yield
            await endpoints.aclose()

    app = Starlette(
        routes=[*_routes(endpoints), *health_routes(operations.readiness), *(page_routes() if server.ui else ())],
        exception_handlers=handlers(translate, fault_of, why_absent),
        middleware=_cross_origin(server),
        lifespan=lifespan,
    )
    readiness, watches, origins = operations.readiness, operations.watches, server.cors_origins
    return Guard(app, readiness, watches=watches, origins=origins, local=not keys, page=server.ui)


def starting_app(server: ServerConfig, readiness: Readiness, *, local: bool) -> ASGIApp:
    """What answers while the models are loaded: that it lives, and is not ready. local: see `Guard`."""
    app = Starlette(routes=health_routes(readiness))
    return Guard(app, readiness, watches=NOBODY, origins=server.cors_origins, local=local)


def health_routes(readiness: Readiness) -> list[Route]:
    """The routes that say how the server is."""
    health = HealthEndpoints(readiness)
    return _spelled(
        ("/health", health.health, "GET"),
        ("/health/live", health.live, "GET"),
        ("/health/ready", health.ready, "GET"),
    )


def _routes(endpoints: GatewayEndpoints) -> list[Route]:
    routes = _spelled(
        ("/models", endpoints.models, "GET"),
        ("/chat/completions", endpoints.chat, "POST"),
        ("/completions", endpoints.completions, "POST"),
        ("/responses", endpoints.responses, "POST"),
        ("/messages", endpoints.messages, "POST"),
        ("/messages/count_tokens", endpoints.count_tokens, "POST"),
        ("/spend", endpoints.spend, "GET"),
        ("/tokenize", endpoints.tokenize, "POST"),
        ("/tokenizer_info", endpoints.tokenizer_info, "GET"),
        ("/metrics", endpoints.metrics, "GET"),
    )
    # A name may have slashes, so these come behind the list.
    return routes + [Route(prefix + "/models/{name:path}", endpoints.model, methods=["GET"]) for prefix in PREFIXES]


def _spelled(*table: tuple[str, Callable[[Request], Awaitable[Response]], str]) -> list[Route]:
    """Routes under every prefix, with a slash at their end and without."""
    return [
        Route(prefix + path + slash, handler, methods=[method])
        for prefix in PREFIXES
        for path, handler, method in table
        for slash in ("", "/")
    ]


def _cross_origin(server: ServerConfig) -> list[Middleware]:
    if not server.cors_origins:
        return []
    return [
        Middleware(
            CORSMiddleware,
            allow_origins=list(server.cors_origins),
            allow_methods=["GET", "POST"],
            # Who may ask is decided by origin and key. Which headers a client of its kind adds is not ours to list.
            allow_headers=["*"],
            allow_private_network=True,
            expose_headers=["x-request-id", "request-id", "retry-after", COST, ANSWERED_BY, CACHE, *PACE_HEADERS],
        )
    ]


def _card(model: SteeredModel) -> dict[str, object]:
    """The model as OpenAI describes one, and how it is steered; where the expert may answer alone, how often it has."""
    card = ModelCard(id=model.name, created=model.created, object="model", owned_by="blackbox-proxy").model_dump()
    schedule = model.steering.schedule
    steering = {"alpha": model.alpha, "schedule": None if schedule is None else str(schedule)}
    if model.recipe is not None and model.recipe.way in ("expert", "route"):
        steering |= {"way": model.recipe.way, **asdict(model.counts)}
    return card | {"steering": steering}
