"""Files that are no cassette, or one no longer: an error with file and line, at once, whatever was done to them."""

from __future__ import annotations

import gzip
import json
import random
import subprocess
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path

import pytest

from blackbox_proxy.cassettes.matching import Replay
from blackbox_proxy.cassettes.reading import rows_of
from blackbox_proxy.cassettes.recording import Recorder
from blackbox_proxy.cassettes.redacting import Redactor
from blackbox_proxy.cassettes.schema import LONGEST_LINE, HeardReply, RecordedFault
from blackbox_proxy.errors import InputError
from blackbox_proxy.types import WireRequest

HEADER = b'{"cassette": 1}\n'
ROW = (
    b'{"call": "a", "attempt": 1, "path": "/completions", "body": {"model": "m", "prompt": "hi"}, '
    b'"at": 1.5, "seconds": 0.25, "status": 200, "text": "{}"}\n'
)


def recorded(path: Path) -> list[bytes]:
    """The lines of a valid cassette: retries, faults, bytes that are no text."""
    recorder, none = Recorder(path), Redactor()
    for number in range(6):
        request = WireRequest("/completions", {"model": "m", "prompt": f"p{number}", "n": [1, {"x": None}]})
        busy = HeardReply(1.0, 429, {"retry-after": "1"}, b'{"error": {"message": "slow down"}}')
        reset = HeardReply(2.0, fault=RecordedFault(kind="connection", bytes=7))
        whole = HeardReply(3.0, 200, {}, b'{"choices": []}' if number % 2 else b"\xff\x00")
        for attempt, heard in enumerate((busy, reset, whole), 1):
            recorder.write(request, heard, call=f"c{number}", attempt=attempt, seconds=0.5, redactor=none)
    return path.read_bytes().splitlines(keepends=True)


Mutation = Callable[[list[bytes], random.Random], bytes]

VALUES: tuple[object, ...] = (
    *(None, True, -1, 0, 1.5, 10**30, -(10**400), 1e308, "", "x", "\ud800", [], {}, [[]], {"a": 1}, "9" * 5000),
    *([0] * 1000, {"kind": "x"}, {"kind": "timeout", "bytes": -1}, {"kind": "connection", "causes": [1]}),
)


def cut(lines: list[bytes], chance: random.Random) -> bytes:
    whole = b"".join(lines)
    return whole[: chance.randrange(len(whole))]


def reordered(lines: list[bytes], chance: random.Random) -> bytes:
    return b"".join(chance.sample(lines, len(lines)))


def dropped(lines: list[bytes], chance: random.Random) -> bytes:
    at = chance.randrange(len(lines))
    return b"".join(lines[:at] + lines[at + 1 :])


def repeated(lines: list[bytes], chance: random.Random) -> bytes:
    at = chance.randrange(len(lines))
    return b"".join(lines[: at + 1] + lines[at:])


def changed_type(lines: list[bytes], chance: random.Random) -> bytes:
    at = chance.randrange(len(lines))
    row = json.loads(lines[at])
    name = chance.choice([*row, "fault", "status", "text", "base64", "headers", "unknown"])
    row[name] = chance.choice(VALUES)
    return b"".join([*lines[:at], json.dumps(row).encode() + b"\n", *lines[at + 1 :]])


def without_a_field(lines: list[bytes], chance: random.Random) -> bytes:
    at = chance.randrange(len(lines))
    row = json.loads(lines[at])
    row.pop(chance.choice(list(row)))
    return b"".join([*lines[:at], json.dumps(row).encode() + b"\n", *lines[at + 1 :]])


def strange_number(lines: list[bytes], chance: random.Random) -> bytes:
    at = chance.randrange(len(lines))
    number = chance.choice([b"1e999", b"-1e999", b"NaN", b"Infinity", b"9" * 6000, b"1e-999", b"0x1", b"01"])
    return b"".join([*lines[:at], lines[at].replace(b": 1", b": " + number, 1), *lines[at + 1 :]])


def flipped(lines: list[bytes], chance: random.Random) -> bytes:
    whole = bytearray(b"".join(lines))
    for _ in range(chance.randrange(1, 6)):
        whole[chance.randrange(len(whole))] = chance.randrange(256)
    return bytes(whole)


def nested(lines: list[bytes], chance: random.Random) -> bytes:
    depth = chance.choice([10, 100, 2000, 200_000])
    deep = b"[" * depth + b"]" * depth
    return b"".join(lines) + ROW.replace(b'"hi"', deep)


def foreign(lines: list[bytes], chance: random.Random) -> bytes:
    return chance.choice([b"", b"\n", b"\n".join(lines), b"%PDF-1.7\n", b"{}\n", b"[]\n", b'{"cassette": 99}\n', ROW])


MUTATIONS: tuple[Mutation, ...] = (
    *(cut, reordered, dropped, repeated, changed_type, without_a_field, strange_number, flipped, nested, foreign),
)


def mistake(path: Path) -> InputError | None:
    """What is wrong with a cassette."""
    try:
        Replay(path)
    except InputError as error:
        return error
    return None


def is_cassette(path: Path) -> bool:
    """Whether it is one; an error names the file, and the line where there is one."""
    error = mistake(path)
    if error is None:
        return True
    assert str(path) in error.message
    assert ", line " in error.message or error.message.endswith("is empty, so it is no cassette")
    assert error.hint
    assert len(error.message) < 1000
    return False


