"""How one row is answered, and what its answer depends on: the same in this process and in an actor's.

Knows no file, and not which rows there are.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Literal, TypeAlias, final

from blackbox_proxy.api import Api, connect
from blackbox_proxy.batching.answers import KeptRow
from blackbox_proxy.batching.rows import BatchRow
from blackbox_proxy.core.money.spending import cost_of, used_by
from blackbox_proxy.errors import (
    ApiError,
    ApiRefused,
    BlackboxProxyError,
    InputError,
    LedgerError,
    OverBudget,
    PairError,
    WeightsError,
)
from blackbox_proxy.kept import key_of, turned_knobs
from blackbox_proxy.ledger.books import Ledger
from blackbox_proxy.local.loading import load_pair
from blackbox_proxy.local.pair import Pair
from blackbox_proxy.recipes import FittedRecipe
from blackbox_proxy.run.recipe import NOBODY, RecipeSteerer
from blackbox_proxy.run.sources import Offsets
from blackbox_proxy.run.steerer import Steerer
from blackbox_proxy.run.ways import NOTHING
from blackbox_proxy.types import Choice, Result

Task: TypeAlias = Literal["answer", "choose", "score"]
"""What is done with each row."""

PARALLEL = 4
"""Rows under way at a time where neither the pair file nor the caller says."""

ENDS = (OverBudget, LedgerError, PairError, WeightsError)
"""Errors of all further rows: they end a run, and are no answer of a row."""

TURNED_AWAY = frozenset({401, 402, 403, 404})
"""Statuses that are about the key, the bill or the model, and not about what a row asks."""


@final
@dataclass(frozen=True, slots=True)
class BatchModel:
    """Who answers rows, described so that any process can open it.

    Attributes:
        endpoint: Arguments of `connect`; never shown, since a key may be among them. Empty where nobody is called.
        pair: The pair file; "" where none is needed.
        recipe: A fitted recipe that answers; None where the hosted model is steered by the pair.
        labels: Answers to choose from; empty where a row is answered in words.
        calls: Most calls for each choice.
        scored: Whether texts are scored.
    """

    endpoint: Mapping[str, Any] = field(repr=False)
    pair: str = ""
    recipe: FittedRecipe | None = None
    labels: tuple[str, ...] = ()
    calls: int = 8
    scored: bool = False

    def __post_init__(self) -> None:
        if self.labels and self.scored:
            raise InputError("labels are chosen from, and texts are scored: not both", hint="leave one of them out")
        if self.recipe is not None and (self.labels or self.scored):
            raise InputError("a recipe says who answers; it neither scores texts nor takes labels", hint="leave it out")
        if len(set(self.labels)) != len(self.labels) or len(self.labels) == 1:
            raise InputError(
                f"{len(self.labels)} labels, {len(set(self.labels))} of them different, are nothing to choose from",
                hint="give two labels or more, each once",
            )

    @property
    def task(self) -> Task:
        """What is done with each row."""
        return "score" if self.scored else "choose" if self.labels else "answer"

    @property
    def where(self) -> str:
        """Which endpoint, as answers are told apart by it: the profile, or else the address."""
        return str(self.endpoint.get("profile") or self.endpoint.get("base_url") or "")

    @property
    def is_local(self) -> bool:
        """Whether the expert answers alone, so that nobody is called."""
        return self.recipe is not None and self.recipe.way == "expert"

    @contextmanager
    def connected(self, ledger: Ledger | None) -> Iterator[Api | None]:
        """The hosted model, ready to be called; None where nobody is."""
        if self.is_local:
            yield None
            return
        with connect(**self.endpoint, ledger=ledger) as api:
            yield api

    def key(self, row: BatchRow, api: Api | None, pair_mark: str) -> str:
        """What the answer of a row is kept under: it changes with anything that the answer depends on."""
        asked, read = asdict(row.prompt), asdict(row.pair_prompt or row.prompt)
        settings: dict[str, object] = {"asked": asked, "steering": turned_knobs(row.steering), "task": self.task}
        if api is not None:
            taken = [repr(self.endpoint.get(name)) for name in ("adapter", "tokenizer", "options")]
            settings |= {"where": self.where, "model": api.model, "template": api.template, "endpoint": taken}
        if pair_mark:
            settings |= {"pair": pair_mark, "pair_asked": read}
        if self.recipe is not None:
            recipe = self.recipe
            route = None if recipe.route is None else asdict(recipe.route)
            before = [asdict(message) for message in recipe.before]
            settings["recipe"] = [recipe.way, before, list(recipe.options), route]
        if self.labels:
            settings["labels"] = [list(self.labels), self.calls]
        return key_of(settings | ({"text": row.text} if self.scored else {}))


@final
@dataclass(frozen=True, slots=True)
class BatchUnit:
    """What is asked once: a row, and the key that its answer is kept under."""

    key: str
    row: BatchRow


Ask: TypeAlias = Callable[[BatchUnit], KeptRow]
"""Answers a unit; one for each that may be under way at a time."""


@final
@dataclass(frozen=True, slots=True)
class RowAnswerer:
    """What answers rows, open. Safe from several threads. api: None where nobody is called. pair: None without one.

    parallel: rows under way at a time, as asked for.
    """

    model: BatchModel
    api: Api | None
    pair: Pair | None
    parallel: int | None

    @property
    def at_once(self) -> int:
        """Rows that are under way at a time: as many as asked for, or else as the pair has slots, or PARALLEL."""
        return self.parallel or (0 if self.pair is None else self.pair.slots) or PARALLEL

    def answer(self, unit: BatchUnit) -> KeptRow:
        """What came of a row, an error of its own too.

        Raises:
            BlackboxProxyError: What all further rows would meet as well (ENDS).
        """
        row, blank = unit.row, KeptRow(unit.key)
        try:
            return {"answer": self._complete, "choose": self._choose, "score": self._score}[self.model.task](row, blank)
        except ENDS:
            raise
        except BlackboxProxyError as error:
            calls = error.partial.calls if error.partial else error.calls
            used = used_by(calls)
            return replace(
                blank,
                error=_said(error),
                outage=_is_outage(error),
                calls=used.requests,
                input=used.input,
                output=used.output,
                cost=cost_of(calls),
            )

    def _complete(self, row: BatchRow, blank: KeptRow) -> KeptRow:
        """The answer in words."""
        recipe, offsets = self.model.recipe, self._offsets
        by: Steerer | RecipeSteerer
        if recipe is not None:
            by = RecipeSteerer(recipe, self.api or NOBODY, offsets, row.steering)
        else:
            by = Steerer(self.api or NOBODY, offsets, row.steering)
        result = by.complete(row.prompt, pair_prompt=row.pair_prompt)
        return replace(_used(blank, _through(result)), text=result.text)

    def _choose(self, row: BatchRow, blank: KeptRow) -> KeptRow:
        """The likeliest label, with the probability of each."""
        steerer = Steerer(self.api or NOBODY, self._offsets, row.steering)
        choice = steerer.choose(row.prompt, self.model.labels, calls=self.model.calls, pair_prompt=row.pair_prompt)
        probabilities = {option.text: option.steered for option in choice.options}
        return replace(
            _billed(blank, choice),
            text=None if choice.best is None else choice.best.text,
            probabilities=probabilities,
        )

    def _score(self, row: BatchRow, blank: KeptRow) -> KeptRow:
        """How probable a text is, steered and by the API alone."""
        result = _through(Steerer(self.api or NOBODY, self._offsets, row.steering).score(row.text))
        logp = _sum(step.logp_after for step in result.steps)
        return replace(_used(blank, result), logp=logp, api_logp=_sum(step.logp_before for step in result.steps))

    @property
    def _offsets(self) -> Offsets:
        return NOTHING if self.pair is None else self.pair


def _is_outage(error: BlackboxProxyError) -> bool:
    """Whether the next row is likely to meet an error too."""
    if isinstance(error, ApiRefused):
        return error.status in TURNED_AWAY
    return isinstance(error, ApiError)


def _said(error: BlackboxProxyError) -> str:
    return f"{error.message} ({error.hint})" if error.hint else error.message


def _through(result: Result) -> Result:
    """The result of an answer that is through. Raises OverBudget where a budget ended it."""
    if result.finish == "budget":
        raise OverBudget(result.notes[-1], hint="raise the budget; what was answered is kept, and is not asked again")
    return result


def _used(blank: KeptRow, result: Result) -> KeptRow:
    return replace(
        _billed(blank, result),
        exactness=result.exactness,
        way=result.way,
        finish=result.finish,
        tokens=len(result.steps) if not result.samples else None,
    )


def _billed(blank: KeptRow, outcome: Result | Choice) -> KeptRow:
    usage = outcome.usage
    return replace(blank, calls=usage.requests, input=usage.input, output=usage.output, cost=outcome.cost)


def _sum(logps: Iterable[float | None]) -> float | None:
    """The sum of those that are known; None where none is."""
    known = [one for one in logps if one is not None and math.isfinite(one)]
    return math.fsum(known) if known else None


@contextmanager
def opened(model: BatchModel, api: Api | None, parallel: int | None) -> Iterator[RowAnswerer]:
    """What answers rows, with the pair that it needs."""
    with ExitStack() as stack:
        pair = stack.enter_context(load_pair(model.pair, slots=parallel or PARALLEL)) if model.pair else None
        yield RowAnswerer(model, api, pair, parallel)


@final
@dataclass(frozen=True, slots=True)
class RowPlan:
    """What answers rows, as an actor opens it. parallel: as of `RowAnswerer`."""

    model: BatchModel
    parallel: int | None

    @contextmanager
    def opened(self, ledger: Ledger | None) -> Iterator[RowAnswerer]:
        """Open it, with an endpoint of its own."""
        with self.model.connected(ledger) as api, opened(self.model, api, self.parallel) as answerer:
            yield answerer
