"""The door to the API against a real HTTP server: what is sent, what comes back, what is tried again, what is said."""

from __future__ import annotations

import asyncio
import gzip
import json
import logging
import re
import socket
import traceback
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field

import openai
import pytest

from blackbox_proxy.errors import (
    ApiBusy,
    ApiError,
    ApiRefused,
    ApiUnreachable,
    BlackboxProxyError,
    InputError,
    OverBudget,
    PromptError,
    ReplyError,
)
from blackbox_proxy.remote.retry import RetryPolicy
from blackbox_proxy.remote.transport import Clock, Transport
from blackbox_proxy.types import Attempt, WireRequest
from tests.remote.scripted import Say, ScriptedApi

KEY = "sk-very-secret-0123456789"
REQUEST = WireRequest("/completions", {"model": "m", "prompt": "Grüße, 世界"})
DATE = "Thu, 01 Jan 1970 00:01:40 GMT"


@dataclass
class Bench:
    """A transport's surroundings: what it slept, what it reported. `side` chooses send or asend."""

    side: str
    draws: float = 0.0
    slept: list[float] = field(default_factory=list)
    attempts: list[Attempt] = field(default_factory=list)

    def clock(self) -> Clock:
        async def async_sleep(seconds: float) -> None:
            self.slept.append(seconds)

        return Clock(wall=lambda: 90.0, sleep=self.slept.append, async_sleep=async_sleep, draw=lambda: self.draws)

    def ask(
        self,
        url: str,
        *,
        key: str | None = KEY,
        timeout: float = 10.0,
        limit: int = 2**20,
        retry: RetryPolicy | None = None,
        request: WireRequest = REQUEST,
        key_header: str = "",
    ) -> Mapping[str, object]:
        transport = Transport(
            url,
            key,
            key_header=key_header,
            timeout=timeout,
            limit=limit,
            retry=retry,
            clock=self.clock(),
            on_attempt=self.attempts.append,
        )
        if self.side == "async":
            return asyncio.run(_ask(transport, request))
        with transport:
            return transport.send(request)


async def _ask(transport: Transport, request: WireRequest) -> Mapping[str, object]:
    async with transport:
        return await transport.asend(request)


@pytest.fixture(params=["sync", "async"])
def bench(request: pytest.FixtureRequest) -> Bench:
    return Bench(request.param)


def refused(bench: Bench, say: Say) -> BlackboxProxyError:
    """The error for one scripted answer, tried once."""
    with ScriptedApi(say) as api, pytest.raises(BlackboxProxyError) as caught:
        bench.ask(api.url, retry=RetryPolicy(attempts=1))
    return caught.value


def test_body_and_key_arrive_as_given(bench: Bench) -> None:
    """The base URL is used as it is, the body is our JSON in UTF-8, the key is a bearer token."""
    with ScriptedApi(Say({"id": 1, "text": "é\ud83d\ude00"})) as api:
        assert bench.ask(api.url.replace("/v1", "/deep/er/")) == {"id": 1, "text": "é😀"}
        path, headers, body = api.seen[0]
    assert path == "/deep/er/completions"
    assert body == REQUEST.body
    assert {k.lower(): v for k, v in headers.items()}["authorization"] == f"Bearer {KEY}"


def test_a_query_of_the_address_goes_with_each_request(bench: Bench) -> None:
    """Behind the path, not before it: Azure's `api-version`. Version 2 of the SDK leaves out what has no value."""
    with ScriptedApi(Say({"id": 1})) as api:
        assert bench.ask(f"{api.url}/deployments/d?api-version=2024-10-21&empty=") == {"id": 1}
        path, _, _ = api.seen[0]
    empty = "" if openai.__version__.startswith("2.") else "&empty="
    assert path == f"/v1/deployments/d/completions?api-version=2024-10-21{empty}"


def test_the_key_goes_into_the_header_that_is_named(bench: Bench) -> None:
    """And nowhere else."""
    with ScriptedApi(Say({"id": 1})) as api:
        bench.ask(api.url, key_header="api-key")
        headers = {name.lower(): value for name, value in api.seen[0][1].items()}
    assert headers["api-key"] == KEY
    assert "authorization" not in headers


