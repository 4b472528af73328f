"""Identities that hold for the real thing: real weights, the stand-in over real HTTP, the demo's own pair.

Two texts are the same if they are equal, or if they first differ where the two best steered scores lie within 0.02
nats: llama.cpp rounds differently for other batch shapes. Every such near tie is counted and printed.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from importlib.resources import as_file, files
from pathlib import Path

import pytest

from blackbox_proxy.api import Api, connect
from blackbox_proxy.core.alignment.recut import strange_borders
from blackbox_proxy.local.pair import Pair, PairFiles, open_pair
from blackbox_proxy.run.steerer import steer
from blackbox_proxy.run.unsteered import text_of
from blackbox_proxy.standin.server import running
from blackbox_proxy.steering import Steering, Who
from blackbox_proxy.types import Prompt, Result
from blackbox_proxy_adapters.completions import Completions

pytestmark = pytest.mark.weights

PROMPTS = (
    "What is the capital of Albania?",
    "Which currency is used in Kenya?",
    "Write one sentence about the sea.",
    "Name three colours.",
    "What is the internet domain of Japan?",
)
COUNTRIES = (
    *(
        "Albania",
        "Brazil",
        "Canada",
        "Denmark",
        "Egypt",
        "France",
        "Ghana",
        "Hungary",
        "India",
        "Japan",
        "Kenya",
        "Laos",
    ),
    *("Laos", "Mexico", "Nepal", "Oman", "Peru", "Qatar", "Romania", "Spain", "Turkey", "Uganda", "Vietnam", "Yemen"),
    "Zambia",
)
THINGS = ("rivers", "a bicycle", "bread", "the moon", "winter", "music", "trees", "glass", "chess", "the heart")
MANY = (
    *(f"What is the capital of {name}?" for name in COUNTRIES),
    *(f"Which currency is used in {name}?" for name in COUNTRIES[::2]),
    *(f"In which continent is {name}?" for name in COUNTRIES[1::2]),
    *(f"Write one sentence about {thing}." for thing in THINGS),
    *(f"List three facts about {thing}." for thing in THINGS),
    *(f"Explain {thing} to a child, please." for thing in THINGS),
    *("Write a Python function that adds two numbers.", "Print hello in C.", "Write a for loop in JavaScript."),
    *("Qu'est-ce que Paris ?", "Wie heißt du?", "¿Dónde está Madrid?", "Что такое Москва?", "日本の首都は?", "2+2=?"),
    *("Give me a haiku.", "Say hello!", "Translate 'house' to French.", "Who was Newton?", "Count to ten."),
    *("Is water wet?", "Name a colour.", "What rhymes with cat?", "Spell 'banana'.", "Tell me a joke."),
    "Write an email to Bob.",
)
"""A hundred questions."""

TOKENS = 24
NEAR_TIE = 0.02


@pytest.fixture(scope="module")
def pair(smollm2_path: Path) -> Iterator[Pair]:
    """The demo's pair."""
    with (
        as_file(files("blackbox_proxy.tasks") / "demo-told" / "house-format.lora.gguf") as lora,
        open_pair(PairFiles(smollm2_path, smollm2_path, lora, context=512)) as opened,
    ):
        yield opened


@pytest.fixture(scope="module")
def api(smollm2_path: Path, pair: Pair) -> Iterator[Api]:
    """The untuned small model itself as the closed one, with every log-prob it has."""
    model = pair.members[1].model
    options = {"top_k": len(model.vocabulary), "token_ids": True}
    with (
        running(smollm2_path, name="slm", top_k=len(model.vocabulary), slots=1, context=512) as url,
        connect(url, model="slm", template=model.chat_template, options=options) as connected,
    ):
        yield connected


