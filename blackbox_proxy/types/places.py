"""A place of a reference answer, as the weights of the rule `learnt` are fitted to it."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import final

from blackbox_proxy.errors import InputError


@final
@dataclass(frozen=True, slots=True)
class ReferencePlace:
    """What competes at one place of a reference answer: n disjoint classes, all that is not listed being one of them.

    Attributes:
        logp: The API's log-prob of each class, imputed where it did not show it; n numbers.
        expert: log E of each class, smoothed as for a score; n numbers.
        anti_expert: log A of each class, likewise.
        features: What is known before anything is chosen, in the order of `FEATURES`.
        chosen: Which class is the reference's own.
    """

    logp: tuple[float, ...]
    expert: tuple[float, ...]
    anti_expert: tuple[float, ...]
    features: tuple[float, ...]
    chosen: int

    def __post_init__(self) -> None:
        n = len(self.logp)
        if not (len(self.expert) == len(self.anti_expert) == n and 0 <= self.chosen < n):
            raise InputError(
                f"a place of {n} classes cannot have {len(self.expert)} and {len(self.anti_expert)} masses, and"
                f" class {self.chosen} as its own",
                hint="collect it anew",
            )

    def __str__(self) -> str:
        """The place as one line of JSON."""
        return json.dumps(asdict(self))

    @classmethod
    def read(cls, line: str) -> ReferencePlace:
        """A place from its line of JSON. Raises InputError where it is none."""
        try:
            row = json.loads(line)
            logp, *members = (tuple(map(float, row[name])) for name in ("logp", "expert", "anti_expert"))
            features = tuple(map(float, row["features"]))
            return cls(logp, members[0], members[1], features, int(row["chosen"]))
        except (ValueError, KeyError, TypeError) as error:
            raise InputError(f"no place of a reference answer: {line[:60]!r}", hint="collect it anew") from error
