"""What was answered is kept, found again, and survives a crash in the middle of a line."""

from __future__ import annotations

import json
import threading
from dataclasses import replace
from decimal import Decimal
from pathlib import Path

import pytest

from blackbox_proxy.errors import InputError
from blackbox_proxy.evaluation.answers import AnswerStore, KeptAnswer
from blackbox_proxy.kept import key_of

ONE = KeptAnswer(
    "k1", "towns", "i1", "steered", "Paris", cost=Decimal("0.10"), tokens=3, off=0.5, exact=False, samples=("Paris", "")
)


def kept(path: Path, *answers: KeptAnswer) -> None:
    with AnswerStore(path) as store:
        for answer in answers:
            store.keep(answer)


def test_an_answer_is_found_again_as_it_was(tmp_path: Path) -> None:
    kept(tmp_path / "a" / "towns.jsonl", replace(ONE, text="Pa\u2028ris"))
    with AnswerStore(tmp_path / "a" / "towns.jsonl") as store:
        assert store["k1"] == replace(ONE, text="Pa\u2028ris")
        assert store["k2"] is None


def test_it_is_on_the_disk_at_once(tmp_path: Path) -> None:
    with AnswerStore(tmp_path / "t.jsonl") as store:
        store.keep(replace(ONE, text="x"))
        assert json.loads((tmp_path / "t.jsonl").read_text(encoding="utf-8"))["text"] == "x"


def test_an_error_is_kept_and_is_no_answer(tmp_path: Path) -> None:
    failed = replace(ONE, text="", error="no network")
    kept(tmp_path / "t.jsonl", failed)
    with AnswerStore(tmp_path / "t.jsonl") as store:
        assert store["k1"] is None
        assert store.last("k1") == failed
        store.keep(replace(ONE, text="x"))
    with AnswerStore(tmp_path / "t.jsonl") as store:
        assert store["k1"] == replace(ONE, text="x")


@pytest.mark.parametrize("cut", range(1, 60, 7))
def test_a_line_that_was_cut_off_is_left_out_and_harms_no_other(tmp_path: Path, cut: int) -> None:
    path = tmp_path / "t.jsonl"
    kept(path, replace(ONE, text="x"), replace(ONE, key="k2", text="y"))
    path.write_bytes(path.read_bytes()[:-cut])
    kept(path, replace(ONE, key="k3", text="z"))
    with AnswerStore(path) as store:
        found = [store[key] for key in ("k1", "k2", "k3")]
    assert [answer and answer.text for answer in found] == ["x", "y" if cut == 1 else None, "z"]


def test_lines_of_another_kind_are_left_out(tmp_path: Path) -> None:
    path = tmp_path / "t.jsonl"
    path.write_text('[]\n{"key": "k1"}\nnull\n', encoding="utf-8")
    with AnswerStore(path) as store:
        assert store.last("k1") is None


def test_several_threads_may_keep_answers(tmp_path: Path) -> None:
    path = tmp_path / "t.jsonl"
    with AnswerStore(path) as store:
        threads = [
            threading.Thread(target=lambda n=n: store.keep(replace(ONE, key=f"k{n}", text="x" * 5000)))
            for n in range(20)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    with AnswerStore(path) as store:
        assert all(store[f"k{n}"] for n in range(20))


def test_a_place_that_cannot_be_used_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x", encoding="utf-8")
    with pytest.raises(InputError, match="cannot use"):
        AnswerStore(tmp_path / "file" / "t.jsonl")


def test_a_key_depends_on_everything_and_not_on_its_order() -> None:
    assert key_of({"a": 1, "b": [2]}) == key_of({"b": [2], "a": 1}) != key_of({"a": 1, "b": [3]})
