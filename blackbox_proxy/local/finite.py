"""Refuses an adapter whose weights are no numbers, as those of a training that diverged, by the name of the tensor.

Reads the tensors of a GGUF file that llama.cpp has taken: whole ones of 16, 32 and 64 bits, and the scales of Q8_0.
Other kinds are not looked at; what they do shows in the distributions (`pair.distribution`).
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, final

import numpy as np
from numpy.typing import NDArray

from blackbox_proxy.errors import PairError

_ALIGNMENT = "general.alignment"
_SIZES: Mapping[int, int] = {0: 1, 1: 1, 2: 2, 3: 2, 4: 4, 5: 4, 6: 4, 7: 1, 10: 8, 11: 8, 12: 8}
"""Bytes of a value of metadata, by its type; 8 is text, 9 a list."""
_TEXT, _LIST = 8, 9


@dataclass(frozen=True, slots=True)
class _Tensor:
    name: str
    values: int
    kind: int
    offset: int


def check_finite(path: Path) -> None:
    """Raise PairError, naming the file and the first tensor with NaN or infinite values."""
    for name, values in _values(path):
        wrong = ~np.isfinite(values)
        if wrong.any():
            what = "NaN" if np.isnan(values).any() else "infinite"
            raise PairError(
                f"the adapter {path} cannot be used: {int(wrong.sum()):,} of the {values.size:,} values of {name}"
                f" that were read are not finite ({what})",
                hint="its training diverged; take a checkpoint from before, or train again more slowly",
            )


def _values(path: Path) -> Iterator[tuple[str, NDArray[np.floating]]]:
    """The numbers of each tensor that can be looked at."""
    with path.open("rb") as file:
        tensors, start = _Header(file).read()
    whole = np.memmap(path, dtype=np.uint8, mode="r")
    for tensor in tensors:
        read = _READERS.get(tensor.kind)
        if read is not None:
            yield tensor.name, read(whole[start + tensor.offset :], tensor.values)


Read = Callable[[NDArray[np.uint8], int], NDArray[np.floating]]


def _plain(dtype: str) -> Read:
    size = np.dtype(dtype).itemsize
    return lambda raw, count: raw[: count * size].view(dtype)


def _brain(raw: NDArray[np.uint8], count: int) -> NDArray[np.floating]:
    """bfloat16: the upper half of a float32."""
    return (raw[: count * 2].view("<u2").astype("<u4") << 16).view("<f4")


def _scales(raw: NDArray[np.uint8], count: int) -> NDArray[np.floating]:
    """The scales of Q8_0: of each 32 values one, in front of them."""
    blocks = raw[: count // 32 * 34].reshape(-1, 34)
    return np.ascontiguousarray(blocks[:, :2]).view("<f2").ravel()


_READERS: Mapping[int, Read] = {
    0: _plain("<f4"),
    1: _plain("<f2"),
    8: _scales,
    28: _plain("<f8"),
    30: _brain,
}
"""By ggml's number of the type."""


@final
class _Header:
    """The beginning of a GGUF file of version 2 or 3."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file

    def read(self) -> tuple[list[_Tensor], int]:
        """The tensors, and where their data begins."""
        self._file.seek(8)  # magic and version
        count, entries = self._numbers("<QQ")
        aligned = 32
        for _ in range(entries):
            key, (kind,) = self._text(), self._numbers("<I")
            value = self._skipped(kind)
            aligned = int.from_bytes(value, "little") if key == _ALIGNMENT else aligned
        tensors = [self._tensor() for _ in range(count)]
        return tensors, -(-self._file.tell() // aligned) * aligned

    def _numbers(self, form: str) -> tuple[int, ...]:
        return struct.unpack(form, self._file.read(struct.calcsize(form)))

    def _text(self) -> str:
        (size,) = self._numbers("<Q")
        return self._file.read(size).decode("utf-8", "replace")

    def _skipped(self, kind: int) -> bytes:
        """The bytes of a value, where they are a number's."""
        if kind == _TEXT:
            self._text()
            return b""
        if kind == _LIST:
            inner, count = self._numbers("<IQ")
            for _ in range(count):
                self._skipped(inner)
            return b""
        return self._file.read(_SIZES[kind])

    def _tensor(self) -> _Tensor:
        name, (dimensions,) = self._text(), self._numbers("<I")
        sizes = self._numbers(f"<{dimensions}Q")
        kind, offset = self._numbers("<IQ")
        return _Tensor(name, int(np.prod(sizes, dtype=np.int64)), kind, offset)
