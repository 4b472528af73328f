"""Which replies are kept, under what, and what a reply that is given again says of itself.

Only greedy answers, since others are drawn anew each time; and only what the first upstream answered whole.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import logging
import re
import secrets
from collections.abc import AsyncGenerator, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import aclosing
from dataclasses import replace
from importlib.metadata import version
from typing import Any, final

from blackbox_proxy.errors import LedgerError
from blackbox_proxy.gateway.answering import AnswerTask, GatewayTally
from blackbox_proxy.gateway.cache.keeping import ReplyStore
from blackbox_proxy.gateway.models import SteeredModel
from blackbox_proxy.openai_http.fields import Body
from blackbox_proxy.openai_http.frames import Chunk, NamedEvent

_LOG = logging.getLogger(__name__)

CACHE = "x-steering-cache"
"""The header of a reply that is given again; its value is `hit`."""

_WHO = ("user", "metadata")
"""Fields that say who asks, and change no answer."""

_KEPT = frozenset({"stop", "stop_string", "length", "repetition"})
"""How the answers of a reply ended that is kept."""

_FREE = {
    "requests": 0,
    "prompt_tokens": 0,
    "cached_tokens": 0,
    "completion_tokens": 0,
    "wasted_tokens": 0,
    "lost_requests": 0,
    "local_seconds": 0.0,
    "cost_usd": "0",
    "cached": True,
}
"""What `usage.steering` says of a reply that took nothing."""

_ID = re.compile(r'"id":\s?"((?:chatcmpl-|cmpl-|resp_|msg_)[0-9a-f]{32})"')


def cache_key(route: str, body: Body, *, model: SteeredModel, tasks: Sequence[AnswerTask]) -> str | None:
    """What a reply is kept under: a hash of all that it follows from; None where it is not kept."""
    if any(task.steering.temperature > 0 for task in tasks):
        return None
    asked = {name: value for name, value in body.items() if name not in _WHO}
    parts = [version("blackbox-proxy"), route, model.identity, repr(model.steering), asked]
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def may_be_kept(tally: GatewayTally) -> bool:
    """Whether all answers of a reply came whole, and from the first upstream."""
    whole = all(result.finish in _KEPT for result, _ in tally.results)
    return bool(tally.results) and whole and not tally.broken and not any(tally.fallbacks)


def as_hit(chunks: Sequence[Chunk]) -> list[Chunk]:
    """A reply that was kept as it is given again: with an id of its own, and as one that took nothing."""
    texts = [chunk.data if isinstance(chunk, NamedEvent) else chunk for chunk in chunks]
    before = next((match[1] for text in texts if (match := _ID.search(text))), "")
    if before:
        fresh = re.sub(r"[0-9a-f]{32}$", secrets.token_hex(16), before)
        texts = [text.replace(before, fresh) for text in texts]
    freed = [_freed(text) for text in texts]
    return [
        replace(chunk, data=text) if isinstance(chunk, NamedEvent) else text
        for chunk, text in zip(chunks, freed, strict=True)
    ]


def _freed(text: str) -> str:
    if '"steering"' not in text:
        return text
    value = json.loads(text)
    _free(value)
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def _free(value: Any) -> None:  # noqa: ANN401 (any JSON)
    """Say in each `usage` that nothing was taken."""
    if not isinstance(value, dict):
        return
    usage = value.get("usage")
    if isinstance(usage, dict) and isinstance(usage.get("steering"), dict):
        usage["steering"].update(_FREE)
    for inner in ("response", "message"):
        _free(value.get(inner))


@final
class ReplyCache:
    """Asks a store in a thread of its own; where that fails a reply is made as if nothing had been kept.

    opens: gives the store, when it is needed first.
    """

    def __init__(self, opens: Callable[[], ReplyStore]) -> None:
        self._opens = opens
        self._store: ReplyStore | None = None
        self._pool = ThreadPoolExecutor(1, "cache")

    def open(self) -> ReplyStore:
        """The store. Raises LedgerError where it cannot be used."""
        if self._store is None:
            self._store = self._opens()
        return self._store

    async def get(self, key: str) -> Sequence[Chunk] | None:
        """The reply that is kept, as it is given again; None where there is none."""
        kept = await asyncio.get_running_loop().run_in_executor(self._pool, self._get, key)
        return None if kept is None else as_hit(kept)

    def _get(self, key: str) -> Sequence[Chunk] | None:
        try:
            return self.open().get(key)
        except LedgerError as error:
            _LOG.warning("%s", error.message)
            return None

    def put(self, key: str, chunks: Sequence[Chunk], tally: GatewayTally) -> None:
        """Keep a reply, if it may be. Waits for nothing; who asks later comes after it."""
        if may_be_kept(tally):
            self._pool.submit(self._put, key, list(chunks))

    def _put(self, key: str, chunks: Sequence[Chunk]) -> None:
        try:
            self.open().put(key, chunks)
        except LedgerError as error:
            _LOG.warning("%s", error.message)

    async def keeping(
        self, key: str, chunks: AsyncGenerator[Chunk, None], tally: GatewayTally
    ) -> AsyncGenerator[Chunk, None]:
        """The chunks of a stream, which is kept once it has come to its end."""
        seen: list[Chunk] = []
        async with aclosing(chunks):
            async for chunk in chunks:
                seen.append(chunk)
                yield chunk
        self.put(key, seen, tally)

    def close(self) -> None:
        """Close the store once all is kept."""
        self._pool.shutdown()
        if self._store is not None:
            self._store.close()


async def replayed(chunks: Sequence[Chunk]) -> AsyncGenerator[Chunk, None]:
    """The chunks, as a stream gives them."""
    for chunk in chunks:
        yield chunk