def test_environment_of_the_sdk_adds_nothing(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither OpenAI's account headers nor a proxy of the environment touch a request to this machine."""
    for name in ("OPENAI_ORG_ID", "OPENAI_PROJECT_ID", "OPENAI_ADMIN_KEY", "OPENAI_BASE_URL"):
        monkeypatch.setenv(name, "http://of.the.environment")
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    with ScriptedApi(Say({"id": 1})) as api:
        assert bench.ask(api.url) == {"id": 1}
        assert "of.the.environment" not in str(api.seen)


def test_answer_of_a_large_vocabulary_comes_back_unchanged(bench: Bench) -> None:
    """A position may hold a whole vocabulary; nothing may validate, reorder or drop its keys."""
    top = {f"token {n}": -float(n) for n in range(49_152)}
    with ScriptedApi(Say({"top": top})) as api:
        body = bench.ask(api.url, limit=2**24, request=WireRequest("/completions", {"bias": top}))
        assert api.seen[0][2] == {"bias": top}
    assert list(body["top"].items()) == list(top.items())  # type: ignore[attr-defined]


INSIDE: Mapping[str, object] = {
    "no choices": {"error": {"message": "too many", "code": 429}},
    "choices null": {"id": None, "choices": None, "error": {"message": "too many", "code": "429"}},
    "choices empty": {"id": "x", "choices": [], "error": {"message": "too many", "type": "rate_limit_exceeded"}},
    "in the choice": {"choices": [{"finish_reason": "error", "error": {"code": 502, "message": "gone"}}]},
    "a choice broken off": {"choices": [{"message": {"content": "Par"}, "finish_reason": "error", "error": None}]},
    "beside a choice": {"choices": [{"message": {"content": "Par"}}], "error": {"message": "gone"}},
    "the body itself": {"object": "error", "message": "overloaded", "code": 503},
    "a word": {"choices": [], "error": "overloaded"},
    "a bare message": {"message": "slow down", "status": 429},
}


@pytest.mark.parametrize("case", INSIDE)
def test_a_failure_inside_a_success_that_may_pass_is_tried_again(bench: Bench, case: str) -> None:
    with ScriptedApi(Say(INSIDE[case]), Say({"choices": [{"index": 0}]})) as api:
        assert bench.ask(api.url) == {"choices": [{"index": 0}]}
    assert [attempt.outcome for attempt in bench.attempts] == ["busy", "ok"]
    begun = case in {"in the choice", "a choice broken off", "beside a choice"}
    assert bench.attempts[0].lost is begun  # some of an answer may be billed


def test_a_failure_inside_a_success_that_stays_is_said_once(bench: Bench) -> None:
    refused = {"choices": [{"finish_reason": "error", "error": {"code": 400, "message": "no such field"}}]}
    with ScriptedApi(Say(refused)) as api, pytest.raises(ApiRefused, match=r"\(400\): no such field"):
        bench.ask(api.url)
    assert len(bench.attempts) == 1


@pytest.mark.parametrize("status", [408, 409, 429, 500, 502, 503, 504, 529])
def test_a_passing_failure_is_tried_again(bench: Bench, status: int) -> None:
    with ScriptedApi(Say({"error": {"message": "later"}}, status), Say({"id": 1})) as api:
        assert bench.ask(api.url) == {"id": 1}
    assert [(a.number, a.outcome, a.status) for a in bench.attempts] == [(1, "busy", status), (2, "ok", 200)]


@pytest.mark.parametrize("status", [301, 307, 400, 401, 402, 403, 404, 405, 413, 418, 422])
def test_a_lasting_refusal_is_not_tried_again(bench: Bench, status: int) -> None:
    """Neither are redirects followed: they would carry prompt and key to another host."""
    with ScriptedApi(Say({}, status, {"location": "/v1/other"})) as api:
        with pytest.raises(ApiRefused if status != 413 else PromptError) as caught:
            bench.ask(api.url)
        assert len(api.seen) == 1
    assert caught.value.hint
    assert bench.slept == []
    assert [a.outcome for a in bench.attempts] == ["refused"]


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({"retry-after-ms": "1500", "retry-after": "9"}, 1.5),
        ({"retry-after": "7"}, 7.0),
        ({"retry-after": DATE}, 10.0),
        ({"retry-after": "soon"}, 0.25),
        ({"retry-after": "inf"}, 0.25),
        ({}, 0.25),
    ],
)
def test_the_pause_is_what_the_server_asks_for(bench: Bench, headers: dict[str, str], seconds: float) -> None:
    with ScriptedApi(Say({}, 429, headers), Say({"id": 1})) as api:
        bench.ask(api.url)
    assert bench.slept == [seconds]


