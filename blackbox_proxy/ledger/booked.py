"""What one question took: watches the attempts at its requests, counts them, and has them booked."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace

from blackbox_proxy.core.money.usage import counts_of, usage_of
from blackbox_proxy.errors import BlackboxProxyError
from blackbox_proxy.ledger.books import Account, Entry, most_of
from blackbox_proxy.types import Ask, Attempt, Call, Kind, Reply, Usage, WireRequest


@dataclass(slots=True)
class Booked:
    """Watches the attempts at a question, counts them, and has them booked.

    entry: the present request's place in the books. repeats: a reply may say again what stands before. most: the most
    tokens that an attempt at it can take. usage: the counts of its reply, as they came.
    """

    account: Account | None
    entry: Entry | None = None
    repeats: bool = False
    step: int = 0
    most: Usage = field(default_factory=Usage)
    usage: Mapping[str, object] | None = None
    calls: list[Call] = field(default_factory=list)

    def book(self, request: WireRequest, ask: Ask) -> WireRequest:
        """A request that is about to be sent. ask: which run it belongs to."""
        self.step, self.most = ask.step, most_of(request, length=ask.length)
        if self.account is not None:
            self.entry = self.account.entry(request, run=ask.run, step=ask.step, length=ask.length)
        return request

    def begin(self, number: int) -> None:
        if self.entry is not None:
            self.entry.begin(number)

    def end(self, attempt: Attempt) -> None:
        self.usage = attempt.usage
        if self.entry is not None:
            self.entry.end(attempt)
        self.calls.append(
            Call(self.step, usage_of(attempt, most=self.most), None if self.entry is None else self.entry.cost)
        )

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
        counts = counts_of(self.usage, most=most, adapter_usage=first.usage, texts=texts)
        receipt = None if self.entry is None else self.entry.receipt(counts)
        last = Call(self.step, counts.usage, None if receipt is None else receipt.cost)
        calls = (*self.calls[:-1], last)
        return [replace(first, receipt=receipt, calls=calls), *(replace(reply, receipt=receipt) for reply in rest)]
