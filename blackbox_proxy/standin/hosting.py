"""One server for many stand-ins: each is mounted under a path of its own, so that a new one takes no new server.

The server runs in a background thread and ends with its block. Knows no route of a stand-in.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from typing import final

import uvicorn
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from blackbox_proxy.errors import LocalModelError
from blackbox_proxy.openai_http.listening import LOOPBACK, in_background, listening, url_of
from blackbox_proxy.standin.faults import Connections


@final
class StandinHost:
    """The ASGI application that passes requests on by the first step of their path. May be used by any thread.

    lines: the connections of its server.
    """

    def __init__(self) -> None:
        self.lines = Connections()
        self.root = ""
        self._apps: dict[str, ASGIApp] = {}
        self._numbers = count(1)

    def mount(self, app: ASGIApp) -> str:
        """Serve an application, and give its base URL, which ends in /v1."""
        name = f"t{next(self._numbers)}"
        self._apps[name] = app
        return f"{self.root}/{name}/v1"

    def replace(self, url: str, app: ASGIApp) -> None:
        """Serve another application at a base URL."""
        self._apps[self._name(url)] = app

    def unmount(self, url: str) -> None:
        """What was served there is there no more."""
        self._apps.pop(self._name(url), None)

    def _name(self, url: str) -> str:
        return url.removeprefix(f"{self.root}/").partition("/")[0]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        name, _, rest = scope["path"].removeprefix("/").partition("/")
        app = self._apps.get(name)
        if app is None:
            gone = JSONResponse({"error": {"message": f"no stand-in is served at {scope['path']} any more"}}, 404)
            await gone(scope, receive, send)
            return
        await app({**scope, "path": f"/{rest}", "raw_path": f"/{rest}".encode()}, receive, send)


@contextmanager
def hosting() -> Iterator[StandinHost]:
    """A server on a free port of this machine."""
    host = StandinHost()
    ended = LocalModelError("the server of the stand-ins ended before it was ready")
    with listening(LOOPBACK, 0) as listener:
        host.root = url_of(listener).removesuffix("/v1")
        with in_background(standin_config(host, host.lines), listener, name="standins", ended=ended):
            yield host


def standin_config(app: ASGIApp, lines: Connections | None) -> uvicorn.Config:
    """How uvicorn serves a stand-in. lines: its connections, where faults are done to them."""
    return uvicorn.Config(
        app,
        http=lines.protocol() if lines else "auto",
        log_config=None,
        access_log=False,
        lifespan="off",
        ws="none",
        timeout_keep_alive=120,
        timeout_graceful_shutdown=2,
    )
