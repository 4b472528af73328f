"""The chunks of one run: the replies that hold them, which text each goes on from, and why others did not come."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from decimal import Decimal
from typing import final

from blackbox_proxy.api import Endpoint
from blackbox_proxy.core.decoding.acceptors import ANY_WHOLE_TEXT, WholeTexts
from blackbox_proxy.core.decoding.chunks import chunked_answers
from blackbox_proxy.core.decoding.whole import seed_of, written_in
from blackbox_proxy.core.events import ApiAnswers, ApiChunks, Drawing, Ending, Evidence, Run
from blackbox_proxy.core.money.spending import Spending, calls_of, cost_of
from blackbox_proxy.errors import InputError, OverBudget
from blackbox_proxy.run.calls import Answered
from blackbox_proxy.run.sources import texts_of
from blackbox_proxy.run.whole import HeldAnswers, draws, order_of
from blackbox_proxy.steering import Steering
from blackbox_proxy.types import Ask, Continuation, Draw, Exactness, Prefix, Reply, Sample, Sampling, Score, WayTaken

_GOES_ON = (Continuation.EXACT, Continuation.PREFILL)


def held_for(steering: Steering, api: Endpoint) -> HeldAnswers | HeldChunks:
    """What the texts that are drawn are held in. Raises InputError for chunks where the endpoint cannot go on."""
    if steering.way != "chunks":
        return HeldAnswers(steering, texts=texts_of(steering))
    if api.capabilities().continuation not in _GOES_ON:
        raise InputError(
            f"the adapter for {api.model!r} cannot go on from exactly a given text, which way='chunks' needs",
            hint="use way='answers', or an endpoint with /completions or prefill",
        )
    return HeldChunks(steering, constrained=texts_of(steering))


def drawing(event: Drawing, api: Endpoint, prefix: Prefix, *, schema: str = "", tools: str = "") -> list[Draw]:
    """The requests that draw whole answers or chunks. schema, tools: of whole answers, see `Draw`."""
    if isinstance(event, ApiAnswers):
        return list(draws(event, api, prefix, schema=schema, tools=tools))
    return list(chunk_draws(event, api, prefix))


def chunk_draws(event: ApiChunks, api: Endpoint, prefix: Prefix) -> Iterator[Draw]:
    """As few requests for each beginning as the endpoint allows, each with a seed of its own."""
    most, number = max(api.capabilities().answers_at_once, 1), event.first
    for one in event.beginnings:
        for at in range(0, one.count, most):
            sampling = Sampling(event.temperature, event.top_p, seed_of(event.seed, number + at))
            behind = replace(prefix, answer=one.text)
            yield Draw(api.model, behind, sampling, one.length, min(most, one.count - at))
        number += one.count


@final
@dataclass(slots=True)
class HeldChunks:
    """The replies so far, each held in the books too.

    Attributes:
        steering: The knobs of the answer.
        replies: Those that came.
        failures: Why others did not.
        texts: What was gone on with last.
        constrained: Which texts may be answers.
    """

    steering: Steering
    replies: list[Reply] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)
    texts: tuple[bytes, ...] = ()
    constrained: WholeTexts = ANY_WHOLE_TEXT

    @property
    def way(self) -> WayTaken:
        """How such answers are steered."""
        return "chunks"

    @property
    def exactness(self) -> Exactness:
        """Beams that are drawn approach the whole distribution; the best of some need not be the best of all."""
        return "sampled" if self.steering.pick == "draw" else "approximate"

    def run(self) -> Run:
        """The loop that asks for them."""
        return chunked_answers(self.steering, texts=self.constrained)

    def gather(self, answered: Answered, spending: Spending) -> Evidence:
        """Keep the replies that came, in spite of those that did not.

        Raises their error where there is none at all, unless it is that of a budget and others came before.
        """
        both = zip(answered.replies, answered.asks, strict=True)
        came = sorted(((_behind(ask), reply) for reply, ask in both), key=lambda one: (one[0], order_of(one[1])))
        for _, reply in came:
            self.replies.append(reply)
            spending.hold(reply, written_in(reply))
        error = answered.error
        if error is not None:
            if not came and not (self.replies and isinstance(error, OverBudget)):
                raise error
            spending.lose(error.calls)
            self.failures.append(error.message)
        self.texts = tuple(dict.fromkeys(text for text, _ in came)) or self.texts
        return Evidence(replies=[reply for _, reply in came], behind=[text for text, _ in came])

    def take(self, ending: Ending, spending: Spending) -> None:
        """Book the tokens of the chosen text as kept; all others are wasted."""
        for sample, parts in zip(ending.samples, ending.parts, strict=True):
            if sample.chosen:
                for at, tokens in parts:
                    spending.take(at, tokens)

    def unscored(self) -> Ending:
        """How a run ends that broke off: with the texts that were gone on with last."""
        written = sum(written_in(reply) for reply in self.replies)
        samples = tuple(Sample(text.decode(), "error", 1) for text in self.texts)
        return Ending("error", written, (), samples, ((),) * len(samples))

    def priced(self, ending: Ending) -> tuple[Sample, ...]:
        """The samples with what they cost: of each of their replies the part of their tokens."""
        both = zip(ending.samples, ending.parts, strict=True)
        return tuple(replace(sample, cost=self._cost(parts)) for sample, parts in both)

    def _cost(self, parts: tuple[tuple[int, int], ...]) -> Decimal | None:
        """None where that of one reply is unknown."""
        total = Decimal(0)
        for at, tokens in parts:
            cost = cost_of(calls_of(self.replies[at]))
            if cost is None:
                return None
            total += cost * tokens / max(written_in(self.replies[at]), 1)
        return total if parts else None


def _behind(ask: Ask) -> bytes:
    return b"" if isinstance(ask, Score) else ask.prefix.answer
