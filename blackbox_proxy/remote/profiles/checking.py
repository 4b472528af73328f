"""Checks a profile file as a whole: its fields, and that its adapter takes the options.

Reads files and installed adapters; asks no API.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

from blackbox_proxy.errors import InputError
from blackbox_proxy.remote.profiles.finding import Profile, described, opened
from blackbox_proxy.remote.profiles.rules import laid_over
from blackbox_proxy.remote.profiles.schema import fitting
from blackbox_proxy.remote.registry import load_adapter


def check_file(path: Path, *, folder: Path) -> Profile:
    """The profile or the overlay in a file, wherever it lies. Raises InputError with what is wrong."""
    profile = described(opened(path), folder=folder)
    try:
        require_taken(profile)
    except InputError as error:
        raise InputError(f"{path}: {error.message}", hint=error.hint) from error
    return profile


def require_taken(profile: Profile) -> None:
    """Raises InputError unless the adapter is installed and can be built with every set of options."""
    for adapter, options in _builds(profile):
        load_adapter(adapter, **options)


def _builds(profile: Profile) -> Iterator[tuple[str, Mapping[str, object]]]:
    """An adapter and its options: for models without a rule, for each rule, and for each place that was measured."""
    document = profile.document
    adapter = document.profile.adapter
    if adapter is None:
        return
    plain = document.options.given()
    yield adapter, plain
    for rule in document.models:
        yield adapter, laid_over(plain, rule.options.given())
    for one in profile.overlays:
        yield one.adapter, laid_over(fitting(plain, adapter=one.adapter, instead_of=adapter), one.options.given())
