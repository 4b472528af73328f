"""Lines: every form is read, what is wrong is said with its line number, and a split keeps prompts whole."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from blackbox_proxy.errors import InputError
from blackbox_proxy.tuning.lines import Line, lines_digest, read_lines, split
from blackbox_proxy.types import Message, Prompt

ASKED = Line(Prompt.ask("Say é"), "é!")
CHAT = Line(Prompt(messages=(Message("system", "S"), Message("user", "U"))), "A")


def read(folder: Path, *rows: object, raw: bool = False) -> Sequence[Line]:
    path = folder / "lines.jsonl"
    path.write_text("\n".join(row if isinstance(row, str) else json.dumps(row) for row in rows), encoding="utf-8")
    return read_lines(path, raw=raw)


def messages(*turns: tuple[str, str]) -> dict[str, object]:
    return {"messages": [{"role": role, "content": content} for role, content in turns]}


@pytest.mark.parametrize(
    ("row", "line"),
    [
        (["Say é", "é!"], ASKED),
        ({"prompt": "Say é", "completion": "é!", "id": 3}, ASKED),
        (messages(("user", "Say é"), ("assistant", "é!")), ASKED),
        (messages(("system", "S"), ("user", "U"), ("assistant", "A")), CHAT),
    ],
)
def test_every_form_is_read_and_the_forms_of_one_line_have_one_digest(tmp_path: Path, row: object, line: Line) -> None:
    found = read(tmp_path, row)
    assert list(found) == [line]
    assert lines_digest(found) == lines_digest([line])


def test_raw_prompts_are_texts_and_are_other_lines(tmp_path: Path) -> None:
    found = read(tmp_path, ["Say é", "é!"], raw=True)
    assert found[0].prompt == Prompt(text="Say é")
    assert lines_digest(found) != lines_digest([ASKED])


def test_empty_lines_are_skipped_and_counted(tmp_path: Path) -> None:
    first, second = read(tmp_path, "", ["a", "b"], "  ", ["c", "d"], "")
    assert (first.place, second.place) == (f"{tmp_path}/lines.jsonl:2", f"{tmp_path}/lines.jsonl:4")


@pytest.mark.parametrize(
    ("row", "says"),
    [
        ('["a", "b"', r"not JSON: .* at column 10"),
        ("[" * 100_000, r"not JSON"),
        (["a"], r"a list of two texts was expected, not of 1 \(str\)"),
        (["a", 3], r"not of 2 \(str, int\)"),
        ({"prompt": "a", "answer": "b"}, r"no completion; its keys are 'prompt', 'answer'"),
        ({"prompt": ["a"], "completion": "b"}, r"must both be text"),
        ({}, r"no prompt and no completion; its keys are none"),
        ("null", r"found null"),
        (["", "b"], r"the prompt is empty"),
        (["a", " \n"], r"the answer is empty"),
        ({"messages": []}, r"there are no messages"),
        (messages(("user", "U")), r"the last message must be the assistant's"),
        (messages(("assistant", "A")), r"behind at least one other"),
        ({"messages": [{"role": "user"}]}, r"message 1 has no role and content"),
        ('["a", "b\\ud800"]', r"the answer is no text: it holds '\\ud800'"),
        ('["a\\ud800", "b"]', r"\\ud800"),
    ],
)
def test_a_wrong_line_is_named_with_file_and_number(tmp_path: Path, row: object, says: str) -> None:
    with pytest.raises(InputError, match=rf"lines\.jsonl:2: .*{says}") as error:
        read(tmp_path, ["fine", "line"], row)
    assert error.value.hint


def test_what_is_no_text_is_named_with_the_byte(tmp_path: Path) -> None:
    path = tmp_path / "lines.jsonl"
    path.write_bytes(b'["a", "b"]\n["caf\xe9", "b"]\n')
    with pytest.raises(InputError, match=r"lines\.jsonl:2: not UTF-8: .* at byte 6"):
        read_lines(path)


def test_a_missing_file_an_empty_one_and_raw_messages_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"cannot read the lines in .*nowhere"):
        read_lines(tmp_path / "nowhere")
    with pytest.raises(InputError, match="holds no lines"):
        read(tmp_path, "")
    with pytest.raises(InputError, match=r"lines\.jsonl:1: raw prompts have no messages"):
        read(tmp_path, messages(("user", "U"), ("assistant", "A")), raw=True)


@given(st.lists(st.integers(0, 30), min_size=1, max_size=60), st.floats(0.01, 0.99), st.integers(0, 5))
def test_a_split_parts_the_lines_keeps_their_order_and_parts_no_prompt(
    asked: list[int], share: float, seed: int
) -> None:
    lines = [Line(Prompt.ask(str(number)), str(place)) for place, number in enumerate(asked)]
    try:
        train, held = split(lines, share, seed=seed)
    except InputError:
        largest = max(asked.count(number) for number in asked)
        assert round(share * len(lines)) > len(lines) - largest or len(set(asked)) == 1
        return
    assert train
    assert len(held) >= max(1, round(share * len(lines)))
    assert sorted((*train, *held), key=lambda line: int(line.answer)) == lines
    assert [part == sorted(part, key=lambda line: int(line.answer)) for part in (train, held)] == [True, True]
    assert not {line.prompt for line in train} & {line.prompt for line in held}
    assert split(lines, share, seed=seed) == (train, held)


def test_no_share_holds_nothing_back_and_seeds_hold_back_others() -> None:
    lines = [Line(Prompt.ask(str(number)), "x") for number in range(40)]
    assert split(lines, 0, seed=0) == (lines, [])
    assert len(split(lines, 0.25, seed=0)[1]) == 10
    assert split(lines, 0.25, seed=0) != split(lines, 0.25, seed=1)
