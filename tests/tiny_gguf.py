"""Writes tiny random models and adapters that llama.cpp loads: real files with a real tokenizer and senseless weights.

The vocabularies hold what breaks careless code: a token longer than 32 bytes, a lone 0xFF byte, tokens that end inside
a UTF-8 character, control tokens, two ends of generation, and (SentencePiece) a piece with a leading space. This module
does not know llama_cpp: what it writes is tried by loading it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import gguf
import numpy as np
from numpy.typing import NDArray

Style = Literal["bpe", "spm"]
Shapes = dict[str, tuple[int, int]]

LONG = b"Donaudampfschifffahrtsgesellschaftskapitaen"
"""One token of 43 bytes."""

PIECES = (
    b" the",
    b" then",
    b"the",
    b"ing",
    b" a",
    b"an",
    b"\n\n",
    "é".encode(),
    "…".encode()[:2],
    "日本".encode(),
    LONG,
)
"""Tokens of several bytes that both styles hold where they can (SentencePiece has no piece that is not UTF-8)."""

CHATML = (
    "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>\n' }}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)

_TARGETS = ("attn_q", "attn_k", "attn_v", "attn_output", "ffn_gate", "ffn_up", "ffn_down")
_SPACE = "\u2581"  # how SentencePiece spells a space


@dataclass(frozen=True, slots=True)
class TinyModel:
    """A file that was written, and what its vocabulary means.

    pieces: the bytes that each token stands for, by id; for a token in `controls`, its name. eos, eot: the two tokens
    that end a text.
    """

    path: Path
    pieces: tuple[bytes, ...]
    controls: frozenset[int]
    eos: int
    eot: int


@dataclass(frozen=True, slots=True)
class _Token:
    spelling: str
    piece: bytes
    kind: gguf.TokenType = gguf.TokenType.NORMAL
    score: float = 0.0


def _printable_bytes() -> dict[int, str]:
    """GPT-2's spelling of each byte: itself where it is printable Latin-1, else the next free character from 256 on."""
    shown = [*range(33, 127), *range(161, 173), *range(174, 256)]
    spelt = {byte: chr(byte) for byte in shown}
    hidden = (byte for byte in range(256) if byte not in spelt)
    return spelt | {byte: chr(256 + n) for n, byte in enumerate(hidden)}


def _control(name: str) -> _Token:
    return _Token(name, name.encode(), gguf.TokenType.CONTROL)


def _bpe_tokens(pieces: Sequence[bytes]) -> list[_Token]:
    spelt = _printable_bytes()
    controls = [_control(name) for name in ("<|endoftext|>", "<|im_start|>", "<|im_end|>")]
    single = [bytes([byte]) for byte in range(256)]
    return controls + [_Token("".join(spelt[byte] for byte in piece), piece) for piece in (*single, *pieces)]


def _merges(pieces: Sequence[bytes]) -> list[str]:
    """Rules that build each piece from its bytes, left to right."""
    spelt = _printable_bytes()
    rules: dict[str, None] = {}
    for piece in pieces:
        letters = [spelt[byte] for byte in piece]
        rules |= {f"{''.join(letters[:n])} {letters[n]}": None for n in range(1, len(letters))}
    return list(rules)


def _spm_tokens(pieces: Sequence[bytes]) -> list[_Token]:
    tokens = [_Token("<unk>", b"<unk>", gguf.TokenType.UNKNOWN), _control("<s>"), _control("</s>")]
    tokens += [_control("<|im_start|>"), _control("<|im_end|>")]
    tokens += [_Token(f"<0x{byte:02X}>", bytes([byte]), gguf.TokenType.BYTE) for byte in range(256)]
    texts = dict.fromkeys(text for piece in pieces if (text := _utf8(piece)) is not None)
    letters = dict.fromkeys(letter for text in (*texts, " ") for letter in text)
    grown = dict.fromkeys(text[:n] for text in texts if len(text) <= 5 for n in range(2, len(text)))
    words = list(dict.fromkeys([*letters, *grown, *texts]))
    scored = ((text, -float(rank)) for rank, text in enumerate(sorted(words, key=len, reverse=True)))
    return tokens + [_Token(text.replace(" ", _SPACE), text.encode(), score=score) for text, score in scored]


def _utf8(piece: bytes) -> str | None:
    try:
        return piece.decode("utf-8")
    except UnicodeDecodeError:
        return None


def _layer_shapes(*, width: int, inner: int) -> Shapes:
    """(outputs, inputs) of the seven projections of a layer."""
    square = dict.fromkeys(_TARGETS[:4], (width, width))
    return square | {"ffn_gate": (inner, width), "ffn_up": (inner, width), "ffn_down": (width, inner)}


