"""Writes GGUF files of 32-bit weights, as llama.cpp reads them: enough for a small model, and no more.

Knows the format (version 3, little-endian) and no model.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

Value = bool | int | float | str | Sequence[str] | Sequence[int]
"""What a key can hold here: ints are written as unsigned 32 bits, lists of them as signed ones."""

Tensors = Mapping[str, NDArray[np.float32]]

_MAGIC, _VERSION, _ALIGNMENT = b"GGUF", 3, 32
_U32, _I32, _F32, _BOOL, _TEXT, _LIST = 4, 5, 6, 7, 8, 9
_TENSOR_F32 = 0


def write_gguf(path: Path, metadata: Mapping[str, Value], tensors: Tensors) -> None:
    """Write a file.

    Args:
        path: Where.
        metadata: Values by key.
        tensors: Weights by name, each of shape (outputs, inputs) or (n,).
    """
    head = struct.pack("<4sIQQ", _MAGIC, _VERSION, len(tensors), len(metadata))
    head += b"".join(_text(key) + _value(value) for key, value in metadata.items())
    head += b"".join(_infos(tensors))
    with path.open("wb") as file:
        file.write(_padded(head))
        for tensor in tensors.values():
            file.write(_padded(np.ascontiguousarray(tensor, dtype="<f4").tobytes()))


def _padded(content: bytes) -> bytes:
    return content + bytes(-len(content) % _ALIGNMENT)


def _text(text: str) -> bytes:
    raw = text.encode()
    return struct.pack("<Q", len(raw)) + raw


def _value(value: Value) -> bytes:
    if isinstance(value, bool):
        return struct.pack("<I?", _BOOL, value)
    if isinstance(value, int):
        return struct.pack("<II", _U32, value)
    if isinstance(value, float):
        return struct.pack("<If", _F32, value)
    if isinstance(value, str):
        return struct.pack("<I", _TEXT) + _text(value)
    kind = _TEXT if isinstance(value[0], str) else _I32
    items = (_text(item) if isinstance(item, str) else struct.pack("<i", item) for item in value)
    return struct.pack("<IIQ", _LIST, kind, len(value)) + b"".join(items)


def _infos(tensors: Tensors) -> Iterator[bytes]:
    """Name, shape with the fastest dimension first, type, and place of each tensor."""
    place = 0
    for name, tensor in tensors.items():
        shape = tensor.shape[::-1]
        yield _text(name) + struct.pack(f"<I{len(shape)}QIQ", len(shape), *shape, _TENSOR_F32, place)
        place += 4 * tensor.size + -4 * tensor.size % _ALIGNMENT
