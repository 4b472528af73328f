"""What an answer has said already counts less, and an end that comes too early not at all; on the steered log-probs.

The penalties are those of OpenAI's API.

A string that is a step of the answer so far c times loses presence + c * frequency nats, before the temperature (the
formula of OpenAI's reference, with c counted over the answer alone). Pure arithmetic; knows no token.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence

import numpy as np

from blackbox_proxy.steering import Steering
from blackbox_proxy.types import Floats


def fines(pieces: Sequence[bytes], said: Sequence[bytes], steering: Steering) -> Floats:
    """What each of n strings loses, in nats; shape (n,); the end, b"", all, where it may not come yet.

    said: the steps of the answer so far.

    >>> steering = Steering(presence_penalty=0.5, frequency_penalty=1.0)
    >>> fines([b"a", b"b", b"c"], [b"a", b"b", b"a"], steering).tolist()
    [2.5, 1.5, 0.0]
    >>> fines([b"a", b""], [b"b"], Steering(min_tokens=2)).tolist()
    [0.0, inf]
    """
    counts, early = Counter(said), is_early(said, steering)
    return np.array([math.inf if early and not piece else _fine(counts[piece], steering) for piece in pieces])


def is_early(said: Sequence[bytes], steering: Steering) -> bool:
    """Whether the answer may not end yet."""
    return len(said) < steering.min_tokens


def largest_bonus(said: Sequence[bytes], steering: Steering) -> float:
    """The most that any string can gain, in nats: by penalties below 0 alone."""
    return max((0.0, *(-_fine(count, steering) for count in Counter(said).values())))


def _fine(count: int, steering: Steering) -> float:
    return steering.presence_penalty + count * steering.frequency_penalty if count else 0.0
