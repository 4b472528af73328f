"""The adapter's file: names, shapes and metadata that llama.cpp asks for; rotary rows in its order."""

from __future__ import annotations

from pathlib import Path

import gguf
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from blackbox_proxy.tuning.export import LowRank, TensorShape, rotary_order, write_adapter

HEADS, KV_HEADS, WIDTH, RANK = 3, 1, 4, 2


def change(projection: str, outputs: int) -> LowRank:
    rng = np.random.default_rng(outputs)
    a = rng.normal(size=(RANK, 12)).astype(np.float32)
    return LowRank(5, projection, a, rng.normal(size=(outputs, RANK)).astype(np.float32))


def written(changes: list[LowRank], folder: Path, *, architecture: str = "llama") -> gguf.GGUFReader:
    shape = TensorShape(architecture=architecture, heads=HEADS, kv_heads=KV_HEADS, alpha=16.0)
    write_adapter(changes, folder / "adapter.gguf", shape=shape, name="test")
    return gguf.GGUFReader(folder / "adapter.gguf")


@given(st.integers(1, 4), st.integers(1, 4), st.integers(1, 3))
def test_rotary_rows_i_and_i_plus_half_become_neighbours(heads: int, half: int, columns: int) -> None:
    rows = np.arange(heads * 2 * half * columns, dtype=np.float32).reshape(-1, columns)
    slow = [rows[head * 2 * half + i + side * half] for head in range(heads) for i in range(half) for side in range(2)]
    np.testing.assert_array_equal(rotary_order(rows, heads), np.stack(slow))


def test_llama_cpp_finds_its_metadata(tmp_path: Path) -> None:
    fields = written([change("v_proj", 4)], tmp_path).fields
    found = {key: fields[key].contents() for key in fields if not key.startswith("GGUF.")}
    assert found == {
        "general.architecture": "llama",
        "general.type": "adapter",
        "general.name": "test",
        "adapter.type": "lora",
        "adapter.lora.alpha": 16.0,
    }


def test_both_matrices_of_every_projection_are_there_in_half_precision(tmp_path: Path) -> None:
    changes = [change("down_proj", 12), change("o_proj", 12), change("gate_proj", 20)]
    tensors = {tensor.name: tensor for tensor in written(changes, tmp_path).tensors}
    assert set(tensors) == {
        f"blk.5.{name}.weight.lora_{side}" for name in ("ffn_down", "attn_output", "ffn_gate") for side in "ab"
    }
    assert {tensor.tensor_type for tensor in tensors.values()} == {gguf.GGMLQuantizationType.F16}
    b = tensors["blk.5.ffn_gate.weight.lora_b"].data
    np.testing.assert_array_equal(b, changes[2].b.astype(np.float16))


@pytest.mark.parametrize(("projection", "heads"), [("q_proj", HEADS), ("k_proj", KV_HEADS)])
def test_query_and_key_rows_are_reordered_for_llama_and_only_in_b(projection: str, heads: int, tmp_path: Path) -> None:
    one = change(projection, heads * WIDTH)
    a, b = (tensor.data for tensor in written([one], tmp_path).tensors)
    np.testing.assert_array_equal(a, one.a.astype(np.float16))
    np.testing.assert_array_equal(b, rotary_order(one.b, heads).astype(np.float16))
    assert not np.array_equal(b, one.b.astype(np.float16))


def test_rows_keep_their_order_where_llama_cpp_rotates_by_halves(tmp_path: Path) -> None:
    one = change("q_proj", HEADS * WIDTH)
    _, b = (tensor.data for tensor in written([one], tmp_path, architecture="qwen2").tensors)
    np.testing.assert_array_equal(b, one.b.astype(np.float16))


def test_nothing_is_left_beside_the_file(tmp_path: Path) -> None:
    written([change("v_proj", 4)], tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["adapter.gguf"]
