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

from blackbox_proxy.types import Ask, Echoed, Kind, Position, Reply
from blackbox_proxy_adapters.fields import as_mapping
from blackbox_proxy_adapters.positions import Dialect

from .envelope import first_choice, read_fingerprint, read_finish, read_model, read_usage
from .legacy import LegacyRow, Reading, placed, read_rows_of


def read_echo(body: Mapping[str, object], ask: Ask, dialect: Dialect) -> Reply:
    """The positions after the draft, and those at its borders. Raises `ReplyError` for another shape."""
    found = _read(body, ask, dialect)
    sent, read = found.sent, found.read
    borders = _by_ids(sent, ask) if ask.ids is not None else _by_text(sent, ask, read=read)
    listed = ((other, logp) for row in found.rows for other, logp in row.shown.items())
    shows_ends = any(read(other, logp, None).piece.kind is Kind.END for other, logp in listed)
    known = {at: _alone(row, dialect, read=read, whole=shows_ends) for at, row in borders}
    told = (Echoed(at, place) for at, place in sorted(known.items()) if place is not None)
    return replace(found.reply, echoed=tuple(one for one in told if shows_ends or _is_clear(one.position)))


def read_given(body: Mapping[str, object], ask: Ask, dialect: Dialect) -> Reply:
    """The positions after the draft, and one for each of its own tokens. Raises `ReplyError` for another shape.

    None of the draft's where it is not told token by token: other rows than the ids that were sent, or rows whose bytes
    are not the text. What stands before the text and is none (a token that begins it) has no position.
    """
    found = _read(body, ask, dialect)
    rows, read = found.sent, found.read
    if ask.ids is not None:
        told = rows if len(rows) == len(ask.ids) + len(ask.drafted) else ()
    else:
        pieces = [read(row.spelling, row.logp, row.number).piece for row in rows]
        first = next((at for at, piece in enumerate(pieces) if piece.kind in _TEXTS), len(rows))
        text = ask.answer + ask.draft
        fits = (at for at in range(first + 1) if b"".join(piece.text for piece in pieces[at:]) == text)
        told = rows[next(fits, len(rows)) :]
    return replace(found.reply, given=tuple(_own(row, placed(row, dialect, read=read)) for row in told))


_TEXTS = (Kind.TEXT, Kind.FRAGMENT)


@dataclass(frozen=True, slots=True)
class _Found:
    """A reply that gives back what was sent. rows: all; sent: those of the prompt; reply: what is generated."""

    rows: Sequence[LegacyRow]
    sent: Sequence[LegacyRow]
    read: Reading
    reply: Reply


def _read(body: Mapping[str, object], ask: Ask, dialect: Dialect) -> _Found:
    """The rows of the prompt are none where nothing tells how many were generated."""
    choice = first_choice(body)
    finish = read_finish(choice.get("finish_reason"))
    rows, read = read_rows_of(as_mapping(choice.get("logprobs"), "logprobs"), dialect)
    usage, model = read_usage(body.get("usage")), read_model(body)
    count = _generated(rows, ask, read=read, finish=finish, output=usage.output)
    if count is None:
        return _Found(rows, (), read, Reply((), None, usage, model))
    made = tuple(placed(row, dialect, read=read) for row in rows[len(rows) - count :])
    reply = Reply(made, finish, usage, model, fingerprint=read_fingerprint(body))
    return _Found(rows, rows[: len(rows) - count], read, reply)


def _own(row: LegacyRow, place: Position) -> Position:
    """The position with the row's own log-prob, -inf where it is not told, or another one is shown by its name."""
    told = row.logp is not None and abs(row.shown.get(row.spelling, row.logp) - row.logp) <= _SAME
    own = row.logp if told and row.logp is not None else -math.inf
    return replace(place, sampled=replace(place.sampled, logp=own))


_SAME = 1e-3
"""Nats by which a token's own log-prob and the one in the list may differ by rounding."""


def _generated(rows: Sequence[LegacyRow], ask: Ask, *, read: Reading, finish: str | None, output: int) -> int | None:
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


def _by_ids(sent: Sequence[LegacyRow], ask: Ask) -> Iterator[tuple[int, LegacyRow]]:
    """A row for each id of the draft; none where there are not as many rows as ids were sent."""
    before = len(ask.ids or ())
    if len(sent) == before + len(ask.drafted):
        yield from enumerate(sent[before:])


def _by_text(sent: Sequence[LegacyRow], ask: Ask, *, read: Reading) -> Iterator[tuple[int, LegacyRow]]:
    """The rows that begin inside the draft, from its end on, and how many bytes of it stand before each."""
    at = len(ask.draft)
    text = ask.answer + ask.draft
    for row in reversed(sent):
        piece = read(row.spelling, row.logp, row.number).piece
        at -= len(piece.text)
        fits = text[: len(ask.answer) + at + len(piece.text)].endswith(piece.text)
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


def _is_clear(found: Position) -> bool:
    """Whether no end that is not shown can be likelier than the best that is."""
    return found.tail < math.exp(found.sampled.logp)
