"""Quirks of the numbers: of which distribution log-probs are shown, and what is done to them; a model never sure.

Pure but for the noise, whose chance it is given; knows no request and no reply.
"""

from __future__ import annotations

from dataclasses import replace
from typing import final

import numpy as np

from blackbox_proxy.standin.engine import DecodingPlace, SamplingParams, Token, View
from blackbox_proxy.standin.quirks import Quirks
from blackbox_proxy.types import Floats, Logits, TokenPath

SENTINEL = -9999.0
FREEZING = 1e-9
"""The temperature that stands for 0 where log-probs follow it: whatever is not the best falls below any sentinel."""


@final
class NoisySlot:
    """A place whose logits move by up to half of `nats` either way, anew at every call; so log-probs move by `nats`."""

    def __init__(self, place: DecodingPlace, nats: float, *, chance: np.random.Generator) -> None:
        self._place = place
        self._half = nats / 2
        self._chance = chance

    def reuse(self, path: TokenPath) -> int:
        """As the place itself."""
        return self._place.reuse(path)

    def decided(self, path: TokenPath, sampling: SamplingParams, *, chance: np.random.Generator) -> int | None:
        """As the place itself."""
        return self._place.decided(path, sampling, chance=chance)

    def after(self, path: TokenPath) -> Logits:
        """The logits after a path, shape (V,), moved."""
        logits = self._place.after(path)
        moved: Logits = logits + self._chance.uniform(-self._half, self._half, len(logits)).astype(np.float32)
        return moved


def view_of(quirks: Quirks) -> View:
    """How log-probs are shown under these quirks."""
    return View(
        distribution=lambda logits, sampling: _tempered(_biased(logits, sampling, quirks), sampling, quirks),
        touch=lambda token: _touched(token, quirks),
        masked="masked-logps" in quirks,
    )


def _biased(logits: Logits, sampling: SamplingParams, quirks: Quirks) -> Logits:
    if not sampling.bias or "biased-logps" not in quirks:
        return logits
    moved = logits.copy()
    for i, bias in sampling.bias:
        moved[i] += bias
    return moved


def _tempered(logits: Logits, sampling: SamplingParams, quirks: Quirks) -> Logits:
    if sampling.temperature == 0.0:
        frozen = "logp-after-temperature" in quirks or "one-hot-at-zero" in quirks
        return _scaled(logits, FREEZING) if frozen else logits
    follows = "logp-after-temperature" in quirks or "scaled-except-zero" in quirks
    return _scaled(logits, sampling.temperature) if follows else logits


def _scaled(logits: Logits, temperature: float) -> Logits:
    """The logits at a temperature; the largest is 0, so that none overflows upwards."""
    with np.errstate(over="ignore"):
        scaled: Logits = ((logits.astype(np.float64) - logits.max()) / temperature).astype(np.float32)
    return scaled


def _touched(token: Token, quirks: Quirks) -> Token:
    if token.logp is None or token.top is None:
        return token
    logps, logp = token.top.logps, token.logp
    kept = quirks.whole("sentinels")
    if kept is not None:
        ids = token.top.ids[:kept].tolist()
        logps = np.where(np.arange(len(logps)) < kept, logps, SENTINEL)
        logp = logp if token.id in ids else SENTINEL
    digits = quirks.whole("rounded-logps")
    if digits is not None:
        logps, logp = _rounded(logps, digits), round(logp, digits)
    return replace(token, logp=logp, top=replace(token.top, logps=logps))


def _rounded(logps: Floats, digits: int) -> Floats:
    rounded: Floats = np.round(logps, digits)
    return rounded
