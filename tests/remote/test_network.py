"""Proxies and certificates of the environment: which are taken, which are refused, and in which words."""

from __future__ import annotations

import ipaddress
import os
import socket
import ssl
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from blackbox_proxy.errors import ApiUnreachable, InputError
from blackbox_proxy.remote.network import SCHEMES, SOCKS, certificates, is_excepted, proxy_for
from blackbox_proxy.remote.retry import RetryPolicy
from blackbox_proxy.remote.transport import Transport
from blackbox_proxy.types import WireRequest
from tests.remote.scripted import Say, ScriptedApi

CERTIFICATE = """\
-----BEGIN CERTIFICATE-----
MIIBoTCCAUegAwIBAgIUXeXbHcpa2ezEsIcfdBh0vQW85cIwCgYIKoZIzj0EAwIw
FDESMBAGA1UEAwwJbG9jYWxob3N0MCAXDTI2MTEyOTE0MzgyMFoYDzIxMjYxMTA1
MTQzODIwWjAUMRIwEAYDVQQDDAlsb2NhbGhvc3QwWTATBgcqhkjOPQIBBggqhkjO
PQMBBwNCAASJNNAosl9DiJn49eTsz23SEos/UIs17MuBI69VqCydMC8HNUBtNvuy
BgSz6JNmWHOY8GBFOMVZMUI+V61yIfY/o3UwczAdBgNVHQ4EFgQUg9dWxAcEK50m
83EbnvmZS1++N4YwHwYDVR0jBBgwFoAUg9dWxAcEK50m83EbnvmZS1++N4YwDwYD
VR0TAQH/BAUwAwEB/zAgBgNVHREEGTAXgglsb2NhbGhvc3SHBH8AAAGHBAAAAAAw
CgYIKoZIzj0EAwIDSAAwRQIhAKp0HbtJ6P1KC1vISfCcH5v70eC93kROzyo864RS
W0faAiByfQfxWXHR2NAvqDzalj7HLSK1hQOxNmVaWdSLhT0v5A==
-----END CERTIFICATE-----
"""
"""One that nobody has the key of; it is valid for a hundred years."""

KEY = "sk-of-this-host-0123456789"
REQUEST = WireRequest("/completions", {"model": "m"})
NAMES = ("http_proxy", "https_proxy", "all_proxy", "no_proxy", "ssl_cert_file", "ssl_cert_dir", "sslkeylogfile")


@pytest.fixture(autouse=True)
def nothing_set(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in NAMES:
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)


def excepted(host: str, entries: str, *, scheme: str = "https", port: int = 443) -> bool:
    return is_excepted(host, entries, scheme=scheme, port=port)


@pytest.mark.parametrize(
    ("entries", "hosts", "others"),
    [
        ("*", ["a.example", "::1", "10.0.0.1"], []),
        ("", [], ["a.example", "::1"]),
        ("example.com", ["example.com", "a.example.com", "EXAMPLE.com"], ["badexample.com", "example.com.evil"]),
        (".example.com", ["example.com", "a.example.com"], ["badexample.com"]),
        ("*.example.com", ["a.b.example.com"], ["badexample.com"]),
        ("other, example.com", ["example.com"], ["a.example"]),
        ("a.example b.example", ["a.example", "b.example"], ["c.example"]),
        ("::1", ["::1", "0:0:0:0:0:0:0:1"], ["::2"]),
        ("[::1]", ["::1"], ["::2"]),
        ("[::1]:443", ["::1"], ["::2"]),
        ("[::1]:80", [], ["::1"]),
        ("fe80::/10", ["fe80::1", "febf::1"], ["fec0::1", "fe80.example"]),
        ("[fe80::]/10", ["fe80::1"], ["fec0::1"]),
        ("10.0.0.0/8", ["10.1.2.3", "::ffff:10.1.2.3"], ["11.0.0.1"]),
        ("10.1.2.3/8", ["10.9.9.9"], ["11.0.0.1"]),
        ("10.0.0.0/255.0.0.0", ["10.9.9.9"], ["11.0.0.1"]),
        ("10.0.0.1", ["10.0.0.1"], ["10.0.0.2", "10.0.0.1.example"]),
        ("10.0.0.1:443", ["10.0.0.1"], ["10.0.0.2"]),
        ("example.com:8443", [], ["example.com"]),
        ("https://example.com/", ["example.com"], ["a.example"]),
        ("http://example.com", [], ["example.com"]),
        ("all://*.example.com", ["a.example.com"], ["a.example"]),
    ],
)
def test_who_is_excepted(entries: str, hosts: list[str], others: list[str]) -> None:
    assert [host for host in [*hosts, *others] if excepted(host, entries)] == hosts


@pytest.mark.parametrize(
    "entry", ["[::1", "::1]", "[", "://", "a:b:c", "[::1]:x", "10.0.0.0/99", "fe80::1%eth0", "é", ".", ":80"]
)
def test_an_entry_that_means_nothing_excepts_nothing(entry: str) -> None:
    """Nor does it do harm to the others."""
    assert not excepted("a.example", entry)
    assert not excepted("10.0.0.1", entry)
    assert excepted("a.example", f"{entry},a.example,{entry}")


