"""The log-probs of the legacy completions shape: columns, and alternatives keyed by their string.

Which columns there are: `core.logprobs`. Tokens that print alike share one key. The server keeps one of their
log-probs, which may be the smallest; the rest of the mass is in the tail, and of one of them alone only the tail is a
bound. Where a key has lost its bytes that may have happened; where the endpoint leaves lost bytes out (`Dialect.trust`)
no key shows it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import NamedTuple

from blackbox_proxy.core.logprobs import Columns, columns_of
from blackbox_proxy.errors import ReplyError
from blackbox_proxy.types import Kind, Position
from blackbox_proxy_adapters import fields
from blackbox_proxy_adapters.pieces import Piece, Speller, reader_of
from blackbox_proxy_adapters.positions import Dialect, ListedEntry, entry, log_of, position

from .envelope import WHOLE, first_choice

NO_LOGPROBS = f"this endpoint or model may give none; choose one with top_logprobs on /completions, or {WHOLE}"

TOKEN_ID = re.compile(r"token_id:(\d{1,9})")
"""How vLLM writes a token whose id was asked for in place of its text: no two share it, and no bytes are told."""


class LegacyRow(NamedTuple):
    """One token as the shape has it. shown: the alternatives; number: its id, where it is told."""

    spelling: str
    logp: float | None
    number: int | None
    shown: Mapping[str, float]


Reading = Callable[[str, float | None, int | None], ListedEntry]
"""A spelling, its log-prob and its id -> an entry."""


def read_columns(logprobs: Mapping[str, object], dialect: Dialect) -> tuple[Position, ...]:
    """One position per generated token.

    Raises `ReplyError` when the lists do not match in length, or when no position at all shows alternatives.
    """
    rows, read = read_rows_of(logprobs, dialect)
    return tuple(placed(row, dialect, read=read) for row in rows)


def read_rows_of(logprobs: Mapping[str, object], dialect: Dialect) -> tuple[Sequence[LegacyRow], Reading]:
    """The rows behind `read_columns`, and how their spellings are read. Raises as it does."""
    columns = columns_of(logprobs, fields)
    _check_lengths(columns)
    tokens, shown = columns.tokens, [_without_marks(listed) for listed in columns.listed]
    ids = columns.ids if len(columns.ids) == len(tokens) else [None] * len(tokens)
    speller = reader_of([spelling for row in (tokens, *shown) for spelling in row], dialect.ends)
    rows = [LegacyRow(*row) for row in zip(tokens, columns.logps, ids, shown, strict=True)]
    return rows, partial(_entry, speller=speller, dialect=dialect)


def placed(row: LegacyRow, dialect: Dialect, *, read: Reading) -> Position:
    """One position. Of the alternatives only the one that prints like the sampled token has an id, if that has one."""
    sampled = read(row.spelling, row.logp, row.number)
    listed = [read(other, logp, sampled.id if other == row.spelling else None) for other, logp in row.shown.items()]
    place = position(sampled, listed, top_k=dialect.top_k)
    uncertain = dialect.trust != "exact" or any(map(_is_lost, row.shown))
    return replace(place, ceiling=log_of(place.tail)) if uncertain else place


def read_requested(body: Mapping[str, object], ids: Sequence[int]) -> dict[int, float]:
    """The log-probs of chosen ids in the first position, where tokens are written as `token_id:N`.

    Ids that the reply leaves out, or gives no probability, are left out. Raises `ReplyError` for another shape.
    """
    columns = columns_of(fields.as_mapping(first_choice(body).get("logprobs"), "logprobs"), fields)
    listed = columns.listed[0] if columns.listed else {}
    logps = ((i, listed.get(f"token_id:{i}")) for i in ids)
    return {i: logp for i, logp in logps if logp is not None}


def _check_lengths(columns: Columns[float | None]) -> None:
    tokens, logps, tops, _ = columns
    if tokens and not any(tops):
        raise ReplyError("the reply names the tokens but shows no top_logprobs", hint=NO_LOGPROBS)
    if not len(tokens) == len(logps) == len(tops):
        lengths = f"{len(tokens)} tokens, {len(logps)} token_logprobs, {len(tops)} top_logprobs"
        raise ReplyError(
            f"the reply's lists differ in length: {lengths}",
            hint="the endpoint does not keep to the legacy completions shape; choose another adapter for it",
        )


def _is_lost(spelling: str) -> bool:
    """Whether other tokens may print like this, because it does not tell all its bytes."""
    return not spelling or "\ufffd" in spelling


def _without_marks(listed: Mapping[str, float | None]) -> dict[str, float]:
    """The alternatives whose log-prob is a number."""
    return {spelling: logp for spelling, logp in listed.items() if logp is not None}


def _entry(spelling: str, logp: float | None, number: int | None, *, speller: Speller, dialect: Dialect) -> ListedEntry:
    named = TOKEN_ID.fullmatch(spelling) if spelling.startswith("token_id:") else None
    if named:
        return entry(Piece(b"", Kind.SPECIAL), logp, int(named[1]), dialect=dialect)
    return entry(speller(spelling, dialect.ends), logp, number, dialect=dialect)
