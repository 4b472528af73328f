"""What a model file begins with: an old one is called old, a newer one newer, by file and by what llama.cpp says."""

from __future__ import annotations

import struct
from collections.abc import Callable
from pathlib import Path

import gguf
import pytest

from blackbox_proxy.errors import WeightsError
from blackbox_proxy.local.head import check_head
from blackbox_proxy.local.llama import Model
from tests.tiny_gguf import TinyModel

Change = Callable[[bytes], bytes]


def versioned(number: int, order: str = "<") -> Change:
    return lambda whole: whole[:4] + struct.pack(f"{order}I", number) + whole[8:]


@pytest.mark.parametrize("magic", [b"lmgg", b"fmgg", b"tjgg", b"algg"])
def test_a_format_before_gguf_is_called_old(tmp_path: Path, magic: bytes) -> None:
    path = tmp_path / "model.bin"
    path.write_bytes(magic + b"\x03\0\0\0" + b"\0" * 60)
    with pytest.raises(
        WeightsError, match=r"model\.bin is old: it is of the format GG.., which GGUF replaced"
    ) as raised:
        check_head(path, name="model.bin")
    assert "convert_hf_to_gguf.py" in raised.value.hint


@pytest.mark.parametrize(
    ("change", "says", "hint"),
    [
        (versioned(1), "is an old GGUF file, of version 1", "convert_hf_to_gguf.py"),
        (versioned(4), "may be newer than this llama.cpp", "update llama-cpp-python"),
        (versioned(3, ">"), "of the other byte order", "gguf-convert-endian"),
        (lambda whole: whole[: len(whole) // 2], "could not load", "cut off or damaged"),
    ],
    ids=["old", "newer", "big-endian", "cut off"],
)
def test_what_cannot_be_loaded_is_told_apart(
    tmp_path: Path, tiny_bpe: TinyModel, change: Change, says: str, hint: str
) -> None:
    path = tmp_path / "model.gguf"
    path.write_bytes(change(tiny_bpe.path.read_bytes()))
    with pytest.raises(WeightsError, match=says) as raised:
        Model(path)
    assert hint in raised.value.hint


def test_version_2_still_loads(tmp_path: Path, tiny_bpe: TinyModel) -> None:
    path = tmp_path / "model.gguf"
    path.write_bytes(versioned(2)(tiny_bpe.path.read_bytes()))
    with Model(path) as model:
        assert model.name == "model.gguf"


@pytest.mark.parametrize(
    ("number", "says"),
    [
        *((number, "it is old: it is quantised in a way that llama.cpp has given up") for number in (4, 5, 31, 33, 36)),
        (99, "it may be newer than this llama.cpp"),
    ],
)
def test_a_quantisation_that_is_gone_is_called_old(tmp_path: Path, tiny_bpe: TinyModel, number: int, says: str) -> None:
    whole = tiny_bpe.path.read_bytes()
    tensor = next(one for one in gguf.GGUFReader(tiny_bpe.path).tensors if one.name == "blk.0.attn_q.weight")
    at = tensor.field.offset + sum(part.nbytes for part in tensor.field.parts[:4])
    path = tmp_path / "model.gguf"
    path.write_bytes(whole[:at] + struct.pack("<I", number) + whole[at + 4 :])
    with pytest.raises(WeightsError, match=says):
        Model(path)
