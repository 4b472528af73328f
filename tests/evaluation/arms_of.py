"""Arms whose scores are written down, without anybody being asked."""

from __future__ import annotations

from collections.abc import Callable

from blackbox_proxy.evaluation.answers import KeptAnswer
from blackbox_proxy.evaluation.arms import Arm
from blackbox_proxy.evaluation.summary import ArmAnswers


def scored(name: str, count: int, right: Callable[[int], bool]) -> ArmAnswers:
    """An arm that answered so many items, and which of them rightly."""
    answers = {f"i{n}": KeptAnswer("k", "task", f"i{n}", name, "text") for n in range(count)}
    return ArmAnswers(Arm(name, "closed", count), answers, {f"i{n}": float(right(n)) for n in range(count)})
