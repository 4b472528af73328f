r"""Reply shapes -> `Reply`, as pure functions. Here: the legacy completions shape.

    choices[0].logprobs = {tokens: [str], token_logprobs: [float], top_logprobs: [{str: float}], text_offset: [int]}

What this shape cannot say, and what is made of it:

* Tokens are strings. A token that is no whole UTF-8 text is spelt `bytes:\xe2\x80`, where plain characters may stand
  between the escapes. A string with U+FFFD in it, or an empty one, has lost its bytes: kind `special`, its mass is
  known but it must never be emitted.
* Tokens that print alike share one key. The server keeps one of their log-probs; the rest of the mass is in the tail.
* The token that was sampled is appended when it is not in the top-k, so there may be k + 1 entries; there may be fewer
  too. It must not set `ceiling`; where it is known how many were asked for, it is not in `top` either.
* Most servers send no entry for the token that ends the text. Then the positions simply stop and `finish` is "stop":
  that, with no `end` position, is what tells the reader of the hidden end. Its log-prob is unknown.

The module knows no request, no provider and no tokenizer.
"""

from __future__ import annotations

import math
import re
from collections.abc import Collection, Mapping, Sequence
from functools import lru_cache
from operator import itemgetter
from typing import NamedTuple

from blackbox_proxy.errors import ReplyError
from blackbox_proxy.types import Candidate, Kind, Position, Reply, Usage

from .fields import as_count, as_list, as_logp, as_mapping, as_text, unreadable

_ESCAPE = re.compile(r"\\x([0-9a-fA-F]{2})")
_STOPPED = frozenset({"stop", "eos", "eos_token"})
_NO_CHAT_LOGPROBS = "this model may give none; choose one that returns logprobs on /chat/completions"
_NO_LOGPROBS = "this endpoint or model may give none; choose one that returns top_logprobs on /completions"


class Piece(NamedTuple):
    """A token as the text sees it. Two tokens of the same piece cannot be told apart."""

    text: bytes
    kind: Kind


def read_reply(body: Mapping[str, object], *, end_pieces: Collection[bytes] = (), top_k: int | None = None) -> Reply:
    """The whole body of a legacy completion; its first choice is read.

    end_pieces: how the endpoint spells the tokens that end a text. top_k: how many alternatives were asked for. Raises
    `ReplyError` for anything that is not of this shape, and for a reply that holds text but no log-probabilities.
    """
    choice = _first_choice(body)
    finish = _finish(choice.get("finish_reason"))
    positions = read_positions(choice.get("logprobs"), end_pieces=end_pieces, top_k=top_k)
    if not positions and (finish != "stop" or choice.get("text")):
        raise ReplyError("the reply holds no log-probabilities", hint=_NO_LOGPROBS)
    model = body.get("model")
    return Reply(
        positions=positions,
        finish=finish,
        usage=read_usage(body.get("usage")),
        model=model if isinstance(model, str) else "",
    )


def read_chat_reply(
    body: Mapping[str, object], *, end_pieces: Collection[bytes] = (), top_k: int | None = None
) -> Reply:
    """The whole body of a chat completion; its first choice is read.

        choices[0].logprobs.content = [{token, bytes, logprob, top_logprobs: [{token, bytes, logprob}]}]

    Arguments and errors as in `read_reply`. An entry whose bytes are null is read by its string.
    """
    choice = _first_choice(body)
    finish = _finish(choice.get("finish_reason"))
    logprobs = choice.get("logprobs")
    content = None if logprobs is None else as_mapping(logprobs, "logprobs").get("content")
    rows = as_list([] if content is None else content, "logprobs.content")
    ends = frozenset(end_pieces)
    positions = tuple(
        _chat_position(as_mapping(row, f"content[{at}]"), ends=ends, at=at, top_k=top_k) for at, row in enumerate(rows)
    )
    message = as_mapping(choice.get("message") or {}, "message")
    if not positions and (finish != "stop" or message.get("content")):
        raise ReplyError("the reply holds no log-probabilities", hint=_NO_CHAT_LOGPROBS)
    model = body.get("model")
    return Reply(positions, finish, read_usage(body.get("usage")), model if isinstance(model, str) else "")


