"""SIGHUP has the configuration read again: its models and keys hold for new requests, and nothing under way ends.

What is wrong in the file is told in the log, and everything stays as it was.
"""

from __future__ import annotations

import asyncio
import signal
import threading
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from typing import final

from blackbox_proxy.errors import BlackboxProxyError, InputError
from blackbox_proxy.gateway.config import Config
from blackbox_proxy.gateway.keys import Keys
from blackbox_proxy.gateway.limits.spending import check_budgets
from blackbox_proxy.gateway.models import Catalogue, ModelOpener

FROM_START = (
    "host",
    "port",
    "workers",
    "cors_origins",
    "drain",
    "open_after",
    "ping",
    "log",
    "metrics",
    "metrics_key",
    "max_body",
    "max_prompt",
    "max_answers",
)
"""Fields of [server] that hold from the start on."""


@final
class Reloader:
    """Opens what the configuration says now.

    again: reads it. opening: what is open. keys_of: who may ask, by a configuration. log: is told what was done.
    """

    def __init__(
        self,
        config: Config,
        opening: ModelOpener,
        *,
        again: Callable[[], Config],
        keys_of: Callable[[Config], Keys],
        log: Callable[[str], object],
    ) -> None:
        self._config, self._opening = config, opening
        self._again, self._keys_of, self._log = again, keys_of, log
        self._one_at_a_time = asyncio.Lock()

    async def run(self, serve: Callable[[Catalogue, Keys], object]) -> None:
        """Read it, and have it served. serve: is given the models and the keys that hold from now on."""
        async with self._one_at_a_time:
            try:
                catalogue, keys = await asyncio.to_thread(self._read)
            except BlackboxProxyError as error:
                self._log(f"SIGHUP: everything stays as it was: {error.message}")
                return
            serve(catalogue, keys)
            self._log(f"SIGHUP: {len(catalogue.models)} models and {len(keys.entries)} keys hold from now on")

    def _read(self) -> tuple[Catalogue, Keys]:
        before, config = self._config, self._again()
        keys = self._keys_of(config)
        if bool(keys) != bool(self._keys_of(before)):
            raise InputError("whether keys are asked for at all holds from the start on")
        catalogue = self._opening.catalogue(config)
        check_budgets(catalogue.apis, keys)
        changed = [name for name in FROM_START if getattr(config.server, name) != getattr(before.server, name)]
        changed += [] if config.ledger == before.ledger else ["[ledger]"]
        for table in ("traces", "cache"):
            changed += [] if getattr(config, table) == getattr(before, table) else [f"[{table}]"]
        changed += [] if config.limits.file == before.limits.file else ["file of [limits]"]
        if changed:
            self._log(f"SIGHUP: {', '.join(changed)} changed, which holds from the next start on")
        self._config = config
        return catalogue, keys


def ignore_hangups() -> None:
    """Until the server runs, SIGHUP does nothing; where there is no such signal, and beside other work, neither."""
    if hasattr(signal, "SIGHUP") and threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGHUP, signal.SIG_IGN)


@contextmanager
def on_hangup(call: Callable[[], Coroutine[object, object, None]]) -> Iterator[None]:
    """SIGHUP starts a coroutine in the running event loop, where that is the main thread's."""
    if not hasattr(signal, "SIGHUP") or threading.current_thread() is not threading.main_thread():
        yield
        return
    loop, tasks = asyncio.get_running_loop(), set[asyncio.Task[None]]()

    def start() -> None:
        task = loop.create_task(call())
        tasks.add(task)
        task.add_done_callback(tasks.discard)

    loop.add_signal_handler(signal.SIGHUP, start)
    try:
        yield
    finally:
        loop.remove_signal_handler(signal.SIGHUP)
        ignore_hangups()
