"""The figures of `tests.bench.fit_tasks`, from raw scores. Pure.

A unit holds what was chosen, what was foretold, and each arm's scores on the fresh lines; all else follows from these.

regret: the best arm's score less the chosen one's, on the same fresh lines. The best of several looks better than it
is, so regret is a little too large. covered: whether the interval that validation had foretold holds the score.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from statistics import fmean
from typing import Any

from blackbox_proxy.evaluation.statistics import mean

Unit = dict[str, Any]
Units = Mapping[str, Mapping[str, Unit]]
"""Units by task and seed."""

ROLES = ("closed", "few_shot", "instructed", "expert")
"""Arms that every task has, where lines and instructions suffice."""

HEAD = (
    "task",
    "seed",
    "chosen",
    "score",
    "foretold",
    "best arm",
    "regret",
    *(role.replace("_", "-") for role in ROLES),
    "changed / lost",
    "USD for 1,000",
    "minutes",
)


def packed(scores: list[float]) -> str:
    """Scores in the order of the fresh lines, as one word each."""
    return " ".join(f"{score:g}" for score in scores)


def derived(unit: Unit) -> Unit:
    """Everything of a unit that follows from its raw scores."""
    scores = {name: [float(word) for word in words.split()] for name, words in unit["scores"].items()}
    means = {name: fmean(values) for name, values in scores.items()}
    chosen = mean(scores[unit["chosen"]])
    assert chosen is not None
    best = max(means, key=lambda name: (means[name], name == unit["chosen"]))
    return {
        "n": chosen.n,
        "score": round(chosen.value, 4),
        "low": round(chosen.low, 4),
        "high": round(chosen.high, 4),
        "best_arm": best,
        "best_score": round(means[best], 4),
        "regret": round(means[best] - chosen.value, 4),
        "covered": unit["predicted_low"] <= chosen.value <= unit["predicted_high"],
        **{role: _of(means, unit["roles"].get(role)) for role in ROLES},
    }


def _of(means: Mapping[str, float], name: str | None) -> float | None:
    return None if name is None or name not in means else round(means[name], 4)


def summary(units: Units) -> Unit:
    """What all units come to."""
    every = [unit for _, _, unit in flat(units)]
    widths = [unit["predicted_high"] - unit["predicted_low"] for unit in every]
    return {
        "units": len(every),
        "mean_regret": round(fmean(unit["regret"] for unit in every), 4),
        "largest_regret": max(unit["regret"] for unit in every),
        "covered": sum(unit["covered"] for unit in every),
        "mean_width": round(fmean(widths), 4),
        "mean_minutes": round(fmean(unit["minutes"] for unit in every), 1),
    }


def flat(units: Units) -> Iterator[tuple[str, str, Unit]]:
    """Each unit with its task and seed."""
    for task, seeds in units.items():
        for seed, unit in seeds.items():
            yield task, seed, unit


def table(units: Units) -> str:
    """The units as a table in Markdown."""
    rows = (HEAD, ("---",) * len(HEAD), *(_row(task, seed, unit) for task, seed, unit in flat(units)))
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def _row(task: str, seed: str, unit: Unit) -> tuple[str, ...]:
    harm = unit["off_task"]
    return (
        task,
        seed,
        unit["chosen"],
        f"{unit['score']:.2f} ({unit['low']:.2f} to {unit['high']:.2f})",
        f"{unit['predicted']:.2f} ({unit['predicted_low']:.2f} to {unit['predicted_high']:.2f})",
        f"{unit['best_arm']} {unit['best_score']:.2f}",
        f"{unit['regret']:.2f}",
        *("" if unit[role] is None else f"{unit[role]:.2f}" for role in ROLES),
        f"{harm['changed']:.2f} / {harm['lost']:+.2f}" if harm else "",
        "" if unit["usd_per_1000"] is None else f"{unit['usd_per_1000']:.3g}",
        f"{unit['minutes']:.1f}",
    )
