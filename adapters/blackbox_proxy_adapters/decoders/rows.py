"""The log-probs of the chat shape: a row per token, with its bytes and its alternatives as rows.

Which fields a row has: `core.logprobs`. Of bytes:

* Where other tokens of a position have bytes, one without them is special: the API says so of tokens that are no text.
* Where none has, the endpoint tells no bytes, and strings are read.
* Where `bytes` are no more than the string's own (`Dialect.trust`), what the string has lost is lost in them too; and
  where all are, and the strings are a tokenizer's own spellings, so are the bytes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import takewhile
from typing import NamedTuple, TypeAlias

from blackbox_proxy.core.logprobs import WrittenPlace, WrittenToken, places_of
from blackbox_proxy.types import Kind, Position
from blackbox_proxy_adapters import fields
from blackbox_proxy_adapters.pieces import Piece, Speller, piece_of_bytes, reader_of, speaks_marks, spelt_with_marks
from blackbox_proxy_adapters.positions import Dialect, ListedEntry, entry, position, unknown

from .legacy import TOKEN_ID

Row: TypeAlias = WrittenToken[float | None]
"""One token as the shape has it. raw: its bytes, None also where they are not to be trusted."""

RowPlace: TypeAlias = WrittenPlace[float | None]


class Spelling(NamedTuple):
    """How strings are read, and whether what is sent as bytes is no more than the string, to be read like that too."""

    read: Speller
    echoed: bool


class Rows(NamedTuple):
    """What was read. whole: whether no position is missing; those after a missing one are left out."""

    positions: tuple[Position, ...]
    whole: bool


def read_rows(content: Sequence[object], dialect: Dialect, *, where: str = "content", ended: bool = False) -> Rows:
    """One position per row. ended: whether the endpoint says that the last token is the end of the answer.

    Raises `ReplyError` for a field of another type.
    """
    places = [_trusted(place, dialect) for place in places_of(content, fields, where)]
    kept = list(takewhile(_is_placed, places))
    if ended and len(kept) == len(places):
        dialect = replace(dialect, end_ids=dialect.end_ids | _nameless(places[-1:]))
    spelling = _spelling([row for place in kept for row in _rows(place)], dialect.ends)
    positions = tuple(_position(place, dialect, spelling=spelling) for place in kept)
    return Rows(positions or (unknown(),) if places else (), len(kept) == len(places))


def _rows(place: RowPlace) -> Sequence[Row]:
    """The sampled token's, and those of its alternatives."""
    return (place.sampled, *place.listed)


def _spelling(rows: Sequence[Row], ends: frozenset[bytes]) -> Spelling:
    """Bytes that are ever more than the string's own are believed; and so they are where only letters would tell."""
    echoed = all(row.raw is None or row.raw == row.token.encode("utf-8", "surrogatepass") for row in rows)
    if echoed and speaks_marks((row.token for row in rows), ends):
        return Spelling(spelt_with_marks, echoed=True)
    return Spelling(reader_of([row.token for row in rows if row.raw is None], ends), echoed=False)


def _is_placed(place: RowPlace) -> bool:
    """Whether a row stands for one token. llama.cpp's server has none for a token that leaves a character open.

    It hands that token's bytes to the next row, where the token itself is listed with its own.
    """
    sampled = place.sampled
    same = (row.raw for row in place.listed if row.id is not None and row.id == sampled.id)
    return all(raw == sampled.raw for raw in same)


def _nameless(last: Sequence[RowPlace]) -> set[int]:
    """The id of a token that has neither a name nor bytes."""
    return {p.sampled.id for p in last if p.sampled.id is not None and not p.sampled.raw and not p.sampled.token}


def _trusted(place: RowPlace, dialect: Dialect) -> RowPlace:
    """The rows without bytes that may not be the token's own."""
    if dialect.trust == "exact":
        return place
    sampled, *listed = (row if _is_trusted(row, dialect) else row._replace(raw=None) for row in _rows(place))
    return place._replace(sampled=sampled, listed=listed)


def _is_trusted(row: Row, dialect: Dialect) -> bool:
    return dialect.trust == "lossy" and row.raw != row.token.encode("utf-8", "surrogatepass")


def _position(place: RowPlace, dialect: Dialect, *, spelling: Spelling) -> Position:
    mute = dialect.trust != "exact" or all(row.raw is None for row in _rows(place))
    sampled, *listed = (_entry(row, dialect, mute=mute, spelling=spelling) for row in _rows(place))
    return position(sampled, listed, top_k=dialect.top_k)


def _entry(row: Row, dialect: Dialect, *, mute: bool, spelling: Spelling) -> ListedEntry:
    """mute: whether a token without bytes is no sign that it is special."""
    named = TOKEN_ID.fullmatch(row.token)
    if named:
        return entry(Piece(b"", Kind.SPECIAL), row.logp, int(named[1]), dialect=dialect)
    return entry(_piece(row, dialect.ends, mute=mute, spelling=spelling), row.logp, row.id, dialect=dialect)


def _piece(row: Row, ends: frozenset[bytes], *, mute: bool, spelling: Spelling) -> Piece:
    if row.raw is not None:
        if spelling.echoed:
            return spelling.read(row.token, ends)
        return _uncertain(piece_of_bytes(row.raw, row.token, ends), mute=mute)
    piece = spelling.read(row.token, ends)
    return piece if mute or piece.kind is Kind.END else Piece(piece.text, Kind.SPECIAL)


def _uncertain(piece: Piece, *, mute: bool) -> Piece:
    """Bytes that differ from their string, where they need not be true: U+FFFD in them is what was lost."""
    lost = mute and "\ufffd".encode() in piece.text and piece.kind is not Kind.END
    return Piece(piece.text, Kind.SPECIAL) if lost else piece
