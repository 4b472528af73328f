"""A stand-in in the hands of a test: what it says and how it fails, what was asked of it, and what that would cost."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from decimal import Decimal
from pathlib import Path
from types import TracebackType
from typing import Any, Self, Unpack, final

from blackbox_proxy.cassettes.matching import Replay
from blackbox_proxy.core.money.amounts import cost, plain
from blackbox_proxy.errors import InputError
from blackbox_proxy.ledger.prices import PriceList
from blackbox_proxy.standin.faults import plan_of
from blackbox_proxy.standin.hosting import StandinHost
from blackbox_proxy.standin.journal import Journal, SeenRequest
from blackbox_proxy.standin.plan import read_plan
from blackbox_proxy.standin.quirks import read_quirks
from blackbox_proxy.standin.scenarios.exchanges import Scenario
from blackbox_proxy.standin.scenarios.file import scenario_of
from blackbox_proxy.standin.script import Script
from blackbox_proxy.standin.server import RunningStandin, Source, StandinOptions, opened
from blackbox_proxy.standin.sources import read_source
from blackbox_proxy.types import Usage

OPENAI = "https://api.openai.com/v1"

Said = Source | str | Mapping[str, object] | Sequence[Mapping[str, Any]]
"""What can be said: a file (see `read_source`), what one holds, or exchanges as `scenario_of` takes them."""


@final
class StandinControl:
    """A stand-in that is served, and what a test asks of it.

    Attributes:
        url: Its base URL, which ends in /v1.
    """

    def __init__(self, host: StandinHost, said: Said, *, folder: Path, **options: Unpack[StandinOptions]) -> None:
        self._host = host
        self._folder = folder
        self._journal = Journal()
        self._plan = options.get("plan") or plan_of(read_quirks(options.get("quirks", ())))
        self._options: StandinOptions = {**options, "journal": self._journal, "plan": self._plan}
        self._stack = ExitStack()
        self._standin = self._open(said)
        self.url = host.mount(self._standin.app)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._host.unmount(self.url)
        self._stack.close()

    def script(self, said: Said) -> None:
        """Say something else from now on, at the same address.

        Args:
            said: Answers by questions, such as `{"What is asked?": "What is said."}`; exchanges, a scenario, a toy, a
                cassette; or a file of one of these.

        Raises:
            InputError: For what says nothing, with its first mistake.
        """
        before, self._stack = self._stack, ExitStack()
        self._standin = self._open(said)
        self._host.replace(self.url, self._standin.app)
        before.close()

    def fault(self, *faults: str) -> None:
        """Let the next requests fail, one for each.

        Args:
            faults: As a plan of faults writes them: `429:2`, `reset`, `cut`, `500*3`, `slow:0.5`, `ok`.
        """
        try:
            self._plan.add([fault for text in faults for fault in read_plan(text)])
        except ValueError as error:
            raise InputError(str(error), hint="write `429:2`, `reset`, `cut`, `500*3`, `slow:0.5` or `ok`") from None

    def reset(self) -> None:
        """Forget what was asked and what was to fail; a scenario starts anew."""
        self._journal.clear()
        self._plan.clear()
        self._standin.reset()

    @property
    def requests(self) -> list[SeenRequest]:
        """What was asked, in the order in which it came; those that failed too."""
        return self._journal.requests

    @property
    def usage(self) -> Usage:
        """The tokens of all requests together."""
        return sum((request.usage for request in self.requests), Usage())

    def cost(self, *, base_url: str = OPENAI) -> Decimal:
        """What the requests would cost, in US dollars, by the price list that comes with the package.

        Args:
            base_url: Whose prices hold.

        Raises:
            InputError: For a model without a price.
        """
        prices, now = PriceList(), dt.datetime.now(dt.UTC)
        total = Decimal(0)
        for request in self.requests:
            amount = cost(request.usage, prices.find(base_url, request.model, at=now))
            if amount is None:
                raise InputError(f"no price is known for {request.model!r} at {base_url}", hint="give base_url")
            total += amount
        return total

    def assert_cost_below(self, dollars: float | str | Decimal, *, base_url: str = OPENAI) -> None:
        """Raises AssertionError where the requests would have cost as much, or more; see `cost`."""
        total = self.cost(base_url=base_url)
        if not total < Decimal(str(dollars)):
            usage = self.usage
            raise AssertionError(
                f"{len(self.requests)} requests cost ${plain(total)}, and less than ${dollars} was allowed:"
                f" {usage.input} tokens were read, {usage.output} written"
            )

    def assert_calls(self, count: int) -> None:
        """Raises AssertionError where there were more or fewer requests, with what they asked."""
        requests = self.requests
        if len(requests) != count:
            asked = "".join(f"\n  {one.path} {one.status}: {one.text[:200]!r}" for one in requests)
            raise AssertionError(f"{len(requests)} requests came, not {count}{':' if asked else ''}{asked}")

    def assert_prefix(self, text: str) -> None:
        """Raises AssertionError where no request asked to go on from `text`.

        That is a chat whose last turn is the assistant's and says it, or a raw prompt that ends with it.
        """
        prefixes = [(one.prefix, not one.messages) for one in self.requests]
        if not any(prefix == text or (is_raw and prefix.endswith(text)) for prefix, is_raw in prefixes):
            others = [prefix for prefix, _ in prefixes if prefix]
            raise AssertionError(f"no request went on from {text!r}; from these texts they did: {others}")

    def _open(self, said: Said) -> RunningStandin:
        source = self._source(said)
        return self._stack.enter_context(opened(source, lines=self._host.lines, **self._options))

    def _source(self, said: Said) -> Source:
        if isinstance(said, str | Path):
            return read_source(self._folder / said)
        return said if isinstance(said, Script | Scenario | Replay) else scenario_of(said)
