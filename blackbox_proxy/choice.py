"""Steered odds of given answers: which requests they take, and what they came to; knows no wire format, no formula."""

from __future__ import annotations

import math
import time
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace

from blackbox_proxy.api import Endpoint, as_prompt
from blackbox_proxy.core import choosing
from blackbox_proxy.core.scoring import CLOSE, run, scored
from blackbox_proxy.core.spending import Spending
from blackbox_proxy.errors import BlackboxProxyError, InputError
from blackbox_proxy.session import LocalPair, lost_note
from blackbox_proxy.types import Ask, Choice, Continuation, Prompt, Reply, Result, Scorer, Scores, Usage


@dataclass(slots=True)
class _Spent:
    """What a choice has taken so far."""

    started: float
    usage: Usage = field(default_factory=Usage)
    model: str = ""
    spending: Spending = field(default_factory=lambda: Spending(uuid.uuid4().hex))

    def book(self, reply: Reply) -> None:
        self.usage, self.model = self.usage + reply.usage, reply.model or self.model
        self.spending.pay(reply)

    @contextmanager
    def keeping(self) -> Iterator[None]:
        """Gives an error what was paid for, if anything was."""
        try:
            yield
        except BlackboxProxyError as error:
            usage = self.usage + Usage(lost=error.lost)
            if usage.requests or usage.lost:
                seconds, notes = time.perf_counter() - self.started, lost_note(usage.lost)
                cost = self.spending.cost
                error.partial = Result("", (), "error", usage, "approximate", seconds, cost, self.model, notes)
            raise


def choose(
    prompt: Prompt | str,
    options: Sequence[str],
    *,
    api: Endpoint,
    pair: Scorer,
    alpha: float = 1.0,
    pair_prompt: Prompt | str | None = None,
    calls: int = 8,
) -> Choice:
    """Which of some answers the API gives, steered by the pair: q(option) ~ p(option) (E[option] / A[option])^alpha.

    options: the answers as the model would write them, byte for byte; an answer is one if it begins so. One call is
    enough where all of them show in the top-k; beginnings of longer ones are gone on from by up to `calls` calls, where
    the endpoint can do that, and what is still open then is bounded. Raises InputError for options that are none.
    """
    started, asked = time.perf_counter(), as_prompt(prompt)
    if not math.isfinite(alpha) or calls < 1:
        raise InputError(f"alpha must be finite and calls at least 1, not {alpha} and {calls}")
    wanted, can = [option.encode() for option in options], api.capabilities()
    ask = Ask(api.model, "" if can.chat else api.text(asked), b"", 1, can.top_k, messages=asked.messages)
    asking = choosing.masses(wanted, goes_on=can.continuation is Continuation.EXACT, calls=calls)
    spent = _Spent(started)
    with spent.keeping():
        masses = _masses(asking, api, ask, spent=spent)
        before = time.perf_counter()
        own = asked if pair_prompt is None else as_prompt(pair_prompt)
        strings = (*wanted, *(text for text in masses.wanted() if text not in wanted))
        scores = _scores(pair, strings, own)
    usage = replace(spent.usage, local_seconds=time.perf_counter() - before)
    spent.spending.work(usage.local_seconds)
    spent.spending.settle()
    found, options_of = choosing.chosen(masses, strings, scores, alpha=alpha)
    seconds = time.perf_counter() - started
    return Choice(options_of, found.certified, usage, seconds, spent.model, spent.spending.cost)


def _scores(pair: Scorer, strings: Sequence[bytes], own: Prompt) -> Scores:
    """The strings' scores; those of a pair closely, however small: a choice is made once, and its odds are shown."""
    if not isinstance(pair, LocalPair):
        return pair.score(b"", strings, prompt=own)
    asked = scored(b"", strings, vocabulary=pair.vocabulary, spell=pair.spell, tolerance=CLOSE, small=0.0)
    read = pair.prompt(own)
    return run(asked, lambda paths: pair.laws(read, paths))


def _masses(asking: choosing.Asking, api: Endpoint, ask: Ask, *, spent: _Spent) -> choosing.Masses:
    """What the API's replies say of the options, as far as `asking` wants to know."""
    reply: Reply | None = None
    while True:
        try:
            peek = next(asking) if reply is None else asking.send(reply)
        except StopIteration as stop:
            masses: choosing.Masses = stop.value
            return masses
        reply = api.send(replace(ask, answer=peek.text, length=peek.length, run=spent.spending.run))
        spent.book(reply)
