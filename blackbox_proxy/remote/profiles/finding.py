"""Finds profiles: those that installed packages bring, and the user's own, which change or replace them.

A package brings profiles by an entry point of the group `blackbox_proxy.profiles` whose value names a package with
TOML files; ours comes in by the same door. A profile is called as its file is. The user's files are all read, so that
a mistake in one is told; of the packages' files only those that are asked for.
"""

from __future__ import annotations

import difflib
import importlib.resources
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, replace
from importlib.metadata import EntryPoint, entry_points
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import cast

from blackbox_proxy.errors import InputError
from blackbox_proxy.files import config_folder, decoded
from blackbox_proxy.remote.profiles.schema import (
    Document,
    ProfileOptions,
    ProfileSource,
    Raw,
    Spot,
    fitting,
    parsed,
    read,
    require_fit,
    whole,
)

GROUP = "blackbox_proxy.profiles"

SUFFIX = ".toml"


@dataclass(frozen=True, slots=True)
class Overlay:
    """What was measured at one address and model, and wins over what the profile says of any.

    extends: the profile under which it was measured.
    """

    spot: Spot
    adapter: str
    options: ProfileOptions
    where: str
    extends: str = ""


@dataclass(frozen=True, slots=True)
class Profile:
    """A provider as its files describe it. where: the files, the one that has the last word at the end.

    overlays: what was measured under this profile; elsewhere: under others, which holds for the same address and model.
    """

    name: str
    document: Document
    where: tuple[str, ...]
    overlays: tuple[Overlay, ...] = ()
    elsewhere: tuple[Overlay, ...] = ()


def user_folder(environ: Mapping[str, str], *, home: Path | None = None) -> Path:
    """Where the user's own profiles lie: `$XDG_CONFIG_HOME/blackbox-proxy/profiles`, or under ~/.config."""
    return config_folder(environ, home=home) / "profiles"


def load_profile(name: str, *, folder: Path, packages: Iterable[EntryPoint] | None = None) -> Profile:
    """The profile of this name. Raises InputError if there is none, or with file and line of a mistake."""
    return _Shelf(folder, packages).profile(name)


def all_profiles(*, folder: Path, packages: Iterable[EntryPoint] | None = None) -> tuple[Profile, ...]:
    """Every profile, by name. Raises InputError with file and line of a mistake."""
    shelf = _Shelf(folder, packages)
    return tuple(shelf.profile(name) for name in shelf.names())


def measured_at(*, folder: Path) -> tuple[tuple[str, Spot], ...]:
    """Where something was measured, each with the profile under which; the latest last. Raises InputError as above."""
    shelf = _Shelf(folder, ())
    return tuple(sorted(shelf.spots(), key=lambda one: one[1].measured))


def described(source: ProfileSource, *, folder: Path, packages: Iterable[EntryPoint] | None = None) -> Profile:
    """What one text describes, wherever it lies, if anywhere. Raises InputError with file and line of a mistake."""
    return _Shelf(folder, packages).described(source, name=Path(source.where).stem)


def opened(path: Path) -> ProfileSource:
    """A file's text. Raises InputError where it cannot be read."""
    try:
        return ProfileSource(str(path), _decoded(path.read_bytes(), str(path)))
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror}", hint="check its name and its permissions") from None


