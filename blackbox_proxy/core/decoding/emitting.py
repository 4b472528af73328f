"""What is emitted at a position that was scored: which candidate, and the step that says so."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from blackbox_proxy.core.decoding.readings import ScoredPosition
from blackbox_proxy.core.decoding.sampling import Drawn, api_draw, best, draw, tv_bound
from blackbox_proxy.errors import ReplyError
from blackbox_proxy.steering import Steering
from blackbox_proxy.types import Kind, Origin, Position, ScoredCandidate, Step


def step_of(
    position: Position, scored: ScoredPosition, *, exact: bool, steering: Steering, rng: np.random.Generator
) -> Step:
    """The step at a position that was scored: the best candidate, or one that is drawn.

    exact: whether the API's log-probs are those after exactly the text before. rng: where the chance comes from.
    """
    ends = position.sampled.kind is Kind.END
    token = b"" if ends else position.sampled.piece
    # A token without bytes that is no end stands for nothing that could be kept.
    drafted = scored.pieces.index(token) if (token or ends) and token in scored.pieces else None
    likeliest = any(c.piece == position.sampled.piece for c in position.top[:1])
    drawn = _choose(scored, drafted, likeliest=likeliest, steering=steering, rng=rng)
    log_z = scored.log_whole() if steering.takes_unseen else drawn.log_weight
    inside = drawn.index < scored.known
    origin = Origin.DRAFT if drawn.index == drafted and inside else Origin.CHANGED if inside else Origin.OUTSIDE
    outweighed = steering.temperature == 0.0 and scored.is_outweighed
    candidates = scored.candidates(steering.top_candidates, log_z)
    return _step(
        scored, drawn, token, origin=origin, log_z=log_z, candidates=candidates, exact=exact, outweighed=outweighed
    )


def given_step(position: Position, scored: ScoredPosition, at: int, *, origin: Origin, steering: Steering) -> Step:
    """The step of one of the candidates, which nobody chose."""
    scores, log_z = scored.scores.score, scored.log_whole()
    bound = tv_bound(scores, known=scored.known, unseen=scored.unseen)
    candidates = scored.candidates(steering.top_candidates, log_z)
    drawn = Drawn(at, certified=False, tv_bound=bound, log_weight=log_z)
    return _step(scored, drawn, position.sampled.piece, origin=origin, log_z=log_z, candidates=candidates)


def _step(
    scored: ScoredPosition,
    drawn: Drawn,
    api_token: bytes,
    *,
    origin: Origin,
    log_z: float,
    candidates: tuple[ScoredCandidate, ...],
    exact: bool = True,
    outweighed: bool = False,
) -> Step:
    """The step of one of the candidates. log_z: of the distribution that its log-prob is of."""
    at, piece = drawn.index, scored.pieces[drawn.index]
    return Step(
        piece=piece,
        kind=Kind.TEXT if piece else Kind.END,
        api_token=api_token,
        logp_before=float(scored.scores.logp[at]),
        logp_after=scored.logp_after(at, log_z),
        offset=scored.offset(at),
        origin=origin,
        candidates=candidates,
        certified=drawn.certified,
        tv_bound=drawn.tv_bound,
        log_weight=drawn.log_weight,
        exact=exact,
        alpha=scored.alpha,
        divergence=scored.divergence,
        gated=scored.gated,
        outweighed=outweighed,
        unbordered=scored.unbordered,
    )


def _choose(
    scored: ScoredPosition, drafted: int | None, *, likeliest: bool, steering: Steering, rng: np.random.Generator
) -> Drawn:
    """The best, or one that is drawn; where the offset does not act, what the API chose as its likeliest token."""
    score, known, unseen = scored.scores.score, scored.known, scored.unseen
    if not np.isfinite(score).any():
        raise ReplyError(
            f"nothing but an end competes, and the answer is to have {steering.min_tokens} tokens at least",
            hint="ask for more log-probs (--top-k), steer with a pair, which knows strings besides, or lower it",
        )
    if drafted is not None and drafted >= len(score):
        drafted = None
    if steering.temperature == 0.0:
        chosen = best(score, known=known, drafted=drafted, unseen=unseen)
        if drafted is None or drafted >= known or scored.alpha != 0.0 or steering.penalises or not likeliest:
            return chosen
        return replace(chosen, index=drafted, certified=True)
    if scored.missed is not None and drafted is not None:
        return api_draw(score, drafted=drafted, unseen=unseen, missed=scored.missed)
    return draw(
        score,
        scored.scores.logp,
        known=known,
        drafted=drafted,
        unseen=unseen,
        steering=steering,
        rng=rng,
    )
