"""Where an API lives and with which key it is asked: both checked before anything is sent.

A key is never shown: not in `repr`, not in an error. The module knows no network and no environment; the name of the
environment variable is only for messages.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from urllib.parse import SplitResult, parse_qsl, urlsplit, urlunsplit

from blackbox_proxy.errors import InputError

PLACEHOLDER = "no-key-needed"
"""Sent where no key is needed, or nothing is sent at all; no secret."""

_SHORTEST = 4
_CONTROL = re.compile(r"[\s\x00-\x1f\x7f-\x9f]+")


@dataclass(frozen=True, slots=True)
class Address:
    """A base URL and its key.

    base_url: without its query, since paths are put behind it; query: what every request carries (Azure's
    `api-version`). shown: the URL for messages. key_header: the header that the key goes into as it is; "" for
    `Authorization: Bearer`.
    """

    base_url: str
    shown: str
    local: bool
    key_name: str
    key: str = field(repr=False)
    query: Mapping[str, str] = field(default_factory=dict, repr=False)
    key_header: str = ""

    def clean(self, text: str) -> str:
        """Foreign text on one line, without the key and without control characters (a terminal may obey them)."""
        line = _CONTROL.sub(" ", text).strip()
        secret = self.key if self.key != PLACEHOLDER and len(self.key) >= _SHORTEST else ""
        return line.replace(secret, "[key]") if secret else line


def read_address(base_url: str, key: str | None, *, key_name: str = "OPENAI_API_KEY", key_header: str = "") -> Address:
    """Checks both parts. Only an address of this machine may go without a key. Raises `InputError`."""
    parts = _split(base_url)
    host = parts.hostname or ""
    local = _is_loopback(host)
    return Address(
        base_url=urlunsplit(parts._replace(query="", fragment="")) if parts.query or parts.fragment else base_url,
        shown=f"{parts.scheme}://{parts.netloc}{parts.path}",
        local=local,
        key_name=key_name,
        key=_checked_key((key or "").strip(), host=host, key_name=key_name, needed=not local),
        query=dict(parse_qsl(parts.query, keep_blank_values=True)),
        key_header=key_header,
    )


def _split(base_url: str) -> SplitResult:
    parts = _parsed(base_url)
    if parts is None or _CONTROL.search(base_url):
        raise InputError(
            f"the base URL {_CONTROL.sub(' ', base_url)!r} is not a web address",
            hint="write it as https://api.example.com/v1 or http://127.0.0.1:8000/v1",
        )
    if parts.username is not None or parts.password is not None:
        raise InputError(
            f"the base URL for {parts.hostname} holds a user name or a password",
            hint="leave them out; the key comes from the environment",
        )
    return parts


def _parsed(base_url: str) -> SplitResult | None:
    """The URL's parts if a request could be sent there."""
    try:
        parts = urlsplit(base_url)
        usable = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        return None
    return parts if usable else None


def _checked_key(key: str, *, host: str, key_name: str, needed: bool) -> str:
    if not key and needed:
        raise InputError(
            f"{host} needs a key, but {key_name} is not set", hint=f"set the environment variable {key_name}"
        )
    if not all("!" <= character <= "~" for character in key):
        raise InputError(
            f"the key in {key_name} holds a character that no key can hold",
            hint="copy it again; a key is one line of letters, digits and signs",
        )
    return key or PLACEHOLDER


def _is_loopback(host: str) -> bool:
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
