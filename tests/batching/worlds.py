"""Rows, a scripted API that has an answer of its own for each, and a pair of random weights."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from blackbox_proxy.batching.answering import BatchModel
from blackbox_proxy.ledger.opening import open_store
from blackbox_proxy.ledger.rows import LedgerRow
from blackbox_proxy.standin import Traffic, running, scenario_of
from blackbox_proxy.steering import Steering
from blackbox_proxy.testing.tiny_models import write_tiny_pair

STEERING = Steering(alpha=0.5, max_tokens=4)
PRICES = '[[price]]\nmodel = "tiny"\ninput = 2.5\noutput = 10\n'


def question(number: int) -> str:
    return f"Question {number}?"


def right(number: int) -> str:
    """The scripted answer, of which nothing that the pair says can change a token: each is certain."""
    return f"Answer {number} the"


def rows_of(count: int) -> list[dict[str, Any]]:
    return [{"id": f"r{number}", "prompt": question(number)} for number in range(count)]


def write_rows(path: Path, rows: Sequence[Mapping[str, Any] | str]) -> Path:
    """Rows as JSON lines; a text is a line as it is."""
    lines = (row if isinstance(row, str) else json.dumps(row) for row in rows)
    path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    return path


@dataclass(frozen=True, slots=True)
class BatchWorld:
    """An API that answers, and what asks it. traffic: counts the requests."""

    url: str
    traffic: Traffic
    pair: Path

    def model(self, **more: Any) -> BatchModel:  # noqa: ANN401 (fields of BatchModel)
        return BatchModel({"base_url": self.url, "model": "tiny"}, str(self.pair), **more)


@contextmanager
def world(folder: Path, count: int, *, quirks: Sequence[str] = ()) -> Iterator[BatchWorld]:
    """An API for so many questions."""
    traffic = Traffic()
    place = folder / "pair"
    place.mkdir(exist_ok=True)
    pair = write_tiny_pair(place)
    scenario = scenario_of({question(number): right(number) for number in range(count)})
    with running(scenario, traffic=traffic, slots=4, quirks=quirks) as url:
        yield BatchWorld(url, traffic, pair)


def answers(folder: Path) -> list[dict[str, Any]]:
    """The file of answers."""
    return [json.loads(line) for line in (folder / "answers.jsonl").read_text(encoding="utf-8").splitlines()]


def booked(path: Path) -> list[LedgerRow]:
    with closing(open_store(path)) as store:
        return list(store.rows())
