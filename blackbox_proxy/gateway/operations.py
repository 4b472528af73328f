"""What whoever operates the server has: whether it is ready, limits, and those that watch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol, final

from blackbox_proxy.gateway.cache.caching import ReplyCache
from blackbox_proxy.gateway.health import Readiness
from blackbox_proxy.gateway.limits.limiting import RateLimiter
from blackbox_proxy.gateway.watching.events import Watches


class Exposition(Protocol):
    """Writes metrics."""

    def exposition(self, accept: str) -> tuple[bytes, str]:
        """All figures as text, and the type of that. accept: what the client does."""


@final
@dataclass(frozen=True, slots=True)
class Operations:
    """readiness: says whether answers may begin. limiter: holds the limits of keys. watches: are told what happens.

    metrics: what `/metrics` answers; None: there is no such route. cache: replies that are given again; None keeps
    none.
    """

    readiness: Readiness
    limiter: RateLimiter
    watches: Watches
    metrics: Exposition | None = None
    cache: ReplyCache | None = None
