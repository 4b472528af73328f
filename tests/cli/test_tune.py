"""`tune`: what is wrong is said before anything is loaded; a tiny run leaves its files, stops when told, goes on."""

from __future__ import annotations

import importlib.util
import json
import signal
import subprocess
import tomllib
from pathlib import Path

import pytest

from blackbox_proxy.cli import training
from blackbox_proxy.local.pair import open_pair
from blackbox_proxy.local.pairfile import read_pair_file
from blackbox_proxy.tuning.course import Course, Progress
from tests.cli.runs import PROGRAM, SECONDS, Cli
from tests.tiny_gguf import TinyModel, write_tiny_llama

COUNT = 40


@pytest.fixture
def words(tmp_path: Path, tiny_bpe: TinyModel) -> tuple[str, ...]:
    """A command line that works."""
    lines = tmp_path / "lines.jsonl"
    lines.write_text("".join(json.dumps([f"the {number}", f"an {number % 3} then"]) + "\n" for number in range(COUNT)))
    where = ("--base", str(tiny_bpe.path), "--lines", str(lines), "--out", str(tmp_path / "my.lora.gguf"))
    return ("tune", *where, "--batch", "4")


@pytest.mark.parametrize(
    ("more", "says"),
    [
        (("--epochs", "0"), r"epochs must be a whole number from 1, not 0"),
        (("--targets", "q_proj,nose"), r"no projection is called 'nose'"),
        (("--slot", "("), r"no regular expression"),
        (("--validation", "1"), r"--validation must be a share from 0 to 1"),
        (("--validation", "nowhere.jsonl"), r"cannot read the lines in nowhere.jsonl"),
        (("--template", "nowhere.jinja"), r"cannot read the chat template 'nowhere.jinja'"),
        (("--raw", "--template", "chatml"), r"--raw goes with no --template"),
        (("--out", "adapter"), r"must be called something.gguf"),
        (("--lines", "{bad}"), r"bad.jsonl:2: the object has no completion"),
    ],
)
def test_bad_input_is_one_sentence_and_a_hint(
    cli: Cli, words: tuple[str, ...], more: tuple[str, ...], says: str
) -> None:
    bad = Path(words[4]).with_name("bad.jsonl")
    bad.write_text('["a", "b"]\n{"prompt": "a"}\n')
    said = cli(*words, *(word.replace("{bad}", str(bad)) for word in more))
    assert said.status == 2
    assert says in said.err
    assert "\nhint: " in said.err
    assert said.out == ""


