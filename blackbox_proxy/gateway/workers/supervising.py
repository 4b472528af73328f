"""Starts the workers behind one address, passes signals on to them, starts those again that die, and ends with them.

The address is bound here, once, and each worker inherits the socket. A worker is a fresh process, not a fork: what a
model library has loaded does not survive one. It takes connections only once its pairs are loaded, so whoever asks
meanwhile is answered by another one; while there is none, this process says that nothing is ready.
"""

from __future__ import annotations

import os
import selectors
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import IO, final

from blackbox_proxy.errors import BlackboxProxyError, InputError
from blackbox_proxy.gateway.config import Config
from blackbox_proxy.gateway.health import Readiness
from blackbox_proxy.gateway.optional import forget_levels
from blackbox_proxy.gateway.server import answering_not_ready
from blackbox_proxy.gateway.watching.places import MetricsPlace
from blackbox_proxy.gateway.workers.balancing import ABSENT, WorkerLoads
from blackbox_proxy.gateway.workers.seats import WorkerSeat
from blackbox_proxy.openai_http.listening import listening, url_of

SOON = 60.0
"""A worker that ends sooner than so many seconds after its start is not started again at once."""

LONGEST_WAIT = 60.0
"""Most seconds until it is."""

SLACK = 15.0
"""Seconds beyond `drain` after which a worker that does not end is killed."""


def restart_wait(falls: int) -> float:
    """Seconds before a worker is started again that has ended so many times in a row, each soon after its start.

    >>> [restart_wait(falls) for falls in (0, 1, 2, 3, 9)]
    [0.0, 1.0, 2.0, 4.0, 60.0]
    """
    return 0.0 if falls == 0 else min(2.0 ** (falls - 1), LONGEST_WAIT)


@dataclass(slots=True)
class _Run:
    """A process that runs. control: says that it answers, and is closed by its end. began: seconds."""

    process: subprocess.Popen[bytes]
    control: socket.socket
    began: float
    is_ready: bool = False
    missed_hangup: bool = False

    def hang_up(self) -> None:
        """Before it answers it has no ear for the signal, and may have read the file already."""
        if self.is_ready:
            self.process.send_signal(signal.SIGHUP)
        self.missed_hangup = not self.is_ready

    def answers(self) -> None:
        """It said so."""
        self.is_ready = True
        if self.missed_hangup:
            self.hang_up()


@dataclass(slots=True)
class _Worker:
    """A seat, and who sits there. due: when somebody is to be started, by a clock. falls: see `restart_wait`."""

    number: int
    run: _Run | None = None
    due: float | None = None
    falls: int = 0

    @property
    def is_ready(self) -> bool:
        return self.run is not None and self.run.is_ready

    def signal(self, number: int) -> None:
        """Send it a signal, if it runs."""
        if self.run is not None:
            self.run.process.send_signal(number)


