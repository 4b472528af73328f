"""Measures what each drafter, and the planner, take for the same texts: calls, tokens, money, seconds.

Real weights: the demo's closed model behind the stand-in, over HTTP, each answer 100 ms later than it is ready; the
demo's pair, read row by row, so that drafts change no rounding. Loads: `format`: the demo's held-out questions, where
the pair changes most tokens; `plain`: ordinary prompts, steered with alpha 0.5. Strategies: `naive`: one token a call;
the three drafters, each with one length; the planner for cost and for latency, and without echo.

All figures are per emitted token, over all answers of a load. cost_usd: by two prices in USD per million tokens, `flat`
1 for each, `cached` 0.15 (0.075 from a cache) in and 0.60 out; the planner for cost is run for each price, and its
other figures are those of `cached`. same_text: whether every text is that of `naive`.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from importlib.resources import as_file, files

from blackbox_proxy.api import Api, connect
from blackbox_proxy.core.alignment.vocabulary import Vocabulary
from blackbox_proxy.core.decoding.drafting import CostRatios, Planner
from blackbox_proxy.evaluation.serving import CLOSED, TOP_K
from blackbox_proxy.local.pair import Pair, PairFiles, open_pair
from blackbox_proxy.local.weights import default_cache, resolve
from blackbox_proxy.run.steerer import Steerer
from blackbox_proxy.standin.server import running
from blackbox_proxy.steering import Prefer, Steering
from blackbox_proxy.tasks.demonstration import LOCAL
from blackbox_proxy.types import NO_RUN, Ask, Capabilities, Prompt, Purpose, Reply, Usage
from tests.bench.loads import STEERING, asked_and_read
from tests.bench.prompts import prompts

LATENCY = 0.1
PRICES = {"flat": CostRatios(1e-6, 1e-6, 1e-6), "cached": CostRatios(0.15e-6, 0.075e-6, 0.60e-6)}
LIMIT = 16

Figures = dict[str, object]


@dataclass
class Counted:
    """An endpoint whose round trips are counted; `echo` may be taken from it."""

    api: Api
    echo: bool = True
    calls: int = 0

    @property
    def model(self) -> str:
        return self.api.model

    @model.setter
    def model(self, name: str) -> None:
        self.api.model = name

    @property
    def vocabulary(self) -> Vocabulary | None:
        return self.api.vocabulary

    def capabilities(self) -> Capabilities:
        can = self.api.capabilities()
        return replace(can, echo=can.echo and self.echo)

    def text(self, prompt: Prompt) -> str:
        return self.api.text(prompt)

    def send(self, ask: Ask, purpose: Purpose = NO_RUN, /) -> Reply:
        self.calls += 1
        return self.api.send(ask, purpose)

    async def asend(self, ask: Ask, purpose: Purpose = NO_RUN, /) -> Reply:
        self.calls += 1
        return await self.api.asend(ask, purpose)

    def send_list(self, asks: Sequence[Ask], purpose: Purpose = NO_RUN, /) -> Sequence[Reply]:
        self.calls += 1
        return self.api.send_list(asks, purpose)

    async def asend_list(self, asks: Sequence[Ask], purpose: Purpose = NO_RUN, /) -> Sequence[Reply]:
        self.calls += 1
        return await self.api.asend_list(asks, purpose)


@dataclass(frozen=True)
class Strategy:
    """How drafts are made. prefer: what a planner aims at, None where there is none."""

    steering: Mapping[str, object]
    prefer: Prefer | None = None
    echo: bool = True


STRATEGIES = {
    "naive": Strategy({"draft": 1}),
    "api_window": Strategy({"draft": 8}),
    "pair_draft": Strategy({"drafter": "pair_prefixes", "draft": 7}),
    "echo_verify": Strategy({"drafter": "pair_echo", "draft": 8}),
    "planner_cost": Strategy({"drafter": "auto", "draft": LIMIT}, "cost"),
    "planner_latency": Strategy({"drafter": "auto", "draft": LIMIT}, "latency"),
    "planner_cost_without_echo": Strategy({"drafter": "auto", "draft": LIMIT}, "cost", echo=False),
    "planner_latency_without_echo": Strategy({"drafter": "auto", "draft": LIMIT}, "latency", echo=False),
}


@dataclass(frozen=True)
class Load:
    """What is asked of the API and read by the pair, and how it is steered."""

    steering: Steering
    rows: Sequence[tuple[str, str]]


def loads(count: int) -> dict[str, Load]:
    """Both loads, with so many questions each."""
    held_out = asked_and_read("told", "heldout", n=count, seed=1)
    plain = [(text, text) for kind, text in prompts() if kind != "script"][:count]
    return {
        "format": Load(STEERING, held_out),
        "plain": Load(replace(STEERING, alpha=0.5, max_tokens=32), plain),
    }


@dataclass
class Spent:
    """What the answers of a load took."""

    texts: list[str] = field(default_factory=list)
    tokens: int = 0
    calls: int = 0
    usage: Usage = field(default_factory=Usage)
    seconds: float = 0.0

    def figures(self) -> Figures:
        each = {
            "requests_per_token": self.usage.requests,
            "round_trips_per_token": self.calls,
            "input_per_token": self.usage.input,
            "output_per_token": self.usage.output,
            "seconds_per_token": self.seconds,
        }
        return {name: round(total / self.tokens, 4) for name, total in each.items()}

    def cost(self, prices: CostRatios) -> float:
        return float(f"{prices.of(self.usage) / self.tokens:.4g}")


def play(load: Load, strategy: Strategy, api: Api, pair: Pair, *, prices: CostRatios) -> Spent:
    """All answers of a load by one strategy; one planner for all of them."""
    spent, counted = Spent(), Counted(api, strategy.echo)
    planner = Planner(prefer=strategy.prefer, prices=prices) if strategy.prefer else None
    steering = replace(load.steering, **strategy.steering)  # type: ignore[arg-type]
    for asked, text in load.rows:
        before = time.perf_counter()
        own = Prompt.ask(text)
        result = Steerer(counted, pair, steering, planner=planner).complete(asked, pair_prompt=own)
        spent.seconds += time.perf_counter() - before
        spent.texts.append(result.text)
        spent.tokens += len(result.steps)
        spent.usage += result.usage
    spent.calls = counted.calls
    return spent


@contextmanager
def staged() -> Iterator[tuple[Api, Pair]]:
    """The closed model behind the stand-in, and the demo's pair."""
    cache = default_cache(os.environ)
    closed, local = resolve(CLOSED, cache=cache), resolve(LOCAL, cache=cache)
    options = {"top_k": TOP_K, "echo": True, "prompt_lists": True}
    quirks = [f"latency={LATENCY}"]
    with (
        as_file(files("blackbox_proxy.tasks") / "demo-told" / "house-format.lora.gguf") as lora,
        running(closed, name="closed", top_k=TOP_K, slots=1, threads=1, context=1024, quirks=quirks) as url,
        connect(url, model="closed", template="chatml", tokenizer=f"gguf:{closed}", options=options) as api,
        open_pair(PairFiles(local, local, lora, context=1024, rows=1)) as pair,
    ):
        yield api, pair


def measure(count: int) -> dict[str, dict[str, Figures]]:
    """Figures by load and strategy."""
    with staged() as (api, pair):
        return {name: _load(load, api, pair) for name, load in loads(count).items()}


def _load(load: Load, api: Api, pair: Pair) -> dict[str, Figures]:
    found: dict[str, Figures] = {}
    texts: list[str] = []
    for name, strategy in STRATEGIES.items():
        spent = play(load, strategy, api, pair, prices=PRICES["cached"])
        texts = texts or spent.texts
        flat = spent
        if strategy.prefer == "cost":
            flat = play(load, strategy, api, pair, prices=PRICES["flat"])
        cost = {"flat": flat.cost(PRICES["flat"]), "cached": spent.cost(PRICES["cached"])}
        found[name] = {**spent.figures(), "cost_usd": cost, "same_text": spent.texts == flat.texts == texts}
        print(f"{name}: {found[name]}", flush=True)
    return found
