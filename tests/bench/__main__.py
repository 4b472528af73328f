"""Measures what a step costs: our Python, our pair evaluation, and the same evaluations by bare llama.cpp.

    python -m tests.bench [--questions N] [--drafts N] [--out build/bench.json]

A real run (stand-in over HTTP, the demo's pair) is timed from inside: `python_ms` is all the time spent in the token
loop (spelling, aligning, combining, choosing), `pair_ms` all the time in `Pair.distributions`. Every batch that
llama.cpp was given is recorded and afterwards decoded again on fresh contexts, both members side by side as in the
pair, with nothing around it: `bare_ms`. All are per emitted token, medians over the questions; the ratios are taken
question by question. One member's weights are read once per batch: that is the physical limit, and `bare_ms` is it.

`covering` compares all that scoring strings takes (pair and Python) with what reading the answer alone would take: its
tokens decoded one by one by both members side by side, by bare llama.cpp. `plain` is ordinary English, steered so
little that it stays so; `demo` the demo's questions. decodes and nodes are a member's batches, and tokens in them.

`score` is of `Pair.score` for 28 strings (the API's 20 and 8 proposals) at places of an answer: `ratio` to one token
more by both members, medians over the places; `ratio_close` at a tolerance of 1e-3: see tests/bench/strings.py.

`drafting` compares who drafts: see tests/bench/drafting.py; `gateway` is of a gateway with many clients: see
tests/bench/crowd.py; `gateway_bigger` is the same with a pair of 0.5B models in place of the demo's.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

from blackbox_proxy.core.decoding.answers import steps
from blackbox_proxy.core.events import ApiDraft, Evaluate, Evidence
from blackbox_proxy.evaluation.serving import CLOSED
from blackbox_proxy.local.llama import Context, Lora, Model
from blackbox_proxy.local.weights import default_cache, resolve
from blackbox_proxy.steering import Steering
from blackbox_proxy.tasks.demonstration import LOCAL, Stage, staged
from blackbox_proxy.types import Generate, PairDistributions, PairPrompt, Prefix, Prompt, Step, TokenPath
from tests.bench import crowd, drafting, strings
from tests.bench.loads import STEERING, asked_and_read
from tests.bench.streaming import ADAPTER
from tests.bench.tapes import Tape, recorded, replay


@dataclass
class Timed:
    """Seconds of one question, and how many tokens were emitted."""

    python: float = 0.0
    pair: float = 0.0
    bare: float = 0.0
    alone: float = 0.0
    tokens: int = 0
    decodes: int = 0
    nodes: int = 0
    text: bytes = b""


@dataclass(frozen=True)
class Asked:
    """What the pair and the closed model read."""

    text: str
    asked: str


def run(question: Asked, stage: Stage, steering: Steering) -> Timed:
    """Steer one question with the clock running; API and pair one after the other, so that neither slows the other."""
    found = Timed()
    prompt = stage.pair.prompt(Prompt.ask(question.text))
    text = stage.api.text(Prompt.ask(question.asked))
    api = stage.api.vocabulary
    loop = steps(steering, vocabulary=stage.pair.vocabulary, spell=stage.pair.spell, api=api)
    stage.pair.distributions(prompt, [()])
    evidence: Evidence | None = None
    while True:
        before = time.perf_counter()
        try:
            event = loop.send(evidence)
        except StopIteration:
            found.python += time.perf_counter() - before
            return found
        found.python += time.perf_counter() - before
        evidence = None
        if isinstance(event, ApiDraft):
            reply = stage.api.send(Generate("closed-model", Prefix(text, event.answer), 20, event.length))
            evidence = Evidence(_distributions(stage, prompt, event.paths, found), [reply])
        elif isinstance(event, Evaluate):
            evidence = Evidence(_distributions(stage, prompt, event.paths, found))
        elif isinstance(event, Step):
            found.tokens += 1
            found.text += event.piece


def _distributions(
    stage: Stage, prompt: PairPrompt, paths: Sequence[TokenPath], found: Timed
) -> list[PairDistributions]:
    before = time.perf_counter()
    distributions = stage.pair.distributions(prompt, paths)
    found.pair += time.perf_counter() - before
    return distributions


def bare_seconds(tapes: Sequence[Tape], contexts: Sequence[Context], *, skip: int) -> float:
    """Wall time of the decodes of both members side by side, the first `skip` (the prompt's) left out."""
    with ThreadPoolExecutor(len(tapes)) as pool:
        both = list(pool.map(replay, contexts, tapes))
    expert, anti_expert = both
    return sum(max(e.wall, a.wall) for e, a in zip(expert[skip:], anti_expert[skip:], strict=True))


def alone_seconds(text: TokenPath, prompts: Sequence[TokenPath], contexts: Sequence[Context]) -> float:
    """Wall time of a text's own tokens, one by one behind the prompt's, by both members side by side."""

    def read(prompt: TokenPath, context: Context) -> None:
        for at, token in enumerate(prompt):
            context.decode([token], positions=[at], sequences=[[0]], keep_logits=[at == len(prompt) - 1])

    def go_on(prompt: TokenPath, context: Context) -> None:
        for at, token in enumerate(text, len(prompt)):
            context.decode([token], positions=[at], sequences=[[0]], keep_logits=[True])

    with ThreadPoolExecutor(len(contexts)) as pool:
        list(pool.map(read, prompts, contexts))
        before = time.perf_counter()
        list(pool.map(go_on, prompts, contexts))
        return time.perf_counter() - before


PLAIN = ("the sea", "winter", "bread", "a bicycle", "music", "the moon", "rivers", "trees", "chess")


def measure(count: int) -> dict[str, object]:
    """All figures of `count` questions of the told load."""
    cache = default_cache(os.environ)
    closed, local = resolve(CLOSED, cache=cache), resolve(LOCAL, cache=cache)
    with staged(closed) as stage, Model(local) as model, Lora(model, ADAPTER) as lora:
        told = [Asked(text, asked) for asked, text in asked_and_read("told", "dev", n=count, seed=1)]
        plain = [Asked(text, text) for text in (f"Write two sentences about {thing}." for thing in PLAIN[:count])]
        timed = [_one(question, stage, model, lora, STEERING) for question in told]
        open_ended = [_one(question, stage, model, lora, replace(STEERING, alpha=0.1)) for question in plain]
        vocabulary = len(stage.pair.vocabulary)
        scores = strings.measure(stage, [(question.text, question.asked) for question in told[:3]])
    return {
        "step": {**_figures(timed), "vocabulary": vocabulary},
        "covering": {"plain": _covering(open_ended), "demo": _covering(timed)},
        "score": scores,
        "machine": _machine(),
        "questions": count,
    }


def _one(question: Asked, stage: Stage, model: Model, lora: Lora, steering: Steering) -> Timed:
    with recorded(stage.pair) as tapes:
        found = run(question, stage, steering)
    with (
        Context(model, size=1024, forks=8, lora=lora) as expert,
        Context(model, size=1024, forks=8) as anti_expert,
    ):
        found.bare = bare_seconds(tapes, (expert, anti_expert), skip=1)
        for context in (expert, anti_expert):
            context.truncate(0, 0)
        prompt, text = stage.pair.prompt(Prompt.ask(question.text)), tuple(stage.pair.spell(found.text))
        found.alone = alone_seconds(text, (prompt.expert, prompt.anti_expert), (expert, anti_expert))
    batches = tapes[0].decoded[1:]
    found.decodes, found.nodes = len(batches), sum(len(tokens) for tokens in batches)
    return found


def _figures(timed: Sequence[Timed]) -> dict[str, float]:
    def middle(values: Sequence[float]) -> float:
        return round(statistics.median(values), 3)

    return {
        "python_ms": middle([t.python / t.tokens * 1e3 for t in timed]),
        "pair_ms": middle([t.pair / t.tokens * 1e3 for t in timed]),
        "bare_ms": middle([t.bare / t.tokens * 1e3 for t in timed]),
        "python_over_bare": middle([t.python / t.bare for t in timed]),
        "pair_over_bare": middle([t.pair / t.bare for t in timed]),
    }


def _covering(timed: Sequence[Timed]) -> dict[str, float]:
    """Sums over all questions, by emitted token."""
    tokens = sum(t.tokens for t in timed)
    spent, alone = (
        sum(values) / tokens * 1e3 for values in ([t.python + t.pair for t in timed], [t.alone for t in timed])
    )
    return {
        "ms_per_step": round(spent, 3),
        "bare_ms_per_step": round(alone, 3),
        "over_bare": round(spent / alone, 3),
        "decodes_per_step": round(sum(t.decodes for t in timed) / tokens, 3),
        "nodes_per_step": round(sum(t.nodes for t in timed) / tokens, 3),
    }


def _machine() -> dict[str, object]:
    return {"processor": platform.machine(), "cores": os.cpu_count(), "python": platform.python_version()}


def main() -> None:
    """Measure, print, and write the file."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--questions", type=int, default=9)
    parser.add_argument("--drafts", type=int, default=6, help="questions of each load of `drafting`")
    parser.add_argument("--out", type=Path, default=Path("build/bench.json"))
    options = parser.parse_args()
    found = {
        **measure(options.questions),
        "drafting": drafting.measure(options.drafts),
        "gateway": crowd.measure(16, answers=6, tokens=32),
        "gateway_bigger": crowd.measure(16, answers=3, tokens=32, files=crowd.BIGGER),
    }
    options.out.parent.mkdir(parents=True, exist_ok=True)
    text = json.dumps(found, indent=2)
    options.out.write_text(text + "\n", encoding="utf-8")
    print(text)


if __name__ == "__main__":
    main()
