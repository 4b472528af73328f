"""Models that the tests of this folder share: each file is loaded once."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from blackbox_proxy.local.llama import Model
from blackbox_proxy.local.pair import Pair, PairFiles, open_pair
from tests.tiny_gguf import TinyModel, write_tiny_llama


@pytest.fixture(scope="session")
def bpe(tiny_bpe: TinyModel) -> Iterator[Model]:
    with Model(tiny_bpe.path) as model:
        yield model


@pytest.fixture(scope="session")
def spm(tiny_spm: TinyModel) -> Iterator[Model]:
    with Model(tiny_spm.path) as model:
        yield model


@pytest.fixture(scope="session")
def tiny_other(tiny_folder: Path) -> TinyModel:
    """Other weights over the vocabulary of `tiny_bpe`."""
    return write_tiny_llama(tiny_folder / "other.gguf", seed=7)


@pytest.fixture(scope="session")
def pair(tiny_bpe: TinyModel, tiny_lora: Path) -> Iterator[Pair]:
    """The tiny model with its adapter, against itself."""
    with open_pair(PairFiles(tiny_bpe.path, tiny_bpe.path, adapter=tiny_lora, context=256)) as opened:
        yield opened


@pytest.fixture(scope="session")
def smollm2(smollm2_path: Path) -> Iterator[Model]:
    with Model(smollm2_path) as model:
        yield model
