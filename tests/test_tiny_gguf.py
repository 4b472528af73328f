"""The tiny files are what they say: llama.cpp itself loads them and reads the same vocabulary out of them."""

from __future__ import annotations

import ctypes
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import llama_cpp.llama_cpp as native
import pytest

from tests.tiny_gguf import LONG, TinyModel, write_tiny_llama, write_tiny_lora


@contextmanager
def loaded(path: Path) -> Iterator[Any]:
    native.llama_backend_init()
    model = native.llama_model_load_from_file(str(path).encode(), native.llama_model_default_params())
    assert model, f"llama.cpp refused {path}"
    try:
        yield model
    finally:
        native.llama_model_free(model)


def pieces(vocabulary: Any, count: int) -> list[bytes]:  # noqa: ANN401 - a ctypes handle
    room = ctypes.create_string_buffer(256)
    sizes = (native.llama_token_to_piece(vocabulary, token, room, len(room), 0, True) for token in range(count))
    return [room.raw[:size] for size in sizes]


def tokenize(vocabulary: Any, text: bytes) -> list[int]:  # noqa: ANN401 - a ctypes handle
    room = (native.llama_token * 64)()
    count = native.llama_tokenize(vocabulary, text, len(text), room, len(room), False, False)
    return list(room[:count])


@pytest.mark.parametrize("fixture", ["tiny_bpe", "tiny_spm"])
def test_llama_cpp_reads_the_same_vocabulary(fixture: str, request: pytest.FixtureRequest) -> None:
    """Every piece, the control tokens and both ends of generation."""
    tiny: TinyModel = request.getfixturevalue(fixture)
    with loaded(tiny.path) as model:
        vocabulary = native.llama_model_get_vocab(model)
        everything = range(native.llama_vocab_n_tokens(vocabulary))
        assert pieces(vocabulary, len(everything)) == list(tiny.pieces)
        ends = {token for token in everything if native.llama_vocab_is_eog(vocabulary, token)}
        assert ends == {tiny.eos, tiny.eot}
        text = {n for n in everything if native.llama_token_to_piece(vocabulary, n, None, 0, 0, False)}
        assert set(everything) - text == tiny.controls


@pytest.mark.parametrize("fixture", ["tiny_bpe", "tiny_spm"])
def test_the_traps_are_in_the_vocabulary(fixture: str, request: pytest.FixtureRequest) -> None:
    tiny: TinyModel = request.getfixturevalue(fixture)
    assert max(map(len, tiny.pieces)) == len(LONG) > 32
    assert b"\xff" in tiny.pieces
    assert tiny.eos != tiny.eot
    assert b" the" in tiny.pieces


def test_bpe_tokenizes_with_its_merges(tiny_bpe: TinyModel) -> None:
    """The long token and a token that ends inside a character are reached from text."""
    with loaded(tiny_bpe.path) as model:
        vocabulary = native.llama_model_get_vocab(model)
        found = [tiny_bpe.pieces[token] for token in tokenize(vocabulary, b"the then " + LONG + "…".encode())]
    assert found == [b"the", b" then", b" ", LONG, b"\xe2\x80", b"\xa6"]


def test_sentencepiece_puts_a_space_before_the_text(tiny_spm: TinyModel) -> None:
    with loaded(tiny_spm.path) as model:
        vocabulary = native.llama_model_get_vocab(model)
        assert [tiny_spm.pieces[token] for token in tokenize(vocabulary, b"the")] == [b" the"]


def test_adapters_load_on_their_own_architecture_alone(tmp_path: Path, tiny_bpe: TinyModel, tiny_lora: Path) -> None:
    other = write_tiny_lora(tmp_path / "other.gguf", tiny_bpe.path, architecture="gemma")
    with loaded(tiny_bpe.path) as model:
        assert native.llama_adapter_lora_init(model, str(tiny_lora).encode())
        assert not native.llama_adapter_lora_init(model, str(other).encode())


def test_an_adapter_of_another_width_is_refused(tmp_path: Path, tiny_bpe: TinyModel) -> None:
    wider = write_tiny_llama(tmp_path / "wider.gguf", width=64)
    adapter = write_tiny_lora(tmp_path / "wider.lora.gguf", wider.path)
    with loaded(tiny_bpe.path) as model:
        assert not native.llama_adapter_lora_init(model, str(adapter).encode())


def test_equal_seeds_give_equal_files(tmp_path: Path, tiny_bpe: TinyModel) -> None:
    again = write_tiny_llama(tmp_path / "again.gguf", style="bpe")
    other = write_tiny_llama(tmp_path / "other.gguf", style="bpe", seed=7)
    assert again.path.read_bytes() == tiny_bpe.path.read_bytes() != other.path.read_bytes()
    assert other.pieces == tiny_bpe.pieces
