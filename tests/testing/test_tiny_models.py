"""Tiny models: llama.cpp loads them, another reader of GGUF reads them, equal seeds write equal files."""

from __future__ import annotations

from pathlib import Path

import gguf
import numpy as np

from blackbox_proxy import Prompt, load_pair
from blackbox_proxy.local.llama import Model
from blackbox_proxy.testing.tiny_models import CONTROLS, WORDS, write_tiny_model, write_tiny_pair


def test_another_reader_of_gguf_finds_what_was_written(tmp_path: Path) -> None:
    path = write_tiny_model(tmp_path / "tiny.gguf")
    reader = gguf.GGUFReader(path)
    tensors = {tensor.name: tensor for tensor in reader.tensors}
    tokens = reader.fields["tokenizer.ggml.tokens"]
    assert len(tokens.data) == int(tensors["output.weight"].shape[1])
    assert reader.fields["general.architecture"].contents() == "llama"
    assert tensors["blk.1.ffn_down.weight"].data.shape == (32, 64)
    assert np.isfinite(tensors["token_embd.weight"].data).all()


def test_llama_cpp_reads_text_and_controls_as_they_are_meant(tmp_path: Path) -> None:
    with Model(write_tiny_model(tmp_path / "tiny.gguf")) as model:
        text = "a word, the öäü 🦜 thing"
        ids = model.tokenize(text.encode(), special=False)
        assert model.vocabulary.text_of(ids) == text.encode()
        assert all(len(model.tokenize(word.encode(), special=False)) == 1 for word in WORDS)
        assert set(CONTROLS) <= set(model.controls)
        assert len(model.tokenize(b"<|im_end|>", special=True)) == 1


def test_equal_seeds_write_equal_files(tmp_path: Path) -> None:
    seeds = {"one": 1, "same": 1, "other": 2}
    files = {name: write_tiny_model(tmp_path / f"{name}.gguf", seed=seed) for name, seed in seeds.items()}
    one, same, other = (path.read_bytes() for path in files.values())
    assert one == same != other


def test_the_pair_steers_and_writes_text(tmp_path: Path) -> None:
    with load_pair(write_tiny_pair(tmp_path)) as pair:
        scores = pair.score(b"The sky is", [b" the", b"a"], prompt=Prompt.ask("Hello?"))
        proposals = pair.propose(b"", 20, prompt=Prompt.ask("Hello?"))
    assert np.abs(scores.expert - scores.anti_expert).min() > 0.01
    assert all(piece.decode("ascii").isprintable() for piece in proposals)
