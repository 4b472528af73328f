"""The record of a training run can be read back, and tells two runs apart."""

from __future__ import annotations

import hashlib
import tomllib
from dataclasses import replace
from pathlib import Path

import pytest

from blackbox_proxy.tuning.course import Course
from blackbox_proxy.tuning.lines import Line, lines_digest
from blackbox_proxy.tuning.record import TuningRecord, Value, file_digest
from blackbox_proxy.types import Prompt

LINES = [Line(Prompt.ask('Say "é"'), "[[ é ]]")]
HELD = [Line(Prompt.ask("Held"), "[[ x ]]")]
COURSE = Course(2, losses=(3.0, 1.0, 0.2, 0.0469123), validations=(1.25, 1.5))


@pytest.fixture
def record(tmp_path: Path) -> TuningRecord:
    adapter = tmp_path / "house.gguf"
    adapter.write_bytes(b"adapter")
    choices: dict[str, Value | None] = {
        "seed": 3,
        "hold": 0.7,
        "slot": r"\[\[ (.+?) \]\]",
        "note": None,
        "targets": ("q_proj", "v_proj"),
    }
    return TuningRecord("pypi:base", "ab12", adapter, LINES, HELD, choices, COURSE, "2026-11-22")


def test_it_is_toml_that_gives_back_what_went_in(record: TuningRecord) -> None:
    assert tomllib.loads(record.toml()) == {
        "adapter": {
            "file": "house.gguf",
            "sha256": hashlib.sha256(b"adapter").hexdigest(),
            "date": "2026-11-22",
        },
        "base": {"file": "pypi:base", "sha256": "ab12"},
        "lines": {"count": 1, "sha256": lines_digest(LINES)},
        "validation": {"count": 1, "sha256": lines_digest(HELD)},
        "recipe": {"seed": 3, "hold": 0.7, "slot": r"\[\[ (.+?) \]\]", "targets": ["q_proj", "v_proj"]},
        "result": {"losses": [2.0, 0.1235], "validation_losses": [1.25, 1.5], "best_epoch": 1},
    }


def test_of_validation_nothing_is_said_where_there_was_none(record: TuningRecord) -> None:
    tables = replace(record, held=[], course=replace(COURSE, validations=())).tables()
    assert "validation" not in tables
    assert tables["result"] == {"losses": [2.0, 0.1235]}


def test_another_line_gives_another_record(record: TuningRecord) -> None:
    other = replace(record, lines=[*LINES, *HELD])
    assert other.tables()["lines"] != record.tables()["lines"]


def test_the_digest_of_a_file_is_that_of_its_bytes(tmp_path: Path) -> None:
    path = tmp_path / "large"
    path.write_bytes(b"base" * 400_000)
    assert file_digest(path) == hashlib.sha256(b"base" * 400_000).hexdigest()
