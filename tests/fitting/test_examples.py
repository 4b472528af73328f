"""Lines are read in every form, and what is wrong with them is said in one sentence."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import pytest

from blackbox_proxy.errors import InputError
from blackbox_proxy.evaluation.task import Item
from blackbox_proxy.fitting.examples import LEAST, read_examples, split
from blackbox_proxy.fitting.fronts import drawn


def written(folder: Path, rows: Sequence[object]) -> Path:
    path = folder / "lines.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def pairs(count: int = LEAST) -> list[object]:
    return [[f"q{n}", f"a{n}"] for n in range(count)]


def test_every_form_gives_the_same_items(tmp_path: Path) -> None:
    forms = (
        lambda n: [f"q{n}", f"a{n}"],
        lambda n: {"prompt": f"q{n}", "completion": f"a{n}"},
        lambda n: {"prompt": f"q{n}", "reference": f"a{n}"},
        lambda n: {"messages": [{"role": "user", "content": f"q{n}"}, {"role": "assistant", "content": f"a{n}"}]},
    )
    read = [read_examples(written(tmp_path, [form(n) for n in range(LEAST)])) for form in forms]
    assert all(one.items == read[0].items for one in read)
    assert len({one.digest for one in read}) == 1
    assert read[0].items[3] == Item(prompt="q3", reference="a3")


def test_a_system_turn_of_all_lines_is_their_instructions(tmp_path: Path) -> None:
    def row(n: int, system: str) -> object:
        turns = (("system", system), ("user", f"q{n}"), ("assistant", f"a{n}"))
        return {"messages": [{"role": role, "content": text} for role, text in turns]}

    assert read_examples(written(tmp_path, [row(n, "be brief") for n in range(LEAST)])).instructions == "be brief"
    with pytest.raises(InputError, match="2 different system turns"):
        read_examples(written(tmp_path, [row(n, f"be {n % 2}") for n in range(LEAST)]))


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        (pairs(LEAST - 1), f"has {LEAST - 1} different questions, and {LEAST} are needed"),
        (
            [*pairs(), ["q3", "other"]],
            "one question stands there with different answers, such as 'q3' in lines 4 and",
        ),
        ([*pairs(), ["q3"]], "lines.jsonl:25: "),
        ([{"prompt": "q", "reference": ""}], "lines.jsonl:1: "),
        ([{"prompt": "q", "reference": "a", "document": "d"}], "takes no documents"),
        (
            [{"messages": [{"role": role, "content": "x"} for role in ("user", "assistant", "user", "assistant")]}],
            "a chat of several turns",
        ),
    ],
)
def test_what_is_wrong_is_said_in_one_sentence(rows: Sequence[object], said: str, tmp_path: Path) -> None:
    with pytest.raises(InputError) as caught:
        read_examples(written(tmp_path, rows))
    assert said in caught.value.message
    assert "\n" not in caught.value.message
    assert caught.value.hint


def test_lines_that_say_the_same_twice_count_once(tmp_path: Path) -> None:
    read = read_examples(written(tmp_path, [*pairs(), *pairs(2)]))
    assert (len(read.items), read.repeated) == (LEAST, 2)


def test_few_answers_that_come_again_are_labels(tmp_path: Path) -> None:
    labelled = [[f"q{n}", ("yes", "no")[n % 2]] for n in range(LEAST)]
    assert read_examples(written(tmp_path, labelled)).labels == ("no", "yes")
    assert read_examples(written(tmp_path, pairs())).labels == ()


@pytest.mark.parametrize("trains", [True, False])
def test_parts_share_no_question_and_follow_from_the_seed(trains: bool) -> None:  # noqa: FBT001 (pytest's)
    items = [Item(prompt=f"q{n}", reference="a") for n in range(101)]
    parts = split(items, seed=1, trains=trains)
    assert sorted(one.prompt for part in (parts.train, parts.validation, parts.test) for one in part) == sorted(
        one.prompt for one in items
    )
    assert parts == split(items, seed=1, trains=trains)
    assert parts != split(items, seed=2, trains=trains)
    assert min(len(parts.train), len(parts.validation), len(parts.test)) >= 20


def test_the_first_examples_have_different_answers() -> None:
    items = [Item(prompt=f"q{n}", reference="ab"[n > 0]) for n in range(20)]
    assert {item.reference for item in drawn(items, seed=5)[:2]} == {"a", "b"}
