"""From a request to its answers: prompts are read, answers made side by side, steps turned into text as it is certain.

Knows no HTTP and no reply's shape.
"""

from __future__ import annotations

import asyncio
import math
import secrets
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import aclosing, nullcontext
from dataclasses import dataclass, field, replace
from typing import Any, final

from blackbox_proxy.api import Api
from blackbox_proxy.core.alignment.vocabulary import Vocabulary
from blackbox_proxy.core.decoding.given import Given
from blackbox_proxy.core.money.spending import cost_of as spent
from blackbox_proxy.errors import ApiBusy, ApiUnreachable, BlackboxProxyError, OverBudget
from blackbox_proxy.gateway.merging import merged
from blackbox_proxy.gateway.models import UNSTEERED, SteeredModel
from blackbox_proxy.gateway.requests import GatewayRequest, Source
from blackbox_proxy.gateway.watching.events import CLIENT_GONE, AnswerNow, request_now
from blackbox_proxy.openai_http.fields import Refusal
from blackbox_proxy.openai_http.transcript import Finish, Part, Writer
from blackbox_proxy.recipes import FittedRecipe
from blackbox_proxy.run.engine import AsyncStream
from blackbox_proxy.run.recipe import GREEDY, RecipeSteerer, check_greedy
from blackbox_proxy.run.steerer import Steerer
from blackbox_proxy.steering import Steering
from blackbox_proxy.types import Candidate, Kind, Prompt, Result, Step, TokenPath

FALLBACK = "fallback"
"""The tag of rows of an answer that was passed on; its value is the upstream that failed first."""

FINISHES: Mapping[str, Finish] = {"stop": "stop", "stop_string": "stop", "content_filter": "content_filter"}
"""OpenAI's words; an answer that is cut short by anything else has the finish "length"."""


@dataclass(frozen=True, slots=True)
class AnswerTask:
    """One answer to make, or one text to score, and the choices of the reply that it stands for."""

    prompt: Prompt | Given
    steering: Steering
    choices: tuple[int, ...]


@final
@dataclass(slots=True)
class GatewayTally:
    """The results of the answers that are through, each with how many choices it stands for.

    broken: those of answers that broke off. fallbacks: of each of the results the upstream that gave it, where that is
    not the model's first one.
    """

    results: list[tuple[Result, int]] = field(default_factory=list)
    broken: list[tuple[Result, int]] = field(default_factory=list)
    fallbacks: list[str | None] = field(default_factory=list)


def answer_tasks(request: GatewayRequest, model: SteeredModel) -> list[AnswerTask]:
    """The answers that a request asks for. Raises Refusal, or InputError, for what cannot be asked of this model.

    Greedy answers to one prompt are all equal, so one is made, and stands for all.
    """
    steering = _steering(request, model)
    tasks = []
    if request.echo:
        steering = replace(steering, top_candidates=max(steering.top_candidates, request.top or 0))
    for at, source in enumerate(request.sources):
        first = at * request.n
        whole = AnswerTask(_asked(source, request, model), steering, tuple(range(first, first + request.n)))
        if model.recipe is not None:
            _check_recipe(model.recipe, whole)
        if request.echo or steering.temperature == 0.0:
            tasks.append(whole)
            continue
        seeds = (replace(steering, seed=steering.seed + i) for i in range(request.n))
        tasks += [replace(whole, steering=seeded, choices=(first + i,)) for i, seeded in enumerate(seeds)]
    return tasks


def _check_recipe(recipe: FittedRecipe, task: AnswerTask) -> None:
    """Raises Refusal, or InputError, for what a recipe cannot answer."""
    check_greedy(recipe, task.steering)
    if isinstance(task.prompt, Prompt):
        recipe.asked(task.prompt)
    elif recipe.way in GREEDY:
        raise Refusal(f"This model answers by the way '{recipe.way}' and has no log-probs of a prompt.", param="echo")


def _asked(source: Source, request: GatewayRequest, model: SteeredModel) -> Prompt | Given:
    return given_of(source, model, goes_on=request.goes_on) if request.echo else text_of(source, model)


