"""Whether this server runs, and whether it can answer now: two routes for whoever starts and stops servers.

Neither needs a key, and neither says more than the names of what is missing.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import final

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from blackbox_proxy.errors import LedgerError
from blackbox_proxy.gateway.failures import RETRY
from blackbox_proxy.ledger.books import Ledger
from blackbox_proxy.openai_http.fields import Refusal

PATIENCE = 2.0
"""Seconds that a ledger may take to be written to; another process that writes holds it for less."""

_PATH = re.compile(r"(?:/openai)?(?:/v1)?/health(?:/live|/ready)?/?")

STARTING = "The models are being loaded. Please try again later."
DRAINING = "The server is shutting down. Please try again later."


@final
class Readiness:
    """What this server needs to answer: its pairs, its ledger, and that it does not end. For one event loop.

    check: writes to the ledger, and raises LedgerError where that is refused; None where nothing is booked. patience:
    seconds that it may take.
    """

    def __init__(self, check: Callable[[], object] | None = None, *, patience: float = PATIENCE) -> None:
        self._check = check
        self._patience = patience
        self._checking: asyncio.Future[bool] | None = None
        self._pool = ThreadPoolExecutor(1, "ledger-check")  # the pairs' threads may all be busy for a while
        self._loaded = self._draining = False

    def load(self) -> None:
        """The pairs are loaded."""
        self._loaded = True

    def drain(self) -> None:
        """No answer begins from now on."""
        self._draining = True

    def refusal(self, path: str) -> Refusal | None:
        """Why a request is not answered now; None where it is. The routes of this module always are."""
        if (self._loaded and not self._draining) or _PATH.fullmatch(path):
            return None
        said, code = (DRAINING, "shutting_down") if self._draining else (STARTING, "starting")
        return Refusal(said, status=503, code=code, wait=RETRY)

    async def missing(self) -> list[str]:
        """What keeps this server from answering, by name: `pairs`, `ledger`, `draining`."""
        checks = {
            "pairs": self._loaded,
            "ledger": not self._loaded or await self._is_writable(),
            "draining": not self._draining,
        }
        return [name for name, holds in checks.items() if not holds]

    async def _is_writable(self) -> bool:
        """Whether the ledger takes rows. Of many who ask at a time one looks; none waits longer than the patience."""
        if self._checking is None or self._checking.done():
            self._checking = asyncio.get_running_loop().run_in_executor(self._pool, self._writes)
        done, _ = await asyncio.wait([self._checking], timeout=self._patience)
        return bool(done) and self._checking.result()

    def _writes(self) -> bool:
        try:
            if self._check is not None:
                self._check()
        except LedgerError:
            return False
        return True


def ledger_check(ledger: Ledger | None) -> Callable[[], object] | None:
    """Takes the right to write into the ledger, and changes no row: none has the number 0."""
    return None if ledger is None else lambda: ledger.store.accepted(0, kept=0, wasted=0)


@final
class HealthEndpoints:
    """The handlers."""

    def __init__(self, readiness: Readiness) -> None:
        self._readiness = readiness

    async def health(self, _request: Request) -> Response:
        return JSONResponse({"status": "ok"})

    async def live(self, _request: Request) -> Response:
        return JSONResponse({"status": "live"})

    async def ready(self, _request: Request) -> Response:
        missing = await self._readiness.missing()
        if not missing:
            return JSONResponse({"status": "ready"})
        body = {"status": "not ready", "not_ready": missing}
        return JSONResponse(body, status_code=503, headers={"retry-after": str(RETRY)})
