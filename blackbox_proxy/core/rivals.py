"""Who competes for the next token, and who wins: the two ways of scoring a position by the pair.

`ByteReading` scores strings: the text goes on with these bytes, whatever the tokenizers (core.covering). `IdReading`
scores ids, for an API that speaks the pair's own vocabulary; there every mass is exact. Both are generators that
yield the token paths at which they need the pair's laws, and know nothing of who evaluates them.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Generator, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache, partial
from itertools import islice
from typing import Protocol, final

import numpy as np

from blackbox_proxy.core import combine
from blackbox_proxy.core.covering import Cover, place, probabilities
from blackbox_proxy.core.text import CONTINUATION, is_start, is_whole
from blackbox_proxy.core.vocabulary import Vocabulary
from blackbox_proxy.errors import ReplyError
from blackbox_proxy.types import Candidate, Floats, Kind, Laws, Position, Rival, Steering, TokenPath

TOLERANCE = 0.05
"""Nats by which what is known of a winner's masses may fall short before another law is asked for."""

LIKELY = 8
"""Of the API's candidates, how many may ask for another spelling of the text before them."""

PLACES = 64
"""Places kept: a text is looked at when it is drafted, read and weighed."""

Wanted = tuple[TokenPath, ...]
Weighing = Generator[Wanted, None, list[Rival]]
"""Yields paths whose laws it needs in the shared table; returns the rivals, best first."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What has been emitted so far: its bytes and, for an `ids` reading, its token ids."""

    text: bytes = b""
    path: TokenPath = ()


class Reading(Protocol):
    """How a position of the API is scored by the pair."""

    def paths(self, answer: Answer) -> Wanted: ...

    def weigh(self, position: Position, answer: Answer) -> Weighing: ...

    def after(self, answer: Answer, piece: bytes) -> Answer: ...

    def knows(self, piece: bytes) -> bool: ...


def merged(position: Position) -> dict[bytes, float]:
    """The API's candidates by piece: equal pieces summed, the ends together as b"", what is no text left out."""
    logps: dict[bytes, float] = {}
    for candidate in (*position.top, *_unlisted(position)):
        if candidate.kind is Kind.SPECIAL or not math.isfinite(candidate.logp):
            continue
        key = b"" if candidate.kind is Kind.END else candidate.piece
        if key or candidate.kind is Kind.END:
            known = logps.get(key)
            logps[key] = candidate.logp if known is None else float(np.logaddexp(known, candidate.logp))
    return logps


def _unlisted(position: Position) -> tuple[Candidate, ...]:
    """The sampled token, where the top-k does not hold it."""
    same = (c for c in position.top if c.piece == position.sampled.piece)
    return () if any(same) else (position.sampled,)


def _tail(position: Position) -> float:
    """Probability of what the API did not show, the sampled token's own share taken out."""
    taken = sum(math.exp(c.logp) for c in _unlisted(position) if math.isfinite(c.logp))
    return max(position.tail - taken, 0.0)


def _rank(pieces: Sequence[bytes], scores: combine.Scores, *, known: int, best: int = 8) -> list[Rival]:
    """The best few as rivals, their scores normalised over all that competed."""
    steered = combine.normalised(scores.score)
    order = np.argsort(-scores.score, kind="stable")[:best]
    return [
        Rival(
            piece=pieces[i],
            kind=Kind.TEXT if pieces[i] else Kind.END,
            logp=float(scores.logp[i]),
            offset=float(scores.offset[i]),
            score=float(steered[i]),
            inside=i < known,
        )
        for i in order.tolist()
    ]


def _check_any(logp: Floats, position: Position, *, fault: str) -> None:
    """Raise ReplyError where nothing at all may be chosen."""
    if not np.isfinite(logp).any():
        raise ReplyError(
            f"none of the API's {len(position.top)} candidates {fault}",
            hint="--event ids is for an API that speaks the pair's vocabulary, --event bytes for one that shows text",
        )


