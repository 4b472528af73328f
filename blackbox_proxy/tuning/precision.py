"""Whether matrices are multiplied in bfloat16 while an adapter is trained, and where.

Only the blocks are narrowed: weights, the output layer, the loss and the optimizer stay in float32. Knows PyTorch
(extra [tune]).
"""

from __future__ import annotations

from contextlib import AbstractContextManager

import torch

QUICK = ("avx512_bf16", "amx_bf16")
"""Features of a processor that multiplies bfloat16 several times quicker than float32."""


def narrowed(precision: str) -> bool:
    """Whether the blocks are run in bfloat16. precision: one of `recipe.PRECISIONS`."""
    return precision == "bfloat16" or (precision == "auto" and _is_quick())


def blocks_in(precision: str) -> AbstractContextManager[None]:
    """The context in which the blocks of a model are run."""
    context: AbstractContextManager[None] = torch.autocast("cpu", dtype=torch.bfloat16, enabled=narrowed(precision))
    return context


def _is_quick() -> bool:
    """What PyTorch says of the processor; a version that says nothing counts as no."""
    capabilities: dict[str, object] = getattr(torch.cpu, "get_capabilities", dict)()
    return any(capabilities.get(feature) for feature in QUICK)
