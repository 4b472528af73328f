"""Where in a JSON schema a keyword stands, as a JSON pointer: for whoever has to find what cannot be obeyed. Pure."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping
from itertools import islice
from typing import Any

Finder = Callable[[Mapping[str, Any]], str | None]
"""Which keyword of a subschema is meant; None where none is."""

_BY_NAME = ("properties", "patternProperties", "$defs", "definitions", "dependentSchemas", "dependencies")
_LISTED = ("allOf", "anyOf", "oneOf", "prefixItems", "items")
_SINGLE = (
    *("items", "additionalItems", "additionalProperties", "unevaluatedItems", "unevaluatedProperties", "contains"),
    *("propertyNames", "not", "if", "then", "else"),
)

MOST_LOOKED_AT = 20_000
"""Most subschemas that are looked at."""


def subschemas(schema: object) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Every schema in a schema, itself first, with its JSON pointer; what stands in an enum is none."""
    pending: list[tuple[str, object]] = [("", schema)]
    while pending:
        pointer, one = pending.pop()
        if isinstance(one, dict):
            yield pointer, one
            pending += reversed([*_parts(pointer, one)])


def _parts(pointer: str, schema: Mapping[str, Any]) -> Iterator[tuple[str, object]]:
    for keyword, value in schema.items():
        under = f"{pointer}/{_escaped(keyword)}"
        if keyword in _BY_NAME and isinstance(value, dict):
            yield from ((f"{under}/{_escaped(name)}", part) for name, part in value.items())
        elif keyword in _LISTED and isinstance(value, list):
            yield from ((f"{under}/{at}", part) for at, part in enumerate(value))
        elif keyword in _SINGLE:
            yield under, value


MOST_FIELDS, MOST_MULTIPLE = 2_000, 10_000
"""Most fields of all objects together, and the largest `multipleOf`, its digits as one number: they take time."""


def too_large(schema: object) -> str | None:
    """What of a schema is too much to compile, in words; None where nothing is."""
    fields = 0
    for pointer, one in subschemas(schema):
        named, multiple = one.get("properties"), one.get("multipleOf")
        fields += len(named) if isinstance(named, dict) else 0
        if fields > MOST_FIELDS:
            return f"more than {MOST_FIELDS:,} fields (at {pointer}/properties)"
        if isinstance(multiple, int | float) and _digits(multiple) > MOST_MULTIPLE:
            return f"multipleOf {multiple!r:.40} has too many digits (at {pointer}/multipleOf)"
    return None


def _digits(number: float) -> int:
    """The digits of a number, as one number without a point and without zeros at its end."""
    digits = re.sub(r"[^0-9]", "", f"{number!r}".partition("e")[0]).strip("0")
    return int(digits[:9] or "0")


def _escaped(name: str) -> str:
    return name.replace("~", "~0").replace("/", "~1")


def place_of(schema: object, finder: Finder) -> str | None:
    """The JSON pointer of the first keyword that is meant.

    >>> place_of({"items": {"not": {}}}, keyword("not"))
    '/items/not'
    """
    for pointer, one in islice(subschemas(schema), MOST_LOOKED_AT):
        if (name := finder(one)) is not None:
            return f"{pointer}/{_escaped(name)}"
    return None


def keyword(*names: str, value: object = None) -> Finder:
    """Finds the first of some keywords; value: one that has this value, or has it in its list, where it is not None."""

    def finder(schema: Mapping[str, Any]) -> str | None:
        for name in names:
            if name in schema and (value is None or schema[name] == value or _holds(schema[name], value)):
                return name
        return None

    return finder


def _holds(one: object, value: object) -> bool:
    return isinstance(one, list) and value in one


def elsewhere(schema: Mapping[str, Any]) -> str | None:
    """A reference to another document."""
    reference = schema.get("$ref")
    return "$ref" if isinstance(reference, str) and not reference.startswith("#") else None


def finder_of(words: str) -> Finder | None:
    """What llguidance's words about a schema name; None where they name no keyword."""
    if unknown := re.search(r"Unimplemented keys: (\[.*?\])", words):
        return keyword(*json.loads(unknown[1]))
    if form := re.search(r"Unknown format: (.+?)(?: while |$)", words):
        return keyword("format", value=form[1])
    if kind := re.search(r"Invalid type: (\S+)", words):
        return keyword("type", value=kind[1])
    if words.startswith("Resource "):
        return elsewhere
    for said, names in _SAID.items():
        if said in words:
            return keyword(*names)
    quoted = re.search(r"'([$\w]+)'", words)
    return keyword(quoted[1]) if quoted else None


_SAID: Mapping[str, tuple[str, ...]] = {
    "oneOf constraints": ("oneOf",),
    "patternProperty": ("patternProperties",),
    "min/maxProperties": ("minProperties", "maxProperties"),
}
