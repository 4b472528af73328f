r"""The bytes of JSON tokens -> bytes of the plain text of one string in it.

A token may begin or end anywhere: inside an escape, between the two halves of a surrogate pair, behind the quote that
ends the string. So the place between two tokens is a value (`JsonPlace`), from which any token can be read:

* Bytes of the string stand for themselves; an escape stands for its character as soon as it is whole.
* Half a surrogate pair that stays alone is no text; its three bytes (`surrogatepass`) mark it (`HALVED`).
* A line end that stands in the string as it is stands for itself: llama.cpp's server writes one where a pattern has it,
  although JSON forbids it.
* Before the object anything may stand, as the fence that some models write around JSON; behind the string too.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import NamedTuple

HALVED = re.compile(rb"\xed[\xa0-\xbf]")
"""Half of a surrogate pair, which no UTF-8 holds."""

_HEX = re.compile(rb"[0-9a-fA-F]*")
_PLAIN = re.compile(rb'[^"\\]*')
_SIMPLE = {b'"': b'"', b"\\": b"\\", b"/": b"/", b"b": b"\b", b"f": b"\f", b"n": b"\n", b"r": b"\r", b"t": b"\t"}
_STRUCTURE = b" \t\r\n{:,"


@dataclass(frozen=True, slots=True)
class JsonPlace:
    """Where reading stands.

    Attributes:
        answer_name: The property whose value is the answer.
        opened: Whether the object has begun.
        inside: Whether a string is open.
        strings: How many strings have begun; a name and its value take turns.
        name: The name of the property that is being read, or was read last.
        pending: The bytes of an escape that is not whole yet.
        other: The value of the property that was read before the wanted one.
        ended: Whether the answer's closing quote was read.
    """

    answer_name: bytes
    opened: bool = False
    inside: bool = False
    strings: int = 0
    name: bytes = b""
    pending: bytes = b""
    other: bytes = b""
    ended: bool = False

    @property
    def in_answer(self) -> bool:
        """Whether the string that is open is the answer."""
        return self.inside and self._is_value and self.name == self.answer_name

    @property
    def _is_value(self) -> bool:
        return self.strings % 2 == 0


class ReadBytes(NamedTuple):
    """What a token adds to the answer, and the place behind it."""

    text: bytes
    place: JsonPlace


def read_json(place: JsonPlace, token: bytes) -> ReadBytes | None:
    """Read a token's bytes from a place; None where no JSON object of strings goes on so."""
    text, at = b"", 0
    while at < len(token) and not place.ended:
        step = _in_string(place, token, at) if place.inside else _between(place, token[at : at + 1])
        if step is None:
            return None
        text += step.text if step.place.in_answer else b""
        place, at = step.place, at + step.taken
    return ReadBytes(text, place)


class _Taken(NamedTuple):
    """The plain bytes that were read, the place behind them, and how many bytes of the token that took."""

    text: bytes
    place: JsonPlace
    taken: int = 1


def _between(place: JsonPlace, byte: bytes) -> _Taken | None:
    """Outside strings."""
    if not place.opened:
        return _Taken(b"", replace(place, opened=byte == b"{"))
    if byte == b'"':
        name = b"" if place.strings % 2 == 0 else place.name
        return _Taken(b"", replace(place, inside=True, strings=place.strings + 1, name=name))
    return _Taken(b"", place) if byte in _STRUCTURE else None


def _in_string(place: JsonPlace, token: bytes, at: int) -> _Taken | None:
    if place.pending:
        return _in_escape(place, token[at : at + 1])
    plain = _PLAIN.match(token, at)
    if plain and plain.end() > at:
        return _said(place, plain[0], b"", taken=len(plain[0]))
    if token[at : at + 1] == b'"':
        return _Taken(b"", replace(place, inside=False, ended=place.in_answer))
    return _Taken(b"", replace(place, pending=b"\\")) if token[at : at + 1] == b"\\" else None


def _in_escape(place: JsonPlace, byte: bytes) -> _Taken | None:
    """One byte more of an escape. Half a pair may be followed by something that is no escape."""
    if len(place.pending) == 6 and byte != b"\\":
        return _said(place, _character(place.pending), b"", taken=0)
    decoded = _unescaped(place.pending + byte)
    return None if decoded is None else _said(place, *decoded, taken=1)


def _said(place: JsonPlace, text: bytes, pending: bytes, *, taken: int) -> _Taken:
    """The place behind what a string says: its text is added to a name, or to a value that is not the answer."""
    place = replace(place, pending=pending)
    if place.strings % 2:
        place = replace(place, name=place.name + text)
    elif not place.in_answer:
        place = replace(place, other=place.other + text)
    return _Taken(text, place, taken)


def _unescaped(escape: bytes) -> tuple[bytes, bytes] | None:
    """The bytes that an escape stands for, and what of it is not whole yet; None where it is none."""
    if len(escape) < 2:
        return b"", escape
    if escape[1:2] != b"u":
        simple = _SIMPLE.get(escape[1:2])
        return None if simple is None else (simple, b"")
    if _HEX.fullmatch(escape[2:6]) is None:
        return None
    if len(escape) <= 6:
        is_open = len(escape) < 6 or _is_high(escape)
        return (b"", escape) if is_open else (_character(escape), b"")
    second = _unescaped(escape[6:])
    if second is not None and second[1] and not _is_high(second[1]):
        return b"", escape
    return None if second is None else _joined(escape, second)


def _joined(escape: bytes, second: tuple[bytes, bytes]) -> tuple[bytes, bytes]:
    """Half a pair and the whole escape behind it: one character, or the half alone and the other."""
    if len(escape) == 12 and 0xDC00 <= int(escape[8:12], 16) <= 0xDFFF:
        return _pair(escape), b""
    return _character(escape) + second[0], second[1]


def _pair(escape: bytes) -> bytes:
    high, low = int(escape[2:6], 16), int(escape[8:12], 16)
    return chr(0x10000 + ((high - 0xD800) << 10) + (low - 0xDC00)).encode()


def _character(escape: bytes) -> bytes:
    return chr(int(escape[2:6], 16)).encode("utf-8", "surrogatepass")


def _is_high(escape: bytes) -> bool:
    return len(escape) == 6 and 0xD800 <= int(escape[2:6], 16) <= 0xDBFF
