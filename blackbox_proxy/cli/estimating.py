"""Puts an estimate together: prompts from a file, their tokens, the model's price, and how much was kept before.

Reads the prompts, the profile, the price lists and the ledger; asks no API.
"""

from __future__ import annotations

import datetime as dt
import json
import os
from collections.abc import Iterable, Mapping
from contextlib import closing
from dataclasses import dataclass, replace
from decimal import Decimal
from functools import reduce
from operator import add
from pathlib import Path
from typing import TYPE_CHECKING

from blackbox_proxy.cli.endpoint import required
from blackbox_proxy.core.money.amounts import Price, cost
from blackbox_proxy.core.money.estimating import (
    ACCEPTANCE,
    ASSUMED,
    BYTES_PER_TOKEN,
    EstimatePlan,
    Wording,
    Work,
    acceptance_of,
    naive,
    token_count,
    windowed,
    worded,
    wording_of,
    work,
)
from blackbox_proxy.errors import PromptError, WeightsError
from blackbox_proxy.files import read_text

if TYPE_CHECKING:
    from blackbox_proxy.api import Api
    from blackbox_proxy.cli.booking import BudgetOptions
    from blackbox_proxy.cli.endpoint import EndpointOptions
    from blackbox_proxy.cli.settings import Settings
    from blackbox_proxy.core.alignment.vocabulary import Vocabulary
    from blackbox_proxy.ledger.place import LedgerPlace
    from blackbox_proxy.ledger.rows import LedgerRow
    from blackbox_proxy.steering import Steering
    from blackbox_proxy.types import Capabilities, Prompt


@dataclass(frozen=True, slots=True)
class EstimatedPrompts:
    """What the command line says."""

    file: Path
    endpoint: EndpointOptions
    budget: BudgetOptions
    answer: int
    draft: int
    acceptance: float | None


@dataclass(frozen=True, slots=True)
class Foreseen:
    """Both ways for all prompts together. counted, kept_as: where the tokens and the acceptance come from.

    ways: requests for each question to a chat that is asked in words; None for any other endpoint.
    """

    model: str
    prompts: int
    tokens: int
    answer: int
    acceptance: float
    naive: Work
    windowed: Work
    price: Price | None
    counted: str
    kept_as: str
    ways: float | None = None


def foreseen(asked: EstimatedPrompts, settings: Settings) -> Foreseen:
    """The estimate. Raises InputError where the file holds no prompt, or nobody says the model."""
    from blackbox_proxy.ledger.books import price_file
    from blackbox_proxy.ledger.prices import PriceList

    place = _place(asked.endpoint, settings)
    texts = read_prompts(asked.file)
    vocabulary, counted = _vocabulary(place, named=bool(asked.endpoint.tokenizer))
    lengths = [token_count(text.encode(), vocabulary) for text in texts]
    learnt, kept_as = _learnt(_past(asked.budget.place(settings)), place, acceptance=asked.acceptance)
    price = PriceList(price_file(os.environ)).find(
        place.base_url, place.model, at=dt.datetime.now(dt.UTC), tier=place.tier
    )
    by_token, by_draft = plans(asked.answer, learnt, draft=asked.draft, least=place.least)
    share = learnt.acceptance
    return Foreseen(
        model=place.model,
        prompts=len(texts),
        tokens=sum(lengths),
        answer=asked.answer,
        acceptance=share,
        naive=reduce(add, (work(by_token, length, price) for length in lengths)),
        windowed=reduce(add, (work(by_draft, length, price) for length in lengths)),
        price=price,
        counted=counted,
        kept_as=kept_as,
        ways=learnt.ways if place.ways else None,
    )


def plans(answer: int, learnt: Wording, *, draft: int, least: int) -> tuple[EstimatePlan, EstimatePlan]:
    """One token per call, and by drafts. learnt: with no ways where the endpoint goes on from a text by itself."""
    if learnt.ways:
        alone = worded(answer, replace(learnt, acceptance=0.0), draft=1, least=least)
        return alone, worded(answer, learnt, draft=draft, least=least)
    return naive(answer, least=least), windowed(answer, acceptance=learnt.acceptance, draft=draft, least=least)


