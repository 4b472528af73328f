"""From a checked request to the answers: prompts become token ids, free slots take them, threads do the work.

The event loop only hands tokens on; llama.cpp, NumPy and the writing of JSON run in worker threads. Work stops within
one token when whoever waits for it goes away. Knows no HTTP.
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

from blackbox_proxy.errors import PromptError
from blackbox_proxy.local.llama import Model
from blackbox_proxy.local.template import prompt_text
from blackbox_proxy.standin.engine import Order, Slot, generate
from blackbox_proxy.standin.replies import Count, Head, Mode, Shape, ShapeKind, Spelling
from blackbox_proxy.standin.transcript import Part, Transcript, write
from blackbox_proxy.standin.wire import Refusal, Request, Source
from blackbox_proxy.types import Prompt, TokenPath

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Chance:
    """Time and chance. now: Unix seconds; bits: a random whole number of so many bits."""

    now: Callable[[], float] = time.time
    bits: Callable[[int], int] = randbits


@dataclass(frozen=True, slots=True)
class Task:
    """One prompt as the model reads it. echo: the pieces of its tokens when they are to be given back."""

    path: TokenPath
    max_tokens: int
    echo: tuple[bytes, ...] = ()


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
        self._model = model
        self._pool = Pool(list(slots))
        self._context = context
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
        return await to_thread.run_sync(lambda: [self._task(request, source) for source in request.sources])

    async def whole(self, request: Request, tasks: Sequence[Task], *, shape: Shape) -> bytes:
        """All answers in one reply."""
        tally = Tally()
        answers: list[list[Part]] = [[] for _ in range(len(tasks) * request.n)]
        async with aclosing(self._parts(request, tasks, tally)) as parts:
            async for index, part in parts:
                answers[index].append(part)
        return await to_thread.run_sync(shape.whole, answers, tally.count())

    async def stream(self, request: Request, tasks: Sequence[Task], *, shape: Shape) -> AsyncIterator[str]:
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

    def _task(self, request: Request, source: Source) -> Task:
        text = self._rendered(source) if isinstance(source, Prompt) else source
        path = self._read(text) if isinstance(text, str) else self._checked(text)
        if isinstance(source, Prompt):
            path = self._without_second_bos(path)
        room = self._context - len(path)
        asked = max(room, 1) if request.max_tokens is None else request.max_tokens
        if asked > room:
            raise self._too_long(f"{len(path) + asked} tokens ({len(path)} in the prompt, {asked} in the completion)")
        return Task(path, asked, self._echoed(path, text) if request.echo else ())

    def _rendered(self, prompt: Prompt) -> str:
        bos, eos = self._model.special_text("bos"), self._model.special_text("eos")
        try:
            return prompt_text(prompt, self._model.chat_template, bos=bos, eos=eos)
        except PromptError as error:
            raise Refusal(f"{error.message} ({error.hint})", param="messages") from error

    def _read(self, text: str) -> TokenPath:
        """Text as llama.cpp reads a prompt: special tokens are recognised, BOS is put in front where it belongs."""
        raw = text.encode()
        # Cutting megabytes into tokens takes seconds, and can exhaust the stack of llama.cpp's regular expressions.
        least = len(raw) // max(map(len, self._vocabulary.pieces))
        if least > self._context:
            raise self._too_long(f"at least {least} tokens in the prompt")
        return tuple(self._model.tokenize(raw, special=True))

    def _without_second_bos(self, path: TokenPath) -> TokenPath:
        """Templates often write the BOS that `tokenize` puts in front as well."""
        bos = self._model.special_text("bos").encode()
        return path[1:] if path[:1] == path[1:2] and self._vocabulary.pieces[path[0]] == bos else path

    def _checked(self, path: TokenPath) -> TokenPath:
        for token in path:
            if not 0 <= token < len(self._vocabulary):
                raise Refusal(
                    f"Invalid 'prompt': token ids are from 0 to {len(self._vocabulary) - 1}; one is outside.",
                    param="prompt",
                    code="invalid_value",
                )
        return path

    def _echoed(self, path: TokenPath, text: str | TokenPath) -> tuple[bytes, ...]:
        """The pieces of the prompt's tokens, special ones as they are called; together they give the prompt's text.

        A BOS or a space that the tokenizer put in front of the text is not part of it.
        """
        pieces = [self._vocabulary.pieces[token] for token in path]
        joined = b"".join(pieces)
        raw = text.encode() if isinstance(text, str) else joined
        surplus = len(joined) - len(raw) if joined.endswith(raw) else 0
        return tuple(_dropped(pieces, surplus))

    def _too_long(self, requested: str) -> Refusal:
        return Refusal(
            f"This model's maximum context length is {self._context} tokens. However, you requested {requested}."
            " Please reduce the length of the prompt or of the completion.",
            param="prompt",
            code="context_length_exceeded",
        )


def _dropped(pieces: Sequence[bytes], surplus: int) -> Iterator[bytes]:
    """The pieces without the first `surplus` bytes."""
    for piece in pieces:
        yield piece[surplus:]
        surplus = max(surplus - len(piece), 0)


async def _pull(items: Iterator[T], *, live: bool) -> AsyncIterator[T]:
    """The items of a generator that works in a worker thread: each as soon as it is made (`live`), or all at the end."""
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
