"""How probable it is, under both members of the pair, that the API's next token is a given one.

The pair writes a continuation in tokens of its own, and it may take several of them to know what the API's next token
is: after `-` it is `-`, unless `card` follows and the API has `-card`. So the mass of a string s, a token of the API,
is

    F(s) = sum of P(w) over continuations w of the text whose first token, as the API cuts them, is s

and these events are disjoint: with the end of the answer they share out all that may follow (1.8 of docs/method.md). A
leaf of the known tree (core.alignment.continuations) counts for the token that it would be if nothing more came. Where
that may change, it is open: what is certain leaves it out, and reading on from it decides. Nothing here evaluates a
model.

Arrays have the members as rows: 0 the expert, 1 the anti-expert.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import final

import numpy as np
from numpy.typing import NDArray

from blackbox_proxy.core.alignment.continuations import Continuations
from blackbox_proxy.core.alignment.covering import LEAST, first_of, probabilities
from blackbox_proxy.core.alignment.tree import Node, Written
from blackbox_proxy.core.alignment.vocabulary import Ids
from blackbox_proxy.types import Floats, TokenPath

FOREIGN = 0.1
"""Share of the API's probability below which the anti-expert's hardly allows that both mean the same."""

LEAST_MASS = 1e-9
"""No mass, and no remainder of one, is taken for smaller: rounding must not turn into certainty."""

SLIGHT = 30.0
"""In units of `Continuations.least`: the share of a string's mass below which a leaf leaves it what it is."""


@dataclass(frozen=True, slots=True)
class _Branch:
    """Mass, shape (2,), of which the distribution at `path` decides whether it is a string's.

    usual: the pair's tokenizer would spell the string through that path.
    """

    path: TokenPath
    mass: Floats
    usual: bool


