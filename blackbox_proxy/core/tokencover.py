"""How probable it is, under both members of the pair, that the API's next token is a given one.

For an API whose tokenizer is known. The pair writes a continuation in tokens of its own; the API's first token of it is
what its tokenizer cuts off first (core.firsts), and it may take several tokens of the pair to know which one that is.
So the mass of a string s, a piece of the API, is

    F(s) = sum of P(w) over continuations w of the text whose first token is s

and these events are disjoint: with the end of the answer they share out all that may follow. One condition goes with
them: where the API goes on from a text, one of its tokens ends there, so continuations after which it would have cut
the text otherwise are no part of the whole.

Distributions are known at some token paths of the pair only. The known ones make a tree; every token that leads out of
it is a leaf, with the bytes that it has written. A leaf whose first token may still change counts for the token that it
would be if nothing more came, and is open: the lower bound leaves it out, and reading on from it decides. Nothing here
evaluates a model. Arrays have the members as rows: 0 the expert, 1 the anti-expert.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import final

import numpy as np
from numpy.typing import NDArray

from blackbox_proxy.core.covering import LEAST, NEGLIGIBLE, Place, Spell, first_of, probabilities, spelling
from blackbox_proxy.core.firsts import Firsts
from blackbox_proxy.core.vocabulary import Ids, Vocabulary
from blackbox_proxy.types import Floats, Laws, TokenPath

CHANGES = 1e-5
"""Share of the text's own mass below which it is not looked whether a leaf changes the first token."""

UNUSUAL = 0.05
"""Share of the text's own mass above which a spelling of it is read though its tokenizer would not spell it so."""

KEPT_SHARE = 0.05
"""Share of the expert's mass that must keep the API's border at the text's end; else the border is not believed in."""


