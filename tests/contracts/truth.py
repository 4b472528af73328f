"""What a server should have said: the log-probs of the same GGUF, read in this process.

Knows no adapter and no server.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

import numpy as np

from blackbox_proxy.local.evaluator import Evaluator, log_norm
from blackbox_proxy.local.llama import Context, Model
from blackbox_proxy.types import Candidate, Floats, Position, Reply, TokenPath


@dataclass(frozen=True)
class Difference:
    """How far a position is from the true distribution.

    shown: nats, the most over its top-k. tail: probability. above: nats by which the likeliest token outside the top-k
    passes its ceiling. best: nats that the sampled token lacks to the likeliest.
    """

    shown: float
    tail: float
    above: float
    best: float


@dataclass(frozen=True)
class Truth:
    """A model in this process; distributions are remembered, since all routes are asked the same."""

    model: Model
    evaluate: Evaluator
    distributions: dict[TokenPath, Floats] = field(default_factory=dict)

    @classmethod
    @contextmanager
    def of(cls, path: Path) -> Iterator[Self]:
        """The model of a file. In 32 bits: other weights are rounded by how many rows are read at once."""
        with Model(path) as model, Context(model, size=512) as context:
            yield cls(model, Evaluator(context))

    def distribution(self, path: TokenPath) -> Floats:
        """The log-probs of all tokens after `path`, shape (V,)."""
        if path not in self.distributions:
            [row] = self.evaluate([path])
            self.distributions[path] = row.astype(np.float64) - log_norm(row)
        return self.distributions[path]

    def read(self, text: str) -> TokenPath:
        """A prompt's ids, with its special tokens read as such."""
        return tuple(self.model.tokenize(text.encode(), special=True))

    def id_of(self, candidate: Candidate) -> int | None:
        """The token that was meant; None where its bytes are those of several, or lost."""
        if candidate.id is not None:
            return candidate.id
        ids = self.model.vocabulary.ids_of(candidate.piece)
        return ids[0] if len(ids) == 1 else None

    def along(self, reply: Reply, start: TokenPath) -> Iterator[tuple[Position, Floats]]:
        """Each position with the true distribution there, as far as the tokens before it are known."""
        path = start
        for position in reply.positions:
            yield position, self.distribution(path)
            number = self.id_of(position.sampled)
            if number is None:
                return
            path = (*path, number)


def difference(position: Position, distribution: Floats, ids: Sequence[int]) -> Difference:
    """`ids` are the tokens of its top-k in order, the sampled one among them."""
    logps = np.array([c.logp for c in position.top])
    others = np.delete(distribution, ids)
    return Difference(
        shown=float(np.abs(logps - distribution[list(ids)]).max()),
        tail=abs(position.tail - float(np.exp(others).sum())),
        above=float(others.max()) - position.ceiling,
        best=float(distribution.max() - distribution[ids[position.top.index(position.sampled)]]),
    )
