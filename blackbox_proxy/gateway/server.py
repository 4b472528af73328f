"""Starts and stops the gateway: as a blocking server, or beside other work from a background thread."""

from __future__ import annotations

import gc
import os
import socket
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, nullcontext

import uvicorn
from starlette.types import ASGIApp

from blackbox_proxy.cassettes.opening import Tape
from blackbox_proxy.errors import InputError
from blackbox_proxy.files import state_folder
from blackbox_proxy.gateway.app import build_app, starting_app
from blackbox_proxy.gateway.cache.caching import ReplyCache
from blackbox_proxy.gateway.cache.keeping import SqliteReplies
from blackbox_proxy.gateway.config import Config
from blackbox_proxy.gateway.health import Readiness, ledger_check
from blackbox_proxy.gateway.keys import KeyEntry, Keys, read_keys, user_key
from blackbox_proxy.gateway.limits.limiting import RateLimiter
from blackbox_proxy.gateway.limits.spending import check_budgets
from blackbox_proxy.gateway.limits.windows import SqliteWindows
from blackbox_proxy.gateway.models import OpensPair, notes, opening, serving_pair
from blackbox_proxy.gateway.operations import Operations
from blackbox_proxy.gateway.optional import open_metrics, open_tracing
from blackbox_proxy.gateway.reloading import Reloader, ignore_hangups
from blackbox_proxy.gateway.watching.events import GatewayWatch, Watches
from blackbox_proxy.gateway.watching.places import MetricsPlace
from blackbox_proxy.ledger.books import Ledger
from blackbox_proxy.openai_http.listening import ListeningServer, in_background, listening, url_of

OF_ENVIRONMENT = "environment"
"""What the key of a variable is called in the ledger."""

LARGEST_HEAD = 64 * 1024
"""Most bytes of a request's first line and headers."""


def _silent(_said: str) -> None:
    """Nobody wants to hear it."""


LIMITS = "limits.sqlite"
"""Where it is kept what keys did in the last minute, among what the program keeps."""


CACHE_FILE = "cache.sqlite"
"""Where replies are kept, likewise."""


def _ended() -> InputError:
    return InputError("the gateway ended before it was ready", hint="see the log above")


def keys_of(config: Config, environ: Mapping[str, str]) -> Keys:
    """Who may ask. Raises InputError where a key cannot be read."""
    server = config.server
    entries = read_keys(config.path(server.keys)) if server.keys else {}
    if server.key_env:
        key = environ.get(server.key_env, "")
        if not key:
            raise InputError(f"{server.key_env} is not set, and clients' key should be in it", hint="set it")
        entries[OF_ENVIRONMENT] = KeyEntry(user_key(key, variable=server.key_env))
    if server.keys and not entries:
        raise InputError(f"{config.path(server.keys)} holds no key", hint="`blackbox-proxy keys add NAME` makes one")
    if server.metrics_key is not None and server.metrics_key not in entries:
        raise InputError(
            f"metrics_key is {server.metrics_key!r}, and no key has that name",
            hint=f"`blackbox-proxy keys add {server.metrics_key}`, or drop it from [server]",
        )
    return Keys(entries, config.limits.limits)


@contextmanager
def _limiting(config: Config, environ: Mapping[str, str], keys: Keys) -> Iterator[RateLimiter]:
    """What holds the limits of keys; its file is opened at once where there is a limit now."""
    file = config.limits.file
    path = config.path(file) if file else state_folder(environ) / LIMITS
    limiter = RateLimiter(lambda: SqliteWindows(path))
    try:
        if any(keys.limits(name).is_paced for name in ("", *keys.entries)):
            limiter.open()
        yield limiter
    finally:
        limiter.close()


@contextmanager
def _caching(config: Config, environ: Mapping[str, str]) -> Iterator[ReplyCache | None]:
    """Replies that are kept; None where they are not."""
    if not config.cache.on:
        yield None
        return
    file = config.cache.file
    path = config.path(file) if file else state_folder(environ) / CACHE_FILE
    cache = ReplyCache(lambda: SqliteReplies(path, most=config.cache.max_megabytes * 2**20))
    try:
        cache.open()
        yield cache
    finally:
        cache.close()


