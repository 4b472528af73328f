"""Failures in the guise of a success: status 200, and in the body the error of whoever stands behind a relay.

It stands in place of the answer, beside `choices` that are null or empty, or inside a choice that broke off. Pure.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import cast

BROKEN = 502
"""What a choice means that ended by an error, where nobody says more."""

_ANSWERS = ("choices", "output", "completion_probabilities", "content", "data")
"""What holds an answer, in one shape or the other."""


@dataclass(frozen=True, slots=True)
class Failure:
    """status: the failing one that is meant, or that of the reply. body: as of a reply with it.

    begun: whether some of an answer was made, and may be billed.
    """

    status: int
    body: Mapping[str, object]
    begun: bool = False


def failure_in(body: Mapping[str, object], status: int) -> Failure | None:
    """The failure that a body tells of; None for an answer. status: that of the reply."""
    choices = body.get("choices")
    listed = [c for c in choices if isinstance(c, Mapping)] if isinstance(choices, list) else []
    if body.get("error"):
        return Failure(_inner_status(body["error"], BROKEN if listed else status), body, bool(listed))
    for choice in listed:
        error = choice.get("error")
        if error or choice.get("finish_reason") == "error":
            return Failure(_inner_status(error, BROKEN), {"error": error or "the answer broke off"}, begun=True)
    if not any(body.get(name) is not None for name in _ANSWERS) and _is_error(body):
        return Failure(_inner_status(body, status), body)
    return None


def _is_error(body: Mapping[str, object]) -> bool:
    """Whether a body without any answer is an error that is not wrapped in `error`."""
    named = body.get("object") == "error" or body.get("type") == "error"
    return named or any(isinstance(body.get(name), str) and body[name] for name in ("message", "detail"))


def _inner_status(error: object, status: int) -> int:
    """Some relays answer 200 and put the status that they mean, or a word for it, into `error.code` or `error.type`."""
    fields = cast(Mapping[str, object], error) if isinstance(error, Mapping) else {"type": error}
    statuses = (_meant(fields.get(name)) for name in ("code", "status", "type"))
    return next((meant for meant in statuses if meant), status)


def _meant(code: object) -> int | None:
    """The failing status that a code stands for, if it does."""
    if isinstance(code, str) and not code.isdecimal():
        return _WORDS.get(code.lower())
    number = int(code) if isinstance(code, int | str) and len(str(code)) == len("500") else 0
    return number if 400 <= number < 600 else None


_WORDS = {
    **dict.fromkeys(("rate_limit_exceeded", "rate_limit_error"), 429),
    **dict.fromkeys(("server_error", "internal_server_error", "internal_error", "api_error"), 500),
    **dict.fromkeys(("overloaded", "overloaded_error", "service_unavailable"), 503),
}
"""What servers call a failure that may pass."""
