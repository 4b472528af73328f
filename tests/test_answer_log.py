"""The log of answers: rows are whole, whoever writes them; no other file is touched; no key stands in it."""

from __future__ import annotations

import json
import os
import stat
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from decimal import Decimal
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from blackbox_proxy.answer_log import AnswerLog, answer_row, cost_of, knobs_of, last_rows, question_of
from blackbox_proxy.errors import InputError
from blackbox_proxy.steering import Schedule, Steering
from blackbox_proxy.types import Prompt, Result, Usage

text = st.text(st.characters(exclude_categories=["Cs"]), max_size=30)
KEY = "sk-a-key-of-somebody-0123456789"


def result(answer: str = "an answer", *, cost: Decimal | None = None) -> Result:
    return Result(answer, (), "stop", Usage(requests=2, input=7, output=3), "exact", 1.25, cost, "m-1")


def row(question: str = "a question", answer: str = "an answer") -> dict[str, object]:
    return answer_row(Prompt.ask(question), result(answer), Steering(), command="steer", model="m")


@given(st.lists(st.tuples(text, text), min_size=1, max_size=6), st.integers(1, 7))
def test_the_last_rows_come_back_as_they_were_written(said: Sequence[tuple[str, str]], count: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "log.jsonl"
        for question, answer in said:
            AnswerLog(path).append(row(question, answer))
        rows = last_rows(path, count)
    assert [(question_of(one), one["answer"]) for one in rows] == said[-count:]


def test_a_row_says_what_was_asked_how_it_was_steered_and_what_it_took(tmp_path: Path) -> None:
    steering = Steering(alpha=0.5, schedule=Schedule(((0, 1.0), (8, 0.5))), stop=("x",), max_tokens=7)
    asked = Prompt.ask("a question", system="Be brief.")
    log = AnswerLog(tmp_path / "log.jsonl")
    log.append(answer_row(asked, result(cost=Decimal("0.00012")), steering, command="steer", model="m", error="no"))
    log.append(answer_row(Prompt(text="raw"), result(), Steering(), command="steer", model="m"))
    one, other = last_rows(log.path, 2)
    assert one["messages"] == [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "a question"},
    ]
    assert one["knobs"] == {"alpha": 0.5, "schedule": "0:1,8:0.5", "stop": ["x"], "max_tokens": 7}
    assert (one["model"], one["calls"], one["input"], one["output"]) == ("m-1", 2, 7, 3)
    assert (one["cost"], one["seconds"], one["error"]) == ("0.00012", 1.25, "no")
    assert cost_of(one) == Decimal("0.00012")
    assert cost_of(other) is None
    assert (question_of(other), other["knobs"]) == ("raw", {"alpha": 1.0})
    assert one["at"].endswith("+00:00")


def test_the_knobs_that_are_at_their_defaults_are_not_written() -> None:
    assert knobs_of(Steering()) == {"alpha": 1.0}


@pytest.mark.parametrize("mode", [None, 0o644, 0o666], ids=["new", "644", "666"])
def test_its_owner_alone_may_read_it(tmp_path: Path, mode: int | None) -> None:
    path = tmp_path / "folder" / "log.jsonl"
    if mode is not None:
        path.parent.mkdir()
        path.touch()
        path.chmod(mode)
    AnswerLog(path).append(row())
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


@pytest.mark.parametrize("content", [b"notes\n", b"{}\n", b'{"blackbox_proxy_log', b"\xff"])
def test_a_file_of_another_kind_is_left_as_it_is(tmp_path: Path, content: bytes) -> None:
    """A row that was cut off at once is no such file."""
    path = tmp_path / "notes.txt"
    path.write_bytes(content)
    path.chmod(0o644)
    if content.startswith(b'{"black'):
        AnswerLog(path).append(row())
        assert len(last_rows(path, 9)) == 1
        return
    with pytest.raises(InputError, match="is there already and is no log"):
        AnswerLog(path)
    assert (path.read_bytes(), stat.S_IMODE(path.stat().st_mode)) == (content, 0o644)


def test_what_is_no_file_is_refused_and_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path, tmp_path / "pipe", Path("/dev/null"), Path("/proc/nowhere/log")):
        with pytest.raises(InputError):
            AnswerLog(path)
    with pytest.raises(InputError, match="cannot read the log"):
        last_rows(tmp_path / "none.jsonl", 1)


def test_a_row_that_was_cut_off_is_passed_over_and_spoils_no_other(tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    AnswerLog(path).append(row("one"))
    whole = path.read_bytes()
    path.write_bytes(whole + whole[:40])
    AnswerLog(path).append(row("two"))
    assert [question_of(one) for one in last_rows(path, 9)] == ["one", "two"]


def test_no_key_of_the_environment_is_written(tmp_path: Path) -> None:
    log = AnswerLog(tmp_path / "log.jsonl", environ={"SOME_API_KEY": KEY})
    log.append(row(f"my key is {KEY}", f"{KEY}?"))
    assert KEY not in log.path.read_text(encoding="utf-8")
    (one,) = last_rows(log.path, 1)
    assert (question_of(one), one["answer"]) == ("my key is [key]", "[key]?")


def test_it_is_searched_in_questions_and_answers_whatever_their_case(tmp_path: Path) -> None:
    log = AnswerLog(tmp_path / "log.jsonl")
    for question, answer in (("The capital of Peru?", "Lima"), ("And of ITALY?", "Straße"), ("Hm", "no")):
        log.append(row(question, answer))
    found = {
        query: [one["answer"] for one in last_rows(log.path, 9, query=query)] for query in ("lima", "italy", "M-1")
    }
    assert found == {"lima": ["Lima"], "italy": ["Straße"], "M-1": ["Lima", "Straße", "no"]}
    assert [one["answer"] for one in last_rows(log.path, 9, query="STRASSE")] == ["Straße"]


WRITER = """
import sys
from pathlib import Path
from blackbox_proxy.answer_log import AnswerLog
log = AnswerLog(Path(sys.argv[1]))
for number in range(60):
    log.append({"writer": sys.argv[2], "number": number, "answer": sys.argv[2] * 5000})
"""


def test_several_processes_write_whole_rows(tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    command = [sys.executable, "-c", WRITER, str(path)]
    writers = [subprocess.Popen([*command, name]) for name in ("a", "b", "c")]
    assert [writer.wait(120) for writer in writers] == [0, 0, 0]
    rows = [json.loads(line) for line in path.read_bytes().splitlines()]
    assert len(rows) == len(last_rows(path, 1000)) == 180
    for name in ("a", "b", "c"):
        assert [one["number"] for one in rows if one["writer"] == name] == list(range(60))
