"""The page of one answer, token by token: where each token came from, what else there was, and what it cost.

What belongs to a token is shown while it is pointed at or has the focus; a table below has it for all.
"""

from __future__ import annotations

import datetime as dt
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from itertools import pairwise
from typing import NamedTuple

from blackbox_proxy.core.money.spending import cost_of, used_by
from blackbox_proxy.core.visible import paragraphs, visible
from blackbox_proxy.pages.figures import NONE, UNKNOWN, dollars, money, nats
from blackbox_proxy.pages.html import Html, document, el, joined
from blackbox_proxy.pages.samples import samples_table
from blackbox_proxy.pages.style import COMMON, TRACE
from blackbox_proxy.schedule import Schedule
from blackbox_proxy.types import Call, Kind, Origin, Prompt, Result, ScoredCandidate, Step


@dataclass(frozen=True, slots=True)
class Trace:
    """What the page shows. asked: the prompt. alpha: weight of the offsets; schedule: where it varied.

    written_at: UTC. by: which program.
    """

    result: Result
    asked: Prompt
    alpha: float
    written_at: dt.datetime
    by: str
    schedule: Schedule | None = None


ORIGINS: Mapping[Origin, tuple[str, str]] = {
    Origin.DRAFT: ("draft", "what the API itself had written, and steering kept"),
    Origin.CHANGED: ("changed", "another of the API's candidates, which the offset made the best, or the draw took"),
    Origin.OUTSIDE: ("outside", "not among the API's candidates: its log-prob is imputed from the pair"),
    Origin.LOCAL: ("local", "the rest of a character, by the expert alone; the API was not asked"),
    Origin.EXPERT: ("local", "the expert's own answer; the API was not asked"),
    Origin.CONSTRAINED: ("constrained", "all that the constraint allows here; nobody was asked"),
    Origin.GIVEN: ("given", "a token of the text that was to be scored; nothing was chosen"),
}
"""How a token of each origin is marked (its class in the styles), and what that means."""

FINISHES = {
    "stop": "It ended by itself.",
    "length": "It was cut at the most tokens that were allowed.",
    "stop_string": "It ended before a stop text.",
    "repetition": "It was ended, since it repeated itself.",
    "budget": "It was stopped before a budget could be passed.",
    "content_filter": "It was cut by the provider's content filter.",
    "error": "It broke off.",
}

HEADS = (
    *("#", "API token", "Chosen", "Origin", "API log-prob", "Offset"),
    *("Steered log-prob", "Exact", "Certified", "TV bound", "Cost"),
)
CANDIDATE_HEADS = ("Candidate", "API before", "Offset", "Steered")
WORDS = frozenset(("API token", "Chosen", "Origin"))
"""Columns of words; the others are figures."""


class Flag(NamedTuple):
    """What is said of some tokens: a sign at the token, a line above the text, and where there is one a sentence.

    field: of a step; it is said where that is `when`.
    """

    sign: str
    field: str
    meaning: str
    sentence: str = ""
    when: bool = True

    def holds(self, step: Step) -> bool:
        """Whether it is said of a step."""
        return bool(getattr(step, self.field)) is self.when


FLAGS = (
    Flag(
        "\u2020",
        "guessed",
        "pair draft; the API was asked along it, and it was kept",
        "The pair had drafted it.",
    ),
    Flag("\u2013", "gated", "left to the API, since the pair's members hardly differ there"),
    Flag("\u2248", "exact", "the API did not go on from exactly the text before", when=False),
    Flag(
        "\u275d",
        "forced",
        "the text before was demanded by a schema: the API's log-probs are those inside a JSON string",
        "A schema demanded the text before, so the API's log-probs are those inside a JSON string.",
    ),
    Flag(
        "\u2021",
        "outweighed",
        "weighs less than all that was not listed, together",
        "All that was not listed weighs more, together: something better may be among it.",
    ),
    Flag(
        "\u00a6",
        "unbordered",
        "the API's tokenizer would hardly have ended a token before it",
        "The API's tokenizer would hardly have ended a token before it, so that this was not asked for.",
    ),
)
"""The signs of a token, in their order; `Step` says what each is."""

