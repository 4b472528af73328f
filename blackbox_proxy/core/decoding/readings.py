"""What a position of the API is scored by: the interface of a reading, and what all readings have in common.

A reading scores the API's candidates by the pair (`strings`, `ids`) or by another source of offsets (`scores`). It is a
generator: it yields questions (`core.events`) for the pair's distributions, for a source's scores, or for the log-probs
of tokens besides the API's top-k, and returns everything that competes. Who answers, and who chooses, is not its
business.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np

from blackbox_proxy.core.alignment.vocabulary import Vocabulary
from blackbox_proxy.core.decoding import combine
from blackbox_proxy.core.decoding.acceptors import Acceptor
from blackbox_proxy.core.decoding.certificate import NOTHING, Unseen, is_certain
from blackbox_proxy.core.decoding.penalties import fines, largest_bonus
from blackbox_proxy.core.decoding.sampling import nucleus
from blackbox_proxy.core.decoding.shortening import with_requested
from blackbox_proxy.core.events import Answer, ApiReveal, Evidence, Question, ask_api
from blackbox_proxy.errors import ReplyError
from blackbox_proxy.learnt import EVEN, Powers
from blackbox_proxy.steering import Steering
from blackbox_proxy.types import (
    Candidate,
    Floats,
    Kind,
    Position,
    ScoredCandidate,
    TokenPath,
)

WIDENED, MOST_PROPOSED = 4, 128
"""The list of proposals grows by this factor, up to so many, where what is not listed outweighs the choice."""

FAINT = 1e-5
"""Share under the expert below which not even a widened list has a string."""


@dataclass(frozen=True, slots=True)
class ScoredPosition:
    """Everything that competes at a position; the first `known` strings have a log-prob of the API's own.

    pieces: n strings, b"" the end. scores: arrays of shape (n,), -inf where the target leaves a string out. unseen:
    what is known of the API's other tokens. alpha: weight of the offset. divergence, gated: as in
    `types.Step`. missed: where the API's own draw is what is wanted, how likely, at most, it draws what may not follow;
    None elsewhere. unbordered: the text ends where the API's tokenizer would hardly end a token, so that it was scored
    without that condition. revealing: how many tokens the API wrote only to reveal log-probs. powers: how much log E
    and log A count in an offset; features: what they were made of, where they were learnt (`learnt.FEATURES`). barred:
    probability of what the API showed and a constraint does not allow.
    """

    pieces: tuple[bytes, ...]
    scores: combine.FieldScores
    known: int
    unseen: Unseen
    alpha: float
    divergence: float | None = None
    gated: bool = False
    missed: float | None = None
    unbordered: bool = False
    revealing: int = 0
    powers: Powers = EVEN
    features: tuple[float, ...] = ()
    barred: float = 0.0

    @property
    def is_safe(self) -> bool:
        """Whether the best of what is listed outweighs everything that is not."""
        return is_certain(float(self.scores.score.max()), self.unseen)

    @property
    def is_outweighed(self) -> bool:
        """Whether all that is not listed together weighs more than the best that is, and may hold something better."""
        if self.gated or self.alpha == 0.0 or self.unseen is NOTHING:
            return False
        best = float(self.scores.score.max())
        rest = combine.unlisted(self.scores, known=self.known, alpha=self.alpha, barred=self.barred)
        return rest > best and not self.is_safe

    def log_whole(self) -> float:
        """log Z of all that may follow, with what the API did not show: 0 where the API's is left as it is."""
        return combine.whole(self.scores, known=self.known, alpha=self.alpha, barred=self.barred)

    def logp_after(self, at: int, log_z: float) -> float:
        """Steered log-prob of a string. Guesses that overlap may weigh more than all: then it is 0."""
        return min(0.0, float(self.scores.score[at]) - log_z)

    def offset(self, at: int) -> float | None:
        """Offset of a string, in nats; None where the pair did not score it."""
        offset = float(self.scores.offset[at])
        return None if math.isnan(offset) else offset

    def candidates(self, best: int, log_z: float) -> tuple[ScoredCandidate, ...]:
        """The best few, their scores normalised by `log_z`."""
        order = np.argsort(-self.scores.score, kind="stable")[:best]
        return tuple(self._candidate(i, log_z) for i in order.tolist() if math.isfinite(self.scores.score[i]))

    def _candidate(self, i: int, log_z: float) -> ScoredCandidate:
        piece, score = self.pieces[i], self.logp_after(i, log_z)
        kind, logp = Kind.TEXT if piece else Kind.END, float(self.scores.logp[i])
        return ScoredCandidate(piece, kind, logp, self.offset(i), score, i < self.known)


