"""The attempts at one question: counted, and booked where there is a ledger. Knows no wire format and no adapter."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace

from blackbox_proxy.core.money.usage import counts_of, usage_of
from blackbox_proxy.errors import BlackboxProxyError
from blackbox_proxy.ledger.books import Account, Entry, most_of
from blackbox_proxy.types import Attempt, Call, Kind, Purpose, Reply, Usage, WireRequest


@dataclass(slots=True)
class BookedAttempts:
    """Watches the attempts at a question, counts them, and has them booked.

    Attributes:
        account: Where they are booked; None for nowhere.
        purpose: What they are booked under.
        entry: The present request's place in the books.
        repeats: Whether a reply may hold more tokens than its positions tell of: it says again what stands before, or
            is of whole answers.
        most: The most tokens that an attempt at the present request can take.
        counts: The `usage` of its reply, as it came.
        calls: All attempts so far.
    """

    account: Account | None
    purpose: Purpose
    entry: Entry | None = None
    repeats: bool = False
    most: Usage = field(default_factory=Usage)
    counts: Mapping[str, object] | None = None
    calls: list[Call] = field(default_factory=list)

    def book(self, request: WireRequest, *, length: int) -> WireRequest:
        """A request that is about to be sent. length: how many tokens it asks for, of each prompt."""
        self.most = most_of(request, length=length)
        if self.account is not None:
            run, step = self.purpose.run, self.purpose.step
            self.entry = self.account.entry(request, run=run, step=step, length=length)
        return request

    def begin(self, number: int) -> None:
        if self.entry is not None:
            self.entry.begin(number)

    def end(self, attempt: Attempt) -> None:
        self.counts = attempt.usage
        if self.entry is not None:
            self.entry.end(attempt)
        cost = None if self.entry is None else self.entry.cost
        self.calls.append(Call(self.purpose.step, usage_of(attempt, most=self.most), cost))

    @contextmanager
    def counting(self) -> Iterator[None]:
        """Lets an error say what was tried before it."""
        try:
            yield
        except BlackboxProxyError as error:
            error.calls = (*error.calls, *self.calls)
            raise

    def counted(self, replies: Sequence[Reply]) -> Sequence[Reply]:
        """The replies to one request with its receipt; the first has all attempts at the question.

        Where its provider counts no tokens they are counted here: the most that was read, and those that came; where
        the reply may have repeated what stood before, the most that were written.
        """
        first, *rest = replies
        came = [position.sampled for reply in replies for position in reply.positions]
        texts = sum(bool(sampled.piece) and sampled.kind is not Kind.END for sampled in came)
        most = self.most if self.repeats else replace(self.most, output=len(came))
        counts = counts_of(self.counts, most=most, adapter_usage=first.usage, texts=texts)
        receipt = None if self.entry is None else self.entry.receipt(counts)
        last = Call(self.purpose.step, counts.usage, None if receipt is None else receipt.cost)
        calls = (*self.calls[:-1], last)
        return [replace(first, receipt=receipt, calls=calls), *(replace(reply, receipt=receipt) for reply in rest)]
