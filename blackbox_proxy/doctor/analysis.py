"""What replies show when they are compared: noise, temperature, rounding, how tokens and ends are written.

Every function takes replies and gives a fact. Distributions are compared by the names of tokens, so it does
not matter whether a reply tells bytes. The module knows no request and no network.
"""

from __future__ import annotations

import math
import re
from collections.abc import Collection, Iterable, Sequence
from typing import Literal

from blackbox_proxy.doctor.replies import SENTINEL, ProbePosition, ProbeReply, ProbeToken

FEWEST = 3
FINEST = 6
"""Log-probs of more decimals than this are taken as they are."""

LOST = "\ufffd"
_UNMARKED = re.compile(r"(\\x[0-9a-fA-F]{2})+")

Scaling = Literal["raw", "scaled", "unclear"]
Fragments = Literal["true", "none", "lossy", "unseen"]


def moved(one: ProbePosition, other: ProbePosition) -> float | None:
    """The largest difference of the log-probs that both places tell; None where they share no token."""
    a, b = one.distribution, other.distribution
    shared = a.keys() & b.keys()
    return max((abs(a[name] - b[name]) for name in shared), default=None)


def same_distribution(one: ProbePosition, other: ProbePosition, *, tolerance: float) -> bool:
    """Whether two places can tell of one distribution.

    What both list must have the same log-prob, and what one lists alone may not be likelier than the end of the other.
    """
    change = moved(one, other)
    strange = max(_beyond(one, other), _beyond(other, one))
    return change is not None and max(change, strange) <= tolerance


def _beyond(one: ProbePosition, other: ProbePosition) -> float:
    """How far what `one` lists alone is above the end of the other's list.

    The sampled token does not set that end: it may have been added to the list.
    """
    end = min((logp for name, logp in other.distribution.items() if name != other.sampled.token), default=0.0)
    alone = (logp for name, logp in one.distribution.items() if name not in other.distribution)
    return max((logp - end for logp in alone), default=0.0)


def one_hot(place: ProbePosition) -> bool:
    """Whether the best has all, and the others only sentinels."""
    others = [one.logp for one in place.listed if one.token != place.best.token]
    return bool(others) and place.best.logp > -1e-6 and all(logp <= SENTINEL for logp in others)


def scaling(cold: ProbePosition, warm: ProbePosition) -> Scaling:
    """Whether log-probs at half the temperature are twice as far apart as at the whole one, or as far.

    By the slope of one list against the other, which noise hardly changes.
    """
    a, b = cold.distribution, warm.distribution
    shared = a.keys() & b.keys()
    if len(shared) < 2:
        return "unclear"
    mean_a, mean_b = (math.fsum(distribution[name] for name in shared) / len(shared) for distribution in (a, b))
    spread = math.fsum((b[name] - mean_b) ** 2 for name in shared)
    if spread < 1e-6:
        return "unclear"
    slope = math.fsum((a[name] - mean_a) * (b[name] - mean_b) for name in shared) / spread
    return "scaled" if slope > 1.5 else "raw"


def graded_logprobs(places: Iterable[ProbePosition]) -> set[float]:
    """The log-probs of the alternatives that are neither marks nor 0, which every rounding leaves alone."""
    return {one.logp for place in places for one in place.listed if SENTINEL < one.logp < 0.0}


def decimals(logps: Collection[float]) -> int | None:
    """How many decimals log-probs have, if that is few; None where they have many, or there are too few of them."""
    if len(logps) < FEWEST:
        return None
    return next((n for n in range(FINEST + 1) if all(abs(logp - round(logp, n)) < 1e-9 for logp in logps)), None)


def is_forced(places: Sequence[ProbePosition]) -> bool:
    """Whether one and the same token was sampled everywhere, although it was not likely."""
    sampled = places[0].sampled
    unlikely = sampled.token not in places[0].distribution or sampled.logp < places[0].best.logp - 1.0
    return unlikely and all(place.sampled.token == sampled.token for place in places)