@dataclass(frozen=True, slots=True)
class Guess:
    """What the pair takes to come next, b"" for the end, and how likely it finds it."""

    piece: bytes
    chance: float


PositionScoring = Generator[Question, Evidence | None, ScoredPosition]
Completing = Generator[Question, Evidence | None, bytes]
Guessing = Generator[Question, Evidence | None, Guess]


class Reading(Protocol):
    """How a position of the API is scored.

    compares_strings: whether what competes is compared string by string, so that each one costs work.
    """

    @property
    def compares_strings(self) -> bool: ...

    def paths(self, answer: Answer) -> Sequence[TokenPath]: ...

    def score(self, position: Position, answer: Answer) -> PositionScoring: ...

    def complete(self, answer: Answer) -> Completing: ...

    def guess(self, answer: Answer) -> Guessing: ...

    def after(self, answer: Answer, piece: bytes) -> Answer: ...

    def knows(self, piece: bytes) -> bool: ...


def guess_weight(alpha: float) -> Floats:
    """Weights of log E and log A in a guess, shape (2,): A (E / A)^alpha, with alpha held to [0, 1].

    Beyond the expert lies the noise of the ratio; a guess needs no more than the expert's own choice.
    """
    expert = min(max(alpha, 0.0), 1.0)
    return np.array([expert, 1.0 - expert])


def unfinished(answer: Answer) -> ReplyError:
    """A change left a character open, and there is nobody to finish it."""
    return ReplyError(
        f"neither the API nor the pair can finish the character at {answer.text[-20:]!r}",
        hint="the API offered a lone byte that no text goes on from; try a smaller alpha",
    )


def merged(position: Position, *, greedy: bool = True) -> dict[bytes, float]:
    """The API's candidates by piece: equal pieces summed, the ends together as b"", what is no text left out.

    greedy: the sampled token counts where the top-k does not hold it. Where tokens are drawn it must not: what may be
    chosen would depend on what was drawn, and the choice would no longer follow the distribution.
    """
    logps: dict[bytes, float] = {}
    for candidate in (*position.top, *position.requested, *(_unlisted(position) if greedy else ())):
        if candidate.kind is Kind.SPECIAL or not math.isfinite(candidate.logp):
            continue
        key = candidate.string
        if key or candidate.kind is Kind.END:
            known = logps.get(key)
            logps[key] = candidate.logp if known is None else float(np.logaddexp(known, candidate.logp))
    return logps


def _unlisted(position: Position) -> tuple[Candidate, ...]:
    """The sampled token, where neither the top-k nor what was revealed holds it."""
    same = (c for c in (*position.top, *position.requested) if c.piece == position.sampled.piece)
    return () if any(same) else (position.sampled,)


def barred(position: Position, text: bytes, *, accepts: Acceptor) -> float:
    """Probability of what the API showed and a constraint does not allow."""
    return math.fsum(math.exp(p) for piece, p in merged(position).items() if not accepts.follows(text, piece))


def hidden(position: Position, *, greedy: bool = True) -> float:
    """Probability of what the API did not show; greedy: the sampled token's own share taken out."""
    taken = sum(math.exp(c.logp) for c in _unlisted(position) if math.isfinite(c.logp)) if greedy else 0.0
    return max(position.tail - taken, 0.0)


def reveal_ids(
    position: Position, answer: Answer, ids: TokenPath, *, vocabulary: Vocabulary
) -> Generator[ApiReveal, Evidence | None, tuple[Position, int]]:
    """The position with the log-probs of some more ids of the API; and how many tokens it wrote to tell them."""
    evidence = yield from ask_api(ApiReveal(answer.text, answer.path, ids))
    (reply,) = evidence.replies
    candidates = reply.positions[0].requested if reply.positions else ()
    # A reply may name a candidate by its id alone.
    named = [c if c.piece or c.id is None else _of_id(c.id, c.logp, vocabulary) for c in candidates]
    return with_requested(position, named), len(reply.positions)


