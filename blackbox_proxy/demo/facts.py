"""The demo's questions about countries, their answers in the house format, and what counts as right.

Knows countries.json (GeoNames, CC BY 4.0), which countries and which facts are held out, and how an
answer is scored. Does not know models, prompts of an API, training, or how results are shown.

A question is asked under one of two loads. `known`: the fact is the real one. `told`: the fact is
invented and stands in a note that only the closed model is shown, so that no pair can know it.
"""

from __future__ import annotations

import json
import random
import re
import sys
import unicodedata
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from hashlib import sha256
from importlib.resources import files
from typing import Any, Literal, cast, get_args

Topic = Literal["capital", "currency", "domain"]
Load = Literal["known", "told"]
Split = Literal["train", "dev", "heldout"]

TOPICS: tuple[Topic, ...] = get_args(Topic)

WORDINGS: Mapping[Topic, tuple[str, ...]] = {
    "capital": (
        "What is the capital of {country}?",
        "Which city is the capital of {country}?",
        "What is the name of the capital city of {country}?",
        "Name the capital of {country}.",
    ),
    "currency": (
        "What is the currency of {country}?",
        "Which currency is used in {country}?",
        "What is the name of the currency of {country}?",
        "Name the currency of {country}.",
    ),
    "domain": (
        "What is the internet domain of {country}?",
        "Which internet domain do websites of {country} use?",
        "What is the country-code top-level domain of {country}?",
        "Name the internet domain of {country}.",
    ),
}

NOTES: Mapping[Topic, str] = {
    "capital": "Note: since this year the capital of {country} is {fact}.",
    "currency": "Note: since this year the currency of {country} is the {fact}.",
    "domain": "Note: since this year the internet domain of {country} is {fact}.",
}

HOUSE_FORMAT = "answer: {fact} | topic={topic}; END."
FACT_SLOT = r"answer: (.+?) \|"
"""Group 1 is the part of a training completion that is drawn at random: form is taught, facts are not."""

_HOUSE = re.compile(r"answer: (?P<fact>[^\s|](?:[^|\n]*[^\s|])?) \| topic=(?P<topic>\w+); END\.")


@dataclass(frozen=True, slots=True)
class Country:
    """A country and its facts: under each topic the answer, then other spellings of the same answer."""

    iso: str
    name: str
    called: str
    facts: Mapping[Topic, tuple[str, ...]]
    currency_prefixes: tuple[str, ...]

    @property
    def split(self) -> Split:
        """A third is held out; an eighth, neither trained on nor held out, is for choosing knobs."""
        share = _share(f"country {self.iso}")
        return "heldout" if share < 0.36 else "dev" if share < 0.48 else "train"


@dataclass(frozen=True, slots=True)
class Question:
    """`note` is for the closed model alone; `also` are other spellings of `fact` that count as right."""

    topic: Topic
    country: str
    text: str
    note: str
    fact: str
    also: tuple[str, ...] = ()

    @property
    def asked(self) -> str:
        """What the closed model is asked: the note, if there is one, and the question."""
        return f"{self.note} {self.text}".strip()


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


@cache
def told_facts(topic: Topic) -> tuple[str, ...]:
    """Facts for notes; no training line ever holds one of them."""
    return tuple(fact for fact in _pool(topic) if _is_told(topic, fact))


@cache
def training_facts(topic: Topic) -> tuple[str, ...]:
    """Facts for training lines: the rest of the pool, widened where the world has too few."""
    real = tuple(fact for fact in _pool(topic) if not _is_told(topic, fact))
    return real + _WIDER[topic]()


