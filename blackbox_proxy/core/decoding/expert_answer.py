"""The expert's own answer: greedy, token by token, by the pair alone. No API is asked.

Its steps tell what the expert finds probable, and how far the members are apart; that decides a route (`routing`).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from blackbox_proxy.core.alignment.vocabulary import Vocabulary
from blackbox_proxy.core.decoding.endings import Endings
from blackbox_proxy.core.decoding.gating import total_variation
from blackbox_proxy.core.events import Ending, Evaluate, Run, ask_pair
from blackbox_proxy.core.text import is_whole
from blackbox_proxy.steering import Steering
from blackbox_proxy.types import (
    Distribution,
    Finish,
    Floats,
    Kind,
    Origin,
    PairDistributions,
    ScoredCandidate,
    Step,
    TokenPath,
)


def expert_steps(steering: Steering, *, vocabulary: Vocabulary) -> Run:
    """The expert's likeliest token, place by place, until it ends its answer or a knob does.

    Of the knobs count `max_tokens`, `stop`, `repetition_stop` and `top_candidates`.

    Args:
        steering: The knobs.
        vocabulary: The pair's.
    """
    endings, path, text = Endings(steering), TokenPath(), b""
    finish: Finish = "length"
    while len(path) < steering.max_tokens:
        (distributions,) = (yield from ask_pair(Evaluate((path,)))).distributions
        step, best = _step(distributions, vocabulary, count=steering.top_candidates)
        yield step
        if step.kind is Kind.END:
            finish = "stop"
            break
        path, text = (*path, best), text + step.piece
        if cut := endings.cut(text, (step.piece,), whole=is_whole(text)):
            finish = cut
            break
        endings.keep((step.piece,))
    return Ending(finish, 0, (), is_local=True)


def _step(distributions: PairDistributions, vocabulary: Vocabulary, *, count: int) -> tuple[Step, int]:
    """The likeliest token of the expert as a step, and its id."""
    expert, anti_expert = (_with_one_end(one, vocabulary) for one in (distributions.expert, distributions.anti_expert))
    best = int(np.where(_may_appear(vocabulary), expert, -np.inf).argmax())
    step = Step(
        piece=_piece(best, vocabulary),
        kind=Kind.END if best in vocabulary.ends else Kind.TEXT,
        api_token=b"",
        logp_before=None,
        logp_after=float(expert[best]),
        offset=float(expert[best] - anti_expert[best]),
        origin=Origin.EXPERT,
        candidates=_candidates(expert, anti_expert, vocabulary, count=count),
        exact=False,
        alpha=None,
        divergence=total_variation(distributions, ends=vocabulary.ends),
    )
    return step, best


def _with_one_end(distribution: Distribution, vocabulary: Vocabulary) -> Floats:
    """Log-probs over the vocabulary, shape (V,); the first end has those of all ends together, the others none."""
    logps = distribution.logits.astype(np.float64) - distribution.log_norm
    together = np.logaddexp.reduce(logps[vocabulary.ends])
    logps[vocabulary.ends] = -np.inf
    logps[vocabulary.ends[:1]] = together
    return logps


def _may_appear(vocabulary: Vocabulary) -> NDArray[np.bool_]:
    """Which ids an answer may have, shape (V,): text, and the end; a control token in its midst is neither."""
    allowed = np.asarray(vocabulary.is_text, dtype=np.bool_).copy()
    allowed[vocabulary.ends[:1]] = True
    return allowed


def _piece(token: int, vocabulary: Vocabulary) -> bytes:
    return vocabulary.pieces[token] if vocabulary.is_text[token] else b""


def _candidates(
    expert: Floats, anti_expert: Floats, vocabulary: Vocabulary, *, count: int
) -> tuple[ScoredCandidate, ...]:
    """The expert's likeliest tokens, best first."""
    largest = np.argpartition(-expert, min(count, len(expert) - 1))[:count]
    best = largest[np.argsort(-expert[largest], kind="stable")].tolist()
    return tuple(
        ScoredCandidate(
            piece=_piece(i, vocabulary),
            kind=Kind.END if i in vocabulary.ends else Kind.TEXT,
            logp=float(expert[i]),
            offset=float(expert[i] - anti_expert[i]),
            score=float(expert[i]),
            inside=False,
        )
        for i in best
        if expert[i] > -np.inf
    )