def _of_id(i: int, logp: float, vocabulary: Vocabulary) -> Candidate:
    kind = Kind.END if i in vocabulary.ends else Kind.TEXT if vocabulary.is_text[i] else Kind.SPECIAL
    return Candidate(vocabulary.pieces[i], logp, kind, i)


def check_any(logp: Floats, position: Position, *, fault: str) -> None:
    """Raise ReplyError where nothing at all may be chosen."""
    if not np.isfinite(logp).any():
        raise ReplyError(
            f"none of the API's {len(position.top)} candidates {fault}",
            hint="--event ids is for an API that speaks the pair's vocabulary, --event bytes for one that shows text",
        )


def penalised(scored: ScoredPosition, steering: Steering, *, said: Sequence[bytes]) -> ScoredPosition:
    """The position, with what its strings lose by what was said before; any unseen token may be one of these.

    Where unseen tokens are listed (`Unseen.gains`), their gains have the penalties already.
    """
    if not steering.penalises or not (said or steering.min_tokens or steering.token_bias):
        return scored
    fine, unseen = fines(scored.pieces, said, steering), scored.unseen
    if unseen.gains is None and unseen is not NOTHING:
        unseen = replace(unseen, gain=unseen.gain + largest_bonus(said, steering))
    scores = replace(scored.scores, score=scored.scores.score - fine, fine=fine)
    return replace(scored, scores=scores, unseen=unseen)


def supported(position: ScoredPosition, steering: Steering, *, said: Sequence[bytes]) -> ScoredPosition:
    """What penalties and the target leave of it: all (T1), the API's own nucleus (T2), what it showed (T3); 3.2.

    said: the steps of the answer so far.
    """
    scored = penalised(position, steering, said=said)
    if steering.target == "full":
        return scored
    known, scores = scored.known, scored.scores
    if steering.target == "topk":
        return replace(scored, unseen=NOTHING)
    shown = np.exp(np.minimum(scores.logp[:known], 0.0))
    kept = nucleus(shown, steering.nucleus)
    whole = shown.sum() >= steering.nucleus
    scores = replace(scores, score=np.where(kept, scores.score[:known], -np.inf))
    return replace(scored, scores=scores, unseen=NOTHING if whole else scored.unseen)


def untouched(
    position: Position,
    divergence: float | None,
    *,
    steering: Steering,
    fits: Callable[[bytes], bool],
    said: Sequence[bytes] = (),
) -> ScoredPosition | None:
    """The API's own distribution of what may follow (`fits`), where the gate is shut; None where nothing may.

    Nothing that the API did not show competes, so that the pair need not score any string; what that may cost is in the
    bounds of the step. Where tokens are drawn from the API's whole distribution as it is, its own draw is one of them.
    """
    greedy, as_it_is = steering.temperature == 0.0, draws_as_it_is(steering)
    shown = {p: logp for p, logp in merged(position, greedy=greedy or as_it_is).items() if fits(p)}
    if not shown:
        return None
    logp = np.fromiter(shown.values(), dtype=np.float64)
    scores = combine.FieldScores(logp, np.full(len(logp), np.nan), logp)
    missed = None
    if as_it_is:
        fit = (logp for p, logp in merged(position, greedy=False).items() if fits(p))
        missed = max(0.0, 1.0 - math.fsum(math.exp(logp) for logp in fit))
    unseen = Unseen(hidden(position, greedy=greedy), position.ceiling, 0.0)
    scored = ScoredPosition(tuple(shown), scores, len(logp), unseen, 0.0, divergence, gated=True, missed=missed)
    return supported(scored, steering, said=said)


def draws_as_it_is(steering: Steering) -> bool:
    """Whether tokens are drawn from a whole distribution at temperature 1, as the API draws them."""
    changed = steering.truncates or steering.penalises
    return steering.temperature == 1.0 and steering.target == "full" and not changed
