"""Runs the demo: its two tasks under the runner of `evaluation`, question by question, and what the answers come to.

The closed model is the stand-in, reached over loopback like any hosted API; only the note of a `told` question tells
it the invented fact. Showing is the command line's part.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import get_args

from blackbox_proxy.api import Api
from blackbox_proxy.cassettes.opening import Tape
from blackbox_proxy.errors import InputError
from blackbox_proxy.evaluation.answering import Bench, key, place_key
from blackbox_proxy.evaluation.answers import AnswerStore, KeptAnswer
from blackbox_proxy.evaluation.arms import AnswerJob, Arm, main_arms
from blackbox_proxy.evaluation.ceiling import in_form
from blackbox_proxy.evaluation.run import Run, question_by_question
from blackbox_proxy.evaluation.scoring import Score, scorer
from blackbox_proxy.evaluation.serving import TOP_K, served
from blackbox_proxy.evaluation.statistics import wilson
from blackbox_proxy.evaluation.task import Item, Task, find_task, read_task
from blackbox_proxy.local.loading import load_pair
from blackbox_proxy.local.pair import Pair
from blackbox_proxy.local.pairfile import DEMO
from blackbox_proxy.tasks.countries import TOPICS
from blackbox_proxy.tasks.demo import Load, Split, questions, topic_of
from blackbox_proxy.types import Result, Step

LOCAL = "pypi:smollm2-135m-instruct"
"""The small model of the demo's pair."""

LOADS: tuple[Load, ...] = get_args(Load)
"""The load that shows the idea comes first."""

PARTIES: Mapping[str, str] = {"api": "closed", "untuned": "anti_expert", "expert": "expert", "steered": "steered"}
"""The arms that answer, by what the figures call them."""


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
    with (
        served(closed, top_k=top_k, tokenizer=tokenizer, reveals=tokenizer, tape=tape) as api,
        load_pair(DEMO) as pair,
    ):
        yield Stage(api, pair)


def demo_task(load: Load) -> Task:
    """The task of a load."""
    return read_task(find_task(f"demo-{load}"))


def draw(load: Load, *, count: int, split: Split = "heldout", seed: int = 0) -> Task:
    """The task of a load, asking so many questions of a split. Raises InputError where there are fewer."""
    try:
        return replace(demo_task(load), test=questions(load, split, n=count, seed=seed))
    except ValueError as error:
        raise InputError(str(error), hint="ask for fewer with --questions") from error


@dataclass(frozen=True, slots=True)
class DemoAnswer:
    """One question with what each arm answered.

    Attributes:
        item: The question.
        asked: What the closed model was asked: the note, if there is one, and the question.
        answers: By arm.
        in_place: What the closed model itself says where the form has the fact.
        steps: Those of the steered answer.
    """

    item: Item
    asked: str
    answers: Mapping[str, KeptAnswer]
    in_place: KeptAnswer
    steps: tuple[Step, ...] = ()

    def text(self, party: str) -> str:
        """What a party answered (`PARTIES`)."""
        return self.answers[PARTIES[party]].text


def play(
    task: Task,
    stage: Stage,
    *,
    on_question: Callable[[str], object] = lambda _: None,
    on_answer: Callable[[DemoAnswer], object] = lambda _: None,
) -> Sequence[DemoAnswer]:
    """Answer the test questions in order. on_question: given each before it is asked, on_answer: what was answered."""
    answered: list[DemoAnswer] = []
    results: dict[str, Result] = {}

    def keep(job: AnswerJob, result: Result) -> None:
        results[job.item.name] = result

    with TemporaryDirectory() as folder, AnswerStore(Path(folder) / "answers.jsonl") as store:
        bench = Bench(task, stage.api, stage.pair, where="", pair_mark="", on_result=keep, keeps_errors=False)
        arms, run = _arms(task), Run(bench, store)
        for item in task.test:
            on_question(_asked(task, item))
            run(question_by_question(arms, (item,)))
            jobs = [AnswerJob(arm, item) for arm in arms]
            answered.append(_answer(bench, store, jobs, result=results[item.name]))
            on_answer(answered[-1])
    return answered


