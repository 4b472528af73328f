"""Something that happens before each decode of a context, which then goes on as ever."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pytest

from blackbox_proxy.local.llama import Context


def before_decode(context: Context, monkeypatch: pytest.MonkeyPatch, action: Callable[[Sequence[int]], object]) -> None:
    """Call `action` with the tokens of each batch before it is decoded."""
    inner = context.decode

    def decode(
        batch: Sequence[int],
        *,
        positions: Sequence[int],
        sequences: Sequence[Sequence[int]],
        keep_logits: Sequence[bool],
    ) -> None:
        action(batch)
        inner(batch, positions=positions, sequences=sequences, keep_logits=keep_logits)

    monkeypatch.setattr(context, "decode", decode)