def near_tie(result: Result, text: str) -> bool:
    """Whether `result` first departs from `text` where its two best choices are within the tolerance."""
    at = 0
    wanted = text.encode()
    for step in result.steps:
        if not step.piece or not wanted.startswith(step.piece, at):
            scores = [candidate.score for candidate in step.candidates[:2]]
            return len(scores) == 2 and scores[0] - scores[1] <= NEAR_TIE
        at += len(step.piece)
    return False


def check_same(results: list[tuple[Result, str]]) -> None:
    """Equal but for near ties, and hardly any of those."""
    different = [(r, text) for r, text in results if r.text != text]
    ties = [pair for pair in different if near_tie(*pair)]
    print(f"{len(results)} texts, {len(different)} differ, {len(ties)} of them at a near tie")
    assert [(r.text, text) for r, text in different if (r, text) not in ties] == []
    assert len(ties) <= max(1, 0.02 * len(results))


def test_alpha_zero_gives_the_apis_own_greedy_text(api: Api, pair: Pair) -> None:
    found = [
        (
            steer(prompt, api=few(api), offsets=pair, steering=Steering(alpha=0.0, max_tokens=TOKENS)),
            text_of(few(api).complete(prompt, max_tokens=TOKENS)),
        )
        for prompt in PROMPTS
    ]
    check_same(found)


def by_ids(api: Api, pair: Pair, prompts: Sequence[str]) -> list[tuple[Result, str]]:
    """API = anti-expert with its full distribution, alpha 1: log p + log E - log A = log E."""
    steering, expert = Steering(event="ids", max_tokens=TOKENS, draft=1), pair.members[0]
    return [
        (
            steer(prompt, api=api, offsets=pair, steering=steering),
            expert.answer(Prompt.ask(prompt), max_tokens=TOKENS).decode(),
        )
        for prompt in prompts
    ]


@pytest.mark.slow
def test_steering_the_untuned_model_by_its_own_tuning_gives_the_tuned_model(api: Api, pair: Pair) -> None:
    check_same(by_ids(api, pair, PROMPTS[:2]))


@pytest.mark.slow
@pytest.mark.long
def test_by_ids_more_answers_are_the_tuned_models(api: Api, pair: Pair) -> None:
    """A minute for each four: every reply shows 49,152 log-probs a token."""
    check_same(by_ids(api, pair, PROMPTS))


@pytest.fixture(scope="module")
def precise(smollm2_path: Path) -> Iterator[Pair]:
    """The same pair, read row by row: in batches the adapter moves log-probs by 0.1 nats."""
    with (
        as_file(files("blackbox_proxy.tasks") / "demo-told" / "house-format.lora.gguf") as lora,
        open_pair(PairFiles(smollm2_path, smollm2_path, lora, context=512, rows=1)) as opened,
    ):
        yield opened


@pytest.mark.slow
def test_walking_ahead_changes_the_number_of_calls_and_nothing_else(api: Api, precise: Pair) -> None:
    """A weak alpha, so that much of the draft is kept; read row by row, since a draft is a batch of rows.

    Given that text that is sent back is cut into the tokens that were drafted (3.3): an answer in which it is not
    (a line end after a line end, sent back as one token) may go on otherwise from there; at most one of the five is.
    """
    steering, own = Steering(alpha=0.3, max_tokens=TOKENS), precise.vocabulary.cut_by(precise.spell)
    ahead = [steer(p, api=few(api), offsets=precise, steering=replace(steering, draft=8)) for p in PROMPTS]
    one_by_one = [steer(p, api=few(api), offsets=precise, steering=replace(steering, draft=1)) for p in PROMPTS]
    both = [(a, b.text) for a, b in zip(ahead, one_by_one, strict=True)]
    recut = [n for n, (a, text) in enumerate(both) if strange_borders(alike(a, text), own)]
    print(f"{len(recut)} of {len(both)} answers were cut into other tokens when they were sent back")
    assert len(recut) <= 1
    check_same([pair for n, pair in enumerate(both) if n not in recut])
    calls = [sum(r.usage.requests for r in results) for results in (ahead, one_by_one)]
    print(f"calls: {calls[0]} walking ahead, {calls[1]} one by one")
    assert calls[0] < calls[1]