@contextmanager
def application(  # noqa: PLR0913 (one knob each, all but three with a default)
    config: Config,
    environ: Mapping[str, str],
    *,
    readiness: Readiness,
    ledger: Ledger | None = None,
    open_pair: OpensPair = serving_pair,
    log: Callable[[str], object] = _silent,
    tape: Tape | None = None,
    again: Callable[[], Config] | None = None,
    watch: Sequence[GatewayWatch] = (),
    metrics_place: MetricsPlace | None = None,
) -> Iterator[ASGIApp]:
    """Everything opened, and the ASGI application of it.

    readiness: is told once the pairs are loaded. again: reads the configuration anew, for SIGHUP. watch: are told of
    requests, answers and calls, besides what the configuration switches on. metrics_place: where several workers count
    together; None: this process counts alone.
    """
    keys = keys_of(config, environ)
    metrics = open_metrics(metrics_place) if config.server.metrics else None
    with (
        _limiting(config, environ, keys) as limiter,
        _caching(config, environ) as cache,
        open_tracing(config.traces) as traces,
        opening(
            config,
            environ,
            ledger=ledger,
            open_pair=open_pair,
            tape=tape,
            watches=(watches := Watches([*watch, *traces, *([] if metrics is None else [metrics])])),
        ) as doors,
        nullcontext() if metrics is None else metrics.levels(doors.gates_now, doors.loads_now),
    ):
        catalogue = doors.catalogue(config)
        check_budgets(catalogue.apis, keys)
        for note in notes(catalogue):
            log(note)
        threads = sum(upstream.at_once for upstream in config.upstreams.values())
        reload = None
        if again is not None:
            reload = Reloader(config, doors, again=again, keys_of=lambda now: keys_of(now, environ), log=log)
        app = build_app(
            catalogue,
            config.server,
            keys,
            operations=Operations(readiness, limiter, watches, metrics, cache),
            threads=threads,
            log=log,
            reload=reload,
            ledger=ledger,
        )
        readiness.load()
        yield app


def serve(
    config: Config,
    *,
    announce: Callable[[str], object],
    ledger: Ledger | None = None,
    open_pair: OpensPair = serving_pair,
    log: Callable[[str], object] = _silent,
    tape: Tape | None = None,
    again: Callable[[], Config] | None = None,
    watch: Sequence[GatewayWatch] = (),
) -> None:
    """Serve until interrupted or terminated; answers under way are finished first, for `drain` seconds at most.

    While the models are loaded, and while the last answers are made, requests get 503, and `/health/ready` says why.

    announce: is given the base URL (it ends in /v1) once requests are answered. tape: a cassette that all that is asked
    of the upstreams is written to, or taken from. again: reads the configuration anew, for SIGHUP. watch: are told of
    requests, answers and calls.
    """
    server, readiness = config.server, Readiness(ledger_check(ledger))
    ignore_hangups()
    with listening(server.host, server.port) as listener, ExitStack() as opened:
        with answering_not_ready(config, listener, readiness):
            app = opened.enter_context(
                application(
                    config,
                    os.environ,
                    readiness=readiness,
                    ledger=ledger,
                    open_pair=open_pair,
                    log=log,
                    tape=tape,
                    again=again,
                    watch=watch,
                )
            )
        gc.freeze()  # vocabularies have a hundred thousand objects, which would be looked through again and again
        ListeningServer(
            uvicorn_config(app, config), on_ready=lambda: announce(url_of(listener)), on_drain=readiness.drain
        ).run(sockets=[listener])


@contextmanager
def answering_not_ready(config: Config, listener: socket.socket, readiness: Readiness) -> Iterator[None]:
    """Answer from a background thread that this server lives, and is not ready."""
    server = config.server
    app = starting_app(server, readiness, local=not (server.keys or server.key_env))
    # uvicorn closes what it is given, and this socket is to listen on.
    with listener.dup() as same, in_background(uvicorn_config(app, config), same, name="starting", ended=_ended()):
        yield


@contextmanager
def running(
    config: Config,
    environ: Mapping[str, str] | None = None,
    *,
    ledger: Ledger | None = None,
    open_pair: OpensPair = serving_pair,
    log: Callable[[str], object] = _silent,
    tape: Tape | None = None,
    watch: Sequence[GatewayWatch] = (),
) -> Iterator[str]:
    """Serve from a background thread, and give the base URL (it ends in /v1). watch: as `serve`."""
    server, readiness = config.server, Readiness(ledger_check(ledger))
    with (
        listening(server.host, server.port) as listener,
        application(
            config,
            environ or {},
            readiness=readiness,
            ledger=ledger,
            open_pair=open_pair,
            log=log,
            tape=tape,
            watch=watch,
        ) as app,
        in_background(uvicorn_config(app, config), listener, name="gateway", ended=_ended(), on_drain=readiness.drain),
    ):
        yield url_of(listener)


def uvicorn_config(app: ASGIApp, config: Config) -> uvicorn.Config:
    """How the HTTP server is set up."""
    return uvicorn.Config(
        app,
        http="h11",
        h11_max_incomplete_event_size=LARGEST_HEAD,
        log_config=None,
        access_log=False,
        lifespan="on",
        ws="none",
        server_header=False,
        timeout_keep_alive=120,
        timeout_graceful_shutdown=int(config.server.drain),
    )
