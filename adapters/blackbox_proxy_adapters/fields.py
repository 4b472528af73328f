"""Typed access to foreign JSON: a value has the type that we need, or a `ReplyError` says which field has not.

The module knows no reply shape. `where` is the field's place in the reply, as it is shown to the user.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import cast

from blackbox_proxy.errors import ReplyError

SENTINEL = -1000.0
"""At or below this a log-probability is a mark for "outside the list" or p = 0 (-9999.0, -3.4e38, -inf), no number."""

SLACK = 0.01
"""How far above 0 rounding may lift a log-probability; servers that work in 16 bits send such values."""


def as_mapping(value: object, where: str) -> Mapping[str, object]:
    """A JSON object."""
    if not isinstance(value, Mapping):
        raise unreadable(value, where, expected="an object")
    return cast(Mapping[str, object], value)


def as_list(value: object, where: str) -> Sequence[object]:
    """A JSON array."""
    if not isinstance(value, list | tuple):
        raise unreadable(value, where, expected="a list")
    return cast(Sequence[object], value)


def as_text(value: object, where: str) -> str:
    """A JSON string."""
    if not isinstance(value, str):
        raise unreadable(value, where, expected="a string")
    return value


def as_count(value: object, where: str) -> int:
    """A whole number of at least 0; null counts as 0."""
    if value is None:
        return 0
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        raise unreadable(value, where, expected="a whole number of at least 0")
    return value


def as_id(value: object, where: str) -> int | None:
    """A token id; None for null."""
    return None if value is None else as_count(value, where)


def as_bytes(value: object, where: str) -> bytes | None:
    """Bytes that are sent as a list of numbers; None for null. llama.cpp sends them signed in some versions."""
    if value is None:
        return None
    numbers = as_list(value, where)
    if not all(isinstance(n, int) and -128 <= n <= 255 for n in numbers):
        raise unreadable(numbers, where, expected="a list of bytes")
    return bytes(n & 255 for n in numbers if isinstance(n, int))


def as_logp(value: object, where: str) -> float | None:
    """A natural log-probability, at most 0; None for null and for a sentinel."""
    if isinstance(value, float) and SENTINEL < value <= 0.0:  # nearly all there are
        return value
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise unreadable(value, where, expected="a number")
    if value <= SENTINEL:
        return None
    if not value <= SLACK:  # this way round it catches NaN too
        raise ReplyError(
            f"the reply's {where} is {_shown(value)}; a log-probability is at most 0",
            hint="the endpoint may send probabilities or raw scores here; it cannot be steered as it is",
        )
    return min(0.0, float(value))


def unreadable(value: object, where: str, *, expected: str) -> ReplyError:
    """The error for a field of the wrong type, with the value cut short."""
    return ReplyError(
        f"the reply's {where} should be {expected}, not {_shown(value)}",
        hint="the endpoint answers in another shape than this adapter reads; choose the adapter that fits it",
    )


def _shown(value: object) -> str:
    """The value for a message: at most 60 characters; containers and long numbers by their kind."""
    if value is None:
        return "null"
    if isinstance(value, list | tuple | Mapping):
        return f"a {'list' if isinstance(value, list | tuple) else 'object'} of {len(value)}"
    if isinstance(value, int) and abs(value) > 10**18:
        return "a huge integer"
    return repr(value)[:60]
