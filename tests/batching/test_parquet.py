"""Parquet in and out: the rows of a file, and the answers, in the columns that docs/batch.md names."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path
from typing import Any

import pytest

from blackbox_proxy.batching import parquet
from blackbox_proxy.batching.answers import CHOSEN, COLUMNS, SCORED, KeptRow, RowAnswer, write_answers
from blackbox_proxy.batching.reading import read_rows
from blackbox_proxy.batching.rows import FIELDS, BatchRow, RowForm
from blackbox_proxy.errors import InputError
from blackbox_proxy.steering import Steering
from blackbox_proxy.types import Prompt
from tests.documents import DOCS

HERE = importlib.util.find_spec("pyarrow") is not None
PARQUET = pytest.mark.skipif(not HERE, reason="pyarrow is not installed: `make contracts` has it")


@pytest.mark.slow
@PARQUET
def test_rows_of_a_table_are_read(tmp_path: Path) -> None:
    pa: Any = pytest.importorskip("pyarrow")
    values = [
        {"id": "a", "prompt": "Hello?", "alpha": 0.5, "stop": ["x", "y"], "messages": None},
        {"id": "b", "prompt": None, "alpha": None, "stop": None, "messages": [{"role": "user", "content": "Hi"}]},
    ]
    pytest.importorskip("pyarrow.parquet").write_table(pa.Table.from_pylist(values), tmp_path / "rows.parquet")
    first, second = read_rows(tmp_path / "rows.parquet", RowForm(Steering()))
    assert isinstance(first, BatchRow)
    assert isinstance(second, BatchRow)
    assert (first.id, first.where, first.prompt) == ("a", "rows.parquet, row 1", Prompt.ask("Hello?"))
    assert first.steering == Steering(alpha=0.5, stop=("x", "y"))
    assert (second.prompt, second.steering) == (Prompt.ask("Hi"), Steering())


@pytest.mark.slow
@PARQUET
def test_answers_are_written_in_their_columns(tmp_path: Path) -> None:
    kept = KeptRow("k", "yes", calls=2, probabilities={"yes": 0.75, "no": 0.25})
    path = write_answers(tmp_path, [RowAnswer("a", "line 1", kept)], columns=CHOSEN, form="parquet")
    table = pytest.importorskip("pyarrow.parquet").read_table(path)
    assert table.column_names == list(CHOSEN)
    (row,) = table.to_pylist()
    assert (row["id"], row["text"], row["calls"], row["error"]) == ("a", "yes", 2, None)
    assert dict(row["probabilities"]) == {"yes": 0.75, "no": 0.25}


@pytest.mark.slow
@PARQUET
def test_what_is_no_table_is_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "rows.parquet").write_bytes(b"PAR1 and nothing")
    with pytest.raises(InputError, match="is no Parquet file"):
        read_rows(tmp_path / "rows.parquet", RowForm(Steering()))


@pytest.mark.skipif(HERE, reason="pyarrow is installed here")
def test_without_pyarrow_it_is_said_what_to_install() -> None:
    with pytest.raises(InputError, match="Parquet needs pyarrow") as refused:
        parquet.check_parquet()
    assert "blackbox-proxy[batch]" in refused.value.hint


def test_the_page_names_every_column() -> None:
    """Those of rows and those of answers, no more and no fewer; knobs stand in one row together."""
    page = (DOCS / "batch.md").read_text(encoding="utf-8")
    rows, answers = (re.findall(r"^\| (`.+?) \|", part, flags=re.MULTILINE) for part in page.split("## Answers"))
    assert set(re.findall(r"`(\w+)`", " ".join(rows))) == set(FIELDS)
    assert set(re.findall(r"`(\w+)`", " ".join(answers))) == {*COLUMNS, *CHOSEN, *SCORED}
