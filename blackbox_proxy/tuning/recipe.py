"""Every choice of a training run, checked once, and the learning rate that follows from them. Pure."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from types import MappingProxyType
from typing import Any, Literal

from blackbox_proxy.bounds import Bounds
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


PRECISIONS = ("auto", "float32", "bfloat16")
"""In what the blocks of the model are computed while it is trained."""

Group = Literal["training", "adapter", "loss"]
"""What a choice is about."""


def choice(
    default: Any,
    help: str,  # noqa: A002 (as command lines call it)
    *,
    group: Group,
    within: Bounds | None = None,
    read: Callable[[str], object] | None = None,
    unset: str = "",
) -> Any:
    """A field of `Recipe`.

    Args:
        default: What holds where nobody says.
        help: What it is for, in one or two sentences.
        group: Where help lists it.
        within: The bounds of a number; None for a choice that is none.
        read: Reads the value from a text, where its type does not say how. Raises InputError.
        unset: What holds where it is not given, in words; the default itself where empty.
    """
    metadata = {"help": help, "group": group, "within": within, "unset": unset}
    return field(default=default, metadata=metadata if read is None else {**metadata, "read": read})


def read_targets(text: str) -> tuple[str, ...]:
    """Projections as a command line names them.

    >>> read_targets("q_proj,v_proj"), len(read_targets("all"))
    (('q_proj', 'v_proj'), 7)
    """
    return tuple(PROJECTIONS if text == "all" else text.split(","))


@dataclass(frozen=True, slots=True)
class Recipe:
    """Every choice of a training run; two runs of one recipe on one machine give the same adapter.

    Raises InputError for a value that cannot be.
    """

    seed: int = choice(
        0, "Draws the split, the order of lines, and the first weights.", group="training", within=Bounds(0)
    )
    epochs: int = choice(3, "Times that every line is read, at most.", group="training", within=Bounds(1))
    batch: int = choice(8, "Lines a step.", group="training", within=Bounds(1))
    rank: int = choice(8, "Rank of the changes.", group="adapter", within=Bounds(1))
    alpha: float = choice(
        16.0, "The changes are scaled by alpha / rank.", group="adapter", within=Bounds(0, above=True)
    )
    learning_rate: float = choice(1e-3, "The highest learning rate.", group="training", within=Bounds(0, above=True))
    warmup: float = choice(
        0.1, "Share of the steps in which the learning rate rises.", group="training", within=Bounds(0, 1)
    )
    hold: float = choice(
        0.7, "Share of the untuned model's belief in the target of a fact.", group="loss", within=Bounds(0, 1)
    )
    echo: bool = choice(default=False, help="Facts may be words of the prompt.", group="loss")
    deny: float = choice(25.0, "Nats by which an early end is to be unlikely.", group="loss", within=Bounds(0))
    deny_weight: float = choice(0.05, "Weight of that in the loss.", group="loss", within=Bounds(0))
    slot: str | None = choice(
        None, "Regular expression whose group 1 is a fact in the answer: not to be learnt.", group="loss"
    )
    facts: bool = choice(
        default=True,
        help="Without a slot: find the facts of answers, and hold them where that pays on validation lines.",
        group="loss",
    )
    targets: tuple[str, ...] = choice(
        tuple(PROJECTIONS),
        f"Projections to change, of {','.join(PROJECTIONS)}.",
        group="adapter",
        read=read_targets,
        unset="all",
    )
    patience: int = choice(
        2, "Stop after so many epochs without a better validation loss; 0: never.", group="training", within=Bounds(0)
    )
    precision: str = choice(
        "float32",
        f"Of {', '.join(PRECISIONS)}: what the blocks are computed in; auto: bfloat16 where that is quicker.",
        group="training",
    )

    def __post_init__(self) -> None:
        for one in fields(self):
            value, within = getattr(self, one.name), one.metadata["within"]
            if within is not None and not within.hold(value):
                raise InputError(f"{one.name} must be {within}, not {value}", hint=f"{one.default} is the default")
        self._check_targets()
        self._check_slot()
        if self.precision not in PRECISIONS:
            raise InputError(f"no precision is called {self.precision!r}", hint=f"there are {', '.join(PRECISIONS)}")

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


def _attributes() -> str:
    """The choices as the docstring of `Recipe` lists them."""
    return "".join(f"    {one.name}: {one.metadata['help']}\n" for one in fields(Recipe))


Recipe.__doc__ = f"{Recipe.__doc__}\n\nAttributes:\n{_attributes()}"
