"""How one answer is made: by the closed model, by a member of the pair, or steered.

Knows how to ask, and what an answer depends on; not which questions there are, nor what is right.
"""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, replace
from decimal import Decimal
from typing import Any, Protocol, TypeAlias, final

from blackbox_proxy.api import Api
from blackbox_proxy.cassettes.matching import NotRecorded
from blackbox_proxy.core.decoding.routing import answer_features
from blackbox_proxy.core.decoding.sources import OffsetTable
from blackbox_proxy.core.money.spending import calls_of, cost_of, used_by
from blackbox_proxy.errors import BlackboxProxyError, InputError, OverBudget
from blackbox_proxy.evaluation.answers import KeptAnswer
from blackbox_proxy.evaluation.arms import AnswerJob, Arm, closed_prompt, pair_prompt
from blackbox_proxy.evaluation.ceiling import place_of
from blackbox_proxy.evaluation.task import Task
from blackbox_proxy.kept import key_of, turned_knobs
from blackbox_proxy.run.engine import Stream
from blackbox_proxy.run.sources import LocalPair
from blackbox_proxy.run.steerer import Steerer
from blackbox_proxy.run.unsteered import go_on, shows, text_of
from blackbox_proxy.run.ways import open_expert, open_routed
from blackbox_proxy.steering import Steering
from blackbox_proxy.types import Prompt, Result, Usage


class Stopped(BaseException):
    """The run was told to stop while an answer was being made."""


class SpeakingMember(Protocol):
    """A member of a pair that answers by itself."""

    def answer(self, prompt: Prompt, *, max_tokens: int) -> bytes:
        """Its own greedy answer."""


class BenchPair(LocalPair, Protocol):
    """A pair whose members answer by themselves too: `local.pair.Pair` is one."""

    @property
    def members(self) -> tuple[SpeakingMember, SpeakingMember]: ...


@final
@dataclass(frozen=True, slots=True)
class Bench:
    """What answers are made with. pair: None where no arm needs one.

    where, pair_mark: which endpoint and which pair these are: answers of other ones have another key. tuned: a directly
    tuned model to compare with. stop: set where the run is to end. on_result: given each steered answer with its steps,
    which are not kept. keeps_errors: whether an error of ours is kept in place of the answer; otherwise it is raised.
    """

    task: Task
    api: Api
    pair: BenchPair | None
    where: str
    pair_mark: str
    tuned: Api | None = None
    stop: threading.Event = field(default_factory=threading.Event)
    on_result: Callable[[AnswerJob, Result], object] = lambda *_: None
    keeps_errors: bool = True

    def steering(self, arm: Arm) -> Steering:
        """The knobs of a steered arm."""
        knobs: dict[str, Any] = {"alpha": arm.alpha if arm.alpha is not None else 0.0, **dict(arm.knobs)}
        steering = replace(self.task.steering, **knobs)
        return replace(steering, way="answers", samples=arm.draws) if arm.draws else steering

    @property
    def both(self) -> BenchPair:
        """The pair. Raises InputError where there is none."""
        if self.pair is None:
            raise InputError("this arm needs a pair, and none is given", hint="give a pair file")
        return self.pair

    def speaker(self, arm: Arm) -> Api:
        """The hosted model that an arm calls."""
        return self.tuned if arm.speaker == "tuned" and self.tuned is not None else self.api


def key(bench: Bench, job: AnswerJob) -> str:
    """What the answer of an arm to an item is kept under."""
    arm = job.arm
    settings: dict[str, object] = {"limit": bench.task.max_tokens}
    if arm.calls:
        api = bench.speaker(arm)
        asked = [asdict(message) for message in closed_prompt(bench.task, job).messages]
        settings |= {"where": bench.where, "model": api.model, "template": api.template, "asked": asked}
    if arm.speaker not in ("closed", "tuned"):
        settings |= {"pair": bench.pair_mark, "pair_asked": pair_prompt(bench.task, job).messages[0].content}
    if arm.api_speaker in ("steered", "choice"):
        settings |= {"steering": turned_knobs(bench.steering(arm)), "top_k": bench.api.capabilities().top_k}
    if arm.api_speaker == "choice":
        settings["options"] = job.item.choices
    if arm.route is not None:
        settings["route"] = asdict(arm.route)
    if arm.speaker != "steered":
        settings["speaker"] = arm.speaker
        settings |= {"draws": arm.draws, "steering": turned_knobs(bench.steering(arm))} if arm.draws else {}
    return key_of(settings)


