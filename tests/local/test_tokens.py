"""An API's own tokenizer by name: from a GGUF, or by tiktoken; and what is said where it cannot be had."""

from __future__ import annotations

from pathlib import Path

import pytest
import tiktoken

from blackbox_proxy.errors import InputError, WeightsError
from blackbox_proxy.local.llama import Model
from blackbox_proxy.local.tokens import api_vocabulary
from tests.tiny_gguf import TinyModel


def small() -> tiktoken.Encoding:
    """A real encoding: all bytes, one merge, a gap in the ids, two special tokens."""
    ranks = {bytes([byte]): byte for byte in range(256)} | {b"ab": 256}
    return tiktoken.Encoding(
        "small", pat_str=r".+", mergeable_ranks=ranks, special_tokens={"<|endoftext|>": 258, "<|fim|>": 259}
    )


def test_a_gguf_gives_its_own_pieces(tiny_bpe: TinyModel, tmp_path: Path) -> None:
    found = api_vocabulary(f"gguf:{tiny_bpe.path}", cache=tmp_path)
    with Model(tiny_bpe.path) as model:
        assert found.pieces == model.vocabulary.pieces
        assert found.ends.tolist() == model.vocabulary.ends.tolist()


def test_tiktoken_gives_bytes_by_id(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tiktoken, "get_encoding", lambda _: small())
    found = api_vocabulary("tiktoken:o200k_base", cache=tmp_path)
    assert found.pieces[97] == b"a"
    assert found.ids_of(b"ab") == [256]
    assert list(found.cut(b"abc")) == [256, 99]
    assert found.ids_of(b"\xff") == [255]
    assert found.pieces[257] == b""
    assert found.ends.tolist() == [258]
    assert found.pieces[259] == b"<|fim|>"
    assert not found.is_text[[257, 258, 259]].any()


def test_a_file_that_tiktoken_cannot_fetch_is_a_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_: str) -> tiktoken.Encoding:
        raise ConnectionError("no route")

    monkeypatch.setattr(tiktoken, "get_encoding", refuse)
    with pytest.raises(WeightsError, match="o200k_base") as caught:
        api_vocabulary("tiktoken:o200k_base", cache=tmp_path)
    assert "TIKTOKEN_CACHE_DIR" in (caught.value.hint or "")


@pytest.mark.parametrize("spec", ["", "o200k_base", "gguf:", "tiktoken:", "tiktoken:gpt-9", "sentencepiece:x"])
def test_what_names_no_tokenizer_is_refused(spec: str, tmp_path: Path) -> None:
    with pytest.raises(InputError):
        api_vocabulary(spec, cache=tmp_path)
