"""The ledger as callers see it: where requests are booked, at which prices, under which budgets and tags.

A `Ledger` is a store of rows with price lists; an `Account` is one model at one address; an `Entry` is one request,
which hears of its attempts from the transport. Knows no wire format.
"""

from __future__ import annotations

import datetime as dt
import json
import os
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from decimal import Decimal
from pathlib import Path
from types import TracebackType
from typing import Self, final
from urllib.parse import urlsplit

from blackbox_proxy.core.money.amounts import Budget, Price, affordable, bound_of, cost, remaining_charge, worst
from blackbox_proxy.core.money.usage import Counts, counts_of
from blackbox_proxy.errors import InputError
from blackbox_proxy.files import config_folder, state_folder
from blackbox_proxy.ledger.opening import as_place, open_store
from blackbox_proxy.ledger.place import LedgerPlace
from blackbox_proxy.ledger.prices import PriceList
from blackbox_proxy.ledger.rows import Counted, DaySpend, Ended, Intent, day_of
from blackbox_proxy.ledger.store import Store
from blackbox_proxy.types import Attempt, Receipt, Usage, WireRequest


def default_path(environ: Mapping[str, str]) -> Path:
    """`ledger.sqlite` among what the program keeps."""
    return state_folder(environ) / "ledger.sqlite"


def price_file(environ: Mapping[str, str]) -> Path:
    """Where the user's prices lie: `prices.toml` beside `config.toml`."""
    return config_folder(environ) / "prices.toml"


def now() -> dt.datetime:
    """The time, UTC."""
    return dt.datetime.now(dt.UTC)


def open_ledger(
    place: LedgerPlace | Path | str | None = None,
    *,
    budgets: Sequence[Budget] = (),
    tags: Mapping[str, str] | None = None,
    prices: Path | str | None = None,
    password_file: Path | str | None = None,
) -> Ledger:
    """Open a ledger for `connect(..., ledger=...)`; close it, or use it in a `with` block.

    Args:
        place: An SQLite file, or a database as `postgresql://USER@HOST/DATABASE`; None for the command line's own file.
        budgets: Limits that all hold.
        tags: Carried by every row, for reports and for budgets.
        prices: A TOML file that is asked before the list of genai-prices; None for the command line's.
        password_file: What holds the password for a database, and nothing else; None for where libpq looks for it.
    """
    price_path = Path(prices) if prices is not None else price_file(os.environ)
    if prices is not None and not price_path.exists():
        raise InputError(f"there is no price file {price_path}", hint="see docs/cost.md for its form")
    lists = PriceList(price_path)  # before the file is opened: a mistake in it must leave nothing open
    named = as_place(place or default_path(os.environ))
    if password_file is not None:
        named = replace(named, password_file=Path(password_file))
    return Ledger(open_store(named), lists, tuple(budgets), dict(tags or {}))


def most_of(request: WireRequest, *, length: int) -> Usage:
    """The most tokens that an attempt at a request can take. length: asked for, where the request does not say."""
    size = len(json.dumps(dict(request.body), ensure_ascii=False).encode("utf-8", "surrogatepass"))
    return bound_of(request.body, size, length=length)


@final
@dataclass(frozen=True, slots=True)
class Ledger:
    """An open ledger. Made by `open_ledger`."""

    store: Store
    prices: PriceList
    budgets: tuple[Budget, ...] = ()
    tags: Mapping[str, str] = field(default_factory=dict)
    clock: Callable[[], dt.datetime] = now

    def account(self, base_url: str, model: str, *, profile: str = "", replayed: bool = False) -> Account:
        """Where requests to a model are booked: under the name of the profile, or of the address's host.

        replayed: they are taken from a cassette, so their rows are marked, cost nothing and count against no budget.
        Raises InputError where a budget in dollars could not be kept, because nobody says what the model costs.
        """
        provider = profile or urlsplit(base_url).netloc.rpartition("@")[2]
        account = Account(self, base_url, model, provider, replayed)
        if not replayed and self.prices.find(base_url, model, at=self.clock()) is None:
            account.check_limits()
        return account

    def as_one_run(self, tag: str) -> Ledger:
        """The same ledger, whose rows carry a tag of their own; a budget per run limits all that it books."""
        name = uuid.uuid4().hex[:12]
        budgets = [replace(one, per=f"{tag}={name}") if one.per == "run" else one for one in self.budgets]
        return replace(self, budgets=tuple(budgets), tags={**self.tags, tag: name})

    def spent_today(self, tag: tuple[str, str] | None = None) -> DaySpend:
        """What was spent on this day (UTC); of a tag, what its requests come to."""
        return self.store.spent_on(day_of(self.clock()), tag)

    def close(self) -> None:
        """Close the file, or the connection."""
        self.store.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()


