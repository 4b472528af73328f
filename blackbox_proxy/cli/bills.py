"""Turns reports and estimates of money into what a person reads, or into JSON. Calls nothing that costs time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from decimal import Decimal
from typing import TYPE_CHECKING

from rich.text import Text

from blackbox_proxy.cli import show
from blackbox_proxy.core.money.amounts import plain, rounded
from blackbox_proxy.core.money.estimating import Work
from blackbox_proxy.core.visible import one_line
from blackbox_proxy.ledger.report import DEFINITIONS, By, Figures

if TYPE_CHECKING:
    from blackbox_proxy.cli.estimating import Foreseen
    from blackbox_proxy.ledger.store import Pruned
    from blackbox_proxy.steering import Steering

SHOWN = ("requests", "input", "output", "wasted", "cost", "per_kept")
"""The figures of the table, as many as fit into 80 columns beside a name; JSON has all."""


def money(amount: Decimal | None) -> str:
    """An amount for the screen, to four significant digits, or to the cent; JSON has all where they are exact.

    >>> money(Decimal("0.000123456")), money(Decimal("12345.678")), money(Decimal(0)), money(None)
    ('0.0001235', '12345.68', '0', 'unknown')
    """
    if amount is None:
        return "unknown"
    return plain(rounded(amount)) if amount else "0"


def report(groups: Sequence[Figures], total: Figures, *, by: By, explain: bool) -> None:
    """A row per group and one for all; where it is wished, what the columns mean."""
    rows = show.table({by: "left", **dict.fromkeys((name.replace("_", " ") for name in SHOWN), "right")})
    for column in rows.columns[1:]:
        column.no_wrap = True
    for one in (*groups, total):
        rows.add_row(
            Text(one_line(one.name)), *(_cell(one, name) for name in SHOWN), style="bold" if one is total else ""
        )
    show.out.print(rows)
    if total.unpriced:
        show.warning(f"{total.unpriced} answered requests have no price; they are in no amount: see prices.toml")
    if total.lost:
        show.warning(f"{total.lost} requests were lost: they may cost up to {money(total.at_risk)} besides")
    if total.replayed:
        show.note(f"{total.replayed} requests were replayed from a cassette, at no cost; they are in no figure")
    for name in (*SHOWN, *(("lost",) if total.lost else ())) if explain else ():
        show.note(f"{name.replace('_', ' ')}: {DEFINITIONS[name]}")
    show.note(MONEY_NOTE + ("" if explain else "; --explain says what each figure means"))


MONEY_NOTE = "amounts in US dollars; days are those of UTC"


def _cell(one: Figures, name: str) -> str:
    value = getattr(one, name)
    if name == "per_kept" and value is None:
        return "-"
    if isinstance(value, Decimal):
        return money(value) + (" + ?" if name == "cost" and one.unpriced else "")
    return f"{value:,}"


def report_json(groups: Sequence[Figures], total: Figures, *, by: By) -> dict[str, object]:
    """All figures of all groups; amounts as text."""
    return {
        "by": by,
        "groups": [figures_json(one) for one in groups],
        "total": figures_json(total),
        "definitions": DEFINITIONS,
    }


def figures_json(one: Figures) -> dict[str, object]:
    """The figures of a group; per_kept to 28 digits, the other amounts exactly."""
    fields: dict[str, object] = asdict(one)
    each = one.per_kept
    return fields | {
        "failed": one.failed,
        "calls_per_answer": one.calls_per_answer,
        "cached_share": one.cached_share,
        "wasted_share": one.wasted_share,
        "cost": plain(one.cost),
        "naive": plain(one.naive),
        "at_risk": plain(one.at_risk),
        "per_kept": None if each is None else plain(each),
        "seconds": round(one.seconds, 3),
        "local_seconds": round(one.local_seconds, 3),
    }


def pruned(forgotten: Pruned) -> None:
    """How many rows were deleted, and what stays of the same days, with why."""
    show.line(f"{forgotten.deleted} rows deleted")
    if forgotten.staying:
        tags = f", or open budgets count them: {', '.join(map(one_line, forgotten.tags))}" if forgotten.tags else ""
        more = "; --counted deletes those that budgets count, which then allow as much again" if forgotten.tags else ""
        show.note(f"{forgotten.staying} older rows stay: their runs go on{tags}{more}")


def pruned_json(forgotten: Pruned, *, before: str) -> dict[str, object]:
    """The same as one JSON object. tags: whose budgets count rows that stay."""
    return {
        "deleted": forgotten.deleted,
        "before": before,
        "staying": forgotten.staying,
        "tags": list(forgotten.tags),
    }


def estimate(foreseen: Foreseen) -> None:
    """Both ways side by side, and what they rest on."""
    rows = show.table({"way": "left", "calls": "right", "input": "right", "output": "right", "USD": "right"})
    for name, work in (("one token per call", foreseen.naive), ("by drafts", foreseen.windowed)):
        cells = (f"{amount:,.0f}" for amount in (work.calls, work.input, work.output))
        rows.add_row(name, *cells, money(work.cost))
    show.out.print(rows)
    for line in _grounds(foreseen):
        show.note(line)


def _grounds(foreseen: Foreseen) -> tuple[str, ...]:
    price = "nobody says what it costs" if foreseen.price is None else f"its price: {foreseen.price.source}"
    asked = "" if foreseen.ways is None else f"; it is asked in words to go on, {foreseen.ways:.1f} requests each time"
    prompts = f"{foreseen.prompts} prompts of {foreseen.tokens:,} tokens together"
    return (
        f"{prompts} ({foreseen.counted}); {foreseen.answer} an answer",
        f"{foreseen.acceptance:.0%} of the drafted tokens are kept ({foreseen.kept_as}){asked}",
        f"{foreseen.model}: {price}; nothing is taken to be cached; expected values, no bounds",
    )


def worded(model: str, work: Work, *, answers: int, tokens: int) -> None:
    """What a run in words, or by a schema, is expected to take, before it begins."""
    calls, read, written = (round(answers * amount) for amount in (work.calls, work.input, work.output))
    price = "at unknown cost" if work.cost is None else f"about {money(work.cost * answers)} USD"
    many = "an answer" if answers == 1 else f"{answers} answers"
    show.warning(
        f"{model} does not go on from a text by itself, which takes many calls: {many} of {tokens} tokens about "
        f"{calls:,}, with {read:,} tokens in and {written:,} out, {price}; --max-calls and --max-cost limit that"
    )


def whole(model: str, work: Work, *, steering: Steering) -> None:
    """What drawing whole answers, or chunks, takes at most, before it begins."""
    price = "at unknown cost" if work.cost is None else f"at most {money(work.cost)} USD"
    drawn, limits = f"up to {steering.samples} whole answers are drawn", "--samples"
    if steering.way == "chunks":
        drawn = f"up to {steering.samples} continuations of {steering.beams} texts are drawn again and again"
        limits = "--samples, --beams"
    show.warning(
        f"of {model} {drawn}, of up to {steering.max_tokens} tokens each: {work.calls:,.0f} calls, about "
        f"{work.input:,.0f} tokens in and at most {work.output:,.0f} out, {price}; {limits}, --max-calls and "
        "--max-cost limit that"
    )


def estimate_json(foreseen: Foreseen) -> dict[str, object]:
    """An estimate as one JSON object."""
    return {
        "model": foreseen.model,
        "prompts": foreseen.prompts,
        "prompt_tokens": foreseen.tokens,
        "answer_tokens": foreseen.answer,
        "acceptance": foreseen.acceptance,
        "naive": _work_json(foreseen.naive),
        "windowed": _work_json(foreseen.windowed),
        "ways": foreseen.ways,
        "price": foreseen.price and foreseen.price.source,
        "notes": list(_grounds(foreseen)),
    }


def _work_json(work: Work) -> dict[str, object]:
    counts = {"calls": round(work.calls, 2), "input": round(work.input, 1), "output": round(work.output, 1)}
    return counts | {"cost": None if work.cost is None else money(work.cost)}
