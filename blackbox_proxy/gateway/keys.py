"""Keys that clients show: made at random, kept as hashes, compared in constant time.

A key has 256 bits of chance, so one SHA-256 is as good as a slow hash: there is nothing to guess. A key file has one
line a key, `NAME sha256:HEX`; `#` begins a remark. No message of this module holds a key.
"""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import final

from blackbox_proxy.errors import InputError
from blackbox_proxy.files import read_text, replace_text
from blackbox_proxy.openai_http.fields import Refusal

PREFIX = "bbp-"
SHORTEST = 16
"""Fewest characters of a key that a user brings along."""

LONGEST = 512
"""Most bytes of a key that are looked at."""

_LINE = re.compile(r"(?P<name>[A-Za-z0-9._-]{1,64}) sha256:(?P<digest>[0-9a-f]{64})")


def hashed(key: str) -> str:
    """A key as it is kept."""
    return hashlib.sha256(key.encode("utf-8", "surrogateescape")).hexdigest()


@final
@dataclass(frozen=True, slots=True)
class Keys:
    """Who may ask. digests: hashes by the names of their keys; without any everybody may."""

    digests: Mapping[str, str] = field(default_factory=dict, repr=False)

    def __bool__(self) -> bool:
        return bool(self.digests)

    def admit(self, header: str | None) -> str:
        """The name of the key that an Authorization header shows, "" where none is needed. Raises Refusal (401)."""
        if not self.digests:
            return ""
        scheme, _, shown = (header or "").partition(" ")
        key = shown.strip()
        if scheme.lower() != "bearer" or not key:
            raise Refusal("You didn't provide an API key: send 'Authorization: Bearer KEY'.", status=401)
        digest = hashlib.sha256(key.encode("latin-1", "replace")[:LONGEST]).hexdigest()
        # Every key is compared, so that the time tells nothing of which one, or whether any, agreed.
        names = [name for name, kept in self.digests.items() if hmac.compare_digest(digest, kept)]
        if not names:
            raise Refusal("Incorrect API key provided.", status=401, code="invalid_api_key")
        return names[0]


def read_keys(path: Path) -> dict[str, str]:
    """The hashes of a key file by name. Raises InputError with file and line, and without what stands there."""
    try:
        lines = read_text(path).split("\n")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
        raise InputError(
            f"cannot read the key file {path}: {reason}", hint="`blackbox-proxy keys add NAME` makes one"
        ) from None
    digests: dict[str, str] = {}
    for number, line in enumerate(lines, 1):
        text = line.partition("#")[0].strip()
        if not text:
            continue
        read = _LINE.fullmatch(text)
        if read is None or read["name"] in digests:
            raise InputError(
                f"{path}, line {number}: this is not NAME sha256:HEX, or the name is there twice",
                hint="`blackbox-proxy keys add NAME` writes such lines; a key itself does not belong there",
            )
        digests[read["name"]] = read["digest"]
    return digests


def add_key(path: Path, name: str) -> str:
    """Make a key, keep its hash in the file, and give the key: it can be shown this once."""
    known = read_keys(path) if path.exists() else {}
    key = PREFIX + secrets.token_urlsafe(32)
    line = f"{name} sha256:{hashed(key)}"
    if _LINE.fullmatch(line) is None or name in known:
        raise InputError(
            f"{name!r} cannot be the name of a new key",
            hint="take one that is not in the file, of letters, digits, dots, hyphens and underscores",
        )
    before = read_text(path) if path.exists() else "# NAME sha256:HEX; the keys are kept nowhere\n"
    replace_text(path, before.rstrip("\n") + "\n" + line + "\n")
    path.chmod(0o600)
    return key


def user_key(key: str, *, variable: str) -> str:
    """The hash of a key that the user chose. Raises InputError where it is too short to be one."""
    if len(key) < SHORTEST:
        raise InputError(
            f"the key in {variable} has {len(key)} characters; clients' keys have at least {SHORTEST}",
            hint="`blackbox-proxy keys add NAME` makes one that nobody can guess",
        )
    return hashed(key)