IMPUTED = "~\u2009"
"""Before a log-prob that the API did not show."""

MEANINGS = (
    ("API log-prob", "Natural logarithm of the probability that the API gave the token; ~ where it did not show it"),
    ("Offset", "Log-prob of the tuned small model less that of the untuned one, in nats"),
    ("Steered log-prob", "After the offset was added, normalised; at alpha 0 it is the API's own"),
    ("Exact", "Yes where the API's log-probs are those after exactly the text before"),
    ("Certified", "Yes where nothing that the API did not show can change the choice"),
    (
        "TV bound",
        "Bound on the total variation between this token's distribution and the one that was aimed at (0 to 1)",
    ),
    ("Cost", "US dollars of the replies that were asked for after the same text, divided by the tokens kept of them"),
)


@dataclass(frozen=True, slots=True)
class Round:
    """The replies that came after the same text, and the steps that were made from them. number: from 1."""

    number: int
    calls: tuple[Call, ...]
    steps: tuple[Step, ...]

    @property
    def kept(self) -> int:
        """How many tokens were kept of the replies: one that was completed locally is none of theirs."""
        return sum(step.is_asked for step in self.steps)

    @property
    def cost(self) -> Decimal | None:
        """US dollars of those that were answered; None where one is unknown."""
        return cost_of(self.calls)

    @property
    def each(self) -> Decimal | None:
        """US dollars of one kept token."""
        cost = self.cost
        return None if cost is None or not self.kept else cost / self.kept


def rounds(result: Result) -> tuple[Round, ...]:
    """The rounds of an answer, in order."""
    starts = sorted({call.step for call in result.calls})
    return tuple(
        Round(number, tuple(call for call in result.calls if call.step == start), result.steps[start:end])
        for number, (start, end) in enumerate(pairwise((*starts, len(result.steps))), 1)
    )


def rounds_of_steps(result: Result) -> tuple[Round | None, ...]:
    """For each step the round that it comes from; None where nobody said which calls there were."""
    by_step = tuple(one for one in rounds(result) for _ in one.steps)
    return by_step if len(by_step) == len(result.steps) else (None,) * len(result.steps)


def trace_page(trace: Trace) -> str:
    """The page as the text of an HTML file."""
    result = trace.result
    came_from = rounds_of_steps(result)
    both = list(zip(result.steps, came_from, strict=True))
    tokens = (_token(number, step, one, of=len(both)) for number, (step, one) in enumerate(both, 1))
    return document(
        "One answer, token by token",
        el("a", "Skip to the table of all tokens", href="#all", cls="skip"),
        el("header", el("h1", "One answer, token by token"), _summary(trace)),
        el(
            "main",
            *_asked(trace.asked),
            el("h2", "Answer"),
            _legend(result.steps),
            el("div", el("ol", *tokens, cls="tokens"), el("p", HINT, cls="hint"), cls="answer"),
            *(el("p", note, cls="notice") for note in result.notes),
            *samples_table(result.samples),
            el("h2", "All tokens", id="all"),
            _table(both),
            el("h2", "What the columns mean"),
            el("dl", *(el("div", el("dt", name), el("dd", f"{meaning}.")) for name, meaning in MEANINGS), cls="means"),
        ),
        el("footer", f"Made {trace.written_at:%Y-%m-%d %H:%M} UTC by {trace.by}. Amounts in US dollars."),
        style=COMMON + TRACE,
        generator=trace.by,
    )


EXACTNESS = {
    "exact": "At every step continued from exactly this text.",
    "forced": "At every step continued from exactly this text, which a schema demanded: inside a JSON string.",
    "approximate": "Approximate: not at every step continued from exactly this text.",
    "sampled": "One of several whole answers, chosen by its weight.",
    "local": "By the expert alone: nobody was called.",
}

HINT = "Point at a token, or go from one to the next with the tab key, to see what else there was and what it cost."