@pytest.mark.parametrize(("draw", "pauses"), [(0.0, [0.5, 1.0, 2.0, 2.5]), (1.0, [1.0, 2.0, 4.0, 5.0])])
def test_unasked_pauses_double_up_to_the_cap(bench: Bench, draw: float, pauses: list[float]) -> None:
    bench.draws = draw
    policy = RetryPolicy(attempts=5, first=1.0, most=5.0)
    with ScriptedApi(*[Say({"error": {"message": "overloaded"}}, 503)] * 5) as api:
        with pytest.raises(ApiBusy, match=r"on its side \(503\): overloaded \(after 5 attempts\)"):
            bench.ask(api.url, retry=policy)
    assert bench.slept == pauses


def test_a_pause_beyond_patience_ends_the_call_at_once(bench: Bench) -> None:
    with ScriptedApi(Say({}, 429, {"retry-after": "3600"})) as api:
        with pytest.raises(ApiBusy, match="asks to wait 3600 s"):
            bench.ask(api.url)
    assert bench.slept == []


def test_a_cut_connection_is_tried_again(bench: Bench) -> None:
    with ScriptedApi(Say(cut=True), Say({"id": 1}, missing=10), Say({"id": 2})) as api:
        assert bench.ask(api.url) == {"id": 2}
    assert [a.outcome for a in bench.attempts] == ["unreachable", "unreachable", "ok"]


@pytest.mark.parametrize("body", [b'{"id": 1', b"upstream reset", b"<html>Just a moment</html>", b"", b"[1, 2]"])
def test_a_body_that_is_no_answer_is_asked_for_again(bench: Bench, body: bytes) -> None:
    """A repeat changes nothing but the bill; of the first attempt nobody knows what it cost."""
    with ScriptedApi(Say(body), Say({"id": 1, "usage": {"prompt_tokens": 3}})) as api:
        assert bench.ask(api.url)["id"] == 1
    first, second = bench.attempts
    assert (first.outcome, first.status, first.lost, first.usage) == ("unreadable", 200, True, None)
    assert (second.outcome, second.number, second.lost, second.usage) == ("ok", 2, False, {"prompt_tokens": 3})


@pytest.mark.parametrize("body", [b"data: {}\n\n", b" " * 2**21])
def test_what_would_come_again_is_asked_for_once(bench: Bench, body: bytes) -> None:
    """A stream, and more than we hold: it was paid for once, and once is enough."""
    with ScriptedApi(Say(body)) as api, pytest.raises(ReplyError):
        bench.ask(api.url)
    assert [(attempt.outcome, attempt.lost) for attempt in bench.attempts] == [("unreadable", True)]


@pytest.mark.parametrize(
    ("say", "lost"),
    [
        (Say(cut=True), True),
        (Say({"id": 1}, missing=10), True),
        (Say(b"", hang=True), True),
        (Say({"error": {"message": "busy"}}, 503), False),
        (Say({"error": {"message": "no"}}, 400), False),
        (Say({"error": {"message": "upstream", "code": 502}}), False),
    ],
    ids=["reset", "cut", "hang", "busy", "refused", "error with 200"],
)
def test_an_attempt_is_lost_unless_the_api_said_no(bench: Bench, say: Say, *, lost: bool) -> None:
    with ScriptedApi(say) as api, pytest.raises(BlackboxProxyError):
        bench.ask(api.url, timeout=0.5, retry=RetryPolicy(attempts=1))
    assert [(attempt.lost, attempt.usage) for attempt in bench.attempts] == [(lost, None)]


@dataclass(slots=True)
class Heard:
    """A watcher that allows attempts up to number `last`."""

    last: int = 9
    begun: list[int] = field(default_factory=list)
    ended: list[Attempt] = field(default_factory=list)

    def begin(self, number: int) -> None:
        if number > self.last:
            raise OverBudget("enough")
        self.begun.append(number)

    def end(self, attempt: Attempt) -> None:
        self.ended.append(attempt)


