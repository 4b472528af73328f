"""Steps under a constraint against enumeration: what may follow is looked up in a list of all answers, slowly."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from blackbox_proxy.constraints import Constraint, JsonSchema, OneOf, Regex
from blackbox_proxy.core.alignment.vocabulary import Vocabulary
from blackbox_proxy.core.decoding.given import Given
from blackbox_proxy.core.decoding.sources import OffsetTable
from blackbox_proxy.errors import InputError, ReplyError
from blackbox_proxy.run.steerer import Steerer, steer
from blackbox_proxy.steering import Event, Steering, Who
from blackbox_proxy.testing import ToyApi, ToyPair
from blackbox_proxy.types import Origin, PairPrompt, Prompt, Step, TokenPath
from tests.core.toys import TOY, toy_api, toy_pair

PROMPT = Prompt(text="ab")
WHOLE = Vocabulary([b"a", b"b", b" ", "é".encode(), b"</s>"], ends=[4])
"""Tokens of which none begins another: the offset of a string is that of one token."""

VOCABULARIES: Mapping[Event, Vocabulary] = {"bytes": WHOLE, "ids": TOY}

words = st.lists(st.sampled_from(["a", "b", " ", "é"]), min_size=1, max_size=4).map("".join)
word_lists = st.lists(words, min_size=1, max_size=4, unique=True)
events: st.SearchStrategy[Event] = st.sampled_from(["bytes", "ids"])
drafters: st.SearchStrategy[Who] = st.sampled_from(["api", "pair_prefixes", "pair_echo", "auto"])
alphas = st.sampled_from([0.0, 0.5, 1.0, 2.0])
seeds = st.integers(0, 2**16)


@dataclass(frozen=True)
class Language:
    """A constraint, and all of its answers."""

    constraint: Constraint
    answers: tuple[bytes, ...]

    def begins(self, text: bytes) -> bool:
        return any(answer.startswith(text) for answer in self.answers)

    def is_over(self, text: bytes) -> bool:
        return text in self.answers and not any(a != text and a.startswith(text) for a in self.answers)


def language(constraint: Constraint, answers: Iterable[str]) -> Language:
    return Language(constraint, tuple(dict.fromkeys(answer.encode() for answer in answers)))


def of_regex(first: Sequence[str], second: Sequence[str]) -> Language:
    """One of some words, and another one or nothing behind it."""
    pattern = f"({'|'.join(first)})({'|'.join(second)})?"
    return language(Regex(pattern), [one + other for one in first for other in ("", *second)])


languages = st.one_of(
    word_lists.map(lambda some: language(OneOf(tuple(some)), some)), st.builds(of_regex, word_lists, word_lists)
)


@dataclass
class Case:
    """A toy API and a toy pair, and what a step aims at by their whole distributions."""

    event: Event
    seed: int
    alpha: float
    language: Language
    top_k: int = 99

    def __post_init__(self) -> None:
        self.vocabulary = VOCABULARIES[self.event]
        self.api: ToyApi = toy_api(self.seed, self.vocabulary, top_k=self.top_k)
        self.pair: ToyPair = toy_pair(self.seed + 7, self.vocabulary)

    def knobs(self, **more: object) -> Steering:
        known = {"constraint": self.language.constraint, "event": self.event, "alpha": self.alpha, "max_tokens": 32}
        return Steering(**{**known, "rule": "none", **more})  # type: ignore[arg-type]

    def weights(self, text: bytes, path: TokenPath) -> Mapping[bytes, float]:
        """The steered probabilities of all that may follow, b"" for the end; summed over ids that are spelt alike."""
        prompt = self.pair.prompt(PROMPT)
        (pair,) = self.pair.distributions(prompt, [path])
        api = self.api.toy.distribution(prompt.expert + path)
        logp = api.logits.astype(np.float64) - api.log_norm
        offset = (pair.expert.logits.astype(np.float64) - pair.expert.log_norm) - (
            pair.anti_expert.logits.astype(np.float64) - pair.anti_expert.log_norm
        )
        kept: dict[bytes, float] = {}
        for i, piece in enumerate(self.vocabulary.pieces):
            is_end = i in self.vocabulary.ends
            if text in self.language.answers if is_end else self.language.begins(text + piece):
                kept[b"" if is_end else piece] = math.exp(logp[i] + self.alpha * offset[i])
        total = math.fsum(kept.values())
        return {piece: weight / total for piece, weight in kept.items()}

    def forced(self, text: bytes) -> bytes:
        """Whole characters that all answers go on with; by ids nothing is."""
        if self.event == "ids" or text in self.language.answers:
            return b""
        fitting = [answer[len(text) :].decode() for answer in self.language.answers if answer.startswith(text)]
        common = next(n for n in range(99) if len({one[: n + 1] for one in fitting}) > 1 or n == len(fitting[0]))
        return fitting[0][:common].encode()

    def after(self, path: TokenPath, text: bytes, piece: bytes) -> TokenPath:
        return (
            (*path, self.vocabulary.ids_of(piece)[0]) if self.event == "ids" else tuple(self.pair.spell(text + piece))
        )

    def greedy(self) -> bytes:
        """The answer whose every token is the likeliest of those that an answer can still follow."""
        text, path = b"", TokenPath()
        while not self.language.is_over(text):
            piece = self.forced(text)
            if not piece:
                weights = self.weights(text, path)
                piece = max(weights, key=weights.__getitem__)
            if not piece:
                break
            path, text = self.after(path, text, piece), text + piece
        return text

    def walk(self, steps: Sequence[Step]) -> Iterable[tuple[Step, Mapping[bytes, float]]]:
        """Each step that somebody was asked for, with what it aims at."""
        text, path = b"", TokenPath()
        for step in steps:
            if step.origin is not Origin.CONSTRAINED:
                yield step, self.weights(text, path)
            if step.piece:
                path, text = self.after(path, text, step.piece), text + step.piece


@given(events, seeds, alphas, languages)
def test_each_greedy_step_is_the_likeliest_token_that_an_answer_can_follow(
    event: Event, seed: int, alpha: float, wanted: Language
) -> None:
    case = Case(event, seed, alpha, wanted)
    result = steer(PROMPT, api=case.api, offsets=case.pair, steering=case.knobs())
    assert (result.text.encode(), result.finish) == (case.greedy(), "stop")
    for step, weights in case.walk(result.steps):
        assert step.logp_after == pytest.approx(math.log(weights[step.piece]), abs=1e-5)


@given(events, seeds, st.sampled_from([0.5, 1.0]), languages, st.integers(1, 5), st.integers(1, 6), drafters)
def test_whoever_drafts_the_text_is_the_same(
    event: Event, seed: int, alpha: float, wanted: Language, top_k: int, draft: int, drafter: Who
) -> None:
    case = Case(event, seed, alpha, wanted, top_k)
    usual = steer(PROMPT, api=case.api, offsets=case.pair, steering=case.knobs())
    other = steer(PROMPT, api=case.api, offsets=case.pair, steering=case.knobs(draft=draft, drafter=drafter))
    assert usual.text.encode() in wanted.answers
    assert (other.text, other.finish) == (usual.text, "stop")


@given(seeds, alphas, languages, st.integers(1, 5))
def test_a_certificate_is_true_under_a_constraint(seed: int, alpha: float, wanted: Language, top_k: int) -> None:
    """By ids what the API hides is known token by token; the constraint takes from it, and adds nothing."""
    case = Case("ids", seed, alpha, wanted, top_k)
    result = steer(PROMPT, api=case.api, offsets=case.pair, steering=case.knobs())
    for step, weights in case.walk(result.steps):
        if step.certified:
            assert step.piece == max(weights, key=weights.__getitem__)


@given(seeds, alphas, languages, st.integers(2, 6))
def test_a_bound_is_not_passed_under_a_constraint(seed: int, alpha: float, wanted: Language, top_k: int) -> None:
    """What is not listed may be all of it allowed or none; the distance to the truth is what is missing."""
    case = Case("ids", seed, alpha, wanted, top_k)
    knobs = case.knobs(temperature=1.0, proposals=0, top_candidates=50, seed=seed)
    with suppress(ReplyError):  # nothing that is allowed was shown
        result = steer(PROMPT, api=case.api, offsets=case.pair, steering=knobs)
        for step, weights in case.walk(result.steps):
            listed = math.fsum(weights.get(candidate.piece, 0.0) for candidate in step.candidates)
            assert step.tv_bound is not None
            assert 1.0 - listed <= step.tv_bound + 1e-6


@given(seeds, alphas, languages)
def test_drawn_tokens_of_ids_are_answers(seed: int, alpha: float, wanted: Language) -> None:
    case = Case("ids", seed, alpha, wanted, top_k=3)
    drawn = steer(PROMPT, api=case.api, offsets=case.pair, steering=case.knobs(temperature=1.0, seed=seed))
    assert drawn.text.encode() in wanted.answers


@given(
    seeds,
    st.sampled_from([0.0, 0.5, 1.0, 2.0]),
    st.lists(st.sampled_from(["a", "b", " ", "é"]), min_size=2, unique=True),
)
def test_a_choice_between_single_tokens_is_the_constrained_answer(seed: int, alpha: float, options: list[str]) -> None:
    case = Case("bytes", seed, alpha, language(OneOf(tuple(options)), options))
    steerer = Steerer(case.api, case.pair, case.knobs())
    choice, answer = steerer.choose(PROMPT), steerer.complete(PROMPT)
    assert {one.text for one in choice.options} == set(options)
    assert choice.likeliest.text == answer.text


@pytest.mark.parametrize(
    ("constraint", "options"),
    [
        (OneOf(("a", "b")), {"a", "b"}),
        (JsonSchema('{"enum": ["a", {"b": 1, "c": [2, null]}]}'), {'"a"', '{"b": 1, "c": [2, null]}'}),
    ],
)
def test_a_constraint_that_lists_its_answers_is_chosen_from(constraint: Constraint, options: set[str]) -> None:
    steerer = Steerer(toy_api(), OffsetTable({}), Steering(constraint=constraint))
    assert {one.text for one in steerer.choose(PROMPT).options} == options


def test_a_choice_takes_no_option_that_the_constraint_does_not_allow() -> None:
    steerer = Steerer(toy_api(), toy_pair(), Steering(constraint=Regex("[ab]")))
    assert steerer.choose(PROMPT, ["a", "b"]).options
    with pytest.raises(InputError, match="does not allow the option 'ab'"):
        steerer.choose(PROMPT, ["a", "ab"])
    with pytest.raises(InputError, match="which answers"):
        steerer.choose(PROMPT)


def scored_chances(case: Case, text: bytes) -> Mapping[bytes, float]:
    """What follows the beginning of a given text, which nothing stands before."""
    path = tuple(case.pair.spell(text))
    (pair,) = case.pair.distributions(PairPrompt((), ()), [path])
    api = case.api.toy.distribution(path)
    both = (pair.expert, pair.anti_expert)
    expert, anti_expert = (one.logits.astype(np.float64) - one.log_norm for one in both)
    logs = api.logits.astype(np.float64) - api.log_norm + case.alpha * (expert - anti_expert)
    kept = {}
    for i, piece in enumerate(case.vocabulary.pieces):
        is_end = i in case.vocabulary.ends
        if text in case.language.answers if is_end else case.language.begins(text + piece):
            kept[b"" if is_end else piece] = math.exp(logs[i])
    return {piece: weight / math.fsum(kept.values()) for piece, weight in kept.items()}


@given(events, seeds, alphas, word_lists, words)
def test_a_text_is_scored_among_those_that_the_constraint_allows(
    event: Event, seed: int, alpha: float, options: list[str], text: str
) -> None:
    """The first tokens are nobody's; a token that is not allowed has no probability, and what follows none known."""
    case = Case(event, seed, alpha, language(OneOf(tuple(options)), options))
    result = Steerer(case.api, case.pair, case.knobs()).score(text)
    before, inside = b"", True
    for step in result.steps:
        allowed = case.language.begins(before + step.piece)
        if not inside:
            assert step.logp_after is None
        elif not allowed:
            assert step.logp_after == -math.inf
            inside = False
        elif step.logp_after is not None:
            assert step.logp_after == pytest.approx(math.log(scored_chances(case, before)[step.piece]), abs=1e-5)
        before += step.piece
    assert before == text.encode()
    assert any("does not allow" in note for note in result.notes) == (not inside)
    assert any("only begins" in note for note in result.notes) == (inside and before not in case.language.answers)


def test_a_prompt_before_the_answer_is_held_to_nothing() -> None:
    case = Case("bytes", 3, 0.0, language(OneOf(("ab", "ba")), ["ab", "ba"]))
    free = Steerer(case.api, case.pair, case.knobs(constraint=None)).score("éab")
    held = Steerer(case.api, case.pair, case.knobs()).score(Given("éab".encode(), prompt=2))
    assert [step.piece for step in held.steps] == ["é".encode(), b"a", b"b"]
    first, last = (step.logp_after for step in held.steps[1:])
    unheld = free.steps[1].logp_after
    assert first is not None
    assert unheld is not None
    assert first > unheld
    assert last == pytest.approx(0.0, abs=1e-6)
