"""The commands about profiles: list them, show one or what it says of a model, check a file.

Loads nothing but the profiles' loader, inside the commands; asks no API.
"""

from __future__ import annotations

import datetime as dt
import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from blackbox_proxy.cli.declaring import MODEL_SHORT
from blackbox_proxy.cli.options import AsJson, write_json

if TYPE_CHECKING:
    from blackbox_proxy.remote.profiles.finding import Overlay, Profile
    from blackbox_proxy.remote.profiles.rules import Settled

app = typer.Typer(
    no_args_is_help=True,
    help="What is known about providers: data that you can read, change and add to.",
    epilog="Examples: `blackbox-proxy profiles list`, `blackbox-proxy profiles show openai --model gpt-5.4`",
)


@app.command("list", epilog="Example: `blackbox-proxy profiles list --json`")
def list_profiles(as_json: AsJson = False) -> None:
    """The providers that are known, how they are spoken to, and when that was last checked."""
    from blackbox_proxy.remote.profiles.finding import all_profiles, user_folder

    profiles = all_profiles(folder=user_folder(os.environ))
    write_json([_row(profile) for profile in profiles]) if as_json else _show_list(profiles)


@app.command(
    epilog="Examples: `blackbox-proxy profiles show vllm`, `blackbox-proxy profiles show openai --model gpt-5.4 --json`"
)
def show(
    name: Annotated[str, typer.Argument(help="The profile's name.")],
    model: Annotated[str | None, typer.Option("--model", MODEL_SHORT, help="Show what holds for this model.")] = None,
    base_url: Annotated[str | None, typer.Option(help="With --model: at this address.")] = None,
    as_json: AsJson = False,
) -> None:
    """A profile in full, as TOML; or with --model what it says of one model."""
    from blackbox_proxy.cli import show as screen
    from blackbox_proxy.remote.profiles.finding import load_profile, user_folder
    from blackbox_proxy.remote.profiles.rules import settle

    profile = load_profile(name, folder=user_folder(os.environ))
    if model is not None:
        settled = settle(profile, model, base_url=base_url or "", today=dt.datetime.now(dt.UTC).date())
        write_json(_settled(settled)) if as_json else screen.line(_toml(_settled(settled)))
    elif as_json:
        write_json(_row(profile) | profile.document.model_dump(mode="json", exclude_unset=True))
    else:
        screen.line("\n".join([*(f"# {where}" for where in profile.where), _toml(_content(profile))]))
        for one in profile.overlays:
            screen.line(f"# {one.where}\n{_toml(_measured(one))}")


@app.command(epilog="Example: `blackbox-proxy profiles check my-profile.toml`")
def check(
    file: Annotated[Path, typer.Argument(help="A TOML file: a profile, a change of one, or an overlay.")],
    as_json: AsJson = False,
) -> None:
    """Read a profile file as if it were in use, and say what is wrong with it, with its line."""
    from blackbox_proxy.cli import show as screen
    from blackbox_proxy.remote.profiles.checking import check_file
    from blackbox_proxy.remote.profiles.finding import user_folder

    profile = check_file(file, folder=user_folder(os.environ))
    write_json({"file": str(file), **_row(profile)}) if as_json else screen.line(
        f"{file} is right: {_summary(profile)}"
    )


def _row(profile: Profile) -> dict[str, object]:
    """What the list tells of a profile."""
    said = profile.document.profile
    return {
        "name": profile.name,
        "about": said.about,
        "supported": said.supported,
        "reason": said.reason,
        "adapter": said.adapter,
        "base_url": said.base_url or said.base_url_form,
        "api_key_env": said.api_key_env,
        "checked": said.checked and said.checked.isoformat(),
        "files": list(profile.where),
        "measured": [_place(one) for one in profile.overlays],
    }


def _place(one: Overlay) -> dict[str, object]:
    spot = one.spot
    return {
        "base_url": spot.base_url,
        "model": spot.model,
        "measured": spot.measured.isoformat(),
        "file": one.where,
        "notes": list(spot.notes),
    }


def _show_list(profiles: tuple[Profile, ...]) -> None:
    from blackbox_proxy.cli import show as screen

    rows = screen.table({"profile": "left", "adapter": "left", "checked": "left", "address": "left"})
    for profile in profiles:
        said = profile.document.profile
        address = (said.base_url or said.base_url_form or "") if said.supported else f"not supported: {said.reason}"
        rows.add_row(profile.name, said.adapter or "-", str(said.checked or ""), address)
    screen.out.print(rows)


def _content(profile: Profile) -> dict[str, object]:
    return profile.document.model_dump(exclude_unset=True, exclude={"extends"})


def _measured(one: Overlay) -> dict[str, object]:
    return {
        "overlay": one.spot.model_dump(exclude_unset=True),
        "profile": {"adapter": one.adapter},
        "options": one.options.model_dump(exclude_unset=True),
    }


def _settled(settled: Settled) -> dict[str, object]:
    options = {name: _as_text(value) for name, value in sorted(settled.options.items())}
    return {
        "base_url": settled.base_url,
        "api_key_env": settled.api_key_env,
        "api_key_header": settled.api_key_header,
        "adapter": settled.adapter,
        "tokenizer": settled.tokenizer,
        "notes": list(settled.notes),
        "options": options,
    }


def _as_text(value: object) -> object:
    if isinstance(value, tuple):
        return [one.decode() if isinstance(one, bytes) else one for one in value]
    return value


def _toml(content: dict[str, object]) -> str:
    from blackbox_proxy.remote.profiles.overlays import toml_text

    return toml_text(content).rstrip("\n")


def _summary(profile: Profile) -> str:
    said = profile.document.profile
    if profile.overlays:
        return f"measured at {profile.overlays[0].spot.base_url} for the profile {profile.name!r}"
    how = f"spoken to by the adapter {said.adapter}" if said.supported else f"not supported, since {said.reason}"
    return f"the profile {profile.name!r}, {how}"
