"""Steered odds of given answers: which requests they take, and what they came to; knows no wire format, no formula."""

from __future__ import annotations

import math
import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace

from blackbox_proxy.api import Endpoint, as_prompt
from blackbox_proxy.core.alignment.scoring import CLOSE, run, scored
from blackbox_proxy.core.decoding import choosing
from blackbox_proxy.core.money.spending import Spending, spent_notes
from blackbox_proxy.errors import BlackboxProxyError, InputError
from blackbox_proxy.run.sources import LocalPair
from blackbox_proxy.types import (
    Choice,
    Continuation,
    Generate,
    Prefix,
    Prompt,
    Purpose,
    Reply,
    Result,
    Scorer,
    Scores,
    Usage,
)

NEEDS: Mapping[choosing.Lack, str] = {
    "top_k": "a longer top-k: options, or tokens that begin them, are not shown",
    "goes_on": "an endpoint that goes on from a given text (raw text or prefill): options show in part only",
    "calls": "more calls: beginnings of options were not gone on from",
    "begins": "options that begin differently, so that their first tokens tell them apart",
    "tie": "another alpha, or other options: the odds of the best ones are equal as far as they can be told",
}
"""What would decide a choice, in words."""


@dataclass(slots=True)
class _Spent:
    """What a choice has taken so far. local: seconds of the pair."""

    started: float
    model: str = ""
    local: float = 0.0
    spending: Spending = field(default_factory=lambda: Spending(uuid.uuid4().hex))

    @property
    def usage(self) -> Usage:
        """What it has taken of both sides."""
        return replace(self.spending.usage, local_seconds=self.local)

    def book(self, reply: Reply) -> None:
        self.model = reply.model or self.model
        self.spending.pay(reply)

    def scored(self, pair: Scorer, strings: Sequence[bytes], prompt: Prompt) -> Scores:
        """The pair's scores of some answers."""
        before = time.perf_counter()
        scores = _scores(pair, strings, prompt)
        self.local += time.perf_counter() - before
        return scores

    def asked(
        self, asking: choosing.Asking, peek: choosing.Peek, send: Callable[[choosing.Peek], Reply]
    ) -> choosing.Masses:
        """What the API's replies say of the options, as far as `asking` wants to know, from its first question on."""
        while True:
            reply = send(peek)
            self.book(reply)
            try:
                peek = asking.send(reply)
            except StopIteration as stop:
                masses: choosing.Masses = stop.value
                return masses

    @contextmanager
    def keeping(self) -> Iterator[None]:
        """Gives an error what was paid for, if anything was."""
        try:
            yield
        except BlackboxProxyError as error:
            self.spending.lose(error.calls)
            usage = self.usage
            if usage.answered or usage.lost:
                seconds, notes = time.perf_counter() - self.started, spent_notes(usage)
                paid, calls = self.spending.cost, tuple(self.spending.calls)
                error.partial = Result("", (), "error", usage, "approximate", seconds, paid, self.model, notes, calls)
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

    One call is enough where all options show in the top-k. Beginnings of longer ones are gone on from, where the
    endpoint can do that. What is still open then is bounded; where bounds overlap, the choice is undecided and says
    what would decide.

    Args:
        prompt: The question.
        options: The answers as the model would write them, byte for byte; an answer is one if it begins so.
        api: The hosted model.
        pair: A pair, or another source of offsets.
        alpha: Weight of the offset.
        pair_prompt: What the pair reads in place of `prompt`.
        calls: Most calls.

    Raises:
        InputError: For options that are none.
        PromptError: For a prompt that the pair cannot hold, before anything is sent.
    """
    started, asked = time.perf_counter(), as_prompt(prompt)
    if not math.isfinite(alpha) or calls < 1:
        raise InputError(f"alpha must be finite and calls at least 1, not {alpha} and {calls}")
    answers, can = [option.encode() for option in options], api.capabilities()
    prefix = Prefix("" if can.chat else api.text(asked), messages=asked.messages)
    goes_on = can.continuation in (Continuation.EXACT, Continuation.PREFILL)
    asking = choosing.masses(answers, goes_on=goes_on, calls=calls)
    first = next(asking)
    read = asked if pair_prompt is None else as_prompt(pair_prompt)
    spent = _Spent(started)
    purpose = Purpose(spent.spending.run)

    def send(peek: choosing.Peek) -> Reply:
        return api.send(Generate(api.model, replace(prefix, answer=peek.text), can.top_k, peek.length), purpose)

    strings, scores = tuple(answers), spent.scored(pair, answers, read)
    with spent.keeping():
        masses = spent.asked(asking, first, send)
        more = tuple(text for text in masses.wanted() if text not in answers)
        if more:
            strings = (*answers, *more)
            scores = spent.scored(pair, strings, read)
    spent.spending.work(spent.local)
    spent.spending.settle()
    odds, options_of = choosing.chosen(masses, strings, scores, alpha=alpha)
    needs = tuple(NEEDS[lack] for lack in choosing.lacking(masses, odds, goes_on=goes_on))
    seconds = time.perf_counter() - started
    paid = spent.spending
    return Choice(options_of, odds.certified, spent.usage, seconds, spent.model, paid.cost, tuple(paid.calls), needs)


def _scores(pair: Scorer, strings: Sequence[bytes], prompt: Prompt) -> Scores:
    """The strings' scores; those of a pair closely, however small: a choice is made once, and its odds are shown."""
    if not isinstance(pair, LocalPair):
        return pair.score(b"", strings, prompt=prompt)
    asked = scored(b"", strings, vocabulary=pair.vocabulary, spell=pair.spell, tolerance=CLOSE, small=0.0)
    tokens = pair.prompt(prompt)
    return run(asked, lambda paths: pair.distributions(tokens, paths))
