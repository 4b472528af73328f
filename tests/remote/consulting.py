"""A toy model that answers the doctor's questions as a real one would, served with quirks, and its examination."""

from __future__ import annotations

import asyncio
import functools
import json
import time
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager

from starlette.types import ASGIApp, Message

from blackbox_proxy.doctor.examining import Examination
from blackbox_proxy.doctor.findings import Report
from blackbox_proxy.remote.faults import RequestPlace, refusal
from blackbox_proxy.remote.retry import RetryPolicy
from blackbox_proxy.remote.transport import Transport
from blackbox_proxy.standin import Script, StandinOptions, Traffic, running, script
from blackbox_proxy.standin.server import opened
from blackbox_proxy.types import WireRequest

PARROT = "🦜".encode()
HEAD, TAIL = PARROT[:2], PARROT[2:]
SURE = 0.999
ASKED = (b"only: ok", b"only: ok</u>", "»</u>".encode())
RARE = {b"G": 1e-6}
"""What the doctor forces by a bias: token 40."""
CUT = {b"Q": 1e-5, b"Qz": 1e-7}
"""What the doctor demands by a schema begins with one token, or with a likelier half of it."""
DISTRIBUTIONS: Mapping[bytes, Mapping[bytes, float]] = {
    b"": {
        b"a": 0.4,
        b"b": 0.3,
        HEAD: 0.1,
        b"c": 0.08,
        b"\xc3": 0.06,
        b"\xe2": 0.04,
        b"d": 0.02,
        **RARE,
        **CUT,
        b"</s>": 1e-4,
    },
    b"</u>": {b"c": 0.5, b"d": 0.3, b"a": 0.15, **RARE, b"</s>": 1e-4},
    b"red green</u>": {b"e": SURE, b"a": 1e-3},
    b"red green</a>": {b"f": SURE, b"a": 1e-3},
    b"red green": {b" ": SURE, b"a": 1e-3},
    b"three is": {b"g": 0.7, b"a": 0.3},
    b"three is ": {b"h": 0.6, b"b": 0.4},
    HEAD: {TAIL: SURE, b"a": 1e-3},
    PARROT * 4: {HEAD: SURE, b"a": 1e-3, b"\xc3": 1e-4},
    PARROT + b"</u>": {HEAD: SURE, b"a": 1e-3, b"\xc3": 1e-4},
    **{before + b"": {b"o": SURE, b"a": 1e-3} for before in ASKED},
    **{before + b"o": {b"k": SURE, b"</s>": 1e-3} for before in ASKED},
    b'"o': {b"k": SURE, b'"': 1e-3},
    b'"ok': {b'"': SURE, b"a": 1e-3},
    **{before + b"ok": {b"</s>": SURE, b"a": 1e-3, **RARE} for before in ASKED},
}
"""An open distribution, sure ones where the doctor asks for one answer; the end shows among alternatives first."""
TEMPLATE = "{% for m in messages %}{{ m.content }}</{{ m.role[0] }}>{% endfor %}"
PIECES = [
    *(bytes([sign]) for sign in (10, *range(32, 127))),
    HEAD,
    TAIL,
    b"\xc3",
    b"\xe2",
    "«".encode(),
    "»".encode(),
    b"Qz",
]
ENDS = (b"", b"</s>")


def patient() -> Script:
    """The toy: an open distribution after most texts, and a sure one where the doctor asks for one answer."""
    return script(PIECES, [b"</s>"], DISTRIBUTIONS, template=TEMPLATE)


@contextmanager
def transported(*quirks: str, traffic: Traffic | None = None, key: str | None = None) -> Iterator[Transport]:
    """A way to the toy over real HTTP. key: what the toy asks for, and is shown."""
    options = StandinOptions(name="toy", quirks=quirks, api_key=key)
    if traffic is not None:
        options["traffic"] = traffic
    with running(patient(), **options) as url, Transport(url, key, retry=RetryPolicy(first=0.0)) as transport:
        yield transport


def examination(
    send: Callable[[WireRequest], Mapping[str, object]],
    *,
    model: str = "toy",
    options: Mapping[str, object] | None = None,
    ends: Collection[bytes] = ENDS,
    clock: Callable[[], float] = lambda: 0.0,
) -> Examination:
    """An examination of the toy whose clock stands still."""
    return Examination(send, base_url="http://127.0.0.1/v1", model=model, options=options or {}, ends=ends, clock=clock)


@functools.cache
def examined(*quirks: str) -> Report:
    """What the doctor says of the toy with these quirks; asked without a socket, which takes a fifth of the time."""
    slow = any(quirk.startswith("slow-") for quirk in quirks)
    with opened(patient(), name="toy", quirks=quirks) as serving, asyncio.Runner() as runner:
        clock = time.monotonic if slow else lambda: 0.0
        exam = examination(lambda request: runner.run(_asked(serving.app, request)), clock=clock)
        exam.run()
        return exam.report()


async def _asked(app: ASGIApp, request: WireRequest) -> Mapping[str, object]:
    """The reply of an application, or the transport's error for its refusal."""
    raw = json.dumps(dict(request.body)).encode()
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(raw)).encode())]
    path = f"/v1{request.path}"
    scope = {"type": "http", "method": "POST", "path": path, "headers": headers, "query_string": b""}
    waiting: list[Message] = [{"type": "http.request", "body": raw, "more_body": False}]
    sent: list[Message] = []

    async def receive() -> Message:
        if not waiting:
            await asyncio.Event().wait()  # the client never leaves
        return waiting.pop()

    async def send(message: Message) -> None:
        sent.append(message)

    await app(scope, receive, send)
    body: Mapping[str, object] = json.loads(b"".join(message.get("body", b"") for message in sent))
    status = sent[0]["status"]
    if status >= 400:
        place = RequestPlace("http://toy", request.path, "toy", key_name="KEY", timeout=1.0, clean=str)
        raise refusal(status, body, place=place)
    return body


def names(report: Report) -> list[str]:
    """The names of its findings, each once."""
    return list(dict.fromkeys(check.finding for check in report.findings))
