"""Writes a text file whole or not at all: whoever reads meanwhile sees the old one or the new one."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

from blackbox_proxy.errors import InputError


def replace_text(path: Path, text: str) -> None:
    """Put `text` into `path` as UTF-8 in one step, with the folders above it. Raises InputError where that fails."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=path.parent, prefix=".") as scratch:
            fresh = Path(scratch) / path.name
            with fresh.open("w", encoding="utf-8") as file:
                file.write(text)
                file.flush()
                os.fsync(file.fileno())
            fresh.replace(path)
    except OSError as error:
        raise InputError(f"cannot write {path}: {error.strerror}", hint="check the folder's permissions") from error
