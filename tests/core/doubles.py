"""An API and a pair that say exactly what a test writes down, for places that no random toy reaches."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from blackbox_proxy.core.alignment.vocabulary import Vocabulary
from blackbox_proxy.types import (
    NO_RUN,
    Ask,
    Candidate,
    Capabilities,
    Distribution,
    Kind,
    PairDistributions,
    PairPrompt,
    Position,
    Prompt,
    Purpose,
    Reply,
    TokenPath,
)

Chances = Mapping[bytes, float]
"""Probabilities by piece; b"" is the end."""

UNPROMPTED = PairPrompt((), ())

FAINT = 1e-7
"""What a table pair gives to every token that is not in the table."""


def position(sampled: bytes, chances: Chances, *, end: bytes = b"</s>") -> Position:
    """The API sampled `sampled` and showed `chances`; the rest of 1 is its tail."""
    top = tuple(
        Candidate(piece or end, math.log(chance), Kind.TEXT if piece else Kind.END)
        for piece, chance in sorted(chances.items(), key=lambda item: -item[1])
    )
    (chosen,) = (c for c in top if c.piece == (sampled or end))
    return Position(chosen, top, max(0.0, 1.0 - math.fsum(chances.values())), top[-1].logp)


@dataclass
class ScriptedApi:
    """Answers the next reply of a list, whatever is asked."""

    replies: list[Reply]
    model: str = "scripted"
    asked: list[Ask] = field(default_factory=list)
    vocabulary: Vocabulary | None = None

    def capabilities(self) -> Capabilities:
        return Capabilities(top_k=5, token_ids=True)

    def text(self, prompt: Prompt) -> str:
        return prompt.text

    def send(self, ask: Ask, _purpose: Purpose = NO_RUN, /) -> Reply:
        self.asked.append(ask)
        return self.replies.pop(0)

    async def asend(self, ask: Ask, _purpose: Purpose = NO_RUN, /) -> Reply:
        return self.send(ask)


@dataclass
class TablePair:
    """Two members whose next-token chances depend on the answer so far, as tables say; unlisted ones get `other`.

    usual: texts that are not spelt with the longest pieces.
    """

    vocabulary: Vocabulary
    expert: Mapping[bytes, Chances]
    anti_expert: Mapping[bytes, Chances] = field(default_factory=dict)
    other: Chances = field(default_factory=lambda: {b"": 1.0})
    usual: Mapping[bytes, Sequence[int]] = field(default_factory=dict)

    def spell(self, text: bytes) -> Sequence[int]:
        return self.usual.get(text) or self.vocabulary.spell(text)

    def api_ids(self, text: str) -> TokenPath:  # noqa: ARG002 - tables read no prompt
        return ()

    def prompt(self, prompt: Prompt) -> PairPrompt:  # noqa: ARG002 - as above
        return UNPROMPTED

    def distributions(self, prompt: PairPrompt, paths: Sequence[TokenPath]) -> list[PairDistributions]:  # noqa: ARG002 - as above
        texts = [self.vocabulary.text_of(path) for path in paths]
        return [
            PairDistributions(self._distribution(self.expert, text), self._distribution(self.anti_expert, text))
            for text in texts
        ]

    def _distribution(self, table: Mapping[bytes, Chances], text: bytes) -> Distribution:
        chances = np.full(len(self.vocabulary), FAINT)
        for piece, chance in table.get(text, self.other).items():
            chances[self.vocabulary.pieces.index(piece) if piece else self.vocabulary.ends[0]] = chance
        return Distribution(np.log(chances).astype(np.float32), math.log(chances.sum()))
