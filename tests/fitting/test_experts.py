"""The expert of a fit: trained over a small base, found again, and said to be missing where it cannot be trained."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

import pytest

from blackbox_proxy.errors import InputError
from blackbox_proxy.evaluation.task import Item
from blackbox_proxy.fitting import experts
from blackbox_proxy.fitting.experts import TrainingTime, check_extra, kept_expert, replayed_expert, trained
from blackbox_proxy.local.loading import load_pair
from blackbox_proxy.tuning import run
from tests.tiny_gguf import TinyModel

ITEMS = [Item(prompt=f"the {n}?", reference=f"an {n}") for n in range(12)]


def test_without_the_extra_it_is_said_that_a_pair_would_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run, "NEEDED", ("a_package_that_is_not_there",))
    with pytest.raises(InputError, match="no pair is given, so an expert is to be trained") as caught:
        check_extra()
    assert "--pair" in caught.value.hint


def test_a_replay_takes_the_expert_that_a_finished_training_has_left(tmp_path: Path) -> None:
    files = run.outputs(tmp_path / experts.ADAPTER)
    assert kept_expert(tmp_path / "nowhere") is None
    with pytest.raises(InputError, match="a replay trains none"):
        replayed_expert(tmp_path)
    files.checkpoint.write_text("")
    files.pair.write_text("")
    assert kept_expert(tmp_path) is None
    files.checkpoint.unlink()
    assert replayed_expert(tmp_path) == files.pair


@pytest.mark.skipif(find_spec("torch") is None, reason="needs the extra [tune]")
def test_an_expert_is_trained_once_and_its_pair_opens(tiny_bpe: TinyModel, tmp_path: Path) -> None:
    said: list[str] = []

    def train() -> Path:
        base = tiny_bpe.path
        return trained(ITEMS, base=base, spec=str(base), folder=tmp_path, seed=0, say=said.append)

    pair = train()
    with load_pair(pair) as opened:
        assert opened.members[0].model.name == opened.members[1].model.name
    assert said[0].startswith("training an expert over ")
    assert "the expert is trained: " in said[-1]
    assert train() == pair
    assert said[-1].startswith("the expert of an earlier run is taken: ")
    assert experts.BASE.startswith("pypi:")


@pytest.mark.skipif(find_spec("torch") is None, reason="needs the extra [tune]")
def test_training_ends_with_its_share_of_the_time_and_its_best_epoch(tiny_bpe: TinyModel, tmp_path: Path) -> None:
    """Time is up from the start: one epoch is finished, and its expert is one that opens."""
    said: list[str] = []
    base, limit = tiny_bpe.path, TrainingTime(ends=0.0, clock=lambda: 1.0)
    pair = trained(ITEMS, base=base, spec=str(base), folder=tmp_path, seed=0, say=said.append, limit=limit)
    with load_pair(pair) as opened:
        assert opened.members[0].model.name == opened.members[1].model.name
    assert any("training has taken its share of the time" in sentence for sentence in said)
    assert "the expert is trained: 1 epoch in" in said[2]
    assert not list(tmp_path.glob("*.checkpoint"))
