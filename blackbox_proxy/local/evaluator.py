"""Next-token logits after any token paths, from one context, re-reading as little as possible.

The longest path asked for becomes the trunk: it stays in the main sequence of the KV cache, and the next call starts
from what it shares with it. The other paths are forks off the trunk, evaluated in the same batch as sequences that
share its cells, and forgotten afterwards. Knows nothing of pairs, prompts or bytes.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import final

import numpy as np

from blackbox_proxy.errors import PromptError
from blackbox_proxy.local.llama import Context
from blackbox_proxy.types import Logits, TokenPath


@dataclass(slots=True)
class _Node:
    """A token to evaluate: where it stands, which sequences run through it, and who wants its row."""

    token: int
    position: int
    sequences: list[int]
    wanted: list[int] = field(default_factory=list)


def log_norm(logits: Logits) -> float:
    """The normaliser of a row, log sum exp(logits), summed in float64."""
    top = float(logits.max())
    return top + math.log(np.exp(logits - np.float32(top)).sum(dtype=np.float64))


def shared(one: Sequence[int], other: Sequence[int]) -> int:
    """How many tokens two paths have in common from their start.

    >>> shared((1, 2, 3), (1, 2, 4, 5))
    2
    """
    limit = min(len(one), len(other))
    for i in range(limit):
        if one[i] != other[i]:
            return i
    return limit


@final
class Evaluator:
    """Owns the token path that is held in a context's KV cache."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._held: TokenPath = ()

    def __call__(self, paths: Sequence[TokenPath]) -> list[Logits]:
        """The logits after each path (non-empty token ids from the very first token), in the order given.

        Raises PromptError where a path does not fit into the context.
        """
        rows: list[Logits | None] = [None] * len(paths)
        for group in self._groups(paths):
            self._evaluate(paths, group, rows)
        return [row for row in rows if row is not None]

    def _groups(self, paths: Sequence[TokenPath]) -> Iterator[list[int]]:
        """The paths in groups that one evaluation can hold, longest first: by its forks, and by its spare cells."""
        group: list[int] = []
        spare = self._context.spare
        for index in sorted(range(len(paths)), key=lambda i: -len(paths[i])):
            own = max(len(paths[index]) - shared(paths[index], paths[group[0]]), 1) if group else 1
            if group and (len(group) >= max(self._context.forks, 1) or own > spare):
                yield group
                group, spare, own = [], self._context.spare, 1
            group.append(index)
            spare -= own
        if group:
            yield group

    def clear(self) -> None:
        """Empty the cache."""
        self._context.truncate(0, 0)
        self._held = ()

    def _evaluate(self, paths: Sequence[TokenPath], chosen: Sequence[int], rows: list[Logits | None]) -> None:
        trunk = paths[chosen[0]]
        self._check_fit(trunk)
        if self._context.forks and shared(trunk, self._held) == len(trunk) < len(self._held):
            trunk = self._held
        else:
            self._settle(trunk)
        nodes = self._plan(paths, chosen, trunk)
        forks = {s for node in nodes for s in node.sequences if s}
        try:
            self._run(nodes, rows)
        except BaseException:
            self.clear()
            raise
        finally:
            for fork in forks:
                self._context.truncate(fork, 0)
        self._held = trunk

    def _check_fit(self, path: TokenPath) -> None:
        if len(path) > self._context.size:
            raise PromptError(
                f"{len(path)} tokens do not fit into the local model's context of {self._context.size}",
                hint="shorten the prompt, ask for fewer tokens, or give the pair a larger `context`",
            )

    def _settle(self, trunk: TokenPath) -> None:
        """Cut the cache back to what it shares with `trunk`, less one token so that its row can be made."""
        keep = min(shared(trunk, self._held), len(trunk) - 1)
        if keep < len(self._held):
            self._context.truncate(0, keep)
            self._held = self._held[:keep]

    def _plan(self, paths: Sequence[TokenPath], chosen: Sequence[int], trunk: TokenPath) -> list[_Node]:
        """The tokens to evaluate, parents before children, each listed once for all the forks through it."""
        cached = len(self._held)
        nodes = {trunk[: at + 1]: _Node(trunk[at], at, [0]) for at in range(cached, len(trunk))}
        fork = 0
        for index in chosen:
            path = paths[index]
            known = nodes.get(path)
            if known is None:
                fork += 1
                known = self._branch(path, fork, nodes)
            known.wanted.append(index)
        return list(nodes.values())

    def _branch(self, path: TokenPath, fork: int, nodes: dict[TokenPath, _Node]) -> _Node:
        common = min(shared(path, self._held), len(path) - 1)
        self._context.fork(fork, common)
        for at in range(common, len(path)):
            node = nodes.setdefault(path[: at + 1], _Node(path[at], at, []))
            node.sequences.append(fork)
        return nodes[path]

    def _run(self, nodes: Sequence[_Node], rows: list[Logits | None]) -> None:
        for start in range(0, len(nodes), self._context.batch):
            part = nodes[start : start + self._context.batch]
            self._context.decode(
                [node.token for node in part],
                positions=[node.position for node in part],
                sequences=[node.sequences for node in part],
                wanted=[bool(node.wanted) for node in part],
            )
            for at, node in enumerate(part):
                if node.wanted:
                    row = self._context.row(at)
                    for index in node.wanted:
                        rows[index] = row
