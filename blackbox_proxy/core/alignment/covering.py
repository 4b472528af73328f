"""How probable it is, under both members of the pair, that a text goes on with given bytes.

A text has many spellings in tokens, and the string asked about need not begin or end where a token does. With c the
anchor (a place that no token can straddle) and r the bytes after it, section 3.4 of docs/method.md gives

    E[s | text] = value(c, r + s) / value(c, r)
    value(n, t) = sum of p(u | n) over tokens u that start with t
                + sum of p(u | n) * value(n + u, t without u) over tokens u that are proper prefixes of t

and for the end of the answer the mass of all end tokens after exactly r. Distributions are known at some token
paths only; a part of the sum that needs another one is kept as a gap, so that every mass has a lower and an upper bound
and the caller can see which path would narrow it. Nothing here evaluates a model.

Arrays have the members as rows: 0 the expert, 1 the anti-expert.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple, final

import numpy as np

from blackbox_proxy.core.alignment.vocabulary import Ids, Vocabulary
from blackbox_proxy.errors import LocalModelError
from blackbox_proxy.types import Distribution, Floats, PairDistributions, TokenPath

NEGLIGIBLE = 1e-3
"""Share of the text's own mass below which another spelling of it is left out."""

LEAST = 1e-7
"""Share of the text's own mass below which a spelling is not looked at: below any evidence that counts."""

Spell = Callable[[bytes], Sequence[int]]
"""A tokenizer: the ids of a text."""

NONE = -1
"""In place of a token id: there is none."""


@dataclass(frozen=True, slots=True)
class Place:
    """A place in the answer: the anchor's tokens, the bytes to re-read after it, and the tokenizer's own spelling."""

    anchor: TokenPath
    rest: bytes
    path: TokenPath

    @property
    def paths(self) -> tuple[TokenPath, ...]:
        """The paths at which distributions are needed first: along the tokenizer's spelling from the anchor on."""
        return tuple(self.path[:n] for n in range(len(self.anchor), len(self.path) + 1))


def place(text: bytes, *, spell: Callable[[bytes], Sequence[int]], vocabulary: Vocabulary, back_off: int) -> Place:
    """Spell `text` and find its anchor: the last border before at most `back_off` tokens that no piece straddles.

    Where every border within reach is straddled the farthest one is taken: an approximation of the covering.
    """
    path = tuple(spell(text))
    cut = len(text)
    for n in range(len(path), max(len(path) - back_off, 0), -1):
        if not vocabulary.straddled(text[:cut], text[cut:]):
            return Place(path[:n], text[cut:], path)
        cut -= len(vocabulary.pieces[path[n - 1]])
    return Place(path[: max(len(path) - back_off, 0)], text[cut:], path)


def probabilities(distributions: PairDistributions, ids: Ids) -> Floats:
    """Probabilities of some ids under both members, shape (2, n)."""
    out = np.empty((2, len(ids)))
    for row, distribution in enumerate((distributions.expert, distributions.anti_expert)):
        np.subtract(distribution.logits[ids], distribution.log_norm, out=out[row], dtype=np.float64)
    return np.exp(out, out=out)


def spelling(spell: Spell | None, text: bytes) -> Sequence[int]:
    """The tokenizer's own spelling of `text`; empty without a tokenizer, and for bytes that it has no token for."""
    try:
        return spell(text) if spell else ()
    except (LocalModelError, ValueError):
        return ()


def first_of(spell: Spell | None, vocabulary: Vocabulary, text: bytes) -> int | None:
    """The token with which the tokenizer spells `text`, NONE where it cannot; None without a tokenizer: any will do.

    A text that is a piece is spelt by it: so do all tokenizers but for oddities, and asking is what takes time.
    """
    if spell is None:
        return None
    if whole := vocabulary.ids_of(text):
        return whole[0]
    return next(iter(spelling(spell, text)), NONE)


def usual_paths(at: Place, spell: Spell | None, strings: Iterable[bytes]) -> set[TokenPath]:
    """The paths after the anchor along the tokenizer's own spelling of the text with each of some strings behind it."""
    ids = (tuple(spelling(spell, at.rest + string)) for string in strings)
    return {at.anchor + one[:n] for one in ids for n in range(1, len(one) + 1)}


@dataclass(frozen=True, slots=True)
class _State:
    """A spelling of the beginning of the re-read bytes: where it leads, the rest of them, and its mass, shape (2,)."""

    path: TokenPath
    rest: bytes
    mass: Floats


class _Item(NamedTuple):
    """String `number` still lacks the bytes `rest`, with `mass` of shape (2,) at hand.

    usual: the string was spelt up to here as the tokenizer would spell it.
    """

    number: int
    rest: bytes
    mass: Floats
    usual: bool = True


