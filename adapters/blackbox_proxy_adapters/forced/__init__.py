"""Forced continuation: the answer so far is demanded by a JSON schema, and the reply's JSON is read as plain text.

`schema` writes the demand, `json_text` reads the bytes of JSON tokens, `reading` makes positions of plain text of them,
`echoing` those along the text itself.
The package knows no route and no provider.
"""

from __future__ import annotations

from .echoing import read_forced_echo, read_forced_text
from .reading import read_forced
from .schema import LONGEST, Structured, demand, demand_whole, frame_tokens

__all__ = [
    "LONGEST",
    "Structured",
    "demand",
    "demand_whole",
    "frame_tokens",
    "read_forced",
    "read_forced_echo",
    "read_forced_text",
]
