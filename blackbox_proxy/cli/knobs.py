"""The knobs of steering as options of commands: `Steering` declares them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any

from blackbox_proxy.cli.declaring import Fields
from blackbox_proxy.errors import InputError
from blackbox_proxy.steering import Steering

if TYPE_CHECKING:
    from blackbox_proxy.cli.settings import Settings

SETTINGS = {"alpha": f"{Steering().alpha}"}
"""Knobs that are settings too, and what holds where none is set."""

Knobs = Mapping[str, Any]
"""Values of knobs by name, as `Steering` takes them."""

AllKnobs = Annotated[Knobs, Fields(of=Steering, unset=SETTINGS)]
"""All knobs that a command can set. One without a value is at the default of the settings."""

AlphaKnob = Annotated[Knobs, Fields(of=Steering, only=("alpha",), unset=SETTINGS)]
"""alpha, where that alone steers."""

DraftKnob = Annotated[Knobs, Fields(of=Steering, only=("draft",))]
"""How much is drafted, where nothing else of steering matters."""

DemoKnobs = Annotated[Knobs, Fields(of=Steering, only=("alpha", "tail", "rule"), unset={"alpha": "1.25"})]
"""The knobs that the demo lets one turn."""

TaskKnobs = Annotated[Knobs, Fields(of=Steering, but=("event",), unset="the task's")]
"""The knobs that a task may set, for a command that sets them in place of the task."""


def check_alpha(knobs: Knobs) -> None:
    """Raises InputError where an alpha and a schedule are both given: a schedule stands in place of an alpha."""
    if {"alpha", "schedule"} <= knobs.keys():
        raise InputError(
            f"--alpha {knobs['alpha']:g} and --alpha-schedule {knobs['schedule']} are both given",
            hint="a schedule of one point is an alpha",
        )


def steering_of(knobs: Knobs, settings: Settings) -> Steering:
    """How to steer, from what the command line gives and the settings. Raises InputError for what cannot be."""
    check_alpha(knobs)
    return Steering(**{"alpha": settings.alpha, **knobs})
