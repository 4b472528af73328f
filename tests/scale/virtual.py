"""An event loop whose clock jumps to whatever comes next: minutes of waiting pass in no time, and always alike."""

from __future__ import annotations

import asyncio
import selectors
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar, final

Done = TypeVar("Done")


class _JumpingSelector(selectors.SelectSelector):
    """Waits for nothing: the time that it would wait is over."""

    now = 0.0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        assert timeout is not None, "everybody waits, and nobody is to come"
        self.now += max(0.0, timeout)
        return super().select(0)


@final
class VirtualLoop(asyncio.SelectorEventLoop):
    """Its time begins at 0. What is given to threads is done at once, in no time."""

    def __init__(self) -> None:
        self._jumping = _JumpingSelector()
        super().__init__(self._jumping)

    def time(self) -> float:
        return self._jumping.now

    def run_in_executor(  # type: ignore[override]  # typeshed has type variables there that only 3.14 can write
        self,
        _executor: object,
        func: Callable[..., Any],
        *args: Any,  # noqa: ANN401 (whatever the function takes)
    ) -> asyncio.Future[Any]:
        future = self.create_future()
        future.set_result(func(*args))
        return future


def run_virtual(main: Callable[[VirtualLoop], Coroutine[Any, Any, Done]]) -> Done:
    """What a coroutine gives in such a loop."""
    loop = VirtualLoop()
    try:
        return loop.run_until_complete(main(loop))
    finally:
        loop.close()
