"""Puts an estimate together: prompts from a file, their tokens, the model's price, and how much was kept before.

Reads the prompts, the profile, the price lists and the ledger; asks no API.
"""

from __future__ import annotations

import datetime as dt
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from functools import reduce
from operator import add
from pathlib import Path
from typing import TYPE_CHECKING

from blackbox_proxy.cli.booking import ledger_file
from blackbox_proxy.core.estimating import ACCEPTANCE, Work, acceptance_of, naive, windowed, work
from blackbox_proxy.core.money import Price
from blackbox_proxy.errors import InputError, PromptError, WeightsError
from blackbox_proxy.files import read_text

if TYPE_CHECKING:
    from blackbox_proxy.cli.settings import Settings
    from blackbox_proxy.core.vocabulary import Vocabulary

BYTES_PER_TOKEN = 4
"""What is assumed where no tokenizer is known; of English text it is near."""


@dataclass(frozen=True, slots=True)
class Asked:
    """What the command line says."""

    file: Path
    base_url: str | None
    model: str | None
    profile: str | None
    tokenizer: str | None
    answer: int
    draft: int
    acceptance: float | None
    ledger: Path | None


@dataclass(frozen=True, slots=True)
class Foreseen:
    """Both ways for all prompts together. counted, kept_as: where the tokens and the acceptance come from."""

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


def foreseen(asked: Asked, settings: Settings) -> Foreseen:
    """The estimate. Raises InputError where the file holds no prompt, or nobody says the model."""
    from blackbox_proxy.ledger.books import price_file
    from blackbox_proxy.ledger.prices import Prices

    place = _place(asked, settings)
    texts = read_prompts(asked.file)
    vocabulary, counted = _vocabulary(asked, place)
    lengths = [_length(text.encode(), vocabulary) for text in texts]
    share, kept_as = _acceptance(asked, settings, place)
    price = Prices(price_file(os.environ)).find(place.base_url, place.model, at=dt.datetime.now(dt.UTC))
    by_token = naive(asked.answer, least=place.least)
    by_draft = windowed(asked.answer, acceptance=share, draft=asked.draft, least=place.least)
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
    )


@dataclass(frozen=True, slots=True)
class _Place:
    """The model and what is known of it. least: fewest tokens that a call can ask for."""

    model: str
    base_url: str
    provider: str
    tokenizer: str
    least: int


def _place(asked: Asked, settings: Settings) -> _Place:
    from urllib.parse import urlsplit

    from blackbox_proxy.remote.profiles.finding import load_profile, user_folder
    from blackbox_proxy.remote.profiles.rules import settle

    model, named = asked.model or settings.model, asked.profile or settings.profile
    if not model:
        raise InputError("--model is missing", hint="give it, or set BLACKBOX_PROXY_MODEL")
    url = asked.base_url or ("" if asked.profile else settings.base_url) or ""
    if not named:
        return _Place(model, url, urlsplit(url).netloc.rpartition("@")[2], asked.tokenizer or settings.tokenizer, 1)
    found = load_profile(named, folder=user_folder(os.environ))
    known = settle(found, model, base_url=url, today=dt.datetime.now(dt.UTC).date())
    least = known.options.get("min_output")
    tokenizer = asked.tokenizer or known.tokenizer or ""
    return _Place(model, known.base_url, named, tokenizer, least if isinstance(least, int) else 1)


def read_prompts(file: Path) -> list[str]:
    """The prompts of a file: each line's of a .jsonl, the whole text of any other. Raises PromptError without one."""
    try:
        text = read_text(file)
    except (OSError, UnicodeDecodeError) as error:
        raise PromptError(f"cannot read prompts from {file}: {error}", hint="it should be UTF-8 text") from error
    found = [_line(file, number, line) for number, line in _lines(text)] if file.suffix == ".jsonl" else [text]
    if not any(one.strip() for one in found):
        raise PromptError(f"{file} holds no prompt", hint="it should hold a prompt, or be .jsonl with one a line")
    return found


def _lines(text: str) -> list[tuple[int, str]]:
    return [(number, line) for number, line in enumerate(text.split("\n"), 1) if line.strip()]


def _line(file: Path, number: int, line: str) -> str:
    hint = 'each line should be a JSON string, or {"prompt": "..."}'
    try:
        found: object = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise PromptError(f"{file}, line {number} is not JSON: {error}", hint=hint) from error
    said = found.get("prompt") if isinstance(found, Mapping) else found
    if not isinstance(said, str):
        raise PromptError(f"{file}, line {number} holds no prompt", hint=hint)
    return said


def _length(text: bytes, vocabulary: Vocabulary | None) -> int:
    return len(vocabulary.spell(text)) if vocabulary else -(-len(text) // BYTES_PER_TOKEN)


def _vocabulary(asked: Asked, place: _Place) -> tuple[Vocabulary | None, str]:
    """The model's own tokens where they are known, and what is to be said of the count."""
    from blackbox_proxy.local.tokens import api_vocabulary, tokenizer_of
    from blackbox_proxy.local.weights import default_cache

    spec = tokenizer_of(place.model) if place.tokenizer == "auto" else place.tokenizer
    assumed = f"{BYTES_PER_TOKEN} bytes to a token"
    if not spec:
        return None, assumed
    try:
        return api_vocabulary(spec, cache=default_cache(os.environ)), f"in the longest pieces of {spec}"
    except WeightsError as error:
        if asked.tokenizer:
            raise
        return None, f"{assumed}, since {error.message}"


def _acceptance(asked: Asked, settings: Settings, place: _Place) -> tuple[float, str]:
    """The share of drafted tokens that is kept, and where it comes from."""
    from blackbox_proxy.ledger.store import Store

    if asked.acceptance is not None:
        return asked.acceptance, "as given"
    path = ledger_file(asked.ledger, settings)
    drafts: list[tuple[int, int]] = []
    if path.exists():
        store = Store(path)
        try:
            drafts = [
                (row.kept - row.told, row.wasted)
                for row in store.rows()
                if row.model == place.model and row.kept is not None and row.wasted is not None
            ]
        finally:
            store.close()
    found = acceptance_of(drafts)
    if found is None:
        return ACCEPTANCE, f"assumed, since the ledger holds no answer of {place.model}"
    return found, f"measured over {len(drafts)} replies of {place.model} in the ledger"