def test_without_the_extra_it_says_what_to_install(
    cli: Cli, words: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    real = importlib.util.find_spec
    monkeypatch.setattr("blackbox_proxy.tuning.run.find_spec", lambda name: None if name == "torch" else real(name))
    said = cli(*words)
    assert said.status == 2
    assert "error: tuning needs packages that are not installed: " in said.err
    assert "torch" in said.err
    assert "hint: pip install 'blackbox-proxy[tune]'" in said.err


def test_nothing_is_written_over_unasked(cli: Cli, words: tuple[str, ...], tmp_path: Path) -> None:
    (tmp_path / "my.lora.gguf").write_text("precious")
    said = cli(*words, "--json")
    assert said.status == 2
    error = json.loads(said.out)["error"]
    assert "is there already" in error["message"]
    assert "--fresh" in error["hint"]


@pytest.mark.parametrize(("seconds", "says"), [(0.2, "0 s"), (99.4, "99 s"), (100, "2 min"), (7500, "2 h 5 min")])
def test_times_are_said_as_one_says_them(seconds: float, says: str) -> None:
    assert training.spoken(seconds) == says


def test_figures_of_a_run_that_was_gone_on_with_count_its_own_tokens() -> None:
    """100 steps took 50 s before; one more takes a second."""
    meter = training.Meter(seconds=50.0)
    says = meter.read(Progress(Course(10, (2.0,) * 101), 202, 300, 51.0))
    assert meter.rate == 300
    assert meter.remaining == pytest.approx(51.0)
    assert says == "loss 2.000, 300 tokens/s, 51 s left"


def test_the_line_of_an_epoch_says_whether_it_is_the_best() -> None:
    course = Course(1, (2.0,), (1.5,))
    assert training.epoch_line(course) == "epoch 1: loss 2.0000, validation 1.5000 (the best so far)"
    worse = course.stepped(1.0).validated(1.75)
    assert training.epoch_line(worse) == "epoch 2: loss 1.0000, validation 1.7500"
    assert training.epoch_line(Course(1, (2.0,))) == "epoch 1: loss 2.0000"


def test_ctrl_c_is_heard_once_and_the_second_breaks_off() -> None:
    before = signal.getsignal(signal.SIGINT)
    with training.breakable() as stop:
        assert not stop()
        signal.raise_signal(signal.SIGINT)
        assert stop()
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
    assert signal.getsignal(signal.SIGINT) is before


@pytest.mark.slow
class TestWithPyTorch:
    """Runs of the whole command; needs the extra [tune]."""

    @pytest.fixture(autouse=True)
    def _environment(self, monkeypatch: pytest.MonkeyPatch) -> None:
        pytest.importorskip("torch", reason="needs the extra [tune]: pip install 'blackbox-proxy[tune]'")
        monkeypatch.setenv("OMP_NUM_THREADS", "1")

    def run(self, *words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run([*PROGRAM, *words], capture_output=True, text=True, timeout=SECONDS, check=False)

    def test_a_run_says_first_what_it_takes_and_leaves_a_pair_that_opens(
        self, words: tuple[str, ...], tmp_path: Path
    ) -> None:
        ran = self.run(*words, "--check", "--epochs", "2")
        assert ran.returncode == 0, ran.stderr
        announced = ran.stderr[: ran.stderr.index("epoch 1:")]
        for begin in (
            "base: bpe.gguf, architecture llama",
            "lines: 36 to train on, 4 to",
            "steps: 18",
            "memory:",
            "time:",
        ):
            assert begin in announced
        assert "PyTorch and llama.cpp agree" in ran.stdout
        assert {path.name for path in tmp_path.iterdir()} >= {
            "my.lora.gguf",
            "my.lora.toml",
            "my.lora.svg",
            "my.pair.toml",
        }
        assert not (tmp_path / "my.lora.gguf.checkpoint").exists()
        with open_pair(read_pair_file(tmp_path / "my.pair.toml", Path)) as pair:
            assert pair.name == "bpe.gguf"

    def test_one_json_object_and_the_record_agree(self, words: tuple[str, ...], tmp_path: Path) -> None:
        ran = self.run(*words, "--json", "--epochs", "2", "--rank", "2", "--targets", "q_proj", "--raw")
        found = json.loads(ran.stdout)
        record = tomllib.loads((tmp_path / "my.lora.toml").read_text())
        assert found["finished"]
        assert found["lines"] == {"train": record["lines"]["count"], "validation": record["validation"]["count"]}
        assert found["validation_losses"] == pytest.approx(record["result"]["validation_losses"], abs=1e-4)
        assert (record["recipe"]["rank"], record["recipe"]["targets"]) == (2, ["q_proj"])
        assert found["check"] is None
        assert 'template = "raw"' in (tmp_path / "my.pair.toml").read_text()

    @pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
    def test_a_stopped_or_killed_run_goes_on_and_ends_alike(
        self, words: tuple[str, ...], tmp_path: Path, number: signal.Signals
    ) -> None:
        more = ("--epochs", "12", "--patience", "0")
        assert self.run(*words, *more).returncode == 0
        whole = (tmp_path / "my.lora.gguf").read_bytes()
        fresh = subprocess.Popen([*PROGRAM, *words, *more, "--fresh"], stderr=subprocess.PIPE, text=True)
        assert fresh.stderr is not None
        said = ""
        while "epoch 2:" not in said:
            said += fresh.stderr.readline()
        fresh.send_signal(number)
        said += fresh.communicate(timeout=SECONDS)[1]
        if number is signal.SIGKILL:
            assert fresh.returncode == -number, said
        else:
            assert fresh.returncode == 130, said
            assert "goes on from" in said
        ran = self.run(*words, *more)
        assert ran.returncode == 0, ran.stderr
        assert "going on after step" in ran.stderr
        assert (tmp_path / "my.lora.gguf").read_bytes() == whole

    def test_another_architecture_is_refused_by_name(self, words: tuple[str, ...], tmp_path: Path) -> None:
        other = write_tiny_llama(tmp_path / "other.gguf", architecture="qwen2")
        ran = self.run(*words, "--base", str(other.path))
        assert ran.returncode == 2
        assert "other.gguf has the architecture 'qwen2'; only llama can be tuned here" in ran.stderr
