"""One worker's side: what it is given by the process that started it, its share of the limits, and its life."""

from __future__ import annotations

import gc
import json
import os
import signal
import socket
import threading
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import final

from blackbox_proxy.gateway.config import Config
from blackbox_proxy.gateway.health import Readiness, ledger_check
from blackbox_proxy.gateway.reloading import ignore_hangups
from blackbox_proxy.gateway.server import application, uvicorn_config
from blackbox_proxy.gateway.watching.events import GatewayWatch
from blackbox_proxy.gateway.watching.places import MetricsPlace
from blackbox_proxy.gateway.workers.balancing import WorkerListener, WorkerLoads, WorkerTurns
from blackbox_proxy.ledger.books import Ledger
from blackbox_proxy.openai_http.listening import ListeningServer

READY = b"r"
"""What a worker says once it answers."""


@final
@dataclass(frozen=True, slots=True)
class WorkerSeat:
    """What a worker is given. number: from 1 on, of so many. listener, control, loads: open files. metrics: a folder.

    family: of the listener's addresses. control: a socket to the process that started it, which says nothing and closes
    it with its end.
    """

    number: int
    of: int
    family: int
    listener: int
    control: int
    loads: int
    metrics: str

    def text(self) -> str:
        """As an argument of a command."""
        return json.dumps(asdict(self))

    @staticmethod
    def read(text: str) -> WorkerSeat:
        """What `text` wrote."""
        return WorkerSeat(**json.loads(text))


def part_of(total: int, number: int, of: int) -> int:
    """What a worker may take of a whole; all parts together are the whole.

    >>> [part_of(8, number, 3) for number in (1, 2, 3)]
    [3, 3, 2]
    """
    return total // of + (number <= total % of)


def share_of(config: Config, number: int, of: int) -> Config:
    """The configuration of one worker: its part of what each upstream takes at once, and of those who may wait."""
    upstreams = {
        name: upstream.model_copy(
            update={
                "at_once": part_of(upstream.at_once, number, of),
                "queue": part_of(upstream.queue, number, of),
            }
        )
        for name, upstream in config.upstreams.items()
    }
    return replace(config, upstreams=upstreams)


def serve_seat(
    seat: WorkerSeat,
    config: Config,
    *,
    again: Callable[[], Config],
    ledger: Ledger | None,
    log: Callable[[str], object],
    watch: Sequence[GatewayWatch],
) -> None:
    """Serve as one of several, until told to end, or until the process that started this one is gone.

    Arguments as of `serve`. Connections are taken from when the pairs are loaded on.
    """
    ignore_hangups()
    readiness = Readiness(ledger_check(ledger))
    metrics = MetricsPlace(Path(seat.metrics), seat.number) if seat.metrics else None
    with ExitStack() as opened:
        control = opened.enter_context(socket.socket(fileno=seat.control))
        # asyncio sets TCP_NODELAY only where the protocol is named, which not every system tells of an open file.
        listener = opened.enter_context(
            WorkerListener(seat.family, socket.SOCK_STREAM, socket.IPPROTO_TCP, fileno=seat.listener)
        )
        threading.Thread(target=_end_with, args=(control,), name="control", daemon=True).start()
        app = opened.enter_context(
            application(
                share_of(config, seat.number, seat.of),
                os.environ,
                readiness=readiness,
                ledger=ledger,
                log=log,
                again=lambda: share_of(again(), seat.number, seat.of),
                watch=watch,
                metrics_place=metrics,
            )
        )
        turns = WorkerTurns(WorkerLoads(seat.loads, seat.of), seat.number)
        listener.turns = turns
        gc.freeze()  # see `serve`

        def ready() -> None:
            turns.come()
            control.sendall(READY)

        def drain() -> None:
            turns.leave()
            readiness.drain()

        settings = uvicorn_config(turns.counting(app), config)
        settings.loop = "asyncio"  # uvloop would take connections itself, without asking whose turn it is
        ListeningServer(settings, on_ready=ready, on_drain=drain).run(sockets=[listener])


def _end_with(control: socket.socket) -> None:
    """End as by a signal when the other side is closed, which its end does, however that came."""
    try:
        while control.recv(1):
            pass
    except OSError:
        return  # closed here: this process ends already
    os.kill(os.getpid(), signal.SIGTERM)