@final
class TokenCover:
    """Masses of some strings as the API's next token; see the module.

    tree: the continuations that are known. Where it has grown, the strings must be asked for anew.
    """

    def __init__(self, tree: Continuations) -> None:
        self.tree = tree
        self._strings: Sequence[bytes] = ()

    def ask(self, strings: Sequence[bytes]) -> None:
        """Sum up what is known of `strings`, n of them, b"" for the end of the answer."""
        self._strings = strings
        self._masses: Floats = np.zeros((2, len(strings)))
        self._waiting: dict[int, list[_Branch]] = {}
        for node in self.tree.nodes:
            self._ask_node(node)
        for n, string in enumerate(strings):
            if not string:
                self._masses[:, n] = self.tree.end()

    def _ask_node(self, node: Node) -> None:
        """Add the leaves of one node to the strings that they count for."""
        leaves: list[tuple[int, Ids]] = []
        for n, string in enumerate(self._strings):
            if not string:
                continue
            ids = self._leaves(node, string)
            if ids is not None and len(ids):
                leaves.append((n, ids))
            if node.text and string == node.first:
                self._masses[:, n] += node.mass * node.kept()
            if len(string) > len(node.text) and string.startswith(node.text) and not node.written.is_sealed:
                self._wait(node, n, string)
        if leaves:
            starts = np.cumsum([0, *(len(ids) for _, ids in leaves[:-1])])
            sums = np.add.reduceat(
                probabilities(node.distributions, np.concatenate([ids for _, ids in leaves])), starts, axis=1
            )
            for column, (n, _) in enumerate(leaves):
                self._masses[:, n] += node.mass * sums[:, column]

    def _leaves(self, node: Node, string: bytes) -> Ids | None:
        """The leaves of a node that come to `string`, but for those that change nothing of what is written."""
        tree = self.tree
        if node.first is None or (node.text and tree.firsts.is_piece(string)):
            return node.changed.get(string)
        if not node.text:
            return _without(tree.firsts.ids(string, node.gap), node.out)
        # Where a text is written already: a string that is no token of the API stands for all that starts with it.
        if len(string) <= len(node.text) or not string.startswith(node.text) or node.written.is_sealed:
            return None
        return self._joining(node, _without(tree.vocabulary.starting_with(string[len(node.text) :]), node.out))

    def _joining(self, node: Node, ids: Ids) -> Ids:
        """Those of some leaves before which the pair sets no border of its own: they may be of the same token."""
        if not node.text:
            return ids
        return np.array([i for i in ids.tolist() if not self.tree.leaf(node, i).is_sealed], dtype=np.intp)

    def _wait(self, node: Node, n: int, string: bytes) -> None:
        """Note the leaves that have written only a part of a string: the whole of it may come to be."""
        vocabulary, rest = self.tree.vocabulary, node.gap + string[len(node.text) :]
        leading = [i for i, _ in vocabulary.proper_prefixes(rest, beyond=len(node.gap)) if i not in node.inner]
        parts = self._joining(node, np.array(leading, dtype=np.intp))
        if not len(parts):
            return
        masses = node.mass[:, None] * probabilities(node.distributions, parts)
        matters = np.any(masses > min(LEAST, self.tree.least) * self.tree.total[:, None], axis=0)
        if not matters.any():
            return
        first = first_of(self.tree.spell, vocabulary, rest)
        branches = self._waiting.setdefault(n, [])
        for column, i in enumerate(parts.tolist()):
            if matters[column]:
                branches.append(_Branch((*node.path, i), masses[:, column], first is None or i == first))

    def estimate(self) -> Floats:
        """The strings' probabilities, shape (2, n): all leaves as if nothing more came, and what may still be written.

        Of that only what is spelt as usual is counted, in full.
        """
        mass = self._masses.copy()
        for n, branches in self._waiting.items():
            mass[:, n] += sum((branch.mass for branch in branches if branch.usual), np.zeros(2))
        return self.tree.share(mass)

    def once(self) -> Floats:
        """The strings' probabilities as if nothing more were written than is known, shape (2, n).

        Here a leaf counts for one string alone, so that these may be summed.
        """
        return self.tree.share(self._masses)

    def low_of(self, index: int) -> Floats:
        """What is certain of a string's estimate, shape (2,), as far as the pair's usual spellings go."""
        undecided = sum((branch.mass for branch in self._open(index, usual=True)), np.zeros(2))
        return self.tree.share(np.maximum(self._masses[:, index] - undecided, 0.0))

    def widest(self, index: int, *, usual: bool = False) -> TokenPath | None:
        """The path whose distributions would narrow the bounds of string `index` most; None where they meet.

        usual: only paths that the estimate depends on.
        """
        branches = [*self._open(index, usual=usual), *self._waiting.get(index, ())]
        branches = [branch for branch in branches if (branch.usual or not usual) and (branch.mass > 0.0).any()]
        best = max(branches, key=lambda branch: float(self.tree.share(branch.mass).max()), default=None)
        return best.path if best else None

    def _open(self, index: int, *, usual: bool) -> Iterator[_Branch]:
        """The leaves that count for a string and may still change, but for those that are next to nothing of it."""
        string, least = self._strings[index], SLIGHT * self.tree.least * self._masses[:, index, None]
        for node in self.tree.nodes if string else ():
            if not (node.text.startswith(string) or string.startswith(node.text)):
                continue
            leaves = self._counted(node, string)
            masses = node.mass[:, None] * probabilities(node.distributions, leaves)
            for column in np.flatnonzero((masses > least).any(axis=0)).tolist():
                i = int(leaves[column])
                if self.tree.is_open_leaf(node, i, usual=usual):
                    yield _Branch((*node.path, i), masses[:, column], usual=True)

    def _counted(self, node: Node, string: bytes) -> Ids:
        """The heavy leaves of a node that count for `string`."""
        mask = np.zeros(len(self.tree.vocabulary), dtype=np.bool_)
        if node.text and string == node.first:
            for ids in node.changed.values():
                mask[ids] = True
            return node.heavy[~mask[node.heavy]]
        leaves = self._leaves(node, string)
        if leaves is None or not len(leaves):
            return node.heavy[:0]
        mask[node.heavy] = True
        return leaves[mask[leaves]]

    def bounds(self) -> tuple[Floats, Floats]:
        """Lower and upper bounds of the strings' probabilities, each of shape (2, n), whatever is not known."""
        low, high, tree = self._masses.copy(), self._masses.copy(), self.tree
        unread = np.asarray(sum(tree.unread_masses.values(), np.zeros(2)))
        least, most = tree.total.copy(), tree.total + unread
        for written, mass in self._unsettled():
            first, last, text = tree.next(written), tree.before(written), written.text
            if first is None:
                most += mass
            elif not tree.firsts.is_final(last, last + text):
                least -= mass
            for n, string in enumerate(self._strings):
                if string == first:
                    low[:, n] -= mass
                elif string and text.startswith(string):
                    high[:, n] += mass
        for n, branches in self._waiting.items():
            high[:, n] += sum((branch.mass for branch in branches), np.zeros(2))
        high = (high + unread[:, None]) / np.maximum(least, 1e-300)[:, None]
        return np.clip(low / np.maximum(most, 1e-300)[:, None], 0.0, 1.0), np.minimum(high, 1.0)

    def _unsettled(self) -> Iterator[tuple[Written, Floats]]:
        """What is written at the leaves at which the API's next token may still be another, with their mass."""
        for node in self.tree.nodes:
            masses = node.mass[:, None] * probabilities(node.distributions, node.heavy)
            for n, i in enumerate(node.heavy.tolist()):
                written = self.tree.leaf(node, i)
                if self.tree.is_open(written, usual=False):
                    yield written, masses[:, n]


def _without(ids: Ids, out: NDArray[np.bool_] | None) -> Ids:
    """Some tokens but for those that are marked in `out`."""
    return ids if out is None or not len(ids) else ids[~out[ids]]


def foreign_of(
    cover: TokenCover, pieces: Sequence[bytes], tables: tuple[Floats, Floats], *, logp: Floats
) -> frozenset[bytes]:
    """Strings that the API showed and that are no tokens as the pair cuts; their masses are put into both tables.

    They stand for all that starts with them: those that the pair has no token for, and those that the API finds much
    likelier than the anti-expert finds the token, but about as likely as all that starts so. logp: the API's log-probs
    of the first pieces, those that it showed.
    """
    foreign, masses = set(), tables[0]
    for n, piece in enumerate(pieces[: len(logp)]):
        if not piece:
            continue
        if not cover.tree.firsts.is_piece(piece):
            foreign.add(piece)
        elif masses[1, n] < FOREIGN * math.exp(logp[n]):
            prefix = cover.tree.prefix(piece)
            logs = np.log(np.maximum([masses[1, n], prefix[1]], LEAST_MASS))
            if abs(logs[1] - logp[n]) < abs(logs[0] - logp[n]):
                for table in tables:
                    table[:, n] = prefix
                foreign.add(piece)
    return frozenset(foreign)
