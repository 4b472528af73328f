"""What a fit may take, and how it decides. A value."""

from __future__ import annotations

import math
from dataclasses import dataclass
from decimal import Decimal

from blackbox_proxy.errors import InputError
from blackbox_proxy.fitting.selecting import POINT, Preference, Terms

TRAINING_TIME, COLLECTING_TIME, VALIDATION_TIME, OFF_TASK_TIME = 0.4, 0.6, 0.8, 0.9
"""Shares of the time after which training, the collection, the comparison and questions of another kind end; the rest
is for the test."""


@dataclass(frozen=True, slots=True)
class FitLimits:
    """What a comparison may take, and how it decides.

    Attributes:
        budget: US dollars; None for no limit. The ledger holds it too.
        minutes: Minutes, training included; None for no limit.
        prefer: What decides between arms.
        point: US dollars for 1,000 answers that 0.01 of score is worth, for `prefer="balanced"`.
        at_once: Calls of the closed model under way at a time.
    """

    budget: Decimal | None = None
    minutes: float | None = None
    prefer: Preference = "quality"
    point: float = POINT
    at_once: int = 1

    def __post_init__(self) -> None:
        if self.minutes is not None and not self.minutes > 0.0:
            raise InputError(f"minutes must be above 0, not {self.minutes:g}", hint="leave it out for no limit")
        if not (math.isfinite(self.point) and self.point >= 0.0):
            raise InputError(f"a point is worth 0 dollars or more, not {self.point:g}", hint=f"{POINT:g} is usual")

    @property
    def terms(self) -> Terms:
        """What decides between arms."""
        return Terms(self.prefer, self.point)
