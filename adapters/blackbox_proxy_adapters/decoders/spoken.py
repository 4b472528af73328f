"""Log-probs held against the text of their reply: they should be those of its tokens, one after the other.

* An empty string may be how an endpoint shows the end, or a token that is a part of a character. One that more tokens
  follow, or that a reply broke off behind, is no end.
* Where tokens have lost their bytes, the text tells what they say together, and the position of the first is that of
  all: as likely as all of them in turn.
* A control token behind all of the text is the end, whatever it is called.
* Log-probs may begin with reasoning that the text does not hold. Its positions are left out, and what is behind them
  depends on more than the text (`Heard.exact`). Where the text holds nothing of what they say, the reply is refused.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from blackbox_proxy.errors import ReplyError
from blackbox_proxy.types import LOST, Candidate, Kind, Position
from blackbox_proxy_adapters.pieces import kind_of
from blackbox_proxy_adapters.positions import Dialect, unknown

_SPOKEN = (Kind.TEXT, Kind.FRAGMENT)


@dataclass(frozen=True, slots=True)
class Heard:
    """The positions of the answer. whole: none is missing at the end; exact: they depend on the text alone."""

    positions: tuple[Position, ...]
    whole: bool = True
    exact: bool = True


def heard(positions: Sequence[Position], text: str | None, dialect: Dialect, *, ended: bool) -> Heard:
    """The positions as the text tells them. ended: whether the endpoint says that the answer ends behind the last.

    Raises ReplyError where the text holds nothing of what they say.
    """
    last = len(positions) - 1
    ends = (not (ended and at == last) and _is_false_end(p, dialect) for at, p in enumerate(positions))
    places = [_no_end(p) if false else p for p, false in zip(positions, ends, strict=True)]
    if text is None or dialect.repeats:
        return Heard(tuple(places))
    if ended:
        places = _with_end(places, text.encode("utf-8", "surrogatepass"))
    kept = _answer(places, text.encode("utf-8", "surrogatepass"))
    answer = _restored(kept, text.encode("utf-8", "surrogatepass"), ended=ended)
    return replace(answer, exact=len(kept) == len(places))


def _with_end(positions: Sequence[Position], text: bytes) -> list[Position]:
    """The positions where a control token behind the whole text, which nobody knows for one, is the end.

    Where the text is empty, that holds for a token by itself alone: the answer ends before its first token.
    """
    *before, last = positions or [unknown()]
    piece = last.sampled.piece
    named = last.sampled.kind is Kind.TEXT and piece.startswith(b"<") and piece.endswith(b">")
    said, whole = b"".join(map(_bytes, before)).rstrip(), text.rstrip()
    behind = said.endswith(whole) and not (said + piece).endswith(whole) if whole else not said
    if not (named and behind):
        return list(positions)
    top = tuple(replace(c, kind=Kind.END) if c.piece == piece else c for c in last.top)
    return [*before, replace(last, sampled=replace(last.sampled, kind=Kind.END), top=top)]


def _is_false_end(position: Position, dialect: Dialect) -> bool:
    """Whether the sampled token is shown as an empty string that may stand for a part of a character."""
    sampled = position.sampled
    return sampled.kind is Kind.END and not sampled.piece and sampled.id not in dialect.end_ids


def _no_end(position: Position) -> Position:
    """The position where the empty string stands for no end."""
    top = tuple(replace(c, kind=Kind.SPECIAL) if c.kind is Kind.END and not c.piece else c for c in position.top)
    return replace(position, sampled=replace(position.sampled, kind=Kind.SPECIAL), top=top)


def _answer(positions: Sequence[Position], text: bytes) -> Sequence[Position]:
    """The positions without those of reasoning before the text."""
    pieces = [_bytes(position) for position in positions]
    said, text = b"".join(pieces), text.strip()
    if not text:
        if _is_words(said):
            raise _unheld(said)
        return positions
    if said.strip() == text or not said.rstrip().endswith(text):
        return positions
    tail = b""
    for at in range(len(pieces) - 1, -1, -1):
        tail = pieces[at] + tail
        if len(tail.strip()) >= len(text):
            before = b"".join(pieces[:at])
            return positions[at:] if tail.strip() == text and before.strip() else positions
    return positions


def _is_words(said: bytes) -> bool:
    """Whether it is text that a reply would hold: not white space, not the beginning of a character."""
    try:
        return bool(said.decode("utf-8").strip()) and LOST not in said
    except UnicodeDecodeError:
        return False


def _unheld(said: bytes) -> ReplyError:
    return ReplyError(
        f"the reply's log-probabilities are of text that it does not hold, beginning with {said[:40]!r}",
        hint="the model reasons, or calls a tool: switch reasoning off (extra_body), or take another model",
    )


def _bytes(position: Position) -> bytes:
    sampled = position.sampled
    return sampled.piece if sampled.kind in _SPOKEN or LOST in sampled.piece else b""


def _restored(positions: Sequence[Position], text: bytes, *, ended: bool) -> Heard:
    """The positions with what the text tells of tokens that have lost their bytes.

    A character that is left open at the end is left out: what comes next is asked for again.
    """
    if not any(position.is_lost for position in positions):
        return Heard(tuple(positions))
    restored = list(_aligned(positions, text)) or list(positions)
    count = len(restored)
    while not ended and len(restored) > 1 and restored[-1].is_lost:
        del restored[-1]
    return Heard(tuple(restored), len(restored) == count)


def _aligned(positions: Sequence[Position], text: bytes) -> Iterator[Position]:
    """The positions along the text; nothing where it cannot be followed."""
    runs = list(_runs(positions))
    aligned: list[Position] = []
    at = 0
    for number, (lost, known) in enumerate(runs):
        said = b"".join(_bytes(position) for position in known)
        start = _start(text, said, at, last=number == len(runs) - 1) if lost else at
        if start is None or not text.startswith(said, start):
            return
        aligned += _joined(lost, known, text[at:start])
        at = start + len(said)
    yield from aligned


def _runs(positions: Sequence[Position]) -> Iterator[tuple[Sequence[Position], Sequence[Position]]]:
    """Positions that are lost, and those behind them that are known, again and again; the first may lack the former."""
    at = 0
    while at < len(positions):
        middle = next((n for n in range(at, len(positions)) if not positions[n].is_lost), len(positions))
        end = next((n for n in range(middle, len(positions)) if positions[n].is_lost), len(positions))
        yield positions[at:middle], positions[middle:end]
        at = end


def _start(text: bytes, said: bytes, at: int, *, last: bool) -> int | None:
    """Where known text begins behind lost tokens; None where that is not clear."""
    if last:
        return len(text) - len(said) if len(text) - len(said) >= at else None
    return text.find(said, at) if said and text.count(said, at) == 1 else None


def _joined(lost: Sequence[Position], known: Sequence[Position], gap: bytes) -> Sequence[Position]:
    """The lost tokens as one that says what stands between, or what the next one says."""
    if not lost:
        return known
    if gap and LOST not in gap:
        return [_as_one(lost, gap), *known]
    if not gap and known and _bytes(known[0]):
        return [_as_one([*lost, known[0]], _bytes(known[0])), *known[1:]]
    return [*lost, *known]


def _as_one(positions: Sequence[Position], piece: bytes) -> Position:
    """One position whose sampled token is what several say in turn."""
    first = positions[0]
    logp = math.fsum(position.sampled.logp for position in positions)
    sampled = Candidate(piece, logp, kind_of(piece))
    same = [c for c in first.top if c.kind is Kind.SPECIAL and c.piece == first.sampled.piece]
    others = tuple(c for c in first.top if c not in same[:1] and (c.piece, c.kind) != (piece, sampled.kind))
    top = tuple(sorted((sampled, *others), key=lambda c: -c.logp)) if math.isfinite(logp) else others
    freed = sum(math.exp(c.logp) for c in first.top) - sum(math.exp(c.logp) for c in top)
    return Position(sampled, top, min(1.0, max(0.0, first.tail + freed)), _ceiling(first, same))


def _ceiling(first: Position, same: Sequence[Candidate]) -> float:
    """A token that begins as the lost one does may be as likely as that one, in what it goes on with."""
    return max([first.ceiling, *(c.logp for c in same)])
