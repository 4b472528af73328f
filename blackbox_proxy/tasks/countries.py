"""Countries: their capitals, currencies and internet domains, and invented facts of the same kinds.

Knows countries.json (GeoNames, CC BY 4.0; `geonames` writes it), which countries and which facts are held out. Does not
know how anything is asked, nor what counts as right.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any, Literal, cast, get_args

from blackbox_proxy.evaluation.scoring import folded
from blackbox_proxy.tasks.items import Part, part_of, share

Topic = Literal["capital", "currency", "domain"]
TOPICS: tuple[Topic, ...] = get_args(Topic)


@dataclass(frozen=True, slots=True)
class Country:
    """A country and its facts.

    Attributes:
        iso: Two-letter code.
        name: English name.
        called: The name as a sentence has it, with the article where there is one.
        facts: Under each topic the answer, then other spellings of the same answer.
        currency_prefixes: Words that may stand before the name of its currency.
    """

    iso: str
    name: str
    called: str
    facts: Mapping[Topic, tuple[str, ...]]
    currency_prefixes: tuple[str, ...]

    @property
    def part(self) -> Part:
        """A third is held out for the test; an eighth, neither trained on nor tested, is for choosing knobs."""
        return part_of(f"country {self.iso}")


@cache
def countries() -> tuple[Country, ...]:
    """All countries of countries.json, by ISO code."""
    return tuple(
        Country(
            iso=row["iso"],
            name=row["name"],
            called=row["called"],
            facts={topic: tuple(row[topic]) for topic in TOPICS},
            currency_prefixes=tuple(row["currency_prefixes"]),
        )
        for row in _data()["countries"]
    )


def countries_of(part: Part) -> list[Country]:
    """The countries of a part."""
    return [country for country in countries() if country.part == part]


@cache
def note_facts(topic: Topic) -> tuple[str, ...]:
    """Facts for notes; no training line ever holds one of them."""
    return tuple(fact for fact in _pool(topic) if _is_for_notes(topic, fact))


@cache
def training_facts(topic: Topic) -> tuple[str, ...]:
    """Facts for training lines: the rest of the pool, widened where the world has too few."""
    real = tuple(fact for fact in _pool(topic) if not _is_for_notes(topic, fact))
    return real + _WIDER[topic]()


@cache
def all_facts(topic: Topic) -> tuple[str, ...]:
    """Both, each once."""
    return tuple(dict.fromkeys((*note_facts(topic), *training_facts(topic))))


def _pool(topic: Topic) -> tuple[str, ...]:
    """Real facts of a kind, each once, in a fixed order. No capital is among the cities."""
    if topic == "capital":
        return tuple(city["name"] for city in _data()["cities"])
    names = {folded(row[topic][0]): str(row[topic][0]) for row in _data()["countries"]}
    return tuple(names[key] for key in sorted(names))


def _is_for_notes(topic: Topic, fact: str) -> bool:
    return share(f"{topic} {folded(fact)}") < 0.35


def _invented_currencies() -> tuple[str, ...]:
    """Words that sound like money: the start of a city's name and an ending, some before a real name."""
    real = [fact for fact in _pool("currency") if not _is_for_notes("currency", fact)]
    cities = [name for name in training_facts("capital") if name.isalpha()]
    coined = [_coin(name) for name in cities[::3]]
    coined += [f"{_coin(name)} {_pick(real, name).lower()}" for name in cities[1::15]]
    for_notes = {folded(fact) for fact in note_facts("currency")}
    return tuple(dict.fromkeys(name for name in coined if folded(name) not in for_notes))


def _coin(city: str) -> str:
    return f"{stem(city)}{_pick(_ENDINGS, city)}"


def stem(town: str) -> str:
    """The first three or four letters of a town's name: the start of an invented name."""
    return town[: 3 + int(2 * share(f"stem {town}"))]


def _invented_domains() -> tuple[str, ...]:
    letters = "abcdefghijklmnopqrstuvwxyz"
    real = set(_pool("domain"))
    return tuple(domain for one in letters for two in letters if (domain := f".{one}{two}") not in real)


_ENDINGS = ("a", "ar", "ek", "in", "ira", "o", "ol", "ong", "und")
_WIDER: Mapping[Topic, Callable[[], tuple[str, ...]]] = {
    "capital": tuple,
    "currency": _invented_currencies,
    "domain": _invented_domains,
}


def _pick(options: Sequence[str], key: str) -> str:
    return options[int(share(f"pick {key}") * len(options))]


@cache
def _data() -> Mapping[str, Any]:
    text = (files("blackbox_proxy.tasks") / "data" / "countries.json").read_text(encoding="utf-8")
    return cast("Mapping[str, Any]", json.loads(text))
