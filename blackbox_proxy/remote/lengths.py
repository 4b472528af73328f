"""How many tokens to ask for instead, where an endpoint refuses an answer of a length. Pure; knows no provider."""

from __future__ import annotations

import re

from blackbox_proxy.core.money.amounts import LENGTHS
from blackbox_proxy.errors import ApiBusy, ApiRefused, PromptError

SHORT = 64
"""Tokens up to which no fewer are asked for: then it is the prompt that is too long."""

_NUMBER = re.compile(r"\b\d{1,9}\b")


def fewer_tokens(length: int, error: PromptError | ApiRefused | ApiBusy) -> int | None:
    """Tokens that may be granted where `length` were refused; None where fewer would not help.

    What the endpoint says is a hint alone: where it names no numbers that fit, half as many are next.

    >>> said = "too long: the maximum context length is 4096 tokens. You requested 9000 (1000 in the messages, "
    >>> fewer_tokens(8000, PromptError(said + "8000 in the completion)", context="api"))
    3096
    >>> fewer_tokens(8000, PromptError("the prompt does not fit", context="api"))
    4000
    """
    crowded = isinstance(error, PromptError) and error.context == "api"
    words = error.message.partition(": ")[2] or error.message
    if length <= SHORT or not (crowded or _is_of_length(error, words)):
        return None
    room = _room(length, [int(number) for number in _NUMBER.findall(words)], context=crowded)
    if room is not None and 0 < room < length:
        return room
    return length // 2 if crowded else None


def _is_of_length(error: PromptError | ApiRefused | ApiBusy, words: str) -> bool:
    """Whether an endpoint refuses the limit that was asked for."""
    return isinstance(error, ApiRefused) and error.status in (400, 422) and any(name in words for name in LENGTHS)


def _room(length: int, numbers: list[int], *, context: bool) -> int | None:
    """What the smallest number leaves of the largest, without the length that was asked for, and without sums.

    context: they speak of prompt and answer together, so that there are two; the context may be as long as the answer
    was to be.
    """
    others = set(numbers) - {length} - {number for number in numbers if number - length in numbers}
    if context and len(others) == 1 and numbers.count(length) > 1:
        others.add(length)
    return max(others) - (min(others) if len(others) > 1 else 0) if others else None
