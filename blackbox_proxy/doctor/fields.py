"""Lenient access to foreign JSON: a field of the wrong type is one that is not there.

An adapter refuses such a field; the doctor is there to find it out. The functions are those of a
`core.logprobs.FieldReader`, which has no use here for `where`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import cast

SENTINEL = -1000.0
"""At or below this a log-prob is a mark, no number."""

_HUGE = 1e300


def as_mapping(value: object, where: str = "") -> Mapping[str, object]:  # noqa: ARG001 (see above; so below)
    """A JSON object; an empty one for anything else."""
    return cast(Mapping[str, object], value) if isinstance(value, Mapping) else {}


def as_list(value: object, where: str = "") -> Sequence[object]:  # noqa: ARG001
    """A JSON array; an empty one for anything else."""
    return cast(Sequence[object], value) if isinstance(value, list) else []


def as_text(value: object, where: str = "") -> str:  # noqa: ARG001
    """A JSON string; "" for anything else."""
    return value if isinstance(value, str) else ""


def as_bytes(value: object, where: str = "") -> bytes | None:  # noqa: ARG001
    """Bytes that are sent as a list of numbers; None for anything else."""
    if not isinstance(value, list) or not all(isinstance(one, int) and -128 <= one <= 255 for one in value):
        return None
    return bytes(one & 255 for one in value)


def as_id(value: object, where: str = "") -> int | None:  # noqa: ARG001
    """A token id; None for anything else."""
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def as_logp(value: object, where: str = "") -> float:  # noqa: ARG001
    """A number as it stands, marks included; what is no number is as good as a mark."""
    if isinstance(value, bool) or not isinstance(value, int | float) or abs(value) > _HUGE:
        return SENTINEL
    return float(value)