@final
@dataclass(frozen=True, slots=True)
class Account:
    """One model at one address. provider: what reports call the address. replayed: nothing is sent there."""

    ledger: Ledger
    base_url: str
    model: str
    provider: str
    replayed: bool = False

    def entry(self, request: WireRequest, *, run: str, step: int, length: int = 0) -> Entry:
        """The place of one request, and of all its attempts.

        run: what it belongs to; "" where it stands by itself. step: how many tokens of the answer stood. length: tokens
        that are asked for, where the request does not say.
        """
        tier = request.body.get("service_tier")
        bound = most_of(request, length=length)
        return Entry(self, request.path, run or uuid.uuid4().hex, step, bound, tier if isinstance(tier, str) else "")

    def check_limits(self, tier: str = "") -> None:
        """Raises InputError where there is a budget in dollars, which a request of unknown price could pass."""
        if any(budget.max_cost is not None for budget in self.ledger.budgets):
            served = f" in the service tier {tier!r}" if tier else ""
            raise InputError(
                f"nobody says what {self.model!r} of {self.provider} costs{served}, so a budget in dollars cannot be "
                "kept",
                hint="write its price into prices.toml (see docs/cost.md), or limit the number of calls",
            )

    def tagged(self, tags: Mapping[str, str]) -> Account:
        """The same account with further tags; those of the ledger itself win."""
        return replace(self, ledger=replace(self.ledger, tags={**tags, **self.ledger.tags}))

    def price(self, at: dt.datetime | None = None, *, tier: str = "") -> Price | None:
        """What the model costs at a time, in a service tier; now where none is given."""
        return self.ledger.prices.find(self.base_url, self.model, at=at or self.ledger.clock(), tier=tier)


@final
@dataclass(slots=True)
class Entry:
    """One request. bound: the most tokens that an attempt at it can take. tier: the service tier that it asks for."""

    account: Account
    path: str
    run: str
    step: int
    bound: Usage
    tier: str = ""
    row: int = 0
    price: Price | None = None
    counted: Counted | None = None

    @property
    def cost(self) -> Decimal | None:
        """US dollars for the last attempt; None where that is unknown."""
        return None if self.counted is None else self.counted.cost

    def begin(self, number: int) -> None:
        """Book an attempt before it is sent. Raises OverBudget where it must not be."""
        intent = self._intent(number)
        ledger, replayed = self.account.ledger, self.account.replayed
        self.row = ledger.store.begin(intent, () if replayed else ledger.budgets)

    def affordable(self) -> int | None:
        """Most tokens that the budgets allow it to write; None where none in dollars holds."""
        limits = [(one, one.max_cost) for one in self.account.ledger.budgets if one.max_cost is not None]
        if self.account.replayed or not limits:
            return None
        intent, store = self._intent(1), self.account.ledger.store
        rest = min(remaining_charge(most, store.spent(budget, intent)) for budget, most in limits)
        return None if intent.price is None else affordable(self.bound, intent.price, rest=rest)

    def end(self, attempt: Attempt) -> None:
        """Complete the row: by the provider's own counts, or from above; with nothing where it was not taken."""
        if attempt.outcome == "ok":
            if attempt.tier and attempt.tier != self.tier:
                self.price = self.account.price(tier=attempt.tier)
            self.counted = self._priced(counts_of(attempt.usage, most=self.bound))
        elif not attempt.lost:
            self.counted = Counted(Usage(), None, Decimal(0))
        raw = None if attempt.usage is None else json.dumps(attempt.usage, ensure_ascii=False)
        ended = Ended(attempt.outcome, attempt.status, attempt.seconds, raw, attempt.lost)
        self.account.ledger.store.end(self.row, ended, self._spent)

    def receipt(self, counts: Counts) -> Receipt:
        """What is booked for a reply that was read, and took so much."""
        counted = self._priced(counts)
        if counted != self.counted:
            self.counted = counted
            self.account.ledger.store.count(self.row, self._spent or counted)
        return _Receipt(self.account.ledger.store, self.row, self.cost)

    def _intent(self, number: int) -> Intent:
        """What is known of an attempt before it is sent. Raises InputError where a budget could not be kept."""
        ledger = self.account.ledger
        at = ledger.clock()
        self.price, self.counted = self.account.price(at, tier=self.tier), None
        replayed = self.account.replayed
        if self.price is None and not replayed:
            self.account.check_limits(self.tier)
        return Intent(
            run=self.run,
            step=self.step,
            attempt=number,
            at=at,
            provider=self.account.provider,
            model=self.account.model,
            path=self.path,
            asked=self.bound.output,
            price=self.price,
            reserved=None if replayed else worst(self.bound, self.price),
            tags=ledger.tags,
            replayed=replayed,
        )

    @property
    def _spent(self) -> Counted | None:
        """What is booked of what it took: of a replay all but the cost, which was paid for the recording."""
        if self.counted is None or not self.account.replayed:
            return self.counted
        return replace(self.counted, cost=Decimal(0))

    def _priced(self, counts: Counts) -> Counted:
        amount = cost(counts.usage, self.price) if counts.adds_up else None
        return Counted(counts.usage, counts.source, amount, self.price)


@final
@dataclass(slots=True)
class _Receipt:
    """seconds: for which the pair was evaluated so far; the store is given the total."""

    store: Store
    row: int
    cost: Decimal | None
    seconds: float = 0.0

    def accepted(self, *, kept: int, wasted: int) -> None:
        self.store.accepted(self.row, kept=kept, wasted=wasted)

    def evaluated(self, seconds: float) -> None:
        self.seconds += seconds
        self.store.evaluated(self.row, self.seconds)
