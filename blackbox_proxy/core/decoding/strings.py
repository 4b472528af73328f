"""Scores strings: the text goes on with these bytes, whatever the tokenizers (core.alignment.covering).

For any API. What the pair's members think of a string is a sum over token paths, of which only those are evaluated
that the choice may depend on. Knows nothing of who evaluates them, and chooses nothing.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import replace
from functools import lru_cache, partial
from itertools import islice
from typing import final

import numpy as np

from blackbox_proxy.core.alignment.continuations import UNUSUAL, Continuations
from blackbox_proxy.core.alignment.covering import NEGLIGIBLE, Cover, Place, place
from blackbox_proxy.core.alignment.firsts import firsts_of, pair_firsts
from blackbox_proxy.core.alignment.tokencover import LEAST_MASS, TokenCover, foreign_of
from blackbox_proxy.core.alignment.vocabulary import Vocabulary
from blackbox_proxy.core.decoding import combine
from blackbox_proxy.core.decoding.acceptors import ANY_TEXT, Acceptor, proposals
from blackbox_proxy.core.decoding.certainty import matter, next_to_read
from blackbox_proxy.core.decoding.certificate import Unseen
from blackbox_proxy.core.decoding.gating import features_of, gate_of
from blackbox_proxy.core.decoding.offsets import Rule, Weighted, rule_of
from blackbox_proxy.core.decoding.readings import (
    FAINT,
    MOST_PROPOSED,
    WIDENED,
    Completing,
    Guess,
    Guessing,
    PositionScoring,
    ScoredPosition,
    check_any,
    guess_weight,
    hidden,
    merged,
    reveal_ids,
    supported,
    unfinished,
    untouched,
)
from blackbox_proxy.core.decoding.shortening import competing
from blackbox_proxy.core.events import Answer, Evaluate, Evidence
from blackbox_proxy.core.pairtable import PairTable
from blackbox_proxy.core.text import CONTINUATION, is_whole
from blackbox_proxy.learnt import EVEN, Powers
from blackbox_proxy.steering import Steering
from blackbox_proxy.types import Floats, PairDistributions, Position, RevealMethod, TokenPath

LIKELY = 8
"""Of the API's candidates, how many may ask for another spelling of the text before them."""

PLACES = 64
"""Places kept: a text is looked at when it is drafted, read and scored."""

MANY = 256
"""Strings of the expert that are looked at where a character is to be finished."""

GUESSED = 4
"""Strings of the expert among which the next one is guessed."""

CROSSING = 0.05
"""Probability of what the pair's tokenizer would not let follow above which the API evidently cuts otherwise."""

UNDECIDED = 0.1
"""Share of the expert's continuations from which they are read on where the API's first token is not decided."""

SLIGHT = 1e-3
"""Share of the best's weight from which an imputed string is worth asking about."""

MOST_REQUESTED = 64
"""Ids whose log-probs are asked for in one call."""


