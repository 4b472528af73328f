"""One run: the loop's questions turned into requests, and what they came to.

Knows who may draft, which requests a question becomes, what of a reply is booked, and what is left of an answer that
breaks off; no wire format, no formula, and not how a call is made (`engine`).
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from decimal import Decimal

from blackbox_proxy.api import Endpoint
from blackbox_proxy.core.decoding.api_answer import api_answer, called_answer, demanded_answer
from blackbox_proxy.core.decoding.collecting import collecting_steering
from blackbox_proxy.core.decoding.drafting import Drafts, Planner
from blackbox_proxy.core.decoding.given import Given
from blackbox_proxy.core.events import (
    ApiReveal,
    Asking,
    Begin,
    Drawing,
    Ending,
    Event,
    Evidence,
    Run,
)
from blackbox_proxy.core.money.spending import Spending, spent_notes
from blackbox_proxy.core.text import first_stop
from blackbox_proxy.errors import BlackboxProxyError, InputError, OverBudget, PromptError
from blackbox_proxy.local.controls import parted_note
from blackbox_proxy.run.asked import asks_of
from blackbox_proxy.run.calls import Answered, Batch, as_worded, goes_on_from, start_of
from blackbox_proxy.run.capping import afforded, capped
from blackbox_proxy.run.chunks import HeldChunks, held_for
from blackbox_proxy.run.labels import exactness_of, way_of
from blackbox_proxy.run.native import NativeTools, demand_of, schema_of
from blackbox_proxy.run.notes import blind_note, constraint_notes, recut_notes, respelled_note, uncertain_notes
from blackbox_proxy.run.sources import (
    BoundSource,
    LocalPair,
    Offsets,
    PairSource,
    StringSource,
    bound_source,
    check_scores,
    check_unconstrained,
    drafts_of,
    draws_whole,
    reached_by,
    read_by,
    whole_knobs,
    whole_source,
)
from blackbox_proxy.run.whole import HeldAnswers
from blackbox_proxy.steering import Steering
from blackbox_proxy.types import (
    Ask,
    Continuation,
    Exactness,
    Finish,
    Message,
    PairPrompt,
    Prefix,
    Prompt,
    Purpose,
    Reply,
    Result,
    Reveal,
    Step,
    TokenPath,
    Usage,
)


@dataclass(slots=True)
class Session:
    """One run's questions turned into calls, and what they cost; shared by all drivers.

    drafted: how many positions the API has sent. blind: how many replies showed nothing at their first one.
    respelled: how many spelt the answer so far with other escapes than it needs. waiting: how many requests are under
    way. cut: tokens that the last question asked for, where a budget allowed no more; 0 elsewhere. given, reference:
    the text to score, or the answer to collect the places of, where that is what the run is for. whole: the whole
    answers or chunks, where those are drawn. tools: those that the endpoint is sent as such. plan: makes another run of
    the one that all this describes.
    """

    api: Endpoint
    source: BoundSource
    steering: Steering
    prompt: str
    ids: TokenPath
    drafts: Drafts
    spending: Spending
    messages: tuple[Message, ...] = ()
    steps: list[Step] = field(default_factory=list)
    local_seconds: float = 0.0
    model: str = ""
    drafted: int = 0
    blind: int = 0
    respelled: int = 0
    waiting: int = 0
    cut: int = 0
    given: Given | None = None
    whole: HeldAnswers | HeldChunks | None = None
    tools: NativeTools | None = None
    reference: bytes | None = None
    plan: Callable[[Callable[[], Run]], Run] | None = None
    started: float = field(default_factory=time.perf_counter)

    @classmethod
    def open(
        cls,
        prompt: Prompt,
        pair_prompt: Prompt,
        *,
        api: Endpoint,
        offsets: Offsets,
        steering: Steering,
        planner: Planner | None = None,
        run: str = "",
    ) -> Session:
        """A run that answers a prompt; `pair_prompt` is what the source of offsets reads.

        Raises InputError where the endpoint, or the source, cannot do what the knobs ask for.
        """
        api = reached_by(api, steering.way)
        spending, can = Spending(run or uuid.uuid4().hex), api.capabilities()
        if draws_whole(steering, api):
            steering = whole_knobs(steering)
            texts = whole_source(offsets, pair_prompt, steering)
            asked = "" if can.chat else api.text(prompt)
            held, tools = held_for(steering, api), NativeTools.of(prompt, steering, api)
            return cls(api, texts, steering, asked, (), Drafts(), spending, prompt.messages, whole=held, tools=tools)
        if not can.logprobs:
            raise InputError(
                f"the adapter for {api.model!r} tells no log-probs, which steering token by token needs",
                hint="use way='answers', which draws whole answers and chooses one of them",
            )
        if can.continuation is Continuation.NONE:
            raise InputError(
                f"the adapter for {api.model!r} cannot go on from a given text, which steering token by token needs",
                hint="use an endpoint with /completions, way='answers', or `choose` between given answers",
            )
        text = "" if can.chat else api.text(prompt)
        drafts = drafts_of(steering, api, planner, guesses=isinstance(offsets, LocalPair))
        source, ids = bound_source(offsets, pair_prompt, text, api=api, steering=steering)
        tools = NativeTools.of(prompt, steering, api) if steering.chooses_nothing else None
        return cls(api, source, steering, text, ids, drafts, spending, prompt.messages, tools=tools)

    @classmethod
    def open_reference(
        cls,
        prompt: Prompt,
        pair_prompt: Prompt,
        reference: str,
        *,
        api: Endpoint,
        offsets: Offsets,
        steering: Steering,
    ) -> Session:
        """A run along a reference answer. Raises InputError as `open`, and for a source of offsets that is no pair."""
        check_unconstrained(steering, "a reference answer")
        steering = collecting_steering(steering)
        session = cls.open(prompt, pair_prompt, api=api, offsets=offsets, steering=steering)
        return replace(session, reference=reference.encode())

    @classmethod
    def open_given(cls, given: Given, *, api: Endpoint, offsets: Offsets, steering: Steering) -> Session:
        """A run that scores a text. Raises InputError where the endpoint does not give texts back."""
        api = reached_by(api, steering.way)
        if not api.capabilities().echo:
            raise InputError(
                f"the adapter for {api.model!r} does not tell log-probs of a text that it is sent",
                hint="set `echo` for this endpoint if it gives the prompt back with its log-probs",
            )
        source: BoundSource
        if isinstance(offsets, LocalPair):
            if given.text:
                read_by(offsets, Prompt(text=given.text.decode("utf-8")))
            source = PairSource(offsets, PairPrompt((), ()))
        else:
            check_scores(steering, type(offsets).__name__)
            source = StringSource(offsets, Prompt())
        return cls(api, source, steering, "", (), Drafts(), Spending(uuid.uuid4().hex), given=given)

    def loop(self) -> Run:
        return self._loop() if self.plan is None else self.plan(self._loop)

    def _loop(self) -> Run:
        if self.given is not None:
            return self.source.scoring(self.given, self.steering, self.api)
        if self.whole is not None:
            return self.whole.run()
        if self.reference is not None and isinstance(self.source, PairSource):
            return self.source.collecting(self.reference, self.steering, self.api)
        run = self.source.loop(self.steering, self.api, self.drafts)
        if self.tools is not None:
            return called_answer(self.steering, self.tools.chat.fields, written=self.tools.written, otherwise=run)
        if (demand := demand_of(self.steering, self.api)) is not None:
            return demanded_answer(self.steering, demand, otherwise=run)
        return api_answer(self.steering, otherwise=run) if self.steering.leaves_alone else run

    def asks(self, event: Asking | ApiReveal | Drawing) -> Batch:
        """The requests that a question of the loop becomes, to be sent at once."""
        tools = "" if self.tools is None else self.tools.chat.fields
        schema = schema_of(self.steering, self.api)
        asked = asks_of(event, self.api, self._prefix, schema=schema, tools=tools)
        purpose = Purpose(self.spending.run, len(self.steps))
        asks = afforded(asked, self.api, purpose, beyond=self.steering.draft)
        self.cut = 0 if asks is asked else max(ask.length for ask in asks)
        self.waiting = 1 if self.api.capabilities().prompt_lists and self.whole is None else len(asks)
        return Batch(asks, purpose)

    def _prefix(self, answer: bytes, path: TokenPath) -> Prefix:
        ids = self.ids + path if self.steering.event == "ids" else None
        return Prefix(self.prompt, answer, self.messages, ids)

    def local(self, event: Event) -> Evidence:
        """What the source of offsets has to say to a question."""
        before = time.perf_counter()
        if isinstance(event, Begin):
            self.source = self.source.begun(Prompt(text=event.text.decode("utf-8")))
        evidence = self.source.answer(event)
        seconds = time.perf_counter() - before
        self.local_seconds += seconds
        self.spending.work(seconds)
        return replace(evidence, seconds=seconds)

    def book(self, answered: Answered, batch: Batch) -> Sequence[Reply]:
        """Count what the replies took; say of one that was only asked in words to go on that it is not exact.

        Raises the error that was given in place of a reply.
        """
        self.waiting = 0
        self._pay(answered.replies, batch.asks)
        if answered.error is not None:
            raise answered.error
        worded = self.api.capabilities().continuation is Continuation.APPROXIMATE
        both = zip(batch.asks, answered.replies, strict=True)
        return [as_worded(reply) if worded and goes_on_from(ask) else reply for ask, reply in both]

    def gather(self, answered: Answered) -> Evidence:
        """Keep the texts that were drawn and came. Raises the error of the others where there is none at all."""
        self.waiting = 0
        self.model = next((reply.model for reply in answered.replies if reply.model), self.model)
        if self.tools is not None:
            answered = replace(answered, replies=list(map(self.tools.as_texts, answered.replies)))
        return Evidence() if self.whole is None else self.whole.gather(answered, self.spending)

    def _pay(self, replies: Sequence[Reply], asks: Sequence[Ask]) -> None:
        for reply in replies:
            self.drafted += len(reply.positions)
            self.respelled += reply.respelled
            self.blind += bool(reply.positions) and not reply.positions[0].top
            self.model = reply.model or self.model
        if any(reply.drawn for reply in replies):
            for reply in replies:
                self.spending.hold(reply, reply.usage.output)
        elif len(replies) == len(asks) and not isinstance(asks[0], Reveal):
            self.spending.draft(replies, [start_of(ask) for ask in asks])
        else:
            for reply in replies:
                self.spending.tell(reply)

    def salvage(self, answered: Callable[[], Answered], batch: Batch) -> None:
        """The pair failed: book what the API was asked meanwhile, since that is paid for all the same."""
        try:
            self.book(answered(), batch)
        except BlackboxProxyError as error:
            self.lose(error)

    def lose(self, error: BlackboxProxyError) -> None:
        """A call ended without a reply that could be used; its attempts are booked all the same."""
        self.waiting = 0
        self.spending.lose(error.calls)

    @contextmanager
    def keeping(self) -> Iterator[None]:
        """Gives an error what there is of the answer, unless there is nothing."""
        try:
            yield
        except BlackboxProxyError as error:
            self.lose(error)
            self.spending.settle()
            used = self.spending.usage
            if self.steps or used.answered or used.lost:
                error.partial = self.partial()
            raise

    def partial(self) -> Result:
        """What there is of the answer; a call that is still under way counts as lost."""
        if self.whole is not None:
            return self.result(self.whole.unscored())
        kept = sum(step.is_asked for step in self.steps)
        return self.result(Ending("error", max(0, self.drafted - kept), ()))

    def keep(self, step: Step) -> Step:
        """A token was emitted."""
        self.steps.append(step)
        if self.whole is None:
            self.spending.keep(step)
        return step

    def ended(self, ending: Ending) -> Result:
        """The whole answer."""
        if self.whole is not None:
            self.whole.take(ending, self.spending)
        elif ending.samples:  # an answer that the endpoint gave as a whole; its step keeps one of its tokens
            self.spending.take(0, max(sum(sample.tokens for sample in ending.samples) - len(self.steps), 0))
        self.spending.settle()
        result = self.result(ending)
        return capped(result, self.cut) if self.cut and ending.finish == "length" else result

    def cut_short(self, error: OverBudget | PromptError) -> Result:
        """The answer so far, where the next request could have passed a budget, or where a context is full.

        Raises an error that is another one.
        """
        finish: Finish = "budget"
        if isinstance(error, PromptError):
            if not error.context or not self.steps:
                raise error
            finish = "length"
        partial = self.partial()
        return replace(partial, finish=finish, notes=(*partial.notes, error.message))

    def result(self, ending: Ending) -> Result:
        text = b"".join(step.piece for step in self.steps)
        cut = first_stop(text, [stop.encode() for stop in self.steering.stop])
        forced = any(step.forced for step in self.steps)
        by_strings = self.whole is None and self.steering.event == "bytes" and not forced and not ending.is_local
        known = self.api.vocabulary if by_strings else None
        under_way = Usage(requests=self.waiting, lost=self.waiting)
        usage = replace(self.spending.usage + under_way, wasted=ending.wasted, local_seconds=self.local_seconds)
        return Result(
            text=text[:cut].decode("utf-8", "replace"),
            steps=tuple(self.steps),
            finish=ending.finish,
            usage=usage,
            exactness=self._exactness(ending),
            seconds=time.perf_counter() - self.started,
            cost=self._cost(ending),
            model=self.model,
            notes=(
                *ending.notes,
                *ending.remarks,
                *(() if self.whole is None else self.whole.failures),
                *(() if ending.is_local else parted_note(self.prompt, self.messages)),
                *blind_note(self.blind),
                *respelled_note(self.respelled),
                *(() if known is None else recut_notes(self.steps, known, replies=usage.answered)),
                *uncertain_notes(self.steps),
                *(constraint_notes(self.steering, ending.finish, text[:cut]) if self._by_tokens else ()),
                *spent_notes(usage),
            ),
            calls=tuple(self.spending.calls),
            samples=ending.samples if self.whole is None else self.whole.priced(ending),
            way=way_of(self.steps, ending, self.api.capabilities(), drawn=self.whole and self.whole.way),
            sureness=ending.sureness,
        )

    @property
    def _by_tokens(self) -> bool:
        """Whether an answer is steered token by token."""
        return self.whole is None and self.given is None

    def _cost(self, ending: Ending) -> Decimal | None:
        """US dollars; of an answer that nobody was asked for, none."""
        return Decimal(0) if ending.is_local and not self.spending.calls else self.spending.cost

    def _exactness(self, ending: Ending) -> Exactness:
        if ending.is_local:
            return "local"
        if self.whole is not None:
            return self.whole.exactness
        return "approximate" if ending.notes else exactness_of(self.steps)
