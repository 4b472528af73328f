"""Measures several workers of a gateway against one process, and the memory of both.

    python -m tests.bench.workers [--workers 1 2] [--clients 16] [--answers 3] [--tokens 32]

As tests.bench.crowd: a scripted API that takes 100 ms for a reply, the gateway with the demo's pair, and clients who
stream chats, each one after the other. Each gateway has as many `slots` in all as there are clients. The first answer
of each client is not measured.

emitted_tokens_per_s: of all clients together. first_token_p95_ms: from the question to the first text. answers: of
each worker, those not measured too. rss_mb, pss_mb: of each process, the one that starts the workers first; pss
counts a page that n processes share as 1/n in each, so that the sum is what the machine holds. file_mb: of rss,
pages of files, which further workers have in common.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import statistics
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

from tests.bench.crowd import CONTEXT, crowd, questions
from tests.bench.streaming import cells_of, scripted_api, write_config
from tests.gateway.worker_gateway import serving_workers


def memory(process_id: int) -> dict[str, float]:
    """MB of a process by the names of Linux: Rss, Pss, and so on."""
    lines = Path(f"/proc/{process_id}/smaps_rollup").read_text(encoding="ascii").splitlines()[1:]
    pairs = (line.split(":") for line in lines)
    return {name: int(value.split()[0]) / 1024 for name, value in pairs}


def file_pages(process_id: int) -> float:
    """MB of files that a process has in memory."""
    status = Path(f"/proc/{process_id}/status").read_text(encoding="ascii")
    return next(int(line.split()[1]) / 1024 for line in status.splitlines() if line.startswith("RssFile"))


def config_of(folder: Path, url: str, *, workers: int, clients: int, tokens: int) -> Path:
    """A gateway whose workers' pairs hold as many texts as there are clients, all together."""
    path = write_config(folder, url, clients=clients, context=CONTEXT, tokens=tokens)
    text = (folder / "pair.toml").read_text(encoding="utf-8")
    each = clients // workers
    text = text.replace(f"slots = {clients}", f"slots = {each}")
    text = text.replace(f"cells = {cells_of(clients)}", f"cells = {cells_of(each)}")
    (folder / "pair.toml").write_text(text, encoding="utf-8")
    return path


def measure(workers: int, *, clients: int, answers: int, tokens: int) -> dict[str, Any]:
    """The figures of one gateway."""
    with tempfile.TemporaryDirectory() as name, scripted_api(Path(name), clients=clients) as api:
        config = config_of(Path(name), api.url, workers=workers, clients=clients, tokens=tokens)
        with serving_workers(config, "--log-format", "json", workers=workers) as gateway:
            asked = questions(clients, 1 + answers)
            asyncio.run(crowd(gateway.url, [own[:1] for own in asked]))
            began = time.monotonic()
            found = asyncio.run(crowd(gateway.url, [own[1:] for own in asked]))
            seconds = time.monotonic() - began
            processes = [gateway.process.pid, *(gateway.workers() if workers > 1 else [])]
            held = [memory(one) for one in processes]
            files = [round(file_pages(one)) for one in processes]
    lines = [json.loads(line) for line in gateway.lines if line.startswith("{")]
    by_worker = Counter(line.get("worker", 1) for line in lines if line["event"] == "answer")
    return {
        "workers": workers,
        "clients": clients,
        "emitted_tokens_per_s": round(sum(len(answer.tokens) for answer in found) / seconds, 1),
        "first_token_p95_ms": round(statistics.quantiles([one.first for one in found], n=20)[-1] * 1e3),
        "answers": dict(sorted(by_worker.items())),
        "rss_mb": [round(one["Rss"]) for one in held],
        "pss_mb": [round(one["Pss"]) for one in held],
        "file_mb": files,
    }


def main() -> None:
    """Measure, and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--clients", type=int, default=16)
    parser.add_argument("--answers", type=int, default=3)
    parser.add_argument("--tokens", type=int, default=32)
    options = parser.parse_args()
    for workers in options.workers:
        found = measure(workers, clients=options.clients, answers=options.answers, tokens=options.tokens)
        print(json.dumps(found), flush=True)


if __name__ == "__main__":
    main()
