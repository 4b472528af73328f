r"""The demand: a JSON schema whose string must begin with the answer so far.

    pattern   one property, whose pattern is the answer so far and anything behind it
    spelt     the same, of the string as JSON spells it; llama.cpp's server reads patterns so
    const     two properties: a constant that is the answer so far, and a free string; the border of two strings stands
              between them

A pattern is written with what ECMA's, Rust's and llama.cpp's regular expressions read alike: `.` and two escapes stand
for any character, since llama.cpp accepts any string, with a warning in its log, where a pattern holds `\s` in a class
or `\u`. ECMA's `.` leaves out U+2028 and U+2029, which then cannot be written behind the answer so far.

llama.cpp's server holds a pattern against the JSON itself. By `pattern` it would write quotes, backslashes and line
ends as they are, and then fail to read that (status 500); by `spelt` it writes escapes.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Literal

from blackbox_proxy_adapters.demands import NAME, schema_fields

Structured = Literal["pattern", "spelt", "const", "none"]
"""How an endpoint's structured output can demand a beginning, with log-probs; `none` where it cannot."""

LONGEST = 100_000
"""Most bytes of an answer so far that are demanded: half of what llguidance compiles. It takes 200,000 characters and
refuses 400,000; llama.cpp's server takes these too."""

ANSWER = NAME
"""The property that holds the answer."""

BEGUN = "begun"
"""The property that holds the answer so far, where the rest has one of its own."""

_SPECIAL = re.compile(r"[\\^$.*+?()\[\]{}|]")
_ANY = r"(.|\n|\r)*"
_ANY_SPELT = r"""([^"\\\x7F\x00-\x1F]|\\(["\\/bfnrt]|u[0-9a-fA-F]{4}))*"""
_FRAME = 24
"""Tokens of the braces and names around the answer, also where a model spells them letter by letter."""


def demand(text: str, structured: Structured, *, responses: bool) -> dict[str, object]:
    """The fields of a request that demand `text` at the beginning of the answer.

    Args:
        text: The answer so far.
        structured: How it is demanded.
        responses: Whether the route is /responses.
    """
    return schema_fields(_schema(text, structured), strict=True, responses=responses)


def demand_whole(text: str, *, responses: bool) -> dict[str, object]:
    """The fields of a request that demand `text` and nothing behind it. Arguments as in `demand`."""
    constant = {"type": "string", "const": text}
    return schema_fields(_object({ANSWER: constant}), strict=True, responses=responses)


def frame_tokens(text: bytes) -> int:
    """A guess, rather too large, of how many tokens stand around the answer, and for its escapes."""
    return _FRAME + len(spelt(text)) - len(text)


def spelt(text: bytes) -> bytes:
    """The text inside a JSON string, with no more escapes than it needs."""
    return json.dumps(text.decode("utf-8"), ensure_ascii=False)[1:-1].encode()


def _schema(text: str, structured: Structured) -> Mapping[str, object]:
    begun: dict[str, object] = {BEGUN: {"type": "string", "const": text}} if structured == "const" else {}
    answer = {"type": "string"} if begun else {"type": "string", "pattern": _pattern(text, structured)}
    return _object({**begun, ANSWER: answer})


def _object(properties: Mapping[str, object]) -> Mapping[str, object]:
    return {"type": "object", "properties": properties, "required": list(properties), "additionalProperties": False}


def _pattern(text: str, structured: Structured) -> str:
    if structured == "spelt":
        return f"^{_escaped(spelt(text.encode()).decode())}{_ANY_SPELT}$"
    return f"^{_escaped(text)}{_ANY}$"


def _escaped(text: str) -> str:
    return _SPECIAL.sub(lambda match: f"\\{match[0]}", text)
