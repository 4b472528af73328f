"""Chunks beside whole answers of about as many tokens, and beside the closed model's greedy answer.

    python -m tests.bench.chunked [QUESTIONS] [FILE]

The task is geography-told, with instructions and examples in the closed model's prompt; the closed model is the demo's,
which shows no log-probs here.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

from blackbox_proxy.api import connect
from blackbox_proxy.core.decoding.sources import OffsetTable
from blackbox_proxy.evaluation.arms import AnswerJob, Arm, closed_prompt, in_order, pair_prompt
from blackbox_proxy.evaluation.scoring import scorer
from blackbox_proxy.evaluation.serving import CLOSED
from blackbox_proxy.evaluation.statistics import Mean, Paired, mean, paired
from blackbox_proxy.evaluation.task import Item, Task, find_task, read_task
from blackbox_proxy.local.loading import load_pair
from blackbox_proxy.local.pairfile import find_pair
from blackbox_proxy.local.weights import default_cache, resolve
from blackbox_proxy.run.steerer import Steerer
from blackbox_proxy.standin import running
from blackbox_proxy.steering import Steering
from blackbox_proxy.types import Result

DRAWN = Steering(temperature=0.8)
ARMS: Mapping[str, Steering] = {
    "greedy": Steering(way="answers", samples=1, alpha=0.0),
    "answers": replace(DRAWN, way="answers", samples=8),
    "chunks": replace(DRAWN, way="chunks", beams=2, samples=4, chunk=4),
}
"""Those of `chunks` write about as many tokens as those of `answers`."""


def main(questions: str = "20", file: str = "build/chunks.json") -> None:
    """Ask, and write the figures after each question."""
    task = read_task(find_task("geography-told"))
    taken: dict[str, list[tuple[float, float, Result]]] = {name: [] for name in ARMS}
    options = {"logprobs": False, "answers_at_once": 16}
    with running(resolve(CLOSED, cache=default_cache(os.environ)), name="closed", slots=1) as url:
        with (
            connect(url, model="closed", template="chatml", options=options, timeout=900) as api,
            load_pair(find_pair(str(task.pair), Path())) as pair,
        ):
            for item in in_order(task.test)[: int(questions)]:
                job = AnswerJob(Arm("", "closed", 1, task.who, examples=True, instructions=True), item)
                for name, knobs in ARMS.items():
                    alpha = task.alpha if knobs.alpha else 0.0
                    steering = replace(knobs, alpha=alpha, max_tokens=task.max_tokens)
                    steerer = Steerer(api, pair if alpha else OffsetTable({}), steering)
                    result = steerer.complete(closed_prompt(task, job), pair_prompt=pair_prompt(task, job))
                    taken[name].append((*_scored(task, item, result), result))
                Path(file).parent.mkdir(parents=True, exist_ok=True)
                Path(file).write_text(json.dumps(_figures(taken), indent=1) + "\n")


def _scored(task: Task, item: Item, result: Result) -> tuple[float, float]:
    """Whether the answer is right, and whether one of those that it was chosen from is."""
    score = scorer(task.scorer)
    return score(result.text, item), max(score(one.text, item) for one in result.samples)


def _figures(taken: Mapping[str, list[tuple[float, float, Result]]]) -> Mapping[str, object]:
    right = {name: [score for score, _, _ in rows] for name, rows in taken.items()}
    return {
        name: {
            "n": len(rows),
            "right": _value(mean(right[name])),
            "less_answers": _value(paired(right[name], right["answers"])),
            "some": sum(some for _, some, _ in rows) / len(rows),
            "calls": _per(rows, lambda result: result.usage.requests),
            "input_tokens": _per(rows, lambda result: result.usage.input),
            "output_tokens": _per(rows, lambda result: result.usage.output),
            "seconds": _per(rows, lambda result: result.seconds),
            "local_seconds": _per(rows, lambda result: result.usage.local_seconds),
        }
        for name, rows in taken.items()
    }


def _value(of: Mean | Paired | None) -> Mapping[str, float]:
    return {} if of is None else {"value": of.value, "low": of.low, "high": of.high}


def _per(rows: list[tuple[float, float, Result]], count: Callable[[Result], float]) -> float:
    return sum(count(result) for _, _, result in rows) / len(rows)


if __name__ == "__main__":
    main(*sys.argv[1:])
