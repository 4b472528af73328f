"""Drawing a token from the steered distribution, with the API's own draw as a proposal.

The order is: combine, then temperature, then top-k, top-p and min-p of the steered distribution q. A token that the
API drew from its distribution p is kept with probability min(1, q / p); otherwise one is drawn from (q - p)+ (section
3.3 of the derivation), and either way the token follows q, however long the draft was. Arrays and chance only; knows no
token.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import final

import numpy as np

from blackbox_proxy.core.decoding.certificate import Unseen, distance, is_certain, unseen_weight
from blackbox_proxy.steering import Steering
from blackbox_proxy.types import Floats


@final
@dataclass(frozen=True, slots=True)
class Drawn:
    """The chosen column, whether it is the draft's own token, and what is known of the distribution it came from.

    certified: every distribution that agrees with what the API showed would have chosen the same. tv_bound: bound on
    the total variation between this step's distribution and the target's. log_weight: log Z.
    """

    index: int
    certified: bool
    tv_bound: float
    log_weight: float


def tempered(score: Floats, steering: Steering) -> Floats:
    """The steered distribution after temperature (above 0), top-k, top-p and min-p: probabilities, shape (n,)."""
    log = (score - score.max()) / steering.temperature
    distribution = np.exp(log)
    if steering.top_tokens:
        distribution[np.argsort(-distribution, kind="stable")[steering.top_tokens :]] = 0.0
    distribution /= distribution.sum()
    kept = nucleus(distribution, steering.top_p) & (distribution >= steering.min_p * distribution.max())
    distribution = np.where(kept, distribution, 0.0)
    return np.asarray(distribution / distribution.sum(), dtype=np.float64)


def nucleus(distribution: Floats, share: float) -> np.ndarray[tuple[int], np.dtype[np.bool_]]:
    """The fewest likeliest that together hold at least `share` of the mass; all that is possible for a share of 1."""
    if share >= 1.0:
        return distribution > 0.0
    order = np.argsort(-distribution, kind="stable")
    before = np.cumsum(distribution[order]) - distribution[order]
    kept = np.zeros(len(distribution), dtype=np.bool_)
    kept[order[before < share - 1e-12]] = True
    return kept


def best(score: Floats, *, known: int, drafted: int | None, unseen: Unseen) -> Drawn:
    """The greedy choice; among equals the drafted one.

    known: the first so many columns have a log-prob of the API's own, the others were imputed.
    """
    index = int(np.argmax(score))
    if drafted is not None and score[drafted] == score[index]:
        index = drafted
    certified = index < known and is_certain(float(score[index]), unseen)
    return Drawn(index, certified, tv_bound(score, known=known, unseen=unseen), log_normaliser(score))


def api_draw(score: Floats, *, drafted: int, unseen: Unseen, missed: float) -> Drawn:
    """The API's own draw, where its whole distribution at temperature 1 is what is wanted: kept, whatever it is.

    missed: how likely, at most, the API draws what may not follow; then alone another token is drawn, from what it
    showed, and only as far does the distribution depend on what it did not show.
    """
    bound = tv_bound(score, known=len(score), unseen=unseen)
    return Drawn(drafted, certified=True, tv_bound=missed * bound, log_weight=0.0)


def log_normaliser(score: Floats) -> float:
    """log Z, the sum of all weights."""
    top = float(score.max())
    return top + math.log(float(np.exp(score - top).sum()))


def tv_bound(score: Floats, *, known: int, unseen: Unseen, temperature: float = 1.0) -> float:
    """Bound on the total variation between the distribution over these scores and the target's."""
    top = float(score.max())
    weights = np.exp((score - top) / temperature)
    bounds = unseen_weight(unseen, temperature=temperature, shift=top)
    return distance(float(weights[:known].sum()), float(weights[known:].sum()), bounds)


