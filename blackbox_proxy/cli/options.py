"""Options that several commands share, and what is made of them: a connection, a pair file, a prompt's parts.

Settings fill in what the command line leaves out. Imports nothing heavy at its head.
"""

from __future__ import annotations

import json
import math
import os
import sys
from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from blackbox_proxy.cli import inputs
from blackbox_proxy.errors import InputError
from blackbox_proxy.steering import Schedule, Steering

if TYPE_CHECKING:
    from blackbox_proxy.api import Api
    from blackbox_proxy.cli.settings import Settings
    from blackbox_proxy.ledger.books import Ledger

MODEL = "The hosted model"
ABLE = "What its endpoint can do"
PROMPT = "The prompt"
PAIR = "The pair, and how it steers"
ANSWER = "The answer"
CALLS = "Calls"
COSTS = "Costs"
SHOWN = "What is shown"
FINE = "Seldom turned"
"""The groups of options, as help shows them."""

NEEDED = "none: give it, or set it once"
"""What holds for an option that has to be given, here or as a setting."""

PLAIN = Steering()
HELP = {knob.name: knob.metadata["help"] for knob in fields(Steering)}
"""What each knob is for, as `Steering` declares it."""

OFF = "off"

AsJson = Annotated[
    bool,
    typer.Option("--json", help="Print one JSON object and nothing else.", rich_help_panel=SHOWN, show_default=OFF),
]
PairFile = Annotated[
    Path | None,
    typer.Option(
        "--pair",
        help="TOML file that describes the pair, or `demo` for the demo's own.",
        rich_help_panel=PAIR,
        show_default=NEEDED,
    ),
]
Question = Annotated[
    str | None,
    typer.Argument(help="The question; `-` or nothing reads standard input, less one line end at its end."),
]
BaseUrl = Annotated[
    str | None,
    typer.Option(
        help="Base URL of the API, such as https://host/v1.",
        rich_help_panel=MODEL,
        show_default="the profile's; without one: give it, or set it once",
    ),
]
ModelName = Annotated[
    str | None,
    typer.Option("--model", help="The API's name for the model.", rich_help_panel=MODEL, show_default=NEEDED),
]
ProfileName = Annotated[
    str | None,
    typer.Option(
        "--profile",
        help="What is known about the provider: see `profiles list`.",
        rich_help_panel=MODEL,
        show_default="none",
    ),
]
Alpha = Annotated[
    float | None,
    typer.Option(
        help=HELP["alpha"],
        rich_help_panel=PAIR,
        show_default=f"{PLAIN.alpha}",
    ),
]
AlphaSchedule = Annotated[
    str | None,
    typer.Option(
        help=HELP["schedule"],
        rich_help_panel=PAIR,
        show_default="none: alpha stays",
    ),
]
System = Annotated[
    str | None,
    typer.Option(help="A system message before the question.", rich_help_panel=PROMPT, show_default="none"),
]
Messages = Annotated[
    Path | None,
    typer.Option(
        help='JSON file: [{"role": ..., "content": ...}, ...].',
        rich_help_panel=PROMPT,
        show_default="none: the question is asked",
    ),
]
Raw = Annotated[
    bool,
    typer.Option(help="The prompt is raw text: no chat template on either side.", rich_help_panel=PROMPT),
]
PairPrompt = Annotated[
    str | None,
    typer.Option(
        help="What the pair reads in place of all that the API reads.",
        rich_help_panel=PROMPT,
        show_default="the same as the API",
    ),
]
Template = Annotated[
    str | None,
    typer.Option(
        help="The API's chat template where it takes raw text: chatml, raw, or a Jinja file.",
        rich_help_panel=MODEL,
        show_default="chatml",
    ),
]
Tokenizer = Annotated[
    str | None,
    typer.Option(
        help="The API's own tokenizer, where known: gguf:FILE, tiktoken:NAME, or auto.",
        rich_help_panel=MODEL,
        show_default="the profile's, or none",
    ),
]
TopK = Annotated[
    int | None,
    typer.Option(
        help="Log-probs to ask for at each position.", rich_help_panel=MODEL, show_default="the profile's, or 20"
    ),
]
KeyVariable = Annotated[
    str | None,
    typer.Option(
        "--api-key-env",
        help="Environment variable that holds the API key.",
        rich_help_panel=MODEL,
        show_default="the profile's, or OPENAI_API_KEY",
    ),
]
Timeout = Annotated[float, typer.Option(help="Seconds to wait for one reply.", rich_help_panel=MODEL)]


