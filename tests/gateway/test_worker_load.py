"""Sixty-four streaming clients at once on two workers, for a minute: the promises of tests/gateway/test_load.py hold.

No error, every answer its own, both workers take their part, and memory stays. The pair is a tiny one, so that what is
tried is what several processes do, and not llama.cpp.
"""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from pathlib import Path

import pytest

from tests.bench.streaming import ask_in_turn, scripted_api, write_config
from tests.gateway.serving import CONTEXT
from tests.gateway.test_load import CLIENTS, GROWTH, NEAR, QUESTIONS, TOKENS, crowd, moved, near_tie
from tests.gateway.worker_gateway import WorkerGateway, serving_workers
from tests.tiny_gguf import TinyModel

SECONDS = 60.0
LEAST_PART = 0.25
"""Of all answers, for each of two workers."""


def resident_mb(gateway: WorkerGateway) -> float:
    """Memory of both workers, what they share counted twice."""
    lines = [
        line
        for worker in gateway.workers()
        for line in Path(f"/proc/{worker}/status").read_text(encoding="ascii").splitlines()
        if line.startswith("VmRSS")
    ]
    return sum(int(line.split()[1]) / 1024 for line in lines)


@pytest.mark.slow
@pytest.mark.long
def test_sixty_four_streams_keep_apart_on_two_workers(tiny_bpe: TinyModel, tiny_lora: Path, tmp_path: Path) -> None:
    members = f"model = {json.dumps(str(tiny_bpe.path))}\nadapter = {json.dumps(str(tiny_lora))}\n"
    with scripted_api(tmp_path, clients=CLIENTS, own=QUESTIONS) as api:
        config = write_config(tmp_path, api.url, clients=CLIENTS, context=CONTEXT, tokens=TOKENS, members=members)
        with serving_workers(config, "--log-format", "json") as gateway:
            alone = {one.question: one for one in asyncio.run(ask_in_turn(gateway.url, list(QUESTIONS), logprobs=True))}
            asyncio.run(crowd(gateway.url, 0.0))
            warm = resident_mb(gateway)
            found = asyncio.run(crowd(gateway.url, SECONDS))
            grown = resident_mb(gateway) - warm
    lines = [json.loads(line) for line in gateway.lines if line.startswith("{")]
    parts = Counter(line["worker"] for line in lines if line["event"] == "answer")
    print(f"{len(found)} answers; by worker: {dict(parts)}; grown by {grown:.1f} MB beyond {warm:.1f}")
    assert all(set(one.text.decode().split()) <= set(QUESTIONS[one.question]) for one in found)
    ties = [gap for one in found if (gap := near_tie(alone[one.question], one)) is not None]
    assert max(ties, default=0.0) < NEAR
    assert max(moved(alone[one.question], one) for one in found) < NEAR
    assert min(parts[1], parts[2]) >= LEAST_PART * sum(parts.values())
    assert grown <= 2 * GROWTH
    assert not [line for line in lines if line["event"] in {"refusal", "upstream_failure"}]
