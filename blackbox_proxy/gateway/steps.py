"""The steps of an answer as a reply shows them, where a request asks for them: who decided each token, and among what.

The fields are those of `types.Step` and `types.ScoredCandidate`. Pure.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from blackbox_proxy.openai_http.frames import bounded, escaped
from blackbox_proxy.types import ScoredCandidate, Step

SHOWN = (
    *("alpha", "certified", "tv_bound", "exact", "forced", "gated", "divergence"),
    *("outweighed", "unbordered", "guessed"),
)
"""Fields of a step that are shown as they are."""


def shown_steps(steps: Iterable[Step], candidates: int) -> list[dict[str, Any]]:
    """The steps as JSON objects, each with so many of its candidates at most, best first."""
    return [_shown(step, candidates) for step in steps]


def _shown(step: Step, candidates: int) -> dict[str, Any]:
    """A step. The end of an answer is one too; its token is an empty text."""
    return {
        **_text(step.piece),
        "kind": step.kind.value,
        "origin": step.origin.value,
        "api_token": escaped(step.api_token) if step.is_asked else None,
        "logp_before": _finite(step.logp_before),
        "logp_after": _finite(step.logp_after),
        "offset": _finite(step.offset),
        **{name: getattr(step, name) for name in SHOWN},
        "candidates": [_candidate(one) for one in step.candidates[:candidates]],
    }


def _candidate(one: ScoredCandidate) -> dict[str, Any]:
    return {
        **_text(one.piece),
        "kind": one.kind.value,
        "logp": _finite(one.logp),
        "offset": _finite(one.offset),
        "score": _finite(one.score),
        "inside": one.inside,
    }


def _text(piece: bytes) -> dict[str, Any]:
    return {"token": escaped(piece), "bytes": list(piece)}


def _finite(figure: float | None) -> float | None:
    """A figure as JSON can hold it; what nobody knows is null."""
    return None if figure is None else bounded(figure)
