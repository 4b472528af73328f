"""The one door to Ray: actors that each open what answers, and answer for batches and evaluations. Extra `ray`.

Knows no row and no task: what is opened in an actor, and what is asked of it, are the caller's, and picklable. Plain
actors, not Ray Data: what was answered must be on the disk as soon as it is there, and after the death of a worker only
what that one had under way may be asked again. Ray Data hands rows out in blocks, and does a block anew.
"""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress
from dataclasses import dataclass
from threading import Lock
from typing import Any, Generic, NoReturn, Protocol, TypeVar, final
from urllib.parse import urlsplit

from blackbox_proxy.core.money.amounts import Budget
from blackbox_proxy.errors import BlackboxProxyError, InputError
from blackbox_proxy.ledger.books import Ledger
from blackbox_proxy.ledger.opening import open_store
from blackbox_proxy.ledger.place import LedgerPlace
from blackbox_proxy.ledger.prices import PriceList

DEATHS = 5
"""So many actors may die over one question before it counts as failed: it may be the question that kills them."""

STORE = 100 * 2**20
"""Bytes of Ray's object store on a cluster that is started here; questions and answers are small."""

SECONDS = 600.0
"""Seconds that actors may take to load their pairs."""


PAUSE = 0.5
"""Seconds between two looks whether an actor is there again."""


REACH_SECONDS = 10.0
"""Seconds in which a cluster has to take a connection."""


MOST = 64
"""Questions that an actor may have at once where nobody says how many; more wait in Ray's own queue."""


_Unit = TypeVar("_Unit")
_Answer = TypeVar("_Answer")
_Asked_contra = TypeVar("_Asked_contra", contravariant=True)
_Given_co = TypeVar("_Given_co", covariant=True)


class ClusterLost(BlackboxProxyError):
    """The Ray cluster could not be reached, or went away."""


@final
@dataclass(frozen=True, slots=True)
class RayCluster:
    """Where actors run, each with a pair of its own.

    Attributes:
        address: Of a cluster that runs, as `ray.init` takes it; "" starts one on this machine.
        actors: How many.
        gpus: GPUs for each, which may be a part of one; the pair file says how many layers go there.
    """

    address: str = ""
    actors: int = 2
    gpus: float = 0.0


class ActorWork(Protocol[_Asked_contra, _Given_co]):
    """What an actor answers with, open. Safe from several threads."""

    @property
    def at_once(self) -> int:
        """Questions that are under way at a time."""
        ...

    def answer(self, unit: _Asked_contra, /) -> _Given_co:
        """What came of a question. Raises what all further questions would meet as well."""
        ...


class ActorPlan(Protocol[_Asked_contra, _Given_co]):
    """What an actor answers with, described so that any process can open it. Picklable."""

    def opened(self, ledger: Ledger | None, /) -> AbstractContextManager[ActorWork[_Asked_contra, _Given_co]]:
        """Open it. ledger: where requests are booked; None for nowhere."""
        ...


def check_cluster(cluster: RayCluster) -> None:
    """Raises InputError for what cannot be, or where Ray is not installed."""
    if cluster.actors < 1 or not 0.0 <= cluster.gpus < float("inf"):
        raise InputError(
            f"{cluster.actors} actors with {cluster.gpus:g} GPUs each answer nothing",
            hint="1 actor, and 0 GPUs, at least",
        )
    try:
        import ray  # noqa: F401 (whether it is there)
    except ImportError:
        raise InputError(
            "--engine ray needs Ray, which is not installed",
            hint="pip install 'blackbox-proxy[ray]', or --engine local",
        ) from None


@final
@dataclass(frozen=True, slots=True)
class DistantLedger:
    """A ledger as another process opens it."""

    place: LedgerPlace
    prices: PriceList
    budgets: tuple[Budget, ...]
    tags: dict[str, str]

    @classmethod
    def of(cls, ledger: Ledger) -> DistantLedger:
        """Where a ledger is, with its prices, budgets and tags. Raises InputError where nobody else could open it."""
        place = ledger.store.address
        if place is None:
            raise InputError("other processes cannot open this ledger", hint="open it by open_ledger")
        if place.path is not None:
            place = LedgerPlace(str(place.path.absolute()))
        return cls(place, ledger.prices, ledger.budgets, dict(ledger.tags))

    def open(self) -> Ledger:
        """The same ledger."""
        return Ledger(open_store(self.place), self.prices, self.budgets, self.tags)


