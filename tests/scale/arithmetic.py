"""What 1,000 answers a second would take, reckoned from what was measured. Pure.

Every measured figure names the page that has it, with the words that it stands in; a test looks them up there.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import final

TARGET = 1000.0
"""Answers a second."""

ANSWER_TOKENS = 100
"""Of an answer: an assumption."""

ROUND_TRIP_MS = 0.5
"""Between a gateway and its PostgreSQL: an assumption."""

UPSTREAM_LIMIT = 10_000
"""Calls a minute that an upstream allows: an assumption. No profile documents one; an account's console does."""

MOST_AT_ONCE = 256
"""The most that `at_once` of an upstream may be (`UpstreamConfig`)."""


@final
@dataclass(frozen=True, slots=True)
class MeasuredFigure:
    """value: the figure. page: below the checkout. words: what of the page has it."""

    value: float
    page: str
    words: str


SPEED = "docs/measurements/speed.md"
DESIGN = "docs/design.md"
MODELS = "blackbox_proxy/gateway/models.py"
DEMO_ROW = "| demo's pair | 31.1 | 32.1 | 7.1 | 2.2 | 0.2 | 46.6 | 0.74 |"
HALF_ROW = "| two of 0.5B | 93.4 | 93.0 | 10.1 | 2.5 | 0.2 | 18.3 | 0.88 |"
BUDGET = "0.19 ms a request for its three transactions"

CORES = MeasuredFigure(2, SPEED, "On two idle cores, 16 clients")
API_SECONDS = MeasuredFigure(0.1, SPEED, "the scripted API (100 ms a reply)")
CALLS_A_TOKEN = MeasuredFigure(0.6, SPEED, "0.6 requests a token")
LEDGER_MS = MeasuredFigure(0.19, DESIGN, BUDGET)
BUDGET_MS = MeasuredFigure(8, DESIGN, "8 ms with a day's budget over 100,000 rows")
BUDGET_ROWS = MeasuredFigure(100_000, DESIGN, "8 ms with a day's budget over 100,000 rows")
TEXT_MB = MeasuredFigure(48, MODELS, "48 MB of the demo's pair (1,024 tokens)")


@final
@dataclass(frozen=True, slots=True)
class MeasuredPair:
    """A pair behind the gateway. decodes, gateway: CPU milliseconds a token. tokens: a second, on the machine."""

    name: str
    decodes: MeasuredFigure
    gateway: MeasuredFigure
    tokens: MeasuredFigure


DEMO = MeasuredPair(
    "the demo's pair (135M)",
    MeasuredFigure(32.1, SPEED, DEMO_ROW),
    MeasuredFigure(7.1, SPEED, DEMO_ROW),
    MeasuredFigure(46.6, SPEED, DEMO_ROW),
)
HALF = MeasuredPair(
    "a pair of 0.5B",
    MeasuredFigure(93.0, SPEED, HALF_ROW),
    MeasuredFigure(10.1, SPEED, HALF_ROW),
    MeasuredFigure(18.3, SPEED, HALF_ROW),
)
OF_PAIRS = tuple(figure for pair in (DEMO, HALF) for figure in (pair.decodes, pair.gateway, pair.tokens))
FIGURES = (CORES, API_SECONDS, CALLS_A_TOKEN, LEDGER_MS, BUDGET_MS, BUDGET_ROWS, TEXT_MB, *OF_PAIRS)

ROUND_TRIPS = 8
"""Of one attempt in a ledger on PostgreSQL, with a budget and a tag: counted on a real one by a test."""

LOCKED_ROUND_TRIPS = 4
"""Those of them during which the locks of its budgets are held: the sum, the row, its tags, the commit."""


def calls_of_an_answer() -> float:
    """Calls to the upstream."""
    return ANSWER_TOKENS * CALLS_A_TOKEN.value


def core_seconds(pair: MeasuredPair) -> float:
    """CPU time of one answer: the pair's and the gateway's."""
    return ANSWER_TOKENS * (pair.decodes.value + pair.gateway.value) / 1000


def shortest_seconds() -> float:
    """Of one answer whose calls follow one another, where nobody waits for the pair."""
    return calls_of_an_answer() * API_SECONDS.value


@final
@dataclass(frozen=True, slots=True)
class Ceiling:
    """One resource. answers: a second that it allows. needed: of it for the target, in words."""

    what: str
    answers: float
    needed: str


def ceilings(pair: MeasuredPair) -> Sequence[Ceiling]:
    """What limits answers a second, the lowest first."""
    calls = calls_of_an_answer()
    machine = pair.tokens.value / ANSWER_TOKENS
    python = 1000 / pair.gateway.value / ANSWER_TOKENS
    per_call = {
        "the upstream, at an assumed 10,000 calls a minute": UPSTREAM_LIMIT / 60,
        "one budget of a day in SQLite, once that day has 100,000 rows": 1000 / BUDGET_MS.value,
        "one budget that all machines share in PostgreSQL, at an assumed 0.5 ms a round trip": 1000
        / (LOCKED_ROUND_TRIPS * ROUND_TRIP_MS),
        "one ledger in SQLite, without budgets": 1000 / LEDGER_MS.value,
    }
    needed = {name: f"{_count(TARGET * calls / rate)} times that" for name, rate in per_call.items()}
    rows = [
        Ceiling(
            "one process on the two cores it was measured on", machine, f"{_count(TARGET / machine)} such machines"
        ),
        Ceiling(
            "the Python of one process, which runs on one core at a time",
            python,
            f"{_count(TARGET / python)} processes",
        ),
        *(Ceiling(name, rate / calls, needed[name]) for name, rate in per_call.items()),
    ]
    return sorted(rows, key=lambda row: row.answers)


def demands(pair: MeasuredPair) -> Sequence[tuple[str, str]]:
    """What the target takes in all."""
    calls, under_way = TARGET * calls_of_an_answer(), TARGET * shortest_seconds()
    cores = TARGET * core_seconds(pair)
    pair_cores = TARGET * ANSWER_TOKENS * pair.decodes.value / 1000
    return (
        ("cores", f"{_count(cores)}, of which the pair {_count(pair_cores)}"),
        ("calls to upstreams", f"{_count(calls)} a second, {calls * 60 / 1e6:.1f} million a minute"),
        ("answers under way", f"{_count(under_way)} at least, since one takes {shortest_seconds():.0f} s"),
        ("gateways, by `at_once` (256 at most)", _count(-(-under_way // MOST_AT_ONCE))),
        ("memory for the pair's texts", f"{_count(under_way * TEXT_MB.value / 1000)} GB ({TEXT_MB.value:.0f} MB each)"),
        ("rows of the ledger", f"{calls * 86_400 / 1e9:.1f} billion a day"),
        ("statements to PostgreSQL", f"{_count(calls * ROUND_TRIPS)} a second"),
    )


def busy_share_of_a_budget(calls_a_second: float, hours: float) -> float:
    """Share of the time that SQLite sums a day's budget so many hours after midnight; at 1 nothing else comes in."""
    rows = calls_a_second * hours * 3600
    return calls_a_second * BUDGET_MS.value / 1000 * rows / BUDGET_ROWS.value


def hours_of_a_budget(calls_a_second: float) -> float:
    """Hours after midnight at which that share is 1."""
    return 1 / busy_share_of_a_budget(calls_a_second, 1.0)


def _count(number: float) -> str:
    """A number as people read it: three digits that count.

    >>> _count(2145.9), _count(46.62), _count(480000)
    ('2,146', '47', '480,000')
    """
    return f"{round(number):,}"
