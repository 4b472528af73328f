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


class ProbeToken(NamedTuple):
    """A token as it is written. raw: the bytes that stand beside it, None where none do."""

    token: str
    raw: bytes | None
    logp: float


class ProbePosition(NamedTuple):
    """One position: the sampled token, and the alternatives in the order that they came."""

    sampled: ProbeToken
    listed: tuple[ProbeToken, ...]

    @property
    def best(self) -> ProbeToken:
        """The likeliest of all that is told here; of the sampled token's own entry and the listed ones."""
        return max((*self.listed, self.sampled), key=lambda one: one.logp)

    @property
    def distribution(self) -> Mapping[str, float]:
        """The alternatives' log-probs by their names, the likelier of two namesakes; sentinels left out."""
        logps: dict[str, float] = {}
        for one in sorted(self.listed, key=lambda one: -one.logp):
            if one.logp > SENTINEL:
                logps.setdefault(one.token, one.logp)
        return logps


@dataclass(frozen=True, slots=True)
class ProbeReply:
    """A reply. shape: of its log-probs. keyed: token ids stand beside the legacy shape's tokens.

    each: the places of all choices, by their index, where there are several.
    """

    text: str
    places: tuple[ProbePosition, ...]
    finish: str
    shape: Shape
    usage: Mapping[str, object] | None
    keyed: bool = False
    each: Mapping[int, tuple[ProbePosition, ...]] = field(default_factory=dict)

    @property
    def stopped(self) -> bool:
        """Whether the model ended the text."""
        return self.finish in ("stop", "eos", "eos_token", "completed")

    @property
    def cached(self) -> bool:
        """Whether usage tells how much of the prompt was cached."""
        return tells_cached(self.usage)


def read_reply(body: Mapping[str, object]) -> ProbeReply:
    """The first answer of a reply."""
    usage = body.get("usage")
    counted = cast(Mapping[str, object], usage) if isinstance(usage, Mapping) else None
    if "output" in body:
        return _response(body, counted)
    choice = _mapping(next(iter(_list(body.get("choices"))), None))
    message = _mapping(choice.get("message"))
    logprobs = _mapping(choice.get("logprobs"))
    return ProbeReply(
        text=_text(choice.get("text")) or _text(message.get("content")),
        places=_places(logprobs),
        finish=_text(choice.get("finish_reason")),
        shape="legacy" if "tokens" in logprobs else "rows" if "content" in logprobs else "none",
        usage=counted,
        keyed=bool(_list(logprobs.get("token_ids"))),
        each=_each(_list(body.get("choices"))),
    )


def _each(choices: Sequence[object]) -> Mapping[int, tuple[ProbePosition, ...]]:
    if len(choices) < 2:
        return {}
    read = [_mapping(choice) for choice in choices]
    return {at: _places(_mapping(one.get("logprobs"))) for one in read if isinstance(at := one.get("index"), int)}


def _response(body: Mapping[str, object], usage: Mapping[str, object] | None) -> ProbeReply:
    items = [_mapping(item) for item in _list(body.get("output"))]
    parts = [_mapping(part) for item in items for part in _list(item.get("content"))]
    rows = [row for part in parts for row in _list(part.get("logprobs"))]
    text = "".join(_text(part.get("text")) for part in parts)
    return ProbeReply(text, tuple(map(_row, rows)), _text(body.get("status")), "rows" if rows else "none", usage)


def _places(logprobs: Mapping[str, object]) -> tuple[ProbePosition, ...]:
    if "tokens" in logprobs:
        return tuple(_legacy(logprobs))
    return tuple(_row(row) for row in _list(logprobs.get("content")))


def _row(value: object) -> ProbePosition:
    row = _mapping(value)
    return ProbePosition(_token(row), tuple(_token(_mapping(top)) for top in _list(row.get("top_logprobs"))))


def _token(row: Mapping[str, object]) -> ProbeToken:
    return ProbeToken(_text(row.get("token")), _bytes(row.get("bytes")), _number(row.get("logprob")))


def _legacy(logprobs: Mapping[str, object]) -> Iterator[ProbePosition]:
    names, sampled, tops = (_list(logprobs.get(name)) for name in ("tokens", "token_logprobs", "top_logprobs"))
    for at, name in enumerate(names):
        listed = _mapping(tops[at] if at < len(tops) else None)
        alternatives = tuple(ProbeToken(one, None, _number(logp)) for one, logp in listed.items())
        token = ProbeToken(_text(name), None, _number(sampled[at] if at < len(sampled) else None))
        yield ProbePosition(token, alternatives)


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