def _summary(trace: Trace) -> Html:
    result, usage = trace.result, trace.result.usage
    cost = "cost unknown" if result.cost is None else dollars(result.cost)
    alpha = f"{trace.alpha:g}" if trace.schedule is None else f"by token {trace.schedule}"
    gated = f", {result.gated:,} left to the API" if result.gated else ""
    return el(
        "p",
        f"{result.model or 'unknown model'}, alpha {alpha}. {len(result.steps):,} tokens in "
        f"{usage.requests:,} calls, {result.changed:,} of them changed, "
        f"{result.outside:,} from outside the top-k{gated}. {FINISHES[result.finish]} "
        f"{EXACTNESS[result.exactness]} {result.certified:,} choices hold whatever the API hid. "
        f"{usage.input:,} tokens in ({usage.cached:,} cached), {usage.output:,} out ({usage.wasted:,} wasted): {cost}. "
        f"{result.seconds:.1f} s, {usage.local_seconds:.1f} s of it local.",
        cls="soft",
    )


def _asked(asked: Prompt) -> list[Html]:
    turns = [(message.role, message.content) for message in asked.messages] or [("text", asked.text)]
    items = (el("div", el("dt", paragraphs(role)), el("dd", paragraphs(text))) for role, text in turns)
    return [el("h2", "Prompt"), el("dl", *items, cls="turns")]


def _legend(steps: Sequence[Step]) -> Html:
    """What the marks mean, and how often each is there."""
    lines = []
    for origin, (mark, meaning) in ORIGINS.items():
        count = sum(step.origin is origin for step in steps)
        if origin in (Origin.GIVEN, Origin.EXPERT, Origin.CONSTRAINED) and not count:
            continue  # an answer has none
        sample = el("span", origin.value, cls=f"mark {mark}")
        lines.append(el("li", sample, f" {count:,}: {meaning}"))
    flagged = ((flag, count) for flag in FLAGS if (count := sum(flag.holds(step) for step in steps)))
    signs = (el("li", el("span", flag.sign, cls="mark"), f" {count:,}: {flag.meaning}") for flag, count in flagged)
    return el("ul", *lines, *signs, cls="marks")


def _token(number: int, step: Step, came_from: Round | None, *, of: int) -> Html:
    """A token in the flow of the text, with its card."""
    mark, _ = ORIGINS[step.origin]
    name = f"card-{number}"
    shown = el("span", _flowing(step), cls=f"mark {mark}")
    flags = "".join(flag.sign for flag in FLAGS if flag.holds(step))
    flag = (el("sup", flags, aria_hidden="true"),) if flags else ()
    card = _card(f"Token {number} of {of}", step, came_from, name=name)
    return el("li", shown, *flag, card, tabindex=0, aria_describedby=name)


def _flowing(step: Step) -> Html:
    """A token as part of the text: a line end ends the line, and is seen."""
    if step.kind is Kind.END:
        return el("i", visible(step.piece, step.kind))
    first, *more = (paragraphs(line) for line in step.piece.decode("utf-8", "backslashreplace").split("\n"))
    return joined((first, *(joined((el("i", "\u21b5"), "\n", line)) for line in more)))


def _card(title: str, step: Step, came_from: Round | None, *, name: str) -> Html:
    rows = (_candidate(candidate, step) for candidate in step.candidates)
    table = el(
        "table",
        el("thead", el("tr", *(el("th", head, scope="col") for head in CANDIDATE_HEADS))),
        el("tbody", *rows),
    )
    return el(
        "div",
        el("p", el("b", title), ": ", el("span", step.origin.value, cls=f"mark {ORIGINS[step.origin][0]}")),
        *([table] if step.candidates else ()),
        *(el("p", line) for line in _grounds(step, came_from)),
        cls="card",
        id=name,
    )


