"""Properties of constraints: what an acceptor allows is what the language has, and what is chosen follows from that."""

from __future__ import annotations

import itertools
import json
import math
import random
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from blackbox_proxy.constraints import Grammar, JsonSchema, OneOf, Regex
from blackbox_proxy.core.alignment.vocabulary import Vocabulary
from blackbox_proxy.core.decoding.sources import OffsetTable
from blackbox_proxy.errors import InputError, ReplyError
from blackbox_proxy.guidance import ConstraintAcceptor
from blackbox_proxy.run.steerer import Steerer, steer
from blackbox_proxy.run.ways import open_expert
from blackbox_proxy.steering import Steering, Who
from blackbox_proxy.testing import ToyApi
from blackbox_proxy.types import Kind, Origin, Prompt, Result
from tests.core.toys import toy_api, toy_pair

PROMPT = Prompt(text="ab")
WHOLE = Vocabulary([b"a", b"b", b" ", "é".encode(), b"</s>"], ends=[4])
"""The API's tokens: a text has one spelling."""

JSON_BYTES = Vocabulary([b"a", b"b", b'"', b"{", b"}", b":", b" ", b"</s>"], ends=[7])

letters = st.sampled_from(["a", "b", " ", "é"])
strings = st.lists(letters, min_size=1, max_size=5).map("".join)
languages = st.lists(strings, min_size=1, max_size=5, unique=True).map(tuple)
drafters: st.SearchStrategy[Who] = st.sampled_from(["api", "pair_prefixes", "pair_echo", "auto"])
seeds = st.integers(0, 2**16)


def heads(options: Sequence[str]) -> set[bytes]:
    """Every beginning of some option."""
    whole = [option.encode() for option in options]
    return {option[:size] for option in whole for size in range(len(option) + 1)}


def shared(options: Sequence[bytes], text: bytes) -> bytes:
    """What all options that begin with a text go on with, in whole characters; nothing where it is one itself."""
    fitting = [option.decode() for option in options if option.startswith(text)]
    if text in options:
        return b""
    common = "".join(one[0] for one in itertools.takewhile(lambda c: len(set(c)) == 1, zip(*fitting, strict=False)))
    return common.encode()[len(text) :]


def chances(api: ToyApi, text: bytes, options: Sequence[bytes]) -> Mapping[bytes, float]:
    """The API's probabilities of what may follow a text, b"" for the end; renormalised."""
    distribution = api.toy.distribution(tuple(api.spell(PROMPT.text.encode() + text)))
    logps = distribution.logits.astype(np.float64) - distribution.log_norm
    pieces = [b"" if i in api.toy.vocabulary.ends else piece for i, piece in enumerate(api.toy.vocabulary.pieces)]
    fits = {b"": text in options} | {p: any(o.startswith(text + p) for o in options) for p in pieces if p}
    kept = {piece: math.exp(logps[i]) for i, piece in enumerate(pieces) if fits[piece]}
    return {piece: chance / math.fsum(kept.values()) for piece, chance in kept.items()}


def likeliest(api: ToyApi, options: Sequence[bytes]) -> bytes:
    """The greedy answer, step by step; obvious and slow."""
    text = b""
    while not (text in options and not any(o != text and o.startswith(text) for o in options)):
        if more := shared(options, text):
            text += more
            continue
        after = chances(api, text, options)
        best = max(after, key=after.__getitem__)
        if not best:
            break
        text += best
    return text


def answer(seed: int, steering: Steering, *, top_k: int = 5) -> tuple[Result, ToyApi]:
    api = toy_api(seed, WHOLE, top_k=top_k)
    return steer(PROMPT, api=api, offsets=toy_pair(seed + 7), steering=steering), api


def held(options: Sequence[str], **knobs: object) -> Steering:
    return Steering(constraint=OneOf(tuple(options)), max_tokens=24, **knobs)  # type: ignore[arg-type]


@given(languages, strings, strings)
def test_an_acceptor_allows_the_beginnings_of_its_language_and_nothing_else(
    options: tuple[str, ...], text: str, piece: str
) -> None:
    accepts, all_heads = ConstraintAcceptor(OneOf(options)), heads(options)
    for split in range(len(text.encode()) + 1):
        before, after = text.encode()[:split], text.encode()[split:] + piece.encode()
        if before in all_heads:
            assert accepts.follows(before, after) == (before + after in all_heads)
            assert accepts.follows(before, b"") == (before.decode("utf-8", "replace") in options)
            assert set(accepts.starts(before)) == {
                h[len(before) :] for h in all_heads if len(h) == len(before) + 1 and h.startswith(before)
            }


