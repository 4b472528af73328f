"""What one run has spent: its replies and their costs so far, and how many tokens of each reply were kept.

How many were is known only when the walk over a draft has ended, with the next draft or with the answer; then the
ledger is told, by the reply's receipt. A step takes one position of the last draft, unless it was completed locally.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from decimal import Decimal
from typing import final

from blackbox_proxy.types import Call, Origin, Receipt, Reply, Step


@final
@dataclass(slots=True)
class Spending:
    """The books of one answer, under the name of its run."""

    run: str
    calls: list[Call] = field(default_factory=list)
    _draft: Receipt | None = None
    _last: Receipt | None = None
    _steps: int = 0
    _kept: int = 0
    _open: int = 0
    _seconds: float = 0.0

    @property
    def cost(self) -> Decimal | None:
        """US dollars for all replies so far; None where that of one is unknown, and where there is none."""
        known = [call.cost for call in self.calls if call.cost is not None]
        return sum(known, Decimal(0)) if known and len(known) == len(self.calls) else None

    def pay(self, reply: Reply) -> None:
        """A reply came."""
        receipt = reply.receipt
        self.calls.append(Call(self._steps, reply.usage, None if receipt is None else receipt.cost))
        self._last = receipt or self._last

    def draft(self, reply: Reply) -> None:
        """A reply came that is walked over now."""
        self.settle()
        self.pay(reply)
        self._draft, self._kept, self._open = reply.receipt, 0, len(reply.positions)

    def tell(self, reply: Reply) -> None:
        """A reply came that only tells more of a position; no token of it is kept."""
        self.pay(reply)
        if reply.receipt is not None:
            reply.receipt.walked(kept=0, wasted=len(reply.positions))

    def keep(self, step: Step) -> None:
        """A token was emitted."""
        self._steps += 1
        if step.origin is not Origin.LOCAL and self._open:
            self._kept, self._open = self._kept + 1, self._open - 1

    def work(self, seconds: float) -> None:
        """The pair has computed; booked with the reply that came last when `settle` is called."""
        self._seconds += seconds

    def settle(self) -> None:
        """The walk over the last draft has ended: what is left of it was not kept."""
        if self._draft is not None:
            self._draft.walked(kept=self._kept, wasted=self._open)
        self._draft = None
        if self._last is not None and self._seconds:
            self._last.worked(self._seconds)
            self._seconds = 0.0
