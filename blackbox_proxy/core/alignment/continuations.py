"""Continuations of a text in the pair's own tokens, as far as they are known, and the API's next token of each.

The known token paths after a text make a tree. Its nodes are paths whose distributions are known; every token that
leads out of it is a leaf, with the bytes that it has written. The API's next token of a leaf is what its tokenizer cuts
off these bytes first (core.alignment.firsts); what the pair writes then may change it. A continuation after which the
API would have cut the text before otherwise is no continuation that it can have: it goes on from the end of one of its
tokens.

Models also write what their tokenizer would have joined: ` ` and a line end, where one token has both. Where the pair
sets a border that its own tokenizer would not set, the API is taken to set it too; so for an API with the tokenizer of
the pair its next token is the pair's next token, whatever follows.

Nothing here evaluates a model, and no string is scored. Arrays have the members as rows: 0 the expert, 1 the
anti-expert.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import final

import numpy as np
from numpy.typing import NDArray

from blackbox_proxy.core.alignment.covering import NEGLIGIBLE, Place, Spell, probabilities, usual_paths
from blackbox_proxy.core.alignment.firsts import Firsts, pair_firsts
from blackbox_proxy.core.alignment.tree import KnownPath, Node, Written
from blackbox_proxy.core.alignment.vocabulary import Ids, Vocabulary
from blackbox_proxy.types import Floats, PairDistributions, TokenPath

HEAVY = 1e-5
"""Share of the text's own mass from which a leaf is looked at by itself: whether it changes the API's next token."""

BORDER = 10.0
"""In units of `least`: the share from which it is asked of a leaf whether the API could have it after its last token.

Those below change, by their sum, what all strings are divided by, and no string against another.
"""

UNUSUAL = 0.05
"""Share of the text's own mass above which a spelling of it is read though its tokenizer would not spell it so."""

KEPT_SHARE = 0.05
"""Share of the expert's mass that must go on from the end of a token of the API, or it is not asked for."""


