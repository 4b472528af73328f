"""Several requests at once: replies in order, few at a time, and nothing that was paid for is forgotten."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import pytest

from blackbox_proxy.core.money.spending import used_by
from blackbox_proxy.errors import ApiUnreachable, BlackboxProxyError
from blackbox_proxy.run.calls import AT_ONCE, Batch, asend_all, send_all
from blackbox_proxy.run.steerer import Steerer, steer
from blackbox_proxy.steering import Steering
from blackbox_proxy.types import (
    NO_RUN,
    Ask,
    Call,
    Capabilities,
    Generate,
    Prefix,
    Prompt,
    Purpose,
    Reply,
    Result,
    Usage,
)
from tests.core.toys import OTHER, TOY, toy_api, toy_pair


@dataclass
class Failing:
    """A toy API that takes no lists, and fails at some calls; counts how many are under way."""

    fails: Sequence[int] = ()
    model: str = "toy"
    vocabulary: None = None
    most: int = 0
    made: int = 0
    _inside: int = 0
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def capabilities(self) -> Capabilities:
        return Capabilities(top_k=5, token_ids=True)

    def text(self, prompt: Prompt) -> str:
        return prompt.text

    def send(self, ask: Ask, _purpose: Purpose = NO_RUN, /) -> Reply:
        with self._lock:
            self.made += 1
            number = self.made
            self._inside += 1
            self.most = max(self.most, self._inside)
        try:
            if number in self.fails:
                error = ApiUnreachable(f"call {number} got lost", hint="try again")
                error.calls = (Call(0, Usage(requests=1, lost=1), None),)
                raise error
            return toy_api(5, OTHER).send(ask)
        finally:
            with self._lock:
                self._inside -= 1

    async def asend(self, ask: Ask, _purpose: Purpose = NO_RUN, /) -> Reply:
        return await asyncio.to_thread(self.send, ask)


def asks(count: int) -> list[Ask]:
    return [Generate("toy", Prefix("ab", b"a" * n), 5) for n in range(count)]


@pytest.mark.parametrize("count", [1, 2, AT_ONCE, AT_ONCE + 3, 3 * AT_ONCE])
def test_replies_come_in_the_order_of_the_asks(count: int) -> None:
    api = toy_api(5, OTHER)
    wanted = [api.send(ask).positions for ask in asks(count)]
    one_by_one, awaited = Failing(), Failing()
    for made in (send_all(one_by_one, Batch(asks(count))), asyncio.run(asend_all(awaited, Batch(asks(count))))):
        assert made.error is None
        assert [reply.positions for reply in made.replies] == wanted
    assert max(one_by_one.most, awaited.most) <= AT_ONCE


def test_a_list_is_one_request() -> None:
    api = toy_api(5, OTHER)
    assert sum(reply.usage.requests for reply in send_all(api, Batch(asks(5))).replies) == 1
    assert sum(reply.usage.requests for reply in asyncio.run(asend_all(api, Batch(asks(5)))).replies) == 1
    alone = replace(api, prompt_lists=False)
    assert sum(reply.usage.requests for reply in send_all(alone, Batch(asks(5))).replies) == 5


def test_what_came_in_spite_of_an_error_is_given_with_it() -> None:
    made = send_all(Failing(fails=(2, 4)), Batch(asks(6)))
    assert isinstance(made.error, ApiUnreachable)
    assert used_by(made.error.calls) == Usage(requests=2, lost=2)
    assert len(made.replies) == 4


def answer(api: Failing, steering: Steering, *, awaited: bool) -> Result:
    asked, pair = Prompt(text="ab"), toy_pair(3, TOY)
    if awaited:
        return asyncio.run(Steerer(api, pair, steering).acomplete(asked))
    return steer(asked, api=api, offsets=pair, steering=steering)


@pytest.mark.parametrize("awaited", [False, True])
def test_an_answer_that_breaks_off_counts_what_was_paid(*, awaited: bool) -> None:
    """Of nine requests of one round the third is lost; the others have an output of a token each."""
    steering = Steering(max_tokens=9, drafter="pair_prefixes", draft=8)
    api = Failing(fails=(3,))
    with pytest.raises(BlackboxProxyError) as caught:
        answer(api, steering, awaited=awaited)
    partial = caught.value.partial
    assert partial is not None
    assert partial.usage.lost == 1
    assert partial.usage.requests == api.made
    assert partial.usage.answered == partial.usage.output == api.made - 1
    assert partial.usage.wasted == partial.usage.output
