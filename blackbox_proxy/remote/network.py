"""The way to a host, as the environment sets it: through which proxy, and by which certificates it is verified.

The HTTP library would read the same variables by itself; it raises on those that it cannot use, and says neither which
variable nor what to do. Its own reading is off. Of a proxy only scheme, host and port are shown: its address may hold a
password.
"""

from __future__ import annotations

import ipaddress
import os
import re
import ssl
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import SplitResult, unquote, urlsplit

from blackbox_proxy.errors import InputError

SOCKS = ("socks5", "socks5h")
SCHEMES = ("http", "https", *SOCKS)
"""Schemes of proxies that the HTTP library speaks; those of SOCKS only with the package socksio."""

_ENTRY = re.compile(r"(?:\[(?P<six>[^\]]+)\]|(?P<name>[^:/\[\]]+))(?P<range>/[0-9.]+)?(?::(?P<port>[0-9]{1,5}))?")
"""An entry of NO_PROXY; IPv6 without brackets is none of these, and is read as it is."""


@dataclass(frozen=True, slots=True)
class Proxy:
    """A proxy. url: as the HTTP library takes it; shown: without what may be secret; variable: which one names it."""

    url: str = field(repr=False)
    shown: str
    variable: str

    @property
    def secrets(self) -> tuple[str, ...]:
        """The user's name and password in its address, where there are any, also together."""
        account = urlsplit(self.url).netloc.rpartition("@")[0]
        parts = [account, *account.split(":", 1)] if account else []
        return tuple({spelling for part in parts for spelling in (part, unquote(part))})


def proxy_for(url: str, settings: Mapping[str, str], environ: Mapping[str, str], *, socks: bool) -> Proxy | None:
    """The proxy for requests to `url`, or None. Raises InputError for one that cannot be used.

    settings: proxies by scheme, exceptions under "no", as `urllib.request.getproxies` gives them. environ: only for the
    variable's name. socks: whether the package socksio is there.
    """
    parts = urlsplit(url)
    scheme = next((one for one in (parts.scheme, "all") if settings.get(one)), "")
    host = parts.hostname or ""
    if not scheme or is_excepted(host, settings.get("no", ""), scheme=parts.scheme, port=_port(parts)):
        return None
    given = settings[scheme].strip()
    return _checked(given if "://" in given else f"http://{given}", _variable(scheme, environ), host=host, socks=socks)


def _checked(given: str, variable: str, *, host: str, socks: bool) -> Proxy:
    without = f"leave {host} out of the proxy's hosts by NO_PROXY={host}, or unset {variable}"
    parts = _split(given)
    if parts is None:
        raise InputError(
            f"the proxy in {variable} is not an address", hint=f"write it as http://host:port; or {without}"
        )
    shown = f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}"
    if parts.scheme not in SCHEMES:
        raise InputError(
            f"the proxy {shown} in {variable} has the scheme {parts.scheme!r}, which is not supported",
            hint=f"write it with {', '.join(f'{one}://' for one in SCHEMES)}; or {without}",
        )
    if parts.scheme in SOCKS and not socks:
        raise InputError(
            f"the proxy {shown} in {variable} needs the package socksio, which is not installed",
            hint=f"`pip install socksio`; or {without}",
        )
    return Proxy(given, shown, variable)


def _split(url: str) -> SplitResult | None:
    try:
        parts = urlsplit(url)
        return parts if parts.hostname and parts.port != 0 and url.isprintable() and " " not in url else None
    except ValueError:
        return None


def _port(parts: SplitResult) -> int:
    return parts.port or (443 if parts.scheme == "https" else 80)


def _variable(scheme: str, environ: Mapping[str, str]) -> str:
    """The variable that names the proxy; the system's settings may do so on some systems."""
    lower = f"{scheme}_proxy"
    names = [name for name in environ if name.lower() == lower]
    return lower if lower in names or not names else names[0]


def is_excepted(host: str, entries: str, *, scheme: str, port: int) -> bool:
    """Whether NO_PROXY excepts a host: by name, by a domain above it, by address, by a range of addresses, or by `*`.

    An entry may have a port, IPv6 addresses with or without brackets. One that means nothing excepts nothing.
    """
    return any(_excepts(entry, host.lower(), scheme=scheme, port=port) for entry in re.split(r"[,\s]+", entries))


def _excepts(entry: str, host: str, *, scheme: str, port: int) -> bool:
    entry_scheme, marked, rest = entry.rpartition("://")
    if marked and entry_scheme.lower() not in (scheme, "all"):
        return False
    match = _ENTRY.fullmatch(rest.rstrip("/"))
    name, entry_port = rest, None
    if match is not None:
        name, entry_port = (match["six"] or match["name"]) + (match["range"] or ""), match["port"]
    if entry_port is not None and int(entry_port) != port:
        return False
    network = _network(name)
    if network is not None:
        return _holds(network, host)
    domain = name.lower().removeprefix("*").strip(".")
    return name == "*" or (domain != "" and (host == domain or host.endswith(f".{domain}")))


_Network = ipaddress.IPv4Network | ipaddress.IPv6Network


def _network(text: str) -> _Network | None:
    try:
        return ipaddress.ip_network(text, strict=False)
    except ValueError:
        return None


def _holds(network: _Network, host: str) -> bool:
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return False
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return address in network or (mapped is not None and mapped in network)


def certificates(environ: Mapping[str, str]) -> ssl.SSLContext | None:
    """What verifies hosts where the environment names certificates; None where the HTTP library's own do.

    Raises InputError where what it names is not there, or holds none.
    """
    file, folders = environ.get("SSL_CERT_FILE", ""), environ.get("SSL_CERT_DIR", "")
    if file:
        return _loaded("SSL_CERT_FILE", file, fault="" if Path(file).is_file() else "no file is there")
    if folders:
        there = any(Path(one).is_dir() for one in folders.split(os.pathsep))
        return _loaded("SSL_CERT_DIR", folders, fault="" if there else "no folder is there")
    return None


def _loaded(variable: str, path: str, *, fault: str) -> ssl.SSLContext:
    try:
        if not fault and variable == "SSL_CERT_FILE":
            return ssl.create_default_context(cafile=path)
        if not fault:
            return ssl.create_default_context(capath=path)
    except ssl.SSLError:
        fault = "it holds no certificates in PEM"
    except OSError as error:
        if error.filename is not None:  # not the certificates, which OpenSSL opens: the file of SSLKEYLOGFILE
            raise unusable(error) from None
        fault = error.strerror or str(error)
    raise InputError(
        f"the certificates that {variable} names cannot be read from {path!r}: {fault}",
        hint=f"correct the path, or unset {variable}: the HTTP library brings certificates",
    )


@contextmanager
def telling_of_tls() -> Iterator[None]:
    """Raises InputError for settings of TLS in the environment that the system refuses."""
    try:
        yield
    except OSError as error:
        raise unusable(error) from None


def unusable(error: OSError) -> InputError:
    """The error for settings of TLS that the system refuses."""
    return InputError(
        f"the TLS settings of the environment cannot be used: {error}",
        hint="correct or unset SSLKEYLOGFILE, SSL_CERT_FILE and SSL_CERT_DIR",
    )