@final
class ByteReading:
    """Scores strings of bytes after a text that is re-read from its last safe border."""

    compares_strings = True

    def __init__(
        self,
        vocabulary: Vocabulary,
        table: PairTable,
        *,
        spell: Callable[[bytes], Sequence[int]],
        steering: Steering,
        api: Vocabulary | None = None,
        reveal: RevealMethod = "none",
        given: bool = False,
        accepts: Acceptor = ANY_TEXT,
    ) -> None:
        """given: a text is scored: what each position's own token weighs must be certain, however unlikely it is."""
        self._accepts = accepts
        self._vocabulary, self._spell, self._api, self._given = vocabulary, spell, api, given
        self._firsts = firsts_of(vocabulary, api, spell) if api else pair_firsts(vocabulary, spell)
        self._table, self._steering = table, steering
        self._gate, self._reveal = gate_of(steering, ends=vocabulary.ends), reveal
        self._smooth = steering.evidence if steering.rule in {"pooled", "learnt"} else 0.0
        self._place = lru_cache(maxsize=PLACES)(
            partial(place, spell=spell, vocabulary=vocabulary, back_off=steering.back_off)
        )

    def paths(self, answer: Answer) -> Sequence[TokenPath]:
        """The paths along the tokenizer's own spelling, from the anchor to the end of the text."""
        return self._place(answer.text).paths

    def after(self, answer: Answer, piece: bytes) -> Answer:
        """The answer with one more piece."""
        return Answer(answer.text + piece, (), answer.tokens + 1, (*answer.said, piece))

    def knows(self, piece: bytes) -> bool:
        """Whether the piece can be part of an answer, and the pair can spell it."""
        return bool(piece) and self._vocabulary.can_spell(piece)

    def score(self, position: Position, answer: Answer) -> PositionScoring:
        """Score the API's top-k, the end, and the expert's proposals; see `readings.Reading`.

        The winner's masses are made certain, or the step's forks are spent on it; where tokens are drawn, those of all
        that are likely to be.
        """
        distributions = yield from self._next_token(answer)
        opening = self._gate(distributions)
        if not opening.is_open:
            fits = partial(self._fits, answer.text)
            gated = untouched(position, opening.divergence, steering=self._steering, fits=fits, said=answer.said)
            if gated is not None:
                return gated
        learnt = self._steering.rule == "learnt"
        features = features_of(distributions, position, ends=self._vocabulary.ends) if learnt else ()
        scored = yield from self._steered(position, answer, self._steering.powers_at(features))
        return replace(scored, divergence=opening.divergence, features=features)

    def _next_token(self, answer: Answer) -> Generator[Evaluate, Evidence | None, PairDistributions]:
        """The pair's distributions after the tokenizer's own spelling of the text."""
        at = self._place(answer.text)
        return (yield from self._table.know(at.paths))[at.path]

    def _steered(self, position: Position, answer: Answer, powers: Powers) -> PositionScoring:
        """`score` where the gate is open."""
        calls, revealing, alpha, text = 0, 0, self._steering.alpha_at(answer.tokens), answer.text
        known: dict[TokenPath, PairDistributions] = {}
        rule, shown = rule_of(self._steering, alpha=alpha, powers=powers), self._shown(position, text)
        cover = yield from self._read(text, shown, known)
        forks = self._steering.spread - (len(known) - len(self.paths(answer)))
        proposed, count, read_on = self._proposed(cover, text), self._steering.proposals, False
        while True:
            if (wider := competing(position, proposed)) is not position:
                position, shown = wider, self._shown(wider, text)
            scored, masses, foreign = self._score_all(
                cover, position, rule=rule, shown=shown, proposed=proposed, alpha=alpha, said=answer.said
            )
            if alpha != 0.0 and not read_on and (self._steering.temperature > 0.0 or not scored.is_safe):
                read_on = True
                forks = yield from self._read_on(cover, known, forks=forks)
                proposed = self._proposed(cover, text)
                continue
            path = None
            if forks > 0 and alpha != 0.0:
                given = self._given_column(scored, position)
                path = self._next_path(cover, scored, masses, given=given, foreign=foreign)
            if path is not None:
                forks -= 1
                yield from self._learn((path,), known)
                cover.tree.absorb()
                proposed = [*dict.fromkeys([*proposed, *self._proposed(cover, text, count=count)])]
                continue
            if scored.is_outweighed and self._lists_more(count):
                count = min(WIDENED * count, MOST_PROPOSED)
                more = self._proposed(cover, text, count=count, least=FAINT)
                if not set(more) <= {*shown, *proposed}:
                    proposed = [*dict.fromkeys([*proposed, *more])]
                    continue
            ids = self._threats(scored) if calls < self._steering.reveals and is_whole(text) else ()
            if not ids or self._api is None:
                return replace(scored, revealing=revealing)
            calls += 1
            position, written = yield from reveal_ids(position, answer, ids, vocabulary=self._api)
            revealing += written
            shown = self._shown(position, text)

    def _score_all(
        self,
        cover: TokenCover,
        position: Position,
        *,
        rule: Rule,
        shown: dict[bytes, float],
        proposed: Sequence[bytes],
        alpha: float,
        said: Sequence[bytes],
    ) -> tuple[ScoredPosition, Floats, frozenset[bytes]]:
        """Everything that competes, scored by what the cover knows; its masses; and the strings of `foreign_of`."""
        pieces = (*shown, *(piece for piece in proposed if piece not in shown))
        cover.ask(pieces)
        masses, once = cover.estimate(), cover.once()
        logp = np.fromiter(shown.values(), dtype=np.float64)
        foreign = foreign_of(cover, pieces, (masses, once), logp=logp) if self._api is None else frozenset()
        field = self._field(pieces, masses, once, logp=logp, at=position, foreign=foreign)
        scored = self._scored_position(pieces, field, rule, at=position, alpha=alpha)
        scored = supported(scored, self._steering, said=said)
        return replace(scored, unbordered=cover.tree.unbordered and self._api is not None), masses, foreign

    def _next_path(
        self, cover: TokenCover, scored: ScoredPosition, masses: Floats, *, given: int | None, foreign: frozenset[bytes]
    ) -> TokenPath | None:
        """The path whose distribution would change what matters most; None where it is certain enough."""
        columns = matter(cover, scored, masses, steering=self._steering, smooth=self._smooth)
        columns += [] if given is None else [given]
        # Of a token of the pair that stands for all that starts with it, no more is read: see `foreign_of`.
        columns = [n for n in columns if not (scored.pieces[n] in foreign and self._firsts.is_piece(scored.pieces[n]))]
        return next_to_read(cover, masses, columns, smooth=self._smooth) if columns else None

    def _given_column(self, scored: ScoredPosition, position: Position) -> int | None:
        """Where a text is scored: the column of its own token, which must be certain."""
        piece = position.sampled.piece
        return scored.pieces.index(piece) if self._given and piece in scored.pieces[: scored.known] else None

    def _lists_more(self, count: int) -> bool:
        """Whether a longer list may be made of the expert's strings."""
        return self._steering.takes_unseen and 0 < count < MOST_PROPOSED

    def _read_on(
        self, cover: TokenCover, known: dict[TokenPath, PairDistributions], *, forks: int
    ) -> Generator[Evaluate, Evidence | None, int]:
        """Read the expert's likely continuations on until the API's first token of each is decided.

        Returns how many of the `forks` remain.
        """

        def undecided() -> Sequence[TokenPath]:
            shares = cover.tree.open_paths(least=UNDECIDED)
            return sorted(shares, key=lambda path: -shares[path])

        return (yield from self._read_while(undecided, cover, known, forks=forks))

    def _read_while(
        self,
        unread: Callable[[], Sequence[TokenPath]],
        cover: TokenCover,
        known: dict[TokenPath, PairDistributions],
        *,
        forks: int,
    ) -> Generator[Evaluate, Evidence | None, int]:
        """Read what is `unread` until nothing is, or the `forks` are spent. Returns how many of them remain."""
        while forks > 0 and (paths := unread()[:forks]):
            forks -= len(paths)
            yield from self._learn(paths, known)
            cover.tree.absorb()
        return forks

    def complete(self, answer: Answer) -> Completing:
        """What finishes the character that the answer leaves open, by the expert alone."""
        at = self._place(answer.text)
        known: dict[TokenPath, PairDistributions] = {}
        yield from self._learn(at.paths, known)
        cover, forks = Cover(self._vocabulary, at, known), self._steering.spread
        # No tokenizer spells half a character as a model writes it: what is heavy counts, not what is usual.
        while others := list(cover.unread_shares(least=UNUSUAL))[:forks]:
            forks -= len(others)
            yield from self._learn(others, known)
            cover = Cover(self._vocabulary, at, known)
        pieces = [p for p in cover.proposals(MANY, starts=CONTINUATION) if self._accepts.follows(answer.text, p)]
        if not pieces:
            raise unfinished(answer)
        return pieces[0]

    def guess(self, answer: Answer) -> Guessing:
        """What would be chosen next if the API were the anti-expert, b"" for the end; of the expert's likeliest."""
        at, text = self._place(answer.text), answer.text
        known = yield from self._table.know(at.paths)
        cover = self._cover(at, text, known, shown={})
        yield from self._read_on(cover, known, forks=self._steering.spread)
        pieces = self._listed(cover, text, count=GUESSED)
        if not pieces:
            return Guess(b"", 0.0)
        cover.ask(pieces)
        opening = self._gate(known[at.path])
        weight = guess_weight(self._steering.alpha_at(answer.tokens) if opening.is_open else 0.0)
        score = weight @ np.log(np.maximum(cover.estimate(), LEAST_MASS))
        best = int(np.argmax(score))
        return Guess(pieces[best], math.exp(score[best]))

    def _fits(self, text: bytes, piece: bytes) -> bool:
        """Whether a piece may follow the text, and the pair can read it then: some lack a few control characters."""
        return self._accepts.follows(text, piece) and self._vocabulary.can_spell(piece)

    def _shown(self, position: Position, text: bytes) -> dict[bytes, float]:
        """The API's log-probs of what may follow the text."""
        logps = merged(position, greedy=self._steering.temperature == 0.0)
        shown = {piece: logp for piece, logp in logps.items() if self._fits(text, piece)}
        if not shown and not self._steering.takes_unseen:
            check_any(np.zeros(0), position, fault=f"can follow {text[-20:]!r}")
        return shown

    def _read(
        self, text: bytes, shown: Mapping[bytes, float], known: dict[TokenPath, PairDistributions]
    ) -> Generator[Evaluate, Evidence | None, TokenCover]:
        """The text's own spellings, read; puts the distributions they need into `known`."""
        at = self._place(text)
        yield from self._learn(at.paths, known)
        cover = self._cover(at, text, known, shown=shown)
        unread = partial(cover.tree.unread, tuple(islice(shown, LIKELY)))
        yield from self._read_while(unread, cover, known, forks=self._steering.spread)
        return cover

    def _cover(
        self, at: Place, text: bytes, known: Mapping[TokenPath, PairDistributions], *, shown: Mapping[bytes, float]
    ) -> TokenCover:
        """The masses of the API's next tokens after a place."""
        after = b"" if self._crosses(text, shown) else text
        bridge = self._firsts
        return TokenCover(Continuations(self._vocabulary, at, known, firsts=bridge, after=after, spell=self._spell))

    def _crosses(self, text: bytes, shown: Mapping[bytes, float]) -> bool:
        """Whether the API itself goes on from `text` by what the pair's tokenizer would join with its last token.

        Then the pair's tokenizer says nothing of where an unknown one ends its tokens.
        """
        if self._api is not None:
            return False
        last = self._firsts.last(text)
        crossing = (logp for piece, logp in shown.items() if piece and not self._firsts.keeps(last, piece))
        return math.fsum(math.exp(logp) for logp in crossing) > CROSSING

    def _learn(
        self, paths: Sequence[TokenPath], known: dict[TokenPath, PairDistributions]
    ) -> Generator[Evaluate, Evidence | None, None]:
        """Ask for the distributions at `paths` and add them to `known`.

        Only distributions that a position asked for itself may count there: a longer draft leaves more of them in the
        shared table, and the answer must not depend on the length of the draft.
        """
        known.update((yield from self._table.know(paths)))

    def _proposed(
        self, cover: TokenCover, text: bytes, *, count: int | None = None, least: float = NEGLIGIBLE
    ) -> list[bytes]:
        """The expert's strings and the end, which may win although the API did not show them."""
        count = self._steering.proposals if count is None else count
        if not self._steering.takes_unseen or not count:
            return []
        return self._listed(cover, text, count=count, least=least)

    def _listed(self, cover: TokenCover, text: bytes, *, count: int, least: float = NEGLIGIBLE) -> list[bytes]:
        """The expert's strings that may follow and that the pair can read then: a single byte may be none of those."""
        listed = proposals(cover.tree, text, count=count, accepts=self._accepts, least=least)
        return [piece for piece in listed if self._vocabulary.can_spell(piece)]

    def _field(
        self,
        pieces: tuple[bytes, ...],
        masses: Floats,
        once: Floats,
        *,
        logp: Floats,
        at: Position,
        foreign: frozenset[bytes],
    ) -> combine.Field:
        """What competes: see `combine.Field`."""
        known, covering = len(logp), np.ones(len(pieces), dtype=np.bool_)
        if self._api is None:
            first = self._firsts.first
            masses, once = combine.apart((masses, once), pieces, foreign=foreign, known=known, first=first)
            covering = combine.within_none(pieces, foreign=foreign, known=known)
        tail = hidden(at, greedy=self._steering.temperature == 0.0)
        return combine.Field(logp, masses, once, covering, tail, at.ceiling)

    def _scored_position(
        self, pieces: tuple[bytes, ...], field: combine.Field, rule: Rule, *, at: Position, alpha: float
    ) -> ScoredPosition:
        scores, powers = combine.score(field, rule, alpha=alpha, evidence=self._smooth), EVEN
        if isinstance(rule, Weighted):
            scores, powers = rule.apart(scores, field), rule.powers
        check_any(scores.logp, at, fault="can follow the text")
        unseen = Unseen(field.tail, field.ceiling, rule.most(field, alpha=alpha))
        return ScoredPosition(pieces, scores, len(field.logp), unseen, alpha, powers=powers)

    def _threats(self, scored: ScoredPosition) -> TokenPath:
        """Ids of the API whose log-probs would decide, as far as its vocabulary is known: of imputed candidates."""
        if self._steering.tail != "reveal" or self._reveal == "none" or self._api is None:
            return ()
        score, known = scored.scores.score, scored.known
        best = score[:known].max(initial=-np.inf)
        close = [i for i in range(known, len(score)) if score[i] >= best + math.log(SLIGHT)]
        close.sort(key=lambda i: -score[i])
        ids = [i for n in close for i in self._ids_of(scored.pieces[n])]
        return tuple(ids[: 1 if self._reveal == "bias" else MOST_REQUESTED])

    def _ids_of(self, piece: bytes) -> Sequence[int]:
        """The API's ids of a piece, all its ends for the end."""
        if self._api is None:
            return ()
        return self._api.ids_of(piece) if piece else self._api.ends.tolist()
