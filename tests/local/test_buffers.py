"""The trial of llama.cpp's extra buffers: what it finds, what follows from it, and how long it is kept."""

from __future__ import annotations

import signal
import subprocess
import sys
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import gguf
import numpy as np
import pytest

from blackbox_proxy.errors import InputError, LocalModelError
from blackbox_proxy.local import buffers, trial
from blackbox_proxy.local.buffers import Finding, attempt, find, use_extra_buffers
from blackbox_proxy.local.llama import Model
from blackbox_proxy.standin import running
from tests.gateway.serving import config_text
from tests.standin.raw import post
from tests.tiny_gguf import TinyModel

WARNED = "extra buffers did not pass a trial"


def child(*lines: str) -> list[str]:
    """A command in the place of the trial."""
    return [sys.executable, "-c", "\n".join(("import os, signal, sys", *lines))]


def dies(name: str, *, after: str = "plain") -> list[str]:
    """A child that says how far it came and then kills itself."""
    return child(f"print({after!r}, flush=True)", f"os.kill(os.getpid(), signal.{name})")


def dies_in_extra_buffers() -> list[str]:
    """The trial itself, with a fault in the place where the tiles would be: after the plain buffers have worked."""
    *head, code = buffers.trial()
    first, run = code.rsplit("; ", 1)
    fault = "os.kill(os.getpid(), signal.SIGSEGV) if extra_buffers else real(path, extra_buffers=False)"
    return [
        *head,
        f"""
import os, signal
{first}
from blackbox_proxy.local import trial
real = trial.evaluate
def evaluate(path, *, extra_buffers):
    return {fault}
trial.evaluate = evaluate
{run}
""",
    ]


