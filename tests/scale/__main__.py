"""Writes the tables of docs/scale.md anew: `python -m tests.scale docs/scale.md`."""

import sys
from pathlib import Path

from tests.scale.tables import rewritten

page = Path(sys.argv[1])
page.write_text(rewritten(page.read_text(encoding="utf-8")), encoding="utf-8")
