"""Keys never get into a cassette: planted in headers, addresses, requests, replies, errors and the environment."""

from __future__ import annotations

import base64
import gzip
import json
import tempfile
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import quote

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from blackbox_proxy.cassettes.reading import read_header, rows_of
from blackbox_proxy.cassettes.recording import Recorder
from blackbox_proxy.cassettes.redacting import MARK, Redactor, kept_headers
from blackbox_proxy.errors import BlackboxProxyError
from blackbox_proxy.remote.address import PLACEHOLDER
from blackbox_proxy.remote.retry import RetryPolicy
from blackbox_proxy.remote.transport import Clock, Transport
from blackbox_proxy.types import WireRequest
from tests.remote.scripted import Say, ScriptedApi

SIGNS = "".join(chr(code) for code in range(0x21, 0x7F))
keys = st.text(SIGNS, min_size=12, max_size=40).filter(lambda key: key != PLACEHOLDER)
HEADERS = ("x-request-id", "retry-after", "set-cookie", "x-ratelimit-limit-requests", "authorization", "x-api-key")


def spellings(key: str) -> set[str]:
    """A key as it might be read again from a file."""
    basic = base64.b64encode(key.encode()).decode().rstrip("=")
    return {key, json.dumps(key)[1:-1], quote(key, safe=""), basic}


def contents(path: Path) -> str:
    """A cassette's text, and every string in it as JSON reads it."""
    raw = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    lines = [json.loads(line) for line in raw.splitlines()]
    strings: list[str] = []
    waiting: list[object] = [lines]
    while waiting:
        value = waiting.pop()
        if isinstance(value, str):
            strings.append(value)
        elif isinstance(value, Mapping):
            waiting += [*value, *value.values()]
        elif isinstance(value, list):
            waiting += value
    return "\n".join([raw.decode(), *strings])


def planted(key: str, kind: str) -> Say:
    """A reply that gives a key back."""
    headers = {name: key for name in HEADERS if name != "retry-after"}
    body: Mapping[str, object] = {"choices": [], "echo": key, key: [key, {"in": f"Bearer {key}"}]}
    if kind == "refusal":
        return Say(
            {"error": {"message": f"Incorrect API key provided: {key}", "code": key}}, status=401, headers=headers
        )
    if kind == "busy":
        return Say(key.encode(), status=503, headers=headers)
    if kind == "bytes":
        return Say(b"\xff\xfe" + key.encode() + b"\xff", headers=headers)
    if kind == "cut":
        return Say(body, missing=5, headers=headers)
    return Say(body, headers=headers)


@settings(max_examples=20)
@given(
    key=keys,
    query=keys,
    around=keys,
    kind=st.sampled_from(["reply", "refusal", "busy", "bytes", "cut"]),
    ending=st.sampled_from([".jsonl", ".jsonl.gz"]),
    header=st.sampled_from(["", "api-key"]),
)
def test_no_key_is_in_a_cassette(key: str, query: str, around: str, kind: str, ending: str, header: str) -> None:
    said = [planted(secret, kind) for secret in (key, query, around)]
    with tempfile.TemporaryDirectory() as folder, ScriptedApi(*said) as api, pytest.MonkeyPatch.context() as patch:
        patch.setenv("SOME_SERVICE_API_KEY", around)
        path = Path(folder) / f"tape{ending}"
        url = f"{api.url}/{quote(key, safe='')}?subscription={quote(query, safe='')}&api-version=2026-01-01"
        transport = Transport(
            url,
            key,
            key_header=header,
            retry=RetryPolicy(attempts=1),
            clock=Clock(sleep=lambda _: None),
            tape=Recorder(path),
        )
        with transport:
            transport.introduce(model=f"m-{around}", profile="")
            for secret in (key, query, around):
                request = WireRequest("/completions", {"model": "m", "prompt": f"is {secret} right?", "user": around})
                try:
                    transport.send(request)
                except BlackboxProxyError:
                    assert kind != "reply"
        text = contents(path)
        assert len(list(rows_of(path))) == 3
        assert "2026" not in read_header(path).address
        for secret in (key, query, around):
            assert [spelt for spelt in spellings(secret) if spelt in text] == []
        assert MARK in text


def test_a_proxy_that_holds_a_password_is_not_told(tmp_path: Path) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HTTP_PROXY", "http://someone:pa%20ss-word@127.0.0.1:9")
        transport = Transport(
            "http://api.example/v1", "sk-0123456789", retry=RetryPolicy(attempts=1), tape=Recorder(tmp_path / "tape")
        )
        with transport, pytest.raises(BlackboxProxyError):
            transport.send(WireRequest("/completions", {"prompt": "pa ss-word someone:pa%20ss-word"}))
    assert "ss-word" not in (tmp_path / "tape").read_text()


def test_only_headers_that_matter_are_kept() -> None:
    headers = {
        "Retry-After": "1",
        "X-Request-Id": "r",
        "X-RateLimit-Remaining-Tokens": "9",
        "anthropic-ratelimit-requests-limit": "5",
        "Set-Cookie": "session=1",
        "Authorization": "Bearer k",
        "cf-ray": "x",
        "OpenAI-Organization": "org",
        "x-ratelimit": "no such name",
    }
    assert kept_headers(headers) == {
        "retry-after": "1",
        "x-request-id": "r",
        "x-ratelimit-remaining-tokens": "9",
        "anthropic-ratelimit-requests-limit": "5",
    }


def test_what_is_too_short_or_no_secret_stays() -> None:
    redactor = Redactor.of(
        ["abc", ""], query={"api-version": "2026-01-01", "q": "x"}, environ={"A_KEY": "main", "PATH": "/usr/bin/long"}
    )
    assert redactor.text("abc main /usr/bin/long 2026-01-01 x") == "abc main /usr/bin/long 2026-01-01 x"


def test_the_longer_of_two_keys_is_taken_out_whole() -> None:
    redactor = Redactor.of(["secret", "secret-and-more"])
    assert redactor.text("a secret-and-more, a secret") == f"a {MARK}, a {MARK}"
    assert redactor.value({"secret": [1, None, "secret"]}) == {MARK: [1, None, MARK]}
