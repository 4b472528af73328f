"""Tiny models of random weights that llama.cpp loads in milliseconds: what they say is senseless, and always the same.

They are llamas of two layers with a byte-level BPE vocabulary: every byte, a few words, ChatML's two marks. Whoever
tests code around a model or a pair needs no download for it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from blackbox_proxy.testing.gguf_writer import Value, write_gguf

WORDS = (" the", " a", " is", " of", " to", "ing", "er", " in", "on", "an")
"""Tokens of several bytes."""

CONTEXT = 2048
LAYERS, WIDTH, HEADS = 2, 32, 2
CONTROLS = ("<|endoftext|>", "<|im_start|>", "<|im_end|>")

TEMPLATE = (
    "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>\n' }}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)

STEADY = 4.0
"""The value of the dimension that tells printable tokens."""

_NORMAL, _CONTROL = 1, 3


def write_tiny_model(path: Path, *, seed: int = 0) -> Path:
    """Write a model of random weights.

    Args:
        path: Where, with the ending `.gguf`.
        seed: Draws the weights; models of all seeds have one vocabulary.

    Returns:
        The path.
    """
    tokens = _tokens()
    weights = dict(_weights(np.random.default_rng(seed), [*tokens, *CONTROLS]))
    write_gguf(path, _metadata(tokens, name=f"tiny-{seed}"), weights)
    return path


def write_tiny_pair(folder: Path, *, seed: int = 1) -> Path:
    """Write two models of random weights and the file that describes them as a pair.

    Args:
        folder: Where; it must be there.
        seed: Draws the weights of both.

    Returns:
        The pair file, as `load_pair` and `--pair` take it.
    """
    for at, name in enumerate(("expert", "anti_expert")):
        write_tiny_model(folder / f"{name}.gguf", seed=2 * seed + at)
    pair = folder / "pair.toml"
    pair.write_text(f'expert = "expert.gguf"\nanti_expert = "anti_expert.gguf"\ncontext = {CONTEXT}\n', "utf-8")
    return pair


def _spelt_bytes() -> Sequence[str]:
    """GPT-2's spelling of each byte: itself where it is printable Latin-1, else the next free character from 256 on."""
    shown = {*range(33, 127), *range(161, 173), *range(174, 256)}
    free = iter(range(256, 512))
    return [chr(byte if byte in shown else next(free)) for byte in range(256)]


def _spelt(text: str) -> str:
    alphabet = _spelt_bytes()
    return "".join(alphabet[byte] for byte in text.encode())


def _tokens() -> Sequence[str]:
    """Every byte, and each beginning of a word: BPE merges letter by letter."""
    grown = (_spelt(word[:n]) for word in WORDS for n in range(2, len(word) + 1))
    return list(dict.fromkeys([*_spelt_bytes(), *grown]))


def _merges() -> Sequence[str]:
    pairs = (f"{_spelt(word[:n])} {_spelt(word[n])}" for word in WORDS for n in range(1, len(word)))
    return list(dict.fromkeys(pairs))


def _metadata(tokens: Sequence[str], *, name: str) -> Mapping[str, Value]:
    end = len(tokens)
    return {
        "general.architecture": "llama",
        "general.name": name,
        "general.file_type": 0,
        "llama.block_count": LAYERS,
        "llama.context_length": CONTEXT,
        "llama.embedding_length": WIDTH,
        "llama.feed_forward_length": 2 * WIDTH,
        "llama.attention.head_count": HEADS,
        "llama.attention.head_count_kv": HEADS,
        "llama.rope.dimension_count": WIDTH // HEADS,
        "llama.attention.layer_norm_rms_epsilon": 1e-5,
        "llama.vocab_size": len(tokens) + len(CONTROLS),
        "tokenizer.ggml.model": "gpt2",
        "tokenizer.ggml.pre": "gpt-2",
        "tokenizer.ggml.tokens": [*tokens, *CONTROLS],
        "tokenizer.ggml.token_type": [_NORMAL] * len(tokens) + [_CONTROL] * len(CONTROLS),
        "tokenizer.ggml.merges": _merges(),
        "tokenizer.ggml.bos_token_id": end,
        "tokenizer.ggml.eos_token_id": end + len(CONTROLS) - 1,
        "tokenizer.ggml.add_bos_token": False,
        "tokenizer.chat_template": TEMPLATE,
    }


def _weights(rng: np.random.Generator, tokens: Sequence[str]) -> Iterator[tuple[str, NDArray[np.float32]]]:
    """Weights that keep activations near 1 and spread the logits by about 2 nats.

    The first dimension is large everywhere, and tells printable ASCII from the rest, which is hardly ever written.
    """

    def draw(outputs: int, inputs: int, scale: float) -> NDArray[np.float32]:
        return (rng.standard_normal((outputs, inputs)) * scale).astype(np.float32)

    ones, inner = np.ones(WIDTH, dtype=np.float32), 2 * WIDTH
    shapes = dict.fromkeys(("attn_q", "attn_k", "attn_v", "attn_output"), (WIDTH, WIDTH))
    shapes |= {"ffn_gate": (inner, WIDTH), "ffn_up": (inner, WIDTH), "ffn_down": (WIDTH, inner)}
    embedding, output = draw(len(tokens), WIDTH, 1.0), draw(len(tokens), WIDTH, 2.0 * WIDTH**-0.5)
    embedding[:, 0] = STEADY
    output[:, 0] = [0.0 if _is_printable(token) else -STEADY for token in tokens]
    yield "token_embd.weight", embedding
    for layer in range(LAYERS):
        yield f"blk.{layer}.attn_norm.weight", ones
        yield f"blk.{layer}.ffn_norm.weight", ones
        for name, (outputs, inputs) in shapes.items():
            yield f"blk.{layer}.{name}.weight", draw(outputs, inputs, inputs**-0.5)
    yield "output_norm.weight", ones
    yield "output.weight", output


def _is_printable(token: str) -> bool:
    """Whether a token, as GPT-2 spells it, is text of one line; the end of a turn counts."""
    blank = _spelt(" ")
    if token in CONTROLS:
        return token == CONTROLS[-1]
    return all(sign == blank or "!" <= sign <= "~" for sign in token)
