"""An API's own tokenizer by name: from a GGUF, or by tiktoken; and what is said where it cannot be had."""

from __future__ import annotations

import gzip
import os
from pathlib import Path

import pytest
import tiktoken
import tiktoken.registry

from blackbox_proxy.errors import InputError, WeightsError
from blackbox_proxy.local import tokenfiles
from blackbox_proxy.local.llama import Model
from blackbox_proxy.local.tokenfiles import FILES, offline_folder
from blackbox_proxy.local.tokens import api_vocabulary, tokenizer_of
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


@pytest.fixture
def alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """tiktoken as on a fresh machine: no file anywhere, nothing loaded before. Sockets are refused to all tests."""
    own = tmp_path / "of-tiktoken"
    monkeypatch.setenv("TIKTOKEN_CACHE_DIR", str(own))
    monkeypatch.setattr(tiktoken.registry, "ENCODINGS", {})
    return own


@pytest.mark.parametrize(
    ("name", "v", "ends"),
    [
        ("cl100k_base", 100277, [b"<|endoftext|>"]),
        ("o200k_base", 200019, [b"<|endoftext|>"]),
        ("o200k_harmony", 201088, [b"<|endoftext|>", b"<|return|>", b"<|end|>", b"<|call|>"]),
    ],
)
def test_offline_data_gives_bytes_by_id_and_ids_by_bytes(
    name: str, v: int, ends: list[bytes], tmp_path: Path, alone: Path
) -> None:
    """From the package that brings the file, with no network and no file of tiktoken's own."""
    found = api_vocabulary(f"tiktoken:{name}", cache=tmp_path)
    assert len(found) == v
    assert [found.pieces[i] for i in found.ends] == ends
    text = "Grüße, 世界 🦜".encode()
    assert found.text_of(found.cut(text)) == text
    assert all(i in found.ids_of(found.pieces[i]) for i in range(0, v, 997) if found.is_text[i])
    assert not alone.exists()
    assert os.environ["TIKTOKEN_CACHE_DIR"] == str(alone)
    assert (tmp_path / "tiktoken" / FILES[name].name).is_file()


def test_what_tiktoken_has_itself_is_not_copied(tmp_path: Path, alone: Path) -> None:
    offline_folder("cl100k_base", alone)
    assert FILES["cl100k_base"].lies_in(alone)
    assert offline_folder("cl100k_base", tmp_path / "ours") is None
    assert not (tmp_path / "ours").exists()


def test_the_names_are_those_that_tiktoken_looks_for() -> None:
    assert FILES["cl100k_base"].name == "9b5ad71b2ce5302211f9c61530b329a4922fc6a4"
    assert FILES["o200k_harmony"].name == FILES["o200k_base"].name == "fb374d419588a4632f3f557e76b4b70aebbca790"


def test_a_damaged_copy_is_made_anew(tmp_path: Path, alone: Path) -> None:
    del alone
    file = FILES["cl100k_base"]
    (tmp_path / file.name).write_bytes(b"YQ== 0\n")
    assert offline_folder("cl100k_base", tmp_path) == tmp_path
    assert file.lies_in(tmp_path)


def test_a_donor_of_another_content_is_refused(tmp_path: Path, alone: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """tiktoken would delete the copy and download."""
    del alone
    package = tmp_path / "strange_donor"
    (package / "data").mkdir(parents=True)
    (package / "__init__.py").touch()
    (package / "data" / "cl100k_base.tiktoken.gz").write_bytes(gzip.compress(b"YQ== 0\n"))
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(tokenfiles, "DONOR", "strange_donor")
    with pytest.raises(WeightsError, match="sha256"):
        offline_folder("cl100k_base", tmp_path / "ours")
    assert not (tmp_path / "ours").exists()


def test_without_data_and_network_it_is_said_what_to_install(
    tmp_path: Path, alone: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    del alone
    monkeypatch.setattr(tokenfiles, "DONOR", "no_such_package")
    with pytest.raises(WeightsError, match="o200k_base is not on this machine") as caught:
        api_vocabulary("tiktoken:o200k_base", cache=tmp_path)
    assert "blackbox-proxy[offline]" in caught.value.hint
    assert "TIKTOKEN_CACHE_DIR" in caught.value.hint


@pytest.mark.parametrize(
    ("model", "spec"),
    [
        ("gpt-4o", "tiktoken:o200k_base"),
        ("gpt-5.6-sol", "tiktoken:o200k_base"),
        ("ft:gpt-4.1-mini-2025-04-14:us::x", "tiktoken:o200k_base"),
        ("ft:gpt-3.5-turbo-1106:us::x", "tiktoken:cl100k_base"),
        ("gpt-oss-20b", "tiktoken:o200k_harmony"),
        ("gpt-6-sol", ""),
        ("mistral-large", ""),
        ("ft:", ""),
        ("", ""),
    ],
)
def test_the_tokenizer_goes_with_the_models_name(model: str, spec: str) -> None:
    assert tokenizer_of(model) == spec


@pytest.mark.parametrize("spec", ["", "o200k_base", "gguf:", "tiktoken:", "tiktoken:gpt-9", "sentencepiece:x"])
def test_what_names_no_tokenizer_is_refused(spec: str, tmp_path: Path) -> None:
    with pytest.raises(InputError):
        api_vocabulary(spec, cache=tmp_path)
