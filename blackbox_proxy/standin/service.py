"""From a checked request to the answers: free slots take the prompts, worker threads do the work.

The event loop only hands parts on; llama.cpp, NumPy and the writing of whole replies run in threads. Work stops within
one token when whoever waits for it goes away. Knows no HTTP and no tokenizer.
"""

from __future__ import annotations

import threading
import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator, Sequence
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass, field
from secrets import randbits
from typing import TypeVar, final

import anyio
from anyio import from_thread, to_thread

from blackbox_proxy.errors import LocalModelError
from blackbox_proxy.openai_http.fields import Refusal
from blackbox_proxy.openai_http.frames import Head
from blackbox_proxy.standin.engine import DecodingPlace, SamplingParams, generate
from blackbox_proxy.standin.logprob_quirks import view_of
from blackbox_proxy.standin.quirks import Quirks
from blackbox_proxy.standin.reading import PromptTask, Reader, ServedModel
from blackbox_proxy.standin.replies import (
    Count,
    ReplySpelling,
    StandinChatShape,
    StandinCompletionShape,
    StandinMode,
    StandinShape,
)
from blackbox_proxy.standin.reply_quirks import QuirkyShape, changes_replies, manner_of
from blackbox_proxy.standin.requests import StandinRequest
from blackbox_proxy.standin.responses import ResponseShape
from blackbox_proxy.standin.structured import Formats
from blackbox_proxy.standin.transcript import Part, Transcript, write

T = TypeVar("T")

ShapeKind = type[StandinCompletionShape] | type[StandinChatShape] | type[ResponseShape]


@dataclass(frozen=True, slots=True)
class Chance:
    """Time and chance. now: Unix seconds; bits: a random whole number of so many bits."""

    now: Callable[[], float] = time.time
    bits: Callable[[int], int] = randbits


@dataclass(slots=True)
class StandinTally:
    """What a request used so far."""

    prompt: int = 0
    completion: int = 0
    cached: int = 0

    def count(self) -> Count:
        return Count(prompt=self.prompt, completion=self.completion, cached=self.cached)


@final
@dataclass(slots=True)
class SlotPool:
    """The slots; a request waits for a free one and gets the one that holds most of its prompt.

    A task that brings a place of its own is answered there at once.
    """

    free: list[DecodingPlace]
    room: anyio.Semaphore = field(init=False)

    def __post_init__(self) -> None:
        self.room = anyio.Semaphore(len(self.free))

    @asynccontextmanager
    async def take(self, task: PromptTask) -> AsyncIterator[DecodingPlace]:
        if task.place is not None:
            yield task.place
            return
        async with self.room:
            slot = max(self.free, key=lambda one: one.reuse(task.path))
            self.free.remove(slot)
            try:
                yield slot
            finally:
                self.free.append(slot)


@final
class SlotGate:
    """Counts the threads at work on the model, so that it is never freed under one of them.

    A task that asyncio cancels, as it does with all that are left when a server ends, leaves its thread running.
    """

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._inside = 0
        self._closed = False

    def check(self) -> None:
        """Raises LocalModelError once the gate is closed."""
        if self._closed:
            raise LocalModelError("the server is shutting down", hint="ask again when it is back")

    def run(self, work: Callable[[], T]) -> T:
        """Work behind the gate, in the calling thread."""
        with self._changed:
            self.check()
            self._inside += 1
        try:
            return work()
        finally:
            with self._changed:
                self._inside -= 1
                self._changed.notify_all()

    def close(self) -> None:
        """Let nobody in any more, and wait until all are out."""
        with self._changed:
            self._closed = True
            self._changed.wait_for(lambda: not self._inside)


