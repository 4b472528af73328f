"""Whole answers chosen by the pair, beside the closed model's greedy answer and the most frequent one.

    python -m tests.bench.whole [QUESTIONS] [SAMPLES] [FILE]

The task is geography-told, with instructions and examples in the closed model's prompt; the closed model is the demo's.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping
from pathlib import Path

from blackbox_proxy.api import Api
from blackbox_proxy.evaluation.arms import AnswerJob, Arm, closed_prompt, in_order, pair_prompt
from blackbox_proxy.evaluation.scoring import Score, scorer
from blackbox_proxy.evaluation.serving import CLOSED, served
from blackbox_proxy.evaluation.statistics import mean, paired
from blackbox_proxy.evaluation.task import Item, Task, find_task, read_task
from blackbox_proxy.local.loading import load_pair
from blackbox_proxy.local.pair import Pair
from blackbox_proxy.local.pairfile import find_pair
from blackbox_proxy.local.weights import default_cache, resolve
from blackbox_proxy.run.steerer import Steerer
from blackbox_proxy.run.unsteered import text_of
from blackbox_proxy.steering import Steering
from blackbox_proxy.types import Result, Sample

TEMPERATURE = 0.8
RULES = ("greedy", "majority", "best_by_pair", "best_with_logp", "some")


def main(questions: str = "100", samples: str = "12", file: str = "build/whole_answers.json") -> None:
    """Ask, and write the figures after each question."""
    task = read_task(find_task("geography-told"))
    cache = default_cache(os.environ)
    scores: dict[str, list[float]] = {rule: [] for rule in RULES}
    taken: list[Result] = []
    steering = Steering(
        way="answers", samples=int(samples), temperature=TEMPERATURE, max_tokens=task.max_tokens, alpha=task.alpha
    )
    with served(resolve(CLOSED, cache=cache)) as api, load_pair(find_pair(str(task.pair), Path())) as pair:
        for item in in_order(task.test)[: int(questions)]:
            of_item, result = _asked(task, item, api, pair, steering=steering)
            taken.append(result)
            for rule in RULES:
                scores[rule].append(of_item[rule])
            Path(file).parent.mkdir(parents=True, exist_ok=True)
            Path(file).write_text(json.dumps(_figures(scores, taken, steering), indent=1) + "\n")


def _asked(task: Task, item: Item, api: Api, pair: Pair, *, steering: Steering) -> tuple[Mapping[str, float], Result]:
    job = AnswerJob(Arm("", "closed", 1, task.who, examples=True, instructions=True), item)
    asked, score = closed_prompt(task, job), scorer(task.scorer)
    greedy = text_of(api.complete(asked, max_tokens=task.max_tokens))
    result = Steerer(api, pair, steering).complete(asked, pair_prompt=pair_prompt(task, job))
    return {"greedy": score(greedy, item), **_chosen(result.samples, item, score)}, result


def _chosen(samples: tuple[Sample, ...], item: Item, score: Score) -> Mapping[str, float]:
    """What each rule would score: by the weight alone, and with the API's log-prob."""
    weights = {one.text: one.log_weight or 0.0 for one in samples}
    return {
        "majority": score(max(samples, key=lambda one: one.count).text, item),
        "best_by_pair": score(max(weights, key=lambda text: weights[text]), item),
        "best_with_logp": score(next(one for one in samples if one.chosen).text, item),
        "some": max(score(one.text, item) for one in samples),
    }


def _figures(scores: Mapping[str, list[float]], taken: list[Result], steering: Steering) -> Mapping[str, object]:
    n = len(taken)
    return {
        "n": n,
        "samples": steering.samples,
        "temperature": steering.temperature,
        "alpha": steering.alpha,
        "score": {rule: _mean(scores[rule]) for rule in RULES},
        "best_by_pair_less": {rule: _less(scores["best_by_pair"], scores[rule]) for rule in RULES[:2]},
        "distinct": sum(len(result.samples) for result in taken) / n,
        "effective_samples": sum(result.effective_samples for result in taken) / n,
        "input_tokens": sum(result.usage.input for result in taken) / n,
        "output_tokens": sum(result.usage.output for result in taken) / n,
        "seconds": sum(result.seconds for result in taken) / n,
        "local_seconds": sum(result.usage.local_seconds for result in taken) / n,
    }


def _mean(values: list[float]) -> Mapping[str, float]:
    known = mean(values)
    return {} if known is None else {"value": known.value, "low": known.low, "high": known.high}


def _less(one: list[float], other: list[float]) -> Mapping[str, float]:
    gap = paired(one, other)
    return {} if gap is None else {"value": gap.value, "low": gap.low, "high": gap.high, "p": gap.p}


if __name__ == "__main__":
    main(*sys.argv[1:])
