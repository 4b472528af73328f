"""Keys that clients show: made at random, kept as hashes, compared in constant time.

A key has 256 bits of chance, so one SHA-256 is as good as a slow hash: there is nothing to guess. A key file has one
line a key, `NAME sha256:HEX`, behind which its limits may stand (`requests_per_minute=60`); `#` begins a remark. No
message of this module holds a key.
"""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import final

from blackbox_proxy.core.money.amounts import plain
from blackbox_proxy.errors import InputError
from blackbox_proxy.files import read_text, replace_text
from blackbox_proxy.gateway.limits.rates import NO_LIMITS, KeyLimits
from blackbox_proxy.openai_http.fields import Refusal

PREFIX = "bbp-"
SHORTEST = 16
"""Fewest characters of a key that a user brings along."""

LONGEST = 512
"""Most bytes of a key that are looked at."""

LONGEST_NUMBER = 15
"""Most digits of a limit."""

_LINE = re.compile(r"(?P<name>[A-Za-z0-9._-]{1,64}) sha256:(?P<digest>[0-9a-f]{64})(?P<limits>( [a-z_]+=[0-9.]+)*)")


def hashed(key: str) -> str:
    """A key as it is kept."""
    return hashlib.sha256(key.encode("utf-8", "surrogateescape")).hexdigest()


@dataclass(frozen=True, slots=True)
class KeyEntry:
    """A key as it is kept: its hash, and the limits that are its alone."""

    digest: str = field(repr=False)
    limits: KeyLimits = NO_LIMITS


@final
@dataclass(frozen=True, slots=True)
class Keys:
    """Who may ask, and how much.

    entries: by the names of the keys; without any everybody may. default: what holds for a key that has no limits, and
    for everybody together where no key is asked for.
    """

    entries: Mapping[str, KeyEntry] = field(default_factory=dict)
    default: KeyLimits = NO_LIMITS

    def __bool__(self) -> bool:
        return bool(self.entries)

    def limits(self, name: str) -> KeyLimits:
        """What holds for the key of a name; "" for everybody where no key is asked for."""
        entry = self.entries.get(name)
        return self.default if entry is None else entry.limits.over(self.default)

    def owner(self, name: str) -> str:
        """Whom what a key of a name did is kept under: it is the same key in every process."""
        entry = self.entries.get(name)
        return "" if entry is None else entry.digest

    def admit(self, header: str | None) -> str:
        """The name of the key that an Authorization header shows, "" where none is needed. Raises Refusal (401)."""
        if not self.entries:
            return ""
        scheme, _, shown = (header or "").partition(" ")
        key = shown.strip()
        if scheme.lower() != "bearer" or not key:
            raise Refusal("You didn't provide an API key: send 'Authorization: Bearer KEY'.", status=401)
        digest = hashlib.sha256(key.encode("latin-1", "replace")[:LONGEST]).hexdigest()
        # Every key is compared, so that the time tells nothing of which one, or whether any, agreed.
        names = [name for name, kept in self.entries.items() if hmac.compare_digest(digest, kept.digest)]
        if not names:
            raise Refusal("Incorrect API key provided.", status=401, code="invalid_api_key")
        return names[0]


def read_keys(path: Path) -> dict[str, KeyEntry]:
    """The keys of a file by name. Raises InputError with file and line, and without what stands there."""
    try:
        lines = read_text(path).split("\n")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
        raise InputError(
            f"cannot read the key file {path}: {reason}", hint="`blackbox-proxy keys add NAME` makes one"
        ) from None
    entries: dict[str, KeyEntry] = {}
    for number, line in enumerate(lines, 1):
        text = line.partition("#")[0].strip()
        if not text:
            continue
        read = _LINE.fullmatch(text)
        limits = None if read is None else _limits_of(read["limits"])
        if read is None or limits is None or read["name"] in entries:
            raise InputError(
                f"{path}, line {number}: this is not NAME sha256:HEX with limits, or the name is there twice",
                hint="`blackbox-proxy keys add NAME` writes such lines; a key itself does not belong there",
            )
        entries[read["name"]] = KeyEntry(read["digest"], limits)
    return entries


def _limits_of(text: str) -> KeyLimits | None:
    """The limits that stand behind a key; None where they are none."""
    pairs = [part.split("=") for part in text.split()]
    said = {name: read_amount(name, value) for name, value in pairs}
    if len(said) < len(pairs) or None in said.values():
        return None
    return KeyLimits(**said)  # type: ignore[arg-type]  # each field by its own name


def read_amount(name: str, text: str) -> int | Decimal | None:
    """The value of a limit; None where there is no such limit, or where the text is no value of it."""
    if name not in KeyLimits.__dataclass_fields__:
        return None
    if name == "max_cost":
        try:
            amount = Decimal(text)
        except InvalidOperation:
            return None
        return amount if amount.is_finite() and amount >= 0 else None
    least = 0 if name == "max_calls" else 1
    return int(text) if text.isdecimal() and len(text) <= LONGEST_NUMBER and int(text) >= least else None


def limits_text(limits: KeyLimits) -> list[str]:
    """Limits as they stand behind a key."""
    return [f"{name}={plain(value) if isinstance(value, Decimal) else value}" for name, value in limits.given().items()]


def _line_of(name: str, entry: KeyEntry) -> str:
    """A key as a line of the file."""
    return " ".join([name, f"sha256:{entry.digest}", *limits_text(entry.limits)])


def limit_key(path: Path, name: str, limits: KeyLimits) -> None:
    """Put limits behind a key in place of those that it had. Raises InputError where the file has no such key."""
    known = read_keys(path)
    if name not in known:
        raise InputError(f"{path} has no key {name!r}", hint=f"it has: {', '.join(known)}")
    line = _line_of(name, KeyEntry(known[name].digest, limits))
    kept = [line if one.split(" ", 1)[0] == name else one for one in read_text(path).split("\n")]
    replace_text(path, "\n".join(kept))
    path.chmod(0o600)


def add_key(path: Path, name: str, limits: KeyLimits = NO_LIMITS) -> str:
    """Make a key, keep its hash in the file with its limits, and give the key: it can be shown this once."""
    known = read_keys(path) if path.exists() else {}
    key = PREFIX + secrets.token_urlsafe(32)
    line = _line_of(name, KeyEntry(hashed(key), limits))
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