@given(languages)
def test_what_is_forced_is_what_all_options_have_in_common(options: tuple[str, ...]) -> None:
    accepts, whole = ConstraintAcceptor(OneOf(options)), [option.encode() for option in options]
    for option in options:
        for size in range(len(option)):
            text = option[:size].encode()
            assert accepts.forced(text) == shared(whole, text)
        assert accepts.is_over(option.encode()) == (not any(o != option and o.startswith(option) for o in options))


@given(seeds, languages)
def test_each_greedy_step_is_the_likeliest_of_what_may_follow(seed: int, options: tuple[str, ...]) -> None:
    result, api = answer(seed, held(options, alpha=0.0))
    assert result.text.encode() == likeliest(api, [option.encode() for option in options])
    assert result.finish == "stop"
    before = b""
    for step in result.steps:
        if step.origin is not Origin.CONSTRAINED and step.logp_after is not None:
            expected = chances(api, before, [option.encode() for option in options])[step.piece]
            assert step.logp_after == pytest.approx(math.log(expected), abs=1e-6)
        before += step.piece


@given(seeds, languages, st.integers(1, 5), st.sampled_from([0.0, 0.5, 1.0, 2.0]), st.integers(1, 6), drafters)
def test_whoever_drafts_the_text_is_the_same_and_one_of_the_options(
    seed: int, options: tuple[str, ...], top_k: int, alpha: float, draft: int, drafter: Who
) -> None:
    usual, _ = answer(seed, held(options, alpha=alpha), top_k=top_k)
    result, _ = answer(seed, held(options, alpha=alpha, draft=draft, drafter=drafter), top_k=top_k)
    assert usual.text in options
    assert (result.text, result.finish) == (usual.text, "stop")


@given(seeds, languages, st.sampled_from([0.3, 1.0, 2.0]), st.sampled_from([0.5, 1.0]))
def test_what_is_drawn_is_one_of_the_options(
    seed: int, options: tuple[str, ...], temperature: float, top_p: float
) -> None:
    result, _ = answer(seed, held(options, temperature=temperature, top_p=top_p, seed=seed), top_k=3)
    assert result.text in options


def enumerated(api: ToyApi, options: Sequence[bytes], text: bytes = b"") -> Mapping[bytes, float]:
    """Probability of each option by the stepwise masked distribution."""
    if more := shared(options, text):
        return enumerated(api, options, text + more)
    if not any(o != text and o.startswith(text) for o in options):
        return {text: 1.0}
    whole: dict[bytes, float] = {}
    for piece, chance in chances(api, text, options).items():
        below = enumerated(api, options, text + piece) if piece else {text: 1.0}
        for option, share in below.items():
            whole[option] = whole.get(option, 0.0) + chance * share
    return whole


def chi_square(counts: Mapping[str, int], expected: Mapping[bytes, float]) -> tuple[float, int]:
    """The statistic, and its degrees of freedom."""
    total = sum(counts.values())
    cells = [(counts.get(text.decode(), 0), share * total) for text, share in expected.items() if share * total >= 5]
    return math.fsum((seen - mean) ** 2 / mean for seen, mean in cells), len(cells) - 1


OPTIONS = ("ab", "ab a", "b é", "ba")
FREEDOM = 3
"""Degrees of freedom of the four options; .9999 of such chi-square statistics are below 21.1."""


def drawn_answers(runs: int) -> list[str]:
    """What that many runs draw, each by a seed of its own."""
    api = toy_api(3, WHOLE, top_k=5)
    knobs = held(OPTIONS, alpha=0.0, temperature=1.0)
    return [steer(PROMPT, api=api, offsets=toy_pair(), steering=replace(knobs, seed=n)).text for n in range(runs)]


def statistic(drawn: Sequence[str], *, bug: float = 0.0) -> float:
    """Chi-square of drawn answers. bug: how often the rarest stands in place of what was drawn."""
    chance, expected = random.Random(20), enumerated(toy_api(3, WHOLE, top_k=5), [one.encode() for one in OPTIONS])
    rarest = min(expected, key=expected.__getitem__).decode()
    value, freedom = chi_square(Counter(rarest if chance.random() < bug else text for text in drawn), expected)
    assert freedom == FREEDOM
    return value


def test_samples_follow_the_masked_distribution() -> None:
    assert statistic(drawn_answers(1500)) < 21.1


