"""What an answer is labelled with: how exact it is, and how it was steered."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from blackbox_proxy.core.events import Ending
from blackbox_proxy.types import Capabilities, Continuation, Exactness, Step, WayTaken

_MEANS: Mapping[Continuation, WayTaken] = {Continuation.EXACT: "raw", Continuation.PREFILL: "prefill"}


def exactness_of(steps: Sequence[Step]) -> Exactness:
    """How exact an answer is that was steered token by token."""
    if not all(step.exact for step in steps):
        return "approximate"
    return "forced" if any(step.forced for step in steps) else "exact"


def way_of(steps: Sequence[Step], ending: Ending, able: Capabilities, *, drawn: WayTaken | None) -> WayTaken:
    """How it was steered; of a chat whose first reply was enough, by nothing that was gone on from.

    Args:
        steps: Its steps.
        ending: How it ended.
        able: What the endpoint can do.
        drawn: What was drawn and chosen from, `answers` or `chunks`; None where it was steered token by token.
    """
    if ending.is_local:
        return "local"
    if drawn is not None:
        return drawn
    if not all(step.exact for step in steps):
        return "words"
    if any(step.forced for step in steps):
        return "forced"
    return _MEANS.get(able.continuation, "token")
