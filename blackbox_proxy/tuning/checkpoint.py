"""What a training run needs to be gone on with, in a file beside the adapter that it will become.

A checkpoint belongs to one run: recipe, lines and base, by their digest. It is read as data: nothing in it is executed.
"""

from __future__ import annotations

import pickle
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from blackbox_proxy.errors import InputError
from blackbox_proxy.tuning.course import Course


@dataclass(frozen=True, slots=True)
class State:
    """A run between two steps: its course, the trained weights now and at the best epoch, and the optimizer's memory.

    seconds: spent in steps so far, over all parts of the run.
    """

    course: Course
    weights: dict[str, Tensor]
    best: dict[str, Tensor]
    optimizer: dict[str, Any]
    seconds: float


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """The file of one run. key: the digest of everything that decides how the run goes."""

    path: Path
    key: str

    def save(self, state: State) -> None:
        """Writes the state in one step. Raises InputError where the disk refuses."""
        partial = self.path.with_name(f"{self.path.name}.partial")
        course = state.course
        content = {
            "key": self.key,
            "course": [course.per_epoch, list(course.losses), list(course.validations)],
            "weights": state.weights,
            "best": state.best,
            "optimizer": state.optimizer,
            "seconds": state.seconds,
        }
        try:
            torch.save(content, partial)
            partial.replace(self.path)
        except (OSError, RuntimeError) as error:
            raise InputError(
                f"cannot write the checkpoint {self.path}: {error}", hint="free some room, or check the folder"
            ) from error

    def load(self) -> State | None:
        """The state that was saved, if any. Raises InputError where it is another run's, or damaged."""
        if not self.path.exists():
            return None
        hint = "--fresh starts over; or give the options and lines that it was made with"
        try:
            content = torch.load(self.path, weights_only=True)
            key, (per_epoch, losses, validations) = content["key"], content["course"]
            course = Course(per_epoch, tuple(losses), tuple(validations))
            state = State(course, content["weights"], content["best"], content["optimizer"], content["seconds"])
        except (OSError, RuntimeError, KeyError, TypeError, ValueError, EOFError, pickle.UnpicklingError) as error:
            reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
            raise InputError(f"cannot read the checkpoint {self.path}: {reason}", hint=hint) from error
        if key != self.key:
            raise InputError(f"the checkpoint {self.path} belongs to another run: other lines or options", hint=hint)
        return state

    def remove(self) -> None:
        """Deletes the file, once the run is over."""
        self.path.unlink(missing_ok=True)