@given(st.text(max_size=30), st.sampled_from(["a.example", "10.0.0.1", "::1"]))
def test_any_text_can_be_an_exception(entries: str, host: str) -> None:
    assert excepted(host, f"{entries},{host}")
    assert isinstance(excepted(host, entries), bool)


@given(st.ip_addresses(), st.data())
def test_an_address_is_in_its_own_range(
    address: ipaddress.IPv4Address | ipaddress.IPv6Address, data: st.DataObject
) -> None:
    """In each of its spellings; and in a range it is as `ipaddress` says."""
    length = data.draw(st.integers(0, address.max_prefixlen))
    other = data.draw(st.ip_addresses(v=address.version))
    network = ipaddress.ip_network(f"{address}/{length}", strict=False)
    for entry in (str(network), f"{address}/{length}", f"[{address}]/{length}"):
        assert excepted(str(address), entry)
        assert excepted(str(other), entry) == (other in network)


def chosen(url: str, settings: Mapping[str, str], environ: Mapping[str, str] | None = None) -> str | None:
    found = proxy_for(url, settings, environ or {}, socks=True)
    return None if found is None else found.url


def test_the_scheme_of_the_address_chooses_before_all() -> None:
    every = {"http": "http://p1:1", "https": "https://p2:2", "all": "socks5://p3:3", "no": "b.example"}
    assert chosen("http://a.example/v1", every) == "http://p1:1"
    assert chosen("https://a.example/v1", every) == "https://p2:2"
    assert chosen("https://b.example/v1", every) is None
    assert chosen("https://a.example/v1", {"all": "p3:3", "http": "p1:1", "https": ""}) == "http://p3:3"
    assert chosen("https://a.example/v1", {"http": "p1:1", "ftp": "p"}) is None
    assert chosen("https://a.example", {"all": " socks5h://p "}) == "socks5h://p"


@pytest.mark.parametrize("scheme", ["socks", "socks4", "socks4a", "ftp", "quic", "HTTPS+x"])
def test_a_scheme_that_is_not_supported_is_one_sentence(scheme: str) -> None:
    """With the proxy, the variable and what to do; without the password."""
    given_url = f"{scheme}://me:hunter2@proxy.example:1080/"
    with pytest.raises(InputError) as caught:
        proxy_for("https://a.example/v1", {"all": given_url}, {"ALL_PROXY": given_url}, socks=True)
    message = caught.value.message
    assert message.startswith(f"the proxy {scheme.lower()}://proxy.example:1080 in ALL_PROXY has the scheme")
    assert "NO_PROXY=a.example" in caught.value.hint
    assert "hunter2" not in message + caught.value.hint


@pytest.mark.parametrize("scheme", SCHEMES)
def test_socks_needs_a_package(scheme: str) -> None:
    settings = {"https": f"{scheme}://p:1"}
    if scheme not in SOCKS:
        assert proxy_for("https://a.example", settings, {}, socks=False) is not None
        return
    with pytest.raises(InputError, match=f"{scheme}://p:1 in https_proxy needs the package socksio"):
        proxy_for("https://a.example", settings, {}, socks=False)


@pytest.mark.parametrize(
    "text", ["http://", "http://p:x", "http://p:0", "http://[::1", "http://a b:1", "http://p\n:1", "://"]
)
def test_a_proxy_that_is_no_address_is_one_sentence(text: str) -> None:
    with pytest.raises(InputError, match="the proxy in all_proxy is not an address"):
        proxy_for("https://a.example", {"all": text}, {}, socks=True)


def test_a_password_is_not_in_a_repr() -> None:
    found = proxy_for("https://a.example", {"all": "http://me:hunter2@p:1"}, {}, socks=False)
    assert found is not None
    assert found.url == "http://me:hunter2@p:1"
    assert "hunter2" not in repr(found)


def test_a_proxy_is_asked_in_place_of_the_host(monkeypatch: pytest.MonkeyPatch) -> None:
    """With its own password, which the host's key is not sent to in turn."""
    with ScriptedApi(Say({"id": 1})) as proxy:
        monkeypatch.setenv("HTTP_PROXY", f"http://me:hunter2@127.0.0.1:{proxy.server_port}")
        with Transport("http://api.example/v1", KEY) as transport:
            assert transport.send(REQUEST) == {"id": 1}
        path, headers, _ = proxy.seen[0]
    assert path == "http://api.example/v1/completions"
    assert headers["Proxy-Authorization"].startswith("Basic ")


