"""Where several workers of one gateway count together."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import final


@final
@dataclass(frozen=True, slots=True)
class MetricsPlace:
    """folder: has the figures of all workers. number: which worker counts here; one that is started again goes on."""

    folder: Path
    number: int
