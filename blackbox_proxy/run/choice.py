"""Steered odds of given answers: which requests they take, and what they came to; knows no wire format, no formula."""

from __future__ import annotations

import asyncio
import math
import time
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Self, final

from blackbox_proxy.api import Endpoint
from blackbox_proxy.constraints import Constraint
from blackbox_proxy.core.alignment.scoring import CLOSE, run, scored
from blackbox_proxy.core.decoding import choosing
from blackbox_proxy.core.events import ApiDraft, Evidence
from blackbox_proxy.core.money.spending import Spending, spent_notes
from blackbox_proxy.errors import BlackboxProxyError, InputError
from blackbox_proxy.guidance import ConstraintAcceptor, options_of
from blackbox_proxy.run.sources import LocalPair, Offsets, reached_by
from blackbox_proxy.steering import Way
from blackbox_proxy.types import (
    Choice,
    Generate,
    Prefix,
    Prompt,
    Purpose,
    Reply,
    Result,
    Scores,
    Usage,
)

NEEDS: Mapping[choosing.Lack, str] = {
    "top_k": "a longer top-k: options, or tokens that begin them, are not shown",
    "goes_on": "an endpoint that goes on from a given text (raw text, prefill, a schema): options show in part only",
    "calls": "more calls: beginnings of options were not gone on from",
    "begins": "options that begin differently, so that their first tokens tell them apart",
    "tie": "another alpha, or other options: the odds of the best ones are equal as far as they can be told",
}
"""What would decide a choice, in words."""


def options_under(constraint: Constraint | None, options: Sequence[str] | None) -> Sequence[str]:
    """What is chosen from: the options, or those that a constraint lists.

    Raises InputError where neither says any, and for an option that the constraint does not allow.
    """
    if options is None:
        listed = None if constraint is None else options_of(constraint)
        if listed is None:
            raise InputError(
                "nothing says which answers to choose from",
                hint="name the options, or set a constraint that lists its answers: OneOf, or a schema that is an enum",
            )
        return listed
    if constraint is not None:
        accepts = ConstraintAcceptor(constraint)
        others = [
            one for one in options if not accepts.follows(b"", one.encode()) or not accepts.follows(one.encode(), b"")
        ]
        if others:
            raise InputError(
                f"the constraint does not allow the option {others[0]!r}",
                hint="leave it out, or the constraint; JSON has a blank after each comma and colon, and none elsewhere",
            )
    return options