def _may_follow(text: bytes, piece: bytes) -> bool:
    """Whether `text` with `piece` is still the beginning of UTF-8 text; an end only after a whole character."""
    return is_start(text + piece) if piece else is_whole(text)


@final
class ByteReading:
    """Scores strings of bytes after a text that is re-read from its last safe border."""

    def __init__(
        self,
        vocabulary: Vocabulary,
        laws: Mapping[TokenPath, Laws],
        *,
        spell: Callable[[bytes], Sequence[int]],
        steering: Steering,
        api: Vocabulary | None = None,
    ) -> None:
        self._vocabulary, self._spell, self._api = vocabulary, spell, api
        self._laws, self._steering = laws, steering
        self._place = lru_cache(maxsize=PLACES)(
            partial(place, spell=spell, vocabulary=vocabulary, back_off=steering.back_off)
        )

    def paths(self, answer: Answer) -> Wanted:
        """The paths along the tokenizer's own spelling, from the anchor to the end of the text."""
        return self._place(answer.text).paths

    def after(self, answer: Answer, piece: bytes) -> Answer:
        """The answer with one more piece."""
        return Answer(answer.text + piece)

    def knows(self, piece: bytes) -> bool:
        """Whether the piece can be part of an answer."""
        return bool(piece)

    def weigh(self, position: Position, answer: Answer) -> Weighing:
        """Weigh the API's top-k, the end, and the expert's proposals; see `Reading`.

        The winner's masses are made certain, or the step's forks are spent on it.
        """
        shown = {piece: logp for piece, logp in merged(position).items() if _may_follow(answer.text, piece)}
        known: dict[TokenPath, Laws] = {}
        cover = yield from self._read(answer.text, shown, known)
        pieces = [*shown, *self._proposed(shown, cover, answer.text)]
        cover.ask(pieces)
        logp = np.fromiter(shown.values(), dtype=np.float64)
        left = self._steering.spread - (len(known) - len(self.paths(answer)))
        while True:
            masses = cover.estimate()
            scores = self._score(pieces, masses, logp=logp, position=position)
            _check_any(scores.logp, position, fault=f"can follow {answer.text[-20:]!r}")
            wanted = self._doubt(cover, int(np.argmax(scores.score)), masses) if left > 0 else None
            if wanted is None:
                return _rank(pieces, scores, known=len(shown))
            left -= 1
            yield from self._learn((wanted,), known)
            cover.absorb()

    def _read(
        self, text: bytes, strings: Iterable[bytes], known: dict[TokenPath, Laws]
    ) -> Generator[Wanted, None, Cover]:
        """The text's own spellings, read; puts the laws they need into `known`."""
        at = self._place(text)
        yield from self._learn(at.paths, known)
        cover = Cover(self._vocabulary, at, known, spell=self._spell, api=self._api)
        others = cover.unread(islice(strings, LIKELY))[: self._steering.spread]
        if others:
            yield from self._learn(others, known)
            cover = Cover(self._vocabulary, at, known, spell=self._spell, api=self._api)
        return cover

    def _learn(self, paths: Sequence[TokenPath], known: dict[TokenPath, Laws]) -> Generator[Wanted, None, None]:
        """Ask for the laws at `paths` and add them to `known`.

        Only laws that a position asked for itself may count there: a longer draft leaves more of them in the shared
        table, and the answer must not depend on the length of the draft.
        """
        yield tuple(paths)
        known |= {path: self._laws[path] for path in paths}

    def _proposed(self, shown: Collection[bytes], cover: Cover, text: bytes) -> list[bytes]:
        """The expert's strings and the end, where the API did not show them."""
        if self._steering.target != "full" or not self._steering.proposals:
            return []
        starts = () if is_whole(text) else CONTINUATION
        found = (*cover.proposals(self._steering.proposals, starts=starts), b"")
        return [piece for piece in found if piece not in shown and _may_follow(text, piece)]

    def _score(self, pieces: Sequence[bytes], masses: Floats, *, logp: Floats, position: Position) -> combine.Scores:
        net = combine.remainders(masses, pieces, known=len(logp))
        covering = combine.covers(pieces, known=len(logp))
        field = combine.Field(logp, net, covering, _tail(position), position.ceiling)
        return combine.score(field, alpha=self._steering.alpha, evidence=self._steering.evidence)

    def _doubt(self, cover: Cover, winner: int, masses: Floats) -> TokenPath | None:
        """The path whose law would change the winner's masses most; None where they are certain enough."""
        if self._steering.alpha == 0.0:
            return None
        low = cover.low()
        spare = self._steering.evidence + combine.LEAST
        width = np.log((masses[:, winner] + spare) / (low[:, winner] + spare)).sum()
        return cover.widest(winner, usual=True) if width > TOLERANCE else None