@dataclass(frozen=True, slots=True)
class _Node:
    """A token path whose distributions are known.

    gap: bytes of the text that are still to be spelt. text: what the continuation has of it, only without a gap. mass:
    of the path, shape (2,). inner: the tokens that lead to other nodes. first: the API's next token if nothing more than
    `text` came; None where it cannot go on so. heavy: the other tokens of a share that counts (`CHANGES`), and changed:
    those of them with which it is another one, by it. out: which tokens lead to other nodes or nowhere, shape (V,); None
    where none does.
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


@dataclass(frozen=True, slots=True)
class _Way:
    """Mass that may or may not belong to a string: what decides is the distribution at `path`. usual: see `Masses`."""

    path: TokenPath
    mass: Floats
    usual: bool


@final
class TokenCover:
    """Masses of the API's next tokens after one place; see the module. `laws` is only read, when it is made.

    after: the text before, of which the API's last token is found; the border after it is the condition.
    spell: the pair's tokenizer. least: share of the whole below which a token of the pair is not looked at by itself;
    0 looks at all, which only small vocabularies allow.
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
        least: float = CHANGES,
    ) -> None:
        self._vocabulary, self._firsts, self._spell = vocabulary, firsts, spell
        self._at, self._laws, self._least = at, laws, least
        self._border = self._last = firsts.last(after)
        self._scanned: dict[tuple[TokenPath, bytes], tuple[Ids, dict[bytes | None, Ids]]] = {}
        self._strings: Sequence[bytes] = ()
        self.absorb()

    def absorb(self) -> None:
        """Take in the distributions that have become known since; the strings must be asked for anew."""
        self._children: dict[TokenPath, list[int]] = {}
        for path in self._laws:
            if path:
                self._children.setdefault(path[:-1], []).append(path[-1])
        self._last = self._border
        self._grow()
        if self._last and self._kept_share < KEPT_SHARE:
            self._last = b""
            self._grow()

    @property
    def unbordered(self) -> bool:
        """Whether the API would hardly have ended a token where the text ends, so that it is taken without a border."""
        return self._last != self._border

    @property
    def _kept_share(self) -> float:
        """What the border condition leaves of the text's own mass under the expert."""
        return float(self.total[0] / max(self._free[0], 1e-300))

    def _grow(self) -> None:
        """Follow all known paths that spell the text and go on from it; sum up what may follow."""
        self._nodes: list[_Node] = []
        self._unread: dict[TokenPath, Floats] = {}
        self.total: Floats = np.zeros(2)
        self._free: Floats = np.zeros(2)
        queue = [(self._at.anchor, self._at.rest, b"", np.ones(2))]
        for path, gap, text, mass in queue:
            laws = self._laws.get(path)
            if laws is None:
                self._unread[path] = mass
                continue
            children = list(self._lead_on(path, gap, text))
            node = self._node(path, gap, text, mass=mass, inner=[child[0][-1] for child in children])
            self._nodes.append(node)
            chances = probabilities(laws, node.inner)
            for column, (to, left, written) in enumerate(children):
                queue.append((to, left, written, mass * chances[:, column]))
            if gap:
                queue.extend(self._shorter(node))
            self._add(node)

    def _lead_on(self, path: TokenPath, gap: bytes, text: bytes) -> Iterator[tuple[TokenPath, bytes, bytes]]:
        """The known paths one token further which spell the gap to its end or go on from there."""
        for i in self._children.get(path, ()):
            piece = self._vocabulary.pieces[i]
            if not self._vocabulary.is_text[i] or not piece.startswith(gap):
                continue
            yield (*path, i), b"", text + piece[len(gap) :]

    def _shorter(self, node: _Node) -> Iterator[tuple[TokenPath, bytes, bytes, Floats]]:
        """The paths one token further that leave a part of the gap, or end with it where nothing is known there."""
        found = list(self._vocabulary.proper_prefixes(node.gap))
        found += [(i, len(node.gap)) for i in self._vocabulary.ids_of(node.gap) if i not in node.inner]
        if not found:
            return
        masses = node.mass[:, None] * probabilities(node.laws, np.array([i for i, _ in found]))
        for column, (i, length) in enumerate(found):
            if length == len(node.gap):
                self._unread[(*node.path, i)] = masses[:, column]
            else:
                yield (*node.path, i), node.gap[length:], b"", masses[:, column]

    def _node(self, path: TokenPath, gap: bytes, text: bytes, *, mass: Floats, inner: Sequence[int]) -> _Node:
        laws = self._laws[path]
        if (path, self._last) not in self._scanned:
            heavy = self._heavy(laws, gap, mass=mass)
            self._scanned[path, self._last] = heavy, self._changed(heavy, gap, text)
        heavy, changed = self._scanned[path, self._last]
        inside, out = np.array(inner, dtype=np.intp), None
        if inner or None in changed:
            out = np.zeros(len(self._vocabulary), dtype=np.bool_)
            out[inside] = True
            heavy = heavy[~out[heavy]]
            changed = {string: ids[~out[ids]] for string, ids in changed.items()}
            out[changed.get(None, inside)] = True
        return _Node(path, gap, text, mass, laws, self._firsts.next(self._last, text), inside, heavy, changed, out)

    def _heavy(self, laws: Laws, gap: bytes, *, mass: Floats) -> Ids:
        """The text tokens that spell the gap, of a share that counts under either member."""
        ids = self._vocabulary.starting_with(gap) if gap else None
        if self._least <= 0.0:
            return self._vocabulary.order if ids is None else ids
        found = np.zeros(len(self._vocabulary) if ids is None else len(ids), dtype=np.bool_)
        for row, law in enumerate((laws.expert, laws.anti_expert)):
            if mass[row] > 0.0:
                least = math.log(self._least) - math.log(mass[row]) + law.log_norm
                found |= (law.logits if ids is None else law.logits[ids]) > least
        if ids is not None:
            return np.asarray(ids[found], dtype=np.intp)
        return np.flatnonzero(found & self._vocabulary.is_text)

    def _changed(self, heavy: Ids, gap: bytes, text: bytes) -> dict[bytes | None, Ids]:
        """The heavy tokens with which the API's next token is another than that of `text`; by it. In a gap all of them.

        With nothing of the continuation written, it is that of the token's own bytes; then only those are told apart
        with which the API cannot go on.
        """
        if gap:
            broken = self._firsts.breaking(self._last, gap)
            return {None: broken} if len(broken) else {}
        first, pieces = self._firsts.next(self._last, text), self._vocabulary.pieces
        looked = self._looked(first, text)
        found: dict[bytes | None, list[int]] = {}
        for i in heavy[looked[self._vocabulary.heads[heavy]]].tolist():
            whole = text + pieces[i]
            then = self._firsts.next(self._last, whole)
            if then != first and (text or then is None):
                found.setdefault(then, []).append(i)
        return {string: np.array(ids, dtype=np.intp) for string, ids in found.items()}

    def _looked(self, first: bytes | None, text: bytes) -> NDArray[np.bool_]:
        """First bytes of what may follow and change the API's next token, shape (256,)."""
        if first is None:
            return np.ones(256, dtype=np.bool_)
        looked = np.zeros(256, dtype=np.bool_)
        if self._last:
            looked |= self._firsts.bytes_after(self._last, text)
        if text:
            looked |= self._firsts.bytes_after(first, text[len(first) :])
        return looked

    def _add(self, node: _Node) -> None:
        """Add the leaves of a node to what may follow the text."""
        if node.gap:
            leaves = probabilities(node.laws, self._vocabulary.starting_with(node.gap)).sum(axis=1)
        else:
            leaves = np.ones(2)
        leaves = np.maximum(leaves - self._sum(node, node.inner), 0.0)
        self._free += node.mass * leaves
        if node.first is None:
            leaves = sum((self._sum(node, ids) for ids in node.changed.values()), np.zeros(2))
        elif None in node.changed:
            leaves = leaves - self._sum(node, node.changed[None])
        self.total += node.mass * np.maximum(leaves, 0.0)

    @staticmethod
    def _sum(node: _Node, ids: Ids) -> Floats:
        """Chance of some tokens after a node, shape (2,)."""
        return probabilities(node.laws, ids).sum(axis=1) if len(ids) else np.zeros(2)

    def keeps(self, string: bytes) -> bool:
        """Whether the API would end a token before `string`, so that it can come next."""
        return self._firsts.keeps(self._last, string)

    def unread(self, strings: Iterable[bytes] = (), *, least: float = NEGLIGIBLE) -> list[TokenPath]:
        """Paths of further spellings of the text that carry more than a negligible share of its mass.

        With a tokenizer at hand, of those with less than a real share only the ones that the usual spelling of the text
        with one of `strings` runs through. Heaviest first.
        """
        whole = np.maximum(self.total, 1e-300)
        shares = {path: float((mass / whole).max()) for path, mass in self._unread.items()}
        heavy = sorted((path for path, share in shares.items() if share > least), key=lambda path: -shares[path])
        if not heavy or self._spell is None:
            return heavy
        usual = {path for string in strings for path in self._along(self._at.rest + string)}
        return [path for path in heavy if path in usual or shares[path] > UNUSUAL]

    def _along(self, text: bytes) -> Iterator[TokenPath]:
        ids = tuple(spelling(self._spell, text))
        return (self._at.anchor + ids[:n] for n in range(1, len(ids) + 1))

    def proposals(self, count: int, *, starts: Sequence[bytes] = (), least: float = NEGLIGIBLE) -> list[bytes]:
        """The API's tokens, up to `count`, that the expert finds likeliest to come next, best first.

        They are first tokens of its likeliest continuations as far as these are read; with `starts` only those that
        start so. least: share of a continuation below which it is passed over.
        """
        best: dict[bytes, float] = {}
        for node in self._nodes:
            for string, mass in self._named(node, starts, least=least):
                best[string] = best.get(string, 0.0) + mass
        return sorted(best, key=best.__getitem__, reverse=True)[:count]

    def _named(self, node: _Node, starts: Sequence[bytes], *, least: float) -> Iterator[tuple[bytes, float]]:
        """The API's next tokens at the leaves of a node, with the expert's share."""
        law, share = node.laws.expert, node.mass[0] / max(float(self.total[0]), 1e-300)
        if node.first and (not starts or node.text.startswith(tuple(starts))):
            # All that leaves it what it is, an end among it, however little each of it weighs.
            yield node.first, share * float(self._kept(node)[0])
        masses = share * np.exp(law.logits[node.heavy].astype(np.float64) - law.log_norm)
        likely = np.flatnonzero(masses > (0.0 if starts else least))
        for n in likely[np.argsort(-masses[likely])].tolist():
            text = self._written(node, int(node.heavy[n]))
            if text and (not starts or text.startswith(tuple(starts))):
                string = self._firsts.next(self._last, text)
                if string and string != node.first:
                    yield string, float(masses[n])

    def _written(self, node: _Node, i: int) -> bytes:
        """What the continuation has at a leaf."""
        return node.text + self._vocabulary.pieces[i][len(node.gap) :]

    def open_paths(self, *, least: float, usual: bool = True) -> dict[TokenPath, float]:
        """Paths that decide which token comes next, and the expert's share there, above `least`.

        usual: only where it may well go on so that the token changes, in the pair's own spelling.
        """
        found: dict[TokenPath, float] = {}
        for node in self._nodes:
            law, share = node.laws.expert, node.mass[0] / max(float(self.total[0]), 1e-300)
            shares = share * np.exp(law.logits[node.heavy].astype(np.float64) - law.log_norm)
            for n in np.flatnonzero(shares > least).tolist():
                text = self._written(node, int(node.heavy[n]))
                if text and self._is_open(text, usual=usual):
                    found[(*node.path, int(node.heavy[n]))] = float(shares[n])
        return found

    def _is_open(self, text: bytes, *, usual: bool) -> bool:
        """Whether the API's next token may still be another."""
        if usual:
            return self._firsts.keeps(self._last, text) and self._firsts.can_change(text)
        return not self._firsts.is_settled(self._last, text)

    def prefix(self, string: bytes) -> Floats:
        """The probability that the text goes on with the bytes of `string`, as far as it shows at once; shape (2,).

        The API need not have ended a token where the text ends.
        """
        mass = np.zeros(2)
        for node in self._nodes:
            if not node.text:
                mass += node.mass * self._sum(node, self._vocabulary.starting_with(node.gap + string))
        return np.asarray(np.clip(mass / np.maximum(self._free, 1e-300), 0.0, 1.0))

    def end(self) -> Floats:
        """Mass under both members of the text and an end right after it, shape (2,)."""
        mass = np.zeros(2)
        for node in self._nodes:
            if not node.gap and not node.text:
                mass += node.mass * self._sum(node, self._vocabulary.ends)
        return mass

    def ask(self, strings: Sequence[bytes]) -> None:
        """Sum up what is known of `strings`, n of them, b"" for the end of the answer."""
        self._strings = strings
        self._found = np.zeros((2, len(strings)))
        self._pending: dict[int, list[_Way]] = {}
        for node in self._nodes:
            self._ask_node(node)
        for n, string in enumerate(strings):
            if not string:
                self._found[:, n] = self.end()
            elif not self.keeps(string):
                self._found[:, n] = 0.0

    def _ask_node(self, node: _Node) -> None:
        """Add the leaves of one node to the strings that they belong to."""
        wanted = []
        for n, string in enumerate(self._strings):
            ids = self._leaves(node, string)
            if ids is not None and len(ids):
                wanted.append((n, ids))
            if string and node.text and string == node.first:
                self._found[:, n] += node.mass * self._kept(node)
            if string and len(string) > len(node.text) and string.startswith(node.text):
                self._wait(node, n, string)
        if wanted:
            starts = np.cumsum([0, *(len(ids) for _, ids in wanted[:-1])])
            sums = np.add.reduceat(probabilities(node.laws, np.concatenate([ids for _, ids in wanted])), starts, axis=1)
            for column, (n, _) in enumerate(wanted):
                self._found[:, n] += node.mass * sums[:, column]

    def _leaves(self, node: _Node, string: bytes) -> Ids | None:
        """The leaves of a node that come to `string`, but for those that change nothing of what is written."""
        if not string:
            return None
        if len(string) <= len(node.text) or node.first is None:
            return node.changed.get(string)
        if not string.startswith(node.text):
            return None
        ids = self._firsts.ids(string, node.text, node.gap)
        if not len(ids):
            return ids
        return ids if node.out is None else ids[~node.out[ids]]

    def _kept(self, node: _Node) -> Floats:
        """Chance of the leaves, an end among them, that leave the next token what is written, shape (2,)."""
        gone = self._sum(node, node.inner)
        for ids in node.changed.values():
            gone = gone + self._sum(node, ids)
        return np.maximum(1.0 - gone, 0.0)

    def _wait(self, node: _Node, n: int, string: bytes) -> None:
        """Note the leaves that have written only a part of a string: the whole of it may come to be."""
        left = node.gap + string[len(node.text) :]
        parts = [
            (i, length)
            for i, length in self._vocabulary.proper_prefixes(left, beyond=len(node.gap))
            if i not in node.inner
        ]
        if not parts:
            return
        found = node.mass[:, None] * probabilities(node.laws, np.array([i for i, _ in parts]))
        matters = np.any(found > min(LEAST, self._least) * self.total[:, None], axis=0)
        if not matters.any():
            return
        first = first_of(self._spell, self._vocabulary, left)
        ways = self._pending.setdefault(n, [])
        for column, (i, _) in enumerate(parts):
            if matters[column]:
                ways.append(_Way((*node.path, i), found[:, column], first is None or i == first))

    def estimate(self) -> Floats:
        """The strings' probabilities, shape (2, n): all leaves as if nothing more came, and what is still to be spelt.

        Of that only what is spelt as usual is counted, in full.
        """
        mass = self._found.copy()
        for n, ways in self._pending.items():
            mass[:, n] += sum((way.mass for way in ways if way.usual), np.zeros(2))
        return self._share(mass)

    def low_of(self, index: int) -> Floats:
        """What is certain of a string's estimate, shape (2,), as far as the pair's usual spellings go."""
        open_mass = sum((way.mass for way in self._open(self._strings[index], usual=True)), np.zeros(2))
        return self._share(np.maximum(self._found[:, index : index + 1] - open_mass[:, None], 0.0))[:, 0]

    def bounds(self) -> tuple[Floats, Floats]:
        """Lower and upper bounds of the strings' probabilities, each of shape (2, n), whatever is not known."""
        low, high = self._found.copy(), self._found.copy()
        unread = np.asarray(sum(self._unread.values(), np.zeros(2)))
        least, most = self.total.copy(), self.total + unread
        for text, mass in self._unsettled():
            first = self._firsts.next(self._last, text)
            if first is None:
                most += mass
            elif not self._firsts.is_final(self._last, self._last + text):
                least -= mass
            for n, string in enumerate(self._strings):
                if string == first:
                    low[:, n] -= mass
                elif string and text.startswith(string):
                    high[:, n] += mass
        for n, ways in self._pending.items():
            high[:, n] += sum((way.mass for way in ways), np.zeros(2))
        high = (high + unread[:, None]) / np.maximum(least, 1e-300)[:, None]
        return np.clip(low / np.maximum(most, 1e-300)[:, None], 0.0, 1.0), np.minimum(high, 1.0)

    def _unsettled(self) -> Iterator[tuple[bytes, Floats]]:
        """The leaves at which the API's next token may still be another, with what is written and their mass."""
        for node in self._nodes:
            masses = node.mass[:, None] * probabilities(node.laws, node.heavy)
            for n, i in enumerate(node.heavy.tolist()):
                text = self._written(node, i)
                if text and not self._firsts.is_settled(self._last, text):
                    yield text, masses[:, n]

    def _open(self, string: bytes, *, usual: bool) -> Iterator[_Way]:
        """The leaves that count for `string` and may still change."""
        for node in self._nodes if string else ():
            if not (node.text.startswith(string) or string.startswith(node.text)):
                continue
            for i in self._counted(node, string).tolist():
                if self._is_open(self._written(node, i), usual=usual):
                    yield _Way((*node.path, i), node.mass * probabilities(node.laws, np.array([i]))[:, 0], usual=True)

    def _counted(self, node: _Node, string: bytes) -> Ids:
        """The heavy leaves of a node that count for `string`."""
        if node.text and string == node.first:
            gone = np.zeros(len(self._vocabulary), dtype=np.bool_)
            for ids in node.changed.values():
                gone[ids] = True
            return node.heavy[~gone[node.heavy]]
        leaves = self._leaves(node, string)
        if leaves is None or not len(leaves):
            return node.heavy[:0]
        heavy = np.zeros(len(self._vocabulary), dtype=np.bool_)
        heavy[node.heavy] = True
        return leaves[heavy[leaves]]

    def widest(self, index: int, *, usual: bool = False) -> TokenPath | None:
        """The path whose distribution would narrow the bounds of string `index` most, or None where they meet."""
        ways = [*self._open(self._strings[index], usual=usual), *self._pending.get(index, ())]
        ways = [way for way in ways if way.usual or not usual]
        whole = np.maximum(self.total, 1e-300)
        best = max(ways, key=lambda way: float((way.mass / whole).max()), default=None)
        return None if best is None or not (best.mass > 0.0).any() else best.path

    def _share(self, mass: Floats) -> Floats:
        """Divide by the mass of all that may follow the text."""
        return np.clip(mass / np.maximum(self.total, 1e-300)[:, None], 0.0, 1.0)
