"""The one reader of log-probs as endpoints write them: which fields hold them, in columns and in rows.

    columns   {tokens: [str], token_logprobs: [float], top_logprobs: [{str: float}], token_ids: [int]}
    rows      [{token: str, bytes: [int] | null, logprob: float, top_logprobs: [{token, bytes, logprob}]}]

How strictly a field is read is the caller's choice (`FieldReader`): an adapter refuses one of the wrong type, while the
doctor takes it for one that is not there. The module knows neither what a token stands for nor where in a reply its
log-probs are.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Generic, NamedTuple, Protocol, TypeVar

L = TypeVar("L")
"""What a log-prob is read as: with or without None for one that is not known."""

L_co = TypeVar("L_co", covariant=True)


class FieldReader(Protocol[L_co]):
    """Typed access to foreign JSON; `where` is the field's place in the reply. A module of functions may be one."""

    def as_mapping(self, value: object, where: str) -> Mapping[str, object]: ...

    def as_list(self, value: object, where: str) -> Sequence[object]: ...

    def as_text(self, value: object, where: str) -> str: ...

    def as_bytes(self, value: object, where: str) -> bytes | None: ...

    def as_id(self, value: object, where: str) -> int | None: ...

    def as_logp(self, value: object, where: str) -> L_co: ...


class WrittenToken(NamedTuple, Generic[L]):
    """One token as it is written: its string, the bytes beside it (None where there are none), its log-prob and id."""

    token: str
    raw: bytes | None
    logp: L
    id: int | None = None


class WrittenPlace(NamedTuple, Generic[L]):
    """One position in rows: the sampled token, and the alternatives in the order in which they are listed."""

    sampled: WrittenToken[L]
    listed: Sequence[WrittenToken[L]]


class Columns(NamedTuple, Generic[L]):
    """The sampled tokens' strings and log-probs, the alternatives by their strings, and the sampled tokens' ids.

    They need not be of one length; a column that is not there is empty.
    """

    tokens: Sequence[str]
    logps: Sequence[L]
    listed: Sequence[Mapping[str, L]]
    ids: Sequence[int | None]


def in_columns(logprobs: Mapping[str, object]) -> bool:
    """Whether a `logprobs` object has columns; otherwise its rows are in `content`."""
    return "tokens" in logprobs and logprobs.get("content") is None


def columns_of(logprobs: Mapping[str, object], fields: FieldReader[L]) -> Columns[L]:
    """The columns of a `logprobs` object. Raises what `fields` raises."""
    tokens, logps, tops, ids = (
        fields.as_list([] if logprobs.get(name) is None else logprobs[name], f"logprobs.{name}")
        for name in ("tokens", "token_logprobs", "top_logprobs", "token_ids")
    )
    return Columns(
        [fields.as_text(token, f"tokens[{at}]") for at, token in enumerate(tokens)],
        [fields.as_logp(logp, f"token_logprobs[{at}]") for at, logp in enumerate(logps)],
        [_listed(top, fields, f"top_logprobs[{at}]") for at, top in enumerate(tops)],
        [fields.as_id(number, f"token_ids[{at}]") for at, number in enumerate(ids)],
    )


def places_of(rows: Sequence[object], fields: FieldReader[L], where: str) -> list[WrittenPlace[L]]:
    """The positions of rows. Raises what `fields` raises."""
    return [_place(row, fields, f"{where}[{at}]") for at, row in enumerate(rows)]


def _listed(top: object, fields: FieldReader[L], where: str) -> Mapping[str, L]:
    """The entries of one `top_logprobs` object; null is an empty one."""
    entries = fields.as_mapping({} if top is None else top, where)
    return {spelling: fields.as_logp(logp, where) for spelling, logp in entries.items()}


def _place(value: object, fields: FieldReader[L], where: str) -> WrittenPlace[L]:
    row, inside = fields.as_mapping(value, where), f"{where}.top_logprobs"
    tops = fields.as_list(row.get("top_logprobs") or [], inside)
    listed = [_token(fields.as_mapping(top, inside), fields, inside) for top in tops]
    return WrittenPlace(_token(row, fields, where), listed)


def _token(row: Mapping[str, object], fields: FieldReader[L], where: str) -> WrittenToken[L]:
    """Some servers write an id, as `token_id` or as `id`."""
    return WrittenToken(
        fields.as_text(row.get("token"), f"{where}.token"),
        fields.as_bytes(row.get("bytes"), f"{where}.bytes"),
        fields.as_logp(row.get("logprob"), f"{where}.logprob"),
        fields.as_id(row.get("token_id", row.get("id")), f"{where}.token_id"),
    )