def _chat_position(row: Mapping[str, object], *, ends: frozenset[bytes], at: int, top_k: int | None) -> Position:
    """One position of a chat. Tokens of the same bytes are one entry, their probabilities added."""
    own = _chat_entry(row, f"content[{at}]", ends=ends)
    entries = as_list(row.get("top_logprobs") or [], f"content[{at}].top_logprobs")
    listed = [_chat_entry(as_mapping(e, "top_logprobs"), f"content[{at}].top_logprobs", ends=ends) for e in entries]
    told = [(piece, logp) for piece, logp in listed if logp is not None]
    appended = top_k is not None and len(told) > top_k and min(logp for _, logp in told) == own[1]
    others = [logp for piece, logp in told if piece != own[0]]
    masses: dict[Piece, float] = {}
    for piece, logp in told:
        if not (appended and piece == own[0]):
            masses[piece] = _log_add(masses[piece], logp) if piece in masses else logp
    tail = min(1.0, max(0.0, 1.0 - math.fsum(map(math.exp, masses.values()))))
    ranked = sorted(masses.items(), key=itemgetter(1), reverse=True)
    logp = masses.get(own[0], -math.inf if own[1] is None else own[1])
    ceiling = min(others) if others else (math.log(tail) if tail > 0.0 else -math.inf)
    top = tuple(Candidate(piece.text, mass, piece.kind) for piece, mass in ranked)
    return Position(Candidate(own[0].text, logp, own[0].kind), top, tail, ceiling)


def _chat_entry(entry: Mapping[str, object], where: str, *, ends: frozenset[bytes]) -> tuple[Piece, float | None]:
    """A token's bytes and log-prob, None where nobody tells it."""
    logp = as_logp(entry.get("logprob"), f"{where}.logprob")
    spelling = as_text(entry.get("token"), f"{where}.token")
    if entry.get("bytes") is None:
        return _read_piece(spelling, ends), logp
    numbers = as_list(entry["bytes"], f"{where}.bytes")
    if not all(isinstance(n, int) and 0 <= n <= 255 for n in numbers):
        raise unreadable(numbers, f"{where}.bytes", wanted="a list of bytes")
    text = bytes(n for n in numbers if isinstance(n, int))
    # An end has a name and no bytes: its string tells it.
    kind = Kind.END if spelling.encode("utf-8", "surrogatepass") in ends else kind_of(text, end_pieces=ends)
    return Piece(text, kind), logp


def read_revealed(body: Mapping[str, object], *, ids: Sequence[int], forced: bool) -> Reply:
    """The log-probs of chosen ids in the first position, as its `revealed` candidates; they have an id and no piece.

    forced: the one token was forced by a bias, and its own log-prob is the answer; otherwise tokens are written as
    `token_id:N`. Ids that the reply leaves out, or gives no probability, are left out. Raises `ReplyError` for another
    shape.
    """
    fields = as_mapping(_first_choice(body).get("logprobs"), "logprobs")
    if forced:
        own = as_list(fields.get("token_logprobs"), "logprobs.token_logprobs")
        logps = {ids[0]: as_logp(own[0], "token_logprobs[0]")} if own else {}
    else:
        tops = as_list(fields.get("top_logprobs"), "logprobs.top_logprobs")
        listed = _listed(tops[0] if tops else None, "top_logprobs[0]")
        logps = {i: listed.get(f"token_id:{i}") for i in ids}
    revealed = tuple(Candidate(b"", logp, Kind.SPECIAL, i) for i, logp in logps.items() if logp is not None)
    sampled = Candidate(b"", -math.inf, Kind.SPECIAL)
    return Reply((Position(sampled, (), 1.0, 0.0, revealed),), None, read_usage(body.get("usage")))