@final
class IdReading:
    """Scores ids of the pair's own vocabulary: for an API that speaks it.

    Every mass is exact and nothing is pooled: this is proxy-tuning as it is defined on a shared vocabulary.
    """

    def __init__(self, vocabulary: Vocabulary, laws: Mapping[TokenPath, Laws], *, steering: Steering) -> None:
        self._vocabulary, self._laws, self._steering = vocabulary, laws, steering

    def paths(self, answer: Answer) -> Wanted:
        """The one path of the answer itself."""
        return (answer.path,)

    def after(self, answer: Answer, piece: bytes) -> Answer:
        """The answer with one more token."""
        ids = self._vocabulary.ids_of(piece)
        if not ids:
            raise ReplyError(
                f"the API's token {piece!r} is not in the pair's vocabulary",
                hint="--event ids is for an API that speaks the pair's vocabulary; leave it out otherwise",
            )
        return Answer(answer.text + piece, (*answer.path, ids[0]))

    def weigh(self, position: Position, answer: Answer) -> Weighing:
        """Weigh the API's candidates, the end, and the expert's likeliest other ids; see `Reading`."""
        if answer.path not in self._laws:
            yield (answer.path,)
        laws = self._laws[answer.path]
        shown = {p: logp for p, logp in merged(position).items() if not p or self.knows(p)}
        pieces = [*shown, *self._proposals(laws, shown)]
        masses = self._masses(laws, pieces)
        field = combine.Field(
            np.fromiter(shown.values(), dtype=np.float64),
            masses,
            np.ones(len(pieces), dtype=np.bool_),
            _tail(position),
            position.ceiling,
        )
        scores = combine.score(field, alpha=self._steering.alpha, evidence=0.0)
        _check_any(scores.logp, position, fault="is in the pair's vocabulary")
        return _rank(pieces, scores, known=len(shown))

    def knows(self, piece: bytes) -> bool:
        """Whether the piece is a token of the vocabulary."""
        return bool(self._vocabulary.ids_of(piece))

    def _proposals(self, laws: Laws, shown: dict[bytes, float]) -> list[bytes]:
        if self._steering.target != "full" or not self._steering.proposals:
            return []
        logits = laws.expert.logits
        ids = np.flatnonzero(logits > laws.expert.log_norm + math.log(combine.REAL))
        ids = ids[self._vocabulary.is_text[ids]]
        ids = ids[np.argsort(-logits[ids])][: self._steering.proposals]
        pieces = [self._vocabulary.pieces[i] for i in ids.tolist()]
        return [piece for piece in (*pieces, b"") if piece not in shown]

    def _masses(self, laws: Laws, pieces: Sequence[bytes]) -> Floats:
        ids = [self._vocabulary.ids_of(piece)[0] if piece else 0 for piece in pieces]
        masses = probabilities(laws, np.array(ids, dtype=np.intp))
        if b"" in pieces:
            masses[:, pieces.index(b"")] = probabilities(laws, self._vocabulary.ends).sum(axis=1)
        return masses
