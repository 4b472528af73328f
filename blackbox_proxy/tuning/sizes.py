"""The sizes of a base model, and what follows from them. Pure."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Sizes:
    """Blocks, widths, heads and tokens of a model, and how many weights it has in all.

    head: the width of one attention head. context: the longest text that it was trained on, in tokens.
    """

    blocks: int
    width: int
    inner: int
    heads: int
    kv_heads: int
    head: int
    vocabulary: int
    context: int
    parameters: int

    def projection(self, name: str) -> tuple[int, int]:
        """(outputs, inputs) of a projection, by its name in transformers."""
        query, key = self.heads * self.head, self.kv_heads * self.head
        return {
            "q_proj": (query, self.width),
            "k_proj": (key, self.width),
            "v_proj": (key, self.width),
            "o_proj": (self.width, query),
            "gate_proj": (self.inner, self.width),
            "up_proj": (self.inner, self.width),
            "down_proj": (self.width, self.inner),
        }[name]
