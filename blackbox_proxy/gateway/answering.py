"""From a request to its answers: prompts are read, answers made side by side, steps turned into text as it is certain.

Knows no HTTP and no reply's shape.
"""

from __future__ import annotations

import asyncio
import math
import secrets
from collections.abc import AsyncGenerator, Callable, Iterator, Mapping, Sequence
from contextlib import aclosing, contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, final

from blackbox_proxy.api import Api
from blackbox_proxy.core.alignment.vocabulary import Vocabulary
from blackbox_proxy.core.decoding.given import Given
from blackbox_proxy.errors import BlackboxProxyError, OverBudget
from blackbox_proxy.gateway.bias import by_strings
from blackbox_proxy.gateway.merging import merged
from blackbox_proxy.gateway.models import UNSTEERED, SteeredModel
from blackbox_proxy.gateway.requests import GatewayRequest, Source
from blackbox_proxy.openai_http.fields import Refusal
from blackbox_proxy.openai_http.transcript import Finish, Part, Writer
from blackbox_proxy.recipes import FittedRecipe
from blackbox_proxy.run.engine import AsyncStream
from blackbox_proxy.run.recipe import GREEDY, RecipeSteerer, check_greedy
from blackbox_proxy.run.steerer import Steerer
from blackbox_proxy.steering import Steering
from blackbox_proxy.types import Candidate, Kind, Prompt, Result, Step, TokenPath

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
    """The results of the answers that are through, each with how many choices it stands for."""

    results: list[tuple[Result, int]] = field(default_factory=list)


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
    if request.bias:
        knobs["token_bias"] = by_strings(request.bias, model.api.vocabulary, model=model.name)
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


@contextmanager
def _keeping(stream: AsyncStream, keep: Callable[..., None]) -> Iterator[None]:
    """Keeps what there is of an answer that breaks off, or whose client leaves: it is paid for."""
    try:
        yield
    except BaseException as error:
        why = error.message if isinstance(error, BlackboxProxyError) else "the client left"
        keep(stream.partial, error=why)
        raise


async def _answer(request: GatewayRequest, task: AnswerTask, model: SteeredModel, *, tally: GatewayTally) -> Parts:
    # First the pair: who waits for it must not keep the upstream from models that it does not steer.
    async with model.room, model.gate.slot():
        api = model.api.tagged(request.tags or {})
        scores = isinstance(task.prompt, Given)
        stream = await asyncio.to_thread(_stream, task, api, model)
        writer: Writer[Step] = Writer(stops=() if scores else [stop.encode() for stop in task.steering.stop])
        ended = False
        keep = partial(model.keep, task.prompt, task.steering, tags=request.tags or {})
        async with aclosing(stream):
            with _keeping(stream, keep):
                async for step in stream:
                    part = writer.take(step, step.piece, ends=step.kind is Kind.END and not scores)
                    ended = part.finish is not None
                    for choice in task.choices if part else ():
                        yield choice, part
                result = await stream.result()
        keep(result)
        tally.results.append((result, len(task.choices)))
        model.counts.add(result)
        if result.finish == "budget" and not result.steps:
            raise OverBudget(result.notes[-1])
        if not ended:
            last = replace(writer.close(FINISHES.get(result.finish, "length")), stop=_stop(result, task.steering))
            for choice in task.choices:
                yield choice, last


def _stop(result: Result, steering: Steering) -> str | None:
    """The stop string that a whole answer ended at, "" where it may be one of several; None where it did not."""
    if result.finish != "stop_string":
        return None
    return steering.stop[0] if len(steering.stop) == 1 else ""
