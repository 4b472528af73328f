"""Whether llama.cpp with the exported adapter says what PyTorch said when it was trained: next tokens, side by side.

The texts are prompts and answers, and every position of an answer is compared. The two are never equal: llama.cpp
rounds activations of quantised weights to 8 bits, and the adapter to 16. So a disagreement about the best token counts
by how far ahead PyTorch has its own.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from peft import PeftModel

from blackbox_proxy.local.pair import Member, PairFiles, open_pair
from blackbox_proxy.tuning.data import Example
from blackbox_proxy.types import Floats

CHECKED = 12
"""Texts that are compared, at most."""

LEAD = 0.4
"""Nats by which PyTorch's best token may lead at most where llama.cpp prefers another."""

DISTANCE = 0.05
"""Total variation between the two distributions, in the mean, at most."""


@dataclass(frozen=True, slots=True)
class Agreement:
    """What was found at `positions` positions.

    same: share of them where both prefer the same token. lead: the worst lead, in nats, of PyTorch's token where they
    do not. worst: the largest difference of the log-probability of PyTorch's best token. distance: total variation in
    the mean; untuned: that of llama.cpp without the adapter, for comparison.
    """

    positions: int
    same: float
    lead: float
    worst: float
    distance: float
    untuned: float

    @property
    def agrees(self) -> bool:
        """Whether both limits are kept. What is no number keeps none."""
        return self.lead <= LEAD and self.distance <= DISTANCE

    def sentence(self) -> str:
        """What was found, and the limits."""
        verdict = "PyTorch and llama.cpp agree" if self.agrees else "PyTorch and llama.cpp DISAGREE"
        return (
            f"{verdict}: the same next token at {self.same:.1%} of {self.positions} positions; elsewhere a lead of "
            f"{self.lead:.3f} nats at most (limit {LEAD}); the best token's log-prob differs by {self.worst:.3f} at "
            f"most; total variation {self.distance:.4f} in the mean (limit {DISTANCE}), and {self.untuned:.4f} without "
            "the adapter"
        )


def compare(
    model: PeftModel,
    examples: Sequence[Example],
    *,
    base: Path,
    adapter: Path,
    tick: Callable[[object], None] = lambda _: None,
) -> Agreement:
    """Both sides over every position of the examples' answers. model: base and changes in PyTorch."""
    context = max(64, *(len(example.ids) for example in examples))
    ours: list[Floats] = []
    tuned: list[Floats] = []
    untuned: list[Floats] = []
    with open_pair(PairFiles(base, base, adapter, context=context)) as pair:
        for example in examples:
            ours.append(_of_torch(model, example))
            for member, distributions in zip(pair.members, (tuned, untuned), strict=True):
                distributions.append(_of_llama(member, example))
            tick(example)
    return measured(np.concatenate(ours), np.concatenate(tuned), np.concatenate(untuned))


def measured(ours: Floats, tuned: Floats, untuned: Floats) -> Agreement:
    """From log-probabilities (positions, V): PyTorch's, and llama.cpp's with and without the adapter."""
    rows, best = np.arange(len(ours)), ours.argmax(1)
    leads = ours[rows, best] - ours[rows, tuned.argmax(1)]
    return Agreement(
        positions=len(ours),
        same=float((leads == 0).mean()),
        lead=float(leads.max()),
        worst=float(np.abs(ours[rows, best] - tuned[rows, best]).max()),
        distance=_distance(ours, tuned),
        untuned=_distance(ours, untuned),
    )


def _distance(one: Floats, other: Floats) -> float:
    return float(np.abs(np.exp(one) - np.exp(other)).sum(1).mean() / 2)


def _of_torch(model: PeftModel, example: Example) -> Floats:
    with torch.no_grad():
        logits = model(torch.tensor([example.ids])).logits[0, len(example.prompt) - 1 : -1]
    logp: Floats = logits.double().log_softmax(1).numpy()
    return logp


def _of_llama(member: Member, example: Example) -> Floats:
    prefixes = [example.completion[:length] for length in range(len(example.completion))]
    distributions = member.distributions(example.prompt, prefixes)
    return np.stack([distribution.logits.astype(np.float64) - distribution.log_norm for distribution in distributions])
