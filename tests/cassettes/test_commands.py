"""What is done with cassettes besides: they are compared, put together and shortened, and still replay."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from blackbox_proxy.cassettes.commands import check, diff, merge, prompt_of, prune, show
from blackbox_proxy.cassettes.matching import Replay, calls_of
from blackbox_proxy.cassettes.reading import read_header, rows_of
from blackbox_proxy.cassettes.recording import Recorder
from blackbox_proxy.cassettes.redacting import Redactor
from blackbox_proxy.cassettes.schema import HeardReply
from blackbox_proxy.errors import InputError
from tests.cassettes.test_matching import asked, outcomes, tape


def test_rows_are_shown_with_their_faults(tmp_path: Path) -> None:
    path = tape(tmp_path / "t", (asked("a"), [429, 0, 200]))
    assert [(row.line, row.attempt, row.outcome, row.size) for row in show(path)] == [
        (2, 1, "429", 3),
        (3, 2, "connection", 0),
        (4, 3, "200", 3),
    ]


def test_calls_are_compared_by_what_they_ask(tmp_path: Path) -> None:
    one = tape(tmp_path / "one", (asked("a"), [200]), (asked("b"), [429, 200]), (asked("c"), [200]))
    other = tape(tmp_path / "other", (asked("d"), [200]), (asked("b"), [429, 200]), (asked("a"), [0, 200]))
    assert [(found.prompt, found.lines, found.words) for found in diff(one, other)] == [
        ("a", (2, 5), "attempts[0].fault: nothing and 'connection'"),
        ("c", (5, None), "only in the first"),
        ("d", (None, 2), "only in the second"),
    ]


def test_replies_are_compared_as_json(tmp_path: Path) -> None:
    paths = (tmp_path / "one", tmp_path / "other")
    for path, raw in zip(paths, (b'{"a": 1, "b": [1, 2]}', b'{"b":[1,3],"a":1}'), strict=True):
        Recorder(path).write(
            asked("a"), HeardReply(1.0, 200, {}, raw), call="c", attempt=1, seconds=0.0, redactor=Redactor()
        )
    assert [found.words for found in diff(*paths)] == ["attempts[0].reply.b[1]: 2 and 3"]


def test_what_stands_in_several_is_taken_once_and_headers_keep_what_they_share(tmp_path: Path) -> None:
    one, other = tmp_path / "one", tmp_path / "other.gz"
    for path, model in ((one, "m"), (other, "n")):
        recorder = Recorder(path)
        recorder.begin(address="http://a/v1", model=model)
        for call in ("shared", path.name):
            heard = HeardReply(1.0, 200, {}, call.encode())
            recorder.write(asked(call), heard, call=call, attempt=1, seconds=0.0, redactor=Redactor())
    whole = tmp_path / "all"
    assert merge(whole, [one, other, one]) == 3
    header = read_header(whole)
    assert (header.address, header.model) == ("http://a/v1", "")
    assert outcomes(Replay(whole), asked("other.gz"), 1) == ["other.gz"]
    with pytest.raises(InputError, match="there already"):
        merge(whole, [one])
    with pytest.raises(InputError, match="nothing to put together"):
        merge(tmp_path / "none", [])
    Recorder(tmp_path / "hashed", prompts="hash").begin()
    with pytest.raises(InputError, match="hashed ones"):
        merge(tmp_path / "none", [one, tmp_path / "hashed"])
    assert not (tmp_path / "none").exists()


def test_failures_and_repeats_are_dropped(tmp_path: Path) -> None:
    path = tape(tmp_path / "t", (asked("a"), [429, 0, 200]), (asked("b"), [500, 500]), (asked("a"), [200]))
    assert prune(path, tmp_path / "f", failures=True) == (6, 4)
    assert outcomes(Replay(tmp_path / "f"), asked("a"), 1) == ["0.3"]
    assert outcomes(Replay(tmp_path / "f"), asked("b"), 2) == ["1.1", "1.2"]
    assert prune(path, tmp_path / "r", repeats=True) == (6, 5)
    assert outcomes(Replay(tmp_path / "r"), asked("a"), 3) == ["0.1", "connection", "0.3"]
    assert prune(path, tmp_path / "k", keep=lambda call: call.attempts[0].body["prompt"] == "b") == (6, 2)
    with pytest.raises(InputError, match="there already"):
        prune(path, tmp_path / "k")
    assert prune(path, failures=True, repeats=True) == (6, 3)
    assert len(calls_of(path)) == 2


@pytest.mark.parametrize("name", ["t.jsonl", "t.jsonl.gz"])
def test_an_end_that_is_cut_off_is_dropped_and_nothing_else(tmp_path: Path, name: str) -> None:
    path = tape(tmp_path / name, (asked("a"), [200]), (asked("b"), [429, 200]))
    whole = path.read_bytes()
    path.write_bytes(whole[:-30])
    assert prune(path) == (2, 2)
    assert [row.attempt for _, row in rows_of(path)] == [1, 1]
    path.write_bytes(b'{"cassette": 1}\nnonsense\n')
    with pytest.raises(InputError):
        prune(path)


def test_a_check_counts(tmp_path: Path) -> None:
    path = tape(tmp_path / "t", (asked("a"), [429, 200]), (asked("key: gsk_abcdefghijklmnopqrst"), [0]))
    found = check(path)
    assert (found.calls, found.attempts, found.suspects) == (2, 3, (4,))
    assert found.outcomes == {"429": 1, "200": 1, "connection": 1}


@pytest.mark.parametrize(
    ("body", "prompt"),
    [
        ({"prompt": "p"}, "p"),
        ({"prompt": ["p", "q"]}, "q"),
        ({"prompt": [1, 2]}, "[1, 2]"),
        ({"messages": [{"role": "system", "content": "s"}, {"role": "user", "content": "u"}]}, "u"),
        ({"messages": [{"role": "user", "content": [{"type": "text", "text": "t"}]}]}, "t"),
        ({"model": "m"}, ""),
        ({"prompt": None, "input": "i"}, "i"),
    ],
)
def test_a_prompt_is_found_for_people(body: dict[str, object], prompt: str) -> None:
    assert prompt_of(json.loads(json.dumps(body))) == prompt