@final
@dataclass(slots=True)
class Choosing:
    """One choice between given answers: what is asked of the API and of the source of offsets, and what it took.

    Attributes:
        api: The hosted model.
        offsets: A pair, or another source of offsets.
        prompt: What the source reads before the answer.
        prefix: The prompt as the API reads it.
        alpha: Weight of the offset.
        options: The answers, in bytes.
        process: The API's questions, one after another.
        question: The next of them; None where all are answered.
        goes_on: Whether the endpoint goes on from the beginning of an answer.
    """

    api: Endpoint
    offsets: Offsets
    prompt: Prompt
    prefix: Prefix
    alpha: float
    options: tuple[bytes, ...]
    process: choosing.MassProcess
    question: ApiDraft | None
    goes_on: bool
    spending: Spending
    started: float
    model: str = ""
    local_seconds: float = 0.0
    masses: choosing.Masses | None = None
    scores: dict[tuple[bytes, ...], Scores] = field(default_factory=dict)

    @classmethod
    def open(
        cls,
        prompt: Prompt,
        pair_prompt: Prompt,
        options: Sequence[str],
        *,
        api: Endpoint,
        offsets: Offsets,
        alpha: float,
        calls: int,
        way: Way = "auto",
    ) -> Self:
        """A choice of which nothing is asked yet.

        Raises InputError for options that are none, and for a way in which the endpoint cannot go on.
        """
        api = reached_by(api, way)
        started = time.perf_counter()
        if not math.isfinite(alpha) or calls < 1:
            raise InputError(f"alpha must be finite and calls at least 1, not {alpha} and {calls}")
        strings, can = tuple(option.encode() for option in options), api.capabilities()
        spending = Spending(uuid.uuid4().hex)
        text = "" if can.chat else api.text(prompt)
        prefix = Prefix(text, messages=prompt.messages)
        goes_on = can.goes_on
        process = choosing.masses(strings, goes_on=goes_on, calls=calls)
        question = next(process)
        return cls(api, offsets, pair_prompt, prefix, alpha, strings, process, question, goes_on, spending, started)

    def run(self) -> Choice:
        """Ask what is open, first of the source of offsets, so that a prompt that it cannot read costs nothing."""
        self._score(self.options)
        with self._keeping():
            while self.question is not None:
                self._book(self.api.send(self._ask(self.question), self._purpose))
            self._score(self._strings())
        return self._choice()

    async def arun(self) -> Choice:
        """`run` for asyncio: the API is awaited, the strings scored in a worker thread."""
        await asyncio.to_thread(self._score, self.options)
        with self._keeping():
            while self.question is not None:
                self._book(await self.api.asend(self._ask(self.question), self._purpose))
            await asyncio.to_thread(self._score, self._strings())
        return self._choice()

    @property
    def usage(self) -> Usage:
        """What it has taken of both sides."""
        return replace(self.spending.usage, local_seconds=self.local_seconds)

    def _ask(self, question: ApiDraft) -> Generate:
        prefix, top_k = replace(self.prefix, answer=question.answer), self.api.capabilities().top_k
        return Generate(self.api.model, prefix, top_k, question.length)

    @property
    def _purpose(self) -> Purpose:
        return Purpose(self.spending.run)

    def _book(self, reply: Reply) -> None:
        """Count what a reply took, and see what is asked next."""
        self.model = reply.model or self.model
        self.spending.pay(reply)
        try:
            self.question = self.process.send(Evidence(replies=(reply,)))
        except StopIteration as stop:
            self.question, self.masses = None, stop.value

    def _strings(self) -> tuple[bytes, ...]:
        """What is to be scored: the options, and what the API showed of their beginnings and has to be set apart."""
        if self.masses is None:
            return self.options
        return (*self.options, *(text for text in self.masses.beginnings() if text not in self.options))

    def _score(self, strings: tuple[bytes, ...]) -> None:
        """Have the source score some strings, unless it has."""
        if strings in self.scores:
            return
        before = time.perf_counter()
        self.scores[strings] = _scores(self.offsets, strings, self.prompt)
        self.local_seconds += time.perf_counter() - before

    @contextmanager
    def _keeping(self) -> Iterator[None]:
        """Gives an error what was paid for, if anything was."""
        try:
            yield
        except BlackboxProxyError as error:
            self.spending.lose(error.calls)
            usage = self.usage
            if usage.answered or usage.lost:
                error.partial = Result(
                    text="",
                    steps=(),
                    finish="error",
                    usage=usage,
                    exactness="approximate",
                    seconds=time.perf_counter() - self.started,
                    cost=self.spending.cost,
                    model=self.model,
                    notes=spent_notes(usage),
                    calls=tuple(self.spending.calls),
                )
            raise

    def _choice(self) -> Choice:
        """The odds of all options, by all that was said."""
        self.spending.work(self.local_seconds)
        self.spending.settle()
        masses, strings = self.masses, self._strings()
        if masses is None:
            raise TypeError("a choice is made when the API has answered")
        odds, options = choosing.chosen(masses, strings, self.scores[strings], alpha=self.alpha)
        return Choice(
            options=options,
            certified=odds.certified,
            usage=self.usage,
            seconds=time.perf_counter() - self.started,
            model=self.model,
            cost=self.spending.cost,
            calls=tuple(self.spending.calls),
            needs=tuple(NEEDS[lack] for lack in choosing.lacking(masses, odds, goes_on=self.goes_on)),
        )


def _scores(offsets: Offsets, strings: Sequence[bytes], prompt: Prompt) -> Scores:
    """The strings' scores; those of a pair closely, however small: a choice is made once, and its odds are shown."""
    if not isinstance(offsets, LocalPair):
        return offsets.score(b"", strings, prompt=prompt)
    asked = scored(b"", strings, vocabulary=offsets.vocabulary, spell=offsets.spell, tolerance=CLOSE, small=0.0)
    read = offsets.prompt(prompt)
    return run(asked, lambda paths: offsets.distributions(read, paths))
