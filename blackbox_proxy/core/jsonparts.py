"""Limits of JSON that stands in parts of another text, such as the arguments of calls. Pure.

Where JSON begins is known by what stands in front of it. An object ends with its last brace; behind it another part may
begin.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import final

from blackbox_proxy.core.jsontext import JsonLimits, JsonSpot, MustEnd

_NO_JSON = ord("<")
"""A byte with which no JSON begins."""

_START = JsonSpot()


@final
@dataclass(frozen=True, slots=True)
class JsonPart:
    """A part of a text that is JSON. before, is_all: see `constraints.JsonWithin`; limits: its own."""

    before: bytes
    limits: JsonLimits
    is_all: bool = False


@final
class JsonParts:
    """All parts of one text that may be JSON.

    Attributes:
        longest: Most bytes that stand in front of one.
        lasts: The last bytes of what stands in front.
    """

    def __init__(self, parts: Sequence[JsonPart]) -> None:
        self._parts = parts
        self.longest = max((len(part.before) for part in parts), default=0)
        self.lasts = frozenset(part.before[-1] for part in parts if part.before)

    def begun(self, behind: bytes, *, is_all: bool) -> JsonPart | None:
        """The part that begins behind a text; that with most in front of it. is_all: nothing stands before the text."""
        begun = [
            part
            for part in self._parts
            if (is_all and part.before == behind if part.is_all else behind.endswith(part.before))
        ]
        return max(begun, key=lambda part: len(part.before), default=None)

    def slack(self) -> int:
        """How many bytes any JSON may have before anything must end."""
        return min((part.limits.slack(_START) for part in self._parts), default=0)


@final
@dataclass(frozen=True, slots=True)
class PartSpot:
    """A place in a text with JSON in some parts.

    Attributes:
        parts: All of them.
        behind: The text since the JSON before, as much of it as may stand in front of JSON.
        is_all: Whether that is all of it.
        part: Which part the place is in; None outside of all.
        spot: Where it stands in that part.
    """

    parts: JsonParts
    behind: bytes = b""
    is_all: bool = True
    part: JsonPart | None = None
    spot: JsonSpot = _START

    def after(self, byte: int) -> PartSpot:
        """The place behind one more byte."""
        if self.part is None or (self.spot == _START and byte == _NO_JSON):
            return self._outside(byte)
        spot = self.spot.after(byte)
        if self.spot.opened and not spot.opened:
            return PartSpot(self.parts)
        return replace(self, spot=spot)

    def _outside(self, byte: int) -> PartSpot:
        behind = self.behind + bytes([byte])
        is_all = self.is_all and len(behind) <= self.parts.longest
        behind = behind[max(len(behind) - self.parts.longest, 0) :]
        part = self.parts.begun(behind, is_all=is_all) if byte in self.parts.lasts else None
        return PartSpot(self.parts, behind, is_all, part)


@final
class PartLimits:
    """The limits of each part (`jsontext.TextLimits`); outside of all nothing must end."""

    def __init__(self, parts: Sequence[JsonPart]) -> None:
        self._parts = JsonParts(parts)

    @property
    def start(self) -> PartSpot:
        """Before all text: in a part that has nothing in front of it, where there is one."""
        return PartSpot(self._parts, part=self._parts.begun(b"", is_all=True))

    def endings(self, place: PartSpot) -> Iterator[MustEnd]:
        """See `TextLimits`."""
        return iter(()) if place.part is None else place.part.limits.endings(place.spot)

    def slack(self, place: PartSpot) -> int:
        """See `TextLimits`: outside, JSON may begin with the next byte."""
        return self._parts.slack() if place.part is None else place.part.limits.slack(place.spot)

    def words(self, place: PartSpot) -> str | None:
        """See `TextLimits`."""
        return None if place.part is None else place.part.limits.words(place.spot)
