"""What models cost: the user's own price file first, then genai-prices, whose list comes with the package.

Nothing is downloaded. A model that neither knows has no price, and then its cost is unknown. The list is found by the
address, so a server of your own is not billed like the one whose model's name it uses.
"""

from __future__ import annotations

import datetime as dt
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from fnmatch import fnmatchcase
from functools import lru_cache
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, final

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from blackbox_proxy.core.money.amounts import Price, Rate
from blackbox_proxy.errors import InputError
from blackbox_proxy.files import read_text

if TYPE_CHECKING:
    from genai_prices.types import ModelInfo, ModelPrice, TieredPrices

ZERO_RATE = Rate(Decimal(0))

TEXT_KEYS = {"input_mtok", "cache_read_mtok", "cache_write_mtok", "output_mtok", "requests_kcount"}
"""Prices in genai-prices that a request for text can incur, and that the usage of a reply can be held against."""

APART = {"output_reasoning_mtok", "output_citation_mtok", "input_mchars", "input_text_messages_kcount"}
"""Prices of text that counts of input and output tokens do not settle; a model that has one has no price here."""

USUAL_TIERS = frozenset({"", "auto", "default", "standard", "on_demand"})
"""What providers call the service tier that list prices are of; `auto` lets them choose, and the reply says what."""


def usual(tier: str) -> str:
    """A service tier as prices know it: "" for the usual one."""
    return "" if tier.lower() in USUAL_TIERS else tier.lower()


Amount = Annotated[Decimal, Field(ge=0, allow_inf_nan=False)]


class _Entry(BaseModel):
    """US dollars per million tokens."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    model: Annotated[str, Field(min_length=1)]
    base_url: str = ""
    since: dt.date | None = None
    input: Amount
    cached: Amount | None = None
    cache_write: Amount | None = None
    output: Amount
    service_tier: str = ""


class _File(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    price: list[_Entry] = Field(default_factory=list)


@dataclass(frozen=True, slots=True)
class _UserRow:
    """A row of the user's file."""

    entry: _Entry
    where: str

    def holds(self, base_url: str, model: str, day: dt.date, *, tier: str) -> bool:
        entry = self.entry
        if usual(entry.service_tier) != tier:
            return False
        here = not entry.base_url or base_url.rstrip("/").startswith(entry.base_url.rstrip("/"))
        return here and fnmatchcase(model, entry.model) and (entry.since is None or entry.since <= day)

    def price(self) -> Price:
        entry = self.entry
        return Price(
            input=Rate(entry.input),
            output=Rate(entry.output),
            cached=None if entry.cached is None else Rate(entry.cached),
            cache_write=None if entry.cache_write is None else Rate(entry.cache_write),
            source=self.where,
            since=entry.since.isoformat() if entry.since else "",
        )


@final
class PriceList:
    """The price lists. file: the user's own, which need not be there. Raises InputError where it cannot be read."""

    def __init__(self, file: Path | None = None) -> None:
        self._user_rows = _read(file) if file is not None and file.exists() else ()

    def find(self, base_url: str, model: str, *, at: dt.datetime, tier: str = "") -> Price | None:
        """What a model at an address costs at a time (with its zone), in a service tier; None where nobody says.

        The list of genai-prices has the usual tier alone.
        """
        day, tier = at.astimezone(dt.UTC).date(), usual(tier)
        rows = [one for one in self._user_rows if one.holds(base_url, model, day, tier=tier)]
        if rows:
            newest = max(one.entry.since or dt.date.min for one in rows)
            return [one for one in rows if (one.entry.since or dt.date.min) == newest][-1].price()
        return None if tier else _listed(base_url, model, at)


def _read(file: Path) -> Sequence[_UserRow]:
    hint = 'each [[price]] has model, input and output in dollars per million tokens: input = "0.15"'
    try:
        document = _File.model_validate(tomllib.loads(read_text(file), parse_float=Decimal))
    except ValidationError as error:
        first = error.errors()[0]
        raise InputError(f"{file}: {_place(first['loc'])}: {first['msg']}", hint=hint) from error
    except (OSError, ValueError) as error:
        raise InputError(f"cannot read the prices in {file}: {error}", hint=hint) from error
    return tuple(_UserRow(entry, f"{file}: price {number}") for number, entry in enumerate(document.price, 1))


def _place(steps: Sequence[int | str]) -> str:
    """Rows are counted from 1."""
    return ".".join(str(step + 1) if isinstance(step, int) else step for step in steps)


def _listed(base_url: str, model: str, at: dt.datetime) -> Price | None:
    """The row of genai-prices."""
    listing = _model(base_url, model)
    if listing is None:
        return None
    provider, info = listing
    prices, since = _in_force(info, at)
    return _price(prices, source=f"genai-prices {version('genai-prices')}: {provider}/{info.id}", since=since)


@lru_cache(maxsize=64)
def _model(base_url: str, model: str) -> tuple[str, ModelInfo] | None:
    from genai_prices.data_snapshot import get_snapshot

    try:
        provider, info = get_snapshot().find_provider_model(model, None, None, base_url)
    except LookupError:
        return None
    return provider.id, info


def _in_force(info: ModelInfo, at: dt.datetime) -> tuple[ModelPrice, str]:
    """The prices at a time, and the day from which they hold where that is told."""
    prices = info.get_prices(at)
    listed = info.prices if isinstance(info.prices, list) else []
    starts = (one.constraint for one in listed if one.prices is prices)
    day = next((start for one in starts if (start := getattr(one, "start_date", None))), None)
    return prices, day.isoformat() if isinstance(day, dt.date) else ""


def _price(prices: ModelPrice, *, source: str, since: str) -> Price | None:
    """A row as ours; None where it lacks a price of text, or has one that token counts do not settle."""
    amounts: Mapping[str, Any] = {key: value for key, value in vars(prices).items() if value is not None}
    if "input_mtok" not in amounts or "output_mtok" not in amounts or amounts.keys() & APART:
        return None
    rates = {key: _rate(value) for key, value in amounts.items() if key in TEXT_KEYS}
    return Price(
        input=rates["input_mtok"],
        output=rates["output_mtok"],
        cached=rates.get("cache_read_mtok"),
        cache_write=rates.get("cache_write_mtok"),
        request=rates.get("requests_kcount", ZERO_RATE).base.scaleb(-3),
        source=source,
        since=since,
    )


def _rate(value: Decimal | TieredPrices) -> Rate:
    if isinstance(value, Decimal):
        return Rate(value)
    return Rate(value.base, tuple((tier.start, tier.price) for tier in value.tiers))
