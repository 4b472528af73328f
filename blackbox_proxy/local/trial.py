"""The trial of llama.cpp's extra buffers: a process of its own, which may die of it (see buffers.py, which starts it).

It writes a small random model with a layer in each type of weights for which llama.cpp has extra buffers, evaluates a
few batches with plain buffers and with extra ones, in other threads than the one that loads them, as the program does
(llama.cpp asks for the use of AMX in that one only), and says on standard output how far it came.
"""

from __future__ import annotations

import struct
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from blackbox_proxy.local.llama import Context, Model

PLAIN, EXTRA, DIFFERENT = "plain", "extra", "different"
"""What it says: plain buffers work; extra ones do too; they do, but give other results (how far apart)."""

WIDTH = 256
"""Of every matrix: the least that takes a block of every type."""

BATCHES = (1, 4, 5, 33)
"""Rows: the kernels for one row, for few (up to four in AMX), and for tiles, of which 33 need more than one."""

NEAR = 0.15
"""How far results may be apart, as a share of their size: rounding gives 0.04, one wrong layer of 11 over 0.2."""


@dataclass(frozen=True, slots=True)
class WeightType:
    """How ggml lays out a type of weights.

    number: in enum ggml_type. elements, size: of a block, the size in bytes. halves: offset in the block and value of
    each scale in 16 bits, such that the weights get about the size 1/16. octets: the same of scales in 8 bits.
    """

    number: int
    elements: int
    size: int
    halves: tuple[tuple[int, float], ...] = ()
    octets: tuple[tuple[int, int], ...] = ()


F32 = WeightType(0, 1, 4)
F16 = WeightType(1, 1, 2)
TYPES = {
    "F16": F16,
    "Q4_0": WeightType(2, 32, 18, ((0, 0.0135),)),
    "Q4_1": WeightType(3, 32, 20, ((0, 0.0135), (2, -0.1))),
    "Q8_0": WeightType(8, 32, 34, ((0, 0.00085),)),
    "Q2_K": WeightType(10, 256, 84, ((80, 0.007), (82, 0.0105))),
    "Q4_K": WeightType(12, 256, 144, ((0, 0.0004), (2, 0.003))),
    "Q5_K": WeightType(13, 256, 176, ((0, 0.0002), (2, 0.003))),
    "Q6_K": WeightType(14, 256, 210, ((208, 0.00005),)),
    "IQ4_NL": WeightType(20, 32, 18, ((0, 0.0009),)),
    "IQ4_XS": WeightType(23, 256, 136, ((0, 0.00005),)),
    "MXFP4": WeightType(39, 32, 17, (), ((0, 121),)),
}
"""The types that have extra buffers on some processor: AMX, repacked rows, KleidiAI."""

_UINT32, _FLOAT32, _STRING = 4, 6, 8
_ALIGNMENT = 32


