"""What a model file begins with: whether it is a GGUF that llama.cpp may read, and what else it is if not.

Looks at a few bytes; loads no model. What only llama.cpp can say of a file is put into words here too.
"""

from __future__ import annotations

from pathlib import Path

from blackbox_proxy.errors import WeightsError

MAGIC = b"GGUF"

OLD = {b"lmgg": "GGML", b"fmgg": "GGMF", b"tjgg": "GGJT", b"algg": "GGLA"}
"""The formats before GGUF (August 2023) by the bytes that they begin with."""

OLDEST_VERSION = 2
"""The first version of GGUF that llama.cpp still reads."""

POINTER = b"version https://git-lfs"

ANEW = "convert the model anew with llama.cpp's convert_hf_to_gguf.py, or download a newer file of it"


def check_head(path: Path, *, name: str) -> None:
    """Raise WeightsError for a file that cannot be read, that is no GGUF, or one that is too old.

    name: what the user calls it.
    """
    try:
        with path.open("rb") as file:
            head = file.read(40)
    except OSError as error:
        raise WeightsError(f"cannot read {name}: {error.strerror}", hint="check its path and permissions") from error
    if head.startswith(POINTER):
        raise WeightsError(f"{name} is a Git LFS pointer, not the model itself", hint="run `git lfs pull` there")
    if head[:4] in OLD:
        raise WeightsError(
            f"{name} is old: it is of the format {OLD[head[:4]]}, which GGUF replaced in 2023",
            hint=ANEW,
        )
    if not head.startswith(MAGIC):
        raise WeightsError(
            f"{name} is not a GGUF file: it begins with {head[:4]!r}",
            hint="convert the model with llama.cpp's convert_hf_to_gguf.py, or download it again",
        )
    version = int.from_bytes(head[4:8], "little")
    if len(head) >= 8 and 0 < version < OLDEST_VERSION:
        raise WeightsError(
            f"{name} is an old GGUF file, of version {version}: llama.cpp reads version {OLDEST_VERSION} and later",
            hint=ANEW,
        )


def remedy(said: str) -> tuple[str, str]:
    """What a complaint of llama.cpp about a GGUF makes of the file, and what to do; "" where it shows nothing.

    >>> remedy("tensor 'x' of type 31 (TYPE_Q4_0_4_4 REMOVED, use Q4_0) has 32 elements per row")[0]
    'it is old: it is quantised in a way that llama.cpp has given up'
    """
    if "REMOVED" in said or "DEPRECATED" in said:
        return "it is old: it is quantised in a way that llama.cpp has given up", ANEW
    if "only supports up to version" in said or "invalid ggml type" in said or "unknown model architecture" in said:
        return "it may be newer than this llama.cpp", "update llama-cpp-python, or take an older file of the model"
    if "endianness" in said:
        return "it is for machines of the other byte order", "convert it with gguf-py's gguf-convert-endian"
    return "", "the file may be cut off or damaged; compare its sha256 with the publisher's"
