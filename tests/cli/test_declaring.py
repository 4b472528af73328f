"""Options that a dataclass declares: a command that names it takes them, and gets one object."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import pytest
import typer
from typer.testing import CliRunner

from blackbox_proxy.cli.booking import BudgetOptions
from blackbox_proxy.cli.declaring import ANSWER, ENDPOINT, Fields, option, with_options
from blackbox_proxy.cli.endpoint import EndpointOptions
from blackbox_proxy.cli.logging_answers import LogOptions
from blackbox_proxy.cli.options import PairOptions
from blackbox_proxy.cli.settings import Settings
from blackbox_proxy.errors import InputError
from blackbox_proxy.steering import Schedule, Steering


@dataclass(frozen=True, slots=True)
class Kitchen:
    """Options of each kind."""

    dish: str | None = option(None, "What is cooked.", panel=ANSWER, argument=True)
    heat: float = option(0.5, "How hot.", panel=ANSWER)
    spices: tuple[str, ...] = option((), "May be repeated.", panel=ANSWER, flag="--spice")
    pan: Path | None = option(None, "Which pan.", panel=ENDPOINT, unset="the usual one")  # noqa: RUF009 (it makes a field)
    size: Literal["small", "large"] = option("small", "How much.", panel=ANSWER, short="-s")


received: list[tuple[object, ...]] = []


@pytest.fixture(autouse=True)
def _nothing_received() -> None:
    received.clear()


@with_options
def cook(*, kitchen: Kitchen, guests: Annotated[int, typer.Option(help="How many.")] = 2) -> None:
    """Cook."""
    received.append((kitchen, guests))


@with_options
def warm(
    *,
    kitchen: Annotated[Kitchen, Fields(only=("heat", "pan"))],
    knobs: Annotated[
        Mapping[str, Any], Fields(of=Steering, only=("alpha", "schedule", "stop"), unset={"alpha": "1.0"})
    ],
) -> None:
    """Warm up."""
    received.append((kitchen, knobs))


@with_options
def season(*, values: Annotated[Mapping[str, Any], Fields(of=Kitchen, but=("dish",), unset="the cook's")]) -> None:
    """Season."""
    received.append((values,))


def run(command: Any, *words: str) -> Any:  # noqa: ANN401 (typer's result, of every version)
    app = typer.Typer(add_completion=False)
    app.command()(command)
    return CliRunner().invoke(app, words)


def test_a_command_gets_one_object_of_the_defaults() -> None:
    assert run(cook).exit_code == 0
    assert received == [(Kitchen(), 2)]


def test_what_is_given_is_in_the_object() -> None:
    words = ("soup", "--heat", "0.75", "--spice", "salt", "--spice", "dill", "--pan", "wok", "--size", "large")
    assert run(cook, *words, "--guests", "3").exit_code == 0
    assert run(cook, *words[:-2], "-s", "large", "--guests", "3").exit_code == 0
    assert received.pop() == received[0]
    assert received == [(Kitchen("soup", 0.75, ("salt", "dill"), Path("wok"), "large"), 3)]


def test_a_value_of_another_type_is_refused() -> None:
    assert run(cook, "--heat", "much").exit_code == 2
    assert run(cook, "--size", "huge").exit_code == 2
    assert received == []


def test_help_shows_what_holds_where_an_option_is_not_given() -> None:
    said = " ".join(run(cook, "--help").output.replace("│", " ").split())
    assert "[default: 0.5]" in said
    assert "[default: (the usual one)]" in said
    assert said.index(ANSWER) < said.index(ENDPOINT)


def test_a_command_may_take_some_of_the_fields() -> None:
    assert run(warm, "--heat", "1").exit_code == 0
    assert received == [(Kitchen(heat=1.0), {})]
    assert run(warm, "--size", "large").exit_code == 2


def test_knobs_are_a_mapping_of_what_holds_and_an_own_form_is_read() -> None:
    """A knob whose default is a setting is there only where it is given."""
    assert run(warm, "--alpha", "0.5", "--alpha-schedule", "0:1,4:0", "--stop", "a", "--stop", "b").exit_code == 0
    ((_, knobs),) = received
    assert knobs == {"alpha": 0.5, "schedule": Schedule(((0, 1.0), (4, 0.0))), "stop": ("a", "b")}
    assert isinstance(run(warm, "--alpha-schedule", "steep").exception, InputError)


def test_what_stands_elsewhere_is_taken_only_where_it_is_given() -> None:
    assert run(season).exit_code == 0
    assert run(season, "--heat", "0.5", "--size", "small").exit_code == 0
    assert received == [({},), ({"heat": 0.5, "size": "small"},)]
    assert run(season, "--help").output.count("(the cook's)") == 4


def test_two_groups_with_an_option_of_one_name_are_refused() -> None:
    def twice(*, kitchen: Kitchen, other: Kitchen) -> None: ...

    with pytest.raises(ValueError, match="duplicate parameter name"):
        with_options(twice)


def test_every_setting_is_an_option_that_is_declared() -> None:
    """What can be set once can be given on a command line, under the same name."""
    declared = (EndpointOptions, BudgetOptions, PairOptions, LogOptions, Steering)
    assert set(Settings.model_fields) <= {name for kind in declared for name in kind.__dataclass_fields__}
