"""The legacy completions shape where the prompt is given back (`echo`): what is known at the borders of a draft.

A row of the prompt says which token stands there, and shows the top-k where it was predicted. To be worth as much as an
answer of its own, each border must read as if the API had been asked there alone, greedily:

* The sampled token is then the most probable one, and not the draft's. The draft's own is taken out where it was only
  appended to the top-k. Where that is open (a list of k that may lack an entry: tokens that print alike, a hidden
  end), nothing is known of the border.
* Text is cut by the API, wherever it likes. The rows are followed from the end of what was sent, as far as their bytes
  are those of the text; borders in front of the first row that differs (a token that has lost its bytes, a special one)
  are unknown, and so is one inside a token.
* An end that the endpoint hides is in no list. Where no row shows an end, a border counts only if what is not shown is
  less than the best that is: the end cannot be the greedy choice there.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from blackbox_proxy.core.money.usage import read_usage
from blackbox_proxy.types import Echo, Echoed, Kind, Position, Reply, Score
from blackbox_proxy_adapters.fields import as_mapping
from blackbox_proxy_adapters.positions import Dialect

from .envelope import first_choice, read_fingerprint, read_finish, read_model
from .legacy import LegacyRow, Reading, placed, read_rows_of


def read_echo(body: Mapping[str, object], ask: Echo, dialect: Dialect) -> Reply:
    """The positions after the draft, and those at its borders. Raises `ReplyError` for another shape."""
    parts = _read(body, ask, dialect)
    sent, read = parts.sent, parts.read
    borders = _by_ids(sent, ask) if ask.prefix.ids is not None else _by_text(sent, ask, read=read)
    listed = ((other, logp) for row in parts.rows for other, logp in row.shown.items())
    shows_ends = any(read(other, logp, None).piece.kind is Kind.END for other, logp in listed)
    known = {at: _alone(row, dialect, read=read, whole=shows_ends) for at, row in borders}
    echoed = (Echoed(at, place) for at, place in sorted(known.items()) if place is not None)
    return replace(parts.reply, echoed=tuple(one for one in echoed if shows_ends or _is_clear(one.position)))


def read_given(body: Mapping[str, object], ask: Score, dialect: Dialect) -> Reply:
    """The positions after the text, and one for each of its own tokens. Raises `ReplyError` for another shape.

    None of the text's where it is not told token by token: other rows than the ids that were sent, or rows whose bytes
    are not the text. What stands before the text and is none (a token that begins it) has no position.
    """
    parts = _read(body, ask, dialect)
    rows, read = parts.sent, parts.read
    if ask.ids is not None:
        known = rows if len(rows) == len(ask.ids) else ()
    else:
        pieces = [read(row.spelling, row.logp, row.number).piece for row in rows]
        first = next((at for at, piece in enumerate(pieces) if piece.kind in _TEXTS), len(rows))
        fits = (at for at in range(first + 1) if b"".join(piece.text for piece in pieces[at:]) == ask.text)
        known = rows[next(fits, len(rows)) :]
    return replace(parts.reply, given=tuple(_with_logp(row, placed(row, dialect, read=read)) for row in known))


_TEXTS = (Kind.TEXT, Kind.FRAGMENT)


@dataclass(frozen=True, slots=True)
class _Parts:
    """A reply that gives back what was sent. rows: all; sent: those of the prompt; reply: what is generated."""

    rows: Sequence[LegacyRow]
    sent: Sequence[LegacyRow]
    read: Reading
    reply: Reply


def _read(body: Mapping[str, object], ask: Echo | Score, dialect: Dialect) -> _Parts:
    """The rows of the prompt are none where nothing tells how many were generated."""
    choice = first_choice(body)
    finish = read_finish(choice.get("finish_reason"))
    rows, read = read_rows_of(as_mapping(choice.get("logprobs"), "logprobs"), dialect)
    usage, model = read_usage(body.get("usage")).usage, read_model(body)
    count = _generated(rows, ask, read=read, finish=finish, output=usage.output)
    if count is None:
        return _Parts(rows, (), read, Reply((), None, usage, model))
    positions = tuple(placed(row, dialect, read=read) for row in rows[len(rows) - count :])
    reply = Reply(positions, finish, usage, model, fingerprint=read_fingerprint(body))
    return _Parts(rows, rows[: len(rows) - count], read, reply)


def _with_logp(row: LegacyRow, place: Position) -> Position:
    """The position with the row's own log-prob, -inf where it is not told, or another one is shown by its name."""
    logp = row.logp
    if logp is None or abs(row.shown.get(row.spelling, logp) - logp) > _SAME:
        logp = -math.inf
    return replace(place, sampled=replace(place.sampled, logp=logp))


_SAME = 1e-3
"""Nats by which a token's own log-prob and the one in the list may differ by rounding."""


def _generated(
    rows: Sequence[LegacyRow], ask: Echo | Score, *, read: Reading, finish: str | None, output: int
) -> int | None:
    """How many rows at the end were generated: as many as were asked for, unless the answer ended before.

    Then the usage tells it, or where one token was asked for, whether its row is an end. None where nothing tells.
    """
    if finish == "length" and ask.length <= len(rows):
        return ask.length
    if finish != "stop" or not rows:
        return None
    shown = read(rows[-1].spelling, rows[-1].logp, rows[-1].number).piece.kind is Kind.END
    written = output if ask.length > 1 else 1
    return written - (not shown) if 0 < written <= min(ask.length, len(rows)) else None


def _by_ids(sent: Sequence[LegacyRow], ask: Echo) -> Iterator[tuple[int, LegacyRow]]:
    """A row for each id of the draft; none where there are not as many rows as ids were sent."""
    before = len(ask.prefix.ids or ())
    if len(sent) == before + len(ask.draft_ids):
        yield from enumerate(sent[before:])


def _by_text(sent: Sequence[LegacyRow], ask: Echo, *, read: Reading) -> Iterator[tuple[int, LegacyRow]]:
    """The rows that begin inside the draft, from its end on, and how many bytes of it stand before each."""
    at, before = len(ask.draft), len(ask.prefix.answer)
    text = ask.prefix.answer + ask.draft
    for row in reversed(sent):
        piece = read(row.spelling, row.logp, row.number).piece
        at -= len(piece.text)
        fits = text[: before + at + len(piece.text)].endswith(piece.text)
        if at < 0 or not fits or not piece.text or piece.kind not in (Kind.TEXT, Kind.FRAGMENT):
            return
        yield at, row


def _alone(row: LegacyRow, dialect: Dialect, *, read: Reading, whole: bool) -> Position | None:
    """The position as a greedy call would show it; None where the list does not tell.

    whole: a list of k lacks no entry.
    """
    if not row.shown or row.logp is None:
        return None
    shown = dict(row.shown)
    least = min(shown, key=shown.__getitem__)
    if least == row.spelling and dialect.top_k is not None:
        if len(shown) > dialect.top_k:
            del shown[least]
        elif len(shown) < dialect.top_k or not whole:
            return None
    best = max(shown, key=shown.__getitem__, default="")
    number = row.number if best == row.spelling else None
    return placed(LegacyRow(best, shown[best], number, shown), dialect, read=read) if shown else None


def _is_clear(position: Position) -> bool:
    """Whether no end that is not shown can be likelier than the best that is."""
    return position.tail < math.exp(position.sampled.logp)
