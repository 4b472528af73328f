"""The whole answers of one run: the replies that hold them, what of each is kept, and why others did not come."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import final

from blackbox_proxy.api import Endpoint
from blackbox_proxy.core.decoding.acceptors import ANY_WHOLE_TEXT, WholeTexts
from blackbox_proxy.core.decoding.whole import kept_draw, merged, priced, seed_of, whole_answers, written_in
from blackbox_proxy.core.events import ApiAnswers, Ending, Evidence, Run
from blackbox_proxy.core.money.spending import Spending, calls_of, cost_of
from blackbox_proxy.run.calls import Answered
from blackbox_proxy.steering import Steering
from blackbox_proxy.types import Draw, Exactness, Prefix, Reply, Sample, Sampling, WayTaken


def draws(event: ApiAnswers, api: Endpoint, prefix: Prefix, *, schema: str = "", tools: str = "") -> Iterator[Draw]:
    """As few requests as the endpoint allows, each with a seed of its own. schema, tools: see `Draw`."""
    most = max(api.capabilities().answers_at_once, 1)
    for at in range(0, event.count, most):
        sampling = Sampling(event.temperature, event.top_p, seed_of(event.seed, event.first + at))
        count = min(most, event.count - at)
        yield Draw(api.model, prefix, sampling, event.length, count, schema=schema, tools=tools)


@final
@dataclass(slots=True)
class HeldAnswers:
    """The replies so far, each held in the books too.

    Attributes:
        steering: The knobs of the answer.
        replies: Those that came.
        failures: Why others did not.
    """

    steering: Steering
    replies: list[Reply] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)
    texts: WholeTexts = ANY_WHOLE_TEXT

    @property
    def way(self) -> WayTaken:
        """How such answers are steered."""
        return "answers"

    @property
    def exactness(self) -> Exactness:
        """Of an answer that is one of several."""
        return "sampled"

    def run(self) -> Run:
        """The loop that asks for them."""
        return whole_answers(self.steering, texts=self.texts)

    def gather(self, answered: Answered, spending: Spending) -> Evidence:
        """Keep the replies that came, in spite of those that did not. Raises their error where there is none at all.

        Without seeds all requests are equal, so a replay may hand out their replies in any order: they are put in one.
        """
        came = sorted(answered.replies, key=order_of)
        for reply in came:
            self.replies.append(reply)
            spending.hold(reply, written_in(reply))
        error = answered.error
        if error is not None:
            if not self.replies:
                raise error
            spending.lose(error.calls)
            self.failures.append(error.message)
        return Evidence(replies=came)

    def take(self, ending: Ending, spending: Spending) -> None:
        """Book the tokens of one draw of the chosen answer as kept; all others are wasted."""
        for sample in ending.samples:
            if sample.chosen:
                spending.take(*kept_draw(self.replies, sample, self.steering, texts=self.texts))

    def unscored(self) -> Ending:
        """How a run ends whose answers nobody could weigh."""
        samples = tuple(merged(self.replies, self.steering, texts=self.texts))
        return Ending("error", sum(one.tokens for one in samples), (), samples)

    def priced(self, ending: Ending) -> tuple[Sample, ...]:
        """The samples with what they cost."""
        costs = [cost_of(calls_of(reply)) for reply in self.replies]
        return priced(ending.samples, self.replies, costs, steering=self.steering, texts=self.texts)


def order_of(reply: Reply) -> tuple[list[str], int, int]:
    """By what replies to equal requests are put in order."""
    return [drawn.text for drawn in reply.drawn], reply.usage.output, reply.usage.cached