def _steering(request: GatewayRequest, model: SteeredModel) -> Steering:
    """The model's steering with what the request sets. Without a seed chance is not repeated.

    Without a pair alpha is 0: the answer is the upstream's own.
    """
    knobs: dict[str, Any] = dict(request.knobs)
    if "seed" not in knobs and model.steering.seed == 0:
        knobs["seed"] = secrets.randbits(62)
    if model.offsets is UNSTEERED:
        knobs |= {"alpha": 0.0, "schedule": None}
    return replace(model.steering, **knobs)


def text_of(source: Source, model: SteeredModel) -> Prompt:
    """A prompt as text. Raises Refusal for ids where the upstream's tokenizer is unknown, or that are no text."""
    if isinstance(source, Prompt):
        return source
    return Prompt(text=_spelt(source, model))


def given_of(source: Source, model: SteeredModel, *, goes_on: bool) -> Given:
    """A prompt as a text to score; in ids where they were sent and the upstream takes them. Raises as `text_of`."""
    text = text_of(source, model).text.encode()
    vocabulary = model.api.vocabulary
    if isinstance(source, Prompt) or vocabulary is None:
        return Given(text, goes_on=goes_on, prompt=len(text))
    tokens = tuple(_token(i, vocabulary) for i in source)
    return Given(text, tokens, as_ids=model.api.capabilities().token_ids, goes_on=goes_on, prompt=len(text))


def _token(i: int, vocabulary: Vocabulary) -> Candidate:
    kind = Kind.END if i in vocabulary.ends else Kind.TEXT if vocabulary.is_text[i] else Kind.SPECIAL
    return Candidate(vocabulary.pieces[i], math.nan, kind, i)


def _spelt(ids: TokenPath, model: SteeredModel) -> str:
    """The text that ids stand for; special tokens by their names."""
    vocabulary = model.api.vocabulary
    if vocabulary is None:
        raise Refusal(
            f"Invalid 'prompt': the tokenizer of '{model.name}' is not known here, so token ids cannot be read. "
            "Send text.",
            param="prompt",
        )
    if not all(0 <= i < len(vocabulary) for i in ids):
        raise Refusal(f"Invalid 'prompt': token ids go from 0 to {len(vocabulary) - 1}.", param="prompt")
    try:
        return b"".join(vocabulary.pieces[i] for i in ids).decode("utf-8")
    except UnicodeDecodeError:
        raise Refusal("Invalid 'prompt': these token ids are not whole UTF-8 text.", param="prompt") from None


Parts = AsyncGenerator[tuple[int, Part[Step]], None]
"""Parts of a reply, each with the number of its choice."""


async def answers(
    request: GatewayRequest, tasks: Sequence[AnswerTask], model: SteeredModel, *, tally: GatewayTally
) -> Parts:
    """The parts of all choices, each one's in order; what they took is put into the tally.

    Raises Refusal where the queue is full or a budget allows nothing, and what `Steerer.astream` raises.
    """
    with model.gate.admitted():
        async with aclosing(merged([_answer(request, task, model, tally=tally) for task in tasks])) as parts:
            async for choice, part in parts:
                yield choice, part


def _stream(task: AnswerTask, api: Api, model: SteeredModel) -> AsyncStream:
    if model.recipe is not None and isinstance(task.prompt, Prompt):
        return RecipeSteerer(model.recipe, api, model.offsets, task.steering).astream(task.prompt)
    steerer = Steerer(api, model.offsets, task.steering)
    return steerer.astream_score(task.prompt) if isinstance(task.prompt, Given) else steerer.astream(task.prompt)