@final
class Service:
    """One served model.

    name: what requests call it, "" for whatever they do; context: tokens of prompt and answer together.
    fingerprint: what replies say of its configuration.
    quirks: how numbers and replies deviate; those of requests and of the transport are not its business. spend: told of
    the tokens that each request made the model read and write.
    """

    def __init__(
        self,
        model: ServedModel,
        slots: Sequence[DecodingPlace],
        *,
        name: str,
        top_k: int,
        context: int,
        quirks: Quirks,
        spend: Callable[[int, int, int], None] | None = None,
        chance: Chance | None = None,
    ) -> None:
        self.name = name
        self.fingerprint = ""
        self.top_k = top_k
        self._reader = Reader(model, context=context)
        self._gate = SlotGate()
        self._pool = SlotPool(list(slots))
        self._chance = chance or Chance()
        self._vocabulary = model.vocabulary
        self._ends = frozenset(self._vocabulary.ends.tolist())
        self._quirks = quirks
        self._spend = spend
        self._view = view_of(quirks)
        self._formats = Formats(model.vocabulary, free="free-forced" in quirks, delay=quirks.decimal("slow-schema"))
        self._spelling = ReplySpelling(self._vocabulary, manner=manner_of(quirks))
        self.started = int(self._chance.now())

    def close(self) -> None:
        """Let no more work begin, and wait for what is under way; then the model may be freed."""
        self._gate.close()

    def check_model(self, name: str) -> None:
        """Raises Refusal for any other model than the one that is served."""
        if name != self.name and self.name:
            raise Refusal(
                f"The model `{name[:200]}` does not exist or you do not have access to it.",
                status=404,
                code="model_not_found",
            )

    def head(self, request: StandinRequest, prefix: str) -> Head:
        """The frame of one reply, with an id of its own."""
        id_ = f"{prefix}{self._chance.bits(128):032x}"
        return Head(id_, int(self._chance.now()), self.name or request.model, self.fingerprint)

    def shape(self, request: StandinRequest, kind: ShapeKind) -> StandinShape:
        """The writer of one reply."""
        head = self.head(request, kind.prefix)
        mode = StandinMode(request.top_k is not None, usage=request.include_usage, as_ids=request.as_ids)
        shape = kind(head, self._spelling, mode=mode)
        return QuirkyShape(shape, self._quirks, ends=self._ends) if changes_replies(self._quirks) else shape

    async def prepare(self, request: StandinRequest) -> list[PromptTask]:
        """Read the prompts. Raises Refusal for one that is empty, too long, or not of this vocabulary.

        So it does for a schema that cannot be obeyed.
        """
        self.check_model(request.model)
        return await to_thread.run_sync(self._gate.run, lambda: self._prepared(request))

    def _prepared(self, request: StandinRequest) -> list[PromptTask]:
        self._formats.check(request.schema)
        return self._reader.read(request)

    async def compile(self, request: StandinRequest) -> None:
        """Take the time of a schema that is asked for the first time."""
        await self._formats.wait(request.schema)

    async def whole(self, request: StandinRequest, tasks: Sequence[PromptTask], *, shape: StandinShape) -> bytes:
        """All answers in one reply."""
        tally = StandinTally()
        answers: list[list[Part]] = [[] for _ in range(len(tasks) * request.n)]
        async with aclosing(self._parts(request, tasks, tally)) as parts:
            async for index, part in parts:
                answers[index].append(part)
        self.spend(tally.count())
        return await to_thread.run_sync(shape.whole, answers, tally.count())

    async def stream(
        self, request: StandinRequest, tasks: Sequence[PromptTask], *, shape: StandinShape
    ) -> AsyncGenerator[str, None]:
        """The answers in chunks of JSON, one after another."""
        tally = StandinTally()
        opened = -1
        async with aclosing(self._parts(request, tasks, tally)) as parts:
            async for index, part in parts:
                if index > opened:
                    opened = index
                    for chunk in shape.opening(index):
                        yield chunk
                for chunk in shape.chunks(index, part) if part else ():
                    yield chunk
        self.spend(tally.count())
        if request.include_usage:
            yield shape.closing(tally.count())

    def spend(self, count: Count) -> None:
        """Count what one request took."""
        if self._spend is not None:
            self._spend(count.prompt, count.cached, count.completion)

    async def _parts(
        self, request: StandinRequest, tasks: Sequence[PromptTask], tally: StandinTally
    ) -> AsyncGenerator[tuple[int, Part], None]:
        base = self._chance.bits(63) if request.seed is None else request.seed % 2**64
        for index in range(len(tasks) * request.n):
            task, again = tasks[index // request.n], index % request.n
            sampling = self._sampling(request, task, seed=(base, again))
            transcript = Transcript(self._vocabulary, stops=request.stops, echo=task.echo)
            async with self._pool.take(task) as slot:
                if not again or "prompt-per-answer" in self._quirks:
                    tally.prompt += len(task.path)
                    tally.cached += 0 if sampling.reads_prompt else slot.reuse(task.path)
                mask = self._formats.begin(request.schema)
                tokens = generate(slot, task.path, sampling=sampling, ends=self._ends, view=self._view, mask=mask)
                async for part in self._pull(write(tokens, transcript), live=request.stream):
                    yield index, part
            tally.completion += transcript.generated

    async def _pull(self, items: Iterator[T], *, live: bool) -> AsyncIterator[T]:
        """What a generator makes in worker threads: each item as soon as it is there (`live`), or all at the end."""
        if live:
            while (item := await to_thread.run_sync(self._gate.run, lambda: next(items, None))) is not None:
                yield item
            return
        for item in await to_thread.run_sync(self._gate.run, lambda: self._exhaust(items)):
            yield item

    def _exhaust(self, items: Iterator[T]) -> list[T]:
        """All items; ends early when nobody waits for them any more, with the cancellation that anyio raises."""
        collected = []
        for item in items:
            collected.append(item)
            from_thread.check_cancelled()
            self._gate.check()
        return collected

    def _sampling(self, request: StandinRequest, task: PromptTask, *, seed: tuple[int, int]) -> SamplingParams:
        return SamplingParams(
            max_tokens=task.max_tokens,
            temperature=request.temperature,
            top_p=request.top_p,
            seed=seed,
            top_k=request.top_k,
            echo=bool(task.echo),
            echo_from=len(task.path) - len(task.echo),
            also=request.also,
            bias=request.bias,
        )
