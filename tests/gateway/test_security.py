"""What a stranger can and cannot do: keys, hosts, web pages, sizes, errors that tell nothing, nonsense of all kinds."""

from __future__ import annotations

import resource
import socket
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from blackbox_proxy.errors import InputError
from blackbox_proxy.gateway.keys import add_key, read_keys
from tests.gateway.nonsense import Found, fuzz
from tests.gateway.serving import config_text, gateway
from tests.standin.raw import Json, call, post

ASKED = {"model": "steered", "prompt": "the then", "max_tokens": 2, "temperature": 0}
OF_UPSTREAM = "sk-of-the-upstream-0123456789"


@pytest.fixture(scope="module")
def keyed(tmp_path_factory: pytest.TempPathFactory, upstream: str, pair_file: Path) -> Iterator[tuple[str, str]]:
    """A gateway that asks for a key, and the key."""
    folder = tmp_path_factory.mktemp("keys")
    key = add_key(folder / "keys.txt", "ann")
    text = config_text(upstream, pair=pair_file, server='keys = "keys.txt"\nmax_body = 20000\nmax_prompt = 500')
    with gateway(text, folder=folder) as url:
        yield url, key


def test_a_key_is_asked_for(keyed: tuple[str, str]) -> None:
    url, key = keyed
    routes = [("/v1/models", "GET"), ("/models", "GET"), ("/v1/chat/completions", "POST"), ("/completions", "POST")]
    routes += [("/v1/responses", "POST"), ("/openai/v1/responses/", "POST")]
    for path, method in [*routes, ("/tokenize", "POST"), ("/tokenizer_info", "GET"), ("/v1/models/steered", "GET")]:
        for shown in ({}, {"authorization": "Bearer "}, {"authorization": f"Bearer {key}x"}, {"authorization": key}):
            refused = call(url, path, method=method, body=b"{}", **shown)
            assert refused.status == 401, path
            assert key not in refused.error["message"]
    assert call(url, "/health").status == 200
    assert post(url, "/v1/completions", ASKED, authorization=f"Bearer {key}").status == 200
    assert post(url, "/v1/completions", ASKED, authorization=f"bearer {key}").status == 200


@pytest.mark.parametrize("path", ["/v1/models", "/openai/v1/models", "/openai/v1/models/"])
def test_azures_clients_show_the_key_in_a_header_of_their_own(keyed: tuple[str, str], path: str) -> None:
    url, key = keyed
    assert call(url, path, api_key=key).status == 200
    assert call(url, path, api_key=f"{key}x").status == 401
    assert call(url, path, api_key="").status == 401
    assert call(url, path, authorization="Bearer other", api_key=key).status == 401


MESSAGE = {"model": "steered", "messages": [{"role": "user", "content": "the then"}], "max_tokens": 1}


def test_anthropics_clients_show_the_key_in_a_header_of_their_own(keyed: tuple[str, str]) -> None:
    url, key = keyed
    assert call(url, "/v1/models", x_api_key=key).status == 200
    assert post(url, "/v1/messages", MESSAGE, x_api_key=key).status == 200
    assert post(url, "/v1/messages", MESSAGE, authorization=f"Bearer {key}").status == 200
    for path in ("/v1/messages", "/v1/messages/count_tokens"):
        for shown in ({}, {"x_api_key": ""}, {"x_api_key": f"{key}x"}, {"x_api_key": key, "authorization": "Bearer x"}):
            refused = post(url, path, MESSAGE, **shown)
            assert (refused.status, refused.json["error"]["type"]) == (401, "authentication_error")
            assert key not in refused.body.decode()


def test_no_key_of_a_client_is_logged(tmp_path: Path, pair_file: Path) -> None:
    """Where every request fails on our side, so that each is told of."""
    said: list[str] = []
    key = add_key(tmp_path / "keys.txt", "ann")
    text = config_text("http://127.0.0.1:9/v1", pair=pair_file, server='keys = "keys.txt"')
    with gateway(text, folder=tmp_path, log=said.append) as url:
        shown: list[Json] = [{"x_api_key": key}, {"api_key": key}, {"authorization": f"Bearer {key}"}]
        answers = [post(url, "/v1/messages", MESSAGE, **one) for one in shown]
        answers += [post(url, "/v1/messages", MESSAGE, x_api_key=f"{key}x")]
    assert [answer.status for answer in answers] == [502, 502, 502, 401]
    assert len([line for line in said if "502" in line]) == 3
    assert key not in "".join(said) + "".join(answer.body.decode() for answer in answers)


