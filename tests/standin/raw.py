"""HTTP without a client library: sends exactly these bytes and gives back what came. Knows no API."""

from __future__ import annotations

import http.client
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias
from urllib.parse import urlsplit

Json: TypeAlias = Any
"""What a body holds: the tests say what it should be, and fail where it is not."""


@dataclass(frozen=True, slots=True)
class Answer:
    """status, headers (lower case names) and body of a reply."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def json(self) -> Json:
        return json.loads(self.body)

    @property
    def error(self) -> Json:
        """The `error` object; its shape is checked here, once for every test."""
        assert self.headers["content-type"] == "application/json"
        assert set(self.json) == {"error"}
        error = self.json["error"]
        assert set(error) == {"message", "type", "param", "code"}
        assert isinstance(error["message"], str)
        assert error["message"]
        return error

    @property
    def events(self) -> list[str]:
        """The data of server-sent events; OpenAI separates them by one empty line, with bare newlines."""
        assert self.headers["content-type"].startswith("text/event-stream")
        *events, rest = self.body.decode().split("\n\n")
        assert rest == ""
        assert all(event.startswith("data: ") and "\n" not in event for event in events)
        return [event.removeprefix("data: ") for event in events]


def connect(url: str, *, timeout: float = 300) -> http.client.HTTPConnection:
    where = urlsplit(url)
    assert where.hostname
    return http.client.HTTPConnection(where.hostname, where.port, timeout=timeout)


def whole(reply: http.client.HTTPResponse, *, begun: bytes = b"") -> Answer:
    """A reply, read to its end. begun: what was read of its body already."""
    got = {name.lower(): value for name, value in reply.getheaders()}
    return Answer(reply.status, got, begun + reply.read())


def call(url: str, path: str, *, method: str = "GET", body: bytes = b"", **headers: str) -> Answer:
    """One request; `path` counts from the server's root. A header name's underscores become hyphens."""
    connection = connect(url)
    try:
        connection.request(method, path, body, {name.replace("_", "-"): value for name, value in headers.items()})
        return whole(connection.getresponse())
    finally:
        connection.close()


def post(url: str, path: str, value: object, **headers: str) -> Answer:
    """One request with a JSON body."""
    return call(url, path, method="POST", body=json.dumps(value).encode(), **headers)
