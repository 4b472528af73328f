"""Dates in a house form, part numbers with hyphens, and orders as JSON."""

from __future__ import annotations

import json
import random

MONTHS = (
    *("January", "February", "March", "April", "May", "June"),
    *("July", "August", "September", "October", "November", "December"),
)
NOTES = (
    *("The parcel left on {}.", "Meeting moved to {}.", "Signed by both sides, {}", "The lease ends on {}."),
    *("Inspection: {}, gate 4", "{}: the boiler was replaced.", "Please file this under {}.", "Born {} in Cork."),
    *("Warranty until {}", "The roof was last checked {}."),
)
KINDS = {
    "hex bolt": "HB",
    "wing nut": "WN",
    "flat washer": "FW",
    "wood screw": "WS",
    "eye bolt": "EB",
    "set screw": "GS",
    "threaded rod": "TR",
    "blind rivet": "RV",
}
MATERIALS = {"stainless": "SS", "brass": "BR", "zinc": "ZN", "nylon": "NY"}
PARTS = (
    "{kind}, {size}, {length} mm, {material}",
    "{material} {kind} {size} x {length}",
    "{kind} {size}x{length} {material}",
)
FIRST = ("Anna", "Jon", "Mira", "Tom", "Elsa", "Omar", "Ruth", "Ivan", "Lena", "Karl", "Nora", "Hugo", "Vera", "Paul")
LAST = ("Berg", "Quinn", "Santos", "Moore", "Novak", "Weiss", "Khan", "Lind", "Rossi", "Adler", "Byrne", "Falk")
TOWNS = ("Lund", "Cork", "Porto", "Graz", "Turin", "Ghent", "Brno", "Leeds", "Malmo", "Basel", "Lyon", "Gdansk")
ITEMS = ("kettle", "lamp", "chair", "blanket", "teapot", "mirror", "basket", "clock", "pillow", "vase", "stool", "rug")
COUNTS = {2: "two", 3: "three", 4: "four", 5: "five", 6: "six"}
ORDERS = (
    "{name} from {town} ordered {count} {item}s.",
    "Please send {count} {item}s to {name} in {town}.",
    "{town}: {name} wants {count} {item}s by Friday.",
    "{count} {item}s for {name}, {town}, paid in cash.",
    "Hello, this is {name} in {town}, I still need {count} {item}s.",
)


def date(source: random.Random) -> tuple[str, str]:
    """A note with a date in one of five spellings, and the date as `[07-JAN-1999]`."""
    day, month, year = source.randint(1, 28), source.randint(1, 12), source.randint(1961, 2031)
    name = MONTHS[month - 1]
    spelt = source.choice(
        (
            f"{day} {name} {year}",
            f"{name} {day}, {year}",
            f"{day}{_ordinal(day)} of {name} {year}",
            f"{year}-{month:02}-{day:02}",
            f"{day}.{month}.{year}",
        )
    )
    return source.choice(NOTES).format(spelt), f"[{day:02}-{name[:3].upper()}-{year}]"


def _ordinal(day: int) -> str:
    return "th" if day in (11, 12, 13) else {1: "st", 2: "nd", 3: "rd"}.get(day % 10, "th")


def part(source: random.Random) -> tuple[str, str]:
    """A description of a part, and its number, such as `HB-M8-040-SS`."""
    kind, material = source.choice([*KINDS]), source.choice([*MATERIALS])
    size, length = f"M{source.choice((3, 4, 5, 6, 8, 10, 12))}", 5 * source.randint(1, 30)
    described = source.choice(PARTS).format(kind=kind, size=size, length=length, material=material)
    return described, f"{KINDS[kind]}-{size}-{length:03}-{MATERIALS[material]}"


def record(source: random.Random) -> tuple[str, str]:
    """An order in a sentence, and as JSON."""
    name, town = f"{source.choice(FIRST)} {source.choice(LAST)}", source.choice(TOWNS)
    item, count = source.choice(ITEMS), source.choice([*COUNTS])
    spelt = source.choice((str(count), COUNTS[count]))
    text = source.choice(ORDERS).format(name=name, town=town, item=item, count=spelt)
    return text[0].upper() + text[1:], json.dumps({"name": name, "town": town, "item": item, "count": count})