def read_positions(
    logprobs: object, *, end_pieces: Collection[bytes] = (), top_k: int | None = None
) -> tuple[Position, ...]:
    """One position per generated token from a `logprobs` object; none for null.

    Raises `ReplyError` when the lists do not match in length, or when no position at all shows alternatives.
    """
    if logprobs is None:
        return ()
    fields = as_mapping(logprobs, "logprobs")
    if "content" in fields and "tokens" not in fields:
        raise unreadable("a chat-style `content` list", "logprobs", wanted="of the legacy completions shape")
    tokens, logps, tops = (
        as_list([] if fields.get(name) is None else fields[name], f"logprobs.{name}")
        for name in ("tokens", "token_logprobs", "top_logprobs")
    )
    _check_lengths(tokens, logps=logps, tops=tops)
    rows = zip(tokens, logps, tops, strict=True)
    ends = frozenset(end_pieces)
    return tuple(_position(*row, ends=ends, at=at, top_k=top_k) for at, row in enumerate(rows))


def read_usage(usage: object) -> Usage:
    """The provider's own counts of one request; `input` includes what was read from the cache. Absent counts are 0."""
    if usage is None:
        return Usage(requests=1)
    counts = as_mapping(usage, "usage")
    details = as_mapping(counts.get("prompt_tokens_details") or {}, "usage.prompt_tokens_details")
    return Usage(
        input=as_count(counts.get("prompt_tokens"), "usage.prompt_tokens"),
        cached=as_count(details.get("cached_tokens"), "usage.prompt_tokens_details.cached_tokens"),
        cache_write=as_count(details.get("cache_write_tokens"), "usage.prompt_tokens_details.cache_write_tokens"),
        output=as_count(counts.get("completion_tokens"), "usage.completion_tokens"),
        requests=1,
    )


def read_piece(spelling: str, *, end_pieces: Collection[bytes] = ()) -> Piece:
    r"""The bytes and the kind behind a token's spelling.

    >>> read_piece(r"bytes: \xf0\x9f")
    Piece(text=b' \xf0\x9f', kind=<Kind.FRAGMENT: 'fragment'>)
    >>> read_piece("bytes: 12").text
    b'bytes: 12'
    """
    return _read_piece(spelling, frozenset(end_pieces))


@lru_cache(2**17)  # an endpoint that shows its whole vocabulary repeats it at every position
def _read_piece(spelling: str, end_pieces: frozenset[bytes]) -> Piece:
    prefix, *escaped = _ESCAPE.split(spelling.removeprefix("bytes:")) if spelling.startswith("bytes:") else [""]
    text = _unescape(prefix, escaped) if escaped else spelling.encode("utf-8", "surrogatepass")
    kind = kind_of(text, end_pieces=end_pieces)
    lossy = not escaped and (kind is Kind.FRAGMENT or "\ufffd" in spelling)
    return Piece(text, Kind.SPECIAL if lossy and kind is not Kind.END else kind)


def kind_of(text: bytes, *, end_pieces: Collection[bytes] = ()) -> Kind:
    """What a token of these true bytes stands for. One without bytes, and no end, can only be special."""
    if text in end_pieces:
        return Kind.END
    if not text:
        return Kind.SPECIAL
    return Kind.TEXT if _is_utf8(text) else Kind.FRAGMENT


def _unescape(prefix: str, escaped: Sequence[str]) -> bytes:
    """Joins what splitting at the escapes gave: plain text, then (hex, plain text) pairs."""
    parts = [prefix.encode("utf-8", "surrogatepass")]
    for at, part in enumerate(escaped):
        parts.append(part.encode("utf-8", "surrogatepass") if at % 2 else bytes.fromhex(part))
    return b"".join(parts)


def _is_utf8(text: bytes) -> bool:
    try:
        text.decode("utf-8")
    except UnicodeDecodeError:
        return False
    return True


def _first_choice(body: Mapping[str, object]) -> Mapping[str, object]:
    """`choices[0]`."""
    choices = as_list(body.get("choices"), "choices")
    if not choices:
        raise ReplyError("the reply's choices are empty", hint="try again; if it stays, choose another endpoint")
    return as_mapping(choices[0], "choices[0]")


