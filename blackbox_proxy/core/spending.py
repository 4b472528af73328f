"""What one run has spent: its replies and their costs so far, and how many tokens of each reply were kept.

How many were is known only when the walk over a round has ended, with the next round or with the answer; then the
ledger is told, by the replies' receipts. A step takes a token of the reply that begins nearest before it, unless it was
completed locally. One that stands before every reply of its round took a place of the draft that the API was sent to
tell of: it is kept too, though the API did not write it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import final

from blackbox_proxy.types import Call, Origin, Receipt, Reply, Step


@dataclass(slots=True)
class _Written:
    """The tokens of a reply, which begin behind `start` bytes of the answer. kept: those before it included."""

    start: int
    receipt: Receipt | None
    left: int
    kept: int = 0


@final
@dataclass(slots=True)
class Spending:
    """The books of one answer, under the name of its run."""

    run: str
    calls: list[Call] = field(default_factory=list)
    _round: list[_Written] = field(default_factory=list)
    _last: Receipt | None = None
    _steps: int = 0
    _at: int = 0
    _seconds: float = 0.0

    @property
    def cost(self) -> Decimal | None:
        """US dollars for all replies so far; None where that of one is unknown, and where there is none."""
        known = [call.cost for call in self.calls if call.cost is not None]
        return sum(known, Decimal(0)) if known and len(known) == len(self.calls) else None

    def pay(self, reply: Reply) -> None:
        """A request was answered."""
        receipt = reply.receipt
        self.calls.append(Call(self._steps, reply.usage, None if receipt is None else receipt.cost))
        self._last = receipt or self._last

    def draft(self, replies: Sequence[Reply], starts: Sequence[int]) -> None:
        """The replies of a round that is walked over now, in order; starts: how much of the answer is before each.

        Replies to one request have one receipt, and are paid for once.
        """
        self.settle()
        for at, reply in enumerate(replies):
            if reply.receipt is None or at == 0 or reply.receipt is not replies[at - 1].receipt:
                self.pay(reply)
        both = zip(replies, starts, strict=True)
        self._round = [_Written(start, reply.receipt, len(reply.positions)) for reply, start in both]

    def tell(self, reply: Reply) -> None:
        """A reply came of which no token is kept: it only tells more of a position, or its round broke off."""
        self.pay(reply)
        if reply.receipt is not None:
            reply.receipt.walked(kept=0, wasted=len(reply.positions))

    def keep(self, step: Step) -> None:
        """A token was emitted."""
        if step.origin is not Origin.LOCAL and self._round:
            self._take()
        self._steps, self._at = self._steps + 1, self._at + len(step.piece)

    def _take(self) -> None:
        """A token of the reply that it stands in, or a place of the draft that the first reply told of."""
        begun = [written for written in self._round if written.start <= self._at]
        if not begun:
            self._round[0].kept += 1
        elif (last := begun[-1]).left:
            last.kept, last.left = last.kept + 1, last.left - 1

    def work(self, seconds: float) -> None:
        """The pair has computed; booked with the reply that came last when `settle` is called."""
        self._seconds += seconds

    def settle(self) -> None:
        """The walk over the last round has ended: what is left of it was not kept."""
        for at, first in enumerate(self._round):
            if first.receipt is None or (at and self._round[at - 1].receipt is first.receipt):
                continue
            same = [written for written in self._round if written.receipt is first.receipt]
            first.receipt.walked(kept=sum(one.kept for one in same), wasted=sum(one.left for one in same))
        self._round = []
        if self._last is not None and self._seconds:
            self._last.worked(self._seconds)
            self._seconds = 0.0
