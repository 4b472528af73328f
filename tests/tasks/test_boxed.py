"""The boxed tasks: nothing of the test stands in another part, and the adapter is the recorded one."""

from __future__ import annotations

import re
import subprocess
import tomllib
from collections.abc import Mapping
from pathlib import Path

import pytest

from blackbox_proxy.evaluation.scoring import folded
from blackbox_proxy.evaluation.task import Item, Task, boxed, find_task, read_task
from blackbox_proxy.tasks.countries import Country, countries
from blackbox_proxy.tasks.geography import KINDS
from blackbox_proxy.tasks.items import PARTS
from blackbox_proxy.tasks.words import CODES
from blackbox_proxy.tuning.record import file_digest

GEOGRAPHY = ("geography-known", "geography-told")
DEMO = ("demo-known", "demo-told")


def task_of(name: str) -> Task:
    return read_task(find_task(name))


def facts(task: Task, items: tuple[Item, ...]) -> set[str]:
    assert task.form is not None
    matches = [task.form.fullmatch(answer) for item in items for answer in item.right]
    assert all(matches), "an answer is not in the form"
    return {folded(match[1]) for match in matches if match}


def mentioned(text: str) -> Country | None:
    """The country with the longest name in the text: `Guinea` stands in `Papua New Guinea`."""
    named = [c for c in countries() if re.search(rf"(?<![\w-]){re.escape(c.called)}(?!\w)", text)]
    return max(named, key=lambda country: len(country.called), default=None)


def asks(wording: str, prompt: str) -> bool:
    before, _, after = wording.partition("{0}")
    return prompt.startswith(before) and prompt.endswith(after)


def answered(items: tuple[Item, ...]) -> set[str]:
    """What is right, without the code that it is filed under."""
    return {folded(item.reference.partition(" | ")[0]) for item in items}


def test_no_known_fact_of_the_test_stands_in_another_part() -> None:
    task = task_of("geography-known")
    train, validation, test = (facts(task, part) for part in (task.train, task.validation, task.test))
    assert not test & (train | validation)
    assert not validation & train


def test_no_told_answer_of_the_test_stands_in_another_part() -> None:
    """An answer is a fact under a code: one town may be invented as a capital here and as a port there."""
    task = task_of("geography-told")
    train, validation, test = ({item.reference for item in part} for part in (task.train, task.validation, task.test))
    assert not test & (train | validation)
    assert not validation & train


@pytest.mark.parametrize("name", [*GEOGRAPHY, *DEMO])
def test_countries_of_the_test_stand_in_no_other_part(name: str) -> None:
    task = task_of(name)
    for part in PARTS:
        items: tuple[Item, ...] = getattr(task, part)
        asked_about = [country for item in items if (country := mentioned(item.prompt))]
        assert len(asked_about) > len(items) / 4
        assert {country.part for country in asked_about} == {part}


@pytest.mark.parametrize("name", ["cron", "translation"])
def test_no_answer_of_the_test_stands_in_another_part(name: str) -> None:
    task = task_of(name)
    train, validation, test = (answered(part) for part in (task.train, task.validation, task.test))
    assert not test & (train | validation)
    assert not validation & train


@pytest.mark.parametrize("name", boxed())
def test_no_question_is_asked_twice(name: str) -> None:
    """A word that means two things would be asked for in two parts, with two answers."""
    task = task_of(name)
    asked = [folded(item.prompt + item.document) for item in (*task.train, *task.validation, *task.test)]
    assert len(set(asked)) == len(asked)


def test_a_told_fact_stands_in_the_note_and_not_in_the_question() -> None:
    task = task_of("geography-told")
    assert task.who == "closed"
    for item in task.test:
        (fact,) = facts(task, (item,))
        assert re.search(rf"(?<!\w){re.escape(fact)}(?!\w)", folded(item.document))
        assert not re.search(rf"(?<!\w){re.escape(fact)}(?!\w)", folded(item.prompt))


def test_known_facts_stand_nowhere() -> None:
    task = task_of("geography-known")
    assert not task.has_documents
    for item in task.test:
        assert not any(folded(fact) in folded(item.prompt).split() for fact in facts(task, (item,)))


BOOKS: Mapping[str, tuple[str, ...]] = {
    **dict.fromkeys(GEOGRAPHY, tuple(kind.code for kind in KINDS)),
    "translation": tuple(CODES.values()),
}


@pytest.mark.parametrize("name", BOOKS)
def test_the_instructions_have_the_whole_code_book(name: str) -> None:
    codes = [line.rpartition(": ")[2] for line in task_of(name).instructions.strip().splitlines()[2:]]
    assert sorted(codes) == sorted(BOOKS[name])
    assert len(set(codes)) == len(codes)


@pytest.mark.parametrize("name", GEOGRAPHY)
def test_every_question_is_filed_under_the_code_of_its_kind(name: str) -> None:
    for item in task_of(name).test:
        asked = [kind.code for kind in KINDS if any(asks(wording, item.prompt) for wording in kind.wordings)]
        assert asked == re.findall(r"file: (.*);", item.reference)


@pytest.mark.parametrize("name", boxed())
def test_the_pair_names_the_recorded_adapter(name: str) -> None:
    pair = task_of(name).pair
    assert pair is not None
    adapter = pair.parent / tomllib.loads(pair.read_text(encoding="utf-8"))["adapter"]
    record = tomllib.loads(adapter.with_suffix(".toml").read_text(encoding="utf-8"))
    assert record["adapter"]["sha256"] == file_digest(adapter)
    assert adapter.stat().st_size < 5_000_000


def test_make_evaluate_asks_the_benchmarks_and_nothing_else() -> None:
    """Its figures stand in docs/evaluation.md, and it takes long."""
    benchmarks = [name for name in boxed() if task_of(name).benchmark]
    assert set(boxed()) - set(benchmarks) == set(DEMO)
    recipe = subprocess.run(
        ["make", "--dry-run", "evaluate"],  # noqa: S607
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    (named,) = re.findall(r" evaluate (.+) --standin", recipe)
    assert named.split() == benchmarks
