"""Several asynchronous generators as one: what each gives, as soon as it is there."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from typing import Generic, TypeVar

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class _Item(Generic[T]):
    item: T


@dataclass(frozen=True, slots=True)
class _End:
    error: Exception | None = None


async def merged(generators: Sequence[AsyncGenerator[T, None]]) -> AsyncGenerator[T, None]:
    """The items of all, each one's in order. The first error ends it; what is left then, or on closing, is closed.

    None runs ahead by more than one item, so that nothing is paid for that nobody waits for.
    """
    ready: asyncio.Queue[_Item[T] | _End] = asyncio.Queue(maxsize=1)

    async def drain(generator: AsyncGenerator[T, None]) -> None:
        try:
            async with aclosing(generator):
                async for item in generator:
                    await ready.put(_Item(item))
        except Exception as error:  # noqa: BLE001 (raised again where the items are taken)
            await ready.put(_End(error))
        else:
            await ready.put(_End())

    tasks = [asyncio.create_task(drain(generator)) for generator in generators]
    try:
        running = len(tasks)
        while running:
            taken = await ready.get()
            if isinstance(taken, _Item):
                yield taken.item
                continue
            running -= 1
            if taken.error is not None:
                raise taken.error
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
