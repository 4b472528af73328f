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
from blackbox_proxy.local.weights import model_name, spec_of
from blackbox_proxy.tuning.sizes import Sizes

PROVEN = ("llama",)
"""Architectures whose adapters were compared with PyTorch, token by token, after export."""


@dataclass(frozen=True, slots=True)
class Base:
    """A model that can be tuned: its file, what the user calls it, and its sizes."""

    path: Path
    name: str
    architecture: str
    sizes: Sizes


def read_base(path: Path) -> Base:
    """The model in a GGUF. Raises WeightsError where it cannot be read, InputError where it cannot be tuned."""
    try:
        reader = gguf.GGUFReader(path)
        architecture = str(reader.fields["general.architecture"].contents())
        _refuse(model_name(path), reader, architecture)
        return _base(path, reader, architecture)
    except (ValueError, KeyError, OSError, IndexError) as error:
        raise WeightsError(
            f"cannot read what {spec_of(path)} says about its model: {error}",
            hint="the file may be cut off; fetch it again",
        ) from error


def _base(path: Path, reader: Any, architecture: str) -> Base:
    fields = reader.fields

    def size(key: str) -> int:
        return int(fields[f"{architecture}.{key}"].contents())

    heads, width = size("attention.head_count"), size("embedding_length")
    grouped = f"{architecture}.attention.head_count_kv" in fields
    sets_head = f"{architecture}.attention.key_length" in fields
    sizes = Sizes(
        blocks=size("block_count"),
        width=width,
        inner=size("feed_forward_length"),
        heads=heads,
        kv_heads=size("attention.head_count_kv") if grouped else heads,
        head=size("attention.key_length") if sets_head else width // heads,
        vocabulary=len(fields["tokenizer.ggml.tokens"].data),
        context=size("context_length"),
        parameters=sum(int(tensor.n_elements) for tensor in reader.tensors),
    )
    return Base(path, model_name(path), architecture, sizes)


def _refuse(name: str, reader: Any, architecture: str) -> None:
    """Raise InputError, by name, for what is not proven."""
    hint = "tune it elsewhere and convert the adapter with llama.cpp's convert_lora_to_gguf.py: see docs/tuning.md"
    if architecture not in PROVEN:
        raise InputError(
            f"{name} has the architecture {architecture!r}; only {', '.join(PROVEN)} can be tuned here", hint=hint
        )
    scaling = reader.fields.get(f"{architecture}.rope.scaling.type")
    stretched = "rope_freqs.weight" in {tensor.name for tensor in reader.tensors}
    if stretched or (scaling and scaling.contents() not in ("", "none")):
        raise InputError(
            f"{name} stretches its positions (as Llama 3.1 does), which transformers does not read from a GGUF",
            hint=hint,
        )
    experts = reader.fields.get(f"{architecture}.expert_count")
    if experts and experts.contents():
        raise InputError(f"{name} is a mixture of {experts.contents()} experts, which cannot be tuned here", hint=hint)
