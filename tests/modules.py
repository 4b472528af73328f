"""Writes docs/modules.md: every module of the package and of the adapters with the first sentence of its docstring.

    python -m tests.modules FILE

A test compares the page with what would be written today.
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parent.parent
PACKAGES = (ROOT / "blackbox_proxy", ROOT / "adapters" / "blackbox_proxy_adapters")
HEAD = """# Where things are

Written by `make reference` from the modules' own docstrings. How the packages depend on each other is in
[the architecture](architecture.md).
"""


def summary(path: Path) -> str:
    """The first line of a module's docstring, whole where it goes on."""
    text = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""
    return " ".join(text.partition("\n\n")[0].split())


def sections() -> Iterator[str]:
    """A heading, what the package is for, and a row for each module, package by package."""
    for package in PACKAGES:
        for folder in sorted({path.parent for path in package.rglob("*.py")}):
            name = folder.relative_to(ROOT).as_posix()
            rows = [f"| `{path.name}` | {summary(path)} |" for path in sorted(folder.glob("[!_]*.py"))]
            about = summary(folder / "__init__.py")
            yield "\n".join((f"## {name}", "", about, "", "| module | |", "|---|---|", *rows) if rows else ())


def page() -> str:
    """The whole page as Markdown."""
    return HEAD + "\n" + "\n\n".join(filter(None, sections())) + "\n"


if __name__ == "__main__":
    Path(sys.argv[1]).write_text(page(), encoding="utf-8")
