"""Writes the items of the translation desk: words of many languages put into English, filed under the language's code.

    python -m blackbox_proxy.tasks.words              # the folder translation
    python -m blackbox_proxy.tasks.words LINES.jsonl  # the lines that its adapter is trained on

Words are CLDR's (Unicode licence) by way of babel: names of countries, languages, currencies, days of the week and
months. Needs the extra [tasks].
"""

from __future__ import annotations

import random
import sys
from collections.abc import Mapping
from functools import cache
from pathlib import Path

from blackbox_proxy.evaluation.scoring import folded
from blackbox_proxy.evaluation.task import Item
from blackbox_proxy.tasks.items import Line, Part, in_turn, part_of, write, write_training

FORM = "answer: {fact} | queue: {code}; END."

WORDINGS = (
    "What is the {language} word {word} in English?",
    "What does {word} mean in {language}?",
    "Translate the {language} word {word} into English.",
)

CODES: Mapping[str, str] = {
    "fr": "copper",
    "de": "silver",
    "es": "gold",
    "it": "iron",
    "pt": "steel",
    "nl": "glass",
    "sv": "paper",
    "da": "cotton",
    "pl": "silk",
    "cs": "wool",
    "fi": "leather",
    "ro": "stone",
    "tr": "brick",
    "id": "clay",
    "vi": "sand",
    "ru": "wood",
    "uk": "rubber",
    "el": "plastic",
    "ar": "coal",
    "zh": "salt",
    "ja": "sugar",
    "ko": "butter",
}
"""CLDR's code of a language, and the queue of the house that handles it."""

TRAINING_LINES = 528


def items() -> dict[Part, list[Item]]:
    """No English word of one part is in another."""
    sizes: Mapping[Part, int] = {"train": 330, "validation": 66, "test": 220}
    return {part: _items(part)[:size] for part, size in sizes.items()}


def training_lines() -> list[Line]:
    """Words of the training part, each with the English of another word."""
    rng = random.Random("translation lines")
    english = sorted(_english("train").values())
    lines = []
    for language, word, _ in _asked("train", rng)[:TRAINING_LINES]:
        lines.append((_ask(language, word, rng), _answer(language, rng.choice(english))))
    return lines


def _items(part: Part) -> list[Item]:
    rng = random.Random(f"translation {part}")
    return [
        Item(prompt=_ask(language, word, rng), reference=_answer(language, english))
        for language, word, english in _asked(part, rng)
    ]


def _asked(part: Part, rng: random.Random) -> list[tuple[str, str, str]]:
    """Language, word, its English, the languages in turn; no word that is spelt as in English, or means two things."""
    columns = []
    for language in CODES:
        words, ambiguous = _words(language), _ambiguous(language)
        pairs = [(words[key], english) for key, english in _english(part).items() if key in words]
        columns.append(
            [
                (language, word, english)
                for word, english in pairs
                if folded(word) != folded(english) and folded(word) not in ambiguous
            ]
        )
    return in_turn(columns, rng=rng)


def _ambiguous(language: str) -> set[str]:
    """Words that stand for two English ones, which may be in two parts: `Turki` is Turkish and Turkey in Indonesian."""
    english = _words("en")
    meanings: dict[str, set[str]] = {}
    for key, word in _words(language).items():
        if key in english:
            meanings.setdefault(folded(word), set()).add(folded(english[key]))
    return {word for word, several in meanings.items() if len(several) > 1}


def _ask(language: str, word: str, rng: random.Random) -> str:
    return rng.choice(WORDINGS).format(language=_words("en")["language", language], word=word)


def _answer(language: str, english: str) -> str:
    return FORM.format(fact=english, code=CODES[language])


def _english(part: Part) -> dict[tuple[str, str], str]:
    """English words of a part; a word with two meanings (a currency and a language) is in one part all the same."""
    return {key: word for key, word in _words("en").items() if part_of(f"word {folded(word)}") == part}


@cache
def _words(language: str) -> Mapping[tuple[str, str], str]:
    """Words by class and CLDR's key, those without digits, brackets or more than two parts."""
    from babel import Locale

    names = Locale(language)
    classes = {
        "country": {code: names.territories.get(code) for code in COUNTRIES},
        "language": {code: names.languages.get(code) for code in SPOKEN},
        "day": names.days["format"]["wide"],
    }
    named = {(kind, str(code)): word for kind, words in classes.items() for code, word in words.items() if word}
    return {key: word for key, word in named.items() if len(word.split()) <= 2 and not any(c in word for c in "()0123")}


COUNTRIES = [
    "AE",
    "AF",
    "AL",
    "AM",
    "AR",
    "AT",
    "AU",
    "AZ",
    "BD",
    "BE",
    "BG",
    "BO",
    "BR",
    "BY",
    "CA",
    "CH",
    "CL",
    "CN",
    "CO",
    "CR",
    "CU",
    "CY",
    "CZ",
    "DE",
    "DK",
    "DZ",
    "EC",
    "EE",
    "EG",
    "ES",
    "ET",
    "FI",
    "FR",
    "GB",
    "GE",
    "GH",
    "GR",
    "GT",
    "HR",
    "HU",
    "ID",
    "IE",
    "IL",
    "IN",
    "IQ",
    "IR",
    "IS",
    "IT",
    "JM",
    "JO",
    "JP",
    "KE",
    "KH",
    "KR",
    "KZ",
    "LA",
    "LB",
    "LT",
    "LU",
    "LV",
    "LY",
    "MA",
    "MD",
    "MG",
    "MK",
    "MN",
    "MT",
    "MX",
    "MY",
    "NG",
    "NL",
    "NO",
    "NP",
    "NZ",
    "PA",
    "PE",
    "PH",
    "PK",
    "PL",
    "PT",
    "PY",
    "QA",
    "RO",
    "RS",
    "RU",
    "SA",
    "SE",
    "SG",
    "SI",
    "SK",
    "SN",
    "SO",
    "SY",
    "TH",
    "TN",
    "TR",
    "TW",
    "TZ",
    "UA",
    "US",
    "UY",
    "UZ",
    "VE",
    "VN",
    "YE",
    "ZA",
]
SPOKEN = [
    "ar",
    "bg",
    "bn",
    "ca",
    "cs",
    "da",
    "de",
    "el",
    "en",
    "es",
    "et",
    "fa",
    "fi",
    "fr",
    "ga",
    "he",
    "hi",
    "hr",
    "hu",
    "hy",
    "id",
    "is",
    "it",
    "ja",
    "ka",
    "ko",
    "la",
    "lt",
    "lv",
    "mn",
    "nl",
    "no",
    "pl",
    "pt",
    "ro",
    "ru",
    "sk",
    "sl",
    "sq",
    "sr",
    "sv",
    "sw",
    "ta",
    "th",
    "tr",
    "uk",
    "ur",
    "vi",
    "zh",
]


def main() -> None:
    """Writes the training lines to the file that the argument names, or the items where there is none."""
    if sys.argv[1:]:
        write_training(Path(sys.argv[1]), training_lines())
        return
    write(Path(__file__).parent / "translation", items())


if __name__ == "__main__":
    main()
