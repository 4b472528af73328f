"""Shows the examples of docstrings (`>>>`) as code on the site: an extension of griffe, which reads the docstrings."""

from __future__ import annotations

import re

import griffe

EXAMPLE = re.compile(r"(?m)^>>> .*(?:\n(?!\s*$).*)*")
"""From a prompt to the next empty line."""


class Examples(griffe.Extension):
    """Puts each example between fences."""

    def on_object(self, *, obj: griffe.Object, **_: object) -> None:
        if obj.docstring is not None:
            obj.docstring.value = EXAMPLE.sub(lambda found: f"```python\n{found[0]}\n```", obj.docstring.value)
