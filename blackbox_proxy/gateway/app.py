"""The routes over HTTP: bodies in, JSON or server-sent events out, errors in OpenAI's shape.

Every route stands under /v1, under Azure's /openai/v1 and without either, with a slash at its end or without. The
module knows no field of a request and no token.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import aclosing, asynccontextmanager, nullcontext
from dataclasses import asdict, dataclass, replace
from typing import final

import anyio
from openai.types import Model as ModelCard
from sse_starlette import EventSourceResponse
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp

from blackbox_proxy.gateway.absent import why_absent
from blackbox_proxy.gateway.answering import GatewayTally, Parts, answer_tasks, answers
from blackbox_proxy.gateway.config import ServerConfig
from blackbox_proxy.gateway.failures import translating
from blackbox_proxy.gateway.guard import Guard, request_id
from blackbox_proxy.gateway.keys import Keys
from blackbox_proxy.gateway.messages.faults import fault_of
from blackbox_proxy.gateway.messages.reading import read_counted
from blackbox_proxy.gateway.models import Catalogue, SteeredModel
from blackbox_proxy.gateway.page.serving import page_routes
from blackbox_proxy.gateway.reloading import Reloader, on_hangup
from blackbox_proxy.gateway.replies import GatewayShape, answered_by, cost_of, usage_of
from blackbox_proxy.gateway.requests import read_model
from blackbox_proxy.gateway.routes import ROUTES, RouteName
from blackbox_proxy.gateway.spending import spend_of
from blackbox_proxy.gateway.tokens import info, prompt_length, tokens_of
from blackbox_proxy.ledger.books import Ledger
from blackbox_proxy.openai_http.fields import Body, Refusal, read_body
from blackbox_proxy.openai_http.frames import Chunk
from blackbox_proxy.openai_http.http import Translate, events, handlers, keeping_alive, while_connected, whole_body
from blackbox_proxy.openai_http.transcript import Part
from blackbox_proxy.types import Step

BODY_SECONDS = 60.0
"""Seconds in which the body of a request must have come."""

PREFIXES = ("", "/v1", "/openai/v1")

KEY_HEADERS = ("api-key", "x-api-key")
"""Where Azure's clients, and Anthropic's, show their key."""

COST = "x-steering-cost-usd"
"""The header that tells what an answer cost."""

ANSWERED_BY = "x-steering-answered-by"
"""The header that tells who gave it (`answered_by`)."""

SPARE_THREADS = 4
"""Threads for reading prompts, besides one for each answer that may be under way."""


@dataclass(frozen=True, slots=True)
class _Reply:
    """One reply on its way: how it is written, its parts, and what they took."""

    shape: GatewayShape
    parts: Parts
    tally: GatewayTally
    choices: int


@final
class GatewayEndpoints:
    """The handlers."""

    def __init__(
        self,
        catalogue: Catalogue,
        server: ServerConfig,
        keys: Keys,
        *,
        translate: Translate,
        ledger: Ledger | None = None,
    ) -> None:
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
        for model in self._retired:
            await model.api.aclose()

    async def health(self, _request: Request) -> Response:
        return JSONResponse({"status": "ok"})

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
        key = self._admit(http)
        body = await self._body(http)
        # A schema may take a second to compile, in which others are to be answered.
        request = await asyncio.to_thread(ROUTES[route].read, body, self._server.limits)
        model = self._catalogue.find(request.model)
        tags = {**(request.tags or {}), "steered": model.name, **({"key": key} if key else {})}
        request = replace(request, tags=tags)
        tally = GatewayTally()
        tasks = answer_tasks(request, model)
        reply = _Reply(
            ROUTES[route].shape(body, request, model),
            answers(request, tasks, model, tally=tally),
            tally,
            request.n * len(request.sources),
        )
        if request.stream:
            shape = reply.shape
            chunks = await _begun(http, _chunks(reply), self._server.open_after)
            return EventSourceResponse(
                events(chunks, self._translate, failure=shape.failure, last=shape.last),
                ping=self._server.ping,
                ping_message_factory=lambda: keeping_alive(shape.ping),
                sep="\n",
                shutdown_event=anyio.Event(),
                shutdown_grace_period=self._server.drain,
            )
        return await while_connected(http, lambda: _whole(reply))


def _is_same(model: SteeredModel, catalogue: Catalogue, name: str) -> bool:
    """Whether a catalogue has the connection of a model too."""
    return name in catalogue.models and catalogue.models[name].api is model.api


def build_app(
    catalogue: Catalogue,
    server: ServerConfig,
    keys: Keys,
    *,
    threads: int,
    log: Callable[[str], object],
    reload: Reloader | None = None,
    ledger: Ledger | None = None,
) -> ASGIApp:
    """The ASGI application.

    threads: answers that may be under way at a time. log: is told of what went wrong. reload: what SIGHUP does.
    ledger: where requests are booked; None books nothing.
    """
    translate = translating(lambda said: log(f"{request_id.get()} {said}"))
    endpoints = GatewayEndpoints(catalogue, server, keys, translate=translate, ledger=ledger)

    @asynccontextmanager
    async def lifespan(_app: Starlette) -> AsyncIterator[None]:
        with ThreadPoolExecutor(threads + SPARE_THREADS, "pair") as pool:
            asyncio.get_running_loop().set_default_executor(pool)
            with nullcontext() if reload is None else on_hangup(lambda: reload.run(endpoints.serve)):
                yield
            await endpoints.aclose()

    app = Starlette(
        routes=[*_routes(endpoints), *(page_routes() if server.ui else ())],
        exception_handlers=handlers(translate, fault_of, why_absent),
        middleware=_cross_origin(server),
        lifespan=lifespan,
    )
    return Guard(app, origins=server.cors_origins, local=not keys, page=server.ui)


def _routes(endpoints: GatewayEndpoints) -> list[Route]:
    table = (
        ("/health", endpoints.health, "GET"),
        ("/models", endpoints.models, "GET"),
        ("/chat/completions", endpoints.chat, "POST"),
        ("/completions", endpoints.completions, "POST"),
        ("/responses", endpoints.responses, "POST"),
        ("/messages", endpoints.messages, "POST"),
        ("/messages/count_tokens", endpoints.count_tokens, "POST"),
        ("/spend", endpoints.spend, "GET"),
        ("/tokenize", endpoints.tokenize, "POST"),
        ("/tokenizer_info", endpoints.tokenizer_info, "GET"),
    )
    spelled = [(path + slash, handler, method) for path, handler, method in table for slash in ("", "/")]
    spelled.append(("/models/{name:path}", endpoints.model, "GET"))  # a name may have slashes: behind the list
    return [Route(prefix + path, handler, methods=[method]) for prefix in PREFIXES for path, handler, method in spelled]


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
            expose_headers=["x-request-id", "request-id", "retry-after", COST, ANSWERED_BY],
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


async def _whole(reply: _Reply) -> Response:
    """All choices in one reply."""
    choices: list[list[Part[Step]]] = [[] for _ in range(reply.choices)]
    async with aclosing(reply.parts) as parts:
        async for index, part in parts:
            choices[index].append(part)
    results = reply.tally.results
    written = await asyncio.to_thread(reply.shape.whole, choices, usage_of(results))
    cost = cost_of(results)
    headers = {ANSWERED_BY: answered_by(results), **({} if cost is None else {COST: cost})}
    return Response(written, media_type="application/json", headers=headers)


async def _chunks(reply: _Reply) -> AsyncGenerator[Chunk, None]:
    """The choices in chunks, as their text becomes certain."""
    opened: set[int] = set()
    async with aclosing(reply.parts) as parts:
        async for index, part in parts:
            if index not in opened:
                opened.add(index)
                for chunk in reply.shape.opening(index):
                    yield chunk
            for chunk in reply.shape.chunks(index, part):
                yield chunk
    for chunk in reply.shape.closing(usage_of(reply.tally.results)):
        yield chunk


async def _begun(http: Request, chunks: AsyncGenerator[Chunk, None], seconds: float) -> AsyncGenerator[Chunk, None]:
    """The chunks once the first is there, or after so many seconds: an error before that has a status of its own.

    Raises that error, or ClientDisconnect.
    """
    first = asyncio.create_task(_first(chunks))
    try:
        await while_connected(http, lambda: asyncio.wait([first], timeout=seconds))
        if first.done():
            first.result()
    except BaseException:
        first.cancel()
        raise
    return _from(first, chunks)


async def _first(chunks: AsyncGenerator[Chunk, None]) -> Chunk | None:
    return await anext(chunks, None)


async def _from(first: asyncio.Task[Chunk | None], rest: AsyncGenerator[Chunk, None]) -> AsyncGenerator[Chunk, None]:
    """A generator whose first item is taken by a task."""
    async with aclosing(rest):
        chunk = await first
        if chunk is not None:
            yield chunk
        async for item in rest:
            yield item