def test_a_key_is_kept_as_a_hash(tmp_path: Path) -> None:
    path = tmp_path / "keys.txt"
    one, other = add_key(path, "one"), add_key(path, "other")
    text = path.read_text()
    assert one not in text
    assert other not in text
    assert list(read_keys(path)) == ["one", "other"]
    assert path.stat().st_mode & 0o077 == 0
    with pytest.raises(InputError, match="'one' cannot be the name"):
        add_key(path, "one")
    path.write_text(f"{text}three {one}\n")
    with pytest.raises(InputError, match=r"keys\.txt, line 4") as error:
        read_keys(path)
    assert one not in f"{error.value} {error.value.hint}"


def test_sizes_are_limited(keyed: tuple[str, str]) -> None:
    url, key = keyed
    shown = {"authorization": f"Bearer {key}"}
    assert post(url, "/v1/completions", {**ASKED, "prompt": "a" * 501}, **shown).status == 400
    assert post(url, "/v1/completions", {**ASKED, "prompt": [1] * 501}, **shown).status == 400
    assert post(url, "/v1/completions", {**ASKED, "junk": "a" * 20000}, **shown).status == 413
    assert post(url, "/v1/completions", {**ASKED, "max_tokens": 50_000}, **shown).status == 400


@pytest.mark.parametrize(
    ("header", "status"),
    [
        ({"origin": "https://evil.example"}, 403),
        ({"origin": "null"}, 403),
        ({"host": "evil.example"}, 403),
        ({"host": "127.0.0.1.evil.example:80"}, 403),
        ({"host": "localhost:1234"}, 200),
        ({"host": "[::1]:80"}, 200),
    ],
)
def test_a_browser_on_this_machine_is_no_way_in(served: str, header: Json, status: int) -> None:
    answer = call(served, "/v1/models", **header)
    assert answer.status == status
    assert "access-control-allow-origin" not in answer.headers


def test_web_pages_may_ask_where_they_are_named(upstream: str, pair_file: Path) -> None:
    text = config_text(upstream, pair=pair_file, server='cors_origins = ["https://chat.example"]')
    with gateway(text) as url:
        allowed = call(url, "/v1/models", origin="https://chat.example")
        assert allowed.headers["access-control-allow-origin"] == "https://chat.example"
        before: Json = {"origin": "https://chat.example", "access_control_request_method": "POST"}
        assert call(url, "/v1/chat/completions", method="OPTIONS", **before).status == 200
        assert call(url, "/v1/models", origin="https://other.example").status == 403


OF_SDK = (
    "authorization",
    "content-type",
    *(f"x-stainless-{name}" for name in ("arch", "lang", "os", "package-version", "retry-count", "runtime", "timeout")),
    "x-stainless-helper-method",
    "openai-organization",
    "idempotency-key",
    "x-title",
)
"""What OpenAI's SDK for JavaScript asks for in a page, and others of its kind."""


@pytest.mark.parametrize("private", [False, True])
def test_a_page_that_may_ask_may_use_any_client(upstream: str, pair_file: Path, *, private: bool) -> None:
    """Each header of its preflight is granted; a page of another origin is granted nothing."""
    text = config_text(upstream, pair=pair_file, server='cors_origins = ["https://chat.example"]')
    before: Json = {"access_control_request_method": "POST", "access_control_request_headers": ",".join(OF_SDK)}
    if private:
        before["access_control_request_private_network"] = "true"
    with gateway(text) as url:
        for path in ("/v1/chat/completions", "/v1/models", "/openai/v1/chat/completions"):
            granted = call(url, path, method="OPTIONS", origin="https://chat.example", **before)
            assert granted.status == 200
            assert set(OF_SDK) <= {name.strip() for name in granted.headers["access-control-allow-headers"].split(",")}
            assert granted.headers["access-control-allow-origin"] == "https://chat.example"
            assert "access-control-allow-credentials" not in granted.headers
            assert granted.headers.get("access-control-allow-private-network") == ("true" if private else None)
            refused = call(url, path, method="OPTIONS", origin="https://evil.example", **before)
            assert refused.status == 403
            assert not [name for name in refused.headers if name.startswith("access-control")]
        told = post(url, "/v1/completions", ASKED, origin="https://chat.example", x_stainless_lang="js")
        assert told.status == 200
        assert "retry-after" in told.headers["access-control-expose-headers"]


