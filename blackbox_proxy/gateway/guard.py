"""What is looked at before any route: where a request says it goes, and which web page it comes from.

A server that listens on this machine alone is not safe from a browser on it: a page can send requests anywhere, and a
name that a stranger owns can be made to lead here. So a page may ask only where its origin is allowed, and without
keys a request must name this machine as its host. Every answer has an id, which the log has too.
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Collection
from typing import final

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from blackbox_proxy.gateway.config import is_loopback
from blackbox_proxy.gateway.health import Readiness
from blackbox_proxy.gateway.messages.faults import fault_of, is_of_messages
from blackbox_proxy.gateway.watching.events import RequestNow, Watches
from blackbox_proxy.openai_http.fields import Refusal

_HOST = re.compile(r"(?:\[(?P<six>[0-9A-Fa-f:.]+)\]|(?P<name>[A-Za-z0-9.-]+))(?::[0-9]{1,5})?")


TRACE = ("traceparent", "tracestate")
"""Headers that say what trace a request belongs to."""


@final
class Guard:
    """An application behind the checks.

    readiness: says whether answers may begin. watches: are told of each request. origins: web pages that may ask.
    local: only this machine may be the host. page: the server's own page may ask too.
    """

    def __init__(
        self,
        app: ASGIApp,
        readiness: Readiness,
        *,
        watches: Watches,
        origins: Collection[str],
        local: bool,
        page: bool = False,
    ) -> None:
        self._app = app
        self._readiness = readiness
        self._watches = watches
        self._origins = origins
        self._local = local
        self._page = page

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        received = Headers(scope=scope)
        trace = {name: received[name] for name in TRACE if name in received}
        request = RequestNow(f"req_{secrets.token_hex(16)}", trace=trace)

        async def named(message: Message) -> None:
            if message["type"] == "http.response.start":
                request.status = message["status"]
                headers = MutableHeaders(scope=message)
                headers["x-request-id"] = request.id
                if is_of_messages(scope["path"]):
                    headers["request-id"] = request.id  # as Anthropic calls it
                headers["x-content-type-options"] = "nosniff"
                headers.update(request.headers)
            await send(message)

        refusal = self._refusal(received) or self._readiness.refusal(scope["path"])
        with self._watches.replying(request):
            await (self._app if refusal is None else fault_of(scope["path"])(refusal))(scope, receive, named)

    def _refusal(self, headers: Headers) -> Refusal | None:
        """Why a request is not looked at; None where it is."""
        origin = headers.get("origin")
        if origin is not None and not self._may_ask(origin, headers.get("host", "")):
            return Refusal("Requests of this web page's origin are not allowed.", status=403, code="origin_not_allowed")
        if self._local and not _is_here(headers.get("host", "")):
            return Refusal("This server answers requests to this machine alone.", status=403, code="host_not_allowed")
        return None

    def _may_ask(self, origin: str, host: str) -> bool:
        """Whether a web page may; the server's page is at the host that the request names."""
        if self._page and origin in (f"http://{host}", f"https://{host}"):
            return True
        return origin in self._origins or "*" in self._origins


def _is_here(host: str) -> bool:
    """Whether a Host header names this machine."""
    match = _HOST.fullmatch(host)
    return match is not None and is_loopback(match["six"] or match["name"].lower())