@final
class PairActor(Generic[_Unit, _Answer]):
    """Answers in a process of its own, by what it opens there once. node: of the process that started it."""

    def __init__(self, plan: ActorPlan[_Unit, _Answer], ledger: DistantLedger | None, *, node: str) -> None:
        self._plan, self._ledger, self._node = plan, ledger, node
        self._lock, self._resources = Lock(), ExitStack()
        self._work: ActorWork[_Unit, _Answer] | None = None

    def slots(self) -> int:
        """Questions that it takes at a time, when it is ready."""
        return self._opened().at_once

    def answer(self, unit: _Unit) -> _Answer:
        """What came of a question."""
        return self._opened().answer(unit)

    def _opened(self) -> ActorWork[_Unit, _Answer]:
        """What answers; opened by the first that asks."""
        with self._lock:
            if self._work is None:
                self._check_node()
                ledger = None if self._ledger is None else self._resources.enter_context(self._ledger.open())
                self._work = self._resources.enter_context(self._plan.opened(ledger))
            return self._work

    def _check_node(self) -> None:
        """Raises InputError on another machine where the ledger is a file: it would be another, and no budget hold."""
        if self._ledger is not None and self._ledger.place.path is not None and _node() != self._node:
            raise InputError(
                "an actor runs on another machine than the ledger, whose file it cannot write",
                hint="keep the ledger in PostgreSQL (--ledger postgresql://USER@HOST/DATABASE), or keep to one machine",
            )


def _node() -> str:
    """The machine that this process runs on."""
    import ray

    return str(ray.get_runtime_context().get_node_id())


@contextmanager
def ray_cluster(cluster: RayCluster) -> Iterator[None]:
    """Connect to the cluster, or start one on this machine, which ends with the block.

    Raises ClusterLost where it cannot be reached, or has no room.
    """
    import ray

    _start(cluster)
    try:
        _check_room(cluster)
        yield
    finally:
        ray.shutdown()


@contextmanager
def actors(
    plan: ActorPlan[_Unit, _Answer],
    ledger: Ledger | None,
    cluster: RayCluster,
    *,
    failed: Callable[[_Unit, str], _Answer],
    most: int = MOST,
) -> Iterator[Sequence[Callable[[_Unit], _Answer]]]:
    """Start the actors, within `ray_cluster`; they end with the block, or after an error with the cluster.

    Args:
        plan: What each of them opens.
        ledger: Where requests are booked; None for nowhere.
        cluster: How many they are, and what each takes.
        failed: Makes the answer of a unit over which DEATHS actors died, given why there is none.
        most: Questions that one may have at once.

    Gives what answers units, once for each that may be under way at a time. That raises ClusterLost.

    Raises:
        BlackboxProxyError: Where an actor cannot open the pair or the endpoint.
    """
    import ray

    place = None if ledger is None else DistantLedger.of(ledger)
    kind = ray.remote(PairActor).options(
        num_cpus=1, num_gpus=cluster.gpus, max_restarts=-1, max_concurrency=max(most, 1)
    )
    handles = [kind.remote(plan, place, node=_node()) for _ in range(cluster.actors)]
    for handle in handles:
        handle.slots.remote()  # so that all open their pairs at the same time
    slots = [_slots(handle) for handle in handles]
    yield [_asking(handle, failed) for handle, count in zip(handles, slots, strict=True) for _ in range(count)]
    # After an error the cluster may be gone, and a call to it would hang; `ray_cluster` ends all that is left of it.
    for handle in handles:
        with suppress(ray.exceptions.RayError, ConnectionError):
            ray.kill(handle)


