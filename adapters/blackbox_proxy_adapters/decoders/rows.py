"""The log-probs of the chat shape: a row per token, with its bytes and its alternatives as rows.

    [{token: str, bytes: [int] | null, logprob: float, top_logprobs: [{token, bytes, logprob}]}]

Some servers add an id (`token_id` or `id`). Of bytes:

* Where other tokens of a position have bytes, one without them is special: the API says so of tokens that are no text.
* Where none has, the endpoint tells no bytes, and strings are read.
* Where `bytes` are no more than the string's own (`Dialect.trust`), what the string has lost is lost in them too; and
  where all are, and the strings are a tokenizer's own spellings, so are the bytes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import takewhile
from typing import NamedTuple

from blackbox_proxy.types import Kind, Position
from blackbox_proxy_adapters.fields import as_bytes, as_id, as_list, as_logp, as_mapping, as_text
from blackbox_proxy_adapters.pieces import Piece, Speller, reader_of, speaks_marks, spelt_with_marks, told
from blackbox_proxy_adapters.positions import Dialect, ListedEntry, entry, position, unknown

from .legacy import TOKEN_ID


class Row(NamedTuple):
    """One token as the shape has it. raw: its bytes, None where they are not told or not to be trusted."""

    token: str
    logp: float | None
    raw: bytes | None
    id: int | None


class RowPlace(NamedTuple):
    """The rows of one position: the sampled token's, and those of its alternatives."""

    own: Row
    listed: Sequence[Row]

    @property
    def rows(self) -> Sequence[Row]:
        """All of them."""
        return (self.own, *self.listed)


class Spelling(NamedTuple):
    """How strings are read, and whether what is told as bytes is to be read like that too."""

    read: Speller
    own: bool


class Rows(NamedTuple):
    """What was read. whole: whether no position is missing; those after a missing one are left out."""

    positions: tuple[Position, ...]
    whole: bool


def read_rows(content: Sequence[object], dialect: Dialect, *, where: str = "content", ended: bool = False) -> Rows:
    """One position per row. ended: whether the endpoint says that the last token is the end of the answer.

    Raises `ReplyError` for a field of another type.
    """
    places = [_place(as_mapping(row, f"{where}[{at}]"), f"{where}[{at}]", dialect) for at, row in enumerate(content)]
    kept = list(takewhile(_is_placed, places))
    if ended and len(kept) == len(places):
        dialect = replace(dialect, end_ids=dialect.end_ids | _nameless(places[-1:]))
    spelling = _spelling([row for place in kept for row in place.rows], dialect.ends)
    found = tuple(_position(place, dialect, spelling=spelling) for place in kept)
    return Rows(found or (unknown(),) if places else (), len(kept) == len(places))


def _spelling(rows: Sequence[Row], ends: frozenset[bytes]) -> Spelling:
    """Bytes that are ever more than the string's own are believed; and so they are where only letters would tell."""
    own = all(row.raw is None or row.raw == row.token.encode("utf-8", "surrogatepass") for row in rows)
    if own and speaks_marks((row.token for row in rows), ends):
        return Spelling(spelt_with_marks, own=True)
    return Spelling(reader_of([row.token for row in rows if row.raw is None], ends), own=False)


def _is_placed(place: RowPlace) -> bool:
    """Whether a row stands for one token. llama.cpp's server has none for a token that leaves a character open.

    It hands that token's bytes to the next row, where the token itself is listed with its own.
    """
    own = place.own
    same = (row.raw for row in place.listed if row.id is not None and row.id == own.id)
    return all(raw == own.raw for raw in same)


def _nameless(last: Sequence[RowPlace]) -> set[int]:
    """The id of a token that has neither a name nor bytes."""
    return {p.own.id for p in last if p.own.id is not None and not p.own.raw and not p.own.token}


def _place(row: Mapping[str, object], where: str, dialect: Dialect) -> RowPlace:
    inside = f"{where}.top_logprobs"
    tops = as_list(row.get("top_logprobs") or [], inside)
    return RowPlace(_row(row, where, dialect), [_row(as_mapping(top, inside), inside, dialect) for top in tops])


def _row(row: Mapping[str, object], where: str, dialect: Dialect) -> Row:
    token = as_text(row.get("token"), f"{where}.token")
    raw = as_bytes(row.get("bytes"), f"{where}.bytes")
    if dialect.trust == "none" or (dialect.trust == "lossy" and raw == token.encode("utf-8", "surrogatepass")):
        raw = None
    number = as_id(row.get("token_id", row.get("id")), f"{where}.token_id")
    return Row(token, as_logp(row.get("logprob"), f"{where}.logprob"), raw, number)


def _position(place: RowPlace, dialect: Dialect, *, spelling: Spelling) -> Position:
    mute = dialect.trust != "exact" or all(row.raw is None for row in place.rows)
    own, *listed = (_entry(row, dialect, mute=mute, spelling=spelling) for row in place.rows)
    return position(own, listed, top_k=dialect.top_k)


def _entry(row: Row, dialect: Dialect, *, mute: bool, spelling: Spelling) -> ListedEntry:
    """mute: whether a token without bytes is no sign that it is special."""
    found = TOKEN_ID.fullmatch(row.token)
    if found:
        return entry(Piece(b"", Kind.SPECIAL), row.logp, int(found[1]), dialect=dialect)
    return entry(_piece(row, dialect.ends, mute=mute, spelling=spelling), row.logp, row.id, dialect=dialect)


def _piece(row: Row, ends: frozenset[bytes], *, mute: bool, spelling: Spelling) -> Piece:
    if row.raw is not None:
        if spelling.own:
            return spelling.read(row.token, ends)
        return _uncertain(told(row.raw, row.token, ends), mute=mute)
    piece = spelling.read(row.token, ends)
    return piece if mute or piece.kind is Kind.END else Piece(piece.text, Kind.SPECIAL)


def _uncertain(piece: Piece, *, mute: bool) -> Piece:
    """Bytes that differ from their string, where they need not be true: U+FFFD in them is what was lost."""
    lost = mute and "\ufffd".encode() in piece.text and piece.kind is not Kind.END
    return Piece(piece.text, Kind.SPECIAL) if lost else piece