class _Shelf:
    """The user's files, all read, and where the packages' files are."""

    def __init__(self, folder: Path, packages: Iterable[EntryPoint] | None) -> None:
        self._shipped = _shipped(entry_points(group=GROUP) if packages is None else packages)
        user_files = [(path.stem, opened(path)) for path in _toml_files(folder)]
        content = [(name, source, read(source)) for name, source in user_files]
        self._user = {name: source for name, source, said in content if "overlay" not in said}
        self._overlays = [(source, said) for _, source, said in content if "overlay" in said]

    def names(self) -> tuple[str, ...]:
        """The names of all profiles, sorted."""
        return tuple(sorted({*self._shipped, *self._user}))

    def profile(self, name: str) -> Profile:
        """The profile of this name, the user's before a package's, with what was measured."""
        source = self._source(name, but=())
        if source is None:
            raise InputError(f"there is no profile {name!r}", hint=_suggestion(name, self.names()))
        profile = self._loaded(name, source)
        overlays = [_overlay(profile, at, said) for at, said in self._overlays if said["extends"] == name]
        others = [one for one in self._overlays if one[1]["extends"] != name and "adapter" in _table(one[1], "profile")]
        return replace(profile, overlays=tuple(overlays), elsewhere=tuple(_overlay(profile, *one) for one in others))

    def spots(self) -> list[tuple[str, Spot]]:
        """The places of all overlays, each with the profile that it extends."""
        return [(str(said["extends"]), cast(Spot, parsed(said, at).overlay)) for at, said in self._overlays]

    def described(self, source: ProfileSource, *, name: str) -> Profile:
        """What a file describes, which need not lie on the shelf."""
        said = read(source)
        if "overlay" not in said:
            return self._loaded(name, source)
        base = str(said["extends"])
        under = self._source(base, but=())
        if under is None:
            raise source.mistake(("extends",), f"there is no profile {base!r}", hint=_suggestion(base, self.names()))
        profile = self._loaded(base, under)
        return replace(profile, where=(*profile.where, source.where), overlays=(_overlay(profile, source, said),))

    def _loaded(self, name: str, source: ProfileSource) -> Profile:
        files = self._files(source)
        said: Raw = {}
        for file in files:
            said = _laid_over(said, read(file))
        return Profile(name, whole(said, source), tuple(file.where for file in files))

    def _files(self, source: ProfileSource) -> tuple[ProfileSource, ...]:
        """The file, behind those that it extends."""
        files = [source]
        while (base := read(files[0]).get("extends")) is not None:
            under = self._source(str(base), but=[file.where for file in files])
            if under is None:
                known = str(base) in self.names()
                complaint = "these files extend each other" if known else f"there is no profile {base!r}"
                raise files[0].mistake(("extends",), complaint, hint=_suggestion(str(base), self.names()))
            files.insert(0, under)
        return tuple(files)

    def _source(self, name: str, *, but: Collection[str]) -> ProfileSource | None:
        """The file of a profile, the user's before a package's; none of `but`, which are being read already."""
        source = self._user.get(name)
        if source is not None and source.where not in but:
            return source
        shipped = self._shipped.get(name)
        if shipped is None or str(shipped) in but:
            return None
        return ProfileSource(str(shipped), _decoded(shipped.read_bytes(), str(shipped)))


def _toml_files(folder: Path) -> list[Path]:
    return sorted(folder.glob(f"*{SUFFIX}")) if folder.is_dir() else []


def _decoded(content: bytes, where: str) -> str:
    try:
        return decoded(content)
    except UnicodeDecodeError as error:
        raise InputError(f"{where} is not UTF-8: {error.reason}", hint="save it as UTF-8") from None


def _shipped(packages: Iterable[EntryPoint]) -> dict[str, Traversable]:
    """The files of all packages by the names of their profiles; a name that two packages use is an error."""
    files: dict[str, Traversable] = {}
    # An editable install beside its own wheel lists the same entry twice: that is one package, not two.
    for entry in {entry.value: entry for entry in packages}.values():
        for file in _files_of(entry):
            name = file.name.removesuffix(SUFFIX)
            if name in files:
                raise InputError(
                    f"the profile name {name!r} is taken more than once: {files[name]} and {file}",
                    hint="uninstall one of these packages, or ask its author to rename the profile",
                )
            files[name] = file
    return files


def _files_of(entry: EntryPoint) -> list[Traversable]:
    try:
        folder = importlib.resources.files(entry.module)
        return sorted((file for file in folder.iterdir() if file.name.endswith(SUFFIX)), key=lambda file: file.name)
    except (ImportError, OSError) as error:
        raise InputError(
            f"the profiles {entry.name!r} cannot be read from {entry.value}: {error}",
            hint="reinstall the package that brings them, or uninstall it",
        ) from None


def _laid_over(under: Raw, over: Raw) -> Raw:
    """Tables field by field, everything else in place of what was there.

    Another adapter leaves behind the options that mean nothing to it.
    """
    before, now = _table(under, "profile").get("adapter"), _table(over, "profile").get("adapter")
    if isinstance(before, str) and isinstance(now, str):
        under = {**under, "options": fitting(_table(under, "options"), adapter=now, instead_of=before)}
    return _merged(under, {name: value for name, value in over.items() if name != "extends"})


def _merged(under: Raw, over: Raw) -> dict[str, object]:
    merged = {**under, **over}
    for name in under.keys() & over.keys():
        one, other = under[name], over[name]
        if isinstance(one, Mapping) and isinstance(other, Mapping):
            merged[name] = _merged(one, other)
    return merged


def _table(said: Raw, name: str) -> Raw:
    table = said.get(name, {})
    return table if isinstance(table, Mapping) else {}


def _overlay(base: Profile, source: ProfileSource, said: Raw) -> Overlay:
    """An overlay as it fits to the profile that it changes."""
    document = parsed(said, source)
    adapter = document.profile.adapter or base.document.profile.adapter
    if adapter is None:
        raise source.mistake(("extends",), f"the profile {base.name!r} is not supported")
    require_fit(document, source, adapter=adapter)
    return Overlay(cast(Spot, document.overlay), adapter, document.options, source.where, str(said["extends"]))


def _suggestion(name: str, names: Collection[str]) -> str:
    close = difflib.get_close_matches(name, names, n=1)
    meant = f"did you mean {close[0]!r}? " if close else ""
    return f"{meant}there are: {', '.join(names) or 'none; install blackbox-proxy itself'}"