def _tensors(
    rng: np.random.Generator, *, vocabulary: int, width: int, layers: int
) -> Iterator[tuple[str, NDArray[np.float32]]]:
    """Weights that keep activations near 1 and spread the logits by about 2 nats."""

    def draw(outputs: int, inputs: int, scale: float) -> NDArray[np.float32]:
        return (rng.standard_normal((outputs, inputs)) * scale).astype(np.float32)

    ones = np.ones(width, dtype=np.float32)
    yield "token_embd.weight", draw(vocabulary, width, 1.0)
    for layer in range(layers):
        yield f"blk.{layer}.attn_norm.weight", ones
        yield f"blk.{layer}.ffn_norm.weight", ones
        for name, (outputs, inputs) in _layer_shapes(width=width, inner=2 * width).items():
            yield f"blk.{layer}.{name}.weight", draw(outputs, inputs, inputs**-0.5)
    yield "output_norm.weight", ones
    yield "output.weight", draw(vocabulary, width, 2.0 * width**-0.5)


def write_tiny_llama(
    path: Path,
    *,
    pieces: Sequence[bytes] = PIECES,
    seed: int = 0,
    layers: int = 2,
    width: int = 32,
    heads: int = 2,
    context: int = 256,
    style: Style = "bpe",
    architecture: str = "llama",
    template: str | None = CHATML,
) -> TinyModel:
    """Write a random model. Equal arguments give equal files; another `seed` keeps the vocabulary."""
    tokens = _bpe_tokens(pieces) if style == "bpe" else _spm_tokens(pieces)
    names = [token.spelling for token in tokens]
    eos, eot = names.index("<|endoftext|>" if style == "bpe" else "</s>"), names.index("<|im_end|>")
    writer = gguf.GGUFWriter(path, architecture)
    writer.add_name(f"tiny-{style}-{seed}")
    _describe(writer, layers=layers, width=width, heads=heads, context=context)
    writer.add_vocab_size(len(tokens))
    _add_tokens(writer, tokens, style)
    if style == "bpe":
        writer.add_token_merges(_merges(pieces))
    writer.add_bos_token_id(eos if style == "bpe" else names.index("<s>"))
    writer.add_eos_token_id(eos)
    if template is not None:
        writer.add_chat_template(template)
    for name, tensor in _tensors(np.random.default_rng(seed), vocabulary=len(tokens), width=width, layers=layers):
        writer.add_tensor(name, tensor)
    _write(writer)
    controls = (gguf.TokenType.CONTROL, gguf.TokenType.UNKNOWN)
    special = frozenset(n for n, token in enumerate(tokens) if token.kind in controls)
    return TinyModel(path, tuple(token.piece for token in tokens), special, eos, eot)


def _describe(writer: gguf.GGUFWriter, *, layers: int, width: int, heads: int, context: int) -> None:
    writer.add_block_count(layers)
    writer.add_context_length(context)
    writer.add_embedding_length(width)
    writer.add_feed_forward_length(2 * width)
    writer.add_head_count(heads)
    writer.add_head_count_kv(heads)
    writer.add_rope_dimension_count(width // heads)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_file_type(gguf.LlamaFileType.ALL_F32)


def _add_tokens(writer: gguf.GGUFWriter, tokens: Sequence[_Token], style: Style) -> None:
    writer.add_tokenizer_model("gpt2" if style == "bpe" else "llama")
    writer.add_tokenizer_pre("gpt-2" if style == "bpe" else "default")
    writer.add_token_list([token.spelling for token in tokens])
    writer.add_token_types([token.kind for token in tokens])
    writer.add_add_bos_token(style == "spm")
    if style == "spm":
        writer.add_token_scores([token.score for token in tokens])
        writer.add_add_space_prefix(True)


def write_tiny_lora(
    path: Path,
    base: Path,
    *,
    seed: int = 1,
    rank: int = 2,
    strength: float = 0.5,
    architecture: str = "llama",
) -> Path:
    """Write a random LoRA adapter on all seven projections of every layer of `base`, scaled by alpha / rank = 1.

    strength: how large the change is against the weights it is added to. `architecture` other than the base's gives an
    adapter that llama.cpp must refuse.
    """
    rng = np.random.default_rng(seed)
    writer = gguf.GGUFWriter(path, architecture)
    writer.add_type("adapter")
    writer.add_string("adapter.type", "lora")
    writer.add_float32("adapter.lora.alpha", float(rank))
    for tensor in gguf.GGUFReader(base).tensors:
        if not any(f".{target}.weight" in tensor.name for target in _TARGETS):
            continue
        inputs, outputs = (int(size) for size in tensor.shape)  # ggml's order: the fastest dimension first
        down = rng.standard_normal((rank, inputs)) * inputs**-0.5
        up = rng.standard_normal((outputs, rank)) * strength * rank**-0.5
        writer.add_tensor(f"{tensor.name}.lora_a", down.astype(np.float32))
        writer.add_tensor(f"{tensor.name}.lora_b", up.astype(np.float32))
    _write(writer)
    return path


def _write(writer: gguf.GGUFWriter) -> None:
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
