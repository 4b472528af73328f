"""What the pair says: distributions, scores of strings, and the Protocols of whatever can stand in its place."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from blackbox_proxy.types.prompts import Prompt

Logits = NDArray[np.float32]
"""Raw scores over a vocabulary, shape (V,), as llama.cpp gives them."""


Floats = NDArray[np.float64]
"""Log-probabilities or masses that are summed; always float64."""


TokenPath = tuple[int, ...]
"""Token ids of the pair's vocabulary, counted from the first token of the answer."""


@dataclass(frozen=True, slots=True)
class PairPrompt:
    """The token ids that each member of the pair reads before the answer."""

    expert: TokenPath
    anti_expert: TokenPath


@dataclass(frozen=True, slots=True)
class Distribution:
    """A next-token distribution over the pair's vocabulary: log p(v) = logits[v] - log_norm."""

    logits: Logits
    log_norm: float


@dataclass(frozen=True, slots=True)
class PairDistributions:
    """The two members' distributions at one place."""

    expert: Distribution
    anti_expert: Distribution


@dataclass(frozen=True, slots=True)
class Scores:
    """How probable it is that a text goes on with each of n strings, under both members.

    expert, anti_expert: natural log-probs, float64, shape (n,); lower, upper: their certain bounds, shape (2, n), the
    expert first; end: log-probs that the answer ends here, (expert, anti-expert). other: log E - log A of every string
    that was not asked about, where a source has one for all; None where it follows from the probabilities.
    """

    expert: Floats
    anti_expert: Floats
    lower: Floats
    upper: Floats
    end: tuple[float, float]
    other: float | None = None

    @property
    def offset(self) -> Floats:
        """log E - log A of each string, shape (n,)."""
        return self.expert - self.anti_expert


class OffsetSource(Protocol):
    """A source of offsets: how probable two models find it that a text goes on with given bytes.

    A pair is one (`local.pair.Pair.score`); so are several pairs and a table (`core.sources`), and anything else with
    this method. Where it also has `propose`, strings that the API does not show can win.
    """

    def score(self, context: bytes, pieces: Sequence[bytes], *, prompt: Prompt) -> Scores: ...


@runtime_checkable
class Proposer(Protocol):
    """Names the strings that the expert would go on with, likeliest first; at most `count`."""

    def propose(self, context: bytes, count: int, *, prompt: Prompt) -> Sequence[bytes]: ...


class Tokenizer(Protocol):
    """Cuts bytes into token ids of the pair, reading them as plain text (no special tokens are recognised)."""

    def __call__(self, text: bytes) -> Sequence[int]: ...
