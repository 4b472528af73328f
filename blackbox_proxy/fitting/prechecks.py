"""What is wrong with a fit before it begins: said in one sentence, before anything is asked or trained."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from decimal import Decimal
from pathlib import Path

from blackbox_proxy.api import Api
from blackbox_proxy.core.money.amounts import Price, cost
from blackbox_proxy.errors import InputError
from blackbox_proxy.evaluation.answering import BenchPair
from blackbox_proxy.evaluation.task import Item
from blackbox_proxy.fitting.limits import FitLimits
from blackbox_proxy.fitting.planning import FitPlan
from blackbox_proxy.fitting.selecting import rounds
from blackbox_proxy.types import Prompt, Usage

LONGEST_TOKEN = 16
"""Characters of a token, at most on average: no prompt has fewer tokens than that makes."""

ARMS = 2
"""Fewest arms that a comparison has."""


def check_prices(api: Api, limits: FitLimits) -> None:
    """Raises InputError where money is to decide, or to be limited, and nobody knows a price."""
    price = price_of(api)
    if limits.budget is not None and api.account is None:
        raise InputError("a budget needs a ledger, and nothing is booked", hint="connect with a ledger")
    if price is None and (limits.budget is not None or limits.prefer != "quality"):
        what = "a budget cannot be kept" if limits.budget is not None else f"prefer={limits.prefer!r} decides nothing"
        raise InputError(
            f"nobody says what {api.model!r} costs, so {what}",
            hint="write its price into prices.toml (see docs/cost.md), or prefer quality without a budget",
        )


def price_of(api: Api) -> Price | None:
    """What the model costs; None where nobody knows."""
    return api.account.price() if api.account else None


def check_budget(plan: FitPlan, price: Price | None) -> None:
    """Raises InputError for a budget that could not compare two arms even if tokens were as long as they get.

    What is a little too small shows with the first answer (`comparing`); this is for the hour of training before it.
    """
    budget, validation = plan.options.limits.budget, plan.parts.validation
    if budget is None or price is None:
        return
    lines = validation[: rounds(len(validation))[0]]
    least = ARMS * sum((_least(item, price) for item in lines), Decimal(0))
    if least > budget:
        raise InputError(
            f"a budget of {budget} USD decides nothing: {ARMS} arms on {len(lines)} lines take {least:.6f} USD at the "
            "least",
            hint="raise it, or give shorter lines",
        )


def _least(item: Item, price: Price) -> Decimal:
    """US dollars that one answer takes at the least."""
    tokens = Usage(input=1 + len(item.prompt) // LONGEST_TOKEN, output=1)
    return cost(tokens, price) or Decimal(0)


def check_lengths(items: Sequence[Item], length: Callable[[Item], int], *, context: int, holder: str) -> None:
    """Raises InputError where questions with their answers are longer than what somebody holds.

    Args:
        items: The lines.
        length: Tokens of a line.
        context: Most tokens.
        holder: Who holds them.
    """
    long = [item for item in items if length(item) > context]
    if long:
        raise InputError(
            f"{len(long)} of {len(items)} lines are longer than the {context:,} tokens that {holder} holds, such as "
            f"{long[0].prompt[:60]!r}",
            hint="shorten them, or give a model with a longer context",
        )


def check_for_pair(plan: FitPlan, pair: BenchPair, context: int) -> None:
    """`check_lengths` for a pair that is there."""

    def length(item: Item) -> int:
        return len(pair.prompt(Prompt.ask(item.prompt)).expert) + len(pair.spell(item.reference.encode()))

    check_lengths(plan.examples.items, length, context=context, holder="the pair")


def check_for_base(plan: FitPlan, base: Path) -> None:
    """`check_lengths` for a pair that is to be trained."""
    from blackbox_proxy.tuning.base import read_base
    from blackbox_proxy.tuning.run import CONTEXT
    from blackbox_proxy.tuning.tokenizing import tokenizer_of

    context = min(CONTEXT, read_base(base).sizes.context)
    with tokenizer_of(base) as tokenizer:

        def length(item: Item) -> int:
            return len(tokenizer.read(Prompt.ask(item.prompt))) + len(tokenizer.spell(item.reference.encode())) + 1

        check_lengths(plan.examples.items, length, context=context, holder="the base")
