"""Training examples as token ids: which ids are given, which are learnt, and which facts are left open.

Pure. Does not know a tokenizer, a chat template or PyTorch: the first two come in as functions.
"""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

Line = tuple[str, str]
"""What the user asks, and what the expert shall answer."""

Span = tuple[int, int]
"""Half-open range of characters."""

Tokenize = Callable[[str], tuple[Sequence[int], Sequence[Span]]]
"""Text to token ids and, for each, the characters it stands for; adds no special tokens of its own."""


@dataclass(frozen=True, slots=True)
class Example:
    """One line: `prompt` ids are given, `completion` ids are learnt; `open` marks those that spell a fact.

    The last completion id is the end of the turn. `open` is as long as `completion`.
    """

    prompt: tuple[int, ...]
    completion: tuple[int, ...]
    open: tuple[bool, ...]

    @property
    def ids(self) -> tuple[int, ...]:
        return self.prompt + self.completion


def encode(
    line: Line, *, render: Callable[[str], str], tokenize: Tokenize, end: int, slot: str | None = None
) -> Example:
    """Prompt and completion are tokenised apart, as they are at run time, and `end` closes the turn.

    `slot` is a regular expression whose group 1 is the part of the completion that carries a fact.
    """
    question, answer = line
    prompt, _ = tokenize(render(question))
    completion, spans = tokenize(answer)
    facts = [match.span(1) for match in re.finditer(slot, answer)] if slot else []
    is_open = [any(_overlap(span, fact) for fact in facts) for span in spans]
    return Example(tuple(prompt), (*completion, end), (*is_open, False))


def batches(examples: Sequence[Example], size: int, *, rng: random.Random) -> Iterator[list[Example]]:
    """One pass in random order, `size` examples at a time; the last batch may be smaller."""
    order = rng.sample(examples, len(examples))
    for start in range(0, len(order), size):
        yield order[start : start + size]


def _overlap(one: Span, other: Span) -> bool:
    return one[0] < other[1] and other[0] < one[1]
