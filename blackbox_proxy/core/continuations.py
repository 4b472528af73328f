"""Continuations of a text in the pair's own tokens, as far as they are known, and the API's next token of each.

The known token paths after a text make a tree. Its nodes are paths whose distributions are known; every token that
leads out of it is a leaf, with the bytes that it has written. The API's next token of a leaf is what its tokenizer cuts
off these bytes first (core.firsts); what the pair writes then may change it. A continuation after which the API would
have cut the text before otherwise is no continuation that it can have: it goes on from the end of one of its tokens.

Nothing here evaluates a model, and no string is weighed. Arrays have the members as rows: 0 the expert, 1 the
anti-expert.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple, final

import numpy as np
from numpy.typing import NDArray

from blackbox_proxy.core.covering import NEGLIGIBLE, Place, Spell, probabilities, usual_paths
from blackbox_proxy.core.firsts import Firsts
from blackbox_proxy.core.vocabulary import Ids, Vocabulary
from blackbox_proxy.types import Floats, Laws, TokenPath

HEAVY = 1e-5
"""Share of the text's own mass from which a leaf is looked at by itself: whether it changes the API's next token."""

UNUSUAL = 0.05
"""Share of the text's own mass above which a spelling of it is read though its tokenizer would not spell it so."""

KEPT_SHARE = 0.05
"""Share of the expert's mass that must go on from the end of a token of the API, or it is not asked for."""


@dataclass(frozen=True, slots=True)
class Node:
    """A token path whose distributions are known.

    gap: bytes of the text that are still to be spelt. text: what is written of the continuation; empty while there is a
    gap. mass: of the path, shape (2,). first: the API's next token if nothing came after `text`; None where it cannot
    go on so. inner: the tokens that lead to other nodes. heavy: the leaves of a share that counts (`HEAVY`). changed:
    those of them with which the API's next token is another one than `first`, by it; in a gap all that it cannot go on
    with, by None. out: which tokens lead to other nodes, or to nothing that can be; shape (V,), None where none does.
    """

    path: TokenPath
    gap: bytes
    text: bytes
    mass: Floats
    laws: Laws
    first: bytes | None
    inner: Ids
    heavy: Ids
    changed: Mapping[bytes | None, Ids]
    out: NDArray[np.bool_] | None

    def chance(self, ids: Ids) -> Floats:
        """Probability of some tokens after the node, together; shape (2,)."""
        return probabilities(self.laws, ids).sum(axis=1) if len(ids) else np.zeros(2)

    def kept(self) -> Floats:
        """Probability of what leaves the API's next token what it is, an end among it; shape (2,)."""
        gone = sum((self.chance(ids) for ids in self.changed.values()), self.chance(self.inner))
        return np.maximum(1.0 - gone, 0.0)


class _Known(NamedTuple):
    """A known path; the first fields as in `Node`. leaves: chance of the tokens that lead to no other, shape (2,)."""

    path: TokenPath
    gap: bytes
    text: bytes
    mass: Floats
    inner: Ids
    leaves: Floats