def marked(place: ProbePosition) -> int:
    """How many alternatives have a sentinel in place of a log-prob."""
    return sum(one.logp <= SENTINEL for one in place.listed)


def appends(places: Iterable[ProbePosition], k: int) -> bool:
    """Whether a sampled token that is not among the best k is listed as one more."""
    return any(len(place.listed) == k + 1 and place.listed[-1].token == place.sampled.token for place in places)


def displaces(places: Iterable[ProbePosition]) -> bool:
    """Whether the sampled token is listed first although it is not the best."""
    return any(
        len(place.listed) > 1
        and place.listed[0].token == place.sampled.token
        and place.listed[0].logp < max(one.logp for one in place.listed) - 1e-9
        for place in places
    )


def chance(places: Iterable[ProbePosition]) -> float:
    """The log-probability that these very tokens would be drawn again."""
    return math.fsum(max(place.sampled.logp, SENTINEL) for place in places)


def fragments(replies: Iterable[ProbeReply]) -> Fragments:
    """What the bytes beside a chat's tokens are worth."""
    tokens = [one for one in _tokens(replies) if one.token]
    if tokens and not any(one.raw for one in tokens):
        return "none"
    if any(LOST in one.token and one.raw == one.token.encode() for one in tokens):
        return "lossy"
    return "true" if any(one.raw and not _is_text(one.raw) for one in tokens) else "unseen"


def skips(reply: ProbeReply) -> bool:
    """Whether the bytes of a reply's tokens lack some of its text.

    Not to be told where characters of the text were broken: what is cut off, or never completed, is U+FFFD in it.
    """
    text = reply.text.rstrip(LOST)
    joined = b"".join(place.sampled.raw or b"" for place in reply.places)
    return LOST not in text and not joined.startswith(text.encode())


def is_unmarked(replies: Iterable[ProbeReply]) -> bool:
    """Whether a legacy name is an escaped fragment that nothing marks as one."""
    return any(_UNMARKED.fullmatch(one.token) for one in _tokens(replies))


def collide(replies: Sequence[ProbeReply]) -> bool:
    """Whether fragments share a legacy name: U+FFFD, or nothing where a text goes on behind it."""
    replaced = any(LOST in one.token for one in _tokens(replies))
    return replaced or any(not place.sampled.token for one in replies for place in one.places[:-1])


def surplus(reply: ProbeReply) -> ProbeToken | None:
    """The last token of an answer that ended, if it is no part of its text."""
    if not (reply.stopped and reply.places):
        return None
    last = reply.places[-1].sampled
    return last if not last.token or not reply.text.endswith(last.token) else None


def specials(replies: Iterable[ProbeReply]) -> list[ProbeToken]:
    """The tokens of rows that have no bytes although others of their place have some."""
    return [
        one
        for said in replies
        for place in said.places
        if any(other.raw for other in place.listed)
        for one in (*place.listed, place.sampled)
        if not one.raw
    ]


def named(replies: Iterable[ProbeReply], names: Collection[str]) -> list[ProbeToken]:
    """The tokens that are called as an end is."""
    return [one for one in _tokens(replies) if one.token and one.token in names]


def after(reply: ProbeReply, begun: str) -> ProbePosition | None:
    """The first place behind `begun` in a reply that repeats it; the first of all in one that does not."""
    if not reply.text.startswith(begun):
        return reply.places[0] if reply.places else None
    said = b""
    for place in reply.places:
        if len(said) >= len(begun.encode()):
            return place
        said += place.sampled.token.encode() if place.sampled.raw is None else place.sampled.raw
    return None


def _tokens(replies: Iterable[ProbeReply]) -> list[ProbeToken]:
    return [one for said in replies for place in said.places for one in (*place.listed, place.sampled)]


def _is_text(raw: bytes) -> bool:
    try:
        raw.decode("utf-8")
    except UnicodeDecodeError:
        return False
    return True