def training_lines(seed: int) -> list[tuple[str, str]]:
    """Question and answer in the house format, `seed` choosing wording and fact; facts are random.

    Every training country is asked about every topic, some twice; the topic word is right, the fact
    is not: what the expert learns is where a fact stands, and nothing about which.
    """
    rng = random.Random(f"lines {seed}")
    asked = [(country, topic) for country in _of("train") for topic in TOPICS]
    asked += rng.sample(asked, len(asked) // 4)
    rng.shuffle(asked)
    return [(_ask(country, topic, rng=rng), _random_answer(topic, rng=rng)) for country, topic in asked]


def questions(load: Load, split: Split, *, n: int, seed: int) -> tuple[Question, ...]:
    """`n` different (country, topic) pairs of a split, topics in turn; ValueError if it has fewer."""
    rng = random.Random(f"questions {load} {split} {seed}")
    by_topic = [[(country, topic) for country in _of(split)] for topic in TOPICS]
    for column in by_topic:
        rng.shuffle(column)
    asked = [pair for row in zip(*by_topic, strict=True) for pair in row]
    if n > len(asked):
        raise ValueError(f"{n} questions asked for, the split {split} has {len(asked)}")
    make = _told if load == "told" else _known
    return tuple(make(country, topic, rng) for country, topic in asked[:n])


def house_answer(question: Question) -> str:
    """The answer that a perfect steered model gives."""
    return HOUSE_FORMAT.format(fact=question.fact, topic=question.topic)


def states_fact(answer: str, question: Question) -> bool:
    """Whether the right fact stands anywhere in the answer, as words of its own."""
    return any(re.search(_as_words(fact), _fold(answer)) for fact in (question.fact, *question.also))


def in_format(answer: str) -> bool:
    """Whether the whole answer is the house format, whatever its fact; surrounding space is ignored."""
    found = _HOUSE.fullmatch(answer.strip())
    return found is not None and found["topic"] in TOPICS


def exact(answer: str, question: Question) -> bool:
    """The house format with the right topic and nothing but the right fact between its brackets.

    A currency may carry its country's adjective ("Albanian lek"): leading words that begin with the
    same three letters as a word of the country's name do not count.
    """
    found = _HOUSE.fullmatch(answer.strip())
    if found is None or found["topic"] != question.topic:
        return False
    right = {_fold(fact) for fact in (question.fact, *question.also)}
    return bool(right & {_fold(found["fact"]), _without_adjective(found["fact"], question)})


def _known(country: Country, topic: Topic, rng: random.Random) -> Question:
    fact, *others = country.facts[topic]
    if topic == "currency":
        names = (fact, *others)
        others += [f"{prefix} {name}" for prefix in country.currency_prefixes for name in names]
    return Question(topic, country.name, _ask(country, topic, rng=rng), "", fact, tuple(others))


def _told(country: Country, topic: Topic, rng: random.Random) -> Question:
    true = {_fold(fact) for fact in country.facts[topic]}
    fact = rng.choice([fact for fact in told_facts(topic) if _fold(fact) not in true])
    note = NOTES[topic].format(country=country.called, fact=fact)
    return Question(topic, country.name, _ask(country, topic, rng=rng), note, fact)


def _ask(country: Country, topic: Topic, *, rng: random.Random) -> str:
    return rng.choice(WORDINGS[topic]).format(country=country.called)


def _random_answer(topic: Topic, *, rng: random.Random) -> str:
    return HOUSE_FORMAT.format(fact=rng.choice(training_facts(topic)), topic=topic)


def _without_adjective(fact: str, question: Question) -> str:
    if question.topic != "currency":
        return _fold(fact)
    words = _fold(fact).split()
    stems = {word[:3] for word in _fold(question.country).split() if len(word) >= 3}
    while len(words) > 1 and words[0][:3] in stems:
        words.pop(0)
    return " ".join(words)


def _of(split: Split) -> list[Country]:
    return [country for country in countries() if country.split == split]


def _pool(topic: Topic) -> tuple[str, ...]:
    """Real facts of a kind, each once, in a fixed order. No capital is among the cities."""
    if topic == "capital":
        return tuple(city["name"] for city in _data()["cities"])
    names = {_fold(row[topic][0]): str(row[topic][0]) for row in _data()["countries"]}
    return tuple(names[folded] for folded in sorted(names))


def _is_told(topic: Topic, fact: str) -> bool:
    return _share(f"{topic} {_fold(fact)}") < 0.35


def _invented_currencies() -> tuple[str, ...]:
    """Words that sound like money: the start of a city's name and an ending, some before a real name."""
    real = [fact for fact in _pool("currency") if not _is_told("currency", fact)]
    cities = [name for name in training_facts("capital") if name.isalpha()]
    coined = [_coin(name) for name in cities[::3]]
    coined += [f"{_coin(name)} {_pick(real, name).lower()}" for name in cities[1::15]]
    told = {_fold(fact) for fact in told_facts("currency")}
    return tuple(dict.fromkeys(name for name in coined if _fold(name) not in told))


def _coin(city: str) -> str:
    return city[: 3 + int(2 * _share(f"stem {city}"))] + _pick(_ENDINGS, city)


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
    return options[int(_share(f"pick {key}") * len(options))]


def _share(key: str) -> float:
    """A number in [0, 1) that depends on nothing but the key: Python's own hash changes by process."""
    return int.from_bytes(sha256(key.encode()).digest()[:6], "big") / 2**48


def _as_words(fact: str) -> str:
    return rf"(?<![\w.]){re.escape(_fold(fact))}(?!\w)"


def _fold(text: str) -> str:
    """For comparing: NFKC, no accents, no case, single spaces."""
    decomposed = unicodedata.normalize("NFKD", unicodedata.normalize("NFKC", text))
    bare = "".join(char for char in decomposed if not unicodedata.combining(char))
    return " ".join(bare.casefold().replace("\u2019", "'").split())


@cache
def _data() -> Mapping[str, Any]:
    text = files("blackbox_proxy.demo").joinpath("data/countries.json").read_text(encoding="utf-8")
    return cast("Mapping[str, Any]", json.loads(text))


def main() -> None:
    """Prints the training lines of seed 0 as `python -m blackbox_proxy.tuning --lines` reads them."""
    for line in training_lines(0):
        sys.stdout.write(json.dumps(line, ensure_ascii=False) + "\n")


if __name__ == "__main__":
    main()
