"""Rows are read back as they were written, in every form; what is wrong with one is said in its place."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from blackbox_proxy.batching.reading import read_rows
from blackbox_proxy.batching.rows import KNOBS, BatchRow, BrokenRow, RowForm
from blackbox_proxy.errors import InputError
from blackbox_proxy.steering import Steering
from blackbox_proxy.types import Message, Prompt
from tests.batching.worlds import write_rows

FORM = RowForm(Steering())

Fields = dict[str, Any]

texts = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1).filter(
    lambda text: bool(text.strip())
)
turns = st.lists(
    st.fixed_dictionaries({"role": st.sampled_from(["system", "user", "assistant"]), "content": texts}), min_size=1
)
knobs = st.fixed_dictionaries(
    {},
    optional={
        "alpha": st.floats(-100, 100),
        "max_tokens": st.integers(1, 4096),
        "temperature": st.floats(0, 10),
        "seed": st.integers(0, 2**31),
        "rule": st.sampled_from(["none", "pooled", "clip"]),
        "stop": st.lists(texts, min_size=1, max_size=3),
    },
)


@st.composite
def fields(draw: st.DrawFn) -> Fields:
    """A row that can be asked."""
    row: Fields = draw(st.sampled_from([{"prompt": draw(texts)}, {"messages": draw(turns)}]))
    more: Fields = draw(st.fixed_dictionaries({}, optional={"pair_prompt": texts}))
    return {**row, **more, **draw(knobs)}


def expected(row: Fields, at: int) -> tuple[str, Prompt, Prompt | None, Steering]:
    """What a row means, told from its fields directly."""
    messages = [Message(one["role"], one["content"]) for one in row.get("messages", ())]
    prompt = Prompt(tuple(messages)) if messages else Prompt.ask(row["prompt"])
    pair = Prompt.ask(row["pair_prompt"]) if "pair_prompt" in row else None
    turned: Fields = {name: tuple(value) if name == "stop" else value for name, value in row.items() if name in KNOBS}
    return f"row {at}", prompt, pair, Steering(**turned)


def as_json_lines(rows: Sequence[Fields]) -> str:
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)


def as_csv(rows: Sequence[Fields]) -> str:
    """Written by the standard library; what is no text as JSON."""
    names = list(dict.fromkeys(name for row in rows for name in row))
    file = io.StringIO(newline="")
    writer = csv.DictWriter(file, names)
    writer.writeheader()
    writer.writerows(
        {name: one if isinstance(one, str) else json.dumps(one) for name, one in row.items()} for row in rows
    )
    return file.getvalue()


@pytest.mark.parametrize(("ending", "written"), [("jsonl", as_json_lines), ("csv", as_csv)])
@given(rows=st.lists(fields(), min_size=1, max_size=4))
def test_rows_that_are_written_are_read_back(
    tmp_path_factory: pytest.TempPathFactory,
    ending: str,
    written: Callable[[Sequence[Fields]], str],
    rows: list[Fields],
) -> None:
    path = tmp_path_factory.mktemp("rows") / f"rows.{ending}"
    named = [{"id": f"row {at}", **row} for at, row in enumerate(rows)]
    if ending == "csv" and not any({"prompt", "messages"} & row.keys() for row in named):
        return
    path.write_bytes(written(named).encode())
    read = read_rows(path, FORM)
    assert [
        (row.id, row.prompt, row.pair_prompt, row.steering) if isinstance(row, BatchRow) else row.error for row in read
    ] == [expected(row, at) for at, row in enumerate(rows)]


GOOD = {"id": "good", "prompt": "Hello?"}

BROKEN: Mapping[str, tuple[Mapping[str, Any] | str, str]] = {
    "no prompt": ({"id": "x"}, "neither a prompt nor messages"),
    "empty": ({"prompt": "  "}, "'prompt' is empty"),
    "null": ({"prompt": None}, "neither a prompt nor messages"),
    "number": ({"prompt": 7}, "'prompt' must be text, not 7"),
    "both": ({"prompt": "a", "messages": [{"role": "user", "content": "b"}]}, "both 'prompt' and 'messages'"),
    "turns": ({"messages": "a"}, "'messages' must be a list of"),
    "no turn": ({"messages": []}, "'messages' must be a list of"),
    "turn": ({"messages": [{"role": "user"}]}, r"'messages\[0\]' must be"),
    "content": ({"messages": [{"role": "user", "content": 1}]}, "must be text"),
    "knob": ({"prompt": "a", "alhpa": 1}, "no such field or knob: 'alhpa'"),
    "value": ({"prompt": "a", "alpha": "much"}, "the knob alpha: 'much' will not do"),
    "bound": ({"prompt": "a", "alpha": 1e6}, "the knob alpha: 1e.06 is too large here"),
    "NaN": ('{"prompt": "a", "alpha": NaN}', "the knob alpha"),
    "fixed": ({"prompt": "a", "event": "ids"}, "no such field or knob: 'event'"),
    "id": ({"prompt": "a", "id": [1]}, "'id' must be text or a whole number"),
    "text": ({"prompt": "a", "text": "b"}, "`text` is for rows that are scored"),
    "surrogate": ('{"prompt": "\\ud800"}', "not UTF-8"),
    "no JSON": ('{"prompt": "a"', "it is no JSON"),
    "deep": ("[" * 100_000, "it is no JSON"),
    "list": ("[1]", "a row is an object"),
    "system": ({"prompt": "a", "system": 1}, "'system' must be text"),
    "two together": ({"prompt": "a", "way": "answers", "schedule": "0:1"}, "way='answers' weighs whole texts"),
}


@pytest.mark.parametrize("case", BROKEN)
def test_a_broken_row_is_an_error_in_its_place(tmp_path: Path, case: str) -> None:
    row, message = BROKEN[case]
    first, second = read_rows(write_rows(tmp_path / "rows.jsonl", [GOOD, row]), FORM)
    assert isinstance(first, BatchRow)
    assert isinstance(second, BrokenRow)
    with pytest.raises(InputError, match=rf"^rows.jsonl, line 2: .*{message}"):
        raise InputError(second.error)


def test_two_rows_of_one_id_are_told_apart(tmp_path: Path) -> None:
    _, second, third = read_rows(write_rows(tmp_path / "rows.jsonl", [GOOD, "", GOOD, {"prompt": "a"}]), FORM)
    assert isinstance(second, BrokenRow)
    assert second.error == "rows.jsonl, line 3: rows.jsonl, line 1 has the id 'good' too"
    assert third.id == "3"


SHAPES: Mapping[str, tuple[str, bytes, str]] = {
    "array": ("rows.json", b'[{"prompt": "a"}]', "ends neither in .jsonl"),
    "array, named as lines": ("rows.jsonl", b'[\n{"prompt": "a"}\n]', "holds a JSON array"),
    "other fields": ("rows.jsonl", b'{"question": "a"}\n{"question": "b"}\n', r"no row of .* \(2 rows\).*'question'"),
    "nothing": ("rows.jsonl", b"\n\n", "has no row"),
    "no text": ("rows.jsonl", b"\xff\xfe\x00", "no text in UTF-8"),
    "header alone": ("rows.csv", b"prompt\r\n", "has no row"),
    "no column": ("rows.csv", b"question,answer\na,b\n", "no column 'prompt' or 'messages'; it has question, answer"),
    "strange column": ("rows.csv", b"prompt,topic\na,b\n", "a column 'topic', which is neither"),
    "twice": ("rows.csv", b"prompt,prompt\na,b\n", "two columns 'prompt'"),
    "quote": ("rows.csv", b'prompt\na"b\n"a"b\n', "line 3 is no CSV"),
}


@pytest.mark.parametrize("case", SHAPES)
def test_a_file_of_another_shape_is_one_error(tmp_path: Path, case: str) -> None:
    name, content, message = SHAPES[case]
    (tmp_path / name).write_bytes(content)
    with pytest.raises(InputError, match=message):
        read_rows(tmp_path / name, FORM)


def test_a_file_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"cannot read .*: No such file"):
        read_rows(tmp_path / "rows.jsonl", FORM)


def test_a_row_of_too_few_cells_is_broken_with_its_line(tmp_path: Path) -> None:
    path = tmp_path / "rows.csv"
    path.write_text('id,prompt\r\na,"two\r\nlines"\r\nb\r\nc,one\r\n', encoding="utf-8-sig", newline="")
    first, second, third = read_rows(path, FORM)
    assert isinstance(first, BatchRow)
    assert first.prompt == Prompt.ask("two\r\nlines")
    assert isinstance(second, BrokenRow)
    assert second.error == "rows.csv, line 4: it has 1 cells, and the header has 2"
    assert third.where == "rows.csv, line 5"


def test_fields_are_passed_over_where_that_is_said(tmp_path: Path) -> None:
    path = tmp_path / "rows.csv"
    path.write_text("prompt,topic\na,b\n", encoding="utf-8")
    (row,) = read_rows(path, RowForm(Steering(), ignored=["topic"]))
    assert isinstance(row, BatchRow)


def test_a_row_is_read_as_the_command_says(tmp_path: Path) -> None:
    path = write_rows(tmp_path / "rows.jsonl", [{"prompt": "a", "alpha": 2}, {"prompt": "b", "system": "c"}])
    first, second = read_rows(path, RowForm(Steering(max_tokens=3), system="be short"))
    assert isinstance(first, BatchRow)
    assert isinstance(second, BatchRow)
    assert first.prompt == Prompt.ask("a", system="be short")
    assert first.steering == Steering(max_tokens=3, alpha=2)
    assert second.prompt == Prompt.ask("b", system="c")
    (raw, _) = read_rows(path, RowForm(Steering(), raw=True))
    assert isinstance(raw, BatchRow)
    assert raw.prompt == Prompt(text="a")


def test_texts_to_be_scored_have_a_field_of_their_own(tmp_path: Path) -> None:
    path = write_rows(tmp_path / "rows.jsonl", [{"text": "Once."}, {"prompt": "a"}])
    first, second = read_rows(path, RowForm(Steering(), scored=True))
    assert isinstance(first, BatchRow)
    assert first.text == "Once."
    assert isinstance(second, BrokenRow)
    assert "the row has no 'text'" in second.error
