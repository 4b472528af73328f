"""Bytes that become text: whole UTF-8 only, and nothing that may turn out to be a stop string.

Knows nothing of tokens.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import final

CONTINUATION = tuple(bytes([byte]) for byte in range(0x80, 0xC0))
"""The bytes that may follow inside a character."""


_SECOND = {0xE0: (0xA0, 0xBF), 0xED: (0x80, 0x9F), 0xF0: (0x90, 0xBF), 0xF4: (0x80, 0x8F)}
"""First bytes whose second byte is limited: no overlong forms, no surrogates, nothing beyond U+10FFFF."""


_BEYOND = re.compile(rb"\xf4[\x90-\xbf][\x80-\xbf]{2}|[\xf5-\xf7][\x80-\xbf]{3}")
"""Four bytes that have the form of a character beyond U+10FFFF, the last that there is."""


def within_unicode(text: bytes) -> bytes:
    r"""The text with U+FFFD for each byte of what has the form of a character beyond U+10FFFF.

    >>> within_unicode(b"a\xf6\xb8\xac\xa7") == "a\ufffd\ufffd\ufffd\ufffd".encode()
    True
    """
    return _BEYOND.sub(4 * "\ufffd".encode(), text)


def open_bytes(text: bytes) -> int:
    r"""How many bytes at the end of `text` belong to a UTF-8 character that is not finished (0 to 3).

    Bytes that can never become a character do not count: there is nothing to wait for.

    >>> open_bytes("é".encode()[:1]), open_bytes(b"e"), open_bytes(b"\xff")
    (1, 0, 0)
    """
    for back in range(1, min(3, len(text)) + 1):
        byte = text[-back]
        if 0xC2 <= byte <= 0xF4:
            needed = 2 if byte < 0xE0 else 3 if byte < 0xF0 else 4
            low, high = _SECOND.get(byte, (0x80, 0xBF))
            possible = back == 1 or low <= text[1 - back] <= high
            return back if back < needed and possible else 0
        if not 0x80 <= byte < 0xC0:
            return 0
    return 0


def is_whole(text: bytes) -> bool:
    """Whether `text` ends between two characters."""
    return open_bytes(text) == 0


def is_start(text: bytes) -> bool:
    r"""Whether `text` is the beginning of some UTF-8 text; an open character at its end is fine.

    >>> is_start("né".encode()[:2]), is_start(b"n\xff")
    (True, False)
    """
    try:
        text[: len(text) - open_bytes(text)].decode("utf-8")
    except UnicodeDecodeError:
        return False
    return True


def shared_bytes(one: bytes, other: bytes) -> int:
    """How many bytes two texts have in common at their beginnings.

    >>> shared_bytes(b"abc", b"abd")
    2
    """
    if other.startswith(one):
        return len(one)
    low, high = 0, min(len(one), len(other))
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if one[:middle] == other[:middle] else (low, middle - 1)
    return low


def first_stop(text: bytes, stops: Sequence[bytes]) -> int | None:
    """Where the earliest stop string in `text` begins, or None.

    >>> first_stop(b"one. two.", (b". t", b"."))
    3
    """
    starts = [at for at in (text.find(stop) for stop in stops) if at >= 0]
    return min(starts) if starts else None


def held_back(text: bytes, stops: Sequence[bytes]) -> int:
    """How many bytes at the end of `text` must wait: an open character, or the beginning of a stop string.

    >>> held_back(b"the EN", (b"END",))
    2
    """
    wait = open_bytes(text)
    for stop in stops:
        for size in range(min(len(stop) - 1, len(text)), wait, -1):
            if text.endswith(stop[:size]):
                wait = size
                break
    return wait


REPETITIONS = 4
"""How often a piece must follow upon itself to be a repetition; the last time it may be there in part."""


def repeats(text: bytes) -> bool:
    """Whether a text is one piece over and over, at least `REPETITIONS` times.

    >>> repeats(b"ha ha ha ha "), repeats(b"ha ha ha he ")
    (True, False)
    """
    longest = len(text) // REPETITIONS
    return any(text.startswith(text[period:]) for period in range(1, longest + 1))


@final
class Release:
    """Turns growing bytes into text that can be shown: give it the whole answer so far, get what is new."""

    def __init__(self, stops: Sequence[bytes] = ()) -> None:
        self._stops = tuple(stops)
        self._shown = 0

    def __call__(self, text: bytes, *, last: bool = False) -> str:
        """The text that became certain since the last call; `last` releases what was held back.

        Nothing from the first stop string on is ever released.
        """
        stop = first_stop(text, self._stops)
        until = len(text) if last else len(text) - held_back(text, self._stops)
        until = until if stop is None else min(until, stop)
        fresh = text[self._shown : max(until, self._shown)]
        self._shown = max(until, self._shown)
        return fresh.decode("utf-8", "replace")