def check_mutations(folder: Path, count: int, *, seed: int) -> None:
    lines, chance, valid = recorded(folder / "whole.jsonl"), random.Random(seed), 0
    for number in range(count):
        content = MUTATIONS[number % len(MUTATIONS)](lines, chance)
        path = folder / ("mutated.jsonl" if number % 3 else "mutated.jsonl.gz")
        packed = gzip.compress(content, mtime=0)
        if chance.random() < 0.3:
            packed = packed[: chance.randrange(len(packed))]
        path.write_bytes(content if number % 3 else packed)
        valid += is_cassette(path)
    print(f"{count} mutated cassettes: {count - valid} refused, {valid} still cassettes")
    assert count / 20 < valid < count / 2


def test_mutated_cassettes_are_refused_by_line(tmp_path: Path) -> None:
    check_mutations(tmp_path, 200, seed=1)


@pytest.mark.slow
def test_a_thousand_mutated_cassettes_are_refused_by_line(tmp_path: Path) -> None:
    check_mutations(tmp_path, 1000, seed=2)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "is empty, so it is no cassette"),
        (b"hello\n", "line 1: it is not JSON"),
        (b'{"a": 1}\n', "line 1: this is no header of a cassette"),
        (b'{"cassette": 7}\n', "line 1: it was written by a newer version of this program (schema 7)"),
        (b'{"cassette": 1, "prompts": "salted"}\n', "line 1: prompts: Input should be 'plain' or 'hash'"),
        (HEADER + ROW[:-1], "line 2: it is cut off"),
        (HEADER + ROW + ROW, "line 3: attempt 1 of call 'a' follows attempt 1"),
        (HEADER + ROW.replace(b'"attempt": 1', b'"attempt": 2'), "line 2: call 'a' begins with attempt 2"),
        (HEADER + ROW.replace(b"200", b'"200"'), "line 2: status: Input should be a valid integer"),
        (HEADER + ROW.replace(b"200", b"1000"), "line 2: status: Input should be less than or equal to 999"),
        (HEADER + ROW.replace(b"0.25", b"1e999"), "line 2: seconds: Input should be a finite number"),
        (HEADER + ROW.replace(b"0.25", b"NaN"), "line 2: it is not JSON: NaN is no number"),
        (HEADER + ROW.replace(b"0.25", b"9e9"), "line 2: seconds: Input should be less than or equal to 86400"),
        (HEADER + ROW.replace(b'"text": "{}"', b'"base64": "?"'), "line 2: Value error, base64"),
        (HEADER + ROW.replace(b'"status": 200, ', b""), "line 2: Value error, there is neither a status nor a fault"),
        (HEADER + ROW.replace(b'"hi"', b"[" * 99 + b"]" * 99), "line 2: Value error, it is nested too deeply"),
        (HEADER + b"\n" + ROW, "line 2: it is not JSON"),
        (HEADER + b"\xff\n", "line 2: it is not UTF-8"),
        (HEADER + ROW + ROW.replace(b'1, "path"', b'2, "path"').replace(b"hi", b"ho"), "line 3: call 'a' asks someth"),
    ],
)
def test_the_mistake_is_named(tmp_path: Path, content: bytes, said: str) -> None:
    path = tmp_path / "tape.jsonl"
    path.write_bytes(content)
    with pytest.raises(InputError) as caught:
        Replay(path)
    assert f"{path}{', ' if said.startswith('line') else ' '}{said}" in caught.value.message


def test_what_is_no_file_is_said(tmp_path: Path) -> None:
    for path, said in (
        (tmp_path, "is no file"),
        (tmp_path / "none", "there is no cassette"),
        (Path("/dev/zero"), "is no file"),
    ):
        with pytest.raises(InputError, match=said):
            Replay(path)


def test_a_line_that_ends_within_the_limit_is_read(tmp_path: Path) -> None:
    path = tmp_path / "long.jsonl"
    path.write_bytes(HEADER + ROW.replace(b'"{}"', b'"' + b"x" * (LONGEST_LINE - 1000) + b'"'))
    assert [row.status for _, row in rows_of(path)] == [200]


LIMITED = """
import resource, sys
from pathlib import Path
from blackbox_proxy.cassettes.matching import Replay
from blackbox_proxy.errors import InputError
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
try:
    Replay(Path(sys.argv[1]))
except InputError as error:
    print(error.message)
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""


@pytest.mark.parametrize("packed", [False, True])
def test_a_line_of_a_hundred_megabytes_is_refused_without_being_read_whole(tmp_path: Path, packed: bool) -> None:  # noqa: FBT001
    path = tmp_path / ("huge.jsonl.gz" if packed else "huge.jsonl")
    if packed:
        with gzip.open(path, "wb") as file:
            file.write(HEADER)
            for _ in range(100):
                file.write(b"0" * 2**20)
    else:
        with path.open("wb") as file:
            file.write(HEADER)
            file.truncate(100 * 2**20)
    run = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(LIMITED), str(path)], capture_output=True, text=True, check=True
    )
    said, grown = run.stdout.splitlines()
    assert said == f"{path}, line 2: it is longer than 32 MiB"
    unit = 1 if sys.platform == "darwin" else 1024
    assert int(grown) * unit < 3 * LONGEST_LINE
