"""How a cassette is written: whole lines, never over another file, by threads and processes, and prompts hashed."""

from __future__ import annotations

import gzip
import json
import os
import signal
import subprocess
import sys
import textwrap
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from blackbox_proxy.cassettes.hashing import digest, hashed, hashed_reply
from blackbox_proxy.cassettes.matching import Replay, calls_of
from blackbox_proxy.cassettes.reading import read_header, rows_of
from blackbox_proxy.cassettes.recording import Recorder
from blackbox_proxy.cassettes.redacting import Redactor
from blackbox_proxy.cassettes.schema import LONGEST_LINE, HeardReply
from blackbox_proxy.errors import InputError
from blackbox_proxy.types import WireRequest

REQUEST = WireRequest("/completions", {"model": "m", "prompt": "hi"})
REPLY = HeardReply(1.5, 200, {"X-Request-Id": "r1", "Set-Cookie": "c"}, b'{"choices": []}')


def write(recorder: Recorder, *, call: str = "c1", request: WireRequest = REQUEST, heard: HeardReply = REPLY) -> None:
    recorder.write(request, heard, call=call, attempt=1, seconds=0.25, redactor=Redactor())


@pytest.mark.parametrize("ending", ["jsonl", "jsonl.gz"])
def test_a_row_is_there_as_soon_as_it_is_written(tmp_path: Path, ending: str) -> None:
    path = tmp_path / "new" / f"tape.{ending}"
    recorder = Recorder(path)
    recorder.begin(address="http://a/v1", model="m", profile="p")
    header = read_header(path)
    assert (header.address, header.model, header.profile, header.prompts) == ("http://a/v1", "m", "p", "plain")
    assert header.tool.startswith("blackbox-proxy ")
    for number in range(3):
        write(recorder, call=f"c{number}")
        assert [line for line, _ in rows_of(path)] == list(range(2, number + 3))
    row = list(rows_of(path))[-1][1]
    assert (row.path, row.body, row.status, row.headers) == ("/completions", REQUEST.body, 200, {"x-request-id": "r1"})
    assert (row.raw, row.at, row.seconds, row.model) == (REPLY.raw, 1.5, 0.25, "m")


@pytest.mark.parametrize("content", [b"", b"notes\n", b'{"a": 1}\n', b"\x1f\x8b\x08"])
def test_a_file_that_is_no_cassette_is_left_alone(tmp_path: Path, content: bytes) -> None:
    for name in ("tape.jsonl", "tape.jsonl.gz"):
        path = tmp_path / name
        path.write_bytes(content)
        with pytest.raises(InputError, match=name):
            Recorder(path).begin()
        assert path.read_bytes() == content


def test_a_cassette_is_appended_to_in_its_own_form(tmp_path: Path) -> None:
    path = tmp_path / "tape.jsonl"
    write(Recorder(path), call="c1")
    again = Recorder(path)
    again.begin(address="http://elsewhere", model="other")
    write(again, call="c2")
    assert list(calls_of(path)) == ["c1", "c2"]
    with pytest.raises(InputError, match="keeps prompts as plain, not as hash"):
        Recorder(path, prompts="hash").begin()
    with pytest.raises(InputError, match="plain or hash"):
        Recorder(path, prompts="md5")  # type: ignore[arg-type]


def test_nothing_is_appended_to_an_end_that_is_cut_off(tmp_path: Path) -> None:
    for name in ("tape.jsonl", "tape.jsonl.gz"):
        path = tmp_path / name
        write(Recorder(path))
        path.write_bytes(path.read_bytes()[:-3])
        with pytest.raises(InputError, match=r"line [23]: (it is cut off|the compressed file is broken)") as caught:
            Recorder(path).begin()
        assert "cassette prune" in caught.value.hint


def test_threads_share_a_recorder(tmp_path: Path) -> None:
    recorder = Recorder(tmp_path / "tape.jsonl.gz")
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda number: write(recorder, call=f"c{number}"), range(200)))
    assert len(calls_of(recorder.path)) == 200


WRITER = """
import sys
from pathlib import Path
from blackbox_proxy.cassettes.recording import Recorder
from tests.cassettes.test_recording import write
recorder = Recorder(Path(sys.argv[1]))
recorder.begin()
print("ready", flush=True)
for number in range(int(sys.argv[3])):
    write(recorder, call=f"{sys.argv[2]}-{number}")
"""


def start(path: Path, name: str, rows: int) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", textwrap.dedent(WRITER), str(path), name, str(rows)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


def test_processes_append_to_one_file(tmp_path: Path) -> None:
    path = tmp_path / "tape.jsonl"
    started = [start(path, name, 300) for name in "ab"]
    assert [process.communicate()[0] for process in started] == ["ready\n"] * 2
    assert len(calls_of(path)) == 600


@pytest.mark.parametrize("ending", ["jsonl", "jsonl.gz"])
def test_a_process_that_is_killed_leaves_whole_lines(tmp_path: Path, ending: str) -> None:
    path = tmp_path / f"tape.{ending}"
    process = start(path, "a", 10**6)
    assert process.stdout
    assert process.stdout.readline() == "ready\n"
    while path.stat().st_size < 20_000:
        pass
    process.send_signal(signal.SIGKILL)
    process.communicate()
    count = len(calls_of(path))
    write(Recorder(path), call="later")
    assert len(calls_of(path)) == count + 1 > 10


