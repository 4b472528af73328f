"""What a GGUF says about the model in it, and whether an adapter can be trained on it.

Reads metadata and the names of tensors, no weights. Only what is proven is accepted: the architecture `llama` without
experts and without stretched positions, since PyTorch's side of those is not known to be the same as llama.cpp's.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gguf

from blackbox_proxy.errors import InputError, WeightsError
from blackbox_proxy.tuning.sizes import Sizes

PROVEN = ("llama",)
"""Architectures whose adapters were compared with PyTorch, token by token, after export."""


@dataclass(frozen=True, slots=True)
class Base:
    """A model that can be tuned: its file, what it calls itself, and its sizes."""

    path: Path
    name: str
    architecture: str
    sizes: Sizes


def read_base(path: Path) -> Base:
    """The model in a GGUF. Raises WeightsError where it cannot be read, InputError where it cannot be tuned."""
    try:
        reader = gguf.GGUFReader(path)
        found = _base(path, reader)
    except (ValueError, KeyError, OSError, IndexError) as error:
        raise WeightsError(
            f"cannot read the metadata of {path}: {error}", hint="the file may be cut off; fetch it again"
        ) from error
    _refuse(found, reader)
    return found


def _base(path: Path, reader: Any) -> Base:
    fields = reader.fields

    def value(key: str) -> Any:
        return fields[key].contents()

    architecture = str(value("general.architecture"))

    def size(key: str) -> int:
        """A size of every block; some architectures have one for each block, and are refused later."""
        found = value(f"{architecture}.{key}")
        return int(found[0] if isinstance(found, list) else found)

    heads, width = size("attention.head_count"), size("embedding_length")
    grouped = f"{architecture}.attention.head_count_kv" in fields
    own_head = f"{architecture}.attention.key_length" in fields
    sizes = Sizes(
        blocks=size("block_count"),
        width=width,
        inner=size("feed_forward_length"),
        heads=heads,
        kv_heads=size("attention.head_count_kv") if grouped else heads,
        head=size("attention.key_length") if own_head else width // heads,
        vocabulary=len(fields["tokenizer.ggml.tokens"].data),
        context=size("context_length"),
        parameters=sum(int(tensor.n_elements) for tensor in reader.tensors),
    )
    name = str(value("general.name")) if "general.name" in fields else path.name
    return Base(path, name, architecture, sizes)


def _refuse(base: Base, reader: Any) -> None:
    """Raise InputError, by name, for what is not proven."""
    hint = "tune it elsewhere and convert the adapter with llama.cpp's convert_lora_to_gguf.py: see the README"
    if base.architecture not in PROVEN:
        raise InputError(
            f"{base.path.name} has the architecture {base.architecture!r}; only {', '.join(PROVEN)} can be tuned here",
            hint=hint,
        )
    scaling = reader.fields.get(f"{base.architecture}.rope.scaling.type")
    stretched = "rope_freqs.weight" in {tensor.name for tensor in reader.tensors}
    if stretched or (scaling and scaling.contents() not in ("", "none")):
        raise InputError(
            f"{base.path.name} stretches its positions (as Llama 3.1 does), which PyTorch would not read from a GGUF",
            hint=hint,
        )
    experts = reader.fields.get(f"{base.architecture}.expert_count")
    if experts and experts.contents():
        raise InputError(
            f"{base.path.name} is a mixture of {experts.contents()} experts, which cannot be tuned here", hint=hint
        )
