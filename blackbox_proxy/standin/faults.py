"""Faults of the transport: an ASGI application around another that does to each POST what a plan says, and counts.

Connections are reset for real: with a TCP reset, by their own transport. Knows no model and no route.
"""

from __future__ import annotations

import socket
import struct
import threading
from asyncio import Transport
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from typing import cast, final

import anyio
from starlette.responses import HTMLResponse, JSONResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from uvicorn.protocols.http.h11_impl import H11Protocol

from blackbox_proxy.standin.limits import Limit
from blackbox_proxy.standin.plan import DRAWN, OK, Fault, FaultPlan, drawn, read_kinds
from blackbox_proxy.standin.quirks import Quirks

FLUSH = 0.05
"""Seconds that the half of a body has to reach the client before the connection is reset."""

HALVED = frozenset(("cut", "truncated"))
"""Faults that break off an answer."""

GARBAGE = b"upstream connect error or disconnect/reset before headers"
PAGE = "<!DOCTYPE html><html><head><title>Just a moment...</title></head><body>Checking your browser.</body></html>"


@final
class Traffic:
    """How many POST requests were answered, by kind: `ok`, `refused` (by the stand-in itself), or the word of a fault.

    One that is hung up on is counted when it comes, everything else when its answer begins. read, cached, written: the
    model's tokens, whether or not a reply with them arrived. May be read by any thread.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._kinds: Counter[str] = Counter()
        self.read = self.cached = self.written = 0

    def spend(self, read: int, cached: int, written: int) -> None:
        """The model read and wrote so many tokens for one more request; it had `cached` of the former already."""
        with self._lock:
            self.read += read
            self.cached += cached
            self.written += written

    def count(self, kind: str) -> None:
        """One more of a kind."""
        with self._lock:
            self._kinds[kind] += 1

    @property
    def kinds(self) -> dict[str, int]:
        """The number of answers of each kind that there was."""
        with self._lock:
            return dict(self._kinds)

    @property
    def total(self) -> int:
        """The number of all answers."""
        return sum(self.kinds.values())


@final
class Connections:
    """The open connections by the client's address, so that one can be reset."""

    def __init__(self) -> None:
        self._open: dict[object, Transport] = {}

    def protocol(self) -> type[H11Protocol]:
        """uvicorn's protocol, which also notes its connection here."""
        lines = self._open

        class Noted(H11Protocol):
            def connection_made(self, transport: Transport) -> None:  # type: ignore[override] # as uvicorn has it
                super().connection_made(transport)
                lines[self.client] = transport

            def connection_lost(self, exc: Exception | None) -> None:
                lines.pop(self.client, None)
                super().connection_lost(exc)

        return Noted

    def reset(self, client: object) -> None:
        """Drop a connection without a farewell: its client sees a reset, not an end."""
        transport = self._open[client]
        line = cast(socket.socket, transport.get_extra_info("socket"))
        line.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        transport.abort()


def plan_of(quirks: Quirks) -> FaultPlan:
    """What the quirks say about the transport."""
    entries: Iterable[Fault] = quirks.faults("faults")
    seed = quirks.whole("fault-seed") or 0
    if "fault-rate" in quirks:
        kinds = quirks.faults("fault-kinds") or read_kinds(DRAWN)
        entries = drawn(quirks.decimal("fault-rate"), kinds, seed=seed, budget=quirks.whole("fault-budget"))
    return FaultPlan(entries, latency=quirks.decimal("latency"), jitter=quirks.decimal("jitter"), seed=seed)


def limit_of(quirks: Quirks) -> Limit | None:
    """The limit on requests that the quirks set."""
    rate = quirks.rate("rate-limit")
    return None if rate is None else Limit(*rate)


@dataclass(frozen=True, slots=True)
class FaultyExchange:
    """One request and what answers it, as ASGI passes them."""

    scope: Scope
    receive: Receive
    send: Send

    async def read(self) -> bool:
        """Take the request in, so that the connection stays usable; whether the client is still there."""
        while True:
            message = await self.receive()
            if message["type"] == "http.disconnect":
                return False
            if not message.get("more_body"):
                return True

    async def until_gone(self) -> None:
        """Wait until the client has left."""
        while (await self.receive())["type"] != "http.disconnect":
            pass

    async def captured(self, app: ASGIApp) -> tuple[Message, bytes]:
        """What an application would send: the start, and the whole body."""
        sent: list[Message] = []

        async def keep(message: Message) -> None:
            sent.append(dict(message))

        await app(self.scope, self.receive, keep)
        return sent[0], b"".join(message.get("body", b"") for message in sent[1:])