def test_a_proxy_that_does_not_answer_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))
        port = holder.getsockname()[1]
        monkeypatch.setenv("ALL_PROXY", f"http://me:hunter2@127.0.0.1:{port}")
        with Transport("http://api.example/v1", KEY, retry=RetryPolicy(attempts=1)) as transport:
            with pytest.raises(ApiUnreachable) as caught:
                transport.send(REQUEST)
    assert caught.value.message == (
        f"nothing answers at the proxy http://127.0.0.1:{port} (ALL_PROXY): connection refused"
    )


@pytest.mark.parametrize("url", ["http://127.0.0.1:9", "https://localhost:9", "http://[::1]:9"])
def test_this_machine_is_asked_without_a_proxy(monkeypatch: pytest.MonkeyPatch, url: str) -> None:
    """So that one which cannot be used does no harm."""
    monkeypatch.setenv("ALL_PROXY", "socks://p:1")
    assert Transport(url, None).address == url


@pytest.mark.parametrize("url", ["https://a.example/v1", "http://a.example/v1", "https://127.0.0.1:9"])
@pytest.mark.parametrize(
    ("variable", "name", "reason"),
    [
        ("SSL_CERT_FILE", "missing.pem", "no file is there"),
        ("SSL_CERT_FILE", "folder", "no file is there"),
        ("SSL_CERT_FILE", "text.pem", "it holds no certificates in PEM"),
        ("SSL_CERT_DIR", "missing", "no folder is there"),
        ("SSL_CERT_DIR", "text.pem", "no folder is there"),
    ],
)
def test_certificates_that_are_not_there_are_one_sentence(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, url: str, variable: str, name: str, reason: str
) -> None:
    """Before anything is sent, and with the path."""
    (tmp_path / "folder").mkdir()
    (tmp_path / "text.pem").write_text("no certificate")
    path = str(tmp_path / name)
    monkeypatch.setenv(variable, path)
    with pytest.raises(InputError) as caught:
        Transport(url, KEY)
    assert caught.value.message == f"the certificates that {variable} names cannot be read from {path!r}: {reason}"
    assert f"unset {variable}" in caught.value.hint


def test_certificates_that_are_there_are_taken(tmp_path: Path) -> None:
    file = tmp_path / "ca.pem"
    file.write_text(CERTIFICATE)
    context = certificates({"SSL_CERT_FILE": str(file), "SSL_CERT_DIR": "/nowhere"})
    assert context is not None
    assert [one["subject"] for one in context.get_ca_certs()] == [((("commonName", "localhost"),),)]
    assert context.verify_mode == ssl.CERT_REQUIRED
    assert context.check_hostname
    assert certificates({"SSL_CERT_DIR": f"/nowhere{os.pathsep}{tmp_path}"}) is not None
    assert certificates({"SSL_CERT_FILE": "", "SSL_CERT_DIR": ""}) is None


def test_plain_http_to_this_machine_needs_no_certificates(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", "/nowhere/ca.pem")
    with ScriptedApi(Say({"id": 1})) as api, Transport(api.url, None) as transport:
        assert transport.send(REQUEST) == {"id": 1}


def test_a_key_log_that_cannot_be_written_is_one_sentence(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Python opens it whenever a context is made by `ssl.create_default_context`."""
    path, file = str(tmp_path / "missing" / "keys.log"), tmp_path / "ca.pem"
    file.write_text(CERTIFICATE)
    monkeypatch.setenv("SSL_CERT_FILE", str(file))
    monkeypatch.setenv("SSLKEYLOGFILE", path)
    with pytest.raises(InputError, match="the TLS settings of the environment cannot be used") as caught:
        with Transport("https://a.example/v1", KEY) as transport:
            transport.send(REQUEST)
    assert path in caught.value.message


@pytest.mark.parametrize(
    "settings",
    [
        {"ALL_PROXY": "socks://127.0.0.1:9/", "all_proxy": "socks://127.0.0.1:9/"},
        {"https_proxy": "socks5://me:hunter2@127.0.0.1:9"},
        {"HTTPS_PROXY": "http://"},
        {"SSL_CERT_FILE": "/nowhere/ca.pem"},
        {"SSL_CERT_DIR": "/nowhere"},
    ],
    ids="-".join,
)
def test_the_command_line_ends_with_a_sentence(tmp_path: Path, settings: Mapping[str, str]) -> None:
    """One line, and one with what to do; no traceback, no password."""
    environ = {**os.environ, "OPENAI_API_KEY": KEY, "XDG_CONFIG_HOME": str(tmp_path), **settings}
    command = ["doctor", "--base-url", "https://api.example/v1", "--model", "m", "--yes", "--no-write"]
    done = subprocess.run(
        [sys.executable, "-m", "blackbox_proxy", *command],
        env=environ,
        text=True,
        capture_output=True,
        timeout=60,
        check=False,
    )
    said = done.stderr.strip().splitlines()
    assert done.returncode == 2, done.stderr
    assert [line.partition(":")[0] for line in said[-2:]] == ["error", "hint"]
    assert next(iter(settings)).lower() in said[-2].lower() + said[-1].lower()
    assert "Traceback" not in done.stderr
    assert "hunter2" not in done.stderr
