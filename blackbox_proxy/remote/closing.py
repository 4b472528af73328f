"""Connections that are closed on leaving a `with` block, or an `async with` block."""

from __future__ import annotations

from abc import ABC, abstractmethod
from types import TracebackType
from typing import Self


class Closing(ABC):
    """Has `close` and `aclose`, which both blocks call."""

    __slots__ = ()

    @abstractmethod
    def close(self) -> None:
        """Close the connections of sync calls."""

    @abstractmethod
    async def aclose(self) -> None:
        """Close all connections, in the event loop that used them."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None
    ) -> None:
        await self.aclose()
