"""Measures gates and schedules against steering at every token: quality, calls, money, and what is left to the API.

    python -m tests.bench.deciding [--split dev|heldout] [--questions N] [--prompts N] [--ways WAY ...] [--out FILE]

The demo's closed model behind the stand-in, over HTTP, and the demo's pair. Loads: `told` and `known`, the demo's
questions; `plain`, ordinary prompts steered with alpha 0.5, where no answer is right or wrong. Thresholds and schedules
are chosen on `dev` countries; the table is made of `heldout` ones.

form, fact, exact: shares of answers in the form, with the right fact, with both. left: share of tokens that were left
to the API. calls, input, output, seconds, local_seconds: per token of the answer.
usd: US dollars per million tokens of answers at 0.15 in, 0.075 cached, 0.60 out. same: share of answers that are those
of `always`. divergence: quartiles of the measure over all tokens.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from blackbox_proxy.core.decoding.drafting import CostRatios
from blackbox_proxy.evaluation.serving import CLOSED
from blackbox_proxy.evaluation.task import Item
from blackbox_proxy.local.weights import default_cache, resolve
from blackbox_proxy.run.steerer import steer
from blackbox_proxy.schedule import Schedule
from blackbox_proxy.steering import Steering
from blackbox_proxy.tasks.demo import exact, in_house_form, questions
from blackbox_proxy.tasks.demonstration import LOADS, Stage, staged
from blackbox_proxy.types import Prompt, Result, Usage
from tests.bench.loads import STEERING, asked_of, states_fact
from tests.bench.prompts import prompts

PRICES = CostRatios(0.15, 0.075, 0.60)
PLAIN_ALPHA = 0.5
PLAIN_TOKENS = 40

WAYS: Mapping[str, Callable[[Steering], Steering]] = {
    "always": lambda steering: steering,
    "gate 0.05": lambda steering: replace(steering, gate="divergence", threshold=0.05),
    "gate 0.1": lambda steering: replace(steering, gate="divergence", threshold=0.1),
    "gate 0.2": lambda steering: replace(steering, gate="divergence", threshold=0.2),
    "gate 0.3": lambda steering: replace(steering, gate="divergence", threshold=0.3),
    "gate 0.4": lambda steering: replace(steering, gate="divergence", threshold=0.4),
    "decay": lambda steering: scheduled(steering, (0, 1.2), (12, 0.8)),
    "warm-up": lambda steering: scheduled(steering, (0, 0.8), (4, 1.0)),
}
"""How a steering is changed. The points of a schedule are shares of its alpha."""

Figures = dict[str, object]


@dataclass(frozen=True, slots=True)
class Answered:
    """An answer, what was asked, and how long it took. question: None where no answer is right or wrong."""

    result: Result
    question: Item | None
    seconds: float


def scheduled(steering: Steering, *shares: tuple[int, float]) -> Steering:
    """The steering with its alpha multiplied along the answer."""
    points = tuple((token, round(share * steering.alpha, 6)) for token, share in shares)
    return replace(steering, schedule=Schedule(points))


def answered(stage: Stage, asked: Sequence[Item | str], steering: Steering) -> list[Answered]:
    """All answers, one after another."""
    found = []
    for one in asked:
        question = one if isinstance(one, Item) else None
        prompt, own = (asked_of(question), question.prompt) if question else (str(one), str(one))
        before = time.perf_counter()
        result = steer(prompt, api=stage.api, offsets=stage.pair, steering=steering, pair_prompt=Prompt.ask(own))
        found.append(Answered(result, question, time.perf_counter() - before))
    return found


def figures(answers: Sequence[Answered], always: Sequence[Answered]) -> Figures:
    """What the answers of one way came to."""
    usage = sum((one.result.usage for one in answers), Usage())
    steps = [step for one in answers for step in one.result.steps]
    tokens = max(1, len(steps))
    apart = [step.divergence for step in steps if step.divergence is not None]
    return {
        "answers": len(answers),
        "tokens": len(steps),
        **_quality([(one.result.text, one.question) for one in answers if one.question]),
        "same": _share([a.result.text == b.result.text for a, b in zip(answers, always, strict=True)]),
        "left": round(sum(step.gated for step in steps) / tokens, 3),
        "calls": round(usage.requests / tokens, 3),
        "input": round(usage.input / tokens, 1),
        "output": round(usage.output / tokens, 2),
        "usd": round(PRICES.of(usage) / tokens, 3),
        "seconds": round(sum(one.seconds for one in answers) / tokens, 4),
        "local_seconds": round(usage.local_seconds / tokens, 4),
        "divergence": [round(cut, 3) for cut in statistics.quantiles(apart, n=4)] if len(apart) > 1 else [],
    }


def _quality(said: Sequence[tuple[str, Item]]) -> Figures:
    if not said:
        return {}
    return {
        "form": _share([in_house_form(text) for text, _ in said]),
        "fact": _share([states_fact(text, question) for text, question in said]),
        "exact": _share([exact(text, question) for text, question in said]),
    }


def _share(holds: Sequence[bool]) -> float:
    return round(sum(holds) / max(1, len(holds)), 3)


def measured(stage: Stage, asked: Sequence[Item | str], steering: Steering, ways: Sequence[str]) -> Figures:
    """The figures of each way; `always` is answered in any case."""
    always = answered(stage, asked, steering)
    found: Figures = {"always": figures(always, always)}
    for way in ways:
        if way != "always":
            found[way] = figures(answered(stage, asked, WAYS[way](steering)), always)
            print(way, json.dumps(found[way]), flush=True)
    return found


def main() -> None:
    """Measure, print, and write the file after each load."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--split", choices=("dev", "heldout"), default="heldout")
    parser.add_argument("--questions", type=int, default=100)
    parser.add_argument("--prompts", type=int, default=12)
    parser.add_argument("--ways", nargs="+", choices=tuple(WAYS), default=tuple(WAYS))
    parser.add_argument("--out", type=Path, default=Path("build/deciding.json"))
    options = parser.parse_args()
    loads: dict[str, Sequence[Item | str]] = {
        load: questions(load, options.split, n=options.questions, seed=1) for load in LOADS if options.questions
    }
    if options.prompts:
        loads["plain"] = [text for _, text in prompts(options.prompts)]
    plain = Steering(alpha=PLAIN_ALPHA, max_tokens=PLAIN_TOKENS)
    found: Figures = {}
    with staged(resolve(CLOSED, cache=default_cache(os.environ))) as stage:
        for load, asked in loads.items():
            found[load] = measured(stage, asked, plain if load == "plain" else STEERING, options.ways)
            options.out.parent.mkdir(parents=True, exist_ok=True)
            options.out.write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")
    print(json.dumps(found, indent=2))


if __name__ == "__main__":
    main()
