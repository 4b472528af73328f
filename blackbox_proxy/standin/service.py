"""From a checked request to the answers: free slots take the prompts, worker threads do the work.

The event loop only hands parts on; llama.cpp, NumPy and the writing of whole replies run in threads. Work stops within
one token when whoever waits for it goes away. Knows no HTTP and no tokenizer.
"""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator, Sequence
from contextlib import aclosing, asynccontextmanager, closing
from dataclasses import dataclass, field
from secrets import randbits
from typing import TypeVar, final

import anyio
from anyio import from_thread, to_thread

from blackbox_proxy.local.llama import Model
from blackbox_proxy.standin.engine import Order, Slot, generate
from blackbox_proxy.standin.reading import Reader, Task
from blackbox_proxy.standin.replies import Count, Head, Mode, Shape, ShapeKind, Spelling
from blackbox_proxy.standin.transcript import Part, Transcript, write
from blackbox_proxy.standin.wire import Refusal, Request
from blackbox_proxy.types import TokenPath

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Chance:
    """Time and chance. now: Unix seconds; bits: a random whole number of so many bits."""

    now: Callable[[], float] = time.time
    bits: Callable[[int], int] = randbits


@dataclass(slots=True)
class Tally:
    """What a request used so far."""

    prompt: int = 0
    completion: int = 0
    cached: int = 0

    def count(self) -> Count:
        return Count(prompt=self.prompt, completion=self.completion, cached=self.cached)


@final
@dataclass(slots=True)
class Pool:
    """The slots; a request waits for a free one and gets the one that holds most of its prompt."""

    free: list[Slot]
    room: anyio.Semaphore = field(init=False)

    def __post_init__(self) -> None:
        self.room = anyio.Semaphore(len(self.free))

    @asynccontextmanager
    async def take(self, path: TokenPath) -> AsyncIterator[Slot]:
        async with self.room:
            slot = max(self.free, key=lambda one: one.reuse(path))
            self.free.remove(slot)
            try:
                yield slot
            finally:
                self.free.append(slot)


@final
class Service:
    """One served model. name: what requests call it; context: tokens of prompt and answer together."""

    def __init__(
        self, model: Model, slots: Sequence[Slot], *, name: str, top_k: int, context: int, chance: Chance | None = None
    ) -> None:
        self.name = name
        self.top_k = top_k
        self._reader = Reader(model, context=context)
        self._pool = Pool(list(slots))
        self._chance = chance or Chance()
        self._vocabulary = model.vocabulary
        self._ends = frozenset(self._vocabulary.ends.tolist())
        self._spelling = Spelling(self._vocabulary)
        self.started = int(self._chance.now())

    def check_model(self, name: str) -> None:
        """Raises Refusal for any other model than the one that is served."""
        if name != self.name:
            raise Refusal(
                f"The model `{name[:200]}` does not exist or you do not have access to it.",
                status=404,
                code="model_not_found",
            )

    def shape(self, request: Request, kind: ShapeKind) -> Shape:
        """The writer of one reply, with an id of its own."""
        head = Head(f"{kind.prefix}{self._chance.bits(128):032x}", int(self._chance.now()), self.name)
        return kind(head, self._spelling, mode=Mode(request.top_k is not None, usage=request.include_usage))

    async def prepare(self, request: Request) -> list[Task]:
        """Read the prompts. Raises Refusal for one that is empty, too long, or not of this vocabulary."""
        self.check_model(request.model)
        return await to_thread.run_sync(self._reader.read, request)

    async def whole(self, request: Request, tasks: Sequence[Task], *, shape: Shape) -> bytes:
        """All answers in one reply."""
        tally = Tally()
        answers: list[list[Part]] = [[] for _ in range(len(tasks) * request.n)]
        async with aclosing(self._parts(request, tasks, tally)) as parts:
            async for index, part in parts:
                answers[index].append(part)
        return await to_thread.run_sync(shape.whole, answers, tally.count())

    async def stream(self, request: Request, tasks: Sequence[Task], *, shape: Shape) -> AsyncGenerator[str, None]:
        """The answers in chunks of JSON, one after another."""
        tally = Tally()
        opened = -1
        async with aclosing(self._parts(request, tasks, tally)) as parts:
            async for index, part in parts:
                if index > opened:
                    opened = index
                    for chunk in shape.opening(index):
                        yield chunk
                for chunk in shape.chunks(index, part) if part else ():
                    yield chunk
        if request.include_usage:
            yield shape.closing(tally.count())

    async def _parts(
        self, request: Request, tasks: Sequence[Task], tally: Tally
    ) -> AsyncGenerator[tuple[int, Part], None]:
        base = self._chance.bits(63) if request.seed is None else request.seed % 2**64
        for index in range(len(tasks) * request.n):
            task, again = tasks[index // request.n], index % request.n
            order = self._order(request, task, seed=(base, again))
            transcript = Transcript(self._vocabulary, stops=request.stops, echo=task.echo)
            async with self._pool.take(task.path) as slot:
                if not again:
                    tally.prompt += len(task.path)
                    tally.cached += 0 if order.reads_prompt else slot.reuse(task.path)
                tokens = generate(slot, task.path, order=order, ends=self._ends)
                with closing(tokens):
                    async for part in _pull(write(tokens, transcript), live=request.stream):
                        yield index, part
            tally.completion += transcript.generated

    def _order(self, request: Request, task: Task, *, seed: tuple[int, int]) -> Order:
        return Order(
            max_tokens=task.max_tokens,
            temperature=request.temperature,
            top_p=request.top_p,
            seed=seed,
            top_k=request.top_k,
            echo=request.echo,
        )


async def _pull(items: Iterator[T], *, live: bool) -> AsyncIterator[T]:
    """What a generator makes in worker threads: each item as soon as it is there (`live`), or all at the end."""
    if live:
        while (item := await to_thread.run_sync(next, items, None)) is not None:
            yield item
        return
    for item in await to_thread.run_sync(_exhaust, items):
        yield item


def _exhaust(items: Iterator[T]) -> list[T]:
    """All items; ends early, with the cancellation that anyio raises here, when nobody waits for them any more."""
    made = []
    for item in items:
        made.append(item)
        from_thread.check_cancelled()
    return made