def test_a_disk_that_is_full_leaves_the_row_before(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "tape.jsonl"
    recorder = Recorder(path)
    write(recorder)
    before, real = path.read_bytes(), os.write

    def full(file: int, content: bytes) -> int:
        if len(content) > 20:
            return real(file, content[:20])
        raise OSError(28, "No space left on device")

    def twenty(file: int, content: bytes) -> int:
        monkeypatch.setattr(os, "write", lambda *_: (_ for _ in ()).throw(OSError(28, "No space left on device")))
        return full(file, content)

    monkeypatch.setattr(os, "write", twenty)
    with pytest.raises(InputError, match="No space left on device"):
        write(recorder, call="c2")
    monkeypatch.undo()
    assert path.read_bytes() == before


def test_a_folder_that_cannot_be_written_is_said_before_anything_is_sent(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="cannot write"):
        Recorder(tmp_path / "file" / "tape.jsonl").begin()


def test_a_reply_that_is_too_long_is_said_to_be(tmp_path: Path) -> None:
    path = tmp_path / "tape.jsonl.gz"
    write(Recorder(path), heard=HeardReply(1.0, 200, {}, b" " * LONGEST_LINE))
    ((_, row),) = rows_of(path)
    assert (row.outcome, row.raw) == ("unrecorded", b"")
    with pytest.raises(InputError, match="too long for a cassette"):
        write(Recorder(path), request=WireRequest("/c", {"prompt": "x" * LONGEST_LINE}))


def test_what_no_reader_would_take_is_not_written(tmp_path: Path) -> None:
    path, deep = tmp_path / "tape.jsonl", [0]
    for _ in range(80):
        deep = [deep]  # type: ignore[list-item]
    write(Recorder(path))
    before = path.read_bytes()
    with pytest.raises(InputError, match="cannot be recorded: Value error, it is nested too deeply"):
        write(Recorder(path), call="c2", request=WireRequest("/completions", {"prompt": deep}))
    assert path.read_bytes() == before
    write(Recorder(path), call="c3", heard=HeardReply(1.0, 777, {}, b""))
    assert [row.status for _, row in rows_of(path)] == [200, 777]


def test_half_a_surrogate_pair_comes_back(tmp_path: Path) -> None:
    path = tmp_path / "tape.jsonl"
    request = WireRequest("/completions", {"prompt": "\ud83d"})
    write(Recorder(path), request=request)
    assert Replay(path).call(request).next().body == request.body


TEXTS = {
    "model": "m",
    "prompt": ["first", "first", [1, 2, 3], ""],
    "messages": [
        {"role": "user", "content": "first", "prefix": True},
        {"role": "user", "content": [{"type": "text", "text": "second"}]},
    ],
    "instructions": "third",
    "stop": ["third"],
}


def test_prompts_become_digests_wherever_they_stand() -> None:
    found = hashed(TEXTS)
    one, two, three = digest("first"), digest("second"), digest("third")
    assert found == {
        "model": "m",
        "prompt": [one, one, digest([1, 2, 3]), ""],
        "messages": [
            {"role": "user", "content": one, "prefix": True},
            {"role": "user", "content": [{"type": "text", "text": two}]},
        ],
        "instructions": three,
        "stop": ["third"],
    }
    assert len({one, two, three, digest([1, 2, 3])}) == 4


def test_a_hashed_cassette_shows_no_prompt_and_replays(tmp_path: Path) -> None:
    path = tmp_path / "tape.jsonl"
    private = "the patient's name is Ada"
    request = WireRequest("/responses", {"model": "m", "input": private, "instructions": private})
    reply = json.dumps({"instructions": private, "output": [{"text": "an answer"}]}).encode()
    refused = json.dumps({"error": {"message": f"cannot read {private!r}"}}).encode()
    recorder = Recorder(path, prompts="hash")
    write(recorder, call="a", request=request, heard=HeardReply(1.0, 200, {}, reply))
    write(recorder, call="b", request=request, heard=HeardReply(1.0, 400, {}, refused))
    assert "Ada" not in path.read_text()
    replay = Replay(path)
    first = json.loads(replay.call(request).next().raw)
    assert first == {"instructions": digest(private), "output": [{"text": "an answer"}]}
    assert replay.call(request).next().status == 400
    with pytest.raises(InputError, match="sha256:"):
        replay.call(WireRequest("/responses", {"model": "m", "input": "another"})).next()


def test_an_echo_cannot_be_hashed(tmp_path: Path) -> None:
    recorder = Recorder(tmp_path / "tape.jsonl", prompts="hash")
    with pytest.raises(InputError, match="the request asks for that: echo"):
        recorder.check(WireRequest("/completions", {"prompt": "p", "echo": True}))
    recorder.check(WireRequest("/completions", {"prompt": "p", "echo": False}))


def test_what_is_no_json_is_kept_as_it_is() -> None:
    assert hashed_reply(b"\xff", {"prompt": "something long"}, status=200) == b"\xff"
    assert b"long" not in hashed_reply(b"no: something long", {"prompt": "something long"}, status=500)


def test_a_compressed_cassette_is_gzip(tmp_path: Path) -> None:
    path = tmp_path / "tape.jsonl.gz"
    write(Recorder(path))
    assert len(gzip.decompress(path.read_bytes()).splitlines()) == 2