def random_weights(kind: WeightType, count: int, chance: np.random.Generator) -> bytes:
    """`count` random weights as ggml stores them."""
    if kind in {F32, F16}:
        values = chance.normal(0.0, 1 / 16, count)
        return values.astype(np.float32 if kind is F32 else np.float16).tobytes()
    blocks: NDArray[np.uint8] = chance.integers(0, 256, (count // kind.elements, kind.size), dtype=np.uint8)
    for at, value in kind.halves:
        blocks[:, at : at + 2] = np.frombuffer(np.float16(value).tobytes(), np.uint8)
    for at, octet in kind.octets:
        blocks[:, at] = octet
    return blocks.tobytes()


def _text(text: str) -> bytes:
    return struct.pack("<Q", len(text)) + text.encode()


def _metadata(layers: int) -> list[bytes]:
    whole = {
        "llama.block_count": layers,
        "llama.context_length": 64,
        "llama.embedding_length": WIDTH,
        "llama.feed_forward_length": WIDTH,
        "llama.attention.head_count": 4,
        "llama.vocab_size": WIDTH,
    }
    texts = {"general.architecture": "llama", "tokenizer.ggml.model": "none"}
    return [
        *(_text(key) + struct.pack("<I", _STRING) + _text(value) for key, value in texts.items()),
        *(_text(key) + struct.pack("<II", _UINT32, value) for key, value in whole.items()),
        _text("llama.attention.layer_norm_rms_epsilon") + struct.pack("<If", _FLOAT32, 1e-5),
    ]


def _tensors() -> Iterator[tuple[str, WeightType, tuple[int, ...]]]:
    """Name, type and shape of each: a layer per type."""
    square = (WIDTH, WIDTH)
    yield "token_embd.weight", F32, square
    yield "output_norm.weight", F32, (WIDTH,)
    yield "output.weight", TYPES["Q8_0"], square
    matrices = ("attn_q", "attn_k", "attn_v", "attn_output", "ffn_gate", "ffn_up", "ffn_down")
    for layer, kind in enumerate(TYPES.values()):
        for norm in ("attn_norm", "ffn_norm"):
            yield f"blk.{layer}.{norm}.weight", F32, (WIDTH,)
        for matrix in matrices:
            yield f"blk.{layer}.{matrix}.weight", kind, square


def write_model(path: Path) -> None:
    """A GGUF of a few megabytes with random weights; the same at every call."""
    chance = np.random.default_rng(0)
    tensors = list(_tensors())
    metadata = _metadata(len(TYPES))
    head = [b"GGUF", struct.pack("<IQQ", 3, len(tensors), len(metadata)), *metadata]
    data: list[bytes] = []
    at = 0
    for name, kind, shape in tensors:
        head.append(_text(name) + struct.pack(f"<I{len(shape)}Q", len(shape), *shape))
        head.append(struct.pack("<IQ", kind.number, at))
        norm = len(shape) == 1
        stored = np.ones(shape, np.float32).tobytes() if norm else random_weights(kind, WIDTH * WIDTH, chance)
        data.append(stored + bytes(-len(stored) % _ALIGNMENT))
        at += len(data[-1])
    written = b"".join(head)
    path.write_bytes(written + bytes(-len(written) % _ALIGNMENT) + b"".join(data))


def evaluate(path: Path, *, extra_buffers: bool, threads: int = 2) -> list[NDArray[np.float32]]:
    """The logits of a few batches, in the order of BATCHES; loaded in this thread, evaluated in another."""
    with (
        Model(path, extra_buffers=extra_buffers) as model,
        Context(model, size=64, threads=threads) as context,
        ThreadPoolExecutor(1) as other,
    ):
        return [other.submit(_batch, context, rows).result() for rows in BATCHES]


def _batch(context: Context, rows: int) -> NDArray[np.float32]:
    context.truncate(0, 0)
    places = range(rows)
    context.decode(
        [7 * i % WIDTH for i in places],
        positions=places,
        sequences=[[0] for _ in places],
        keep_logits=[True for _ in places],
    )
    return np.array([context.row(i) for i in places])


def far(one: list[NDArray[np.float32]], other: list[NDArray[np.float32]]) -> float:
    """The largest distance of two results, as a share of the first's size; infinite where one is no number."""
    shares = [np.linalg.norm(a - b) / np.linalg.norm(a) for a, b in zip(one, other, strict=True)]
    largest = float(np.max(shares))
    return largest if np.isfinite(largest) else float("inf")


def main(path: Path) -> None:
    """Try both, writing the model to `path`. Where this process dies, it leaves no dump of its memory."""
    import resource

    resource.setrlimit(resource.RLIMIT_CORE, (0, resource.getrlimit(resource.RLIMIT_CORE)[1]))
    write_model(path)
    plain = evaluate(path, extra_buffers=False)
    _say(PLAIN)
    share = far(plain, evaluate(path, extra_buffers=True))
    _say(EXTRA if share < NEAR else f"{DIFFERENT} {share:.3f}")


def _say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()
