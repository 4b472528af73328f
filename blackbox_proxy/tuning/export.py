"""Writes trained low-rank matrices as a GGUF LoRA adapter that llama.cpp loads.

Knows the names of the tensors, llama.cpp's metadata and its order of rotary rows. Does not know how
the matrices were trained; numpy arrays come in.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import gguf
import numpy as np
from numpy.typing import NDArray

from blackbox_proxy.tuning.recipe import PROJECTIONS

Matrix = NDArray[np.float32]

ROTATED_IN_PAIRS = frozenset({"llama"})
"""Architectures for which llama.cpp rotates neighbouring rows; transformers always rotates halves."""


@dataclass(frozen=True, slots=True)
class LowRank:
    """The change of one weight, b @ a before scaling: `a` is (rank, inputs), `b` is (outputs, rank)."""

    block: int
    projection: str
    a: Matrix
    b: Matrix


@dataclass(frozen=True, slots=True)
class TensorShape:
    """What the export must know of the base model; llama.cpp scales each change by alpha / rank."""

    architecture: str
    heads: int
    kv_heads: int
    alpha: float


def write_adapter(changes: list[LowRank], out: Path, *, shape: TensorShape, name: str) -> None:
    """Writes float16 matrices and the metadata llama.cpp asks for; the file appears whole or not at all."""
    partial = out.with_name(f"{out.name}.partial")
    writer = gguf.GGUFWriter(partial, shape.architecture)
    writer.add_type(gguf.GGUFType.ADAPTER)
    writer.add_name(name)
    writer.add_string(gguf.Keys.Adapter.TYPE, "lora")
    writer.add_float32(gguf.Keys.Adapter.LORA_ALPHA, shape.alpha)
    for tensor, values in _tensors(changes, shape):
        writer.add_tensor(tensor, values.astype(np.float16))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    partial.replace(out)


def rotary_order(rows: Matrix, heads: int) -> Matrix:
    """Query or key rows from transformers' order (first halves, second halves) to llama.cpp's (pairs).

    `rows` is (heads * width, anything); within each head row i and row width/2 + i become neighbours.
    """
    halves = rows.reshape(heads, 2, rows.shape[0] // heads // 2, *rows.shape[1:])
    return halves.swapaxes(1, 2).reshape(rows.shape)


def _tensors(changes: list[LowRank], shape: TensorShape) -> list[tuple[str, Matrix]]:
    named: list[tuple[str, Matrix]] = []
    for change in changes:
        weight = f"blk.{change.block}.{PROJECTIONS[change.projection]}.weight"
        named += [(f"{weight}.lora_a", change.a), (f"{weight}.lora_b", _stored(change, shape))]
    return named


def _stored(change: LowRank, shape: TensorShape) -> Matrix:
    heads = {"q_proj": shape.heads, "k_proj": shape.kv_heads}.get(change.projection)
    if heads is None or shape.architecture not in ROTATED_IN_PAIRS:
        return change.b
    return rotary_order(change.b, heads)
