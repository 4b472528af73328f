"""How a benchmark writes its figures: to a file, and to standard output; with where they come from."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path


def commit() -> str:
    """The commit that is measured."""
    git = subprocess.run(["git", "rev-parse", "HEAD"], capture_output=True, text=True, check=False)  # noqa: S607 (git)
    return git.stdout.strip()


def write_document(out: Path, name: str, figures: Mapping[str, object]) -> None:
    """Write the figures of a benchmark, behind the commit, the date and the command. name: of its module here."""
    command = f"python -m tests.bench.{name} {' '.join(sys.argv[1:])}".strip()
    write_figures(out, {"commit": commit(), "date": time.strftime("%Y-%m-%d"), "command": command, **figures})


def write_figures(out: Path, figures: Mapping[str, object], *, indent: int = 1) -> None:
    """Write figures as they are."""
    out.parent.mkdir(parents=True, exist_ok=True)
    text = json.dumps(figures, indent=indent, ensure_ascii=False)
    out.write_text(text + "\n", encoding="utf-8")
    print(text)
