"""Scores ids of the pair's own vocabulary: for an API that speaks it.

Every mass is exact and nothing is pooled: this is proxy-tuning as it is defined on a shared vocabulary, and what the
API does not show can be bounded token by token. Knows nothing of who evaluates the pair, and chooses nothing.
"""

from __future__ import annotations

import math
from collections.abc import Generator, Iterator, Sequence
from dataclasses import replace
from functools import partial
from itertools import islice
from typing import final

import numpy as np

from blackbox_proxy.core.alignment.covering import probabilities
from blackbox_proxy.core.alignment.vocabulary import Vocabulary
from blackbox_proxy.core.decoding import combine
from blackbox_proxy.core.decoding.acceptors import ANY_TEXT, LOOKED_AT, Acceptor
from blackbox_proxy.core.decoding.certificate import Unseen, is_certain
from blackbox_proxy.core.decoding.gating import gate_of
from blackbox_proxy.core.decoding.offsets import Ratio
from blackbox_proxy.core.decoding.penalties import fines
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
from blackbox_proxy.core.decoding.sampling import tv_bound
from blackbox_proxy.core.decoding.strings import MOST_REQUESTED
from blackbox_proxy.core.events import Answer, Evaluate, Evidence
from blackbox_proxy.core.pairtable import PairTable
from blackbox_proxy.errors import ReplyError
from blackbox_proxy.steering import Steering
from blackbox_proxy.types import (
    Candidate,
    Floats,
    Kind,
    PairDistributions,
    Position,
    RevealMethod,
    TokenPath,
)

SLIGHT = 1e-4
"""Total variation, or nats, that are not worth another call."""


