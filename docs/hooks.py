"""Lets mkdocs show files that stand outside of docs/, with their links led into the site."""

from __future__ import annotations

import re
from pathlib import Path

from mkdocs.structure.pages import Page

ROOT = Path(__file__).parent.parent
PAGES = {
    "index.md": "README.md",
    "architecture.md": "ARCHITECTURE.md",
    "changelog.md": "CHANGELOG.md",
    "contributing.md": "CONTRIBUTING.md",
    "adapters.md": "adapters/README.md",
}
"""Pages of the site by the file that they are."""

NOTEBOOKS = "notebooks/executed"


def on_page_markdown(markdown: str, *, page: Page, **_: object) -> str:
    """The text of a page: that of the file that it stands for, or its own."""
    source = PAGES.get(page.file.src_uri)
    if source is None:
        return markdown
    return led(ROOT.joinpath(source).read_text(encoding="utf-8"))


def led(text: str) -> str:
    """A file's text with the links that its place asks for in the site."""
    for page, file in PAGES.items():
        text = re.sub(rf"\]\((?:\.\./)*{re.escape(file)}(#[^)]*)?\)", rf"]({page}\1)", text)
    text = text.replace(f"]({NOTEBOOKS}/", "](notebooks/").replace("](docs/measurements)", "](measurements/index.md)")
    return text.replace("](docs/", "](")
