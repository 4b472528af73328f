"""Finds adapters by name among the installed entry points of the group `blackbox_proxy.adapters`.

Built-in and third-party adapters come in by the same door. An entry point is a callable that takes options by keyword
and gives an `Adapter`. The module knows no adapter and no wire format.
"""

from __future__ import annotations

import difflib
import inspect
from collections.abc import Callable, Iterable
from importlib.metadata import EntryPoint, entry_points
from typing import cast

from blackbox_proxy.errors import InputError
from blackbox_proxy.types import Adapter

GROUP = "blackbox_proxy.adapters"

Factory = Callable[..., Adapter]


def load_adapter(name: str, /, *, found: Iterable[EntryPoint] | None = None, **options: object) -> Adapter:
    """The adapter called `name`, built with `options`.

    found: the entry points to choose from; None for the installed ones. Raises `InputError` for a name that is unknown
    or taken twice, for an adapter that cannot be imported, and for an option that it does not take.
    """
    entry = _find(name, tuple(entry_points(group=GROUP) if found is None else found))
    factory = _load(entry)
    try:
        inspect.signature(factory).bind(**options)
    except TypeError as error:
        raise InputError(
            f"the adapter {name!r} cannot be built with these options: {error}",
            hint=f"it takes {', '.join(inspect.signature(factory).parameters) or 'no options'}",
        ) from None
    return factory(**options)


def adapter_names(found: Iterable[EntryPoint] | None = None) -> tuple[str, ...]:
    """The names of all adapters, sorted."""
    return tuple(sorted({entry.name for entry in (entry_points(group=GROUP) if found is None else found)}))


def _find(name: str, found: tuple[EntryPoint, ...]) -> EntryPoint:
    # An editable install beside its own wheel lists the same entry twice: that is one adapter, not two.
    matches = {entry.value: entry for entry in found if entry.name == name}
    if len(matches) > 1:
        owners = ", ".join(f"{entry.value} ({_owner(entry)})" for entry in matches.values())
        raise InputError(
            f"the adapter name {name!r} is taken more than once: {owners}",
            hint="uninstall one of these packages, or ask its author to rename the adapter",
        )
    if not matches:
        raise InputError(f"there is no adapter {name!r}", hint=_suggestion(name, adapter_names(found)))
    return next(iter(matches.values()))


def _suggestion(name: str, names: tuple[str, ...]) -> str:
    if not names:
        return "none is installed; install blackbox-proxy itself (`pip install -e .` in a checkout)"
    close = difflib.get_close_matches(name, names, n=1)
    meant = f"did you mean {close[0]!r}? " if close else ""
    return f"{meant}installed are: {', '.join(names)}"


def _owner(entry: EntryPoint) -> str:
    return entry.dist.name if entry.dist is not None else "unknown package"


def _load(entry: EntryPoint) -> Factory:
    try:
        loaded: object = entry.load()
    except (ImportError, AttributeError) as error:
        raise InputError(
            f"the adapter {entry.name!r} of {_owner(entry)} cannot be imported: {error}",
            hint="reinstall that package, or uninstall it",
        ) from error
    if not callable(loaded):
        raise InputError(
            f"the adapter {entry.name!r} of {_owner(entry)} is a {type(loaded).__name__}, not a callable",
            hint=f"its entry point must name a class or a function that gives an adapter, not {entry.value}",
        )
    return cast(Factory, loaded)
