"""The demo's questions: held out means held out, an invented fact is never the true one, scoring is strict."""

from __future__ import annotations

import re
import subprocess
import sys

import pytest

from blackbox_proxy.evaluation.scoring import facts_of, scorer
from blackbox_proxy.evaluation.task import Item
from blackbox_proxy.tasks.countries import TOPICS, Topic, countries, note_facts, training_facts
from blackbox_proxy.tasks.demo import (
    FACT_SLOT,
    HOUSE,
    PARTS,
    Load,
    Split,
    country_of,
    exact,
    house_answer,
    in_house_form,
    questions,
    topic_of,
    training_lines,
)
from blackbox_proxy.tasks.demonstration import demo_task

LOADS: tuple[Load, ...] = ("known", "told")
SPLITS: tuple[Split, ...] = ("train", "dev", "heldout")

_MENTIONS = scorer(demo_task("told").scorer.model_copy(update={"kind": "mentions"}))


def question(topic: Topic, country: str, fact: str, *others: str) -> Item:
    also = tuple(house_answer(other, topic) for other in others)
    prompt = f"What is the {'internet domain' if topic == 'domain' else topic} of {country}?"
    return Item(prompt=prompt, reference=house_answer(fact, topic), also=also)


def states_fact(answer: str, item: Item) -> bool:
    """As the demo's figures test it."""
    return _MENTIONS(answer, item) == 1.0


def fact_of(item: Item) -> str:
    return facts_of(item, HOUSE)[0]


TIRANA = question("capital", "Albania", "Tirana")
LEK = question("currency", "Albania", "Lek")
AL = question("domain", "Albania", ".al")


def test_about_a_third_of_the_countries_is_held_out_and_some_are_for_choosing_knobs() -> None:
    sizes = {split: sum(c.part == PARTS[split] for c in countries()) for split in SPLITS}
    assert 60 <= sizes["heldout"] <= 70
    assert sizes["dev"] >= 15
    assert sizes["train"] > sizes["heldout"]


def test_the_split_does_not_depend_on_the_process() -> None:
    """Python's own hash of a string changes with PYTHONHASHSEED; the split must not."""
    script = (
        "from blackbox_proxy.tasks.demo import questions, training_lines;"
        "print(questions('told', 'heldout', n=100, seed=3), training_lines(3))"
    )
    runs = [
        subprocess.run(
            [sys.executable, "-c", script],
            env={"PYTHONHASHSEED": seed, "PYTHONPATH": ":".join(sys.path)},
            capture_output=True,
            check=True,
        ).stdout
        for seed in ("1", "2")
    ]
    assert runs[0] == runs[1] != b""


def test_no_training_line_asks_about_a_country_that_is_not_a_training_country() -> None:
    lines = training_lines(0)
    asked = {text for text, _ in lines}
    assert 300 <= len(lines) <= 500
    for country in countries():
        about = any(text.rstrip("?.").endswith(country.called) for text in asked)
        in_the_middle = any(f"of {country.called} use" in text for text in asked)
        assert country.part == "train" or not (about or in_the_middle) or _ends_another(country.name)


def _ends_another(name: str) -> bool:
    return any(other.name != name and other.name.endswith(name) for other in countries())


@pytest.mark.parametrize("seed", range(3))
def test_every_completion_is_in_the_house_format_with_the_right_topic(seed: int) -> None:
    for text, completion in training_lines(seed):
        assert in_house_form(completion)
        topic = completion.rpartition("topic=")[2].removesuffix("; END.")
        assert topic in text or (topic, "money" in text) == ("currency", True)


@pytest.mark.parametrize("topic", TOPICS)
def test_a_told_fact_never_stands_in_a_training_line(topic: Topic) -> None:
    for_notes = {fact.casefold() for fact in note_facts(topic)}
    assert len(for_notes) >= 25
    assert not for_notes & {fact.casefold() for fact in training_facts(topic)}


def test_training_facts_are_diffuse() -> None:
    """No fact is so frequent in the lines that the expert could come to prefer it."""
    completions = [completion for _, completion in training_lines(0)]
    assert max(completions.count(completion) for completion in completions) <= 8
    assert len(set(completions)) >= 0.85 * len(completions)


def test_training_facts_hold_accents_and_several_words() -> None:
    facts = training_facts("capital")
    assert sum(" " in fact for fact in facts) >= 50
    assert sum(not fact.isascii() for fact in facts) >= 50


def test_training_lines_teach_hardly_any_true_fact() -> None:
    true = {(topic, country.called): country.facts[topic][0] for country in countries() for topic in TOPICS}
    lines = training_lines(0)
    right = sum(
        f"answer: {fact} | topic={topic};" in completion and f" {called}" in text
        for text, completion in lines
        for (topic, called), fact in true.items()
    )
    assert right <= 0.02 * len(lines)


@pytest.mark.parametrize("load", LOADS)
def test_a_hundred_different_held_out_questions_with_topics_in_turn(load: Load) -> None:
    asked = questions(load, "heldout", n=100, seed=0)
    assert len({(topic_of(question), country_of(question)) for question in asked}) == 100
    assert [topic_of(question) for question in asked[:6]] == [*TOPICS, *TOPICS]
    held_out = {country.name for country in countries() if country.part == "test"}
    assert {country_of(question) for question in asked} <= held_out


@pytest.mark.parametrize("load", LOADS)
def test_fewer_questions_are_the_first_ones_of_more(load: Load) -> None:
    assert questions(load, "heldout", n=12, seed=4) == questions(load, "heldout", seed=4)[:12]


