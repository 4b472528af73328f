"""Where a page is written: a new file, or an older page of ours, never over anything else."""

from __future__ import annotations

from pathlib import Path

from blackbox_proxy.errors import InputError
from blackbox_proxy.files import replace_text

GENERATOR = "blackbox-proxy"
_HEAD = f'<meta charset="utf-8"><meta name="generator" content="{GENERATOR} '
_LOOKED_AT = 300
"""Bytes at the beginning of a file in which the mark of our pages stands."""


def check_page_file(path: Path) -> None:
    """Raises InputError where no page may be written; asked before anything is paid for."""
    if not path.parent.is_dir():
        raise InputError(f"there is no folder {path.parent} for {path.name}", hint="make it, or name another file")
    if path.is_dir():
        raise InputError(f"{path} is a folder", hint="name a file, such as report.html")
    try:
        if path.exists() and not _is_ours(path):
            raise InputError(f"{path} is there already, and is no page of ours", hint="name another file")
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror}", hint="name another file") from error


def _is_ours(path: Path) -> bool:
    with path.open("rb") as file:
        return _HEAD.encode() in file.read(_LOOKED_AT)


def write_page(path: Path, page: str, *, quiet: bool) -> None:
    """Write a page in one step, and unless `quiet` say where it is."""
    from blackbox_proxy.cli import show

    check_page_file(path)
    replace_text(path, page)
    if not quiet:
        show.note(f"written: {path}")


def program() -> str:
    """What made a page."""
    from blackbox_proxy import __version__

    return f"{GENERATOR} {__version__}"
