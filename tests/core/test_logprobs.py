"""Log-probs in columns and in rows: one reader, strict for an adapter and lenient for the doctor."""

from __future__ import annotations

import pytest

from blackbox_proxy.core.logprobs import Columns, WrittenToken, columns_of, in_columns, places_of
from blackbox_proxy.doctor import fields as lenient
from blackbox_proxy.errors import ReplyError
from blackbox_proxy_adapters import fields as strict
from tests.adapters.shapes import Json

COLUMNS: Json = {
    "tokens": ["a", "b"],
    "token_logprobs": [-0.5, -1.0],
    "top_logprobs": [{"a": -0.5, "c": -2.0}, None],
    "token_ids": [7, 8],
}
ROWS: list[Json] = [
    {
        "token": "é",
        "bytes": [195, -87],
        "logprob": -0.5,
        "token_id": 3,
        "top_logprobs": [{"token": "x", "logprob": -1}],
    },
    {"token": "b", "bytes": None, "logprob": -0.25, "id": 4},
]


def test_both_read_columns_alike() -> None:
    wanted = Columns(["a", "b"], [-0.5, -1.0], [{"a": -0.5, "c": -2.0}, {}], [7, 8])
    assert columns_of(COLUMNS, strict) == columns_of(COLUMNS, lenient) == wanted
    assert columns_of({}, strict) == columns_of({}, lenient) == Columns([], [], [], [])


def test_both_read_rows_alike() -> None:
    first, second = places_of(ROWS, strict, "content")
    assert [first, second] == places_of(ROWS, lenient, "content")
    assert first.sampled == WrittenToken("é", "é".encode(), -0.5, 3)
    assert first.listed == [WrittenToken("x", None, -1.0)]
    assert second == (WrittenToken("b", None, -0.25, 4), [])


@pytest.mark.parametrize(
    ("change", "where"),
    [
        ({"token": 1}, r"content\[0\].token "),
        ({"bytes": "x"}, r"content\[0\].bytes "),
        ({"logprob": "x"}, r"content\[0\].logprob "),
        ({"top_logprobs": "x"}, r"content\[0\].top_logprobs "),
    ],
)
def test_a_field_of_the_wrong_type_is_refused_or_not_there(change: Json, where: str) -> None:
    rows = [{**ROWS[0], **change}]
    with pytest.raises(ReplyError, match=where):
        places_of(rows, strict, "content")
    (place,) = places_of(rows, lenient, "content")
    without = {name: value for name, value in ROWS[0].items() if name not in change}
    assert [place] == places_of([without], lenient, "content")


def test_a_mark_is_no_number_to_an_adapter_and_a_mark_to_the_doctor() -> None:
    marked = {**COLUMNS, "top_logprobs": [{"a": -9999.0}, {"b": None}]}
    assert columns_of(marked, strict).listed == [{"a": None}, {"b": None}]
    assert columns_of(marked, lenient).listed == [{"a": -9999.0}, {"b": lenient.SENTINEL}]


@pytest.mark.parametrize(
    ("logprobs", "columns"),
    [({"tokens": []}, True), ({"tokens": [], "content": []}, False), ({"content": []}, False), ({}, False)],
)
def test_rows_win_where_both_are_there(logprobs: Json, *, columns: bool) -> None:
    assert in_columns(logprobs) is columns