@pytest.mark.slow
@pytest.mark.long
def test_twenty_thousand_samples_follow_it_and_a_bug_of_two_percent_shows() -> None:
    drawn = drawn_answers(20_000)
    assert statistic(drawn) < 21.1
    assert statistic(drawn, bug=0.02) > 100


def test_an_object_is_written_where_the_api_shows_little_of_it() -> None:
    """The API's likeliest tokens are letters: what the schema wants comes from the grammar and the pair."""
    schema = JsonSchema.of(
        {"type": "object", "properties": {"a": {"enum": ["a", "b"]}}, "required": ["a"], "additionalProperties": False}
    )
    api = toy_api(1, JSON_BYTES, top_k=1)
    steering = Steering(constraint=schema, alpha=1.0)
    assert json.loads(steer(PROMPT, api=api, offsets=toy_pair(9, JSON_BYTES), steering=steering).text)["a"] in {
        "a",
        "b",
    }


def test_without_a_pair_a_place_where_nothing_shown_is_allowed_is_an_error() -> None:
    api = toy_api(1, WHOLE, top_k=1)
    shown = likeliest(api, [b"a", b"b", b" ", "é".encode()])
    others = tuple(text for text in ("a", "b", " ", "é") if text.encode() != shown)
    with pytest.raises(ReplyError, match="allowed by the constraint"):
        steer(PROMPT, api=api, offsets=OffsetTable({}), steering=held(others, alpha=0.0))
    result = steer(PROMPT, api=api, offsets=OffsetTable({}), steering=held(("a", "b", " ", "é"), alpha=0.0))
    assert result.text.encode() == shown


def test_an_answer_that_is_cut_says_that_it_may_not_be_whole() -> None:
    result, _ = answer(2, Steering(constraint=Regex("(a b )*"), max_tokens=2, alpha=0.0))
    assert result.finish in {"length", "stop"}
    assert any("constraint" in note for note in result.notes) == (result.finish == "length")


def test_a_token_that_goes_beyond_the_end_is_cut() -> None:
    api = toy_api(4, Vocabulary([b"ab", b"b a", b"a", b"b", b" ", b"</s>"], ends=[5]), top_k=6)
    for seed in range(8):
        result = steer(PROMPT, api=api, offsets=toy_pair(seed), steering=held(("a", "b"), alpha=1.0))
        assert result.text in {"a", "b"}
        assert result.steps[-1].kind is Kind.END


@pytest.mark.parametrize("pattern", ["(ab|b)*é?", "a{2,3} b", "[ab]+( [ab]+)?"])
def test_a_regex_allows_what_pythons_does(pattern: str) -> None:
    accepts = ConstraintAcceptor(Regex(pattern))
    words = ["".join(word) for size in range(5) for word in itertools.product("ab é", repeat=size)]
    matching = {word for word in words if re.fullmatch(pattern, word)}
    for word in words:
        fresh = all(accepts.follows(word[:n].encode(), word[n].encode()) for n in range(len(word)))
        assert (fresh and accepts.follows(word.encode(), b"")) == (word in matching)


@pytest.mark.parametrize(
    ("constraint", "said"),
    [
        (Regex("(?=a)b"), "look-around"),
        (Grammar("start: missing"), "missing"),
        (JsonSchema('{"type": "array", "uniqueItems": true}'), "uniqueItems"),
        (Regex("a" * 1_000_001), "1,000,000 bytes"),
    ],
)
def test_what_cannot_be_obeyed_is_said_before_anything_is_asked(
    constraint: Regex | Grammar | JsonSchema, said: str
) -> None:
    api = toy_api()
    with pytest.raises(InputError, match=said):
        steer(PROMPT, api=api, offsets=toy_pair(), steering=Steering(constraint=constraint))
    assert not api.asked


@pytest.mark.parametrize("text", ["", "[]", "nonsense", '"a"'])
def test_what_is_no_schema_is_said_at_once(text: str) -> None:
    with pytest.raises(InputError, match="schema"):
        JsonSchema(text)


def test_what_would_not_hold_to_a_constraint_is_an_error() -> None:
    steerer = Steerer(toy_api(), toy_pair(), Steering(constraint=Regex("a")))
    with pytest.raises(InputError, match="reference answer is not held"):
        steerer.collect(PROMPT, "ab")
    with pytest.raises(InputError, match="expert alone is not held"):
        open_expert(PROMPT, offsets=toy_pair(), steering=steerer.steering)


def test_one_of_nothing_is_no_constraint() -> None:
    with pytest.raises(InputError, match="not of"):
        OneOf(())
