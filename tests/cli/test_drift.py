"""`drift` from end to end: a real server, tiny models, and what becomes of the model behind the name."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import gguf
import numpy as np
import pytest

from blackbox_proxy.drift import QUESTIONS, read_record, record_file, write_record
from blackbox_proxy.errors import InputError
from blackbox_proxy.standin import running
from blackbox_proxy.types import Floats
from tests.cli.runs import Cli
from tests.tiny_gguf import TinyModel, write_tiny_llama

CONTEXT = 320


@contextmanager
def served(path: Path, *, fingerprint: str = "", quirks: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """What the command line needs to reach a model that calls itself tiny."""
    with running(path, name="tiny", context=CONTEXT, slots=1, fingerprint=fingerprint, quirks=quirks) as url:
        yield ("--base-url", url, "--model", "tiny")


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "canaries.json"


def record(cli: Cli, where: tuple[str, ...], file: Path, *more: str) -> dict[str, object]:
    said = cli("drift", "record", *where, "--file", str(file), "--no-ledger", "--json", *more)
    assert said.status == 0, said
    found: dict[str, object] = json.loads(said.out)
    return found


def check(cli: Cli, where: tuple[str, ...], file: Path, *more: str) -> tuple[int, dict[str, object]]:
    said = cli("drift", "check", *where, "--file", str(file), "--no-ledger", "--json", *more)
    return said.status, json.loads(said.out)


def edited(source: Path, target: Path, names: Callable[[str], bool], edit: Callable[[Floats], Floats]) -> Path:
    """A copy of a model in which the tensors of some names are edited."""
    shutil.copy(source, target)
    reader = gguf.GGUFReader(target, "r+")
    for tensor in reader.tensors:
        if names(tensor.name):
            tensor.data[:] = edit(tensor.data)
    reader.data.flush()
    return target


def four_bits(weights: Floats) -> Floats:
    """Weights as a quantisation of four bits with a scale for each row leaves them."""
    scale = np.abs(weights).max(axis=-1, keepdims=True) / 7
    return np.asarray(np.round(weights / scale) * scale)


@pytest.mark.parametrize("how", [(), ("--chat",)])
def test_the_same_model_is_the_same_again_and_again(cli: Cli, tiny_api: TinyModel, file: Path, how: tuple[str]) -> None:
    with served(tiny_api.path, fingerprint="fp-1") as where:
        found = record(cli, where, file, *how)
        assert (found["canaries"], found["noise"], found["fingerprints"]) == (len(QUESTIONS), 0.0, ["fp-1"])
        assert found["calls"] == 2 * len(QUESTIONS)
        for _ in range(3):
            status, told = check(cli, where, file, *how)
            assert (status, told["verdict"], told["calls"]) == (0, "same", len(QUESTIONS))


def test_the_jitter_of_an_endpoint_is_no_alarm(cli: Cli, tiny_api: TinyModel, file: Path) -> None:
    with served(tiny_api.path, quirks=("noise=0.1",)) as where:
        assert float(str(record(cli, where, file)["noise"])) > 0.005
        for _ in range(8):
            status, told = check(cli, where, file)
            assert (status, told["verdict"] in ("same", "noise"), told["reasons"]) == (0, True, [])


def test_another_model_behind_the_name_is_an_alarm(cli: Cli, tiny_api: TinyModel, file: Path, tmp_path: Path) -> None:
    with served(tiny_api.path, quirks=("noise=0.1",)) as where:
        record(cli, where, file)
    other = write_tiny_llama(tmp_path / "other.gguf", seed=6)
    with served(other.path, quirks=("noise=0.1",)) as where:
        status, told = check(cli, where, file)
    assert (status, told["verdict"]) == (1, "changed")


@pytest.mark.parametrize("how", ["one tensor", "four bits"])
def test_small_changes_of_the_weights_are_alarms(
    cli: Cli, tiny_api: TinyModel, file: Path, tmp_path: Path, how: str
) -> None:
    """One matrix a tenth larger, or all weights in four bits."""
    names, edit = {
        "one tensor": (lambda name: name == "blk.0.ffn_down.weight", lambda weights: 1.1 * weights),
        "four bits": (lambda name: name.startswith("blk.") and "norm" not in name, four_bits),
    }[how]
    with served(tiny_api.path) as where:
        record(cli, where, file)
    with served(edited(tiny_api.path, tmp_path / "edited.gguf", names, edit)) as where:
        status, told = check(cli, where, file)
    assert (status, told["verdict"]) == (1, "changed")


@pytest.mark.parametrize(
    ("fingerprint", "quirks", "status"),
    [
        ("fp-2", (), 1),
        ("", (), 0),
        ("fp-1", ("top-k-cut=5",), 0),
        ("fp-1", ("rounded-logps=3",), 0),
        ("fp-1", ("logp-after-temperature",), 1),
    ],
)
def test_what_else_may_be_different(
    cli: Cli, tiny_api: TinyModel, file: Path, fingerprint: str, quirks: tuple[str, ...], status: int
) -> None:
    """Another fingerprint, or none; fewer candidates, rounded ones; log-probs at another temperature."""
    with served(tiny_api.path, fingerprint="fp-1") as where:
        record(cli, where, file)
    with served(tiny_api.path, fingerprint=fingerprint, quirks=quirks) as where:
        found, told = check(cli, where, file)
    assert found == status, told


def test_a_person_is_told_what_changed_and_why(cli: Cli, tiny_api: TinyModel, file: Path) -> None:
    with served(tiny_api.path, fingerprint="fp-1") as where:
        said = cli("drift", "record", *where, "--file", str(file))
        assert said.status == 0
        assert "10 canaries, 2 takes: tiny differs from itself by 0" in said.out
        assert "fingerprint: fp-1" in said.out
    with served(tiny_api.path, fingerprint="fp-2") as where:
        said = cli("drift", "check", *where, "--file", str(file))
    assert said.status == 1
    assert "changed since" in said.out
    assert "the fingerprint was fp-1, and is fp-2" in said.out
    assert said.err.count("10 calls") == 1


def test_what_it_took_is_booked(cli: Cli, tiny_api: TinyModel, file: Path, tmp_path: Path) -> None:
    ledger = ("--ledger", str(tmp_path / "books.sqlite"))
    with served(tiny_api.path) as where:
        cli("drift", "record", *where, "--file", str(file), *ledger, "--tag", "project=watch")
        cli("drift", "check", *where, "--file", str(file), *ledger)
        booked = cli("cost", "export", "--csv", *ledger).out.splitlines()
        assert len(booked) == 1 + 3 * len(QUESTIONS)
        over = cli("drift", "check", *where, "--file", str(file), *ledger, "--max-calls", "3")
    assert over.status == 1
    assert "budget" in over.err


def test_a_record_lies_by_address_and_model(
    cli: Cli, tiny_api: TinyModel, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    with served(tiny_api.path) as where:
        said = cli("drift", "check", *where, "--no-ledger")
        assert said.status == 2
        assert "nothing was recorded of this model" in said.err
        assert cli("drift", "record", *where, "--no-ledger").status == 0
        assert record_file(tmp_path / "blackbox-proxy", where[1], "tiny").exists()
        assert cli("drift", "check", *where, "--no-ledger").status == 0


def test_the_route_must_be_the_recorded_one(cli: Cli, tiny_api: TinyModel, file: Path) -> None:
    with served(tiny_api.path) as where:
        record(cli, where, file)
        said = cli("drift", "check", *where, "--file", str(file), "--no-ledger", "--chat")
    assert said.status == 2
    assert "the canaries were sent as text, and this endpoint takes chat" in said.err


def test_a_record_is_read_as_it_was_written(cli: Cli, tiny_api: TinyModel, file: Path, tmp_path: Path) -> None:
    """Bytes that are no text among its tokens too: the tiny model has some."""
    with served(tiny_api.path) as where:
        record(cli, where, file)
    found = read_record(file)
    pieces = {one.piece for canary in found.canaries for at in canary.takes[0].positions for one in at.top}
    assert any(piece != piece.decode("utf-8", "replace").encode() for piece in pieces)
    again = tmp_path / "again.json"
    write_record(again, found)
    assert read_record(again) == found
    assert again.read_bytes() == file.read_bytes()


@pytest.mark.parametrize("text", ["", "{}", "[]", "null", '{"version": 2}', '{"version": 1, "canaries": [1]}'])
def test_another_file_is_no_record(file: Path, text: str) -> None:
    file.write_text(text, encoding="utf-8")
    with pytest.raises(InputError, match="is no record of canaries"):
        read_record(file)