@final
class Continuations:
    """The tree after one place; see the module. Grows as distributions arrive; `laws` is the caller's and only read.

    after: the text before, of which the API's last token is found. firsts: the bridge to the API's tokenizer. spell:
    the pair's tokenizer. least: share of the whole from which a leaf is looked at by itself; at 0 all are, which only
    small vocabularies allow.

    total: the mass of all that may follow the text. free: the same whatever the API's tokens are. Shape (2,).
    """

    def __init__(
        self,
        vocabulary: Vocabulary,
        at: Place,
        laws: Mapping[TokenPath, Laws],
        *,
        firsts: Firsts,
        after: bytes = b"",
        spell: Spell | None = None,
        least: float = HEAVY,
    ) -> None:
        self.vocabulary, self.firsts, self.spell, self.least = vocabulary, firsts, spell, least
        self._at, self._laws = at, laws
        self._border = self.last = firsts.last(after)
        self._scanned: dict[tuple[TokenPath, bytes], tuple[Ids, dict[bytes | None, Ids]]] = {}
        self.absorb()

    def absorb(self) -> None:
        """Take in the distributions that have become known since."""
        self._children: dict[TokenPath, list[int]] = {}
        for path in self._laws:
            if path:
                self._children.setdefault(path[:-1], []).append(path[-1])
        self.unread_masses: dict[TokenPath, Floats] = {}
        known = list(self._paths())
        self.free: Floats = sum((one.mass * one.leaves for one in known), np.zeros(2))
        self.last = self._border
        self._grow(known)
        if self.last and float(self.total[0]) < KEPT_SHARE * float(self.free[0]):
            self.last = b""
            self._grow(known)

    @property
    def unbordered(self) -> bool:
        """Whether the API would hardly have ended a token where the text ends, so that this is not asked for."""
        return self.last != self._border

    def _grow(self, known: Sequence[_Known]) -> None:
        """Make the nodes, and sum up what may follow the text; `last` says which leaves the API can have."""
        self.nodes: list[Node] = []
        self.total: Floats = np.zeros(2)
        for one in known:
            node = self._node(one)
            self.nodes.append(node)
            self.total += node.mass * self._possible(node, one.leaves)

    def _paths(self) -> Iterator[_Known]:
        """The known paths that spell the text and go on from it; those that spell it and are not known are unread."""
        queue = [(self._at.anchor, self._at.rest, b"", np.ones(2))]
        for path, gap, text, mass in queue:
            laws = self._laws.get(path)
            if laws is None:
                self.unread_masses[path] = mass
                continue
            children = list(self._children_of(path, gap, text))
            inner = np.array([to[-1] for to, _, _ in children], dtype=np.intp)
            chances = probabilities(laws, inner)
            for column, (to, left, written) in enumerate(children):
                queue.append((to, left, written, mass * chances[:, column]))
            if gap:
                queue.extend(self._shorter(path, gap, mass=mass, inner=inner))
            whole = probabilities(laws, self.vocabulary.starting_with(gap)).sum(axis=1) if gap else np.ones(2)
            yield _Known(path, gap, text, mass, inner, np.maximum(whole - chances.sum(axis=1), 0.0))

    def _children_of(self, path: TokenPath, gap: bytes, text: bytes) -> Iterator[tuple[TokenPath, bytes, bytes]]:
        """The known paths one token further which spell the gap to its end or go on from there."""
        for i in self._children.get(path, ()):
            piece = self.vocabulary.pieces[i]
            if self.vocabulary.is_text[i] and piece.startswith(gap):
                yield (*path, i), b"", text + piece[len(gap) :]

    def _shorter(
        self, path: TokenPath, gap: bytes, *, mass: Floats, inner: Ids
    ) -> Iterator[tuple[TokenPath, bytes, bytes, Floats]]:
        """The paths one token further that leave a part of the gap; an unknown one that ends with it is unread."""
        found = list(self.vocabulary.proper_prefixes(gap))
        found += [(i, len(gap)) for i in self.vocabulary.ids_of(gap) if i not in inner]
        if not found:
            return
        masses = mass[:, None] * probabilities(self._laws[path], np.array([i for i, _ in found]))
        for column, (i, length) in enumerate(found):
            if length == len(gap):
                self.unread_masses[(*path, i)] = masses[:, column]
            else:
                yield (*path, i), gap[length:], b"", masses[:, column]

    def _node(self, known: _Known) -> Node:
        path, gap, text, mass, inner, _ = known
        laws = self._laws[path]
        if (path, self.last) not in self._scanned:
            heavy = self._heavy(laws, gap, mass=mass)
            self._scanned[path, self.last] = heavy, self._changed(heavy, gap, text)
        heavy, changed = self._scanned[path, self.last]
        out = None
        if len(inner) or None in changed:
            out = np.zeros(len(self.vocabulary), dtype=np.bool_)
            out[inner] = True
            heavy = heavy[~out[heavy]]
            changed = {string: ids[~out[ids]] for string, ids in changed.items()}
            out[changed.get(None, inner)] = True
        return Node(path, gap, text, mass, laws, self.firsts.next(self.last, text), inner, heavy, changed, out)

    def _heavy(self, laws: Laws, gap: bytes, *, mass: Floats) -> Ids:
        """The text tokens that spell the gap, of a share that counts under either member."""
        ids = self.vocabulary.starting_with(gap) if gap else None
        if self.least <= 0.0:
            return self.vocabulary.order if ids is None else ids
        found = np.zeros(len(self.vocabulary) if ids is None else len(ids), dtype=np.bool_)
        for row, law in enumerate((laws.expert, laws.anti_expert)):
            if mass[row] > 0.0 and self.free[row] > 0.0:
                least = math.log(self.least * self.free[row]) - math.log(mass[row]) + law.log_norm
                found |= (law.logits if ids is None else law.logits[ids]) > least
        if ids is not None:
            return np.asarray(ids[found], dtype=np.intp)
        return np.flatnonzero(found & self.vocabulary.is_text)

    def _changed(self, heavy: Ids, gap: bytes, text: bytes) -> dict[bytes | None, Ids]:
        """The leaves with which the API's next token is another than that of `text`: see `Node.changed`.

        With nothing of the continuation written it is that of the leaf's own bytes; then only those are told apart with
        which the API cannot go on.
        """
        if gap:
            broken = self.firsts.breaking(self.last, gap)
            return {None: broken} if len(broken) else {}
        first = self.firsts.next(self.last, text)
        looked = self._looked(first, text)
        found: dict[bytes | None, list[int]] = {}
        for i in heavy[looked[self.vocabulary.heads[heavy]]].tolist():
            then = self.firsts.next(self.last, text + self.vocabulary.pieces[i])
            if then != first and (text or then is None):
                found.setdefault(then, []).append(i)
        return {string: np.array(ids, dtype=np.intp) for string, ids in found.items()}

    def _looked(self, first: bytes | None, text: bytes) -> NDArray[np.bool_]:
        """First bytes of what may follow and change the API's next token, shape (256,)."""
        if first is None:
            return np.ones(256, dtype=np.bool_)
        looked = np.zeros(256, dtype=np.bool_)
        if self.last:
            looked |= self.firsts.bytes_after(self.last, text)
        if text:
            looked |= self.firsts.bytes_after(first, text[len(first) :])
        return looked

    def _possible(self, node: Node, leaves: Floats) -> Floats:
        """Chance of the leaves of a node that the API can have, of all its `leaves`; shape (2,)."""
        if node.first is None:
            return np.asarray(sum((node.chance(ids) for ids in node.changed.values()), np.zeros(2)))
        return np.maximum(leaves - node.chance(node.changed[None]), 0.0) if None in node.changed else leaves

    def share(self, mass: Floats) -> Floats:
        """A mass divided by that of all that may follow the text; members are rows."""
        whole = np.maximum(self.total, 1e-300)
        return np.asarray(np.clip(mass / (whole if mass.ndim == 1 else whole[:, None]), 0.0, 1.0))

    def written(self, node: Node, i: int) -> bytes:
        """What a leaf has written of the continuation."""
        return node.text + self.vocabulary.pieces[i][len(node.gap) :]

    def next(self, text: bytes) -> bytes | None:
        """The API's next token where `text` follows and nothing more; None where it cannot go on so."""
        return self.firsts.next(self.last, text)

    def is_open(self, text: bytes, *, usual: bool) -> bool:
        """Whether the API's next token may still be another than `next` says.

        usual: only where the pair may well go on so, in its tokenizer's own spelling.
        """
        if usual:
            return self.firsts.keeps(self.last, text) and self.firsts.can_change(text)
        return not self.firsts.is_settled(self.last, text)

    def unread(self, strings: Iterable[bytes] = (), *, least: float = NEGLIGIBLE) -> list[TokenPath]:
        """Paths of further spellings of the text that carry more than a negligible share of its mass, heaviest first.

        With a tokenizer at hand, of those with less than a real share only the ones that the usual spelling of the text
        with one of `strings` runs through.
        """
        shares = {path: float(self.share(mass).max()) for path, mass in self.unread_masses.items()}
        heavy = sorted((path for path, share in shares.items() if share > least), key=lambda path: -shares[path])
        if not heavy or self.spell is None:
            return heavy
        usual = usual_paths(self._at, self.spell, strings)
        return [path for path in heavy if path in usual or shares[path] > UNUSUAL]

    def open_paths(self, *, least: float, usual: bool = True) -> dict[TokenPath, float]:
        """Leaves at which the API's next token is not decided (`is_open`), with the expert's share, above `least`."""
        found: dict[TokenPath, float] = {}
        for node in self.nodes:
            shares = self._expert_shares(node)
            for n in np.flatnonzero(shares > least).tolist():
                text = self.written(node, int(node.heavy[n]))
                if text and self.is_open(text, usual=usual):
                    found[(*node.path, int(node.heavy[n]))] = float(shares[n])
        return found

    def proposals(self, count: int, *, starts: Sequence[bytes] = (), least: float = NEGLIGIBLE) -> list[bytes]:
        """The API's tokens, up to `count`, that the expert finds likeliest to come next, best first.

        They are the next tokens of its likeliest continuations, as far as these are read; with `starts` only those of
        continuations that start so. least: share of a continuation below which it is passed over.
        """
        best: dict[bytes, float] = {}
        for node in self.nodes:
            for string, share in self._named(node, tuple(starts), least=0.0 if starts else least):
                best[string] = best.get(string, 0.0) + share
        return sorted(best, key=best.__getitem__, reverse=True)[:count]

    def _named(self, node: Node, starts: tuple[bytes, ...], *, least: float) -> Iterator[tuple[bytes, float]]:
        """The API's next tokens after a node, with the expert's share."""
        if node.first and (not starts or node.text.startswith(starts)):
            # All that leaves it what it is, an end among it, however little each of it weighs.
            yield node.first, float(self.share(node.mass * node.kept())[0])
        shares = self._expert_shares(node)
        likely = np.flatnonzero(shares > least)
        for n in likely[np.argsort(-shares[likely])].tolist():
            text = self.written(node, int(node.heavy[n]))
            string = self.next(text) if text and (not starts or text.startswith(starts)) else None
            if string and string != node.first:
                yield string, float(shares[n])

    def _expert_shares(self, node: Node) -> Floats:
        """The expert's share of each heavy leaf of a node, shape (n,)."""
        law, share = node.laws.expert, node.mass[0] / max(float(self.total[0]), 1e-300)
        return np.asarray(share * np.exp(law.logits[node.heavy].astype(np.float64) - law.log_norm))

    def prefix(self, string: bytes) -> Floats:
        """The probability that the text goes on with the bytes of `string`, as far as one token shows it; shape (2,).

        Whatever the API's tokens are.
        """
        starting = self.vocabulary.starting_with
        masses = (node.mass * node.chance(starting(node.gap + string)) for node in self.nodes if not node.text)
        return np.asarray(np.clip(sum(masses, np.zeros(2)) / np.maximum(self.free, 1e-300), 0.0, 1.0))

    def end(self) -> Floats:
        """Mass of the text and an end right after it, shape (2,)."""
        ended = (node for node in self.nodes if not node.gap and not node.text)
        return np.asarray(sum((node.mass * node.chance(self.vocabulary.ends) for node in ended), np.zeros(2)))
