"""The tables of docs/scale.md: reckoned ones, and what simulated crowds came to. Written as Markdown."""

from __future__ import annotations

import re
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from blackbox_proxy.gateway.limits.rates import MINUTE
from tests.scale.arithmetic import (
    ANSWER_TOKENS,
    DEMO,
    HALF,
    calls_of_an_answer,
    ceilings,
    core_seconds,
    demands,
    hours_of_a_budget,
    shortest_seconds,
)
from tests.scale.crowd import CALL_SECONDS, CrowdPlan, CrowdResult, late, middle, simulated

CLIENTS = 1000
ALL = {"all": CLIENTS}
KEYS = {"busy": 910, **{f"key{number}": 10 for number in range(1, 10)}}
"""One key whose clients are many and come first, and nine others."""


def fitting(limit: int) -> int:
    """As many answers at once as make no more calls than an upstream allows: calls a second by seconds of a call."""
    return int(limit / MINUTE * CALL_SECONDS)


GATES = [CrowdPlan(ALL, at_once, queue) for at_once, queue in ((8, 32), (64, 936), (256, 744))]
LIMITS = [
    CrowdPlan(ALL, at_once, CLIENTS, limit, tells=tells)
    for limit in (600, 3000, 12_000)
    for at_once, tells in ((64, True), (64, False), (fitting(limit), True))
]
FAIRNESS = [CrowdPlan(KEYS, 64, 936, key_limit=limit) for limit in (None, 60)]


def answer_table() -> str:
    """What one answer takes."""
    rows = [
        (pair.name, f"{core_seconds(pair):.1f}", f"{calls_of_an_answer():.0f}", f"{shortest_seconds():.0f}")
        for pair in (DEMO, HALF)
    ]
    return table(("", "CPU seconds", "calls", "seconds, at least"), rows)


def ceiling_table() -> str:
    """What limits answers a second, the lowest first."""
    rows = [(row.what, f"{row.answers:.2g}", row.needed) for row in ceilings(DEMO)]
    return table(("what limits", "answers a second", "for 1,000"), rows)


def demand_table() -> str:
    """What 1,000 answers a second take in all."""
    return table(("for 1,000 answers a second", ""), demands(DEMO))


def budget_line() -> str:
    """When a day's budget in SQLite takes all the time."""
    calls = DEMO.tokens.value / ANSWER_TOKENS * calls_of_an_answer()
    return (
        "A day's budget in SQLite sums all rows of the day at each call. At the calls of one such machine, "
        f"{calls:.0f} a second,\n"
        f"that alone would take all the time {hours_of_a_budget(calls):.1f} hours after midnight."
    )


def gate_table(simulate: Callable[[CrowdPlan], CrowdResult]) -> str:
    """1,000 clients at once, at several gates."""
    rows = [
        (str(plan.at_once), str(plan.queue), str(one.count("answered")), str(one.count("sent away")), *waits(one))
        for plan in GATES
        for one in [simulate(plan)]
    ]
    return table(("`at_once`", "`queue`", "answered", "sent away", *WAITS), rows)


def limit_table(simulate: Callable[[CrowdPlan], CrowdResult]) -> str:
    """The same at upstreams with limits."""
    rows = [
        (
            f"{plan.limit:,}",
            "yes" if plan.tells else "no",
            str(plan.at_once),
            str(one.count("answered")),
            str(one.count("broken off")),
            *waits(one),
            f"{one.refused_calls:,}",
            f"{one.lost:,}",
        )
        for plan in LIMITS
        for one in [simulate(plan)]
    ]
    head = (
        "calls a minute",
        "`retry-after`",
        "`at_once`",
        "answered",
        "broken off",
        *WAITS,
        "calls refused",
        "calls lost",
    )
    return table(head, rows)


def fairness_table(simulate: Callable[[CrowdPlan], CrowdResult]) -> str:
    """One key with many clients, and nine with few."""
    rows = []
    for plan in FAIRNESS:
        one = simulate(plan)
        few = [key for key in plan.clients if key != "busy"]
        said = "none" if plan.key_limit is None else f"{plan.key_limit} a minute"
        for name, keys in (("910 of one key", ["busy"]), ("90 of nine keys", few)):
            answered = sum(one.count("answered", key=key) for key in keys)
            refused = sum(one.count("over the key's limit", key=key) for key in keys)
            rows.append((said, name, str(answered), str(refused), *waits(one, keys)))
    return table(("limit of each key", "clients", "answered", "over the limit", *WAITS), rows)


WAITS = ("half within, s", "19 of 20, s", "all, s")


def waits(one: CrowdResult, keys: Sequence[str] | None = None) -> tuple[str, str, str]:
    """How long those waited who were answered."""
    times = one.waits(keys)
    ordered = (middle(times), late(times), max(times, default=None))
    return ("", "", "") if None in ordered else tuple(f"{time:.0f}" for time in ordered)  # type: ignore[return-value]


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """As Markdown."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


RECKONED: Mapping[str, Callable[[], str]] = {
    "answer": answer_table,
    "ceilings": ceiling_table,
    "demands": demand_table,
    "budget": budget_line,
}
SIMULATED: Mapping[str, Callable[[Callable[[CrowdPlan], CrowdResult]], str]] = {
    "gates": gate_table,
    "limits": limit_table,
    "fairness": fairness_table,
}


def in_fresh_folder(plan: CrowdPlan) -> CrowdResult:
    """A simulation whose file goes with it."""
    with tempfile.TemporaryDirectory() as folder:
        return simulated(plan, Path(folder))


def replaced(page: str, name: str, text: str) -> str:
    """A page with one of its tables anew. It stands between two comments, which name it."""
    pattern = re.compile(rf"(<!-- {name} -->\n\n).*?(\n\n<!-- end of {name} -->)", flags=re.DOTALL)
    assert len(pattern.findall(page)) == 1, name
    return pattern.sub(lambda match: match[1] + text + match[2], page)


def rewritten(page: str) -> str:
    """The page with all its tables anew."""
    for name, reckon in RECKONED.items():
        page = replaced(page, name, reckon())
    for name, simulate in SIMULATED.items():
        page = replaced(page, name, simulate(in_fresh_folder))
    return page