def place_key(bench: Bench, job: AnswerJob) -> str:
    """As `key`, for what the closed model says in the place of the fact."""
    of = key(bench, AnswerJob(Arm("in_place", "closed", 0, job.arm.who), job.item))
    place = place_of(job.item, bench.task.form)
    settings = {"of": of, "place": asdict(place), "top_k": bench.api.capabilities().top_k}
    return key_of(settings | {"length": bench.task.scorer.fact_tokens})


def answer(bench: Bench, job: AnswerJob) -> KeptAnswer:
    """Ask. An error of ours is kept in the answer (`Bench`); one of all further questions is raised.

    Those are OverBudget, and NotRecorded of a replay, which would else end otherwise than what was recorded.
    """
    blank = KeptAnswer(key(bench, job), bench.task.name, job.item.name, job.arm.name)
    makers = {
        "closed": _closed,
        "tuned": _closed,
        "steered": _steered,
        "choice": _choice,
        "expert": _expert,
        "route": _routed,
    }
    return _kept(bench, blank, lambda: makers.get(job.arm.speaker, _anti_expert)(bench, job, blank))


def in_place(bench: Bench, job: AnswerJob) -> KeptAnswer:
    """What the closed model says by itself in the place of the fact, and whether it shows the right one there."""
    place, asked = place_of(job.item, bench.task.form), closed_prompt(bench.task, job)
    before = place.before.encode()
    blank = KeptAnswer(place_key(bench, job), bench.task.name, job.item.name, "in_place")

    def make() -> KeptAnswer:
        said = text_of(go_on(bench.api, asked, before, length=bench.task.scorer.fact_tokens))
        shown = any(shows(bench.api, asked, before, text=text.encode()) for text in place.facts)
        return replace(blank, text=said, shown=shown)

    return _kept(bench, blank, make)


@final
@dataclass(frozen=True, slots=True)
class BenchQuestion:
    """What is answered in one go: an arm's question, or what the closed model says in the place of the fact."""

    job: AnswerJob
    in_place: bool = False

    def key(self, bench: Bench) -> str:
        """What its answer is kept under."""
        return place_key(bench, self.job) if self.in_place else key(bench, self.job)

    def blank(self, bench: Bench) -> KeptAnswer:
        """What is kept of it where nothing came."""
        arm = "in_place" if self.in_place else self.job.arm.name
        return KeptAnswer(self.key(bench), bench.task.name, self.job.item.name, arm)


AskBench: TypeAlias = Callable[[BenchQuestion], KeptAnswer]
"""Answers a question; one for each that may be under way at a time."""


def ask_here(bench: Bench, question: BenchQuestion) -> KeptAnswer:
    """Have a question answered in this process. Raises as `answer`."""
    return in_place(bench, question.job) if question.in_place else answer(bench, question.job)


def _kept(bench: Bench, blank: KeptAnswer, make: Callable[[], KeptAnswer]) -> KeptAnswer:
    before = time.perf_counter()
    try:
        return make()
    except (OverBudget, NotRecorded):
        raise
    except BlackboxProxyError as error:
        if not bench.keeps_errors:
            raise
        calls = error.partial.calls if error.partial else error.calls
        spent = _used(blank, used_by(calls))
        return replace(spent, error=error.message, seconds=time.perf_counter() - before, cost=cost_of(calls))


def _expert(bench: Bench, job: AnswerJob, blank: KeptAnswer) -> KeptAnswer:
    """The expert by itself, with what is known of its answer."""
    steering = replace(bench.task.steering, top_candidates=0, stop=(), repetition_stop=0)
    result = Stream(open_expert(pair_prompt(bench.task, job), offsets=bench.both, steering=steering)).result
    features = answer_features(result.steps)
    seconds, local = result.seconds, result.usage.local_seconds
    return replace(blank, text=result.text, seconds=seconds, local=local, cost=result.cost, features=features)


def _anti_expert(bench: Bench, job: AnswerJob, blank: KeptAnswer) -> KeptAnswer:
    """The anti-expert by itself: it calls nobody, so it costs no dollars."""
    _, member = bench.both.members
    before = time.perf_counter()
    text = member.answer(pair_prompt(bench.task, job), max_tokens=bench.task.max_tokens)
    seconds = time.perf_counter() - before
    return replace(blank, text=text.decode("utf-8", "replace"), seconds=seconds, local=seconds, cost=Decimal(0))