def _candidate(candidate: ScoredCandidate, step: Step) -> Html:
    """A candidate, before and after; the chosen one and the API token are named as such."""
    chosen = candidate.piece == step.piece and candidate.kind is step.kind
    remarks = [*(["chosen"] if chosen else []), *(["API token"] if _is_api_token(candidate, step) else [])]
    remark = el("span", f" {', '.join(remarks)}", cls="soft") if remarks else ""
    before = _chance(candidate.logp) if candidate.inside else f"{IMPUTED}{_chance(candidate.logp)}"
    return el(
        "tr",
        el("th", el("code", visible(candidate.piece, candidate.kind)), remark, scope="row"),
        el("td", before),
        el("td", nats(candidate.offset, sign="+")),
        el("td", _chance(candidate.score)),
        cls="chosen" if chosen else None,
    )


def _is_api_token(candidate: ScoredCandidate, step: Step) -> bool:
    return step.is_asked and candidate.piece == step.api_token


def _chance(logp: float) -> str:
    r"""A log-prob as a percentage, with the log-prob itself.

    >>> _chance(math.log(0.5)), _chance(-20.0), _chance(-math.inf)
    ('50.0% (\u22120.69)', '<0.1% (\u221220.00)', '0%')
    """
    if logp == -math.inf:
        return "0%"
    share = math.exp(min(logp, 0.0))
    return f"{share:.1%} ({nats(logp)})" if share >= 0.0005 else f"<0.1% ({nats(logp)})"


def _grounds(step: Step, came_from: Round | None) -> Iterator[str]:
    """Sentences on how far the token can be trusted, and what it cost."""
    exact = "The API went on from exactly the text before" if step.exact else "The API did not go on from exactly this"
    sure = "nothing that it hid can change this choice" if step.certified else "what it hid might change this choice"
    yield f"{exact}; {sure}; the distribution is off by at most {step.tv_bound:.2g} (total variation)."
    if step.gated and step.divergence is not None:
        yield f"The pair's members hardly differ here ({step.divergence:.2g}), so it was left to the API."
    yield from (flag.sentence for flag in FLAGS if flag.sentence and flag.holds(step))
    if came_from is None:
        return
    used = used_by(came_from.calls)
    cost = "at unknown cost" if came_from.cost is None else f"for {dollars(came_from.cost)}"
    each = "" if came_from.each is None else f", {dollars(came_from.each)} each"
    calls = "1 call" if len(came_from.calls) == 1 else f"{len(came_from.calls)} calls"
    yield (
        f"Round {came_from.number}, {calls}: {used.input:,} tokens in ({used.cached:,} cached), {used.output:,} out, "
        f"{cost}; {came_from.kept:,} kept{each}."
    )


def _table(both: Sequence[tuple[Step, Round | None]]) -> Html:
    heads = (el("th", name, scope="col", cls="words" if name in WORDS else None) for name in HEADS)
    rows = (_row(number, step, came_from) for number, (step, came_from) in enumerate(both, 1))
    table = el("table", el("thead", el("tr", *heads)), el("tbody", *rows))
    return el("div", table, cls="wide", tabindex=0, role="region", aria_label="All tokens")


def _row(number: int, step: Step, came_from: Round | None) -> Html:
    mark, _ = ORIGINS[step.origin]
    imputed = IMPUTED if step.origin is Origin.OUTSIDE else ""
    return el(
        "tr",
        el("th", str(number), scope="row"),
        el("td", _api_token_cell(step), cls="words"),
        el("td", el("code", visible(step.piece, step.kind)), cls="words"),
        el("td", el("span", step.origin.value, cls=f"mark {mark}"), cls="words"),
        el("td", f"{imputed}{nats(step.logp_before)}"),
        el("td", nats(step.offset, sign="+")),
        el("td", nats(step.logp_after)),
        *(el("td", "yes" if said else "no") for said in (step.exact, step.certified)),
        el("td", f"{step.tv_bound:.2g}"),
        el("td", _cost(step, came_from)),
    )


def _cost(step: Step, came_from: Round | None) -> Html:
    """The token's share; none where the API was not asked for it."""
    if not step.is_asked:
        return NONE
    return UNKNOWN if came_from is None or came_from.each is None else money(came_from.each)


def _api_token_cell(step: Step) -> Html:
    """What the API had sampled; nothing where it was not asked."""
    if not step.is_asked:
        return NONE
    return el("code", visible(step.api_token, Kind.TEXT if step.api_token else Kind.END))
