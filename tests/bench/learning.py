"""Measures the rule `learnt` against the best fixed alpha on boxed tasks: likelihood on unseen lines, and answers.

    python -m tests.bench.learning TASK... [--lines N] [--fresh N] [--questions N] [--places FOLDER] [--out FILE]

The demo's closed model behind the stand-in, over HTTP, its tokenizer known, and the task's pair. Weights are fitted to
the first `lines` of validation, and looked at on the first `fresh` of test; `questions` of test are answered too.
The places are kept in a folder, and not collected again.

alpha: the best fixed one on validation. held_out, fresh: minus the log-likelihood a place in nats, by `alpha` and by
the weights, on folds of validation that they were not fitted to (`alpha` was chosen on all of it) and on lines of test.
scores: the task's own, of answers by the task's knobs, by `alpha` and by the weights.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from blackbox_proxy.core.decoding.learning import fit_weights, nats_lost
from blackbox_proxy.evaluation.scoring import scorer
from blackbox_proxy.evaluation.serving import CLOSED, served
from blackbox_proxy.evaluation.task import Item, Task, find_task, read_task
from blackbox_proxy.learnt import LearntWeights
from blackbox_proxy.local.loading import load_pair
from blackbox_proxy.local.weights import default_cache, resolve
from blackbox_proxy.run.steerer import Steerer
from blackbox_proxy.types import ReferencePlace

Figures = dict[str, object]
Lines = Sequence[Sequence[ReferencePlace]]


def collected(steerer: Steerer, items: Sequence[Item], kept: Path) -> tuple[Lines, Figures]:
    """The places of some references, and what they took; those that were kept are read again."""
    calls, before = 0, time.perf_counter()
    for number, item in enumerate(items):
        path = kept / f"{number}.jsonl"
        if not path.exists():
            result = steerer.collect(item.prompt, item.reference)
            calls += result.usage.requests
            path.write_text("".join(f"{place}\n" for place in result.places), encoding="utf-8")
    paths = [kept / f"{number}.jsonl" for number in range(len(items))]
    lines = [[ReferencePlace.read(line) for line in path.read_text(encoding="utf-8").splitlines()] for path in paths]
    return lines, {"calls": calls, "seconds": round(time.perf_counter() - before, 1)}


def share_right(steerer: Steerer, task: Task, items: Sequence[Item]) -> float:
    """The mean score of steered answers."""
    score = scorer(task.scorer)
    return round(sum(score(steerer.complete(item.prompt).text, item) for item in items) / max(1, len(items)), 3)


def measured(task: Task, *, lines: int, fresh: int, asked: int, places: Path) -> Figures:
    """The figures of one task."""
    assert task.pair is not None
    closed = resolve(CLOSED, cache=default_cache(os.environ))
    with load_pair(task.pair) as pair, served(closed) as api:
        steerer = Steerer(api, pair, task.steering)
        folders = [places / task.name / part for part in ("validation", "test")]
        for folder in folders:
            folder.mkdir(parents=True, exist_ok=True)
        seen, took = collected(steerer, task.validation[:lines], folders[0])
        unseen, _ = collected(steerer, task.test[:fresh], folders[1])
        before = time.perf_counter()
        fit = fit_weights(seen)
        took |= {"fit_seconds": round(time.perf_counter() - before, 2)}
        fixed = LearntWeights.fixed(fit.alpha)
        learnt = replace(task.steering, rule="learnt", learnt=fit.weights, alpha=1.0)
        ways = {"task": task.steering, "alpha": replace(task.steering, alpha=fit.alpha), "learnt": learnt}
        questions = task.test[:asked]
        return {
            "lines": fit.lines,
            "places": fit.places,
            "alpha": round(fit.alpha, 3),
            "held_out": {"alpha": round(fit.fixed, 4), "learnt": round(fit.learnt, 4)},
            "fresh": {"alpha": round(nats_lost(fixed, unseen), 4), "learnt": round(nats_lost(fit.weights, unseen), 4)},
            "fresh_lines": len(unseen),
            "weights": str(fit.weights),
            "penalty": None if fit.is_fixed else fit.penalty,
            "questions": asked,
            "scores": {n: share_right(replace(steerer, steering=s), task, questions) for n, s in ways.items()},
            "took": took,
        }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("tasks", nargs="+")
    parser.add_argument("--lines", type=int, default=20)
    parser.add_argument("--fresh", type=int, default=20)
    parser.add_argument("--questions", type=int, default=0)
    parser.add_argument("--places", type=Path, default=Path("build/places"))
    parser.add_argument("--out", type=Path, default=Path("build/learning.json"))
    given = parser.parse_args()
    rows: Figures = json.loads(given.out.read_text(encoding="utf-8")) if given.out.exists() else {}
    for name in given.tasks:
        task = read_task(find_task(name))
        asked = {"lines": given.lines, "fresh": given.fresh, "asked": given.questions, "places": given.places}
        rows[name] = measured(task, **asked)
        given.out.parent.mkdir(parents=True, exist_ok=True)
        given.out.write_text(json.dumps(rows, indent=1), encoding="utf-8")


if __name__ == "__main__":
    main()
