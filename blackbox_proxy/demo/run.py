"""Runs the demo: a real model behind a real HTTP API, a real pair beside it, and held-out questions.

The closed model is the stand-in, reached over loopback like any hosted API; only the note of a `told` question tells
it the invented fact. Knows how to ask and what with; scoring is in `score`, showing in the command line.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from blackbox_proxy.api import Api, connect
from blackbox_proxy.cassettes.matching import Replay
from blackbox_proxy.cassettes.opening import Tape, as_arguments
from blackbox_proxy.demo.facts import HOUSE_FORMAT, Load, Question, Split, questions
from blackbox_proxy.demo.score import DemoAnswer
from blackbox_proxy.errors import InputError
from blackbox_proxy.local.loading import load_pair
from blackbox_proxy.local.pair import Pair
from blackbox_proxy.local.pairfile import DEMO, demo_pair
from blackbox_proxy.run.steerer import Steerer
from blackbox_proxy.run.unsteered import go_on, shows, text_of
from blackbox_proxy.standin.server import running
from blackbox_proxy.steering import Steering
from blackbox_proxy.types import Prompt

CLOSED = "pypi:qwen2.5-coder-0.5b-instruct"
LOCAL = "pypi:smollm2-135m-instruct"
LOADS: tuple[Load, ...] = ("told", "known")
"""The load that shows the idea comes first."""

STEERING = Steering(alpha=1.25, max_tokens=40)
"""The demo's knobs, chosen on training countries."""

TOP_K = 20

BEFORE_FACT = HOUSE_FORMAT.partition("{fact}")[0].rstrip().encode()
FACT_TOKENS = 10
"""How many tokens the closed model has for saying a fact in its place."""


pair_file = demo_pair


@dataclass(frozen=True, slots=True)
class Stage:
    """The running demo: an API to call and a pair beside it."""

    api: Api
    pair: Pair


@contextmanager
def staged(closed: Path, *, top_k: int = TOP_K, tokenizer: bool = True, tape: Tape | None = None) -> Iterator[Stage]:
    """Start the stand-in over `closed` and load the demo's pair; stop both at the end.

    top_k: log-probs that the closed model shows. tokenizer: whether its tokenizer is known; then it also tells the
    log-probs of chosen ids where it is asked (`tail="reveal"`). tape: a cassette that is recorded, or replayed in place
    of the stand-in.
    """
    options = {"top_k": top_k, "reveal": "ids" if tokenizer else "none"}
    with (
        _reached(closed, tape, top_k=top_k) as url,
        connect(
            url,
            model="closed-model",
            template="chatml",
            tokenizer=f"gguf:{closed}" if tokenizer else "",
            options=options,
            **as_arguments(tape),
        ) as api,
        load_pair(DEMO) as pair,
    ):
        yield Stage(api, pair)


@contextmanager
def _reached(closed: Path, tape: Tape | None, *, top_k: int) -> Iterator[str]:
    """Where the closed model is: served here, or nowhere, as a cassette says."""
    if isinstance(tape, Replay):
        yield tape.header.address
        return
    with running(closed, name="closed-model", top_k=top_k, slots=1, threads=1, context=1024) as url:
        yield url


def answer(question: Question, stage: Stage, *, steering: Steering = STEERING) -> DemoAnswer:
    """Put one question to all four: the closed model, the untuned and the tuned small one, and the steered one."""
    own = Prompt.ask(question.text)
    limit = steering.max_tokens
    expert, untuned = stage.pair.members
    result = Steerer(stage.api, stage.pair, steering).complete(question.asked, pair_prompt=own)
    return DemoAnswer(
        question=question,
        api=text_of(stage.api.complete(question.asked, max_tokens=limit)),
        untuned=untuned.answer(own, max_tokens=limit).decode("utf-8", "replace"),
        expert=expert.answer(own, max_tokens=limit).decode("utf-8", "replace"),
        result=result,
        in_place=in_place(question, stage),
        shown=shows_fact(question, stage),
    )


def in_place(question: Question, stage: Stage) -> str:
    """What the closed model says by itself where the form has the fact, made to begin as the form does."""
    return text_of(go_on(stage.api, Prompt.ask(question.asked), BEFORE_FACT, length=FACT_TOKENS))


def shows_fact(question: Question, stage: Stage) -> bool:
    """Whether the closed model shows the right fact where the form has it, in any spelling."""
    facts, asked = (question.fact, *question.also), Prompt.ask(question.asked)
    return any(shows(stage.api, asked, BEFORE_FACT, wanted=f" {fact}".encode()) for fact in facts)


def draw(load: Load, *, count: int, split: Split = "heldout", seed: int = 0) -> Sequence[Question]:
    """The questions of a load. Raises InputError where there are fewer."""
    try:
        return questions(load, split, n=count, seed=seed)
    except ValueError as error:
        raise InputError(str(error), hint="ask for fewer with --questions") from error


def play(
    asked: Sequence[Question],
    stage: Stage,
    *,
    steering: Steering = STEERING,
    on_question: Callable[[Question], object] = lambda _: None,
    on_answer: Callable[[DemoAnswer], object] = lambda _: None,
) -> Sequence[DemoAnswer]:
    """Answer all questions in order; `on_question` is told each before it is asked, `on_answer` what was answered."""
    answered: list[DemoAnswer] = []
    for question in asked:
        on_question(question)
        answered.append(answer(question, stage, steering=steering))
        on_answer(answered[-1])
    return answered