@final
class WorkerGroup:
    """The workers of one gateway.

    command: starts one, with its seat as a last argument. folder: for what they count. log: is told of their lives.
    """

    def __init__(
        self,
        config: Config,
        listener: socket.socket,
        *,
        command: Sequence[str],
        environ: Mapping[str, str],
        folder: Path,
        log: Callable[[str], object],
    ) -> None:
        self._config, self._listener, self._log = config, listener, log
        self._command, self._environ = command, environ
        self._metrics = str(folder) if config.server.metrics else ""
        self._workers = [_Worker(number) for number in range(1, config.server.workers + 1)]
        self._file = _shared_file(WorkerLoads.size(len(self._workers)))
        self._loads = WorkerLoads(self._file.fileno(), len(self._workers))
        self._selector = selectors.DefaultSelector()
        self._announced = False
        self._kill_at: float | None = None
        self._meanwhile = ExitStack()
        self._is_alone = False

    def run(self, announce: Callable[[], object]) -> int:
        """Serve until told to end; gives the signal that told it, or minus the status of a worker that cannot begin.

        Raises BlackboxProxyError where one is killed before all have begun.
        """
        for worker in self._workers:
            self._loads.put(worker.number, ABSENT)
        with ExitStack() as opened:
            signals = opened.enter_context(_signal_socket())
            opened.callback(self._close)
            self._selector.register(signals, selectors.EVENT_READ)
            self._workers[0].due = 0.0  # alone at first: what is wrong with the configuration is then said once
            ended_by = 0
            while not ended_by or any(worker.run for worker in self._workers):
                self._start_due(ending=bool(ended_by))
                self._stand_in(ending=bool(ended_by))
                for key, _ in self._selector.select(self._patience()):
                    if key.fileobj is signals:
                        ended_by = self._heard(signals.recv(64), ended_by)
                        continue
                    status = self._hear(*key.data, ending=bool(ended_by))
                    if status:
                        return -status
                self._kill_late()
                self._go_on(announce)
            return ended_by

    def _start_due(self, *, ending: bool) -> None:
        for worker in self._workers:
            if worker.due is not None and worker.due <= time.monotonic() and not ending:
                self._start(worker)

    def _start(self, worker: _Worker) -> None:
        here, there = socket.socketpair()
        seat = WorkerSeat(
            worker.number,
            len(self._workers),
            self._listener.family,
            self._listener.fileno(),
            there.fileno(),
            self._file.fileno(),
            self._metrics,
        )
        with there:
            # A group of its own: an interrupt at the terminal comes here, and is passed on once.
            process = subprocess.Popen(  # noqa: S603 - a list of ours
                [*self._command, seat.text()],
                stdin=subprocess.DEVNULL,
                env=dict(self._environ),
                pass_fds=(seat.listener, seat.control, seat.loads),
                process_group=0,
            )
        worker.run, worker.due = _Run(process, here, time.monotonic()), None
        self._selector.register(here, selectors.EVENT_READ, (worker, worker.run))

    def _hear(self, worker: _Worker, run: _Run, *, ending: bool) -> int:
        """A worker says that it answers, or its end closes the socket; gives the status where the group is to end."""
        try:
            said = run.control.recv(1)
        except OSError:
            said = b""
        if not said:
            return self._ended(worker, run, ending=ending)
        run.answers()
        if self._announced:
            self._log(f"worker {worker.number} answers again (process {run.process.pid})")
        return 0

    def _ended(self, worker: _Worker, run: _Run, *, ending: bool) -> int:
        status = _status(run.process)
        self._selector.unregister(run.control)
        run.control.close()
        worker.run = None
        self._loads.put(worker.number, ABSENT)
        if self._metrics:
            forget_levels(MetricsPlace(Path(self._metrics), worker.number))
        if ending:
            return 0
        how = f"was ended by {_signal_name(-status)}" if status < 0 else f"ended with status {status}"
        if not self._announced:
            if status > 0:
                return status  # it has said why
            raise BlackboxProxyError(
                f"worker {worker.number} {how} before it answered",
                hint="each worker loads pairs of its own: see whether there is memory for all of them",
            )
        worker.falls = worker.falls + 1 if time.monotonic() < run.began + SOON else 0
        wait = restart_wait(worker.falls)
        worker.due = time.monotonic() + wait
        when = f"in {wait:g} s" if wait else "now"
        self._log(f"worker {worker.number} (process {run.process.pid}) {how}; it is started again {when}")
        return 0

    def _heard(self, numbers: bytes, ended_by: int) -> int:
        """Signals have come; gives the one that ends it all."""
        for number in numbers:
            if number == getattr(signal, "SIGHUP", None):
                for run in filter(None, (worker.run for worker in self._workers)):
                    run.hang_up()
                continue
            for worker in self._workers:
                worker.signal(number if ended_by else signal.SIGTERM)
                worker.due = None
            if not ended_by:
                self._kill_at = time.monotonic() + self._config.server.drain + SLACK
            ended_by = ended_by or number
        return ended_by

    def _kill_late(self) -> None:
        """Kill what has not ended long after it should have."""
        if self._kill_at is None or time.monotonic() < self._kill_at:
            return
        self._kill_at = None
        for worker in self._workers:
            if worker.run is not None:
                self._log(f"worker {worker.number} (process {worker.run.process.pid}) does not end, and is killed")
                worker.run.process.kill()

    def _go_on(self, announce: Callable[[], object]) -> None:
        """Start the others once the first one answers, and say so once all do."""
        if self._announced or self._kill_at is not None or not self._workers[0].is_ready:
            return
        for worker in self._workers:
            if worker.run is None and worker.due is None:
                worker.due = 0.0
        if all(worker.is_ready for worker in self._workers):
            self._announced = True
            self._stand_in(ending=False)
            announce()

    def _stand_in(self, *, ending: bool) -> None:
        """While no worker answers, say here that nothing is ready."""
        alone = not ending and not any(worker.is_ready for worker in self._workers)
        if alone and not self._is_alone:
            self._meanwhile.enter_context(answering_not_ready(self._config, self._listener, Readiness()))
        if not alone and self._is_alone:
            self._meanwhile.close()
        self._is_alone = alone

    def _patience(self) -> float | None:
        """Seconds until something is to be done by itself; None where nothing is."""
        times = [worker.due for worker in self._workers if worker.due is not None]
        times += [] if self._kill_at is None else [self._kill_at]
        return max(0.0, min(times) - time.monotonic()) if times else None

    def _close(self) -> None:
        """End what still runs, and wait for it."""
        self._meanwhile.close()
        for worker in self._workers:
            if worker.run is not None:
                with worker.run.process as process, worker.run.control:
                    process.terminate()
        self._selector.close()
        self._loads.close()
        self._file.close()