@final
@dataclass(slots=True)
class _Making:
    """One answer while it is made, at one upstream after another.

    model: what was asked for. at: where it is asked now. stream: what comes from there; None where nothing is under
    way. failed: what there was at those before, which gave no token.
    """

    request: GatewayRequest
    task: AnswerTask
    model: SteeredModel
    tally: GatewayTally
    at: SteeredModel
    stream: AsyncStream | None = None
    now: AnswerNow | None = None
    failed: list[Result] = field(default_factory=list)

    def tags(self) -> Mapping[str, str]:
        """Those of the request; of an answer that was passed on also who failed first."""
        tags = self.request.tags or {}
        return {**tags, FALLBACK: self.model.upstream} if self.failed else tags

    def begin(self, stream: AsyncStream) -> AnswerNow:
        """The answer is made at the present upstream."""
        self.stream = stream
        if self.now is None:
            task, at = self.task, self.at
            self.now = AnswerNow(
                request_now.get(), at.upstream, at.api.model, task.prompt, task.steering, len(task.choices)
            )
            self.model.watches.begun(self.now)
        return self.now

    def pass_on(self, to: SteeredModel) -> bool:
        """Whether the next upstream is asked: not once a token has come. What there was is kept then."""
        if self.now is None or self.stream is None or self.now.first is not None:
            return False
        failed, self.now.upstream, self.now.asked = self.now.upstream, to.upstream, to.api.model
        self.failed.append(self.stream.partial)
        self.at, self.stream = to, None
        self.model.watches.passed_on(self.now, failed)
        return True

    def end(self, result: Result) -> None:
        """The answer is through."""
        whole = after_failures(self.failed, result)
        self.tally.results.append((whole, len(self.task.choices)))
        self.tally.fallbacks.append(self.at.upstream if self.failed else None)
        self.model.counts.add(result)
        self._tell(whole)
        self.stream, self.failed = None, []

    def break_off(self, error: BaseException) -> None:
        """It broke off, or its client left: what there is of it is paid for."""
        parts = self.failed if self.stream is None else [*self.failed, self.stream.partial]
        if not parts:
            return
        gone = not isinstance(error, BlackboxProxyError)
        if gone and self.now is not None:
            self.now.request.fail(CLIENT_GONE)
        partial = after_failures(parts[:-1], parts[-1])
        self.tally.broken.append((partial, 1))
        self._tell(partial, error="the client left" if gone else getattr(error, "message", ""))

    def _tell(self, result: Result, *, error: str = "") -> None:
        self.at.keep(self.task.prompt, self.task.steering, result, tags=self.tags(), error=error)
        if self.now is not None:
            self.model.watches.answered(self.now, result, error=error)


async def _answer(request: GatewayRequest, task: AnswerTask, model: SteeredModel, *, tally: GatewayTally) -> Parts:
    # First the pair: who waits for it must not keep the upstream from models that it does not steer.
    async with model.room:
        making = _Making(request, task, model, tally, at=model)
        # The log-probs of a text are one model's: another's would be another measurement.
        others = () if isinstance(task.prompt, Given) else model.fallbacks
        try:
            for after in (*others, None):
                try:
                    async with aclosing(_parts(making)) as parts:
                        async for part in parts:
                            yield part
                except (ApiUnreachable, ApiBusy):
                    if after is None or not making.pass_on(after):
                        raise
                else:
                    return
        except BaseException as error:
            making.break_off(error)
            raise


async def _parts(making: _Making) -> Parts:
    """The parts of an answer as the present upstream gives them."""
    task, at = making.task, making.at
    with at.gate.admitted() if making.failed else nullcontext():
        async with at.gate.slot():
            stream = await asyncio.to_thread(_stream, task, at.api.tagged(making.tags()), at)
            now = making.begin(stream)
            scores = isinstance(task.prompt, Given)
            writer: Writer[Step] = Writer(stops=() if scores else [stop.encode() for stop in task.steering.stop])
            ended = False
            async with aclosing(stream):
                async for step in stream:
                    making.model.watches.token(now)
                    part = writer.take(step, step.piece, ends=step.kind is Kind.END and not scores)
                    ended = part.finish is not None
                    for choice in task.choices if part else ():
                        yield choice, part
                result = await stream.result()
        making.end(result)
        if result.finish == "budget" and not result.steps:
            raise OverBudget(result.notes[-1])
        if not ended:
            last = replace(writer.close(FINISHES.get(result.finish, "length")), stop=_stop(result, task.steering))
            for choice in task.choices:
                yield choice, last


def after_failures(failed: Sequence[Result], result: Result) -> Result:
    """An answer with what was asked for it in vain before. failed: what there was of that, and no token."""
    calls = tuple(call for one in failed for call in one.calls)
    if not failed:
        return result
    cost = result.cost
    if any(call.usage.answered for call in calls):
        cost = spent((*calls, *result.calls))
    usage = sum((one.usage for one in failed), result.usage)
    return replace(result, calls=(*calls, *result.calls), usage=usage, cost=cost)


def _stop(result: Result, steering: Steering) -> str | None:
    """The stop string that a whole answer ended at, "" where it may be one of several; None where it did not."""
    if result.finish != "stop_string":
        return None
    return steering.stop[0] if len(steering.stop) == 1 else ""
