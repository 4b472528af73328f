"""`connect(record=, replay=)`: faults, time-outs, budgets and profiles come back as they were, without a key."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from dataclasses import replace
from decimal import Decimal
from pathlib import Path

import pytest

from blackbox_proxy import Budget, Prompt, Steerer, connect
from blackbox_proxy.api import Api
from blackbox_proxy.cassettes.matching import Replay
from blackbox_proxy.cassettes.reading import read_header, rows_of
from blackbox_proxy.cassettes.recording import Recorder
from blackbox_proxy.errors import (
    ApiUnreachable,
    BlackboxProxyError,
    InputError,
)
from blackbox_proxy.ledger.books import Ledger
from blackbox_proxy.ledger.report import figures
from blackbox_proxy.remote.profiles.finding import all_profiles
from blackbox_proxy.remote.retry import RetryPolicy
from blackbox_proxy.remote.transport import Clock, Transport
from blackbox_proxy.standin import running
from blackbox_proxy.steering import Steering
from blackbox_proxy.types import Attempt, Result, WireRequest
from tests.cassettes.bench import Came, exactly, no_network, toy_pair
from tests.fault_bench import END, TOP_K, toy_script
from tests.ledger.toys import STEERING as BRIEF
from tests.ledger.toys import opened, pair, toy
from tests.remote.scripted import Say, ScriptedApi

OPTIONS = {"top_k": 6, "end_pieces": [END]}
ASKED = Prompt(text="abc")
REQUEST = WireRequest("/completions", {"model": "m", "prompt": "hi"})


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with running(toy(), name="toy", top_k=6) as address:
        yield address


def steered(api: Api, steering: Steering = BRIEF) -> Result:
    return Steerer(api, pair(), steering).complete(ASKED)


def test_an_answer_is_replayed_without_an_address_and_a_key(url: str, tmp_path: Path) -> None:
    path = tmp_path / "tape.jsonl"
    with connect(url, model="toy", options=OPTIONS, record=path) as api:
        recorded = steered(api)
    header = read_header(path)
    assert (header.address, header.model, header.profile) == (url, "toy", "")
    with no_network(), connect(model="toy", options=OPTIONS, replay=path) as api:
        assert api.transport.address == url
        assert exactly(Came(steered(api))) == exactly(Came(recorded))
    with no_network(), connect("https://api.example/v1", model="toy", options=OPTIONS, replay=str(path)) as api:
        assert exactly(Came(steered(api))) == exactly(Came(recorded))


def test_what_is_recorded_cannot_be_replayed_at_once(url: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="cannot be recorded at the same time"):
        connect(url, model="toy", record=tmp_path / "a", replay=tmp_path / "b")
    assert list(tmp_path.iterdir()) == []


def test_several_connections_share_a_cassette(url: str, tmp_path: Path) -> None:
    """What one has taken the other does not get again; a path gives each its own."""
    recorder = Recorder(tmp_path / "tape.jsonl")
    for _ in range(2):
        with connect(url, model="toy", options=OPTIONS, record=recorder) as api:
            steered(api)
    replay = Replay(recorder.path)
    for _ in range(2):
        with connect(model="toy", options=OPTIONS, replay=replay) as api:
            steered(api)
    assert replay.unused == ()
    with connect(model="toy", options=OPTIONS, replay=replay) as api, pytest.raises(InputError, match="sent again"):
        steered(api)


FAULTS: dict[str, tuple[Say, ...]] = {
    "refused": (Say({"error": {"message": "bad key", "code": "invalid"}}, status=401),),
    "text": (Say(b"no such route", status=404),),
    "page": (Say(b"<html>", status=502),) * 2,
    "asked to wait": (Say({}, status=503, headers={"retry-after": "3600"}),),
    "date": (Say({}, status=429, headers={"retry-after": "Thu, 01 Jan 1970 00:01:40 GMT"}),) * 2,
    "milliseconds": (Say({}, status=429, headers={"retry-after-ms": "40"}), Say({"id": 1})),
    "reset": (Say(cut=True),) * 2,
    "cut in the body": (Say({"id": 1}, missing=9), Say({"id": 2})),
    "no JSON": (Say(b"nonsense"),) * 2,
    "no UTF-8": (Say(b"\xff\xfe"),) * 2,
    "error in a success": (Say({"error": {"code": 429, "message": "slow"}}),) * 2,
    "too long": (Say(b" " * 3000),),
    "hangs": (Say({"id": 1}, hang=True),) * 2,
    "redirect": (Say(b"", status=307, headers={"location": "http://127.0.0.1:9/"}),),
}


def tried(transport: Transport, side: str) -> tuple[object, ...]:
    """What a request comes to: its reply, or all of its error."""

    async def awaited() -> object:
        async with transport:
            return await transport.asend(REQUEST)

    try:
        if side == "async":
            return (asyncio.run(awaited()),)
        with transport:
            return (transport.send(REQUEST),)
    except BlackboxProxyError as error:
        return type(error), error.message, error.hint, error.retryable, getattr(error, "status", None)


@pytest.mark.parametrize("side", ["sync", "async"])
@pytest.mark.parametrize("name", FAULTS)
def test_every_fault_comes_back_as_it_was(tmp_path: Path, name: str, side: str) -> None:
    """The same errors, pauses and attempts, of either side, through the same code."""
    path = tmp_path / "tape.jsonl"
    seen: list[Attempt] = []
    slept: list[float] = []

    async def async_sleep(seconds: float) -> None:
        slept.append(seconds)

    clock = Clock(wall=lambda: 90.0, sleep=slept.append, async_sleep=async_sleep, draw=lambda: 0.0)
    policy = RetryPolicy(attempts=2)
    with ScriptedApi(*FAULTS[name]) as api:
        live = Transport(
            api.url,
            None,
            timeout=0.3,
            limit=2000,
            retry=policy,
            clock=clock,
            on_attempt=seen.append,
            tape=Recorder(path),
        )
        before = tried(live, side)
    recorded, seen[:] = list(seen), []
    pauses, slept[:] = list(slept), []
    with no_network():
        replay = Replay(path, pace="recorded")
        again = Transport(
            api.url, None, timeout=0.3, limit=2000, retry=policy, clock=clock, on_attempt=seen.append, tape=replay
        )
        assert tried(again, side) == before
    assert [replace(one, seconds=0.0) for one in seen] == [replace(one, seconds=0.0) for one in recorded]
    times = [row.seconds for _, row in rows_of(path)]
    waited = [pause for at, pause in enumerate(slept) if at % 2]
    assert (slept[::2], waited) == (times, pauses)
    if name == "date":
        assert pauses == [10.0]


def test_a_connection_that_nobody_takes_comes_back(tmp_path: Path) -> None:
    with ScriptedApi() as api:
        pass
    path, once = tmp_path / "tape.jsonl", RetryPolicy(attempts=1)
    before = tried(Transport(api.url, None, retry=once, tape=Recorder(path)), "sync")
    assert before[0] is ApiUnreachable
    with no_network():
        assert tried(Transport(api.url, None, retry=once, tape=Replay(path)), "sync") == before
    ((_, row),) = rows_of(path)
    assert row.fault is not None
    assert not row.fault.sent
    assert any(cause.kind == "ConnectionRefusedError" for cause in row.fault.causes)


def test_bytes_that_came_before_a_reset_are_counted(tmp_path: Path) -> None:
    with ScriptedApi(Say(b"x" * 500, missing=10)) as api:
        tried(Transport(api.url, None, retry=RetryPolicy(attempts=1), tape=Recorder(tmp_path / "tape")), "sync")
    ((_, row),) = rows_of(tmp_path / "tape")
    assert row.fault is not None
    assert (row.status, row.fault.kind, row.fault.bytes, row.fault.sent) == (200, "connection", 500, True)


def test_a_request_that_was_cancelled_has_no_reply(tmp_path: Path) -> None:
    path = tmp_path / "tape.jsonl"

    async def cancelled(url: str) -> None:
        async with Transport(url, None, tape=Recorder(path)) as transport:
            task = asyncio.ensure_future(transport.asend(REQUEST))
            await asyncio.sleep(0.1)
            task.cancel()
            await asyncio.wait([task])

    with ScriptedApi(Say({"id": 1}, hang=True)) as api:
        asyncio.run(cancelled(api.url))
    assert [row.outcome for _, row in rows_of(path)] == ["cancelled"]
    with (
        Transport(api.url, None, tape=Replay(path)) as transport,
        pytest.raises(InputError, match="no reply to this req"),
    ):
        transport.send(REQUEST)


def test_the_pace_is_at_once_or_as_recorded(tmp_path: Path) -> None:
    path = tmp_path / "tape.jsonl"
    with ScriptedApi(Say({}, status=429, headers={"retry-after": "30"}), Say({"id": 1})) as api:
        clock = Clock(sleep=lambda _: None)
        with Transport(api.url, None, clock=clock, tape=Recorder(path)) as transport:
            transport.send(REQUEST)
    before = time.monotonic()
    with Transport(api.url, None, tape=Replay(path)) as transport:
        assert transport.send(REQUEST) == {"id": 1}
    assert time.monotonic() - before < 10, "a pause of 30 seconds was slept"


def spent(ledger: Ledger) -> tuple[int, Decimal]:
    found = figures("", ledger.store.rows())
    return found.requests, found.cost


def test_a_replay_spends_nothing_of_a_budget_and_its_rows_are_marked(url: str, tmp_path: Path) -> None:
    path, day = tmp_path / "tape.jsonl", Budget(max_cost=Decimal("0.05"), max_calls=60, per="day")
    with opened(tmp_path, day, project="p") as ledger:
        with connect(url, model="toy", options=OPTIONS, ledger=ledger, record=path) as api:
            recorded = steered(api)
        before = spent(ledger)
        for _ in range(12):
            with connect(model="toy", options=OPTIONS, ledger=ledger, replay=path) as api:
                replayed = steered(api)
                assert exactly(Came(replayed)) == exactly(Came(recorded))
        assert recorded.cost is not None
        assert recorded.cost > 0
        assert spent(ledger) == before
        rows = [row for row in ledger.store.rows() if row.replayed]
        assert len(rows) == 12 * before[0] > 60, "the day's budget would have been passed"
        assert {(row.cost, row.reserved) for row in rows} == {(Decimal(0), None)}
        assert [row.input for row in rows[: before[0]]] == [call.usage.input for call in recorded.calls]
        with connect(url, model="toy", options=OPTIONS, ledger=ledger) as api:
            assert steered(api).finish == recorded.finish, "replays were counted against the budget"


def test_a_run_that_a_budget_stopped_stops_there_again(url: str, tmp_path: Path) -> None:
    path = tmp_path / "tape.jsonl"
    with opened(tmp_path, Budget(max_calls=2)) as ledger:
        with connect(url, model="toy", options=OPTIONS, ledger=ledger, record=path) as api:
            recorded = steered(api)
    assert recorded.finish == "budget"
    assert [row.outcome for _, row in rows_of(path)] == ["200", "200", "budget"]
    with connect(model="toy", options=OPTIONS, replay=path) as api:
        replayed = steered(api)
        assert replace(replayed, seconds=0.0, usage=recorded.usage, cost=None, calls=()) == replace(
            recorded, seconds=0.0, cost=None, calls=()
        )
        with pytest.raises(InputError, match="sent again"):
            steered(api)


def test_a_replay_needs_no_price(tmp_path: Path, url: str) -> None:
    path = tmp_path / "tape.jsonl"
    with connect(url, model="toy", options=OPTIONS, record=path) as api:
        steered(api)
    with opened(tmp_path, Budget(max_cost=Decimal(0))) as ledger:
        with pytest.raises(InputError, match="nobody says what"):
            ledger.account(url, "another")
        ledger.account(url, "another", replayed=True)
        with connect(model="toy", options=OPTIONS, ledger=ledger, replay=path) as api:
            assert steered(api).finish == "length"


def test_a_planner_looks_at_no_clock_where_a_cassette_turns(url: str, tmp_path: Path) -> None:
    """`auto` and `latency` would ask by how long replies took: with a cassette by tokens alone."""
    steering = replace(BRIEF, drafter="auto", prefer="latency", max_tokens=24)
    path = tmp_path / "tape.jsonl"
    with connect(url, model="toy", options=OPTIONS | {"echo": True}, record=path) as api:
        recorded = steered(api, steering)
    for pace in ("at-once", "recorded"):
        with connect(model="toy", options=OPTIONS | {"echo": True}, replay=path, replay_pace=pace) as api:
            assert exactly(Came(steered(api, steering))) == exactly(Came(recorded))


CLOSED = ("no-prefill", "max-completion-tokens-only", "top-k-cap=20")
MODELS = {"openai": "gpt-4o", "azure": "gpt-4o"}
QUIRKS: dict[str, tuple[str, ...]] = {
    "openai": CLOSED,
    "azure": CLOSED,
    "mistral": ("echoed-prefix",),
    "deepseek": ("visible-end-text", "no-seed"),
    "together": ("together-shape", "cached-hidden"),
    "vllm": ("cached-hidden", "visible-end-text"),
    "sglang": ("scaled-except-zero", "prefill-as-user"),
    "fireworks": ("closed-routes=chat",),
}
"""What the stand-in does as the provider does."""

UNSERVED = frozenset({"llama_server", "fireworks"})
"""Profiles whose route, or whose shape on it, the stand-in does not serve: what is replayed is an error."""

WORDED = frozenset({"openai", "azure", "openrouter", "sambanova"})
"""Profiles that are asked in words to go on, which the toy answers by chance: with a token, or with none."""

WITHOUT = frozenset({"cohere", "perplexity"})
"""Profiles of providers that cannot be steered, which `connect` refuses."""

STEERED = sorted({profile.name for profile in all_profiles(folder=Path("/nowhere"))} - WITHOUT)


@pytest.mark.parametrize(
    "profile", [pytest.param(name, marks=pytest.mark.slow) if name == "azure" else name for name in STEERED]
)
def test_a_run_of_every_profile_is_replayed(profile: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Recorded at a stand-in that is as the profile says, as far as it can be; replayed by the cassette's header."""
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    path = tmp_path / "tape.jsonl"
    model, quirks = MODELS.get(profile, "toy"), QUIRKS.get(profile, ())
    own = {"top_k": TOP_K, "end_pieces": [END]}
    steering = Steering(alpha=0.5, target="topk", rule="none", max_tokens=4, draft=3)
    template = "{{ messages[0].content }}"

    def run(api: Api) -> Came:
        try:
            return Came(Steerer(api, toy_pair(), steering).complete("say?", pair_prompt=Prompt(text="")))
        except BlackboxProxyError as error:
            return Came(error.partial, type(error).__name__, error.message)

    with running(toy_script(), name=model, top_k=TOP_K, quirks=quirks) as address:
        key = "sk-0123456789"
        with connect(
            address, model=model, profile=profile, api_key=key, template=template, options=own, record=path
        ) as api:
            recorded = run(api)
    assert key not in path.read_text()
    with no_network(), connect(model=model, template=template, options=own, replay=path) as api:
        assert exactly(run(api)) == exactly(recorded)
    assert bool(recorded.kind) == (profile in UNSERVED) or profile in WORDED, recorded.message
    assert recorded.kind or (recorded.result and recorded.result.steps)
