"""Scores strings of bytes by any source of offsets: several pairs, a table, any `types.OffsetSource`.

The source is asked once for each position, for what the API shows and, where it can propose, for strings of its own.
It has no vocabulary, so nothing outside the top-k can be listed, and only a rule that bounds offsets gives
certificates. Knows nothing of who scores.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import final

import numpy as np

from blackbox_proxy.core.decoding import combine
from blackbox_proxy.core.decoding.acceptors import ANY_TEXT, Acceptor
from blackbox_proxy.core.decoding.certificate import Unseen
from blackbox_proxy.core.decoding.offsets import rule_of
from blackbox_proxy.core.decoding.readings import (
    Completing,
    Guess,
    Guessing,
    PositionScoring,
    ScoredPosition,
    check_any,
    hidden,
    merged,
    supported,
    unfinished,
)
from blackbox_proxy.core.events import Answer, ScoreStrings, ask_scores
from blackbox_proxy.core.text import is_whole
from blackbox_proxy.errors import ReplyError
from blackbox_proxy.steering import Steering
from blackbox_proxy.types import Position, TokenPath


@final
class ScoreReading:
    """Scores strings by a source of offsets; see the module."""

    compares_strings = True

    def __init__(self, steering: Steering, *, proposes: bool, accepts: Acceptor = ANY_TEXT) -> None:
        self._steering, self._accepts = steering, accepts
        self._smooth = steering.evidence if steering.rule == "pooled" else 0.0
        self._proposals = steering.proposals if proposes and steering.takes_unseen else 0

    def paths(self, _answer: Answer) -> Sequence[TokenPath]:
        """None: the source keeps what it needs."""
        return ()

    def after(self, answer: Answer, piece: bytes) -> Answer:
        """The answer with one more piece."""
        return Answer(answer.text + piece, (), answer.tokens + 1, (*answer.said, piece))

    def knows(self, piece: bytes) -> bool:
        """Whether the piece can be part of an answer."""
        return bool(piece)

    def complete(self, answer: Answer) -> Completing:
        """Raises ReplyError: a part of a character wins only where the API drafted it, and then goes on by itself."""
        yield from ()
        raise unfinished(answer)

    def guess(self, answer: Answer) -> Guessing:  # noqa: ARG002 (it has nothing to guess by)
        """Nothing: a source of scores drafts no text."""
        yield from ()
        return Guess(b"", 0.0)

    def score(self, position: Position, answer: Answer) -> PositionScoring:
        """Score the API's top-k, the end, and the source's own proposals; see `readings.Reading`."""
        shown = self._shown(position, answer.text)
        proposals = self._proposals if is_whole(answer.text) else 0
        competing = yield from ask_scores(ScoreStrings(answer.text, tuple(shown), proposals))
        offsets = competing.scores
        allowed = [n for n, p in enumerate(competing.pieces) if p in shown or self._accepts.follows(answer.text, p)]
        pieces = tuple(competing.pieces[n] for n in allowed)
        logp = np.fromiter(shown.values(), dtype=np.float64)
        masses = np.exp(np.stack([offsets.expert[allowed], offsets.anti_expert[allowed]]))
        net = combine.remainders(masses, pieces, known=len(logp))
        tail = hidden(position, greedy=self._steering.temperature == 0.0)
        covering = combine.covers(pieces, known=len(logp))
        field = combine.Field(logp, net, net, covering, tail, position.ceiling)
        alpha = self._steering.alpha_at(answer.tokens)
        rule = rule_of(self._steering, alpha=alpha)
        scores = combine.score(field, rule, alpha=alpha, evidence=self._smooth)
        if offsets.other is not None:
            scores = replace(scores, rest=offsets.other)
        unseen = Unseen(tail, position.ceiling, rule.most(field, alpha=alpha))
        scored = ScoredPosition(pieces, scores, len(logp), unseen, alpha)
        return supported(scored, self._steering, said=answer.said)

    def _shown(self, position: Position, text: bytes) -> dict[bytes, float]:
        """The API's log-probs of what may follow; a part of a character only where the draft goes on with the rest."""
        shown = {
            piece: logp
            for piece, logp in merged(position, greedy=self._steering.temperature == 0.0).items()
            if self._accepts.follows(text, piece) and (is_whole(text + piece) or piece == position.sampled.piece)
        }
        if not shown and self._accepts is not ANY_TEXT:
            raise ReplyError(
                f"none of the API's {len(position.top)} candidates after {text[-20:]!r} is allowed by the constraint",
                hint="ask for more log-probs (--top-k), or steer with a pair, which knows strings besides",
            )
        check_any(np.array([*shown.values()]), position, fault=f"can follow {text[-20:]!r}")
        return shown