@pytest.mark.slow
@pytest.mark.parametrize("drafter", ["pair_prefixes", "pair_echo", "auto"])
def test_whoever_drafts_the_text_is_that_of_one_token_per_call(drafter: Who, api: Api, precise: Pair) -> None:
    """The pair's drafts hold for every text: each place is asked about, or lies at a border of the API's own.

    The planner also has the API draft; then as above, an answer that is cut into other tokens may go on otherwise.
    """
    can = Completions(top_k=20, end_pieces=api.capabilities().end_pieces, echo=True, prompt_lists=True)
    told, both = replace(api, adapter=can), []
    for prompt in PROMPTS:
        steering = Steering(alpha=0.6, max_tokens=TOKENS, drafter=drafter)
        one = steer(prompt, api=told, offsets=precise, steering=replace(steering, drafter="api", draft=1))
        both.append((steer(prompt, api=told, offsets=precise, steering=steering), one))
    calls = [sum(r.usage.requests for r in results) for results in zip(*both, strict=True)]
    print(f"{drafter}: {calls[0]} calls, {calls[1]} one by one")
    assert calls[0] < calls[1]
    own = precise.vocabulary.cut_by(precise.spell)
    texts = [(found, one.text) for found, one in both]
    may_be_recut = [(a, text) for a, text in texts if drafter == "auto" and a.text != text]
    recut = [found for found in may_be_recut if strange_borders(alike(*found), own)]
    assert len(recut) <= 1
    check_same([found for found in texts if found not in recut])


def alike(result: Result, text: str) -> list[bytes]:
    """The pieces of a result as far as `text` is the same."""
    pieces = [step.piece for step in result.steps]
    ends = [b"".join(pieces[: n + 1]) for n in range(len(pieces))]
    return [piece for piece, end in zip(pieces, ends, strict=True) if text.encode().startswith(end)]


def through_bytes(api: Api, pair: Pair, prompts: Sequence[str]) -> list[tuple[Result, str]]:
    """Steer the untuned model by its own tuning, as if its tokenizer were another: strings are matched with strings.

    Without a rule of abstention: smoothing is meant for where the pair knows less than the API, not the same.
    """
    steering, own = Steering(max_tokens=TOKENS, rule="none"), pair.vocabulary.cut_by(pair.spell)
    found = []
    for prompt in prompts:
        result = steer(prompt, api=replace(few(api), vocabulary=own), offsets=pair, steering=steering)
        found.append((result, pair.members[0].answer(Prompt.ask(prompt), max_tokens=TOKENS).decode("utf-8", "replace")))
    return found


def check_nearly_all(found: list[tuple[Result, str]], *, may_differ: int) -> None:
    """All but a few answers are the expert's own: it may write a text in other tokens than its tokenizer would."""
    different = [(result, text) for result, text in found if result.text != text and not near_tie(result, text)]
    print(f"{len(found) - len(different)} of {len(found)} answers are the expert's own, near ties among them")
    for result, text in different:
        print(f"  {text!r}\n  {result.text!r}")
    assert len(different) <= may_differ


def test_through_bytes_a_known_tokenizer_gives_the_tuned_model(api: Api, precise: Pair) -> None:
    check_nearly_all(through_bytes(api, precise, MANY[::9]), may_differ=1)


@pytest.mark.slow
@pytest.mark.long
def test_through_bytes_a_hundred_answers_are_the_tuned_models(api: Api, precise: Pair) -> None:
    assert len(MANY) == 100
    check_nearly_all(through_bytes(api, precise, MANY), may_differ=2)


def few(api: Api) -> Api:
    """The same endpoint, asked for 20 log-probs."""
    return Api(
        api.model,
        api.transport,
        type(api.adapter)(top_k=20, end_pieces=api.capabilities().end_pieces),  # type: ignore[call-arg]
        api.template,
    )
