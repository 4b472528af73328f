"""What an answer consists of, block by block: its text and its calls of tools, each opened, grown and closed. Pure.

Two routes write an answer so, and each gives the blocks names of its own.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Literal, final

from blackbox_proxy.openai_http.tool_reader import AnswerDelta, AnswerReader, CallDelta, TextDelta, ToolFinish
from blackbox_proxy.openai_http.transcript import Part, Placed
from blackbox_proxy.types import Step

Tokens = Sequence[Placed[Step]]


@final
@dataclass(slots=True)
class Block:
    """One piece of an answer.

    number: its place, from 0. content: text, or the arguments of a call. tokens: those of a text. name, call_id: the
    tool that is called, and the id of the call; "" for text.
    """

    number: int
    name: str = ""
    call_id: str = ""
    content: str = ""
    tokens: list[Placed[Step]] = field(default_factory=list)

    @property
    def is_call(self) -> bool:
        """Whether it is a call of a tool."""
        return bool(self.name)


@final
@dataclass(frozen=True, slots=True)
class BlockEvent:
    """What became of a block. delta, tokens: what it grew by."""

    kind: Literal["opened", "grown", "closed"]
    block: Block
    delta: str = ""
    tokens: Tokens = ()


@final
class Blocks:
    """The blocks of one answer, from its parts.

    Attributes:
        all: The blocks so far.
        finish: Why the answer ended; None while it is under way.
        stop: The stop string that ended it, see `Part.stop`.
    """

    def __init__(self, reader: AnswerReader | None = None) -> None:
        self.all: list[Block] = []
        self.finish: ToolFinish | None = None
        self.stop: str | None = None
        self._reader = reader
        self._open: Block | None = None
        self._tokens: list[Placed[Step]] = []
        self._length = 0

    def take(self, part: Part[Step]) -> Iterator[BlockEvent]:
        """What a part changes. The last one, which has a finish, opens and closes no block by itself."""
        self._tokens += part.tokens
        yield from self._read([TextDelta(part.text)] if self._reader is None else self._reader.take(part.text))
        if part.finish is not None:
            rest: Iterable[AnswerDelta] = ()
            self.finish, self.stop = part.finish, part.stop
            if self._reader is not None:
                rest, self.finish = self._reader.close(part.finish)
            yield from self._read(rest)
            if self._open is not None and not self._open.is_call:
                yield from self._grown("", self._tokens)

    def close(self) -> Iterator[BlockEvent]:
        """The answer is through."""
        if self._open is not None:
            yield BlockEvent("closed", self._open)
        self._open = None

    def text(self) -> Iterator[BlockEvent]:
        """A block of text, where none is open."""
        if self._open is None or self._open.is_call:
            yield from self._opened(Block(len(self.all)))

    def _read(self, deltas: Iterable[AnswerDelta]) -> Iterator[BlockEvent]:
        for delta in deltas:
            if isinstance(delta, CallDelta):
                if delta.name:
                    yield from self._opened(Block(len(self.all), delta.name, delta.id))
                yield from self._grown(delta.arguments, ())
            elif delta.text:
                yield from self.text()
                self._length += len(delta.text)
                yield from self._grown(delta.text, self._ready(self._length))

    def _ready(self, length: int) -> Tokens:
        """The tokens that begin in so much text: those of a call are nobody's."""
        return [placed for placed in self._tokens if self._reader is None or placed.offset < length]

    def _opened(self, block: Block) -> Iterator[BlockEvent]:
        yield from self.close()
        self._open = block
        self.all.append(block)
        yield BlockEvent("opened", block)

    def _grown(self, delta: str, tokens: Tokens) -> Iterator[BlockEvent]:
        if self._open is None or not (delta or tokens):
            return
        ready = tuple(tokens)
        self._open.content += delta
        self._open.tokens += ready
        self._tokens = self._tokens[len(ready) :]
        yield BlockEvent("grown", self._open, delta, ready)