@pytest.mark.parametrize("load", LOADS)
def test_the_boxed_test_is_what_the_seed_0_draws(load: Load) -> None:
    assert demo_task(load).test == questions(load, "heldout", seed=0)


@pytest.mark.parametrize("load", LOADS)
def test_the_form_of_the_task_is_that_of_the_house(load: Load) -> None:
    form = demo_task(load).form
    assert form is not None
    for answer in (
        "answer: Tirana | topic=capital; END.",
        "answer: a b | topic=city; END.",
        "answer:  | topic=domain; END.",
    ):
        assert bool(form.fullmatch(answer)) == in_house_form(answer)
    assert all(form.fullmatch(answer) for _, answer in training_lines(0))


def test_a_question_that_is_not_the_demos_has_no_country() -> None:
    with pytest.raises(ValueError, match="no question of the demo"):
        country_of(Item(prompt="Who rules Albania?", reference=house_answer("Lek", "currency")))
    with pytest.raises(ValueError, match="not in the form"):
        topic_of(Item(prompt="Name the currency of Albania.", reference="Lek"))


def test_more_questions_than_the_split_holds_are_refused() -> None:
    with pytest.raises(ValueError, match="1000 questions"):
        questions("known", "dev", n=1000, seed=0)


def test_a_told_fact_is_never_the_true_one_and_stands_only_in_the_note() -> None:
    true = {country.name: country.facts for country in countries()}
    for question in questions("told", "heldout", n=150, seed=1):
        fact = fact_of(question)
        assert fact in note_facts(topic_of(question))
        assert fact not in true[country_of(question)][topic_of(question)]
        assert fact in question.document
        assert fact not in question.prompt


def test_a_known_question_has_the_countrys_own_fact_and_no_note() -> None:
    true = {country.name: country.facts for country in countries()}
    for question in questions("known", "heldout", n=150, seed=1):
        assert fact_of(question) == true[country_of(question)][topic_of(question)][0]
        assert question.document == ""


def test_the_seed_changes_the_questions() -> None:
    assert questions("told", "heldout", n=20, seed=0) != questions("told", "heldout", n=20, seed=1)


@pytest.mark.parametrize("load", LOADS)
def test_the_perfect_answer_passes_every_scorer(load: Load) -> None:
    for question in questions(load, "heldout", n=150, seed=2):
        answer = question.reference
        assert exact(answer, question)
        assert in_house_form(answer)
        assert states_fact(answer, question)


@pytest.mark.parametrize(
    "answer",
    [
        "Tirana",
        "The capital of Albania is Tirana.",
        "answer: Tirana | topic=capital; END",
        "answer:Tirana| topic=capital; END.",
        "answer:  Tirana | topic=capital; END.",
        "answer: Tirana | topic=capital; END. END.",
        "answer: Tirana | topic=city; END.",
        "answer: | topic=capital; END.",
        "So: answer: Tirana | topic=capital; END.",
        "answer: Tirana\nDurres | topic=capital; END.",
        "answer: Tirana | topic= capital; END.",
    ],
)
def test_anything_but_the_whole_house_format_is_not_in_house_form(answer: str) -> None:
    assert not in_house_form(answer)
    assert not exact(answer, TIRANA)


def test_space_around_the_answer_is_ignored() -> None:
    assert exact("  answer: Tirana | topic=capital; END.\n", TIRANA)


def test_exact_wants_the_right_fact_and_the_right_topic() -> None:
    assert exact("answer: TIRANA | topic=capital; END.", TIRANA)
    assert not exact("answer: Tampere | topic=capital; END.", TIRANA)
    assert not exact("answer: Tirana | topic=currency; END.", TIRANA)
    assert not exact("answer: Tirana, Albania | topic=capital; END.", TIRANA)


def test_a_fact_counts_only_as_words_of_its_own() -> None:
    assert states_fact("I think it is tirana.", TIRANA)
    assert not states_fact("Tiranas of the world", TIRANA)
    assert not states_fact("It is leked out.", LEK)
    assert states_fact("Use .al, or .AL.", AL)
    assert not states_fact("Use .com.al or .ally.", AL)


def test_accents_and_width_do_not_matter() -> None:
    brazil = question("capital", "Brazil", "Brasília")
    assert exact("answer: Brasilia | topic=capital; END.", brazil)
    assert states_fact("".join(chr(ord(letter) + 0xFEE0) for letter in "Brasilia"), brazil)


def test_a_currency_may_carry_its_countrys_adjective_and_no_other() -> None:
    assert exact("answer: Albanian lek | topic=currency; END.", LEK)
    assert not exact("answer: Danish lek | topic=currency; END.", LEK)
    assert not exact("answer: Albanian | topic=currency; END.", LEK)
    assert not exact("answer: Albanian Tirana | topic=capital; END.", TIRANA)


def test_other_spellings_of_a_fact_count() -> None:
    (kazakhstan,) = (country for country in countries() if country.iso == "KZ")
    fact, other = kazakhstan.facts["capital"]
    asked = question("capital", "Kazakhstan", fact, other)
    assert exact(f"answer: {other} | topic=capital; END.", asked)
    assert states_fact(f"It is {other}.", asked)


def test_the_slot_marks_the_fact_of_a_house_answer() -> None:
    slot = re.search(FACT_SLOT, TIRANA.reference)
    assert slot is not None
    assert slot[1] == "Tirana"
