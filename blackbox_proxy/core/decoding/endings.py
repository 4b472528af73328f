"""Where an answer is cut, although nobody ended it: at a stop string, or where it does nothing but repeat itself."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import final

from blackbox_proxy.core.text import first_stop, repeats
from blackbox_proxy.steering import Steering
from blackbox_proxy.types import Finish


@final
class Endings:
    """What cuts one answer; keeps as many of its last tokens as a repetition is looked for in."""

    def __init__(self, steering: Steering) -> None:
        self._stops = tuple(stop.encode() for stop in steering.stop)
        self._size = steering.repetition_stop
        self._last: Sequence[bytes] = ()

    def is_stopped(self, text: bytes) -> bool:
        """Whether the answer holds a stop string."""
        return first_stop(text, self._stops) is not None

    def cut(self, text: bytes, pieces: Iterable[bytes], *, whole: bool) -> Finish | None:
        """Why the answer is cut behind `text`, whose last tokens are `pieces`, behind those that were kept.

        whole: the text ends between two characters; inside one, no repetition ends an answer.
        """
        if self.is_stopped(text):
            return "stop_string"
        if not self._size or not whole:
            return None
        last = self._latest(pieces)
        return "repetition" if len(last) == self._size and repeats(b"".join(last)) else None

    def keep(self, pieces: Iterable[bytes]) -> None:
        """These tokens are part of the answer."""
        if self._size:
            self._last = self._latest(pieces)

    def _latest(self, pieces: Iterable[bytes]) -> Sequence[bytes]:
        return [*self._last, *pieces][-self._size :]
