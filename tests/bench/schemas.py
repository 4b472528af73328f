"""Schemas that an answer is held to, each with a question that it is for: nested, enums, arrays, patterns, bounds."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

Schema = Mapping[str, Any]


def _object(**properties: Schema) -> Schema:
    return {
        "type": "object",
        "properties": properties,
        "required": [*properties],
        "additionalProperties": False,
    }


def _text(most: int = 30) -> Schema:
    return {"type": "string", "maxLength": most}


def _whole(low: int, high: int) -> Schema:
    return {"type": "integer", "minimum": low, "maximum": high}


def _one_of(*values: object) -> Schema:
    return {"enum": list(values)}


def _some(items: Schema, low: int, high: int) -> Schema:
    return {"type": "array", "items": items, "minItems": low, "maxItems": high}


SCHEMAS: Mapping[str, tuple[str, Schema]] = {
    "city": ("Describe Lima.", _object(city=_text(), country=_text(), population=_whole(0, 40_000_000))),
    "ticket": (
        "The printer on floor 3 is on fire. File a ticket.",
        _object(kind=_one_of("hardware", "software", "other"), urgent={"type": "boolean"}, summary=_text(60)),
    ),
    "date": (
        "When did the Second World War end?",
        _object(date={"type": "string", "pattern": "^[0-9]{4}-[0-9]{2}-[0-9]{2}$"}),
    ),
    "colours": ("Name three colours.", _some(_text(12), 3, 3)),
    "scores": (
        "Rate these films from 0 to 10: Alien, Jaws.",
        _some(_object(film=_text(20), score=_whole(0, 10)), 2, 2),
    ),
    "person": (
        "Ada Lovelace, born in London in 1815.",
        _object(name=_object(first=_text(15), last=_text(15)), born=_object(year=_whole(1000, 2100), place=_text(20))),
    ),
    "answer": ("Is a whale a fish?", _object(answer=_one_of("yes", "no"), why=_text(60))),
    "nullable": (
        "The customer gave no phone number. Her name is Eva.",
        _object(name=_text(20), phone={"anyOf": [{"type": "string", "pattern": "^[0-9 ]{3,12}$"}, {"type": "null"}]}),
    ),
    "choice": ("Pick a fruit: apple, pear or plum.", _one_of("apple", "pear", "plum")),
    "umlauts": ("Welche Stadt liegt in Bayern?", _object(stadt=_one_of("München", "Köln", "Zürich"))),
    "price": (
        "The book costs 12.50 euros.",
        _object(amount={"type": "number", "minimum": 0, "maximum": 1000}, currency=_one_of("EUR", "USD")),
    ),
    "point": ("A point at x = 3 and y = -4.", _object(x=_whole(-10, 10), y=_whole(-10, 10))),
    "tags": (
        "Tag this text: a recipe for onion soup.",
        _object(tags=_some(_one_of("food", "travel", "sport", "music"), 1, 2)),
    ),
    "steps": ("How do I make tea? Two steps.", _object(steps=_some(_text(40), 2, 2))),
    "part": (
        "Part number of the red valve, such as VA-1234-R.",
        _object(part={"type": "string", "pattern": "^[A-Z]{2}-[0-9]{4}-[A-Z]$"}),
    ),
    "order": (
        "Two pizzas and a cola for table 4.",
        _object(table=_whole(1, 20), items=_some(_object(name=_text(15), count=_whole(1, 9)), 1, 3)),
    ),
    "sentiment": (
        "I loved it!",
        _object(
            sentiment=_one_of("positive", "negative", "neutral"),
            certainty={"type": "number", "minimum": 0, "maximum": 1},
        ),
    ),
    "flags": ("It rains and it is cold.", _object(rain={"type": "boolean"}, warm={"type": "boolean"})),
    "either": ("Give a number or a word.", {"anyOf": [_object(number=_whole(0, 99)), _object(word=_text(10))]}),
    "nested": ("A box in a box.", _object(box=_object(box=_object(holds=_text(12)), colour=_one_of("red", "blue")))),
}
"""Questions and schemas by name."""