def draw(
    score: Floats,
    logp: Floats,
    *,
    known: int,
    drafted: int | None,
    unseen: Unseen,
    steering: Steering,
    rng: np.random.Generator,
) -> Drawn:
    """One token from the steered distribution. logp: the API's log-probs, of which the first `known` are its own.

    drafted: the column that the API drew from its whole distribution, None where it drew something else. Only what it
    showed may be kept, and what is imputed counts as never drawn: so the token follows the distribution whatever the
    API's tail is. The choice is certified where the smallest probability that the target can give to a kept token keeps
    it too (3.3's interval test), or where the distribution is exact.
    """
    distribution = tempered(score, steering)
    proposal = np.where(np.arange(len(score)) < known, np.exp(np.minimum(logp, 0.0)), 0.0)
    bound = truncated_tv_bound(score, known=known, unseen=unseen, steering=steering)
    chance = rng.random()
    if drafted is not None and drafted < known and chance * proposal[drafted] < distribution[drafted]:
        whole = bound == 0.0 or not steering.truncates
        least = float(distribution[drafted]) * (1.0 - bound) if whole else 0.0
        return Drawn(drafted, bool(chance * proposal[drafted] < least), bound, log_normaliser(score))
    residual = np.maximum(distribution - proposal, 0.0)
    total = residual.sum()
    # A distribution that lies below the proposal everywhere leaves nothing to draw from: rounding only.
    index = int(rng.choice(len(distribution), p=residual / total if total > 0.0 else distribution))
    return Drawn(index, bound == 0.0, bound, log_normaliser(score))


def truncated_tv_bound(score: Floats, *, known: int, unseen: Unseen, steering: Steering) -> float:
    """Bound on the total variation of the tempered and truncated distribution from the target's.

    Without truncation it is `tv_bound`. With it, both distributions are proportional on the shown tokens that both
    keep; they differ by those that one alone keeps, and by unseen ones. 0 where the same are certain to be kept (3.2).
    Of a top-k it is all or nothing: whether all that it keeps was shown, and outweighs what was not.
    """
    plain = tv_bound(score, known=known, unseen=unseen, temperature=steering.temperature)
    if not steering.truncates or plain == 0.0:
        return plain
    top = float(score.max())
    weights = np.exp((score - top) / steering.temperature)
    low, high = unseen_weight(unseen, temperature=steering.temperature, shift=top)
    if math.isinf(high) or not known:
        return 1.0
    shown, most = weights[:known], math.exp(min((unseen.best - top) / steering.temperature, 700.0))
    if steering.top_tokens:
        above = (shown > max(most, float(weights[known:].max(initial=0.0)))).sum()
        return 0.0 if above >= steering.top_tokens else 1.0
    return _kept_apart(shown, guessed=weights[known:], low=low, high=high, most=most, steering=steering)


def _kept_apart(shown: Floats, *, guessed: Floats, low: float, high: float, most: float, steering: Steering) -> float:
    """Share of what only one of two truncated distributions may keep: shown tokens near the edge, and unseen ones."""
    order = np.sort(shown)[::-1]
    total, candidate = float(shown.sum()), float(guessed.sum())
    before = np.cumsum(order) - order
    least, largest = total + min(low, candidate), total + max(high, candidate)
    edge = max(most, float(guessed.max(initial=0.0)))
    # A shown token is kept by every distribution if fewer than top_p can lie before it, even with all unseen weight
    # there.
    ahead = before + np.where(order > edge, 0.0, max(high, candidate))
    reach = max(float(order[0]) if len(order) else 0.0, edge)
    surely = (ahead < steering.top_p * least) & (order >= steering.min_p * reach)
    maybe = (before < steering.top_p * largest) & (order >= steering.min_p * float(order[0])) & ~surely
    # An unseen token is out if what certainly lies before it already holds top_p of the most there can be.
    above = float(order[order > edge].sum())
    out = above >= steering.top_p * largest or edge < steering.min_p * float(order[0])
    loose = float(order[maybe].sum()) + (0.0 if out else max(high, candidate))
    kept = float(order[surely].sum())
    return min(1.0, loose / (kept + loose)) if kept + loose > 0.0 else 1.0
