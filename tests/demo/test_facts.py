"""The demo's questions: held out means held out, an invented fact is never the true one, scoring is strict."""

from __future__ import annotations

import re
import subprocess
import sys

import pytest

from blackbox_proxy.demo.facts import (
    FACT_SLOT,
    TOPICS,
    Load,
    Question,
    Split,
    Topic,
    countries,
    exact,
    house_answer,
    in_format,
    questions,
    states_fact,
    told_facts,
    training_facts,
    training_lines,
)

LOADS: tuple[Load, ...] = ("known", "told")
SPLITS: tuple[Split, ...] = ("train", "dev", "heldout")

TIRANA = Question("capital", "Albania", "What is the capital of Albania?", "", "Tirana")
LEK = Question("currency", "Albania", "What is the currency of Albania?", "", "Lek")
AL = Question("domain", "Albania", "What is the internet domain of Albania?", "", ".al")


def test_about_a_third_of_the_countries_is_held_out_and_some_are_for_choosing_knobs() -> None:
    sizes = {split: sum(c.split == split for c in countries()) for split in SPLITS}
    assert 60 <= sizes["heldout"] <= 70
    assert sizes["dev"] >= 15
    assert sizes["train"] > sizes["heldout"]


def test_the_split_does_not_depend_on_the_process() -> None:
    """Python's own hash of a string changes with PYTHONHASHSEED; the split must not."""
    script = (
        "from blackbox_proxy.demo.facts import questions, training_lines;"
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
        assert country.split == "train" or not (about or in_the_middle) or _ends_another(country.name)


def _ends_another(name: str) -> bool:
    return any(other.name != name and other.name.endswith(name) for other in countries())


@pytest.mark.parametrize("seed", range(3))
def test_every_completion_is_in_the_house_format_with_the_right_topic(seed: int) -> None:
    for text, completion in training_lines(seed):
        assert in_format(completion)
        topic = completion.rpartition("topic=")[2].removesuffix("; END.")
        assert topic in text or (topic, "money" in text) == ("currency", True)


@pytest.mark.parametrize("topic", TOPICS)
def test_a_told_fact_never_stands_in_a_training_line(topic: Topic) -> None:
    told = {fact.casefold() for fact in told_facts(topic)}
    assert len(told) >= 25
    assert not told & {fact.casefold() for fact in training_facts(topic)}


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
    assert len({(question.topic, question.country) for question in asked}) == 100
    assert [question.topic for question in asked[:6]] == [*TOPICS, *TOPICS]
    held_out = {country.name for country in countries() if country.split == "heldout"}
    assert {question.country for question in asked} <= held_out


def test_more_questions_than_the_split_holds_are_refused() -> None:
    with pytest.raises(ValueError, match="1000 questions"):
        questions("known", "dev", n=1000, seed=0)


def test_a_told_fact_is_never_the_true_one_and_stands_only_in_the_note() -> None:
    true = {country.name: country.facts for country in countries()}
    for question in questions("told", "heldout", n=150, seed=1):
        assert question.fact in told_facts(question.topic)
        assert question.fact not in true[question.country][question.topic]
        assert question.fact in question.note
        assert question.fact not in question.text


def test_a_known_question_has_the_countrys_own_fact_and_no_note() -> None:
    true = {country.name: country.facts for country in countries()}
    for question in questions("known", "heldout", n=150, seed=1):
        assert question.fact == true[question.country][question.topic][0]
        assert question.note == ""


def test_the_seed_changes_the_questions() -> None:
    assert questions("told", "heldout", n=20, seed=0) != questions("told", "heldout", n=20, seed=1)


@pytest.mark.parametrize("load", LOADS)
def test_the_perfect_answer_passes_every_scorer(load: Load) -> None:
    for question in questions(load, "heldout", n=150, seed=2):
        answer = house_answer(question)
        assert exact(answer, question)
        assert in_format(answer)
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
def test_anything_but_the_whole_house_format_is_not_in_format(answer: str) -> None:
    assert not in_format(answer)
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
    question = Question("capital", "Brazil", "", "", "Brasília")
    assert exact("answer: Brasilia | topic=capital; END.", question)
    assert states_fact("".join(chr(ord(letter) + 0xFEE0) for letter in "Brasilia"), question)


def test_a_currency_may_carry_its_countrys_adjective_and_no_other() -> None:
    assert exact("answer: Albanian lek | topic=currency; END.", LEK)
    assert not exact("answer: Danish lek | topic=currency; END.", LEK)
    assert not exact("answer: Albanian | topic=currency; END.", LEK)
    assert not exact("answer: Albanian Tirana | topic=capital; END.", TIRANA)


def test_other_spellings_of_a_fact_count() -> None:
    (kazakhstan,) = (country for country in countries() if country.iso == "KZ")
    fact, other = kazakhstan.facts["capital"]
    question = Question("capital", "Kazakhstan", "", "", fact, (other,))
    assert exact(f"answer: {other} | topic=capital; END.", question)
    assert states_fact(f"It is {other}.", question)


def test_the_slot_marks_the_fact_of_a_house_answer() -> None:
    found = re.search(FACT_SLOT, house_answer(TIRANA))
    assert found is not None
    assert found[1] == "Tirana"
