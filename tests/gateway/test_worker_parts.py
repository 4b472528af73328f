"""The parts of several workers by themselves: shares, turns, and what cannot be served."""

from __future__ import annotations

import socket
import tempfile
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from blackbox_proxy.errors import InputError
from blackbox_proxy.gateway.config import Config, parse_config
from blackbox_proxy.gateway.workers import balancing
from blackbox_proxy.gateway.workers.balancing import ABSENT, PATIENCE, WorkerListener, WorkerLoads, WorkerTurns
from blackbox_proxy.gateway.workers.seats import WorkerSeat, share_of
from tests.gateway.serving import config_text


def config(*, server: str = "", upstream: str = "") -> Config:
    text = config_text("http://127.0.0.1:9/v1", pair=Path("pair.toml"), server=server, upstream=upstream)
    return parse_config(text, where="g.toml", folder=Path(), environ={})


@pytest.mark.parametrize("workers", [1, 2, 3, 7])
def test_the_shares_of_an_upstream_are_the_whole(workers: int) -> None:
    whole = config(upstream="at_once = 7\nqueue = 5")
    shares = [share_of(whole, number, workers).upstreams["tiny"] for number in range(1, workers + 1)]
    assert sum(share.at_once for share in shares) == 7
    assert sum(share.queue for share in shares) == 5
    assert min(share.at_once for share in shares) >= 7 // workers
    assert {share.base_url for share in shares} == {whole.upstreams["tiny"].base_url}


@pytest.mark.parametrize("workers", [0, -1, 65, 1.5, '"2"'])
def test_workers_are_from_one_to_sixty_four(workers: object) -> None:
    with pytest.raises(InputError, match=r"g\.toml, line 4: server\.workers: .* will not do"):
        config(server=f"workers = {workers}", upstream="at_once = 64")


def test_more_workers_than_an_upstream_takes_answers_is_told_with_what_to_do() -> None:
    with pytest.raises(InputError, match="8 answers at a time cannot be shared among 9 workers") as told:
        config(server="workers = 9")
    assert "at_once = 9" in told.value.hint
    assert config(server="workers = 8").server.workers == 8


def test_a_seat_is_read_as_it_was_written() -> None:
    seat = WorkerSeat(2, 3, int(socket.AF_INET6), 4, 5, 6, "/some folder")
    assert WorkerSeat.read(seat.text()) == seat


@pytest.fixture
def loads() -> Iterator[WorkerLoads]:
    with tempfile.TemporaryFile() as file:
        file.truncate(WorkerLoads.size(2))
        with closing(WorkerLoads(file.fileno(), 2)) as made:
            yield made


def test_a_connection_is_left_to_whoever_has_less_to_do(loads: WorkerLoads, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(balancing, "PAUSE", 0)
    turns = WorkerTurns(loads, 1)
    turns.come()
    loads.put(2, ABSENT)
    turns.taken()
    assert turns.is_mine(), "nobody else is there"
    loads.put(2, 1)
    assert turns.is_mine(), "both have one"
    loads.put(2, 0)
    assert [turns.is_mine() for _ in range(PATIENCE + 1)] == [False] * PATIENCE + [True], "nobody took it"
    assert not turns.is_mine()
    turns.leave()
    assert loads.least_but(2) is None


def test_a_listener_gives_no_connection_when_it_is_anothers_turn(loads: WorkerLoads) -> None:
    loads.put(2, 0)
    with socket.create_server(("127.0.0.1", 0)) as bound, socket.create_connection(bound.getsockname()):
        with WorkerListener(bound.family, socket.SOCK_STREAM, socket.IPPROTO_TCP, fileno=bound.dup().detach()) as mine:
            mine.turns = WorkerTurns(loads, 1)
            mine.turns.come()
            mine.turns.taken()
            with pytest.raises(BlockingIOError):
                mine.accept()
            loads.put(2, 1)
            connection, _ = mine.accept()
            connection.close()