def supervise(
    config: Config,
    *,
    command: Sequence[str],
    environ: Mapping[str, str],
    announce: Callable[[str], object],
    log: Callable[[str], object],
) -> int:
    """Serve by `workers` of [server] until told to end; gives the status to exit with where one cannot begin, else 0.

    command: starts one worker; its seat is added. environ: of the workers. announce: is given the base URL once all of
    them answer. Where a signal ended it, the process ends by the same one, as `serve` does.
    """
    if not hasattr(os, "fork"):
        raise InputError("several workers need a system with POSIX processes", hint="workers = 1")
    server = config.server
    with (
        listening(server.host, server.port) as listener,
        tempfile.TemporaryDirectory(prefix="blackbox-proxy-workers-") as folder,
    ):
        group = WorkerGroup(config, listener, command=command, environ=environ, folder=Path(folder), log=log)
        ended_by = group.run(lambda: announce(url_of(listener)))
    if ended_by < 0:
        return -ended_by
    signal.raise_signal(ended_by)
    return 0


@contextmanager
def _signal_socket() -> Iterator[socket.socket]:
    """A socket that gives the number of each signal that comes while the block runs."""
    here, there = socket.socketpair()
    there.settimeout(0)

    def heard(_number: int, _frame: FrameType | None) -> None:
        """Its number is in the socket already."""

    names = ("SIGINT", "SIGTERM", "SIGHUP")
    with here, there:
        before = {getattr(signal, name): signal.signal(getattr(signal, name), heard) for name in names}
        woken = signal.set_wakeup_fd(there.fileno(), warn_on_full_buffer=False)
        try:
            yield here
        finally:
            signal.set_wakeup_fd(woken)
            for number, handler in before.items():
                signal.signal(number, handler)


def _shared_file(size: int) -> IO[bytes]:
    """A file of so many zero bytes, which has no name."""
    file = tempfile.TemporaryFile()  # noqa: SIM115 (closed by whoever asks)
    file.truncate(size)
    return file


def _status(process: subprocess.Popen[bytes]) -> int:
    """With what a process ended that has closed its socket: it does so last, and is killed where it goes on."""
    try:
        return process.wait(SLACK)
    except subprocess.TimeoutExpired:
        process.kill()
        return process.wait()


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