def test_no_key_of_the_upstream_and_no_address_leaves(pair_file: Path) -> None:
    """An upstream that nobody serves, with a key: the log has its address, the client nothing, and nobody the key."""
    said: list[str] = []
    upstream = 'api_key_env = "UPSTREAM_KEY"\ntimeout = 5'
    text = config_text("http://127.0.0.1:9/secret-path/v1", pair=pair_file, upstream=upstream)
    with gateway(text, environ={"UPSTREAM_KEY": OF_UPSTREAM}, log=said.append) as url:
        answers = [post(url, "/v1/completions", {**ASKED, "stream": stream}) for stream in (False, True)]
        answers += [call(url, "/v1/models"), call(url, "/health"), call(url, "/nowhere")]
    assert [answer.status for answer in answers] == [502, 502, 200, 200, 404]
    for answer in answers:
        told = f"{answer.headers} {answer.body.decode()}"
        assert OF_UPSTREAM not in told
        assert "secret-path" not in told
        assert "Traceback" not in told
    failures = [line for line in said if "502" in line]
    assert len(failures) == 2
    assert all("secret-path" in line and answers[n].headers["x-request-id"] in line for n, line in enumerate(failures))
    assert OF_UPSTREAM not in "".join(said)


def check(found: Found) -> None:
    """Most malformed requests reached a reader of bodies, which refused them; right ones were answered."""
    assert found.wrong.keys() <= {400, 404, 405}, found
    assert found.share >= 0.8, found
    assert found.wrong[400] >= 0.9 * found.reached, found
    assert set(found.right) == {200}, found


def test_nonsense_is_refused(served: str) -> None:
    found = fuzz(served, 600, seed=1)
    check(found)
    assert found.right[200] == 12


@pytest.mark.parametrize(
    ("head", "body", "status"),
    [
        ("content-length: 5", "{}", None),
        ("content-length: -1", "{}", b"400"),
        ("content-length: x", "{}", b"400"),
        ("content-length: 2\r\ncontent-length: 3", "{}", b"400"),
        ("content-length: 99999999999999999999999", "{}", b"400"),
        ("content-length: 1", "{}", b"400"),
        ("transfer-encoding: chunked", "x\r\n{}\r\n0\r\n\r\n", b"400"),
        ("transfer-encoding: chunked", "ffffffffffffffffffff\r\n{}", None),
        ("transfer-encoding: gzip", "{}", b"400"),
    ],
)
def test_a_wrong_length_is_no_hang(served: str, head: str, body: str, status: bytes | None) -> None:
    """A body that does not come whole is no answer, and no harm: the client leaves, others are served."""
    where = urlsplit(served)
    start = f"POST /v1/completions HTTP/1.1\r\nhost: localhost\r\n{head}\r\n\r\n{body}"
    with socket.create_connection((where.hostname, where.port), timeout=30) as connection:
        connection.sendall(start.encode())
        if status is not None:
            assert connection.recv(100).split(b" ")[1] == status
    assert post(served, "/v1/completions", ASKED).status == 200


@pytest.mark.parametrize(
    "change",
    [
        {"steering": {"\ud800": 1}},
        {"model": "\ud800"},
        {"metadata": {"\udfff": 1}},
        {"steering": {"gate": "\ud800"}},
        {"steering": {"schedule": "\ud800"}},
        {"bad_words": ["\ud800"]},
    ],
)
def test_an_error_about_half_a_surrogate_pair_is_sent(served: str, change: Json) -> None:
    refused = post(served, "/v1/completions", {**ASKED, **change})
    assert refused.status == 400
    assert refused.error["message"]


def test_what_is_no_http_is_refused(served: str) -> None:
    where = urlsplit(served)
    head = b"GET / HTTP/1.1\r\n"
    for raw in (b"\x00\x01\r\n\r\n", head + b"Host: a\r\nHost: b\r\n\r\n", head + b"X: " + b"a" * 10**5):
        with socket.create_connection((where.hostname, where.port), timeout=30) as connection:
            connection.sendall(raw)
            assert connection.recv(100).split(b" ")[1] in {b"400", b"403", b"431"}
    assert call(served, "/health").status == 200


@pytest.mark.slow
def test_much_nonsense_leaves_nothing_behind(served: str) -> None:
    """No status of 500 on, no hang, and no memory kept: servers and client are one process here."""
    fuzz(served, 2000, seed=2)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    found = fuzz(served, 20_000, seed=3)
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
    print(f"20,000 malformed requests: {dict(sorted(found.wrong.items()))}, {grown:.1f} MiB more")
    check(found)
    assert grown <= 32
    assert found.right[200] == 400
