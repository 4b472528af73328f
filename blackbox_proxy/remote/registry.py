"""Finds adapters by name among the installed entry points of the group `blackbox_proxy.adapters`.

Built-in and third-party adapters come in by the same door. An entry point is a callable that takes options by keyword
and gives an `Adapter`. The module knows no adapter and no wire format.
"""

from __future__ import annotations

import difflib
import inspect
from collections.abc import Callable, Collection, Iterable, Mapping
from importlib.metadata import EntryPoint, entry_points
from typing import cast

from blackbox_proxy.errors import InputError
from blackbox_proxy.types import Adapter

GROUP = "blackbox_proxy.adapters"

Factory = Callable[..., Adapter]


def load_adapter(name: str, /, **options: object) -> Adapter:
    """The installed adapter called `name`, built with `options`. Raises `InputError` as the two steps below do."""
    return make_adapter(find_adapter(name, installed()), options)


def installed() -> tuple[EntryPoint, ...]:
    """The entry points of all adapters that are installed."""
    return tuple(entry_points(group=GROUP))


def adapter_names(entries: Iterable[EntryPoint]) -> tuple[str, ...]:
    """The names among these entry points, sorted."""
    return tuple(sorted({entry.name for entry in entries}))


def find_adapter(name: str, entries: Collection[EntryPoint]) -> EntryPoint:
    """The entry point called `name`. Raises `InputError` for a name that is unknown or taken twice."""
    # An editable install beside its own wheel lists the same entry twice: that is one adapter, not two.
    matches = {entry.value: entry for entry in entries if entry.name == name}
    if len(matches) > 1:
        owners = ", ".join(f"{entry.value} ({_owner(entry)})" for entry in matches.values())
        raise InputError(
            f"the adapter name {name!r} is taken more than once: {owners}",
            hint="uninstall one of these packages, or ask its author to rename the adapter",
        )
    if not matches:
        raise InputError(f"there is no adapter {name!r}", hint=_suggestion(name, adapter_names(entries)))
    return next(iter(matches.values()))


def make_adapter(entry: EntryPoint, options: Mapping[str, object]) -> Adapter:
    """An adapter from its entry point. Raises `InputError` if it cannot be imported or does not take an option."""
    factory = _load(entry)
    try:
        inspect.signature(factory).bind(**options)
    except TypeError as error:
        raise InputError(
            f"the adapter {entry.name!r} cannot be built with these options: {error}",
            hint=f"it takes {', '.join(inspect.signature(factory).parameters) or 'no options'}",
        ) from None
    return factory(**options)


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