@pytest.fixture
def untried(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A process that knows nothing yet, on a machine where nothing is kept; gives the cache."""
    monkeypatch.delenv(buffers.VARIABLE, raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(buffers, "_memory", buffers.Memory())
    return tmp_path / "blackbox-proxy"


def injected(patch: pytest.MonkeyPatch, command: Sequence[str]) -> None:
    patch.setattr(buffers, "trial", lambda: list(command))


def test_the_trial_runs_on_this_machine() -> None:
    found = attempt(buffers.trial())
    assert found.plain
    assert found.lasting
    assert found.extra is (found.why == "")


def test_a_child_that_dies_of_the_extra_buffers_is_answered_with_plain_ones(
    untried: Path, tiny_bpe: TinyModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    injected(monkeypatch, dies_in_extra_buffers())
    with pytest.warns(RuntimeWarning, match=f"{WARNED}.*it ended by SIGSEGV") as said, Model(tiny_bpe.path) as model:
        assert model.extra_buffers is False
    assert len(said) == 1
    assert len(list((untried / "buffers").iterdir())) == 1


@pytest.mark.parametrize("passes", [True, False])
def test_what_was_found_is_kept(
    untried: Path, tiny_bpe: TinyModel, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, *, passes: bool
) -> None:
    """Neither this process nor the next tries or warns again."""
    count = tmp_path / "count"
    counted = f"open({str(count)!r}, 'a').write('x')"
    injected(
        monkeypatch,
        child(counted, "print('plain\\nextra')")
        if passes
        else [
            *dies("SIGSEGV")[:2],
            f"""
import os, signal
{counted}
print('plain', flush=True)
os.kill(os.getpid(), signal.SIGSEGV)
""",
        ],
    )
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        for _ in range(3):
            assert use_extra_buffers() is passes
            with Model(tiny_bpe.path) as model:
                assert model.extra_buffers is passes
            monkeypatch.setattr(buffers, "_memory", buffers.Memory())
    assert count.read_text() == "x"
    assert len(said) == (0 if passes else 1)
    assert len(list((untried / "buffers").iterdir())) == 1


@pytest.mark.parametrize("change", ["boot", "processor", "build", "damage"])
def test_a_new_trial_is_due_where_something_changed(
    untried: Path, monkeypatch: pytest.MonkeyPatch, change: str
) -> None:
    assert find(untried, child("print('plain\\nextra')")).extra
    if change == "damage":
        next((untried / "buffers").iterdir()).write_text("{")
    elif change == "boot":
        monkeypatch.setattr(buffers, "_boot", lambda: "another")
    else:
        monkeypatch.setattr(buffers, change, lambda: "model name : another")
    with pytest.warns(RuntimeWarning, match=WARNED):
        assert not find(untried, dies("SIGILL")).extra
    assert not find(untried, child("raise SystemExit('must not run')")).extra


@pytest.mark.parametrize("name", sorted(buffers.FAULTS))
def test_a_fault_of_the_processor_is_a_finding(name: str) -> None:
    assert attempt(dies(name)) == Finding(extra=False, why=f"it ended by {name}")
    shell = ["sh", "-c", f'"$@"; exit $((128 + {int(signal.Signals[name])}))', "sh", *child("print('plain')")]
    assert attempt(shell) == Finding(extra=False, why=f"it ended by {name}")


@pytest.mark.parametrize(
    ("command", "why"),
    [
        (dies("SIGKILL"), "it ended by SIGKILL"),
        (dies("SIGTERM"), "it ended by SIGTERM"),
        (child("sys.exit('no room')"), "it ended with the status 1: no room"),
        (child("print('plain')"), "it ended with the status 0: no reason"),
        (["/no/such/program"], "could not be run"),
        ([""], "could not be run"),
    ],
)
def test_what_tells_nothing_of_the_processor_is_not_kept(untried: Path, command: list[str], why: str) -> None:
    with pytest.warns(RuntimeWarning, match=why):
        assert not find(untried, command).extra
    assert find(untried, child("print('plain\\nextra')")).extra


def test_a_trial_that_takes_too_long_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(buffers, "SECONDS", 0.05)
    found = attempt(child("signal.pause()"))
    assert (found.extra, found.plain, found.lasting) == (False, True, False)
    assert found.why == "it took longer than 0.05 seconds"


def test_other_results_are_no_pass(untried: Path) -> None:
    with pytest.warns(RuntimeWarning, match=r"its results were others \(1.4 of their size away\)"):
        assert not find(untried, child("print('plain\\ndifferent 1.4')")).extra


def test_a_build_that_does_not_run_at_all_is_refused_by_name(
    untried: Path, tiny_bpe: TinyModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    injected(monkeypatch, dies("SIGILL", after=""))
    for _ in range(2):
        with pytest.raises(LocalModelError, match=r"does not run on this processor .*: a trial of it failed, it ended"):
            Model(tiny_bpe.path)
    Model(tiny_bpe.path, vocabulary_only=True).close()
    assert list((untried / "buffers").iterdir())


@pytest.mark.parametrize("value", ["plain", "extra"])
def test_the_environment_decides_without_a_trial(
    untried: Path, monkeypatch: pytest.MonkeyPatch, tiny_bpe: TinyModel, value: str
) -> None:
    injected(monkeypatch, child("raise SystemExit('must not run')"))
    monkeypatch.setenv(buffers.VARIABLE, value)
    assert use_extra_buffers() is (value == "extra")
    if value == "plain":
        with Model(tiny_bpe.path) as model:
            assert model.extra_buffers is False
    assert not untried.exists()


def test_a_value_without_a_meaning_is_refused(untried: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(buffers.VARIABLE, "fast")
    with pytest.raises(InputError, match="BLACKBOX_PROXY_BUFFERS='fast' means nothing"):
        use_extra_buffers()
    assert not untried.exists()


def test_a_cache_that_cannot_be_written_is_done_without(untried: Path) -> None:
    untried.parent.mkdir(exist_ok=True)
    untried.write_text("a file in the place of the folder")
    assert find(untried, child("print('plain\\nextra')")).extra


def test_the_child_leaves_nothing_behind(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    assert not attempt(dies_in_extra_buffers()).extra
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", trial.TYPES)
def test_the_layout_of_each_type_is_ggmls(name: str) -> None:
    """Held against the package gguf, which writes such files for others; the weights are of a sane size."""
    kind = trial.TYPES[name]
    number = gguf.GGMLQuantizationType[name]
    assert (kind.number, (kind.elements, kind.size)) == (number, gguf.GGML_QUANT_SIZES[number])
    stored = np.frombuffer(trial.random_weights(kind, trial.WIDTH**2, np.random.default_rng(1)), np.uint8)
    weights = gguf.quants.dequantize(stored.reshape(trial.WIDTH, -1), number)
    assert weights.shape == (trial.WIDTH, trial.WIDTH)
    assert 0.02 < float(weights.std()) < 0.2


def test_a_distance_sees_one_layer_of_nonsense(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, other = tmp_path / "one.gguf", tmp_path / "other.gguf"
    trial.write_model(path)
    plain = trial.evaluate(path, extra_buffers=False, threads=1)
    assert trial.far(plain, plain) == 0.0
    for name, kind in list(trial.TYPES.items()):
        if kind.halves:  # the layer has the same numbers with the other sign
            monkeypatch.setitem(trial.TYPES, name, replace(kind, halves=tuple((at, -by) for at, by in kind.halves)))
            trial.write_model(other)
            assert trial.far(plain, trial.evaluate(other, extra_buffers=False, threads=1)) > trial.NEAR, name
            monkeypatch.setitem(trial.TYPES, name, kind)
    assert trial.far([np.array([1.0], np.float32)], [np.array([np.nan], np.float32)]) == float("inf")


SCRIPT = """
import sys
from blackbox_proxy.local import buffers
command = {command!r}
buffers.trial = lambda: command
from blackbox_proxy.cli import main
sys.argv = ["blackbox-proxy", *sys.argv[1:]]
main()
"""


@pytest.fixture
def pair_file(tiny_folder: Path, tiny_bpe: TinyModel, tiny_lora: Path) -> Path:
    path = tiny_folder / "buffers.toml"
    path.write_text(f'model = "{tiny_bpe.path.name}"\nadapter = "{tiny_lora.name}"\ncontext = 256\n')
    return path


@pytest.fixture
def program(untried: Path) -> list[str]:
    """The command line on a machine whose trial dies, with nothing kept."""
    assert not untried.exists()
    return [sys.executable, "-c", SCRIPT.format(command=dies_in_extra_buffers())]


def test_pair_check_warns_once_and_says_which_buffers_it_took(program: list[str], pair_file: Path) -> None:
    check = [*program, "pair", "check", "--pair", str(pair_file)]
    first, second = (subprocess.run(check, capture_output=True, text=True, check=True) for _ in range(2))
    assert first.stderr.startswith(f"warning: llama.cpp's {WARNED}")
    assert first.stderr.count("\n") == 1
    assert second.stderr == ""
    assert "(plain buffers)" in first.stdout.replace("\n", " ")


def test_the_standin_serves_from_plain_buffers(program: list[str], tiny_bpe: TinyModel) -> None:
    with serving([*program, "standin", "--model", str(tiny_bpe.path), "--name", "tiny"]) as (url, warned):
        assert WARNED in warned
        asked = {"model": "tiny", "prompt": "a b c d e f g h", "max_tokens": 2}
        assert post(url, "/completions", asked).status == 200


def test_the_gateway_serves_from_plain_buffers(
    program: list[str], pair_file: Path, tiny_bpe: TinyModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = tmp_path / "gateway.toml"
    monkeypatch.setenv(buffers.VARIABLE, "plain")
    with running(tiny_bpe.path, name="tiny", context=256) as closed:
        monkeypatch.delenv(buffers.VARIABLE)
        config.write_text(config_text(closed, pair=pair_file) + "\n[ledger]\noff = true\n")
        with serving([*program, "serve", "--config", str(config)]) as (url, warned):
            assert WARNED in warned
            asked = {"model": "steered", "prompt": "a b c d e f g h", "max_tokens": 2}
            assert post(url, "/completions", asked).status == 200


@contextmanager
def serving(command: Sequence[str]) -> Iterator[tuple[str, str]]:
    """A server in a process of its own: where it answers, and what it said on standard error before that."""
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as server:
        try:
            assert server.stdout
            assert server.stderr
            warned = server.stderr.readline()
            line = server.stdout.readline()
            yield next(word for word in line.split() if word.startswith("http")), warned
        finally:
            server.kill()
