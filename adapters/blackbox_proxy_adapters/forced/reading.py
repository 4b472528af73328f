r"""The positions of a JSON reply -> those of the plain text behind the answer so far.

A position of JSON tells of tokens. Each is read from the place in the JSON where it stands (`json_text`), and then
stands for plain text, perhaps with a mark behind it, of a byte that no UTF-8 holds: `ENDS` where it closes the string,
`OPEN` where it ends inside an escape. What follows from that:

* **Half an escape** is no text yet. Where it was sampled, it is one event with the token behind it: both in turn are as
  likely as the product, and so is each alternative of the second. Where it is an alternative alone, nobody knows what
  it becomes: its mass is of what is not shown, and `ceiling` is no less.
* **Text and end in one token** (`."}`) is the text, and then the end. It is merged with the token of the same text
  alone (`.`); behind that text, the end has the share that such tokens have of both. The other share goes on as the
  sampled token does; where the end was sampled, nobody knows how, and it is not shown.
* **What JSON forbids** at a place, but for bare line ends, has no mass: where an endpoint tells log-probs of before its
  mask, those of what may stand there are divided by what is left. A token that closes the string is its end, whatever
  follows the quote.
* **The border**: the token that holds the last bytes of the answer so far and goes on is cut there (`healing`).

Before the answer so far has come to its end, alternatives are not read: only what was sampled says what stands there.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from operator import itemgetter

from blackbox_proxy.errors import ReplyCut, ReplyError
from blackbox_proxy.types import Candidate, Kind, Position, Reply
from blackbox_proxy_adapters.healing import healed
from blackbox_proxy_adapters.pieces import kind_of
from blackbox_proxy_adapters.positions import log_add, log_of

from .json_text import HALVED, JsonPlace, read_json
from .schema import ANSWER, Structured, spelt

ENDS = b"\xff"
OPEN = b"\xfe"
_QUOTE = b'"'
_SPOKEN = (Kind.TEXT, Kind.FRAGMENT)
_FENCE = (b"", b"```", b"```json")
_ROOM = "the model spells the answer so far in many tokens: use a model with a better tokenizer for this language"
_HINT = "the endpoint does not do what the schema demands: examine it with `blackbox-proxy doctor`"


def read_forced(reply: Reply, prefix: bytes, structured: Structured) -> Reply:
    """The reply behind the answer so far, as plain text.

    Args:
        reply: The reply, whose positions are those of JSON.
        prefix: The answer so far.
        structured: How it was demanded.

    Raises:
        ReplyCut: For one that its own limit cuts inside the answer so far.
        ReplyError: For a reply that is no JSON, does not begin with the answer so far, or ends before it does.
    """
    walk = _read_tokens(reply)
    begun = b"" if structured == "const" else prefix
    first, held = _border(walk, prefix, begun)
    marked = [_marked(position, place) for position, place, _ in walk.tokens[first:]]
    rest, share = _behind(_joined(marked), held)
    positions = tuple(_plain(rest, share))
    ended = bool(positions) and positions[-1].sampled.kind is Kind.END
    if not positions:
        raise walk.ending(f"the reply ended (finish {reply.finish!r}) inside the JSON that it was to write")
    finish = "stop" if ended else reply.finish if reply.finish not in ("stop", None) else "length"
    respelled = _QUOTE + spelt(prefix) not in walk.json
    exact = walk.json.partition(b"{")[0].strip() in _FENCE
    return replace(reply, positions=positions, finish=finish, exact=exact, forced=True, respelled=respelled, said=None)


def is_bordered(reply: Reply, prefix: bytes) -> bool:
    """Whether one of the model's tokens ends where the answer so far does.

    Raises:
        ReplyError: As `read_forced`.
    """
    walk = _read_tokens(reply)
    at, held = _border(walk, prefix, prefix)
    return not held or walk.tokens[at][2] == held


def read_all(reply: Reply) -> Reply:
    """The whole text of the answer, as plain text, its end included where the reply has it.

    Raises:
        ReplyError: For a reply that is no JSON, or holds no answer.
    """
    walk = _read_tokens(reply)
    first = next((at for at, (_, _, text) in enumerate(walk.tokens) if text), len(walk.tokens))
    marked = [_marked(position, place) for position, place, _ in walk.tokens[first:]]
    positions = tuple(_plain(_joined(marked), 0.0))
    exact = walk.json.partition(b"{")[0].strip() in _FENCE
    return replace(reply, positions=positions, exact=exact, forced=True, said=None)


@dataclass(frozen=True, slots=True)
class _Walk:
    """The sampled tokens as JSON. tokens: each with the place before it, and what it adds to the answer.

    cut: whether the reply was cut by its own limit, inside the JSON.
    """

    tokens: Sequence[tuple[Position, JsonPlace, bytes]]
    places: Sequence[JsonPlace]
    json: bytes
    cut: bool

    def ending(self, words: str) -> ReplyError:
        """The error for a reply that ends before it says what is asked for."""
        return ReplyCut(words, hint=_ROOM) if self.cut else ReplyError(words, hint=_HINT)


def _read_tokens(reply: Reply) -> _Walk:
    """Reads up to the end of the string, or to the first token whose bytes nobody knows."""
    place, tokens, places, json = JsonPlace(ANSWER.encode()), [], [], b""
    for position in reply.positions:
        if place.ended or position.sampled.kind not in _SPOKEN:
            break
        piece = position.sampled.piece
        read = read_json(place, piece)
        if read is None:
            raise ReplyError(f"the reply is no JSON as it was demanded: {(json + piece)[-40:]!r}", hint=_HINT)
        tokens.append((position, place, read.text))
        place, json = read.place, json + piece
        places.append(place)
    return _Walk(tokens, places, json, cut=reply.finish == "length" and b"{" in json)


def _border(walk: _Walk, prefix: bytes, begun: bytes) -> tuple[int, bytes]:
    """The token with which the answer so far ends, or the first behind it; and what of it that token says again."""
    said = b""
    for at, (_, _, text) in enumerate(walk.tokens):
        place = walk.places[at]
        if place.in_answer or place.ended:
            whole = said + text
            if not (whole.startswith(begun) or begun.startswith(whole)) or (not begun and place.other != prefix):
                raise ReplyError(_differing(whole if begun else place.other, prefix), hint=_HINT)
            if begun and len(whole) >= len(begun):
                return at, begun[len(said) :]
            if not begun and (text or place.ended or place.pending):
                return at, b""
            said = whole
    raise walk.ending(f"the reply ends before it has said {prefix[-40:]!r}, which it was to begin with")


def _differing(said: bytes, text: bytes) -> str:
    at = next((i for i, (a, b) in enumerate(zip(said, text, strict=False)) if a != b), min(len(said), len(text)))
    return f"the reply says {said[at : at + 20]!r} where {text[at : at + 20]!r} was demanded, at byte {at}"


def _marked(position: Position, place: JsonPlace) -> tuple[Position, JsonPlace]:
    """The position of tokens as one of marked text, and the place before it. What JSON forbids is left out."""
    read = [(candidate, _text(candidate, place)) for candidate in position.top]
    allowed = [replace(c, piece=text, kind=_kind(text, c.kind), id=None) for c, text in read if text is not None]
    room = 1.0 - math.fsum(math.exp(c.logp) for c, text in read if text is None)
    sampled = position.sampled
    text = _text(sampled, place) or b""
    if room <= _LEAST:
        alone = replace(sampled, piece=text, kind=_kind(text, sampled.kind), id=None)
        return Position(alone, (), 1.0, 0.0), place
    moved = log_of(room)
    top = _merged((c.piece, c.kind, c.logp - moved) for c in allowed)
    logp = min(0.0, sampled.logp - moved)
    chosen = _among(top, Candidate(text, logp, _kind(text, sampled.kind)))
    tail = min(1.0, position.tail / room)
    return Position(chosen, top, tail, min(0.0, position.ceiling - moved, log_of(tail))), place


_LEAST = 1e-9
"""Mass below which rounding is all that is left."""


def _text(candidate: Candidate, place: JsonPlace) -> bytes | None:
    """The marked text of a candidate; None for what JSON forbids. One without known bytes stays as it is."""
    if candidate.kind is Kind.END:
        return ENDS
    if candidate.kind is Kind.SPECIAL:
        return candidate.piece
    read = read_json(place, candidate.piece)
    if read is None:
        return None
    return read.text + (ENDS if read.place.ended else OPEN if read.place.pending else b"")


def _kind(text: bytes, kind: Kind) -> Kind:
    """Marked text is a fragment, as bytes are that no UTF-8 holds; half of a surrogate pair is no text at all."""
    if kind is Kind.SPECIAL or HALVED.search(text):
        return Kind.SPECIAL
    return kind_of(text) if text else Kind.FRAGMENT


def _joined(marked: Sequence[tuple[Position, JsonPlace]]) -> list[Position]:
    """The positions where each sampled half of an escape is one with the token behind it; the last may be left out."""
    joined: list[Position] = []
    whole = True
    for position, _ in marked:
        if whole:
            joined.append(position)
        else:
            joined[-1] = _in_turn(joined[-1], position)
        whole = not joined[-1].sampled.piece.endswith(OPEN)
    return joined if whole else joined[:-1]


def _in_turn(first: Position, second: Position) -> Position:
    """One position for two tokens: the sampled one of the first, and each of the second behind it."""
    stem, logp = first.sampled.piece.removesuffix(OPEN), first.sampled.logp
    others = [(c.piece, c.kind, c.logp) for c in first.top if c.piece != first.sampled.piece]
    behind = [(stem + c.piece, _kind(stem + c.piece, c.kind), logp + c.logp) for c in second.top]
    listed = any(c.piece == first.sampled.piece for c in first.top)
    tail = min(1.0, first.tail + math.exp(logp) * second.tail if listed else first.tail)
    text = stem + second.sampled.piece
    top = _merged([*others, *behind])
    sampled = _among(top, Candidate(text, logp + second.sampled.logp, _kind(text, second.sampled.kind)))
    return Position(sampled, top, tail, max(first.ceiling, logp + second.ceiling))


def _behind(positions: Sequence[Position], held: bytes) -> tuple[Sequence[Position], float]:
    """The positions behind `held`, and the share of the end that was fused with it."""
    if not positions or not held:
        return positions, 0.0
    if positions[0].sampled.piece == held:
        return positions[1:], _fused(positions[0])
    rest = healed(positions, held)
    return ([] if rest is None else rest.positions), 0.0


def _fused(position: Position) -> float:
    """Of the tokens that say what the sampled one says, the share of those that end the answer with it."""
    text = position.sampled.piece.removesuffix(ENDS)
    masses = {c.piece: math.exp(c.logp) for c in (position.sampled, *position.top)}
    both = [masses.get(text + mark, 0.0) for mark in (ENDS, b"", OPEN)]
    whole = math.fsum(both)
    if whole <= 0.0:
        return float(position.sampled.piece.endswith(ENDS))
    return both[0] / whole


def _plain(positions: Sequence[Position], share: float) -> Iterator[Position]:
    """The positions without marks. share: of the end, at the first of them, that was fused with the text before."""
    for position in positions:
        sampled = position.sampled.piece
        yield _unmarked(position, share)
        share = _fused(position)
        if sampled.endswith(ENDS):
            if sampled != ENDS:
                end = Candidate(_QUOTE, log_of(share), Kind.END)
                yield Position(end, (end,), 1.0 - share, log_of(1.0 - share))
            return


def _unmarked(position: Position, share: float) -> Position:
    """One position as the rest of the package has it; the end has `share` besides, and all else what is left."""
    scale, masses, loose = log_of(1.0 - share), list[tuple[bytes, Kind, float]](), list[float]()
    for c in position.top:
        text = c.piece.removesuffix(ENDS).removesuffix(OPEN)
        if c.piece == ENDS:
            masses.append((_QUOTE, Kind.END, c.logp + scale))
        elif c.kind is Kind.SPECIAL:
            masses.append((c.piece, Kind.SPECIAL, c.logp + scale))
        elif text:
            masses.append((text, kind_of(text), c.logp + scale))
        else:
            loose.append(c.logp + scale)
    if share > 0.0:
        masses.append((_QUOTE, Kind.END, log_of(share)))
    top = _merged(masses)
    tail = min(1.0, math.exp(scale) * position.tail + math.fsum(map(math.exp, loose)))
    ceiling = min(log_of(tail), max([position.ceiling + scale + math.log(2.0), *loose]))
    return Position(_among(top, _chosen(position.sampled, scale)), top, tail, min(0.0, ceiling))


def _chosen(sampled: Candidate, scale: float) -> Candidate:
    """The sampled token without its mark."""
    text = sampled.piece.removesuffix(ENDS)
    if not text:
        return Candidate(_QUOTE, sampled.logp + scale, Kind.END)
    return Candidate(text, sampled.logp + scale, sampled.kind if sampled.kind is Kind.SPECIAL else kind_of(text))


def _merged(masses: Iterable[tuple[bytes, Kind, float]]) -> tuple[Candidate, ...]:
    """Candidates of these texts, likeliest first; equal ones are one event."""
    whole: dict[tuple[bytes, Kind], float] = {}
    for text, kind, logp in masses:
        if logp == -math.inf:
            continue
        key = (text, kind)
        whole[key] = log_add(whole[key], logp) if key in whole else min(0.0, logp)
    return tuple(
        Candidate(text, logp, kind) for (text, kind), logp in sorted(whole.items(), key=itemgetter(1), reverse=True)
    )


def _among(top: Sequence[Candidate], sampled: Candidate) -> Candidate:
    """The candidate of the top-k that says what was sampled, if there is one."""
    return next((c for c in top if (c.piece, c.kind) == (sampled.piece, sampled.kind)), sampled)