@final
class Faulty:
    """The application with the plan's faults. GET requests pass: nobody pays for them.

    What the limit refuses is no entry of the plan.
    """

    def __init__(
        self, app: ASGIApp, plan: FaultPlan, *, lines: Connections, traffic: Traffic, limit: Limit | None = None
    ) -> None:
        self._app = app
        self._plan = plan
        self._lines = lines
        self._traffic = traffic
        self._limit = limit

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["method"] != "POST":
            await self._app(scope, receive, send)
        elif self._limit is None:
            await self._planned(scope, receive, send)
        elif (wait := self._limit.admit()) is None:
            await self._planned(scope, receive, _with_headers(send, self._limit))
        else:
            self._traffic.count("429")
            refusal = JSONResponse({"error": _error(Fault("429"))}, 429, self._limit.headers(wait))
            if await FaultyExchange(scope, receive, send).read():
                await refusal(scope, receive, send)

    async def _planned(self, scope: Scope, receive: Receive, send: Send) -> None:
        fault = self._plan.next()
        is_slow = fault.word == "slow"
        await anyio.sleep(self._plan.delay() + (fault.after or 0.0 if is_slow else 0.0))
        if fault == OK or is_slow:
            await self._app(scope, receive, self._counting(send, "slow" if is_slow else None))
            return
        exchange = FaultyExchange(scope, receive, send)
        if fault.word in HALVED:
            await halve(fault, exchange, app=self._counted(fault.word), lines=self._lines)
        else:
            self._traffic.count(fault.word)
            if await exchange.read():
                await fail(fault, exchange, self._lines)

    def _counted(self, kind: str) -> ASGIApp:
        """The application, which counts as this kind once it has answered."""

        async def counted(scope: Scope, receive: Receive, send: Send) -> None:
            await self._app(scope, receive, send)
            self._traffic.count(kind)

        return counted

    def _counting(self, send: Send, kind: str | None) -> Send:
        async def counted(message: Message) -> None:
            if message["type"] == "http.response.start":
                self._traffic.count(kind or ("ok" if message["status"] < 400 else "refused"))
            await send(message)

        return counted


async def fail(fault: Fault, exchange: FaultyExchange, lines: Connections) -> None:
    """Answer a request that was read, or do not, without having asked the application."""
    if fault.word == "reset":
        lines.reset(exchange.scope["client"])
    if fault.word in {"reset", "hang"}:
        await exchange.until_gone()
        return
    await _answer(fault)(exchange.scope, exchange.receive, exchange.send)


async def halve(fault: Fault, exchange: FaultyExchange, *, app: ASGIApp, lines: Connections) -> None:
    """Send half of the application's answer, as if it were whole (`truncated`) or until the line breaks (`cut`)."""
    start, body = await exchange.captured(app)
    half = body[: len(body) // 2]
    headers = [(name, value) for name, value in start["headers"] if name != b"content-length"]
    size = len(half) if fault.word == "truncated" else len(body)
    await exchange.send({**start, "headers": [*headers, (b"content-length", b"%d" % size)]})
    await exchange.send({"type": "http.response.body", "body": half, "more_body": fault.word == "cut"})
    if fault.word == "cut":
        await anyio.sleep(FLUSH)
        lines.reset(exchange.scope["client"])
        await exchange.until_gone()


@final
class FaultResponse(Response):
    """What an endpoint gives in place of a reply, where one request alone is to fail. reply: what would answer well."""

    def __init__(self, fault: Fault, lines: Connections, *, reply: Response | None = None) -> None:
        super().__init__()
        self._fault = fault
        self._lines = lines
        self._reply = reply

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        exchange = FaultyExchange(scope, receive, send)
        if self._reply is None:
            await fail(self._fault, exchange, self._lines)
        else:
            await halve(self._fault, exchange, app=self._reply, lines=self._lines)


def _with_headers(send: Send, limit: Limit) -> Send:
    """Every answer, a fault too, says what is left of the limit."""

    async def send_with_headers(message: Message) -> None:
        if message["type"] == "http.response.start":
            more = [(name.encode(), value.encode()) for name, value in limit.headers(None).items()]
            message = {**message, "headers": [*message["headers"], *more]}
        await send(message)

    return send_with_headers


def _answer(fault: Fault) -> Response:
    if fault.word == "html":
        return HTMLResponse(PAGE)
    if fault.word == "garbage":
        return Response(GARBAGE, media_type="application/json")
    if fault.word == "error200":
        return JSONResponse({"error": {"message": "Provider returned error", "code": 502}})
    return JSONResponse({"error": _error(fault)}, status_code=fault.status or 500, headers=_headers(fault))


def _error(fault: Fault) -> dict[str, str | None]:
    """In the words of OpenAI."""
    if fault.status == 429:
        message, kind, code = (
            "Rate limit reached for requests. Please try again later.",
            "requests",
            "rate_limit_exceeded",
        )
        return {"message": message, "type": kind, "param": None, "code": code}
    message = "The server had an error while processing your request. Sorry about that!"
    return {"message": message, "type": "server_error", "param": None, "code": None}


def _headers(fault: Fault) -> dict[str, str]:
    if fault.after is None:
        return {}
    if fault.in_milliseconds:
        return {"retry-after-ms": f"{fault.after * 1000:g}"}
    return {"retry-after": f"{fault.after:g}"}
