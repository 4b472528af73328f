"""What was asked of a stand-in: an application around another notes each POST, and shows its notes on request.

Notes are kept in memory, the last thousands of them. Headers, and so keys, are not noted. Knows no model.
"""

from __future__ import annotations

import ipaddress
import json
import threading
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any, final

from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from blackbox_proxy.types import Usage

MOST = 10_000
"""Requests that are kept."""

REQUESTS, RESET = "/__standin/requests", "/__standin/reset"


@final
@dataclass(frozen=True, slots=True)
class SeenRequest:
    """A request that came, and what became of it.

    Attributes:
        path: The route, such as `/v1/chat/completions`.
        body: Its JSON; empty where it is no JSON object.
        status: That of the answer; None for none yet, and for a connection that was hung up.
        usage: The tokens that it took.
    """

    path: str
    body: Mapping[str, Any]
    status: int | None = None
    usage: Usage = field(default_factory=Usage)

    @property
    def model(self) -> str:
        """The model that was asked for; "" where none is named."""
        return str(self.body.get("model") or "")

    @property
    def messages(self) -> Sequence[Mapping[str, Any]]:
        """The messages of a chat; none where it is no chat."""
        messages = self.body.get("messages")
        return [one for one in messages if isinstance(one, dict)] if isinstance(messages, list) else []

    @property
    def text(self) -> str:
        """The last message, or the prompt, as text."""
        asked = self.messages[-1].get("content") if self.messages else self.body.get("prompt", self.body.get("input"))
        if isinstance(asked, list) and asked and isinstance(asked[-1], str):
            return str(asked[-1])
        if isinstance(asked, list):
            return "".join(str(part.get("text", "")) for part in asked if isinstance(part, dict))
        return "" if asked is None else str(asked)

    @property
    def prefix(self) -> str:
        """The text that is to be gone on with: the assistant's turn at the end of a chat, or a raw prompt; or ""."""
        if self.messages:
            return self.text if self.messages[-1].get("role") == "assistant" else ""
        return self.text if "prompt" in self.body else ""

    def to_json(self) -> dict[str, object]:
        """As `/__standin/requests` shows it."""
        counts = {"input": self.usage.input, "cached": self.usage.cached, "output": self.usage.output}
        return {"path": self.path, "status": self.status, "body": dict(self.body), "usage": counts}


@dataclass(slots=True)
class _Note:
    path: str
    raw: bytearray = field(default_factory=bytearray)
    status: int | None = None
    usage: Usage = field(default_factory=Usage)

    def seen(self) -> SeenRequest:
        try:
            body = json.loads(bytes(self.raw))
        except (ValueError, RecursionError):
            body = {}
        return SeenRequest(self.path, body if isinstance(body, dict) else {}, self.status, self.usage)


_current: ContextVar[_Note | None] = ContextVar("current", default=None)


@final
class Journal:
    """The requests that came, in their order. May be read by any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._notes: deque[_Note] = deque(maxlen=MOST)

    @property
    def requests(self) -> list[SeenRequest]:
        """All that are kept."""
        with self._lock:
            notes = list(self._notes)
        return [note.seen() for note in notes]

    def clear(self) -> None:
        """Forget them."""
        with self._lock:
            self._notes.clear()

    def spend(self, read: int, cached: int, written: int) -> None:
        """The request that is being answered took so many tokens."""
        note = _current.get()
        if note is not None:
            note.usage = note.usage + Usage(input=read, cached=cached, output=written)

    def add(self, note: _Note) -> None:
        """One more."""
        with self._lock:
            self._notes.append(note)


@final
class Journaled:
    """An application whose POST requests are noted."""

    def __init__(self, app: ASGIApp, journal: Journal) -> None:
        self._app = app
        self._journal = journal

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["method"] != "POST":
            await self._app(scope, receive, send)
            return
        note = _Note(scope["path"], usage=Usage(requests=1))
        self._journal.add(note)
        token = _current.set(note)

        async def noting() -> Message:
            message = await receive()
            note.raw += message.get("body", b"")
            return message

        async def answering(message: Message) -> None:
            if message["type"] == "http.response.start":
                note.status = message["status"]
            await send(message)

        try:
            await self._app(scope, noting, answering)
        finally:
            _current.reset(token)


@final
class Admin:
    """An application with two more routes: what was asked, and forgetting it. They answer this machine alone."""

    def __init__(self, app: ASGIApp, journal: Journal, *, reset: Callable[[], object]) -> None:
        self._app = app
        self._journal = journal
        self._reset = reset

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        route = (scope["method"], scope["path"]) if scope["type"] == "http" else ("", "")
        if route not in (("GET", REQUESTS), ("POST", RESET)):
            await self._app(scope, receive, send)
            return
        await self._answer(scope, reset=route[1] == RESET)(scope, receive, send)

    def _answer(self, scope: Scope, *, reset: bool) -> JSONResponse:
        if not _is_local(scope):
            return JSONResponse({"error": {"message": "This route answers the machine itself alone."}}, 403)
        if reset:
            self._journal.clear()
            self._reset()
            return JSONResponse({"reset": True})
        return JSONResponse([request.to_json() for request in self._journal.requests])


def _is_local(scope: Scope) -> bool:
    """Whether a request comes from this machine, and not from a web page that was opened on it."""
    client = scope.get("client")
    foreign = any(name == b"origin" for name, _ in scope["headers"])
    return client is not None and ipaddress.ip_address(client[0]).is_loopback and not foreign
