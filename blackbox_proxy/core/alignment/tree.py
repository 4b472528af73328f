"""Nodes and leaves of the tree of known continuations (core.alignment.continuations). Data alone.

Arrays have the members as rows: 0 the expert, 1 the anti-expert.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from blackbox_proxy.core.alignment.covering import probabilities
from blackbox_proxy.core.alignment.vocabulary import Ids
from blackbox_proxy.types import Floats, PairDistributions, TokenPath


class Written(NamedTuple):
    """What a path has written of the continuation.

    text: all of it. cut: as much as the API's next token depends on: up to the first border that the pair's tokenizer
    would not have set. apart: whether the continuation begins at such a border: the API may go on with anything then.
    """

    text: bytes = b""
    cut: bytes = b""
    apart: bool = False

    @property
    def is_sealed(self) -> bool:
        """Whether what is written next changes nothing of the API's next token."""
        return len(self.cut) < len(self.text)


@dataclass(frozen=True, slots=True)
class Node:
    """A token path whose distributions are known.

    gap: bytes of the text that are still to be spelt. written: what is written of the continuation; nothing while there
    is a gap. mass: of the path, shape (2,). first: the API's next token if nothing more came; None where it cannot go
    on so. inner: the tokens that lead to other nodes. heavy: the leaves of a share that counts (`HEAVY`). changed:
    those of them with which the API's next token is another one than `first`, by it; in a gap all that it cannot go on
    with, by None. out: which tokens lead to other nodes, or to nothing that can be; shape (V,), None where none does.
    """

    path: TokenPath
    gap: bytes
    written: Written
    mass: Floats
    distributions: PairDistributions
    first: bytes | None
    inner: Ids
    heavy: Ids
    changed: Mapping[bytes | None, Ids]
    out: NDArray[np.bool_] | None

    @property
    def text(self) -> bytes:
        """All that is written of the continuation."""
        return self.written.text

    def chance(self, ids: Ids) -> Floats:
        """Probability of some tokens after the node, together; shape (2,)."""
        return probabilities(self.distributions, ids).sum(axis=1) if len(ids) else np.zeros(2)

    def kept(self) -> Floats:
        """Probability of what leaves the API's next token what it is, an end among it; shape (2,)."""
        gone = sum((self.chance(ids) for ids in self.changed.values()), self.chance(self.inner))
        return np.maximum(1.0 - gone, 0.0)


class KnownPath(NamedTuple):
    """A known path; the first fields as in `Node`. leaves: chance of the tokens that lead to no other, shape (2,)."""

    path: TokenPath
    gap: bytes
    written: Written
    mass: Floats
    inner: Ids
    leaves: Floats
