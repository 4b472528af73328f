"""Requests that are under way while something else is done: one, or several at once.

An endpoint that takes a list of prompts is sent one request; any other gets a few at a time, each in its own. Knows no
formula, no wire format and no price.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from functools import partial
from typing import Generic, Protocol, TypeVar, final, runtime_checkable

from blackbox_proxy.api import Endpoint
from blackbox_proxy.errors import BlackboxProxyError
from blackbox_proxy.types import NO_RUN, Ask, Draw, Purpose, Reply

T = TypeVar("T")

AT_ONCE = 8
"""Most requests that one answer has under way at a time."""


@runtime_checkable
class TakesLists(Protocol):
    """An endpoint that answers several asks in one request."""

    def send_list(self, asks: Sequence[Ask], purpose: Purpose = NO_RUN, /) -> Sequence[Reply]: ...

    async def asend_list(self, asks: Sequence[Ask], purpose: Purpose = NO_RUN, /) -> Sequence[Reply]: ...


@dataclass(frozen=True, slots=True)
class Batch:
    """Some asks that are sent at once, and what they are booked under."""

    asks: Sequence[Ask]
    purpose: Purpose = NO_RUN


@dataclass(frozen=True, slots=True)
class Answered:
    """What became of some asks: the replies in order, or those that came in spite of `error`, the first there was.

    asks: what each of the replies answers.
    """

    replies: Sequence[Reply]
    error: BlackboxProxyError | None = None
    asks: Sequence[Ask] = ()


@final
class PendingCall(Generic[T]):
    """A call in a thread of its own: a daemon, so that whoever interrupts need not wait until the API has answered."""

    def __init__(self, call: Callable[[], T]) -> None:
        self._future: Future[T] = Future()
        self._thread = threading.Thread(target=self._run, args=(call,), name="api", daemon=True)
        self._thread.start()

    def _run(self, call: Callable[[], T]) -> None:
        try:
            self._future.set_result(call())
        except BaseException as error:  # noqa: BLE001 (it is raised where the result is asked for)
            self._future.set_exception(error)

    def result(self) -> T:
        """What the call gave, or what it raised; the thread has ended then."""
        self._thread.join()
        return self._future.result()


Outcome = Sequence[Reply] | BlackboxProxyError
"""What one request brought: replies, or an error of ours."""


def send_all(api: Endpoint, batch: Batch) -> Answered:
    """The replies to all asks. An error of ours is given back, since what the others cost is to be counted."""
    asks, purpose = batch.asks, batch.purpose
    lists = _lists(api, asks)
    if lists is not None:
        return _answered([_tried(lambda: lists.send_list(asks, purpose))], [asks])
    if len(asks) == 1:
        return _answered([_tried(lambda: [api.send(asks[0], purpose)])], [asks])
    calls = [PendingCall(_some(api, asks[at::AT_ONCE], purpose)) for at in range(min(AT_ONCE, len(asks)))]
    outcomes = [call.result() for call in calls]
    return _answered([outcomes[at % AT_ONCE][at // AT_ONCE] for at in range(len(asks))], [[ask] for ask in asks])


async def asend_all(api: Endpoint, batch: Batch) -> Answered:
    """`send_all` for asyncio. Where it is cancelled, the requests are too."""
    lists = _lists(api, batch.asks)
    if lists is not None:
        return _answered([await _atried(lambda: lists.asend_list(batch.asks, batch.purpose))], [batch.asks])
    room = asyncio.Semaphore(AT_ONCE)

    async def one(ask: Ask) -> Sequence[Reply]:
        async with room:
            return [await api.asend(ask, batch.purpose)]

    outcomes = await asyncio.gather(*(_atried(partial(one, ask)) for ask in batch.asks))
    return _answered(outcomes, [[ask] for ask in batch.asks])


def _lists(api: Endpoint, asks: Sequence[Ask]) -> TakesLists | None:
    """The endpoint, where it can take these asks as a list."""
    if len(asks) < 2 or isinstance(asks[0], Draw) or not api.capabilities().prompt_lists:
        return None
    return api if isinstance(api, TakesLists) else None


def _some(api: Endpoint, asks: Sequence[Ask], purpose: Purpose) -> Callable[[], list[Outcome]]:
    return lambda: [_tried(lambda ask=ask: [api.send(ask, purpose)]) for ask in asks]  # type: ignore[misc]


def _tried(call: Callable[[], Sequence[Reply]]) -> Outcome:
    try:
        return call()
    except BlackboxProxyError as error:
        return error


async def _atried(call: Callable[[], Awaitable[Sequence[Reply]]]) -> Outcome:
    try:
        return await call()
    except BlackboxProxyError as error:
        return error


def _answered(outcomes: Sequence[Outcome], asked: Sequence[Sequence[Ask]]) -> Answered:
    """All replies; of several errors the first, which takes over what the others took. asked: what each answers."""
    came = [(one, asks) for one, asks in zip(outcomes, asked, strict=True) if not isinstance(one, BlackboxProxyError)]
    replies, asks = [reply for one, _ in came for reply in one], [ask for _, group in came for ask in group]
    errors = [one for one in outcomes if isinstance(one, BlackboxProxyError)]
    if not errors:
        return Answered(replies, None, asks)
    errors[0].calls = tuple(call for error in errors for call in error.calls)
    return Answered(replies, errors[0], asks)