@final
class Continuations:
    """The tree after one place; see the module. Grows as distributions arrive; `distributions` is only read.

    after: the text before, of which the API's last token is found. firsts: the bridge to the API's tokenizer. spell:
    the pair's tokenizer. least: share of the whole from which a leaf is looked at by itself; at 0 all are, which only
    small vocabularies allow.

    total: the mass of all that may follow the text. free: the same whatever the API's tokens are. Shape (2,).
    """

    def __init__(
        self,
        vocabulary: Vocabulary,
        at: Place,
        distributions: Mapping[TokenPath, PairDistributions],
        *,
        firsts: Firsts,
        after: bytes = b"",
        spell: Spell | None = None,
        least: float = HEAVY,
    ) -> None:
        self.vocabulary, self.firsts, self.spell, self.least = vocabulary, firsts, spell, least
        self._pair_firsts = pair_firsts(vocabulary, spell) if spell else None
        self._at, self._distributions = at, distributions
        self._border = self.last = firsts.last(after)
        self._scanned: dict[tuple[TokenPath, bytes], tuple[Ids, dict[bytes | None, Ids]]] = {}
        self._openness: dict[tuple[TokenPath, int, bytes, bool], bool] = {}
        self.absorb()

    def absorb(self) -> None:
        """Take in the distributions that have become known since."""
        self._children: dict[TokenPath, list[int]] = {}
        for path in self._distributions:
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

    def _grow(self, known: Sequence[KnownPath]) -> None:
        """Make the nodes, and sum up what may follow the text; `last` says which leaves the API can have."""
        self.nodes: list[Node] = []
        self.total: Floats = np.zeros(2)
        for one in known:
            node = self._node(one)
            self.nodes.append(node)
            self.total += node.mass * self._possible(node, one.leaves)

    def _paths(self) -> Iterator[KnownPath]:
        """The known paths that spell the text and go on from it; those that spell it and are not known are unread."""
        queue = [(self._at.anchor, self._at.rest, Written(), np.ones(2))]
        for path, gap, written, mass in queue:
            distributions = self._distributions.get(path)
            if distributions is None:
                self.unread_masses[path] = mass
                continue
            inner = np.array([*self._children_of(path, gap)], dtype=np.intp)
            chances = probabilities(distributions, inner)
            whole = probabilities(distributions, self.vocabulary.starting_with(gap)).sum(axis=1) if gap else np.ones(2)
            known = KnownPath(path, gap, written, mass, inner, np.maximum(whole - chances.sum(axis=1), 0.0))
            for column, i in enumerate(inner.tolist()):
                queue.append(((*path, i), b"", self.leaf(known, i), mass * chances[:, column]))
            if gap:
                queue.extend(self._shorter(path, gap, mass=mass, inner=inner))
            yield known

    def _children_of(self, path: TokenPath, gap: bytes) -> Iterator[int]:
        """The tokens that lead to a known path which spells the gap to its end or goes on from there."""
        for i in self._children.get(path, ()):
            if self.vocabulary.is_text[i] and self.vocabulary.pieces[i].startswith(gap):
                yield i

    def _shorter(
        self, path: TokenPath, gap: bytes, *, mass: Floats, inner: Ids
    ) -> Iterator[tuple[TokenPath, bytes, Written, Floats]]:
        """The paths one token further that leave a part of the gap; an unknown one that ends with it is unread."""
        tokens = list(self.vocabulary.proper_prefixes(gap))
        tokens += [(i, len(gap)) for i in self.vocabulary.ids_of(gap) if i not in inner]
        if not tokens:
            return
        masses = mass[:, None] * probabilities(self._distributions[path], np.array([i for i, _ in tokens]))
        for column, (i, length) in enumerate(tokens):
            if length == len(gap):
                self.unread_masses[(*path, i)] = masses[:, column]
            else:
                yield (*path, i), gap[length:], Written(), masses[:, column]

    def _node(self, known: KnownPath) -> Node:
        path, gap, written, mass, inner, _ = known
        distributions = self._distributions[path]
        if (path, self.last) not in self._scanned:
            heavy = asked = self._heavy(distributions, gap, mass=mass)
            if not written.text:  # only whether the API could go on so is asked then, for which less will do
                asked = self._heavy(distributions, gap, mass=mass, units=BORDER)
            self._scanned[path, self.last] = heavy, self._changed(asked, known)
        heavy, changed = self._scanned[path, self.last]
        out = None
        if len(inner) or None in changed:
            out = np.zeros(len(self.vocabulary), dtype=np.bool_)
            out[inner] = True
            heavy = heavy[~out[heavy]]
            changed = {string: ids[~out[ids]] for string, ids in changed.items()}
            out[changed.get(None, inner)] = True
        return Node(path, gap, written, mass, distributions, self.next(written), inner, heavy, changed, out)

    def _heavy(self, distributions: PairDistributions, gap: bytes, *, mass: Floats, units: float = 1.0) -> Ids:
        """The text tokens that spell the gap, of a share of some `units` of `least` under either member."""
        ids = self.vocabulary.starting_with(gap) if gap else None
        if self.least <= 0.0:
            return self.vocabulary.order if ids is None else ids
        mask = np.zeros(len(self.vocabulary) if ids is None else len(ids), dtype=np.bool_)
        for row, distribution in enumerate((distributions.expert, distributions.anti_expert)):
            if mass[row] > 0.0 and self.free[row] > 0.0:
                least = math.log(units * self.least * self.free[row]) - math.log(mass[row]) + distribution.log_norm
                mask |= (distribution.logits if ids is None else distribution.logits[ids]) > least
        if ids is not None:
            return np.asarray(ids[mask], dtype=np.intp)
        return np.flatnonzero(mask & self.vocabulary.is_text)

    def _changed(self, heavy: Ids, known: KnownPath) -> dict[bytes | None, Ids]:
        """The leaves with which the API's next token is another than without them: see `Node.changed`.

        With nothing of the continuation written it is that of the leaf's own bytes; then only those are told apart with
        which the API cannot go on.
        """
        written = known.written
        if known.gap:
            broken = self.firsts.breaking(self.last, known.gap)
            return {None: broken} if len(broken) else {}
        first, last = self.next(written), self.before(written)
        looked = self._looked(first, written)
        leaves: dict[bytes | None, list[int]] = {}
        for i in heavy[looked[self.vocabulary.heads[heavy]]].tolist():
            text = written.text + self.vocabulary.pieces[i]
            if not last and first and self.firsts.is_final(first, text):
                continue
            joined = self.firsts.next(last, text)
            if joined == first or not (written.text or joined is None):
                continue
            # Asked last, since it is what takes time: whether the pair's tokenizer would have joined them.
            then = self.next(self.leaf(known, i))
            if then != first and (written.text or then is None):
                leaves.setdefault(then, []).append(i)
        return {string: np.array(ids, dtype=np.intp) for string, ids in leaves.items()}

    def _looked(self, first: bytes | None, written: Written) -> NDArray[np.bool_]:
        """First bytes of what may follow and change the API's next token, shape (256,)."""
        looked = np.zeros(256, dtype=np.bool_)
        if written.is_sealed:
            return looked
        if first is None:
            return ~looked
        if last := self.before(written):
            looked |= self.firsts.bytes_after(last, written.text)
        if written.text:
            looked |= self.firsts.bytes_after(first, written.text[len(first) :])
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

    def leaf(self, at: Node | KnownPath, i: int) -> Written:
        """What is written with one more token, the id `i`, than at a known path."""
        more, before = self.vocabulary.pieces[i][len(at.gap) :], at.written
        text = before.text + more
        if at.gap:
            return Written(text, text)
        if not before.text:
            return Written(text, text, apart=self._sets_border(at.path, i))
        sealed = before.is_sealed or self._sets_border(at.path, i)
        return Written(text, before.cut if sealed else text, apart=before.apart)

    def _sets_border(self, path: TokenPath, i: int) -> bool:
        """Whether the pair ends a token before `i` where its tokenizer would not have."""
        pieces = self.vocabulary.pieces
        return bool(path) and self._pair_firsts is not None and not self._pair_firsts.keeps(pieces[path[-1]], pieces[i])

    def before(self, written: Written) -> bytes:
        """The API's token that must end where the continuation begins; b"" where the API may go on with anything."""
        return b"" if written.apart else self.last

    def next(self, written: Written) -> bytes | None:
        """The API's next token where nothing more is written; None where it cannot go on so."""
        return self.firsts.next(self.before(written), written.cut)

    def is_open(self, written: Written, *, usual: bool) -> bool:
        """Whether the API's next token may still be another than `next` says; not where nothing is written.

        usual: only where the pair may well go on so, in its tokenizer's own spelling.
        """
        last, text = self.before(written), written.text
        if not text or written.is_sealed:
            return False
        if usual:
            return self.firsts.keeps(last, text) and self.firsts.can_change(text)
        return not self.firsts.is_settled(last, text)

    def is_open_leaf(self, node: Node, i: int, *, usual: bool) -> bool:
        """The same of a leaf; answers are kept, since each string asks it of the same leaves."""
        leaf = (node.path, i, self.last, usual)
        if leaf not in self._openness:
            self._openness[leaf] = self.is_open(self.leaf(node, i), usual=usual)
        return self._openness[leaf]

    def unread(self, strings: Iterable[bytes] = (), *, least: float = NEGLIGIBLE) -> list[TokenPath]:
        """Paths of further spellings of the text that carry more than a negligible share of its mass, heaviest first.

        With a tokenizer at hand, only the ones that the usual spelling of the text with one of `strings` runs through,
        and those that carry a real share of it under the member that is likelier to write the text: for one that hardly
        would, the least of its masses is a large share.
        """
        shares = {path: self.share(mass) for path, mass in self.unread_masses.items()}
        heavy = [path for path in shares if shares[path].max() > least]
        heavy.sort(key=lambda path: -float(shares[path].max()))
        if not heavy or self.spell is None:
            return heavy
        usual = usual_paths(self._at, self.spell, strings)
        least = UNUSUAL * self.total.max()
        return [path for path in heavy if path in usual or (self.unread_masses[path] > least).any()]

    def open_paths(self, *, least: float, usual: bool = True) -> dict[TokenPath, float]:
        """Leaves at which the API's next token is not decided (`is_open`), with the expert's share, above `least`."""
        paths: dict[TokenPath, float] = {}
        for node in self.nodes:
            shares = self._expert_shares(node)
            for n in np.flatnonzero(shares > least).tolist():
                i = int(node.heavy[n])
                if self.is_open_leaf(node, i, usual=usual):
                    paths[(*node.path, i)] = float(shares[n])
        return paths

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
            written = self.leaf(node, int(node.heavy[n]))
            fits = written.text and (not starts or written.text.startswith(starts))
            string = self.next(written) if fits else None
            if string and string != node.first:
                yield string, float(shares[n])

    def _expert_shares(self, node: Node) -> Floats:
        """The expert's share of each heavy leaf of a node, shape (n,)."""
        distribution, share = node.distributions.expert, node.mass[0] / max(float(self.total[0]), 1e-300)
        return np.asarray(share * np.exp(distribution.logits[node.heavy].astype(np.float64) - distribution.log_norm))

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
