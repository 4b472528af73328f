"""A task is read as it was written; what is wrong with one is said with file, line and value."""

from __future__ import annotations

from pathlib import Path

import pytest

from blackbox_proxy.errors import InputError
from blackbox_proxy.evaluation.task import Item, boxed, find_task, read_task
from tests.evaluation.tasks import DATA, item, written


def test_a_task_is_read(tmp_path: Path) -> None:
    task = read_task(written(tmp_path / "towns"))
    assert (task.name, task.title, task.source) == ("towns", "Towns", "made up")
    assert [len(part) for part in (task.train, task.validation, task.test)] == [3, 2, 4]
    assert (task.few_shot, task.alpha, task.max_tokens, task.alphas) == (2, 1.5, 4, (0.0, 1.5))
    assert task.form is not None
    assert task.form.fullmatch("answer: A b | n=2")
    assert (task.pair, task.who, task.has_documents) == (None, "none", False)


def test_paths_count_from_the_file(tmp_path: Path) -> None:
    path = written(tmp_path / "towns", rest='[pair]\nfile = "../pair.toml"\n')
    assert read_task(path).pair == tmp_path / "towns" / "../pair.toml"


def test_an_item_may_have_other_right_answers_choices_and_a_document(tmp_path: Path) -> None:
    rich = {"prompt": "?", "reference": "a", "also": ["b"], "choices": ["a", "c"], "document": "D."}
    (one,) = read_task(written(tmp_path / "t", parts={"test": [rich]})).test
    assert (one.right, one.choices) == (("a", "b"), ("a", "c"))


def test_a_document_stands_before_its_question(tmp_path: Path) -> None:
    task, plain = read_task(written(tmp_path / "t")), Item(prompt="?", reference="a")
    one = plain.model_copy(update={"document": "D."})
    assert (task.asked(one, shown=True), task.asked(one, shown=False)) == ("D.\n\n?", "?")
    assert task.asked(plain, shown=True) == "?"
    near = read_task(written(tmp_path / "near", rest="[documents]\nseparator = ' '\n"))
    assert near.asked(one, shown=True) == "D. ?"


def test_a_task_says_whether_it_is_a_benchmark(tmp_path: Path) -> None:
    path = written(tmp_path / "t")
    assert read_task(path).benchmark
    path.write_text("benchmark = false\n" + path.read_text(encoding="utf-8"), encoding="utf-8")
    assert not read_task(path).benchmark


def test_the_knobs_of_a_task_are_those_that_its_answers_are_steered_by(tmp_path: Path) -> None:
    task = read_task(written(tmp_path / "t", rest="[steering]\nalpha = 0.5\nmax_tokens = 7\ntail = 'drop'\n"))
    assert (task.steering.alpha, task.steering.max_tokens, task.steering.tail) == (0.5, 7, "drop")


def test_an_items_name_changes_with_its_content() -> None:
    one, other = Item(prompt="?", reference="a"), Item(prompt="?", reference="b")
    assert one.name == Item(prompt="?", reference="a").name != other.name


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("{", ":2: not JSON"),
        ("[]", ":2: Input should be"),
        ('{"prompt": "x"}', ":2: reference: Field required"),
        ('{"prompt": "x", "reference": ""}', ":2: reference: "),
        ('{"prompt": "x", "reference": 5}', ":2: reference: "),
        ('{"prompt": "x", "reference": "y", "answer": "z"}', ":2: answer: Extra"),
    ],
)
def test_a_wrong_line_is_named(tmp_path: Path, line: str, said: str) -> None:
    path = written(tmp_path / "t")
    (tmp_path / "t" / "test.jsonl").write_text(f'{{"prompt": "x", "reference": "y"}}\n{line}\n', encoding="utf-8")
    with pytest.raises(InputError) as error:
        read_task(path)
    assert str(tmp_path / "t" / "test.jsonl") + said in error.value.message
    assert error.value.hint


@pytest.mark.parametrize(
    ("rest", "data", "said"),
    [
        ("[scorer]\nkind = 'best'\n", DATA, "scorer.kind: Input should be"),
        ("[steering]\nalpha = inf\n", DATA, "steering.alpha: "),
        ("[scorer]\nform = '('\n", DATA, "scorer.form is no regular expression"),
        ("", DATA.replace("few_shot = 2", "few_shot = 9"), "few_shot is 9, and train has 3 items"),
        ("", DATA.replace("train.jsonl", "none.jsonl"), "cannot read the items in"),
        ("[", DATA, "is not TOML"),
        ("more = 1\n", "", "data: Field required"),
    ],
)
def test_a_wrong_task_is_said_to_be_wrong(tmp_path: Path, rest: str, data: str, said: str) -> None:
    with pytest.raises(InputError) as error:
        read_task(written(tmp_path / "t", rest=rest, data=data))
    assert said in error.value.message
    assert str(tmp_path / "t") in error.value.message


def test_an_empty_file_is_no_data(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"test\.jsonl has no items"):
        read_task(written(tmp_path / "t", parts={"test": []}))


@pytest.mark.parametrize("part", ["train", "validation"])
def test_a_question_of_test_must_not_stand_elsewhere(tmp_path: Path, part: str) -> None:
    with pytest.raises(InputError, match=f"1 questions of test stand in {part} too, such as 'Town 0"):
        read_task(written(tmp_path / "t", parts={part: [item(0), item(30), item(31)]}))


def test_a_task_is_found_by_its_folder_too(tmp_path: Path) -> None:
    path = written(tmp_path / "t")
    assert find_task(str(tmp_path / "t")) == path == find_task(str(path))
    with pytest.raises(InputError, match="there is no task 'nowhere'"):
        find_task("nowhere")


@pytest.mark.parametrize("name", boxed())
def test_a_boxed_task_is_found_by_name_and_can_be_read(name: str) -> None:
    task = read_task(find_task(name))
    assert task.name == name
    assert len(task.test) >= 150