@final
class IdReading:
    """Scores ids; see the module."""

    compares_strings = False

    def __init__(
        self,
        vocabulary: Vocabulary,
        table: PairTable,
        *,
        steering: Steering,
        reveal: RevealMethod = "none",
        accepts: Acceptor = ANY_TEXT,
    ) -> None:
        self._accepts = None if accepts is ANY_TEXT else accepts
        self._vocabulary, self._table, self._steering = vocabulary, table, steering
        self._reveal = reveal
        self._greedy = steering.temperature == 0.0
        self._may_appear = np.where(vocabulary.is_text, 0.0, -np.inf)
        self._may_appear[vocabulary.ends] = 0.0
        self._gate = gate_of(steering, ends=vocabulary.ends)

    def paths(self, answer: Answer) -> Sequence[TokenPath]:
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
        return Answer(answer.text + piece, (*answer.path, ids[0]), answer.tokens + 1, (*answer.said, piece))

    def knows(self, piece: bytes) -> bool:
        """Whether the piece is a token of the vocabulary."""
        return bool(self._vocabulary.ids_of(piece))

    def score(self, position: Position, answer: Answer) -> PositionScoring:
        """Score the API's candidates, the end, and the expert's likeliest other ids; see `readings.Reading`."""
        distributions = yield from self._distributions(answer)
        opening = self._gate(distributions)
        redrawn = self._steering.penalises and not self._greedy  # what the API drew is no draw with penalties
        if not opening.is_open and not redrawn:
            fits = partial(self._fits, answer.text)
            gated = untouched(position, opening.divergence, steering=self._steering, fits=fits, said=answer.said)
            if gated is not None:
                return gated
        alpha = self._steering.alpha_at(answer.tokens) if opening.is_open else 0.0
        gains = alpha * self._offsets(distributions) + self._may_appear
        if self._steering.penalises:
            fined = {*answer.said, *(piece for piece, _ in self._steering.token_bias)}
            lighter = [self._vocabulary.ids_of(piece)[0] for piece in fined if piece and self.knows(piece)]
            gains[lighter] -= fines([self._vocabulary.pieces[i] for i in lighter], answer.said, self._steering)
            gains[self._vocabulary.ends] -= fines([b""], answer.said, self._steering)
        scored = self._listed(distributions, position, gains, alpha=alpha, answer=answer)
        text = answer.text
        revealing = 0
        for _ in range(self._steering.reveals):
            ids = self._threats(scored, text)
            if not ids:
                break
            position, written = yield from reveal_ids(position, answer, ids, vocabulary=self._vocabulary)
            revealing += written
            scored = self._listed(distributions, position, gains, alpha=alpha, answer=answer)
        shut = not opening.is_open
        return replace(scored, divergence=opening.divergence, gated=shut, revealing=revealing)

    def complete(self, answer: Answer) -> Completing:
        """Raises ReplyError: an API that is sent ids is never asked for the rest of a character."""
        yield from ()
        raise unfinished(answer)

    def guess(self, answer: Answer) -> Guessing:
        """What would be chosen next if the API were the anti-expert; b"" for the end."""
        distributions = yield from self._distributions(answer)
        alpha = self._steering.alpha_at(answer.tokens) if self._gate(distributions).is_open else 0.0
        expert, other = guess_weight(alpha)
        score = expert * distributions.expert.logits.astype(np.float64) + other * distributions.anti_expert.logits
        best = next(self._allowed_ids(score + self._may_appear, answer.text), None)
        if best is None:
            return Guess(b"", 0.0)
        chance = math.exp(
            score[best] - expert * distributions.expert.log_norm - other * distributions.anti_expert.log_norm
        )
        return Guess(b"" if best in self._vocabulary.ends else self._vocabulary.pieces[best], chance)

    def _distributions(self, answer: Answer) -> Generator[Evaluate, Evidence | None, PairDistributions]:
        """The pair's of the next token."""
        return (yield from self._table.know((answer.path,)))[answer.path]

    def _offsets(self, distributions: PairDistributions) -> Floats:
        """log E - log A of every id, shape (V,); the ends are one event."""
        offsets = np.subtract(distributions.expert.logits, distributions.anti_expert.logits, dtype=np.float64)
        offsets -= distributions.expert.log_norm - distributions.anti_expert.log_norm
        if len(self._vocabulary.ends):
            ends = probabilities(distributions, self._vocabulary.ends).sum(axis=1)
            offsets[self._vocabulary.ends] = np.log(ends[0]) - np.log(ends[1])
        return offsets

    def _fits(self, text: bytes, piece: bytes) -> bool:
        """Whether a piece may follow a text: it is a token, and the constraint goes along."""
        if piece and not self.knows(piece):
            return False
        return self._accepts is None or self._accepts.follows(text, piece)

    def _allowed_ids(self, score: Floats, text: bytes) -> Iterator[int]:
        """The ids that may follow a text, the best first, without those of -inf. score: of every id, shape (V,)."""
        if self._accepts is None:
            yield int(np.argmax(score))
            return
        ends, starts = set(self._vocabulary.ends.tolist()), frozenset(self._accepts.starts(text))
        for i in np.argsort(-score, kind="stable").tolist():
            if score[i] == -np.inf:
                return
            piece = b"" if i in ends else self._vocabulary.pieces[i]
            if (not piece or piece[:1] in starts) and self._accepts.follows(text, piece):
                yield i

    def _listed(
        self,
        distributions: PairDistributions,
        position: Position,
        gains: Floats,
        *,
        alpha: float,
        answer: Answer,
    ) -> ScoredPosition:
        """Everything that competes; more of the expert's ids where all that is not listed outweighs the choice."""
        count = self._steering.proposals
        scored = self._scored_position(distributions, position, gains, alpha=alpha, count=count, answer=answer)
        while scored.is_outweighed and 0 < count < MOST_PROPOSED:
            count = min(WIDENED * count, MOST_PROPOSED)
            scored = self._scored_position(distributions, position, gains, alpha=alpha, count=count, answer=answer)
        return scored

    def _scored_position(
        self,
        distributions: PairDistributions,
        position: Position,
        gains: Floats,
        *,
        alpha: float,
        count: int,
        answer: Answer,
    ) -> ScoredPosition:
        shown = {p: logp for p, logp in merged(position, greedy=self._greedy).items() if self._fits(answer.text, p)}
        pieces = (*shown, *self._proposals(distributions, shown, count=count, text=answer.text))
        tail = hidden(position, greedy=self._greedy)
        masses = self._masses(distributions, pieces)
        field = combine.Field(
            np.fromiter(shown.values(), dtype=np.float64),
            masses,
            masses,
            np.ones(len(pieces), dtype=np.bool_),
            tail,
            position.ceiling,
        )
        scores = combine.score(field, Ratio(), alpha=alpha, evidence=0.0)
        fault = "is in the pair's vocabulary" if self._accepts is None else "is in the pair's vocabulary and may follow"
        check_any(scores.logp, position, fault=fault)
        unseen = self._unseen(position, gains, tail=tail, end=shown.get(b"", -math.inf))
        return supported(ScoredPosition(pieces, scores, len(shown), unseen, alpha), self._steering, said=answer.said)

    def _unseen(self, position: Position, gains: Floats, *, tail: float, end: float) -> Unseen:
        """What is known of the ids that the API did not show, one by one."""
        shown = [i for c in (*position.top, *position.requested) for i in self._ids_of(c)]
        if self._greedy:
            shown += self._ids_of(position.sampled)
        rest = gains.copy()
        rest[shown] = -np.inf
        open_ends = [i for i in self._vocabulary.ends.tolist() if i not in shown]
        ids = np.flatnonzero(rest > -np.inf)
        listed = rest[ids]
        unseen = Unseen(tail, position.ceiling, float(listed.max(initial=-np.inf)), listed, ids)
        if not open_ends or math.isinf(unseen.cap):
            return unseen
        # All ends are one event: what was shown of it and every unseen one add up.
        whole = np.logaddexp(end, min(unseen.cap + math.log(len(open_ends)), math.log(unseen.mass)))
        gain = max(unseen.gain, float(whole) + float(gains[open_ends[0]]) - unseen.cap)
        return replace(unseen, gain=gain)

    def _ids_of(self, candidate: Candidate) -> list[int]:
        """The id that a candidate stands for."""
        if candidate.id is not None and candidate.id < len(self._vocabulary):
            return [candidate.id]
        if candidate.kind is Kind.END:
            return [i for i in self._vocabulary.ends.tolist() if self._vocabulary.pieces[i] == candidate.piece]
        return list(self._vocabulary.ids_of(candidate.piece))[:1]

    def _threats(self, scored: ScoredPosition, text: bytes) -> TokenPath:
        """The unseen ids that could change the choice, or the distribution, most."""
        score, unseen = scored.scores.score, scored.unseen
        if self._steering.tail != "reveal" or self._reveal == "none" or unseen.gains is None or unseen.ids is None:
            return ()
        best = float(score[: scored.known].max(initial=-np.inf))
        if self._greedy:
            if is_certain(best, unseen):
                return ()
            close = unseen.gains + unseen.cap >= best - SLIGHT
        else:
            bound = tv_bound(score, known=scored.known, unseen=unseen, temperature=self._steering.temperature)
            close = np.full(len(unseen.gains), bound > SLIGHT)
        most = 1 if self._reveal == "bias" else MOST_REQUESTED
        order = np.argsort(-unseen.gains[close], kind="stable")[:most]
        return tuple(i for i in unseen.ids[close][order].tolist() if self._may_follow(i, text))

    def _may_follow(self, i: int, text: bytes) -> bool:
        return self._accepts is None or self._fits(text, self._piece(i))

    def _piece(self, i: int) -> bytes:
        """The bytes of an id, b"" for an end."""
        return b"" if i in self._vocabulary.ends else self._vocabulary.pieces[i]

    def _proposals(
        self, distributions: PairDistributions, shown: dict[bytes, float], *, count: int, text: bytes
    ) -> list[bytes]:
        if not self._steering.takes_unseen or not count:
            return []
        logits = distributions.expert.logits
        least = combine.REAL if count == self._steering.proposals else FAINT
        ids = np.flatnonzero(logits > distributions.expert.log_norm + math.log(least))
        ids = ids[self._vocabulary.is_text[ids]]
        ids = ids[np.argsort(-logits[ids])]
        pieces = [self._vocabulary.pieces[i] for i in ids[: count if self._accepts is None else LOOKED_AT].tolist()]
        listed = [piece for piece in (*pieces, b"") if self._fits(text, piece)]
        if self._accepts is not None and not any((*listed, *shown)):
            # However unlikely it is, something that is allowed competes.
            allowed = islice(self._allowed_ids(logits.astype(np.float64) + self._may_appear, text), count)
            listed += [self._piece(i) for i in allowed]
        kept = [piece for piece in dict.fromkeys(listed) if piece not in shown]
        return kept if self._accepts is None else [*kept[:count], *(piece for piece in kept[count:] if not piece)]

    def _masses(self, distributions: PairDistributions, pieces: Sequence[bytes]) -> Floats:
        ids = [self._vocabulary.ids_of(piece)[0] if piece else 0 for piece in pieces]
        masses = probabilities(distributions, np.array(ids, dtype=np.intp))
        if b"" in pieces:
            masses[:, pieces.index(b"")] = probabilities(distributions, self._vocabulary.ends).sum(axis=1)
        return masses
