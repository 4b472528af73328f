"""Writes the items of the demo's two tasks, facts of countries in the form of the house, and scores their answers.

    python -m blackbox_proxy.tasks.demo              # the folders demo-known and demo-told
    python -m blackbox_proxy.tasks.demo LINES.jsonl  # the lines that their adapter is trained on

`known`: the fact is the real one. `told`: it is invented and stands in a note that only the closed model is shown, so
that no pair can know it. Does not know models, prompts of an API, training, or how results are shown.
"""

from __future__ import annotations

import random
import re
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Literal, cast

from blackbox_proxy.evaluation.ceiling import in_form
from blackbox_proxy.evaluation.scoring import facts_of, folded
from blackbox_proxy.evaluation.task import Item
from blackbox_proxy.tasks.countries import TOPICS, Country, Topic, countries_of, note_facts, training_facts
from blackbox_proxy.tasks.items import Line, Part, write, write_training

Load = Literal["told", "known"]
"""Which of the two tasks: `demo-told` or `demo-known`."""

Split = Literal["train", "dev", "heldout"]
"""What the demo calls the parts, on its command line and in the seeds of its questions."""

PARTS: Mapping[Split, Part] = {"train": "train", "dev": "validation", "heldout": "test"}

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

HOUSE = re.compile(rf"answer: (?P<fact>[^\s|](?:[^|\n]*[^\s|])?) \| topic=(?P<topic>{'|'.join(TOPICS)}); END\.")


def house_answer(fact: str, topic: Topic) -> str:
    """A fact in the form of the house."""
    return HOUSE_FORMAT.format(fact=fact, topic=topic)


def questions(load: Load, split: Split, *, n: int | None = None, seed: int = 0) -> tuple[Item, ...]:
    """Different questions of a split, topics in turn; the same first ones for any number.

    Args:
        load: Which task they are of.
        split: Which countries they are about.
        n: How many; None for one about each topic of each country.
        seed: Draws order, wordings and invented facts.

    Raises:
        ValueError: The split has fewer.
    """
    rng = random.Random(f"questions {load} {split} {seed}")
    by_topic = [[(country, topic) for country in countries_of(PARTS[split])] for topic in TOPICS]
    for column in by_topic:
        rng.shuffle(column)
    asked = [pair for row in zip(*by_topic, strict=True) for pair in row]
    if n is not None and n > len(asked):
        raise ValueError(f"{n} questions asked for, the split {split} has {len(asked)}")
    make = _invented if load == "told" else _known
    return tuple(make(country, topic, rng) for country, topic in asked[:n])


def items(load: Load) -> dict[Part, list[Item]]:
    """All items of a task."""
    return {part: list(questions(load, split)) for split, part in PARTS.items()}


def training_lines(seed: int) -> list[Line]:
    """Question and answer in the house format, `seed` choosing wording and fact; facts are random.

    Every training country is asked about every topic, some twice; the topic word is right, the fact
    is not: what the expert learns is where a fact stands, and nothing about which.
    """
    rng = random.Random(f"lines {seed}")
    asked = [(country, topic) for country in countries_of("train") for topic in TOPICS]
    asked += rng.sample(asked, len(asked) // 4)
    rng.shuffle(asked)
    return [(_ask(country, topic, rng=rng), _random_answer(topic, rng=rng)) for country, topic in asked]


def exact(answer: str, item: Item) -> bool:
    """The house format with the right topic and nothing but the right fact in its place; the scorer of both tasks.

    A currency may carry its country's adjective ("Albanian lek"): leading words that begin with the
    same three letters as a word of the country's name do not count.
    """
    match = HOUSE.fullmatch(answer.strip())
    topic = topic_of(item)
    if match is None or match["topic"] != topic:
        return False
    fact = folded(match["fact"])
    right = {folded(one) for one in facts_of(item, HOUSE)}
    return fact in right or (topic == "currency" and _without_adjective(fact, item) in right)


def in_house_form(answer: str) -> bool:
    """Whether the whole answer is in the form of the house, whatever its fact; space around it does not count."""
    return in_form(answer, HOUSE)


def topic_of(item: Item) -> Topic:
    """What a question asks for, as its answer says."""
    match = HOUSE.fullmatch(item.reference)
    if match is None:
        raise ValueError(f"{item.reference!r} is not in the form of the house")
    return cast("Topic", match["topic"])


def country_of(item: Item) -> str:
    """The name of the country that a question is about.

    >>> reference = "answer: Dalasi | topic=currency; END."
    >>> country_of(Item(prompt="Which currency is used in the Gambia?", reference=reference))
    'Gambia'
    """
    for wording in WORDINGS[topic_of(item)]:
        before, _, after = wording.partition("{country}")
        if item.prompt.startswith(before) and item.prompt.endswith(after):
            return item.prompt[len(before) : -len(after)].removeprefix("the ")
    raise ValueError(f"{item.prompt!r} is no question of the demo")


def _known(country: Country, topic: Topic, rng: random.Random) -> Item:
    fact, *others = country.facts[topic]
    if topic == "currency":
        names = (fact, *others)
        others += [f"{prefix} {name}" for prefix in country.currency_prefixes for name in names]
    also = tuple(house_answer(other, topic) for other in others)
    return Item(prompt=_ask(country, topic, rng=rng), reference=house_answer(fact, topic), also=also)


def _invented(country: Country, topic: Topic, rng: random.Random) -> Item:
    true = {folded(fact) for fact in country.facts[topic]}
    fact = rng.choice([fact for fact in note_facts(topic) if folded(fact) not in true])
    note = NOTES[topic].format(country=country.called, fact=fact)
    return Item(prompt=_ask(country, topic, rng=rng), reference=house_answer(fact, topic), document=note)


def _ask(country: Country, topic: Topic, *, rng: random.Random) -> str:
    return rng.choice(WORDINGS[topic]).format(country=country.called)


def _random_answer(topic: Topic, *, rng: random.Random) -> str:
    return house_answer(rng.choice(training_facts(topic)), topic)


def _without_adjective(fact: str, item: Item) -> str:
    """A folded fact without the leading words that are the country's adjective."""
    words = fact.split()
    stems = {word[:3] for word in folded(country_of(item)).split() if len(word) >= 3}
    while len(words) > 1 and words[0][:3] in stems:
        words.pop(0)
    return " ".join(words)


def main() -> None:
    """Writes the training lines to the file that the argument names, or the items where there is none."""
    if sys.argv[1:]:
        write_training(Path(sys.argv[1]), training_lines(0))
        return
    for load in ("known", "told"):
        write(Path(__file__).parent / f"demo-{load}", items(load))


if __name__ == "__main__":
    main()
