"""Drives the token loop: one answer, steered, against a live API and a local source of offsets.

`Stream` is for plain code, `AsyncStream` for asyncio; both drive the same generator (core.decoding.loop) and give the
same answer. While the API is answering, the pair already reads the text that both stand at. An error carries what there
was of the answer until then, and what was paid for it (`BlackboxProxyError.partial`). Knows no wire format, no model
file and no formula.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Generator, Iterator
from dataclasses import replace
from typing import Self, final

from blackbox_proxy.core.events import ApiReveal, Asking, Begin, Drawing, Evaluate, Evidence, ScoreStrings
from blackbox_proxy.errors import InputError, OverBudget, PromptError
from blackbox_proxy.run.calls import PendingCall, asend_all, send_all
from blackbox_proxy.run.session import Session
from blackbox_proxy.types import Result, Step


def _both(session: Session, event: Asking) -> Evidence:
    """The API's replies, and meanwhile what the pair has to say."""
    before = time.perf_counter()
    asks = session.asks(event)
    call = PendingCall(lambda: send_all(session.api, asks))
    try:
        evidence = session.local(event)
    except Exception:
        session.salvage(call.result, asks)
        raise
    replies = session.book(call.result(), asks)
    return replace(evidence, replies=replies, seconds=time.perf_counter() - before)


async def _aboth(session: Session, event: Asking) -> Evidence:
    """`_both` for asyncio. Where it is cancelled, the call is too."""
    before = time.perf_counter()
    asks = session.asks(event)
    call = asyncio.ensure_future(asend_all(session.api, asks))
    try:
        evidence = await asyncio.to_thread(session.local, event)
    except Exception:
        await asyncio.wait([call])
        session.salvage(call.result, asks)
        raise
    else:
        replies = session.book(await call, asks)
        return replace(evidence, replies=replies, seconds=time.perf_counter() - before)
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
                elif isinstance(event, Drawing):
                    evidence = session.gather(send_all(session.api, session.asks(event)))
                elif isinstance(event, Evaluate | ScoreStrings | Begin):
                    evidence = session.local(event)
        except StopIteration as stop:
            return session.ended(stop.value)
        except (OverBudget, PromptError) as error:
            return session.cut_short(error)
        if isinstance(event, Step):
            yield session.keep(event)


class _Answer:
    """What there is of an answer, while it is made and afterwards."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._result: Result | None = None

    @property
    def partial(self) -> Result:
        """What there is of the answer so far, with the finish "error", and what was paid for it."""
        return self._session.partial()

    def _whole(self) -> Result:
        """The result of an answer whose steps are through."""
        if self._result is None:
            raise InputError("the stream broke off, so it has no result", hint="see the error before, and `partial`")
        return self._result


@final
class Stream(_Answer):
    """A steered answer while it is made: iterate over its steps; `result` is there when they are through.

    `partial` is there at any time, also where the answer broke off or was interrupted.
    """

    def __init__(self, session: Session) -> None:
        super().__init__(session)
        self._drive = _drive(session)

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
        return self._whole()


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
                elif isinstance(event, Drawing):
                    evidence = session.gather(await asend_all(session.api, session.asks(event)))
                elif isinstance(event, Evaluate | ScoreStrings | Begin):
                    evidence = await asyncio.to_thread(session.local, event)
        except StopIteration as stop:
            yield session.ended(stop.value)
            return
        except (OverBudget, PromptError) as error:
            yield session.cut_short(error)
            return
        if isinstance(event, Step):
            yield session.keep(event)


@final
class AsyncStream(_Answer):
    """`Stream` for asyncio: iterate over its steps; `await stream.result()` makes what is left of the answer.

    Where its task is cancelled, or after `aclose`, nothing more is asked of the API; what the pair has under way in its
    thread is finished there.
    """

    def __init__(self, session: Session) -> None:
        super().__init__(session)
        self._drive = _adrive(session)

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
        return self._whole()

    async def aclose(self) -> None:
        """Ask for nothing more."""
        await self._drive.aclose()
