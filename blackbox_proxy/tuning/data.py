"""Training examples as token ids: which ids are given, which are learnt, and which facts are left open.

Pure. Does not know a tokenizer or a chat template, which come in as functions, nor PyTorch.
"""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from blackbox_proxy.tuning.lines import Line
from blackbox_proxy.types import Prompt, TokenPath

Read = Callable[[Prompt], TokenPath]
"""The ids of a prompt, as the pair will read it."""

Spell = Callable[[bytes], Sequence[int]]
"""Text to token ids whose pieces are the text, byte for byte; adds no special tokens."""

Span = tuple[int, int]
"""Half-open range of bytes."""


@dataclass(frozen=True, slots=True)
class Example:
    """One line: `prompt` ids are given, `completion` ids are learnt; `open` marks those that spell a fact.

    The last completion id is the end of the turn. `open` is as long as `completion`.
    """

    prompt: TokenPath
    completion: TokenPath
    open: tuple[bool, ...]

    @property
    def ids(self) -> TokenPath:
        return self.prompt + self.completion


@dataclass(frozen=True, slots=True)
class Data:
    """The examples of a run: to train on, and to validate on."""

    train: Sequence[Example]
    held: Sequence[Example] = ()


@dataclass(frozen=True, slots=True)
class TuningTokenizer:
    """The base model's tokenizer: how it reads prompts and spells answers, and the bytes of each id.

    end: the id that ends a turn. controls: the ids that stand for no text, the ends among them.
    """

    read: Read
    spell: Spell
    pieces: Sequence[bytes]
    end: int
    controls: Sequence[int]


def encode(line: Line, tokenizer: TuningTokenizer, *, slot: str | None = None) -> Example:
    """Prompt and completion are tokenised apart, as they are at run time, and the end closes the turn.

    `slot` is a regular expression whose group 1 is the part of the completion that carries a fact.
    """
    completion = tuple(tokenizer.spell(line.answer.encode()))
    facts = [_bytes(line.answer, match.span(1)) for match in re.finditer(slot, line.answer)] if slot else []
    spans = _spans([tokenizer.pieces[token] for token in completion])
    is_open = [any(_overlap(span, fact) for fact in facts) for span in spans]
    return Example(tokenizer.read(line.prompt), (*completion, tokenizer.end), (*is_open, False))


def batches(examples: Sequence[Example], size: int, *, rng: random.Random) -> Iterator[list[Example]]:
    """One pass in random order, `size` examples at a time; the last batch may be smaller."""
    order = rng.sample(examples, len(examples))
    for start in range(0, len(order), size):
        yield order[start : start + size]


def _bytes(text: str, characters: Span) -> Span:
    """The range of bytes of a range of characters; an unmatched group, (-1, -1), holds nothing."""
    start, stop = (len(text[: max(at, 0)].encode()) for at in characters)
    return start, stop


def _spans(pieces: Sequence[bytes]) -> Iterator[Span]:
    start = 0
    for piece in pieces:
        yield start, start + len(piece)
        start += len(piece)


def _overlap(one: Span, other: Span) -> bool:
    return one[0] < other[1] and other[0] < one[1]