def _closed(bench: Bench, job: AnswerJob, blank: KeptAnswer) -> KeptAnswer:
    """The hosted model, by itself."""
    if job.arm.draws:
        return _most_frequent(bench, job, blank)
    before = time.perf_counter()
    asked = closed_prompt(bench.task, job)
    reply = bench.speaker(job.arm).complete(asked, max_tokens=bench.task.max_tokens)
    seconds = time.perf_counter() - before
    calls = calls_of(reply)
    return replace(_used(blank, used_by(calls)), text=text_of(reply), seconds=seconds, cost=cost_of(calls))


def _most_frequent(bench: Bench, job: AnswerJob, blank: KeptAnswer) -> KeptAnswer:
    """The most frequent of several whole answers of the hosted model; no pair has a say."""
    steerer = Steerer(bench.speaker(job.arm), OffsetTable({}), bench.steering(job.arm))
    result = steerer.complete(closed_prompt(bench.task, job))
    if result.finish == "budget":
        raise OverBudget(result.notes[-1], hint="raise the budget; what was answered is kept, and is not asked again")
    text = max(result.samples, key=lambda sample: sample.count).text
    kept = replace(_used(blank, result.usage), text=text, seconds=result.seconds, cost=result.cost)
    return replace(kept, samples=tuple(dict.fromkeys(sample.text for sample in result.samples)))


def _steered(bench: Bench, job: AnswerJob, blank: KeptAnswer) -> KeptAnswer:
    """The hosted model, steered; between its steps it can be stopped."""
    asked, pair_asked = closed_prompt(bench.task, job), pair_prompt(bench.task, job)
    running = Steerer(bench.api, bench.both, bench.steering(job.arm)).stream(asked, pair_prompt=pair_asked)
    return _run_through(bench, job, running, blank=blank)


def _routed(bench: Bench, job: AnswerJob, blank: KeptAnswer) -> KeptAnswer:
    """The expert where the route takes its answer, and who answers elsewhere."""
    if job.arm.route is None:
        raise InputError("an arm whose speaker is `route` needs a route", hint="fit one")
    opened = open_routed(
        job.arm.route,
        closed_prompt(bench.task, job),
        pair_prompt(bench.task, job),
        api=bench.api,
        offsets=bench.both,
        steering=bench.steering(job.arm),
        options=job.item.choices,
    )
    return _run_through(bench, job, Stream(opened), blank=blank)


def _run_through(bench: Bench, job: AnswerJob, running: Stream, *, blank: KeptAnswer) -> KeptAnswer:
    for _ in running:
        if bench.stop.is_set():
            raise Stopped
    result = running.result
    bench.on_result(job, result)
    if result.finish == "budget":
        raise OverBudget(result.notes[-1], hint="raise the budget; what was answered is kept, and is not asked again")
    return replace(
        _used(blank, result.usage),
        text=result.text,
        seconds=result.seconds,
        cost=result.cost,
        local=result.usage.local_seconds,
        tokens=len(result.steps),
        changed=result.changed,
        outside=result.outside,
        outweighed=result.outweighed,
        certified=result.certified,
        off=math.fsum(step.tv_bound for step in result.steps),
        exact=result.exactness == "exact",
        samples=tuple(dict.fromkeys(sample.text for sample in result.samples)),
    )


def _choice(bench: Bench, job: AnswerJob, blank: KeptAnswer) -> KeptAnswer:
    """The likeliest of the item's choices by their steered odds."""
    asked, pair_asked = closed_prompt(bench.task, job), pair_prompt(bench.task, job)
    steerer = Steerer(bench.api, bench.both, bench.steering(job.arm))
    choice = steerer.choose(asked, job.item.choices, pair_prompt=pair_asked)
    used = _used(blank, choice.usage)
    local = choice.usage.local_seconds
    return replace(used, text=choice.likeliest.text, seconds=choice.seconds, cost=choice.cost, local=local)


def _used(blank: KeptAnswer, usage: Usage) -> KeptAnswer:
    return replace(
        blank,
        calls=usage.requests,
        lost=usage.lost,
        input=usage.input,
        cached=usage.cached,
        output=usage.output,
        wasted=usage.wasted,
    )