def test_who_makes_a_call_hears_of_its_attempts_even_where_accounting_refuses(bench: Bench) -> None:
    heard = Heard()

    def spent(_: Attempt) -> None:
        raise InputError("the budget is spent")

    with ScriptedApi(Say({"id": 1})) as api, Transport(api.url, KEY, on_attempt=spent) as transport:
        with pytest.raises(InputError, match="spent"):
            transport.send(REQUEST, heard)
    with ScriptedApi(Say({}, 500), Say({"id": 2})) as api:
        with Transport(api.url, KEY, clock=bench.clock(), on_attempt=bench.attempts.append) as transport:
            transport.send(REQUEST, heard)
    assert heard.begun == [1, 1, 2]
    assert [attempt.outcome for attempt in heard.ended] == ["ok", "busy", "ok"]
    assert heard.ended[1:] == bench.attempts


def test_an_attempt_that_its_watcher_refuses_is_not_sent(bench: Bench) -> None:
    """Whether it is the first, or one more."""
    with ScriptedApi(Say({}, 500), Say({"id": 1})) as api:
        for last in (0, 1):
            heard = Heard(last=last)
            with Transport(api.url, KEY, clock=bench.clock()) as transport, pytest.raises(OverBudget):
                transport.send(REQUEST, heard)
            assert len(heard.ended) == len(api.seen) == last


@pytest.mark.parametrize("say", [Say(b"", hang=True), Say(b'{"id"', 500, hang=True)])
def test_an_answer_that_does_not_end_times_out(bench: Bench, say: Say) -> None:
    with ScriptedApi(say) as api:
        with pytest.raises(ApiUnreachable, match=r"no answer from http://127.0.0.1:\d+/v1/completions within 0.2 s"):
            bench.ask(api.url, timeout=0.2, retry=RetryPolicy(attempts=1))
    assert [a.outcome for a in bench.attempts] == ["timeout"]


def test_a_dripping_answer_is_held_to_the_whole_timeout() -> None:
    """The limit is for the answer, not for each of its chunks: time passes while bytes come."""
    ticks = iter([0.0, 61.0, 61.0])
    with ScriptedApi(Say({"id": 1})) as api:
        clock = Clock(monotonic=lambda: next(ticks))
        with Transport(api.url, KEY, clock=clock, retry=RetryPolicy(attempts=1)) as transport:
            with pytest.raises(ApiUnreachable, match="within 60 s"):
                transport.send(REQUEST)


def test_a_body_beyond_the_limit_is_refused_while_it_comes(bench: Bench) -> None:
    """Compressed bodies count by what they unfold to."""
    bomb = gzip.compress(b" " * 2**22)
    error = refused(bench, Say(bomb, headers={"content-encoding": "gzip"}))
    assert isinstance(error, ReplyError)
    assert "longer than 1,048,576 bytes" in error.message


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b"<!doctype html><title>Welcome</title>", "a web page"),
        (b'{"id": 1', "not a JSON object: it starts with '{\"id\": 1'"),
        (b"[1, 2]", "not a JSON object"),
        (b"", "it is empty"),
        (b'data: {"id": 1}\n\ndata: [DONE]\n\n', "a stream"),
        (b"[" * 100_000, "not a JSON object"),
        (b"\xff\xfe\xfd", "not a JSON object"),
    ],
)
def test_a_body_that_is_no_json_object_is_told_as_what_it_is(bench: Bench, body: bytes, words: str) -> None:
    """The announced type does not matter: servers lie about it in both directions."""
    error = refused(bench, Say(body))
    assert isinstance(error, ReplyError)
    assert words in error.message
    assert bench.attempts[0].outcome == "unreadable"


def test_json_under_another_type_is_read(bench: Bench) -> None:
    with ScriptedApi(Say({"id": 1}, headers={"content-type": "text/plain"})) as api:
        assert bench.ask(api.url) == {"id": 1}


