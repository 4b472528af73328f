"""Steered runs over every route and driver, against a stand-in with faults or against a cassette; and no network."""

from __future__ import annotations

import asyncio
import math
import random
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from typing import cast

from pytest_socket import disable_socket, enable_socket, socket_allow_hosts

from blackbox_proxy.api import Api
from blackbox_proxy.cassettes.matching import Replay
from blackbox_proxy.cassettes.opening import Tape
from blackbox_proxy.errors import BlackboxProxyError
from blackbox_proxy.ledger.books import Ledger
from blackbox_proxy.remote.registry import load_adapter
from blackbox_proxy.remote.retry import RetryPolicy
from blackbox_proxy.remote.transport import Clock, Transport
from blackbox_proxy.run.steerer import Steerer
from blackbox_proxy.standin import running
from blackbox_proxy.standin.plan import FaultPlan, drawn, read_kinds
from blackbox_proxy.steering import Steering, Who
from blackbox_proxy.testing import ToyModel, ToyPair
from blackbox_proxy.types import Prompt, Result
from tests.adapters.shapes import RESPONSES, Json, native
from tests.fault_bench import DRIVERS, END, MORE, ROUTES, TOP_K, Driver, Route, toy_script
from tests.remote.scripted import ScriptedApi

LLAMA: Json = {
    "path": "/completion",
    "decoder": "llama_native",
    "logprobs_kind": "n_probs",
    "length_field": "n_predict",
    "bytes_trust": "exact",
    "token_ids": True,
}
ALL: dict[str, Route] = {
    **ROUTES,
    **MORE,
    "responses": Route("chat_continue", {**RESPONSES, "strategies": ("instruct",)}),
    "llama": Route("completions", LLAMA, "ids"),
}
KINDS = "429:0+429:0+500+503+reset+cut+truncated+garbage+html+error200"
DRAFTERS: dict[str, tuple[Who, ...]] = {
    **dict.fromkeys(("text", "ids", "chat_prefill"), ("api", "pair_prefixes", "auto")),
    "lists": ("pair_prefixes", "auto"),
    "echo": ("pair_echo", "auto"),
}
TOY = toy_script()
EMPTY = Prompt(text="")


def toy_pair() -> ToyPair:
    return ToyPair(ToyModel(TOY.vocabulary, 3), ToyModel(TOY.vocabulary, 4))


@dataclass(frozen=True, slots=True)
class TapedRun:
    """One answer: by which route and driver, to which question, steered how."""

    number: int
    route: str
    driver: Driver
    steering: Steering

    @property
    def question(self) -> str:
        return f"say {self.number}?"


@dataclass(frozen=True, slots=True)
class Came:
    """What came of a run: a result, or an error with what there was until then."""

    result: Result | None
    kind: str = ""
    message: str = ""


