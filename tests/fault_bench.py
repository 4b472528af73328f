"""A toy API over real HTTP whose every request fails as a test says, and the adapters and drivers to steer it with."""

from __future__ import annotations

import asyncio
import random
from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Literal

from blackbox_proxy.api import Api
from blackbox_proxy.ledger.books import Account
from blackbox_proxy.remote.registry import load_adapter
from blackbox_proxy.remote.retry import RetryPolicy
from blackbox_proxy.remote.transport import Clock, Transport
from blackbox_proxy.run.steerer import Steerer, steer
from blackbox_proxy.standin import Script, Traffic, running, script
from blackbox_proxy.standin.plan import Fault, FaultPlan, read_plan
from blackbox_proxy.steering import Steering, Who
from blackbox_proxy.testing import ToyModel, ToyPair
from blackbox_proxy.types import Attempt, Prompt, Result, Usage

WORDS = [b" red", b" green", b" blue", b" gold", b" grey"]
END = b"</s>"
QUESTION = "say?"
TOP_K = len(WORDS) + 1
EMPTY = Prompt(text="")

Driver = Literal["steer", "stream", "asteer"]
DRIVERS: tuple[Driver, ...] = ("steer", "stream", "asteer")


@dataclass(frozen=True, slots=True)
class Route:
    """An adapter with its options, how text is told to the loop, and who drafts; None: as the steering has it."""

    adapter: str
    options: Mapping[str, object] = field(default_factory=dict)
    event: Literal["bytes", "ids"] = "bytes"
    drafter: Who | None = None


FORCED = {"strategies": ("forced",), "structured": "pattern"}
ROUTES = {
    "text": Route("completions"),
    "ids": Route("completions", {"token_ids": True}, "ids"),
    "chat_prefill": Route("chat_prefill"),
    "chat_continue": Route("chat_continue", {"strategies": ("instruct",)}),
    "forced": Route("chat_continue", FORCED),
    "forced echo": Route("chat_continue", {**FORCED, "structured_logprobs": "before"}, drafter="pair_echo"),
}
MORE = {
    "three ways": Route("chat_continue"),
    "forcing": Route("chat_continue", {"structured": "pattern"}),
    "lists": Route("completions", {"prompt_lists": True}),
    "echo": Route("completions", {"echo": True}),
}
"""Routes on which one question takes several requests, or one request answers several."""
STEERING = Steering(alpha=0.5, target="topk", rule="none", max_tokens=4, draft=3)

OUTCOMES = {
    "ok": "ok",
    "hang": "timeout",
    **dict.fromkeys(("reset", "cut"), "unreachable"),
    **dict.fromkeys(("truncated", "garbage", "html"), "unreadable"),
}
"""What accounting calls an attempt; `busy` where nothing stands here."""

LOST = frozenset({"hang", "reset", "cut", "truncated", "garbage", "html"})
"""After these nobody knows what the attempt cost."""


def toy_script() -> Script:
    """Colours that follow each other; asked in words to begin with a colour, it does, and goes on from there."""

    def distribution(seed: int) -> dict[bytes, float]:
        chance = random.Random(seed)
        return {**{word: chance.random() + 0.05 for word in WORDS}, END: 0.05}

    bare = [word.strip() for word in WORDS]
    again = {f"«{word.decode()}»".encode(): {word: 0.97, bare[0]: 0.02, END: 0.01} for word in bare}
    after = {word: distribution(n) for n, word in enumerate(bare, 1)}
    template = "{% for m in messages %}{{ m.content }}{% endfor %}"
    letters = [bytes([byte]) for byte in range(256)]
    return script([*letters, *WORDS, *bare], [END], {b"": distribution(0), **after, **again}, template=template)


class Feed:
    """Faults for the requests to come; `ok` when there are none."""

    def __init__(self) -> None:
        self.left: deque[Fault] = deque()

    def __iter__(self) -> Feed:
        return self

    def __next__(self) -> Fault:
        if not self.left:
            raise StopIteration
        return self.left.popleft()


