"""The record of a training run can be read back, and tells two runs apart."""

from __future__ import annotations

import hashlib
import tomllib
from dataclasses import replace
from pathlib import Path

import pytest

from blackbox_proxy.tuning.record import Record, Scalar, lines_digest

LINES = [('Say "é"', "[[ é ]]")]


@pytest.fixture
def record(tmp_path: Path) -> Record:
    base, adapter = tmp_path / "base.gguf", tmp_path / "house.gguf"
    base.write_bytes(b"base" * 400_000)
    adapter.write_bytes(b"adapter")
    choices: dict[str, Scalar | None] = {"seed": 3, "hold": 0.7, "slot": r"\[\[ (.+?) \]\]", "note": None}
    return Record(base, adapter, LINES, choices, [2.0, 0.123456], "2026-11-22")


def test_it_is_toml_that_gives_back_what_went_in(record: Record) -> None:
    assert tomllib.loads(record.toml()) == {
        "adapter": {
            "file": "house.gguf",
            "sha256": hashlib.sha256(b"adapter").hexdigest(),
            "date": "2026-11-22",
        },
        "base": {"sha256": hashlib.sha256(b"base" * 400_000).hexdigest()},
        "lines": {"count": 1, "sha256": lines_digest(LINES)},
        "recipe": {"seed": 3, "hold": 0.7, "slot": r"\[\[ (.+?) \]\]"},
        "result": {"losses": [2.0, 0.1235]},
    }


def test_another_line_gives_another_record(record: Record) -> None:
    other = replace(record, lines=[*LINES, ("a", "b")])
    assert other.tables()["lines"] != record.tables()["lines"]
