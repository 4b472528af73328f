"""The documents that a user follows, in the order of the site: README first, then the pages under `Use`."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parent.parent
DOCS = ROOT / "docs"


def _used() -> list[Path]:
    """The pages under `Use` in mkdocs.yml."""
    site = (ROOT / "mkdocs.yml").read_text(encoding="utf-8")
    section = re.search(r"^  - Use:\n((?:      - .+\n)+)", site, flags=re.MULTILINE)
    assert section, "mkdocs.yml has no section Use"
    return [DOCS / name for name in re.findall(r"- (.+)", section[1])]


GUIDE = [ROOT / "README.md", *_used()]
TEXTS = {path: path.read_text(encoding="utf-8") for path in GUIDE}
TEXT = "\n".join(TEXTS.values())

PAGES = [
    *(ROOT / name for name in ("README.md", "ARCHITECTURE.md", "CONTRIBUTING.md", "adapters/README.md")),
    *sorted(path for path in DOCS.rglob("*.md") if not path.read_text(encoding="utf-8").startswith("<!--")),
]
"""Everything that is written for people, but for the changelog; not what only stands for one of these."""