@dataclass(frozen=True, slots=True)
class _Place:
    """The model and what is known of it.

    least: fewest tokens that a call can ask for. ways: in how many ways it is asked in words to go on; 0 where it goes
    on by itself. tier: the service tier that is asked for.
    """

    model: str
    base_url: str
    provider: str
    tokenizer: str
    least: int
    ways: int = 0
    tier: str = ""


def _place(endpoint: EndpointOptions, settings: Settings) -> _Place:
    from urllib.parse import urlsplit

    from blackbox_proxy.api import measured_here
    from blackbox_proxy.remote.profiles.finding import load_profile, user_folder
    from blackbox_proxy.remote.profiles.rules import settle
    from blackbox_proxy.remote.registry import load_adapter

    model, named = required(endpoint.model or settings.model, "model"), endpoint.profile or settings.profile
    url = endpoint.base_url or ("" if endpoint.profile else settings.base_url) or ""
    named = named or measured_here(url, model)
    if not named:
        return _Place(model, url, urlsplit(url).netloc.rpartition("@")[2], endpoint.tokenizer or settings.tokenizer, 1)
    profile = load_profile(named, folder=user_folder(os.environ))
    known = settle(profile, model, base_url=url, today=dt.datetime.now(dt.UTC).date())
    least = known.options.get("min_output")
    tokenizer = endpoint.tokenizer or known.tokenizer or ""
    able, body = load_adapter(known.adapter, **known.options).capabilities(), known.options.get("extra_body")
    tier = body.get("service_tier") if isinstance(body, Mapping) else ""
    return _Place(
        model,
        known.base_url,
        named,
        tokenizer,
        least if isinstance(least, int) else 1,
        ways_of(able),
        tier if isinstance(tier, str) else "",
    )


def ways_of(able: Capabilities) -> int:
    """In how many ways an endpoint is asked in words to go on; 0 where it goes on by itself."""
    from blackbox_proxy.types import Continuation

    return able.ways if able.continuation is Continuation.APPROXIMATE else 0


def read_prompts(file: Path) -> list[str]:
    """The prompts of a file: each line's of a .jsonl, the whole text of any other. Raises PromptError without one."""
    try:
        text = read_text(file)
    except (OSError, UnicodeDecodeError) as error:
        raise PromptError(f"cannot read prompts from {file}: {error}", hint="it should be UTF-8 text") from error
    prompts = [_line(file, number, line) for number, line in _lines(text)] if file.suffix == ".jsonl" else [text]
    if not any(one.strip() for one in prompts):
        raise PromptError(f"{file} holds no prompt", hint="it should hold a prompt, or be .jsonl with one a line")
    return prompts


def _lines(text: str) -> list[tuple[int, str]]:
    return [(number, line) for number, line in enumerate(text.split("\n"), 1) if line.strip()]


def _line(file: Path, number: int, line: str) -> str:
    hint = 'each line should be a JSON string, or {"prompt": "..."}'
    try:
        value: object = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise PromptError(f"{file}, line {number} is not JSON: {error}", hint=hint) from error
    prompt = value.get("prompt") if isinstance(value, Mapping) else value
    if not isinstance(prompt, str):
        raise PromptError(f"{file}, line {number} holds no prompt", hint=hint)
    return prompt


def _vocabulary(place: _Place, *, named: bool) -> tuple[Vocabulary | None, str]:
    """The model's own tokens where they are known, and what is to be said of the count.

    named: whether the user named the tokenizer, so that one that cannot be had is an error.
    """
    from blackbox_proxy.local.tokens import api_vocabulary, tokenizer_of
    from blackbox_proxy.local.weights import default_cache

    spec = tokenizer_of(place.model) if place.tokenizer == "auto" else place.tokenizer
    assumed = f"{BYTES_PER_TOKEN} bytes to a token"
    if not spec:
        return None, assumed
    try:
        return api_vocabulary(spec, cache=default_cache(os.environ)), f"in the longest pieces of {spec}"
    except WeightsError as error:
        if named:
            raise
        return None, f"{assumed}, since {error.message}"