CASES: list[tuple[Say, type[BlackboxProxyError], str, str]] = [
    (
        Say({"error": {"message": "Incorrect API key"}}, 401),
        ApiRefused,
        r"refused the key \(401\): Incorrect API key",
        "OPENAI_API_KEY",
    ),
    (
        Say({"error": {"message": "no such thing", "code": "model_not_found"}}, 404),
        ApiRefused,
        r"does not know the model 'm' \(404\): no such thing",
        "/v1/models",
    ),
    (Say(b"<html>Not Found</html>", 404), ApiRefused, r"nothing to ask at .*/v1/completions \(404\)$", "doctor"),
    (Say({"detail": "Not Found"}, 404), ApiRefused, r"nothing to ask at .*: Not Found", "/v1"),
    (Say({"error": {"message": "no"}}, 403), ApiRefused, r"does not allow this \(403\): no", "'m'"),
    (
        Say({"error": {"message": "too long", "code": "context_length_exceeded"}}, 400),
        PromptError,
        "does not fit into the model's context: too long",
        "shorten",
    ),
    (
        Say({"message": "This model's maximum context length is 2048 tokens."}, 400),
        PromptError,
        "maximum context length is 2048",
        "shorten",
    ),
    (
        Say({"error": {"message": "this model does not support logprobs"}}, 400),
        ApiRefused,
        "does not support logprobs",
        "top-k",
    ),
    (
        Say({"error": {"message": "quota", "code": "insufficient_quota"}}, 429),
        ApiRefused,
        "no credit left: quota",
        "billing",
    ),
    (Say({"error": {"message": "upstream", "code": 502}}), ApiBusy, r"on its side \(502\): upstream", "wait"),
    (Say({"error": {"message": "upstream", "code": "502"}}), ApiBusy, r"on its side \(502\): upstream", "wait"),
    (Say({"error": {"message": "oops", "type": "server_error", "code": None}}), ApiBusy, r"\(500\): oops", "wait"),
    (Say({"error": {"message": "slow", "code": "rate_limit_exceeded"}}), ApiBusy, r"rate of .* \(429\): slow", "wait"),
    (Say({"error": {"message": "no", "code": "invalid", "type": "x"}}), ApiRefused, r"\(200\): no", ""),
    (Say({"error": {"message": "no such user"}}), ApiRefused, r"\(200\): no such user", ""),
]


@pytest.mark.parametrize(("say", "kind", "message", "hint"), CASES)
def test_each_refusal_has_its_sentence_and_its_hint(
    bench: Bench, say: Say, kind: type[BlackboxProxyError], message: str, hint: str
) -> None:
    error = refused(bench, say)
    assert type(error) is kind
    assert hint in error.hint
    with pytest.raises(kind, match=message):
        raise error


def test_a_status_is_kept_with_the_error(bench: Bench) -> None:
    error = refused(bench, Say({}, 418))
    assert isinstance(error, ApiError)
    assert error.status == 418


def test_long_and_wild_words_are_tamed(bench: Bench) -> None:
    """One line, no terminal codes, no more than a few hundred characters."""
    error = refused(bench, Say({"error": {"message": "\x1b[31mred\n\tline" + "x" * 5000}}, 400))
    assert "\x1b" not in error.message
    assert "\n" not in error.message
    assert len(error.message) < 500


@contextmanager
def closed_port() -> Iterator[int]:
    """A port that nobody listens at, and that nobody else gets meanwhile."""
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))
        yield holder.getsockname()[1]


def test_a_wrong_port_is_named(bench: Bench) -> None:
    with closed_port() as port, pytest.raises(ApiUnreachable) as caught:
        bench.ask(f"http://127.0.0.1:{port}/v1", retry=RetryPolicy(attempts=2))
    assert caught.value.message == (
        f"nothing answers at http://127.0.0.1:{port}/v1: connection refused (after 2 attempts)"
    )
    assert [attempt.lost for attempt in bench.attempts] == [False, False], "nothing was sent"
    assert "port" in caught.value.hint


def test_https_to_a_plain_server_is_told_and_not_repeated(bench: Bench) -> None:
    with ScriptedApi() as api, pytest.raises(ApiUnreachable, match="does not speak TLS") as caught:
        bench.ask(api.url.replace("http:", "https:"))
    assert "http://" in caught.value.hint
    assert bench.slept == []


