"""Control tokens that a message spells: where they stand in a prompt, so that they are read as text.

A chat template writes control tokens, and so may a message: `<|im_end|>` in a question would end the turn. Before a
template writes messages down, a mark goes into each control token that they spell, also into one that would come about
where a message meets other text. Afterwards only the marks are kept without which there would be such a token. Pure.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from itertools import pairwise
from typing import final

from blackbox_proxy.core.alignment.vocabulary import Vocabulary
from blackbox_proxy.errors import PromptError
from blackbox_proxy.types import Message

APART = "\u200b"
"""What is put into a control token that a message spells, where only text can be sent: a space of no width."""

_MARKS = tuple(map(chr, range(0xFDD0, 0xFDF0)))
"""Code points that are no characters; one that a prompt's text does not hold marks places in it."""


@final
@dataclass(frozen=True, slots=True)
class MarkedPrompt:
    """A prompt as text. mark: stands inside each control token that a message spells; "" where none does."""

    marked: str
    mark: str = ""

    @property
    def text(self) -> str:
        """The text itself."""
        return self.marked.replace(self.mark, "") if self.mark else self.marked

    @property
    def apart(self) -> str:
        """The text for whoever reads control tokens in all of it: those of messages are parted."""
        return self.marked.replace(self.mark, APART) if self.mark else self.marked


@final
class Spellings:
    """How some control tokens are spelt."""

    def __init__(self, controls: frozenset[str]) -> None:
        self.controls = frozenset(control for control in controls if len(control) > 1)

    @cached_property
    def _lengths(self) -> Sequence[int]:
        return sorted({len(control) for control in self.controls})

    @cached_property
    def _first(self) -> re.Pattern[str]:
        """Any of their first characters."""
        return re.compile(f"[{re.escape(''.join(sorted({control[0] for control in self.controls})))}]")

    @cached_property
    def _prefixes(self) -> frozenset[str]:
        return frozenset(control[:n] for control in self.controls for n in range(1, len(control)))

    @cached_property
    def _suffixes(self) -> frozenset[str]:
        return frozenset(control[n:] for control in self.controls for n in range(1, len(control)))

    def spans(self, text: str) -> Iterator[tuple[int, int]]:
        """Where control tokens stand, also inside each other."""
        if not self.controls:
            return
        for match in self._first.finditer(text):
            start = match.start()
            for length in self._lengths:
                if text[start : start + length] in self.controls:
                    yield start, start + length

    def edges(self, text: str) -> Iterator[int]:
        """Places for marks at the ends of a text, where a control token may go on."""
        longest = min(self._lengths[-1], len(text)) if self.controls else 0
        if any(text[:n] in self._suffixes for n in range(1, longest + 1)):
            yield 0
        for n in range(1, longest + 1):
            if text[-n:] in self._prefixes:
                yield len(text) - n + 1


@lru_cache(maxsize=64)
def spellings_of(controls: frozenset[str]) -> Spellings:
    """`Spellings`, remembered."""
    return Spellings(controls)


@final
@dataclass(frozen=True, slots=True)
class ControlGuard:
    """Marks what only looks like a control token. mark: see `MarkedPrompt`; "" where nothing does."""

    spelt: Spellings
    mark: str = ""

    def __call__(self, text: str) -> str:
        """What a message says, with its marks."""
        return self._marked(text, {*self._starts(text), *self.spelt.edges(text)}) if self.mark else text

    def inside(self, text: str) -> str:
        """The same for a text of which a template may make a control token, such as a role."""
        return self._marked(text, set(self._starts(text))) if self.mark else text

    def written(self, marked: str) -> MarkedPrompt:
        """What a template wrote, with the marks that are needed."""
        if not self.mark:
            return MarkedPrompt(marked)
        parts = marked.split(self.mark)
        text = "".join(parts)
        spans = list(self.spelt.spans(text))
        kept, at = parts[0], len(parts[0])
        for part in parts[1:]:
            needed = any(start < at < end for start, end in spans)
            kept += (self.mark if needed else "") + part
            at += len(part)
        return MarkedPrompt(kept, self.mark if self.mark in kept else "")

    def _starts(self, text: str) -> Iterator[int]:
        return (start + 1 for start, _ in self.spelt.spans(text))

    def _marked(self, text: str, places: Collection[int]) -> str:
        borders = [0, *sorted(places), len(text)]
        return self.mark.join(text[start:end] for start, end in pairwise(borders))


@lru_cache(maxsize=8)
def special_names(vocabulary: Vocabulary) -> frozenset[str]:
    """How the tokens that stand for no text are called."""
    both = zip(vocabulary.pieces, vocabulary.is_text.tolist(), strict=True)
    return frozenset(piece.decode("utf-8", "replace") for piece, text in both if piece and not text)


def parted_note(prompt: str, messages: Sequence[Message]) -> tuple[str, ...]:
    """What is to be said where control tokens that messages spell were parted (`MarkedPrompt.apart`)."""
    before = sum(text.count(APART) for message in messages for text in (message.role, message.content))
    if not messages or prompt.count(APART) <= before:
        return ()
    return ("a message spells control tokens: U+200B was put into each, so that the API reads them as text",)


def guard_over(texts: Sequence[str], controls: Collection[str]) -> ControlGuard:
    """A guard for these texts; one that does nothing where they have no part of a control token.

    Raises PromptError where every mark stands in the texts.
    """
    spelt = spellings_of(frozenset(controls))
    if not any(next(spelt.spans(text), None) or next(spelt.edges(text), None) is not None for text in texts):
        return ControlGuard(spelt)
    mark = next((mark for mark in _MARKS if not any(mark in text for text in texts)), None)
    if mark is None:
        raise PromptError(
            "the prompt spells control tokens of the model, and holds all of U+FDD0 to U+FDEF",
            hint="remove these code points, which are no characters",
        )
    return ControlGuard(spelt, mark)
