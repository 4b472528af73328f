"""Every choice of a training run, checked once, and the learning rate that follows from them. Pure."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from blackbox_proxy.errors import InputError

PROJECTIONS: Mapping[str, str] = MappingProxyType(
    {
        "q_proj": "attn_q",
        "k_proj": "attn_k",
        "v_proj": "attn_v",
        "o_proj": "attn_output",
        "gate_proj": "ffn_gate",
        "up_proj": "ffn_up",
        "down_proj": "ffn_down",
    }
)
"""Name of a projection in transformers, and its name in a GGUF file."""


@dataclass(frozen=True, slots=True)
class Recipe:
    """Every choice of a training run; two runs of one recipe on one machine give the same adapter.

    seed: draws the first matrices and the order of the lines. batch: lines a step. rank, alpha: of the low-rank
    changes, scaled by alpha / rank. learning_rate: its peak. warmup: share of the steps in which it rises. hold, echo,
    deny, deny_weight, slot: see `losses`. targets: the projections that get a change. patience: epochs in a row whose
    validation loss is no better than the best, after which training ends; 0 never ends it early. Raises InputError.
    """

    seed: int = 0
    epochs: int = 3
    batch: int = 8
    rank: int = 8
    alpha: float = 16.0
    learning_rate: float = 1e-3
    warmup: float = 0.1
    hold: float = 0.7
    echo: bool = False
    deny: float = 25.0
    deny_weight: float = 0.05
    slot: str | None = None
    targets: tuple[str, ...] = tuple(PROJECTIONS)
    patience: int = 2

    def __post_init__(self) -> None:
        for name, least in (("epochs", 1), ("batch", 1), ("rank", 1), ("patience", 0), ("seed", 0)):
            self._require(name, f"a whole number from {least}", holds=getattr(self, name) >= least)
        for name in ("alpha", "learning_rate"):
            self._require(name, "a number above 0", holds=0 < getattr(self, name) < math.inf)
        for name in ("warmup", "hold"):
            self._require(name, "a share from 0 to 1", holds=0 <= getattr(self, name) <= 1)
        for name in ("deny", "deny_weight"):
            self._require(name, "a number from 0", holds=0 <= getattr(self, name) < math.inf)
        self._check_targets()
        self._check_slot()

    def _require(self, name: str, expected: str, *, holds: bool) -> None:
        if not holds:
            default = type(self).__dataclass_fields__[name].default
            raise InputError(f"{name} must be {expected}, not {getattr(self, name)}", hint=f"{default} is the default")

    def _check_targets(self) -> None:
        unknown = [name for name in self.targets if name not in PROJECTIONS]
        if unknown or not self.targets:
            raise InputError(
                f"no projection is called {unknown[0]!r}" if unknown else "no projection is to be changed",
                hint=f"targets are {', '.join(PROJECTIONS)}",
            )

    def _check_slot(self) -> None:
        if self.slot is None:
            return
        try:
            groups = re.compile(self.slot).groups
        except re.error as error:
            raise InputError(
                f"slot {self.slot!r} is no regular expression: {error}", hint=r"such as 'answer: (.+?) \|'"
            ) from None
        if groups < 1:
            raise InputError(
                f"slot {self.slot!r} has no group", hint=r"put the fact into brackets, as in 'answer: (.+?) \|'"
            )

    def rate(self, step: int, steps: int) -> float:
        """Share of the full learning rate at a step, counted from 0: a straight rise, then half a cosine to zero."""
        rise = max(1, round(self.warmup * steps))
        if step < rise:
            return (step + 1) / rise
        return 0.5 * (1 + math.cos(math.pi * (step - rise) / max(1, steps - rise)))
