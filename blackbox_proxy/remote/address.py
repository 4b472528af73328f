"""Where an API lives and with which key it is asked: both checked before anything is sent.

A key is never shown: not in `repr`, not in an error. The module knows no network and no environment; the name of the
environment variable is only for messages.
"""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass, field
from urllib.parse import SplitResult, urlsplit

from blackbox_proxy.errors import InputError

_PLACEHOLDER = "no-key-needed"
_SHORTEST = 4
_CONTROL = re.compile(r"[\s\x00-\x1f\x7f-\x9f]+")


@dataclass(frozen=True, slots=True)
class Address:
    """A base URL, used as it is, and its key. `shown` is the URL without its query, for messages."""

    base_url: str
    shown: str
    local: bool
    key_name: str
    key: str = field(repr=False)

    def clean(self, text: str) -> str:
        """Foreign text on one line, without the key and without control characters (a terminal may obey them)."""
        line = _CONTROL.sub(" ", text).strip()
        secret = self.key if self.key != _PLACEHOLDER and len(self.key) >= _SHORTEST else ""
        return line.replace(secret, "[key]") if secret else line


def read_address(base_url: str, key: str | None, *, key_name: str = "OPENAI_API_KEY") -> Address:
    """Checks both parts. Only an address of this machine may go without a key. Raises `InputError`."""
    parts = _split(base_url)
    host = parts.hostname or ""
    local = _is_loopback(host)
    return Address(
        base_url=base_url,
        shown=f"{parts.scheme}://{parts.netloc}{parts.path}",
        local=local,
        key_name=key_name,
        key=_checked_key((key or "").strip(), host=host, key_name=key_name, needed=not local),
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
    return key or _PLACEHOLDER


def _is_loopback(host: str) -> bool:
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