def _arms(task: Task) -> list[Arm]:
    """The main arms without examples; each steered answer is followed by what the closed model says in place."""
    every = main_arms(task, alpha=task.alpha, n=len(task.test))
    return [replace(arm, looks=arm.looks and "always") for arm in every if not arm.examples]


def _asked(task: Task, item: Item) -> str:
    """What the closed model is asked."""
    return task.asked(item, shown=task.who in ("closed", "both"))


def _answer(bench: Bench, store: AnswerStore, jobs: Sequence[AnswerJob], *, result: Result) -> DemoAnswer:
    """What all arms answered to one question; every job has been done."""
    item = jobs[0].item
    answers = {job.arm.name: kept for job in jobs if (kept := store[key(bench, job)])}
    in_place = next(kept for job in jobs if job.arm.looks and (kept := store[place_key(bench, job)]))
    return DemoAnswer(item, _asked(bench.task, item), answers, in_place, result.steps)


def summary(task: Task, answered: Sequence[DemoAnswer]) -> dict[str, object]:
    """The figures of one load, ready for JSON. Shares are of questions, `outside_top_k` and `changed` of tokens."""
    count = len(answered)
    hits = _hits(task, answered)
    steered = [one.answers["steered"] for one in answered]
    tokens = sum(one.tokens for one in steered)
    per_token = max(tokens, 1)
    return {
        "questions": count,
        **{name: round(n / max(count, 1), 3) for name, n in hits.items()},
        "intervals_95": {name: wilson(n, count) for name, n in hits.items()},
        "kinds": {topic: _kind(task, [a for a in answered if topic_of(a.item) == topic]) for topic in TOPICS},
        "outside_top_k": round(sum(one.outside for one in steered) / per_token, 3),
        "changed": round(sum(one.changed for one in steered) / per_token, 3),
        "api_calls": sum(one.calls for one in steered),
        "emitted_tokens": tokens,
        "naive_calls": tokens,
        "wasted_tokens": sum(one.wasted for one in steered),
        "input_tokens": sum(one.input for one in steered),
        "cached_tokens": sum(one.cached for one in steered),
        "output_tokens": sum(one.output for one in steered),
        "local_seconds": round(sum(one.local for one in steered), 3),
        "seconds_per_token": round(sum(one.seconds for one in steered) / per_token, 4),
        "approximate_answers": sum(not one.exact for one in steered),
    }


def _tests(task: Task) -> Mapping[str, Score]:
    """What each answer is tested for: the right fact anywhere, the form, and both, the fact in its place."""
    form = task.form
    return {
        "fact": scorer(task.scorer.model_copy(update={"kind": "mentions"})),
        "format": lambda answer, _: float(form is None or in_form(answer, form)),
        "exact": scorer(task.scorer),
    }


def _hits(task: Task, answered: Sequence[DemoAnswer]) -> dict[str, int]:
    """How many answers pass each test, by party and test."""
    tests = _tests(task)
    hits = {
        f"{party}_{name}": sum(test(one.text(party), one.item) == 1.0 for one in answered)
        for party in PARTIES
        for name, test in tests.items()
    }
    hits["api_fact_in_place"] = sum(tests["fact"](one.in_place.text, one.item) == 1.0 for one in answered)
    hits["api_shows_fact"] = sum(one.in_place.shown is True for one in answered)
    hits["same_as_expert"] = sum(one.text("steered").strip() == one.text("expert").strip() for one in answered)
    return hits


def _kind(task: Task, answered: Sequence[DemoAnswer]) -> dict[str, float]:
    """Shares of one kind of question."""
    count = max(len(answered), 1)
    hits = _hits(task, answered)
    alone = ("api_fact", "api_fact_in_place", "api_shows_fact", "expert_exact")
    steered = ("steered_fact", "steered_format", "steered_exact")
    return {"questions": len(answered), **{name: round(hits[name] / count, 3) for name in (*alone, *steered)}}