def _start(cluster: RayCluster) -> None:
    """Connect to a cluster, or start one on this machine."""
    import ray

    _check_reachable(cluster.address)
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # nothing is told to anybody
    local: dict[str, Any] = {"num_cpus": max(cluster.actors, os.cpu_count() or 1), "object_store_memory": STORE}
    where: dict[str, Any] = {"address": cluster.address} if cluster.address else {**local, "address": "local"}
    try:
        ray.init(**where, include_dashboard=False, log_to_driver=False, configure_logging=False)
    except (ray.exceptions.RayError, ConnectionError, ValueError, RuntimeError, OSError) as error:
        at = f"the Ray cluster {cluster.address}" if cluster.address else "a Ray cluster on this machine"
        raise ClusterLost(f"cannot use {at}: {_first_line(error)}", hint="check --address; `ray status`") from error


def _check_reachable(address: str) -> None:
    """Raises ClusterLost where nobody listens: Ray itself would try for many minutes. `auto` has no port."""
    where = urlsplit(address if "://" in address else f"//{address}")
    try:
        host, port = where.hostname, where.port
    except ValueError as error:
        raise InputError(f"{address!r} is no address of a cluster: {error}", hint="as in 10.0.0.1:6379") from None
    if host is None or port is None:
        return
    try:
        socket.create_connection((host, port), REACH_SECONDS).close()
    except OSError as error:
        raise ClusterLost(
            f"cannot use the Ray cluster {address}: {error.strerror or error}", hint="check --address; `ray status`"
        ) from error


def _check_room(cluster: RayCluster) -> None:
    """Raises ClusterLost where the cluster is too small: its actors would wait for ever."""
    import ray

    there = ray.cluster_resources()
    cpus, gpus = there.get("CPU", 0.0), there.get("GPU", 0.0)
    if cpus < cluster.actors or gpus < cluster.actors * cluster.gpus:
        raise ClusterLost(
            f"the cluster has {cpus:g} CPUs and {gpus:g} GPUs, and {cluster.actors} actors take {cluster.actors} and "
            f"{cluster.actors * cluster.gpus:g}",
            hint="fewer --actors, a smaller part of a GPU (--gpus), or a larger cluster",
        )


def _asking(
    handle: Any,  # noqa: ANN401 (a handle of Ray, which may be missing)
    failed: Callable[[_Unit, str], _Answer],
) -> Callable[[_Unit], _Answer]:
    """Has an actor answer. Where it dies, the unit is asked again: of the actor that Ray starts in its place."""
    import ray

    def ask(unit: _Unit) -> _Answer:
        for _ in range(DEATHS):
            try:
                with _speaking():
                    answer: _Answer = ray.get(handle.answer.remote(unit))
                    return answer
            except ray.exceptions.ActorUnavailableError:
                _slots(handle)
        return failed(unit, f"{DEATHS} actors died over it (take --engine local to see why)")

    return ask


def _slots(handle: Any) -> int:  # noqa: ANN401 (a handle of Ray)
    """Questions that an actor takes at a time, when it is ready, or the one that Ray starts in its place.

    Until Ray has noticed a death, and while it starts an actor anew, each call is refused at once.
    """
    import ray

    until = time.monotonic() + SECONDS
    while time.monotonic() < until:
        with suppress(ray.exceptions.ActorUnavailableError), _speaking():
            return int(ray.get(handle.slots.remote(), timeout=SECONDS))
        time.sleep(PAUSE)
    raise ClusterLost("an actor dies again and again while it opens the pair", hint="take --engine local to see why")


@contextmanager
def _speaking() -> Iterator[None]:
    """Errors of an actor as they were raised there, and those of Ray as the loss of the cluster."""
    import ray

    try:
        yield
    except ray.exceptions.RayTaskError as error:
        _raise(error)
    except ray.exceptions.ActorUnavailableError:
        raise
    except (ray.exceptions.RayError, ConnectionError) as error:
        raise ClusterLost(
            f"the Ray cluster went away: {_first_line(error)}",
            hint="what was answered is kept; run it again when the cluster is there",
        ) from error


def _raise(error: Any) -> NoReturn:  # noqa: ANN401 (a RayTaskError)
    """Raise what was raised in an actor."""
    if isinstance(error.cause, BlackboxProxyError):
        raise error.cause from None
    raise error


def _first_line(error: BaseException) -> str:
    return str(error).strip().split("\n")[0] or type(error).__name__
