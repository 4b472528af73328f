"""What never gets into a cassette: keys, in whatever form they are spelt; and headers that nobody listed. Pure."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Self, cast
from urllib.parse import quote, quote_plus

MARK = "[key]"
"""What stands in a key's place."""

SHORTEST = 4
"""A shorter key is none, and taking it out would take words apart."""

SHORTEST_NAMED = 12
"""Least length of what an environment variable must hold to be taken for a key by its name alone."""

_NAMED = re.compile(r"(KEY|TOKEN|SECRET|PASSWORD|PASSWD|CREDENTIALS?)$", re.IGNORECASE)
_OPEN = frozenset({"api-version"})
"""Fields of an address's query that are no secret."""

_HEADERS = frozenset(
    {"content-type", "date", "openai-processing-ms", "request-id", "retry-after", "retry-after-ms", "x-request-id"}
)
_LIMITS = re.compile(r"(x-)?ratelimit-[a-z0-9-]+|anthropic-ratelimit-[a-z0-9-]+")


def kept_headers(headers: Mapping[str, str]) -> dict[str, str]:
    """The headers of a reply that a cassette keeps, by small names: those that matter, no cookie among them."""
    small = {name.lower(): value for name, value in headers.items()}
    return {name: value for name, value in small.items() if name in _HEADERS or _LIMITS.fullmatch(name)}


@dataclass(frozen=True, slots=True)
class Redactor:
    """Takes secrets out of texts. spelt: all their spellings, the longest first."""

    spelt: tuple[str, ...] = ()

    @classmethod
    def of(
        cls, secrets: Iterable[str], *, query: Mapping[str, str] | None = None, environ: Mapping[str, str] | None = None
    ) -> Self:
        """For these secrets, for what an address carries in its query, and for what the environment holds as a key."""
        secret_values = {secret for secret in secrets if len(secret) >= SHORTEST}
        secret_values |= {
            value for name, value in (query or {}).items() if name not in _OPEN and len(value) >= SHORTEST
        }
        secret_values |= {
            value.strip()
            for name, value in (environ or {}).items()
            if _NAMED.search(name) and len(value.strip()) >= SHORTEST_NAMED and not re.search(r"\s", value.strip())
        }
        spelt = {spelling for secret in secret_values for spelling in _spellings(secret)}
        return cls(tuple(sorted(spelt, key=lambda one: (-len(one), one))))

    def text(self, text: str) -> str:
        """A text without them."""
        for secret in self.spelt:
            text = text.replace(secret, MARK)
        return text

    def raw(self, raw: bytes) -> bytes:
        """Bytes without them."""
        for secret in self.spelt:
            raw = raw.replace(secret.encode("utf-8", "surrogatepass"), MARK.encode())
        return raw

    def value(self, value: object) -> object:
        """A JSON value without them, in the names of fields too."""
        if isinstance(value, str):
            return self.text(value)
        if isinstance(value, Mapping):
            return {self.text(str(name)): self.value(part) for name, part in cast(Mapping[str, object], value).items()}
        if isinstance(value, list | tuple):
            return [self.value(part) for part in value]
        return value


def _spellings(secret: str) -> set[str]:
    """A secret as it is, as JSON and URLs escape it, and as `Authorization: Basic` carries it."""
    escaped = json.dumps(secret)[1:-1]
    encoded = base64.b64encode(secret.encode("utf-8", "surrogatepass")).decode("ascii")
    quoted = (
        quote(secret, safe="", errors="replace"),
        quote_plus(secret, errors="replace"),
        quote(secret, errors="replace"),
    )
    return {secret, escaped, escaped.replace("/", "\\/"), encoded.rstrip("="), *quoted}
