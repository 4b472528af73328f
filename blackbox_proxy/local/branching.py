"""Which tokens an evaluation of several paths has to read: each of them once, parents before children.

Pure: knows paths and lengths, no cache and no model.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from blackbox_proxy.types import TokenPath


@dataclass(slots=True)
class BatchNode:
    """A token to evaluate: where it stands, which sequences run through it, and which paths end there.

    sequences: 0 is the trunk, 1 and more are forks. paths: the indices of those that need its row of logits.
    """

    token: int
    position: int
    sequences: list[int]
    paths: list[int] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class BatchPlan:
    """What is read for some paths behind the first tokens of a trunk.

    shares: of each fork, in order, how many tokens it has in common with what is held of the trunk.
    """

    nodes: Sequence[BatchNode]
    shares: Sequence[int]


def shared(one: TokenPath, other: TokenPath) -> int:
    """How many tokens two paths have in common from their start.

    >>> shared((1, 2, 3), (1, 2, 4, 5))
    2
    """
    low, high = 0, min(len(one), len(other))
    if one[:high] == other[:high]:
        return high
    while high - low > 1:  # the first `low` are equal, the first `high` are not
        middle = (low + high) // 2
        if one[low:middle] == other[low:middle]:
            low = middle
        else:
            high = middle
    return low


def groups(paths: Sequence[TokenPath], *, forks: int, spare: int) -> Iterator[list[int]]:
    """Indices of the paths in groups that one evaluation can hold, longest first: by its forks, and by spare cells."""
    group: list[int] = []
    free = spare
    for index in sorted(range(len(paths)), key=lambda i: -len(paths[i])):
        cells = max(len(paths[index]) - shared(paths[index], paths[group[0]]), 1) if group else 1
        if group and (len(group) >= max(forks, 1) or cells > free):
            yield group
            group, free, cells = [], spare, 1
        group.append(index)
        free -= cells
    if group:
        yield group


def plan(paths: Sequence[TokenPath], chosen: Sequence[int], *, trunk: TokenPath, held: int) -> BatchPlan:
    """What to read for the `chosen` paths where the first `held` tokens of `trunk` are at hand, but no row of them."""
    growing = _Growing(trunk, held)
    for index in chosen:
        growing.add(paths[index], index)
    return BatchPlan(growing.nodes, growing.shares)


class _Growing:
    """A plan in the making. A node is found by its parent and its token; the held tokens are parents below zero."""

    def __init__(self, trunk: TokenPath, held: int) -> None:
        self._trunk, self._held = trunk, held
        self._index: dict[tuple[int, int], int] = {}
        self.nodes: list[BatchNode] = []
        self.shares: list[int] = []
        self._grow(trunk, held, 0)

    def add(self, path: TokenPath, index: int) -> None:
        """Let a path have the row after its last token, by a new fork unless another sequence runs there."""
        start = min(shared(path, self._trunk), self._held, len(path) - 1)
        at = self._walk(path, start)
        if at is None:
            self.shares.append(start)
            at = self._grow(path, start, len(self.shares))
        self.nodes[at].paths.append(index)

    def _walk(self, path: TokenPath, start: int) -> int | None:
        """The node of the last token, where all behind `start` are known."""
        at: int | None = ~start
        for token in path[start:]:
            at = None if at is None else self._index.get((at, token))
        return at

    def _grow(self, path: TokenPath, start: int, sequence: int) -> int:
        """Lead a sequence through all tokens behind `start`; the last one's node."""
        at = ~start
        for position in range(start, len(path)):
            key = at, path[position]
            if key not in self._index:
                self._index[key] = len(self.nodes)
                self.nodes.append(BatchNode(path[position], position, []))
            at = self._index[key]
            self.nodes[at].sequences.append(sequence)
        return at