def _past(place: LedgerPlace) -> list[LedgerRow]:
    """The rows of the ledger; none where there is none, since an estimate makes none."""
    from blackbox_proxy.ledger.opening import existing_store

    store = existing_store(place)
    if store is None:
        return []
    with closing(store):
        return list(store.rows())


def _learnt(rows: Iterable[LedgerRow], place: _Place, *, acceptance: float | None = None) -> tuple[Wording, str]:
    """How much is kept of a model's drafts, and in how many ways it is asked; and where that comes from."""
    answered = [row for row in rows if row.model == place.model and row.outcome == "ok" and not row.replayed]
    if place.ways:
        seen = wording_of((row.run, row.step, row.kept, row.wasted) for row in answered)
        learnt = seen or replace(ASSUMED, ways=min(ASSUMED.ways, place.ways))
    else:
        drafts = ((row.kept - row.echoed, row.wasted or 0) for row in answered if row.kept is not None)
        seen_share = acceptance_of(drafts)
        seen = None if seen_share is None else Wording(seen_share, 0)
        learnt = seen or Wording(ACCEPTANCE, 0)
    if acceptance is not None:
        return replace(learnt, acceptance=acceptance), "as given"
    if seen is None:
        return learnt, f"assumed, since the ledger holds no answer of {place.model}"
    used = sum(row.kept is not None for row in answered)
    return learnt, f"measured over {used} replies of {place.model} in the ledger"


def whole_work(api: Api, prompt: Prompt, steering: Steering) -> Work | None:
    """What drawing whole answers takes at most; None where an answer is steered token by token."""
    from blackbox_proxy.run.foretelling import drawn_work
    from blackbox_proxy.types import Usage

    work = drawn_work(api, prompt, steering)
    if work is None:
        return None
    price = None if api.account is None else api.account.price()
    return replace(work, cost=cost(Usage(input=int(work.input), output=int(work.output)), price))


def expected(api: Api, prompt: Prompt, steering: Steering, *, rows: Iterable[LedgerRow]) -> Work | None:
    """What an answer of full length is expected to take of a chat that is asked in words; None of any other endpoint.

    rows: what the ledger knows.
    """
    from blackbox_proxy.run.foretelling import prompt_length
    from blackbox_proxy.run.sources import reached_by

    ways = ways_of(reached_by(api, steering.way).capabilities())
    if not ways or steering.leaves_alone:
        return None
    place = _Place(api.model, "", "", "", 1, ways)
    learnt, _ = _learnt(rows, place)
    price = None if api.account is None else api.account.price()
    plan = worded(steering.max_tokens, learnt, draft=steering.draft)
    return work(plan, prompt_length(api, prompt), price)


def rows_work(api: Api, asked: Iterable[tuple[Prompt, Steering]], *, rows: Iterable[LedgerRow]) -> Work:
    """What answers of full length are expected to take together, at most where whole answers are drawn.

    rows: what the ledger knows.
    """
    from blackbox_proxy.run.foretelling import mark_foretold, prompt_length
    from blackbox_proxy.run.sources import reached_by

    price = None if api.account is None else api.account.price()
    past, plan_of = list(rows), dict[tuple[object, ...], EstimatePlan]()
    total = Work(0.0, 0.0, 0.0, None if price is None else Decimal(0))
    for prompt, steering in asked:
        mark_foretold(api, steering)
        drawn = whole_work(api, prompt, steering)
        if drawn is not None:
            total += drawn
            continue
        at = (steering.max_tokens, steering.draft, steering.way, steering.leaves_alone)
        if at not in plan_of:
            learnt, _ = _learnt(
                past, _Place(api.model, "", "", "", 1, ways_of(reached_by(api, steering.way).capabilities()))
            )
            plan_of[at] = _plan(steering, learnt)
        total += work(plan_of[at], prompt_length(api, prompt), price)
    return total


def _plan(steering: Steering, learnt: Wording) -> EstimatePlan:
    """An answer of full length, in one call where nothing is steered."""
    if steering.leaves_alone:
        return EstimatePlan(steering.max_tokens, 1.0, 0.0, float(steering.max_tokens))
    return plans(steering.max_tokens, learnt, draft=steering.draft, least=1)[1]
