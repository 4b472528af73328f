"""Spells a JSON value as a constraint wants it: its white space, and the fields in an order that it allows. Pure."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, final

from blackbox_proxy.core.decoding.acceptors import Acceptor

TRIES = 4_000
"""Most pieces that are tried: fields that may come in any order have many orders."""

DEEPEST = 100
"""Most arrays and objects in one another."""


@final
class NumberText(str):
    """A number of a JSON text, in its digits."""

    __slots__ = ()


@final
class _NoJson(ValueError):
    """A text is no JSON, or names a field twice."""


def read_json(text: str) -> Any:  # noqa: ANN401 (a JSON value)
    """The value of a JSON text, its numbers as they are written.

    Raises ValueError for what is no JSON, for a field that comes twice, and for a text that is too deep.
    """
    try:
        return json.loads(
            text, parse_int=NumberText, parse_float=NumberText, parse_constant=_constant, object_pairs_hook=_fields
        )
    except RecursionError:
        raise _NoJson("arrays and objects are too deep in one another") from None


def _constant(name: str) -> None:
    raise _NoJson(f"{name} is no JSON")


def _fields(pairs: Sequence[tuple[str, Any]]) -> Mapping[str, Any]:
    fields = dict(pairs)
    if len(fields) < len(pairs):
        raise _NoJson("a field comes twice")
    return fields


def spelt_json(value: object, *, accepts: Acceptor) -> bytes | None:
    """The answer that is a JSON value, as the constraint spells it; None where it allows none.

    value: as `read_json` gives it, or as `json.loads` does.
    """
    speller = _Speller(accepts)
    return next((text for text in speller.texts(value, b"", depth=0) if accepts.follows(text, b"")), None)


@final
class _Speller:
    """Goes through the spellings of a value, those alone that the constraint goes along with."""

    def __init__(self, accepts: Acceptor) -> None:
        self._accepts, self._tries = accepts, TRIES

    def texts(self, value: object, text: bytes, *, depth: int) -> Iterator[bytes]:
        """Every text that goes on with the value."""
        if depth > DEEPEST:
            return
        match value:
            case dict():
                for opened in self._with(text, b"{"):
                    yield from self._fields(value, opened, depth=depth)
            case list():
                for opened in self._with(text, b"["):
                    yield from self._items(value, opened, depth=depth)
            case _:
                for piece in _spellings(value):
                    yield from self._with(text, piece)

    def _fields(self, pending: Mapping[str, object], text: bytes, *, depth: int, comma: bytes = b"") -> Iterator[bytes]:
        if not pending:
            yield from self._with(text, b"}")
        for name, value in pending.items():
            others = {other: pending[other] for other in pending if other != name}
            for named in self._with(text, comma + _scalar(name) + b": "):
                for longer in self.texts(value, named, depth=depth + 1):
                    yield from self._fields(others, longer, depth=depth, comma=b", ")

    def _items(self, pending: Sequence[object], text: bytes, *, depth: int, comma: bytes = b"") -> Iterator[bytes]:
        if not pending:
            yield from self._with(text, b"]")
            return
        for apart in self._with(text, comma) if comma else (text,):
            for longer in self.texts(pending[0], apart, depth=depth + 1):
                yield from self._items(pending[1:], longer, depth=depth, comma=b", ")

    def _with(self, text: bytes, piece: bytes) -> Iterator[bytes]:
        """The text with a piece, where that may follow and there are tries left."""
        self._tries -= 1
        if self._tries >= 0 and piece and self._accepts.follows(text, piece):
            yield text + piece


def _spellings(value: object) -> Iterator[bytes]:
    """How a value without parts is written: a number with nothing behind its point also without one.

    >>> [*_spellings(2.0)], [*_spellings(NumberText("1.50"))]
    ([b'2.0', b'2'], [b'1.50'])
    """
    yield value.encode() if isinstance(value, NumberText) else _scalar(value)
    if isinstance(value, NumberText | float):
        whole, _, fraction = str(value).partition(".")
        if fraction and not fraction.strip("0"):
            yield whole.encode()


def _scalar(value: object) -> bytes:
    r"""Text, a number, a truth value or null as JSON; b"" for what is no text: half of a pair of surrogates.

    >>> _scalar("é\n"), _scalar("\ud800")
    (b'"\xc3\xa9\\n"', b'')
    """
    try:
        return json.dumps(value, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        return b""
