"""Where a text of JSON stands, byte by byte, and what must end there: limits where a schema states none. Pure.

A string, a number, an array or an object that a schema does not bound could go on for ever. Beyond a limit it ends at
the first place where the schema lets it. Nothing that is shorter is refused, and what the schema demands still comes.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, Generic, Protocol, Self, TypeVar, final

from blackbox_proxy.core.text import shared_bytes

_OPENING, _CLOSING = b"[{", {ord("["): b"]", ord("{"): b"}"}
_QUOTE, _ESCAPE, _UNICODE, _COMMA = b'"\\u,'
_STARTS, _NUMBER, _HEXES = b"-0123456789", b"-+.eE0123456789", 4
_EVERY = bytes(range(256))


@final
@dataclass(frozen=True, slots=True)
class JsonSpot:
    """A place in a text of JSON.

    Attributes:
        inside: What is open there besides arrays and objects: a string (`"`), a number (`0`), or neither (``).
        run: Characters of the string so far, as they are meant, or of the number.
        escape: Bytes of an escape that are still to come; -1 for the one that says which.
        opened: The arrays and objects that are open, outermost first: how they begin, and their commas so far.
    """

    inside: str = ""
    run: int = 0
    escape: int = 0
    opened: tuple[tuple[int, int], ...] = ()

    def after(self, byte: int) -> JsonSpot:
        """The place behind one more byte of JSON."""
        if self.inside == '"':
            return self._in_string(byte)
        if self.inside and byte in _NUMBER:
            return replace(self, run=self.run + 1)
        if byte in _STARTS:
            return replace(self, inside="0", run=1)
        if byte == _QUOTE:
            return replace(self, inside='"', run=0)
        return JsonSpot(opened=self._around(byte))

    def _in_string(self, byte: int) -> JsonSpot:
        if self.escape:
            more = _HEXES if byte == _UNICODE else 0
            escape = more if self.escape < 0 else self.escape - 1
            return replace(self, escape=escape, run=self.run + (not escape))
        if byte == _ESCAPE:
            return replace(self, escape=-1)
        if byte == _QUOTE:
            return JsonSpot(opened=self.opened)
        return replace(self, run=self.run + ((byte & 0xC0) != 0x80))

    def _around(self, byte: int) -> tuple[tuple[int, int], ...]:
        """What is open behind a byte that is part of no string and of no number."""
        if byte in _OPENING:
            return (*self.opened, (byte, 0))
        if not self.opened:
            return ()
        opening, commas = self.opened[-1]
        if byte == _COMMA:
            return (*self.opened[:-1], (opening, commas + 1))
        return self.opened[:-1] if bytes([byte]) == _CLOSING[opening] else self.opened


class TextSpot(Protocol):
    """A place in a text."""

    def after(self, byte: int, /) -> Self:
        """The place behind one more byte."""


S = TypeVar("S", bound=TextSpot)


@final
class JsonSpots(Generic[S]):
    """The spots in a text that grows, and is now and then another one. start: where a text begins."""

    def __init__(self, start: S) -> None:
        self._text, self._places = b"", [start]

    def at(self, text: bytes) -> S:
        """The place behind a text."""
        shared = shared_bytes(self._text, text)
        del self._places[shared + 1 :]
        for byte in text[shared:]:
            self._places.append(self._places[-1].after(byte))
        self._text = text
        return self._places[-1]


@dataclass(frozen=True, slots=True)
class MustEnd:
    """What may not follow where one of the `closing` bytes may, or, for an `end` of the text, where that may."""

    closing: bytes
    barred: bytes
    end: bool = False


class TextLimits(Protocol[S]):
    """Limits of the JSON in a text. start: where the text begins."""

    @property
    def start(self) -> S: ...

    def endings(self, place: S, /) -> Iterator[MustEnd]:
        """What must end at a place, where it may."""

    def slack(self, place: S, /) -> int:
        """How many bytes may follow, whatever they are, before anything must end: 0 where something must now."""

    def words(self, place: S, /) -> str | None:
        """Which limit the text has come up to at a place; None for none."""


def reached(limits: TextLimits[S], text: bytes) -> list[str]:
    """Which limits a text came up to, in words."""
    words: dict[str, None] = {}
    place = limits.start
    for byte in text:
        place = place.after(byte)
        if (said := limits.words(place)) is not None:
            words[said] = None
    return [*words]


@final
@dataclass(frozen=True, slots=True)
class JsonLimits:
    """How long a part of a JSON text may be before it ends where it may.

    Attributes:
        string: Characters of a string.
        number: Characters of a number.
        items: Items of an array, or fields of an object.
        depth: Arrays and objects in one another; what is deeper ends as soon as it may.
    """

    string: int = 4000
    number: int = 32
    items: int = 256
    depth: int = 16

    @property
    def start(self) -> JsonSpot:
        """Before all JSON."""
        return JsonSpot()

    def endings(self, place: JsonSpot) -> Iterator[MustEnd]:
        """What must end at a place, where it may."""
        if place.inside == '"':
            if place.run >= self.string and not place.escape:
                yield MustEnd(b'"', _without(b'"'))
            return
        if place.inside and place.run >= self.number:
            yield MustEnd(b",]}", _NUMBER, end=not place.opened)
        if place.opened:
            opening, commas = place.opened[-1]
            if commas + 1 >= self.items or len(place.opened) > self.depth:
                closing = _CLOSING[opening]
                yield MustEnd(closing, b"," if place.inside else _without(closing))

    def slack(self, place: JsonSpot) -> int:
        """How many bytes may follow, whatever they are, before anything must end: 0 where something must now."""
        commas = max((commas for _, commas in place.opened), default=0)
        of_string = self.string - (place.run if place.inside == '"' else 0)
        of_number = self.number - (place.run if place.inside == "0" else 0)
        return max(0, min(of_string, of_number, self.items - 1 - commas, self.depth + 1 - len(place.opened)))

    def words(self, place: JsonSpot) -> str | None:
        """Which limit a text of JSON has come up to at a place, in words; None for none."""
        if place.inside == '"' and place.run >= self.string:
            return f"{self.string:,} characters of a string"
        if place.inside == "0" and place.run >= self.number:
            return f"{self.number:,} characters of a number"
        if place.opened and place.opened[-1][1] + 1 >= self.items:
            return f"{self.items:,} items or fields"
        if len(place.opened) > self.depth:
            return f"{self.depth:,} arrays and objects in one another"
        return None


def _without(closing: bytes) -> bytes:
    return _EVERY.replace(closing, b"")


_STATED: Mapping[str, str] = {
    **dict.fromkeys(("maxLength", "minLength"), "string"),
    **dict.fromkeys(("maxItems", "minItems", "maxProperties", "minProperties"), "items"),
    **dict.fromkeys(("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf"), "number"),
}
"""Which limit a keyword of a schema is about."""


def limits_beside(schema: object, usual: JsonLimits | None = None) -> JsonLimits:
    """The limits for what a schema does not bound: the usual ones, or the largest that it states itself.

    >>> limits_beside({"items": {"maxLength": 9000}}).string
    9000
    """
    limits = usual or JsonLimits()
    for keyword, value in _numbers(schema):
        name = _STATED[keyword]
        size = len(str(value)) if name == "number" else int(value)
        if size > getattr(limits, name):
            limits = replace(limits, **{name: size})
    return limits


def _numbers(schema: object) -> Iterator[tuple[str, int | float]]:
    """The keywords of a schema, at any depth, that state a limit, with their numbers."""
    pending: list[Any] = [schema]
    while pending:
        one = pending.pop()
        if isinstance(one, dict):
            pending += one.values()
            yield from ((k, v) for k, v in one.items() if k in _STATED and _is_number(v))
        elif isinstance(one, list):
            pending += one


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and math.isfinite(value)


def bars(limits: TextLimits[S], place: S, piece: bytes, *, allows: Callable[[bytes, bool], bool]) -> bool:
    """Whether a piece goes on with what must end at a place, or inside the piece.

    allows: whether the text that stands before the piece may go on with some bytes, and end there where that is True.
    """
    if len(piece) <= limits.slack(place):
        return False
    for at, byte in enumerate(piece):
        for ending in limits.endings(place):
            if byte in ending.barred and _may_end(ending, piece[:at], allows):
                return True
        place = place.after(byte)
    return False


def _may_end(ending: MustEnd, before: bytes, allows: Callable[[bytes, bool], bool]) -> bool:
    if ending.end and allows(before, True):  # noqa: FBT003 (a question with two answers)
        return True
    return any(allows(before + bytes([byte]), False) for byte in ending.closing)  # noqa: FBT003