@dataclass
class Bench:
    """The API, and what was asked of it. attempts, slept: of the last answer; known: answers without faults."""

    url: str
    pair: ToyPair
    feed: Feed
    traffic: Traffic
    runner: asyncio.Runner
    attempts: list[Attempt] = field(default_factory=list)
    slept: list[float] = field(default_factory=list)
    transports: dict[tuple[float, int], Transport] = field(default_factory=dict)
    known: dict[tuple[str, Steering], Result] = field(default_factory=dict)

    def answer(
        self,
        route: str,
        driver: Driver,
        plan: Iterable[Fault] = (),
        *,
        steering: Steering = STEERING,
        timeout: float = 60.0,
        attempts: int = 4,
        account: Account | None = None,
    ) -> Result:
        """One steered answer while requests fail by the plan."""
        way = (ROUTES | MORE)[route]
        own = replace(steering, event=way.event, drafter=way.drafter or steering.drafter)
        api = replace(self.api(route, plan, timeout=timeout, attempts=attempts), account=account)
        if driver == "stream":
            run = Steerer(api, self.pair, own).stream(QUESTION, pair_prompt=EMPTY)
            handed = tuple(run)
            assert run.result.steps == handed
            return run.result
        if driver == "asteer":
            return self.runner.run(Steerer(api, self.pair, own).acomplete(QUESTION, pair_prompt=EMPTY))
        return steer(QUESTION, api=api, offsets=self.pair, steering=own, pair_prompt=EMPTY)

    def api(self, route: str, plan: Iterable[Fault], *, timeout: float = 60.0, attempts: int = 4) -> Api:
        """The API by one route, whose next requests fail by the plan."""
        self.feed.left = deque(plan)
        self.attempts.clear()
        self.slept.clear()
        way = (ROUTES | MORE)[route]
        adapter = load_adapter(way.adapter, top_k=TOP_K, end_pieces=[END], **way.options)
        return Api("toy", self._transport(timeout, attempts), adapter, "{{ messages[0].content }}")

    def _transport(self, timeout: float, attempts: int) -> Transport:
        """One for all adapters, since a client takes longer to make than an answer."""
        key = (timeout, attempts)
        if key not in self.transports:
            self.transports[key] = Transport(
                self.url,
                None,
                timeout=timeout,
                retry=RetryPolicy(attempts=attempts),
                clock=Clock(sleep=self.slept.append, async_sleep=self._sleep, draw=lambda: 0.0),
                on_attempt=self.attempts.append,
            )
        return self.transports[key]

    async def _sleep(self, seconds: float) -> None:
        self.slept.append(seconds)

    def close(self) -> None:
        for transport in self.transports.values():
            self.runner.run(transport.aclose())


@contextmanager
def benched() -> Iterator[Bench]:
    """A bench over a fresh server."""
    toy, feed, traffic = toy_script(), Feed(), Traffic()
    pair = ToyPair(ToyModel(toy.vocabulary, 3), ToyModel(toy.vocabulary, 4))
    with (
        running(toy, name="toy", top_k=TOP_K, plan=FaultPlan(feed), traffic=traffic) as url,
        asyncio.Runner() as runner,
    ):
        bench = Bench(url, pair, feed, traffic, runner)
        try:
            yield bench
        finally:
            bench.close()


def plan_for(calls: int, pattern: str, *, first: int | None = None) -> tuple[Fault, ...]:
    """Before each of the calls, or the `first` few of them, the faults of the pattern."""
    failing = calls if first is None else min(first, calls)
    return read_plan(",".join([*[f"{pattern},ok"] * failing, *["ok"] * (calls - failing)]))


def outcomes(plan: Iterable[Fault]) -> list[str]:
    """What accounting should call the attempts of a plan."""
    return [OUTCOMES.get(fault.word, "busy") for fault in plan]


def faults_of(plan: Iterable[Fault]) -> int:
    return sum(fault.word != "ok" for fault in plan)


def lost_of(plan: Iterable[Fault]) -> int:
    return sum(fault.word in LOST for fault in plan)


def billed(usage: Usage) -> Usage:
    """A usage without what another run may change: seconds, what the server's cache held, and what failed."""
    return replace(usage, cached=0, local_seconds=0.0, requests=usage.answered, lost=0, refused=0)
