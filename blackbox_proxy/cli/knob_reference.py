"""Writes the reference of the knobs, one Markdown page, from `Steering`, which declares them.

`python -m blackbox_proxy.cli.knob_reference FILE` writes it; a test compares docs/knobs.md with what would be written.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Iterator
from dataclasses import Field, fields
from pathlib import Path
from typing import Any, Literal, get_args, get_origin, get_type_hints

from blackbox_proxy.knobs import FIXED
from blackbox_proxy.steering import Steering

HEAD = """# The knobs

Written by `make reference` from `Steering`, where each is declared once. A knob has one name everywhere:
`Steering(alpha=1.25)` in Python, `--alpha 1.25` on the command line, `{"steering": {"alpha": 1.25}}` in a request to
the gateway, `alpha = 1.25` below `[steering]` in a task and below `[models.NAME.steering]` in its file. What they do
to the distribution stands in [the method](method.md).

| knob | what it is for | may be | default |
|---|---|---|---|
"""

FOOT = f"""
Not set by a request: {", ".join(f"`{name}`" for name in sorted(FIXED))}, which belong to the connection or to the
shape of the reply.
"""


def page() -> str:
    """The whole reference as Markdown."""
    return HEAD + "".join(_rows()) + FOOT


def _rows() -> Iterator[str]:
    hints = get_type_hints(Steering)
    for knob in fields(Steering):
        cells = (f"`{knob.name}`", knob.metadata["help"], _values(knob, hints[knob.name]), _default(knob))
        yield "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |\n"


def _values(knob: Field[Any], hint: object) -> str:
    """What it may be, and the most that a request may ask for, where that is less."""
    within, most = knob.metadata["within"], knob.metadata["most"]
    if get_origin(hint) is Literal:
        return ", ".join(f"`{word}`" for word in get_args(hint))
    limit = f"; {most:g} at most in a request" if most < math.inf else ""
    return f"{within or ''}{limit}".removeprefix("; ")


def _default(knob: Field[Any]) -> str:
    unset = knob.metadata.get("unset")
    return str(unset) if unset else f"`{knob.default}`"


if __name__ == "__main__":
    Path(sys.argv[1]).write_text(page(), encoding="utf-8")