def test_a_server_that_is_not_http_is_told(bench: Bench) -> None:
    """Whatever the HTTP library says about it reaches the user as one of our sentences."""
    with socket.create_server(("127.0.0.1", 0)) as server, ThreadPoolExecutor(1) as pool:
        server.settimeout(10.0)
        greeting = pool.submit(_greet, server)
        with pytest.raises(ApiUnreachable, match=r"^the connection to http://127.0.0.1:\d+ failed: ."):
            bench.ask(f"http://127.0.0.1:{server.getsockname()[1]}", retry=RetryPolicy(attempts=1))
        greeting.result()


def _greet(server: socket.socket) -> None:
    peer, _ = server.accept()
    with peer:
        # All of the request first: closing with something unread would reset the connection before it is read here.
        head, body = b"", b""
        while not head.endswith(b"\r\n\r\n"):
            head += peer.recv(1)
        length = re.search(rb"(?i)content-length: *(\d+)", head)
        while length and len(body) < int(length[1]):
            body += peer.recv(65536)
        peer.sendall(b"SSH-2.0-OpenSSH_9.2\r\n")


@pytest.mark.parametrize("before", ["bad key: ", "x" * 290])
@pytest.mark.parametrize("status", [200, 400, 401, 429, 500])
def test_the_key_is_never_shown(bench: Bench, status: int, before: str, caplog: pytest.LogCaptureFixture) -> None:
    """Not even when the server echoes it, nor in part: not in the error, what stands behind it, or the log."""
    caplog.set_level(logging.DEBUG)
    error = refused(bench, Say({"error": {"message": before + KEY}}, status))
    shown = "".join(traceback.format_exception(error)) + error.hint + repr(error) + caplog.text
    assert KEY[:6] not in shown
    assert error.__cause__ is None
    assert error.__context__ is None


def test_the_key_is_not_in_a_repr() -> None:
    with Transport("https://api.example.com/v1?key=abc", KEY) as transport:
        assert repr(transport) == "Transport('https://api.example.com/v1')"
        assert KEY not in repr(transport._address)


def test_a_local_server_needs_no_key(bench: Bench) -> None:
    with ScriptedApi(Say({"id": 1})) as api:
        assert bench.ask(api.url, key=None) == {"id": 1}


def test_what_accounting_learns(bench: Bench) -> None:
    usage = {"prompt_tokens": 3, "completion_tokens": 2}
    with ScriptedApi(Say({}, 500), Say({"usage": usage})) as api:
        bench.ask(api.url)
    first, second = bench.attempts
    assert (first.usage, second.usage) == (None, usage)
    assert {a.path for a in bench.attempts} == {"/completions"}
    assert all(0.0 <= a.seconds < 10.0 for a in bench.attempts)


@pytest.mark.parametrize("status", [200, 500])
def test_accounting_may_refuse_and_stops_the_call(status: int) -> None:
    """A budget that is spent wins over an answer, and over another attempt."""

    def spent(_: Attempt) -> None:
        raise InputError("the budget is spent")

    with ScriptedApi(Say({"id": 1}, status)) as api:
        with Transport(api.url, KEY, on_attempt=spent) as transport, pytest.raises(InputError, match="spent"):
            transport.send(REQUEST)


def test_a_cancelled_request_is_reported() -> None:
    """It was sent, so it may be billed."""
    attempts: list[Attempt] = []

    async def cancelled(url: str) -> None:
        async with Transport(url, KEY, on_attempt=attempts.append) as transport:
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(transport.asend(REQUEST), 0.2)

    with ScriptedApi(Say(b"", hang=True)) as api:
        asyncio.run(cancelled(api.url))
    assert [a.outcome for a in attempts] == ["cancelled"]


def test_a_bug_is_not_dressed_as_a_fault_of_the_api(bench: Bench) -> None:
    """What cannot be sent as JSON is our mistake, and keeps its own exception."""
    with ScriptedApi() as api, pytest.raises(TypeError):
        bench.ask(api.url, request=WireRequest("/completions", {"model": object()}))


def test_many_threads_share_a_transport() -> None:
    """Replies are not mixed up."""
    with ScriptedApi(*[Say({"id": n}) for n in range(16)]) as api, Transport(api.url, KEY) as transport:
        with ThreadPoolExecutor(8) as pool:
            bodies = pool.map(lambda n: transport.send(WireRequest("/c", {"n": n})), range(16))
        assert sorted(json.dumps(body) for body in bodies) == sorted(json.dumps({"id": n}) for n in range(16))