def _finish(reason: object) -> str | None:
    """The provider's word; its words for "the model ended the text" all become "stop"."""
    if reason is None:
        return None
    word = as_text(reason, "finish_reason")
    return "stop" if word in _STOPPED else word


def _check_lengths(tokens: Sequence[object], *, logps: Sequence[object], tops: Sequence[object]) -> None:
    if tokens and not any(tops):
        raise ReplyError("the reply names the tokens but shows no top_logprobs", hint=_NO_LOGPROBS)
    if not len(tokens) == len(logps) == len(tops):
        lengths = f"{len(tokens)} tokens, {len(logps)} token_logprobs, {len(tops)} top_logprobs"
        raise ReplyError(
            f"the reply's lists differ in length: {lengths}",
            hint="the endpoint does not keep to the legacy completions shape; choose another adapter for it",
        )


def _position(
    token: object, logp: object, top: object, *, ends: frozenset[bytes], at: int, top_k: int | None
) -> Position:
    """One position. A sampled token whose log-prob nobody tells stays out of `top`, with logp -inf.

    So does one that was appended to the `top_k` that were asked for: what the API's top-k holds must not depend on what
    it drew. The reader finds it in `sampled`.
    """
    spelling = as_text(token, f"tokens[{at}]")
    own = as_logp(logp, f"token_logprobs[{at}]")
    listed = _listed(top, f"top_logprobs[{at}]")
    piece = _read_piece(spelling, ends)
    appended = top_k is not None and len(listed) > top_k and listed.get(spelling) == min(listed.values())
    shown = {s: logp for s, logp in listed.items() if s != spelling} if appended else listed
    masses = _by_piece(shown, ends=ends)
    if own is not None and not appended:
        masses.setdefault(piece, own)
    tail = min(1.0, max(0.0, 1.0 - math.fsum(map(math.exp, masses.values()))))
    # The sort keeps the order of equals, and the sampled token comes first: at alpha 0 it must win its ties.
    first = {piece: masses[piece]} if piece in masses else {}
    ranked = sorted((first | masses).items(), key=itemgetter(1), reverse=True)
    return Position(
        sampled=Candidate(piece.text, masses.get(piece, -math.inf if own is None else own), piece.kind),
        top=tuple(Candidate(p.text, mass, p.kind) for p, mass in ranked),
        tail=tail,
        ceiling=_ceiling(spelling, listed, tail=tail),
    )


def _listed(top: object, where: str) -> dict[str, float]:
    """The entries of one `top_logprobs` object without its sentinels; null is an empty one."""
    entries = as_mapping({} if top is None else top, where)
    logps = ((spelling, as_logp(logp, where)) for spelling, logp in entries.items())
    return {spelling: logp for spelling, logp in logps if logp is not None}


def _by_piece(listed: Mapping[str, float], *, ends: frozenset[bytes]) -> dict[Piece, float]:
    """Log-prob per piece. Two spellings of the same bytes are one event for the text: their probabilities add."""
    masses: dict[Piece, float] = {}
    for spelling, logp in listed.items():
        piece = _read_piece(spelling, ends)
        masses[piece] = _log_add(masses[piece], logp) if piece in masses else logp
    return masses


def _log_add(a: float, b: float) -> float:
    """log(e^a + e^b), not above 0: rounded probabilities may add to more than 1."""
    return min(0.0, max(a, b) + math.log1p(math.exp(-abs(a - b))))


def _ceiling(sampled: str, listed: Mapping[str, float], *, tail: float) -> float:
    """The largest log-prob that a token outside the list can have: log p_k.

    The sampled token does not count when it is the smallest entry, because it may have been appended as entry k + 1,
    or may have displaced the k-th; leaving it out is sound in both cases. With no other entry only the tail bounds the
    rest: even a list of 1 need not be the top 1, since a sampled token that prints like it takes its place.
    """
    others = [logp for spelling, logp in listed.items() if spelling != sampled]
    if others:
        return min(others)
    return math.log(tail) if tail > 0.0 else -math.inf
