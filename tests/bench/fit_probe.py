"""What a route by agreement would have saved, from answers that a fit has kept: nothing is asked for it.

Such a route would ask the closed model for its first tokens, and take the expert's answer where they agree with it. A
question costs its share `price` of an answer, and is paid on every line; lines that agree, a share `agree`, are not
answered elsewhere. Where all lines are equally dear it saves `agree - price` of the price, and what it takes as agreed
is what the closed model begins to say too.
"""

from __future__ import annotations

from collections.abc import Sequence
from statistics import fmean

from blackbox_proxy.core.money.amounts import Price, cost
from blackbox_proxy.fitting.compared import ComparedArms
from blackbox_proxy.fitting.selecting import Terms, Trial, best_of
from blackbox_proxy.types import Usage
from tests.bench.fit_figures import Unit

TOKENS = 4
"""That a question asks for: about a word."""


def probed(compared: ComparedArms, price: Price | None) -> Unit | None:
    """The figures of it on validation lines; None where there is no expert, nobody to call, or no price.

    agree: share of lines on which the first words agree. right: share of these on which the expert is right. price: of
    a question, as a share of an answer's. saved: share of the price of all answers. loss: score that is lost against
    answering all lines elsewhere. local: share that the route of the fit answers without a call, None without a route.
    """
    calling = [trial for trial in compared.finalists if trial.candidate.arm.calls and not trial.candidate.arm.route]
    expert = next((trial for trial in compared.trials if trial.candidate.way == "expert"), None)
    if expert is None or not calling or price is None:
        return None
    other = best_of(calling, Terms())
    closed = _behind(other, compared.trials)
    items = [item for item in other.scores if item in expert.scores and closed is not None and item in closed.scores]
    if closed is None or not items:
        return None
    agree = {item: _begins(closed, item) == _begins(expert, item) != "" for item in items}
    asked = [float(cost(Usage(input=closed.given.answers[item].input, output=TOKENS), price) or 0) for item in items]
    paid = [float(other.given.answers[item].cost or 0) for item in items]
    scores = [(expert if agree[item] else other).scores[item] for item in items]
    agreed = [expert.scores[item] for item in items if agree[item]]
    spared = sum(dollars for item, dollars in zip(items, paid, strict=True) if agree[item])
    return {
        "n": len(items),
        "elsewhere": other.name,
        "agree": round(fmean(agree.values()), 4),
        "right": round(fmean(agreed), 4) if agreed else None,
        "price": round(sum(asked) / sum(paid), 4) if sum(paid) else None,
        "saved": round((spared - sum(asked)) / sum(paid), 4) if sum(paid) else None,
        "loss": round(fmean(other.scores[item] for item in items) - fmean(scores), 4),
        "local": None if compared.route is None else compared.route.evidence.local,
    }


def _behind(other: Trial, trials: Sequence[Trial]) -> Trial | None:
    """The closed model by itself behind the same turns, whose first tokens would be asked for."""
    before = other.candidate.arm.before
    alike = (one for one in trials if one.candidate.way == "closed" and one.candidate.arm.before == before)
    return next(alike, None)


def _begins(trial: Trial, item: str) -> str:
    """The first word of an answer."""
    return next(iter(trial.given.answers[item].text.split()), "")
