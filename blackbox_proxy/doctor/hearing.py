"""What a reply says, whatever its shape: text, tokens with their log-probs, why it ended, what it used.

Reads leniently, unlike an adapter: a field of the wrong type is a field that is not there, since the doctor is there
to find it out. The module knows no request and no network.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, NamedTuple, cast

from blackbox_proxy.core.money.usage import tells_cached

SENTINEL = -1000.0
"""At or below this a log-prob is a mark, no number."""

_HUGE = 1e300

Shape = Literal["legacy", "rows", "none"]


class HeardToken(NamedTuple):
    """A token as it is written. raw: the bytes that stand beside it, None where none do."""

    token: str
    raw: bytes | None
    logp: float


class HeardPlace(NamedTuple):
    """One position: the sampled token, and the alternatives in the order that they came."""

    own: HeardToken
    listed: tuple[HeardToken, ...]

    @property
    def best(self) -> HeardToken:
        """The likeliest of all that is told here; of the sampled token's own entry and the listed ones."""
        return max((*self.listed, self.own), key=lambda one: one.logp)

    @property
    def distribution(self) -> Mapping[str, float]:
        """The alternatives' log-probs by their names, the likelier of two namesakes; sentinels left out."""
        found: dict[str, float] = {}
        for one in sorted(self.listed, key=lambda one: -one.logp):
            if one.logp > SENTINEL:
                found.setdefault(one.token, one.logp)
        return found


@dataclass(frozen=True, slots=True)
class HeardReply:
    """A reply. shape: of its log-probs. keyed: token ids stand beside the legacy shape's tokens.

    each: the places of all choices, by their index, where there are several.
    """

    text: str
    places: tuple[HeardPlace, ...]
    finish: str
    shape: Shape
    usage: Mapping[str, object] | None
    keyed: bool = False
    each: Mapping[int, tuple[HeardPlace, ...]] = field(default_factory=dict)

    @property
    def stopped(self) -> bool:
        """Whether the model ended the text."""
        return self.finish in ("stop", "eos", "eos_token", "completed")

    @property
    def cached(self) -> bool:
        """Whether usage tells how much of the prompt was cached."""
        return tells_cached(self.usage)


def hear(body: Mapping[str, object]) -> HeardReply:
    """The first answer of a reply."""
    usage = body.get("usage")
    counted = cast(Mapping[str, object], usage) if isinstance(usage, Mapping) else None
    if "output" in body:
        return _response(body, counted)
    choice = _mapping(next(iter(_list(body.get("choices"))), None))
    message = _mapping(choice.get("message"))
    told = _mapping(choice.get("logprobs"))
    return HeardReply(
        text=_text(choice.get("text")) or _text(message.get("content")),
        places=_places(told),
        finish=_text(choice.get("finish_reason")),
        shape="legacy" if "tokens" in told else "rows" if "content" in told else "none",
        usage=counted,
        keyed=bool(_list(told.get("token_ids"))),
        each=_each(_list(body.get("choices"))),
    )


def _each(choices: Sequence[object]) -> Mapping[int, tuple[HeardPlace, ...]]:
    if len(choices) < 2:
        return {}
    read = [_mapping(choice) for choice in choices]
    return {at: _places(_mapping(one.get("logprobs"))) for one in read if isinstance(at := one.get("index"), int)}


def _response(body: Mapping[str, object], usage: Mapping[str, object] | None) -> HeardReply:
    items = [_mapping(item) for item in _list(body.get("output"))]
    parts = [_mapping(part) for item in items for part in _list(item.get("content"))]
    rows = [row for part in parts for row in _list(part.get("logprobs"))]
    text = "".join(_text(part.get("text")) for part in parts)
    return HeardReply(text, tuple(map(_row, rows)), _text(body.get("status")), "rows" if rows else "none", usage)


def _places(told: Mapping[str, object]) -> tuple[HeardPlace, ...]:
    if "tokens" in told:
        return tuple(_legacy(told))
    return tuple(_row(row) for row in _list(told.get("content")))


def _row(value: object) -> HeardPlace:
    row = _mapping(value)
    return HeardPlace(_token(row), tuple(_token(_mapping(top)) for top in _list(row.get("top_logprobs"))))


def _token(row: Mapping[str, object]) -> HeardToken:
    return HeardToken(_text(row.get("token")), _bytes(row.get("bytes")), _number(row.get("logprob")))


def _legacy(told: Mapping[str, object]) -> Iterator[HeardPlace]:
    names, own, tops = (_list(told.get(name)) for name in ("tokens", "token_logprobs", "top_logprobs"))
    for at, name in enumerate(names):
        listed = _mapping(tops[at] if at < len(tops) else None)
        found = tuple(HeardToken(one, None, _number(logp)) for one, logp in listed.items())
        yield HeardPlace(HeardToken(_text(name), None, _number(own[at] if at < len(own) else None)), found)


def _mapping(value: object) -> Mapping[str, object]:
    return cast(Mapping[str, object], value) if isinstance(value, Mapping) else {}


def _list(value: object) -> Sequence[object]:
    return cast(Sequence[object], value) if isinstance(value, list) else []


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""


def _number(value: object) -> float:
    """What is no number is as good as a sentinel."""
    if isinstance(value, bool) or not isinstance(value, int | float) or abs(value) > _HUGE:
        return SENTINEL
    return float(value)


def _bytes(value: object) -> bytes | None:
    if not isinstance(value, list) or not all(isinstance(one, int) and -128 <= one <= 255 for one in value):
        return None
    return bytes(one & 255 for one in value)
