"""How fast batches are answered: by the local engine beside the gateway, and by an actor of Ray beside one slot.

    python -m tests.bench.batching [--passes 3] [--rows 48] [--slots 4] [--tokens 16] [--ray-rows 200] [--out FILE]

Needs Ray (`make contracts` sets up .venv-contracts, which has it), and the demo's pair. Everything is over HTTP, and
each server is a process of its own.

gateway: the same rows are answered by `batch` in this process, and by the gateway, whose clients take them from one
queue: as many clients as the batch has slots, over the same scripted API, which takes 100 ms for a reply, with the
demo's pair. Each pass has rows of its own, both engines answer them one right after the other, and who begins changes
from pass to pass. Of each run the first `slots` answers are left out; seconds are from the last of these to the last of
all. The batch keeps each answer on the disk. `ratio`: answers a second of `batch` over those of the gateway, of each
pass; the median is wanted at .9 or more. `same`: share of the rows to which both gave the same text.

ray: rows of one actor beside those of the local engine with one slot, over a scripted API that replies at once, with a
pair of random weights, so that a row takes little besides. `overhead_ms`: seconds of a row by the actor less those of
the local engine, from the first answer to the last, so without what either takes to start, of each pass and the median.
`startup_s`: from the call to the first answer. Ray's workers run at the niceness of this process, not 15 below it.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import statistics
import sys
import tempfile
import time
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from blackbox_proxy import BatchModel, BatchOptions, RayCluster, Steering, batch
from blackbox_proxy.batching.answers import KeptRow
from blackbox_proxy.batching.batch import PlannedBatch
from blackbox_proxy.testing.tiny_models import write_tiny_pair
from tests.bench.crowd import CONTEXT
from tests.bench.documents import write_document
from tests.bench.streaming import THINGS, ask, process, scripted_api, write_config

ALPHA = 0.5
TEMPLATE = "{{ messages[-1].content }}"
SHORT = 1
"""Most tokens of an answer where Ray is measured."""

Rows = Mapping[str, str]
"""Questions by the names of their rows."""


@dataclass(slots=True)
class TimedAnswers:
    """When each answer of a run came. began: when the run was called."""

    began: float = field(default_factory=time.perf_counter)
    ended: list[float] = field(default_factory=list)
    texts: dict[str, str] = field(default_factory=dict)

    def note(self) -> None:
        self.ended.append(time.perf_counter())

    @property
    def startup(self) -> float:
        """Seconds to the first answer."""
        return self.ended[0] - self.began

    def each(self, skipped: int) -> float:
        """Seconds of an answer in the mean, after those that are left out."""
        return (self.ended[-1] - self.ended[skipped - 1]) / (len(self.ended) - skipped)


@dataclass(frozen=True, slots=True)
class BatchSetting:
    """What rows are answered with. folder: where files of a run may be written."""

    folder: Path
    url: str
    pair: Path
    tokens: int

    def batch(self, rows: Rows, name: str, options: BatchOptions) -> TimedAnswers:
        """Answer rows by `batch`."""
        file, out = self.folder / f"{name}.jsonl", self.folder / name
        file.write_text("".join(json.dumps({"id": at, "prompt": rows[at]}) + "\n" for at in rows), encoding="utf-8")
        run = TimedAnswers()

        def watch(_: PlannedBatch) -> Callable[[KeptRow], object]:
            return lambda _: run.note()

        model = BatchModel({"base_url": self.url, "model": "closed", "template": TEMPLATE}, str(self.pair))
        steering = Steering(alpha=ALPHA, max_tokens=self.tokens)
        summary = batch(file, out, model=model, steering=steering, options=options, watch=watch)
        if summary.answered != len(rows):
            raise RuntimeError(f"{summary.answered} of {len(rows)} rows were answered: {summary.stopped}")
        lines = (out / "answers.jsonl").read_text(encoding="utf-8").splitlines()
        run.texts = {row["id"]: row["text"] for row in map(json.loads, lines)}
        return run


async def gateway(url: str, rows: Rows, *, clients: int) -> TimedAnswers:
    """Answer rows by the gateway: clients that take them from one queue."""
    queue, run = deque(rows), TimedAnswers()

    async def client() -> None:
        while queue:
            name = queue.popleft()
            run.texts[name] = (await ask(url, rows[name])).text.decode()
            run.note()

    await asyncio.gather(*(client() for _ in range(clients)))
    return run


def rows_of(count: int, *, of: str) -> Rows:
    """Rows that no other pass has."""
    names = (f"{of}-{number}" for number in range(count))
    return {
        name: f"Write two sentences about {THINGS[at % len(THINGS)]}, number {name}." for at, name in enumerate(names)
    }


def beside_the_gateway(folder: Path, *, passes: int, rows: int, slots: int, tokens: int) -> dict[str, Any]:
    """Figures of the local engine beside the gateway."""
    found: list[dict[str, float]] = []
    options = BatchOptions(parallel=slots)
    with scripted_api(folder, clients=slots) as api:
        config = write_config(folder, api.url, clients=slots, context=CONTEXT, tokens=tokens)
        with process("blackbox_proxy", "serve", "--config", str(config)) as server:
            setting = BatchSetting(folder, api.url, folder / "pair.toml", tokens)
            asyncio.run(gateway(server.url, rows_of(slots, of="warm"), clients=slots))
            for number in range(passes):
                asked = rows_of(rows, of=f"{number}")
                runs: dict[str, TimedAnswers] = {}
                for who in ("batch", "gateway") if number % 2 == 0 else ("gateway", "batch"):
                    if who == "batch":
                        runs[who] = setting.batch(asked, f"local-{number}", options)
                    else:
                        runs[who] = asyncio.run(gateway(server.url, asked, clients=slots))
                found.append(_compared(runs["batch"], runs["gateway"], slots))
                print(json.dumps(found[-1]), file=sys.stderr, flush=True)
    return {"ratio": round(statistics.median(one["ratio"] for one in found), 3), "passes": found}


def _compared(local: TimedAnswers, served: TimedAnswers, slots: int) -> dict[str, float]:
    per_second = 1 / local.each(slots), 1 / served.each(slots)
    same = statistics.mean(local.texts[name] == served.texts[name] for name in served.texts)
    return {
        "batch_per_s": round(per_second[0], 3),
        "gateway_per_s": round(per_second[1], 3),
        "ratio": round(per_second[0] / per_second[1], 3),
        "same": round(same, 3),
    }


def of_ray(folder: Path, *, passes: int, rows: int) -> dict[str, Any]:
    """Figures of one actor beside the local engine with one slot."""
    os.environ.setdefault("RAY_worker_niceness", "0")
    (folder / "tiny").mkdir()
    pair = write_tiny_pair(folder / "tiny")
    engines = {
        "local": BatchOptions(parallel=1),
        "ray": BatchOptions(engine="ray", parallel=1, cluster=RayCluster(actors=1)),
    }
    found: list[dict[str, Any]] = []
    with scripted_api(folder, clients=1, latency=0.0) as api:
        setting = BatchSetting(folder, api.url, pair, SHORT)
        for number in range(passes):
            asked = rows_of(rows, of=f"ray-{number}")
            order = list(engines) if number % 2 == 0 else list(engines)[::-1]
            runs = {who: setting.batch(asked, f"{who}-{number}", engines[who]) for who in order}
            found.append(_overhead(runs))
            print(json.dumps(found[-1]), file=sys.stderr, flush=True)
    medians = {name: statistics.median(one[name] for one in found) for name in ("overhead_ms", "startup_s")}
    return {**medians, "startup_local_s": statistics.median(one["startup_local_s"] for one in found), "passes": found}


def _overhead(runs: Mapping[str, TimedAnswers]) -> dict[str, Any]:
    each = {who: run.each(1) * 1e3 for who, run in runs.items()}
    return {
        "local_ms": round(each["local"], 2),
        "ray_ms": round(each["ray"], 2),
        "overhead_ms": round(each["ray"] - each["local"], 2),
        "startup_s": round(runs["ray"].startup, 2),
        "startup_local_s": round(runs["local"].startup, 2),
        "same": runs["ray"].texts == runs["local"].texts,
    }


def main() -> None:
    """Measure, print, and write the file."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--passes", type=int, default=3)
    parser.add_argument("--rows", type=int, default=48)
    parser.add_argument("--slots", type=int, default=4)
    parser.add_argument("--tokens", type=int, default=16)
    parser.add_argument("--ray-rows", type=int, default=200)
    parser.add_argument("--note", default="", help="what else ran on the machine")
    parser.add_argument("--out", type=Path, default=Path("build/batching.json"))
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        beside = beside_the_gateway(
            Path(name), passes=options.passes, rows=options.rows, slots=options.slots, tokens=options.tokens
        )
    with tempfile.TemporaryDirectory() as name:
        ray = of_ray(Path(name), passes=options.passes, rows=options.ray_rows)
    figures = {
        "note": options.note,
        "n": {name: getattr(options, name) for name in ("passes", "rows", "slots", "tokens", "ray_rows")},
        "cores": os.cpu_count(),
        "gateway": beside,
        "ray": ray,
    }
    write_document(options.out, "batching", figures)


if __name__ == "__main__":
    main()