def drawn_runs(count: int, *, seed: int = 0) -> list[TapedRun]:
    """Runs by chance: every route and driver in turn, drafters and samplings as they fall."""
    chance, runs = random.Random(seed), []
    for number in range(count):
        route = sorted(ALL)[number % len(ALL)]
        drafter = chance.choice(DRAFTERS.get(route, ("api",)))
        temperature = chance.choice((0.0, 0.0, 0.7, 1.0)) if drafter == "api" else 0.0
        steering = Steering(
            alpha=chance.choice((0.0, 0.5, 0.7, 1.0)),
            target=chance.choice(("topk", "full")),
            rule="none",
            event=ALL[route].event,
            max_tokens=chance.choice((3, 5, 8)),
            draft=chance.choice((1, 3)),
            drafter=drafter,
            temperature=temperature,
            top_p=chance.choice((1.0, 0.9)) if temperature else 1.0,
            seed=chance.randrange(1000),
        )
        runs.append(TapedRun(number, route, DRIVERS[number // len(ALL) % len(DRIVERS)], steering))
    return runs


def llama_answer(body: Json) -> Json:
    """llama.cpp's own shape, over the toy: greedy, or drawn by the seed."""
    path = tuple(cast(list[int], body["prompt"]))
    chance = random.Random(str(body.get("seed")))
    rows: list[Json] = []
    for _ in range(cast(int, body["n_predict"])):
        logits = TOY.logits(path).astype(float)
        logps = logits - math.log(sum(math.exp(one) for one in logits))
        best = sorted(range(len(logps)), key=lambda i: -logps[i])[:TOP_K]
        top = [shown(i, float(logps[i])) for i in best]
        at = chance.randrange(2) if body.get("temperature") else 0
        rows.append({**top[at], "top_logprobs": top})
        path = (*path, best[at])
    return native(*rows, prompt="what was asked")


def shown(token: int, logp: float) -> Json:
    piece = TOY.vocabulary.pieces[token]
    return {"id": token, "token": piece.decode("utf-8", "replace"), "bytes": list(piece), "logprob": logp}


@dataclass
class TapeBench:
    """Where runs go: the addresses by route, and the clock's own pauses, which are not slept."""

    url: str
    native: str
    slept: list[float] = field(default_factory=list)

    def answer(self, run: TapedRun, tape: Tape | None, ledger: Ledger | None, *, attempts: int = 5) -> Came:
        """One run, from a fresh connection."""
        api = self.api(run, tape, ledger, attempts=attempts)
        try:
            return Came(by(run, api))
        except BlackboxProxyError as error:
            return Came(error.partial, type(error).__name__, error.message)

    def api(self, run: TapedRun, tape: Tape | None, ledger: Ledger | None, *, attempts: int) -> Api:
        way, url = ALL[run.route], self.native if run.route == "llama" else self.url
        transport = Transport(
            url,
            None,
            retry=RetryPolicy(attempts=attempts),
            clock=Clock(sleep=self.slept.append, async_sleep=self._sleep, draw=lambda: 0.0),
            tape=tape,
        )
        adapter = load_adapter(way.adapter, top_k=TOP_K, end_pieces=[END], **way.options)
        account = ledger and ledger.account("http://toy", "toy", replayed=isinstance(tape, Replay))
        return Api("toy", transport, adapter, "{{ messages[0].content }}", account=account)

    async def _sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        await asyncio.sleep(0)

    def answers(self, runs: Sequence[TapedRun], tape: Tape, ledger: Ledger | None, *, at_once: int = 8) -> list[Came]:
        """All runs, so many at a time."""
        with ThreadPoolExecutor(at_once) as pool:
            return list(pool.map(lambda run: self.answer(run, tape, ledger), runs))


def by(run: TapedRun, api: Api) -> Result:
    """An answer, by the run's driver."""
    steerer = Steerer(api, toy_pair(), run.steering)
    if run.driver == "asteer":

        async def awaited() -> Result:
            async with api:
                return await steerer.acomplete(run.question, pair_prompt=EMPTY)

        return asyncio.run(awaited())
    with api:
        if run.driver == "stream":
            return steerer.stream(run.question, pair_prompt=EMPTY).result
        return steerer.complete(run.question, pair_prompt=EMPTY)


@contextmanager
def taped_bench(*, share: float = 0.25, seed: int = 0) -> Iterator[TapeBench]:
    """A stand-in whose requests fail by chance, and a server that speaks as llama.cpp does."""
    plan = FaultPlan(drawn(share, read_kinds(KINDS), seed=seed, budget=None))
    with ExitStack() as stack:
        url = stack.enter_context(running(TOY, name="toy", top_k=TOP_K, plan=plan, slots=8))
        server = stack.enter_context(ScriptedApi(answer=llama_answer))
        yield TapeBench(url, server.url)


@contextmanager
def no_network() -> Iterator[None]:
    """Sockets cannot be opened, not to this machine either; event loops have theirs."""
    disable_socket(allow_unix_socket=True)
    try:
        yield
    finally:
        enable_socket()
        socket_allow_hosts(["127.0.0.1", "::1", "localhost"], allow_unix_socket=True)


def exactly(came: Came) -> str:
    """All of it to the last digit, without what no two runs share: seconds. Text, since NaN is not equal to itself."""
    if came.result is None:
        return repr(came)
    usage = replace(came.result.usage, local_seconds=0.0)
    return repr(replace(came, result=replace(came.result, seconds=0.0, usage=usage)))