@final
class Cover:
    """Masses of strings after one place. Grows as distributions arrive; `distributions` is only read.

    A string stands for all that starts with it. spell: the tokenizer, which tells a string's usual spelling from the
    many others; without it all count as usual.
    """

    def __init__(
        self,
        vocabulary: Vocabulary,
        at: Place,
        distributions: Mapping[TokenPath, PairDistributions],
        *,
        spell: Spell | None = None,
    ) -> None:
        self._vocabulary = vocabulary
        self._distributions = distributions
        self._spell = spell
        self._at = at
        self._states: list[_State] = []
        self._unread: dict[TokenPath, Floats] = {}
        self.total: Floats = np.zeros(2)
        self._reread(_State(at.anchor, at.rest, np.ones(2)))
        self._low: Floats = np.zeros((2, 0))
        self._pending: dict[TokenPath, list[_Item]] = {}

    def _reread(self, start: _State) -> None:
        """Follow every spelling of the re-read bytes with a known distribution; sum up the mass of the text itself."""
        queue = [start]
        for state in queue:
            distributions = self._distributions.get(state.path)
            if distributions is None:
                self._unread[state.path] = state.mass
                continue
            self._states.append(state)
            if not state.rest:
                continue
            covering = probabilities(distributions, self._vocabulary.starting_with(state.rest))
            self.total += state.mass * covering.sum(axis=1)
            queue.extend(self._shorter(state, distributions))
        if not start.rest:
            self.total = np.ones(2)

    def _shorter(self, state: _State, distributions: PairDistributions) -> Iterable[_State]:
        """The states one token further, by tokens that do not go beyond the re-read bytes."""
        tokens = list(self._vocabulary.proper_prefixes(state.rest))
        tokens += [(i, len(state.rest)) for i in self._vocabulary.ids_of(state.rest)]
        if not tokens:
            return
        masses = state.mass[:, None] * probabilities(distributions, np.array([i for i, _ in tokens]))
        for column, (i, length) in enumerate(tokens):
            path = (*state.path, i)
            yield _State(path, state.rest[length:], masses[:, column])

    def unread(self, strings: Iterable[bytes] = ()) -> list[TokenPath]:
        """Paths of further spellings of the text that carry more than a negligible share of its mass.

        With a tokenizer at hand, only those that the usual spelling of the text with one of `strings` runs through.
        """
        heavy = list(self.unread_shares(least=NEGLIGIBLE))
        if not heavy or self._spell is None:
            return heavy
        usual = usual_paths(self._at, self._spell, strings)
        return [path for path in heavy if path in usual]

    def unread_shares(self, *, least: float = 0.0) -> dict[TokenPath, float]:
        """Further spellings of the text whose distribution is missing, and their share of its mass if above `least`."""
        shares = {path: float(self._share(mass).max()) for path, mass in self._unread.items()}
        return {path: share for path, share in shares.items() if share > least}

    def unread_mass(self) -> Floats:
        """What the spellings whose distribution is missing could add to the mass of the text, shape (2,)."""
        return np.asarray(sum(self._unread.values(), np.zeros(2)))

    def proposals(self, count: int, *, starts: Sequence[bytes] = ()) -> list[bytes]:
        """The strings of up to `count` tokens that the expert finds likeliest to come next, best first.

        Tokens with a negligible share are passed over; with `starts`, those that start otherwise are instead.
        """
        best: dict[bytes, float] = {}
        for state in self._states:
            distribution = self._distributions[state.path].expert
            ids = self._fitting(state.rest, starts, distribution)
            masses = state.mass[0] * np.exp(distribution.logits[ids].astype(np.float64) - distribution.log_norm)
            for n in np.argsort(masses)[: -count - 1 : -1].tolist():
                piece = self._vocabulary.pieces[ids[n]][len(state.rest) :]
                if piece:
                    best[piece] = best.get(piece, 0.0) + float(masses[n])
        return sorted(best, key=best.__getitem__, reverse=True)[:count]

    def _fitting(self, rest: bytes, starts: Sequence[bytes], distribution: Distribution) -> Ids:
        """Ids that may be proposed where `rest` is still to be re-read."""
        if starts:
            return np.concatenate([self._vocabulary.starting_with(rest + s) for s in starts])
        if rest:
            return self._vocabulary.starting_with(rest)
        ids = np.flatnonzero(distribution.logits > distribution.log_norm + math.log(NEGLIGIBLE))
        return ids[self._vocabulary.is_text[ids]]

    def end(self) -> Floats:
        """Mass under both members of the text and an end right after it, shape (2,)."""
        mass = np.zeros(2)
        for state in self._states:
            if not state.rest:
                ends = probabilities(self._distributions[state.path], self._vocabulary.ends)
                mass += state.mass * ends.sum(axis=1)
        return mass

    def ask(self, strings: Sequence[bytes]) -> None:
        """Start the sums for `strings`, n of them, b"" for the end of the answer; read them with `bounds`."""
        self._low = np.zeros((2, len(strings)))
        self._pending = {}
        texts = [(i, string) for i, string in enumerate(strings) if string]
        starts = {string[:1] for _, string in texts}
        for state in self._states:
            reached = {start for start in starts if self._vocabulary.begins(state.rest + start)}
            items = [_Item(i, state.rest + string, state.mass) for i, string in texts if string[:1] in reached]
            if items:
                self._spread(state.path, items, beyond=len(state.rest))
        for i, string in enumerate(strings):
            if not string:
                self._low[:, i] = self.end()
        self.absorb()

    def _spread(self, path: TokenPath, items: Sequence[_Item], *, beyond: int) -> None:
        """Add what the distribution at `path` says of the items; tokens that end inside an item go into the gap."""
        distributions = self._distributions[path]
        ranges = [self._vocabulary.starting_with(item.rest) for item in items]
        filled = [n for n, ids in enumerate(ranges) if len(ids)]
        if filled:
            starts = np.cumsum([0, *(len(ranges[n]) for n in filled[:-1])])
            masses = probabilities(distributions, np.concatenate([ranges[n] for n in filled]))
            sums = np.add.reduceat(masses, starts, axis=1)
            for column, n in enumerate(filled):
                self._low[:, items[n].number] += items[n].mass * sums[:, column]
        self._defer(path, items, beyond=beyond)

    def _defer(self, path: TokenPath, items: Sequence[_Item], *, beyond: int) -> None:
        parts = [
            (item, i, length)
            for item in items
            for i, length in self._vocabulary.proper_prefixes(item.rest, beyond=beyond)
        ]
        if not parts:
            return
        masses = probabilities(self._distributions[path], np.array([i for _, i, _ in parts]))
        masses *= np.stack([item.mass for item, _, _ in parts], axis=1)
        matters = np.any(masses > LEAST * self.total[:, None], axis=0)
        spelt = {item.rest for (item, _, _), does in zip(parts, matters, strict=True) if does and item.usual}
        first = {rest: first_of(self._spell, self._vocabulary, rest) for rest in spelt}
        for column, (item, i, length) in enumerate(parts):
            usual = matters[column] and item.usual and first[item.rest] in (i, None)
            child = _Item(item.number, item.rest[length:], masses[:, column], usual)
            self._pending.setdefault((*path, i), []).append(child)

    def absorb(self) -> None:
        """Take in the distributions that have become known since."""
        while known := [path for path in self._pending if path in self._distributions]:
            for path in known:
                self._spread(path, self._pending.pop(path), beyond=0)

    def bounds(self) -> tuple[Floats, Floats]:
        """Lower and upper bounds of the strings' probabilities, each of shape (2, n).

        They hold whatever the distributions say that are not at hand: those of the strings, and those of further
        spellings of the text, of whose mass the strings may have all or nothing.
        """
        unread = self.unread_mass()
        whole = np.maximum(self.total + unread, 1e-300)[:, None]
        high = (self._low + self._gap(usual=False) + unread[:, None]) / whole
        return np.minimum(self._low / whole, 1.0), np.minimum(high, 1.0)

    def _gap(self, *, usual: bool) -> Floats:
        """Mass whose distributions are missing, by string, shape (2, n); `usual`: along usual spellings only."""
        gap = np.zeros_like(self._low)
        for items in self._pending.values():
            for item in items:
                if item.usual or not usual:
                    gap[:, item.number] += item.mass
        return gap

    def estimate(self) -> Floats:
        """The strings' probabilities, shape (2, n), where only what is spelt as usual is still to come.

        A model of tokens hardly ever writes a text in another spelling than its tokenizer's; the lower bounds hold
        what the distributions at hand say of those, and this leaves out the rest. What is still unknown counts in full.
        """
        return self._share(self._low + self._gap(usual=True))

    def widest(self, index: int, *, usual: bool = False) -> TokenPath | None:
        """The path whose distribution would narrow the bounds of string `index` most, or None where they meet.

        usual: only paths that are spelt as the tokenizer would, which narrow the estimate.
        """
        best, most = None, 0.0
        for path, items in self._pending.items():
            for item in items:
                if item.number != index or (usual and not item.usual):
                    continue
                share = float(self._share(item.mass).max())
                if share > most:
                    best, most = path, share
        return best

    def _share(self, mass: Floats) -> Floats:
        """Divide by the mass of the text itself; members are rows."""
        total = self.total if mass.ndim == 1 else self.total[:, None]
        return np.clip(mass / np.maximum(total, 1e-300), 0.0, 1.0)
