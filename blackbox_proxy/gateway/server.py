"""Starts and stops the gateway: as a blocking server, or beside other work from a background thread."""

from __future__ import annotations

import gc
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

import uvicorn
from starlette.types import ASGIApp

from blackbox_proxy.cassettes.opening import Tape
from blackbox_proxy.errors import InputError
from blackbox_proxy.gateway.app import build_app
from blackbox_proxy.gateway.config import Config
from blackbox_proxy.gateway.keys import Keys, read_keys, user_key
from blackbox_proxy.gateway.models import OpensPair, notes, opening, serving_pair
from blackbox_proxy.gateway.reloading import Reloader, ignore_hangups
from blackbox_proxy.ledger.books import Ledger
from blackbox_proxy.openai_http.listening import ListeningServer, in_background, listening, url_of

OF_ENVIRONMENT = "environment"
"""What the key of a variable is called in the ledger."""

LARGEST_HEAD = 64 * 1024
"""Most bytes of a request's first line and headers."""


def _silent(_said: str) -> None:
    """Nobody wants to hear it."""


def keys_of(config: Config, environ: Mapping[str, str]) -> Keys:
    """Who may ask. Raises InputError where a key cannot be read."""
    server = config.server
    digests = read_keys(config.path(server.keys)) if server.keys else {}
    if server.key_env:
        key = environ.get(server.key_env, "")
        if not key:
            raise InputError(f"{server.key_env} is not set, and clients' key should be in it", hint="set it")
        digests[OF_ENVIRONMENT] = user_key(key, variable=server.key_env)
    if server.keys and not digests:
        raise InputError(f"{config.path(server.keys)} holds no key", hint="`blackbox-proxy keys add NAME` makes one")
    return Keys(digests)


@contextmanager
def application(
    config: Config,
    environ: Mapping[str, str],
    *,
    ledger: Ledger | None = None,
    open_pair: OpensPair = serving_pair,
    log: Callable[[str], object] = _silent,
    tape: Tape | None = None,
    again: Callable[[], Config] | None = None,
) -> Iterator[ASGIApp]:
    """Everything opened, and the ASGI application of it. again: reads the configuration anew, for SIGHUP."""
    keys = keys_of(config, environ)
    with opening(config, environ, ledger=ledger, open_pair=open_pair, tape=tape) as doors:
        catalogue = doors.catalogue(config)
        for note in notes(catalogue):
            log(note)
        threads = sum(upstream.at_once for upstream in config.upstreams.values())
        reload = None
        if again is not None:
            reload = Reloader(config, doors, again=again, keys_of=lambda now: keys_of(now, environ), log=log)
        yield build_app(catalogue, config.server, keys, threads=threads, log=log, reload=reload, ledger=ledger)


def serve(
    config: Config,
    *,
    announce: Callable[[str], object],
    ledger: Ledger | None = None,
    open_pair: OpensPair = serving_pair,
    log: Callable[[str], object] = _silent,
    tape: Tape | None = None,
    again: Callable[[], Config] | None = None,
) -> None:
    """Serve until interrupted or terminated; answers under way are finished first, for `drain` seconds at most.

    announce: is given the base URL (it ends in /v1) once requests are answered. tape: a cassette that all that is asked
    of the upstreams is written to, or taken from. again: reads the configuration anew, for SIGHUP.
    """
    server = config.server
    ignore_hangups()
    with (
        listening(server.host, server.port) as listener,
        application(config, os.environ, ledger=ledger, open_pair=open_pair, log=log, tape=tape, again=again) as app,
    ):
        gc.freeze()  # vocabularies have a hundred thousand objects, which would be looked through again and again
        ListeningServer(_uvicorn(app, config), on_ready=lambda: announce(url_of(listener))).run(sockets=[listener])


@contextmanager
def running(
    config: Config,
    environ: Mapping[str, str] | None = None,
    *,
    ledger: Ledger | None = None,
    open_pair: OpensPair = serving_pair,
    log: Callable[[str], object] = _silent,
    tape: Tape | None = None,
) -> Iterator[str]:
    """Serve from a background thread, and give the base URL (it ends in /v1)."""
    server = config.server
    ended = InputError("the gateway ended before it was ready", hint="see the log above")
    with (
        listening(server.host, server.port) as listener,
        application(config, environ or {}, ledger=ledger, open_pair=open_pair, log=log, tape=tape) as app,
        in_background(_uvicorn(app, config), listener, name="gateway", ended=ended),
    ):
        yield url_of(listener)


def _uvicorn(app: ASGIApp, config: Config) -> uvicorn.Config:
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
