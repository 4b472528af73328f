"""A real HTTP server on loopback that answers by a script, one entry per request, or by what it is asked."""

from __future__ import annotations

import json
import socket
import struct
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Self, cast


@dataclass(frozen=True)
class Say:
    """One scripted answer.

    cut: drop the connection before it. missing: bytes that are announced but never come. hang: never finish.
    """

    body: object = field(default_factory=dict)
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    cut: bool = False
    missing: int = 0
    hang: bool = False

    def raw(self) -> bytes:
        return self.body if isinstance(self.body, bytes) else json.dumps(self.body).encode()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        server = cast(ScriptedApi, self.server)
        length = int(self.headers["content-length"])
        server.seen.append((self.path, dict(self.headers.items()), json.loads(self.rfile.read(length))))
        say = server.script.pop(0) if server.answer is None else Say(server.answer(server.seen[-1][2]))
        if say.cut:
            self._reset()
            return
        self.send_response(say.status)
        for name, value in {"content-type": "application/json", **say.headers}.items():
            self.send_header(name, value)
        self.send_header("content-length", str(len(say.raw()) + say.missing + say.hang))
        self.end_headers()
        self.wfile.write(say.raw())
        if say.missing:
            self._reset()
        if say.hang:
            server.over.wait()

    def _reset(self) -> None:
        self.wfile.flush()
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.close_connection = True

    def log_request(self, code: int | str = "-", size: int | str = "-") -> None:
        """Silent: requests are kept in `seen`."""


class ScriptedApi(ThreadingHTTPServer):
    """Serves `script` in order, or what `answer` makes of a request's body, on a free port.

    `seen` holds (path, headers, body) of each request.
    """

    def __init__(self, *script: Say, answer: Callable[[dict[str, object]], object] | None = None) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.script, self.answer = list(script), answer
        self.seen: list[tuple[str, dict[str, str], dict[str, object]]] = []
        self.over = threading.Event()
        self.url = f"http://127.0.0.1:{self.server_port}/v1"
        self._thread = threading.Thread(target=self.serve_forever, args=(0.01,), daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.over.set()
        self.shutdown()
        self._thread.join()
        self.server_close()
