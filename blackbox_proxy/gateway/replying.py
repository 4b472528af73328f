"""A reply on its way: its answers side by side become one body, or the events of a stream."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from typing import final

from starlette.requests import Request
from starlette.responses import Response

from blackbox_proxy.gateway.answering import GatewayTally, Parts
from blackbox_proxy.gateway.replies import GatewayShape, answered_by, cost_of, usage_of
from blackbox_proxy.openai_http.frames import Chunk
from blackbox_proxy.openai_http.http import while_connected
from blackbox_proxy.openai_http.transcript import Part
from blackbox_proxy.types import Step

COST = "x-steering-cost-usd"
"""The header that tells what an answer cost."""

ANSWERED_BY = "x-steering-answered-by"
"""The header that tells who gave it (`answered_by`)."""


@final
@dataclass(frozen=True, slots=True)
class GatewayReply:
    """One reply on its way: how it is written, its parts, and what they took."""

    shape: GatewayShape
    parts: Parts
    tally: GatewayTally
    choices: int


async def whole_reply(reply: GatewayReply) -> Response:
    """All choices in one reply."""
    choices: list[list[Part[Step]]] = [[] for _ in range(reply.choices)]
    async with aclosing(reply.parts) as parts:
        async for index, part in parts:
            choices[index].append(part)
    results = reply.tally.results
    written = await asyncio.to_thread(reply.shape.whole, choices, usage_of(results, fallbacks=reply.tally.fallbacks))
    cost = cost_of(results)
    headers = {ANSWERED_BY: answered_by(results), **({} if cost is None else {COST: cost})}
    return Response(written, media_type="application/json", headers=headers)


def whole_hit(kept: Sequence[Chunk]) -> Response:
    """A whole reply that was kept."""
    return Response("".join(str(chunk) for chunk in kept), media_type="application/json")


async def reply_chunks(reply: GatewayReply) -> AsyncGenerator[Chunk, None]:
    """The choices in chunks, as their text becomes certain."""
    opened: set[int] = set()
    async with aclosing(reply.parts) as parts:
        async for index, part in parts:
            if index not in opened:
                opened.add(index)
                for chunk in reply.shape.opening(index):
                    yield chunk
            for chunk in reply.shape.chunks(index, part):
                yield chunk
    for chunk in reply.shape.closing(usage_of(reply.tally.results, fallbacks=reply.tally.fallbacks)):
        yield chunk


async def begun_stream(
    http: Request, chunks: AsyncGenerator[Chunk, None], seconds: float
) -> AsyncGenerator[Chunk, None]:
    """The chunks once the first is there, or after so many seconds: an error before that has a status of its own.

    Raises that error, or ClientDisconnect.
    """
    first = asyncio.create_task(_first(chunks))
    try:
        await while_connected(http, lambda: asyncio.wait([first], timeout=seconds))
        if first.done():
            first.result()
    except BaseException:
        first.cancel()
        raise
    return _from(first, chunks)


async def _first(chunks: AsyncGenerator[Chunk, None]) -> Chunk | None:
    return await anext(chunks, None)


async def _from(first: asyncio.Task[Chunk | None], rest: AsyncGenerator[Chunk, None]) -> AsyncGenerator[Chunk, None]:
    """A generator whose first item is taken by a task."""
    async with aclosing(rest):
        chunk = await first
        if chunk is not None:
            yield chunk
        async for item in rest:
            yield item
