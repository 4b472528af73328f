"""The writer of overlays: what it writes is read back as it was, in one file for each place, in one step."""

from __future__ import annotations

import datetime as dt
import os
import tomllib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from blackbox_proxy.errors import InputError
from blackbox_proxy.remote.profiles.finding import load_profile
from blackbox_proxy.remote.profiles.overlays import toml_text, write_overlay
from blackbox_proxy.remote.profiles.rules import settle

DAY = dt.date(2026, 11, 25)
URL = "http://127.0.0.1:8000/v1"

names = st.text(st.characters(exclude_categories=["Cs"]), max_size=5)
plain = st.one_of(st.booleans(), st.integers(), st.floats(allow_nan=False), names, st.dates())
anything = st.recursive(
    plain, lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(names, inner, max_size=3)), max_leaves=8
)


@given(content=st.dictionaries(names, anything, max_size=5))
def test_what_is_written_is_read_back(content: dict[str, object]) -> None:
    assert tomllib.loads(toml_text(content)) == content


@given(content=st.dictionaries(names, st.lists(st.dictionaries(names, plain, max_size=3), min_size=1, max_size=3)))
def test_lists_of_tables_are_read_back(content: dict[str, object]) -> None:
    assert tomllib.loads(toml_text(content)) == content


def test_an_overlay_is_read_back_and_used(tmp_path: Path) -> None:
    folder = tmp_path / "not" / "there" / "yet"
    path = write_overlay(
        folder,
        extends="vllm",
        base_url=URL,
        model="org/model:v1",
        measured=DAY,
        options={"top_k": 7, "end_pieces": (b"</s>", b""), "query_temperature": 1.0, "extra_body": {"a": [1]}},
        notes=("noise of 0.01 nats",),
    )
    profile = load_profile("vllm", folder=folder)
    (one,) = profile.overlays
    assert (one.where, one.spot.measured, one.spot.notes) == (str(path), DAY, ("noise of 0.01 nats",))
    found = settle(profile, "org/model:v1", today=DAY, base_url=f"{URL}/").options
    assert found["end_pieces"] == (b"</s>", b"")
    assert (found["top_k"], found["query_temperature"], found["extra_body"]) == (7, 1.0, {"a": [1]})


def test_an_overlay_may_change_the_adapter(tmp_path: Path) -> None:
    write_overlay(
        tmp_path,
        extends="openrouter",
        base_url=URL,
        model="m",
        measured=DAY,
        adapter="chat_prefill",
        options={"prefill": "implicit"},
    )
    assert settle(load_profile("openrouter", folder=tmp_path), "m", today=DAY, base_url=URL).adapter == "chat_prefill"


def test_one_file_for_each_place_and_the_same_text_each_time(tmp_path: Path) -> None:
    def write(model: str, url: str = URL, **options: object) -> Path:
        return write_overlay(tmp_path, extends="vllm", base_url=url, model=model, measured=DAY, options=options)

    first = write("a", top_k=5, min_output=2)
    before = first.read_text(encoding="utf-8")
    assert write("a", min_output=2, top_k=5) == first
    assert first.read_text(encoding="utf-8") == before
    others = {write("a/b"), write("a_b"), write("a", URL + "/other"), write("b")}
    assert len({first, *others}) == 5
    assert sorted(tmp_path.iterdir()) == sorted({first, *others})
    assert write("a", URL + "/") == first


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"top_k": 0}, "options.top_k"),
        ({"topk": 5}, "did you mean top_k"),
        ({"echoes": True}, "only the adapter chat_prefill takes it, not completions"),
        ({"end_pieces": [b"\xff"]}, "not UTF-8"),
        ({"extra_body": {"a": "\ud800"}}, "not UTF-8"),
        ({"extra_body": {"a": None}}, "cannot hold None"),
    ],
)
def test_what_the_loader_would_refuse_is_not_written(tmp_path: Path, options: dict[str, object], says: str) -> None:
    with pytest.raises(InputError, match=says):
        write_overlay(tmp_path, extends="vllm", base_url=URL, model="m", measured=DAY, options=options)
    assert list(tmp_path.iterdir()) == []


def test_a_write_that_fails_leaves_what_was_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_overlay(tmp_path, extends="vllm", base_url=URL, model="m", measured=DAY, options={"top_k": 5})
    before = path.read_text(encoding="utf-8")

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(InputError, match="No space left"):
        write_overlay(tmp_path, extends="vllm", base_url=URL, model="m", measured=DAY, options={"top_k": 6})
    assert path.read_text(encoding="utf-8") == before
    assert list(tmp_path.iterdir()) == [path]
