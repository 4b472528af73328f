"""What one run has spent: its requests and their costs so far, and how many tokens of each reply were kept.

How many were is known only when the walk over a round has ended, with the next round or with the answer; then the
ledger is told, by the replies' receipts. A step takes a token of the reply that begins nearest before it, unless it was
completed locally. One that stands before every reply of its round took a place of the draft that the API was sent to
tell of: it is kept too, though the API did not write it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import final

from blackbox_proxy.types import Call, Receipt, Reply, Step, Usage


def calls_of(reply: Reply, *, step: int = 0) -> tuple[Call, ...]:
    """The attempts that a reply took: as they were watched, or else the one that the reply itself tells of."""
    if reply.calls or not reply.usage.requests:
        return reply.calls
    return (Call(step, reply.usage, None if reply.receipt is None else reply.receipt.cost),)


def used_by(calls: Iterable[Call]) -> Usage:
    """What some attempts took together."""
    return sum((call.usage for call in calls), Usage())


def known_of(calls: Iterable[Call]) -> Decimal:
    """US dollars of those attempts whose cost is known."""
    return sum((call.cost for call in calls if call.cost is not None), Decimal(0))


def unpriced_of(calls: Iterable[Call]) -> int:
    """How many that were answered are of unknown cost."""
    return sum(call.usage.answered for call in calls if call.cost is None)


def cost_of(calls: Iterable[Call]) -> Decimal | None:
    """US dollars of those that were answered; None where that of one is unknown, and where none was."""
    costs = [call.cost for call in calls if call.usage.answered]
    known = [cost for cost in costs if cost is not None]
    return sum(known, Decimal(0)) if known and len(known) == len(costs) else None


def spent_notes(usage: Usage) -> tuple[str, ...]:
    """What to say of requests that may be billed, nobody here knows for what, and of those that only we counted."""
    lost = (f"requests without a usable reply, at unknown cost: {usage.lost}",) if usage.lost else ()
    said = f"replies without token counts that can be believed, whose tokens are bounded from above: {usage.estimated}"
    return (*lost, *((said,) if usage.estimated else ()))


@dataclass(slots=True)
class _Written:
    """The tokens of a reply, which begin behind `start` bytes of the answer. kept: those before it included."""

    start: int
    receipt: Receipt | None
    unused: int
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
        """US dollars for all requests that were answered; None where that of one is unknown, and where none was."""
        return cost_of(self.calls)

    @property
    def usage(self) -> Usage:
        """What all requests took."""
        return used_by(self.calls)

    def pay(self, reply: Reply) -> None:
        """A request was answered."""
        self.calls.extend(calls_of(reply, step=self._steps))
        self._last = reply.receipt or self._last

    def lose(self, calls: Iterable[Call]) -> None:
        """What was tried before an error."""
        self.calls.extend(calls)

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

    def hold(self, reply: Reply, tokens: int) -> None:
        """A reply came whose tokens are kept whole or not at all, which `take` says. Booked by `settle`."""
        self.pay(reply)
        self._round.append(_Written(0, reply.receipt, tokens))

    def take(self, at: int, tokens: int) -> None:
        """So many tokens of the reply that was held as number `at` are kept."""
        written = self._round[at]
        written.kept, written.unused = written.kept + tokens, written.unused - tokens

    def tell(self, reply: Reply) -> None:
        """A reply came of which no token is kept: it only tells more of a position, or its round broke off."""
        self.pay(reply)
        if reply.receipt is not None:
            reply.receipt.accepted(kept=0, wasted=len(reply.positions))

    def keep(self, step: Step) -> None:
        """A token was emitted."""
        if step.is_asked and self._round:
            self._take()
        self._steps, self._at = self._steps + 1, self._at + len(step.piece)

    def _take(self) -> None:
        """A token of the reply that it stands in, or a place of the draft that the first reply told of."""
        begun = [written for written in self._round if written.start <= self._at]
        if not begun:
            self._round[0].kept += 1
        elif (last := begun[-1]).unused:
            last.kept, last.unused = last.kept + 1, last.unused - 1

    def work(self, seconds: float) -> None:
        """The pair has computed; booked with the reply that came last when `settle` is called."""
        self._seconds += seconds

    def settle(self) -> None:
        """The walk over the last round has ended: what is left of it was not kept."""
        for at, first in enumerate(self._round):
            if first.receipt is None or (at and self._round[at - 1].receipt is first.receipt):
                continue
            same = [written for written in self._round if written.receipt is first.receipt]
            first.receipt.accepted(kept=sum(one.kept for one in same), wasted=sum(one.unused for one in same))
        self._round = []
        if self._last is not None and self._seconds:
            self._last.evaluated(self._seconds)
            self._seconds = 0.0