def write_json(value: object) -> None:
    """One JSON object on standard output, at once: a server's address is read while it serves."""
    sys.stdout.write(json.dumps(value, ensure_ascii=False) + "\n")
    sys.stdout.flush()


def _needed(value: str | None, option: str, variable: str) -> str:
    if value:
        return value
    raise InputError(f"{option} is missing", hint=f"give it, or set {variable}, or write it into config.toml")


def pair_file(given: Path | None, settings: Settings) -> Path:
    """The pair's description, or its name: as given, or from the settings."""
    found = given or settings.pair
    return Path(_needed(str(found) if found else None, "--pair", "BLACKBOX_PROXY_PAIR"))


def alpha_points(text: str | None, *, alpha: float | None) -> Schedule | None:
    """The schedule that the command line gives; it stands in place of an alpha."""
    if text is not None and alpha is not None:
        raise InputError(
            f"--alpha {alpha:g} and --alpha-schedule {text} are both given", hint="a schedule of one point is an alpha"
        )
    return None if text is None else Schedule.read(text)


def adapter_options(
    settings: Settings,
    profile: str | None,
    *,
    base_url: str | None,
    model: str | None,
    top_k: int | None,
    route: Mapping[str, object] | None = None,
) -> dict[str, object]:
    """What the command line tells the adapter; with a profile, which knows the rest, only what was asked for.

    A place that `doctor` has measured has one, whether or not it is named. route: what raw-text routes alone take;
    there false and `none` ask for nothing.
    """
    measured = _measured(settings, profile, base_url=base_url, model=model)
    chosen = settings.model_fields_set if measured else _chosen(settings, profile)
    asked = {} if top_k is None and "top_k" not in chosen else {"top_k": top_k}
    wanted = {name: settings.top_k if value is None else value for name, value in asked.items()}
    known = measured or bool(profile or settings.profile)
    return wanted | {name: value for name, value in (route or {}).items() if not known or value not in (False, "none")}


def _measured(settings: Settings, profile: str | None, *, base_url: str | None, model: str | None) -> bool:
    """Whether no profile is named, and `doctor` has measured the place."""
    from blackbox_proxy.api import measured_here

    named = profile or settings.profile
    return not named and bool(measured_here(base_url or settings.base_url or "", model or settings.model or ""))


def _chosen(settings: Settings, profile: str | None) -> set[str]:
    """The settings that win over the profile.

    All where there is none; none where the command line names it; and where the profile is itself a setting, those
    that the user set beside it.
    """
    if profile:
        return set()
    return settings.model_fields_set if settings.profile else set(type(settings).model_fields)


def connection(  # noqa: PLR0913 (as engine.connect)
    settings: Settings,
    *,
    base_url: str | None,
    model: str | None,
    api_key_env: str | None,
    timeout: float,
    options: Mapping[str, object],
    profile: str | None = None,
    template: str | None = None,
    tokenizer: str | None = None,
    adapter: str = "",
    ledger: Ledger | None = None,
) -> Api:
    """Get ready to call the API."""
    from blackbox_proxy.api import connect

    if not 0 < timeout < math.inf:
        raise InputError(f"--timeout must be a number of seconds above 0, not {timeout:g}", hint="60 is the default")
    chosen, known = _chosen(settings, profile), profile or settings.profile
    url = base_url or (settings.base_url if "base_url" in chosen else None)
    variable = api_key_env or (settings.api_key_env if "api_key_env" in chosen else "")
    if variable:
        inputs.variable_name(variable)
    return connect(
        url or "" if known else _needed(url, "--base-url", "BLACKBOX_PROXY_BASE_URL"),
        model=_needed(model or settings.model, "--model", "BLACKBOX_PROXY_MODEL"),
        profile=known,
        api_key=os.environ.get(variable) if variable else None,
        key_name=variable,
        template=inputs.template_text(template or settings.template),
        tokenizer=tokenizer or (settings.tokenizer if "tokenizer" in chosen else ""),
        adapter=adapter,
        timeout=timeout,
        options=options,
        ledger=ledger,
    )
