"""Measures typed output: how often an answer is valid, by each way and by what the endpoint shows; and what it costs.

    python -m tests.bench.typed [--answers N] [--cells WAY:TOP_K ...] [--out FILE]

The closed model is the demo's behind the stand-in, steered by the demo's pair and left alone (`plain`). A cell is a way
with the log-probs that are shown: `raw`, `prefill`, `forced` (a chat without prefill, by a schema of the endpoint's
own), `words`. With `all` of them the closed model is one with fewer tokens, SmolLM2-135M-Instruct. `--answers` is of
raw:20, each schema asked greedily and then drawn with other seeds; of the other cells each schema is asked once. An
answer is valid where it is JSON and its schema holds; one that is cut by its length is not. Answers that are in the
file are not asked again.

`unconstrained` is how often the closed model is valid by itself, told the schema in its prompt. `forced_share` is the
share of bytes that the schema left no choice about. `overhead` is the time of a constraint's work beside a step's, over
the same greedy answer: candidates checked, text appended and forced bytes looked for, per step.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import jsonschema

from blackbox_proxy.api import Api, connect
from blackbox_proxy.constraints import JsonSchema
from blackbox_proxy.guidance import ConstraintAcceptor
from blackbox_proxy.local.loading import load_pair
from blackbox_proxy.local.pair import Pair
from blackbox_proxy.local.weights import default_cache, resolve
from blackbox_proxy.run.steerer import Steerer
from blackbox_proxy.run.unsteered import text_of
from blackbox_proxy.standin import running
from blackbox_proxy.steering import Steering
from blackbox_proxy.types import Origin, Prompt, Result
from tests.bench.schemas import SCHEMAS, Schema

CLOSED = "qwen2.5-coder-0.5b-instruct"
MAX_TOKENS = 120
CELLS = ("raw:20", "raw:5", "raw:all", "prefill:20", "forced:20", "words:20")
SMALLER = "smollm2-135m-instruct"
"""The closed model that shows all log-probs: a reply of Qwen's 151,936 takes seconds to write and to read."""

ALL = 49_152
"""All log-probs of `SMALLER`: as many as its vocabulary has tokens."""

WAYS: Mapping[str, tuple[Mapping[str, Any], tuple[str, ...]]] = {
    "raw": ({"template": "chatml"}, ()),
    "prefill": ({"adapter": "chat_prefill"}, ()),
    "forced": (
        {"adapter": "chat_continue", "options": {"strategies": ("forced",), "structured": "pattern"}},
        ("no-prefill",),
    ),
    "words": ({"adapter": "chat_continue"}, ("no-prefill",)),
}
"""How a way connects, and the quirks of the stand-in that it is for."""


@contextmanager
def reached(way: str, top_k: int) -> Iterator[Api]:
    """The closed model by one way; the smaller one where all log-probs are shown."""
    usual, quirks = WAYS[way]
    options = {**usual, "options": {**usual.get("options", {}), "top_k": top_k}}
    closed = SMALLER if top_k == ALL else CLOSED
    path = resolve(f"pypi:{closed}", cache=default_cache(os.environ))
    with ExitStack() as stack:
        url = stack.enter_context(running(path, name="m", top_k=top_k, slots=1, context=2048, batch=64, quirks=quirks))
        yield stack.enter_context(connect(url, model="m", timeout=300, **options))


def is_valid(text: str, schema: Schema) -> bool:
    """Whether a text is JSON of a schema."""
    try:
        jsonschema.validate(json.loads(text), schema)
    except (ValueError, jsonschema.ValidationError):
        return False
    return True


def row(result: Result, schema: Schema) -> Mapping[str, Any]:
    """What is kept of an answer."""
    forced = sum(len(step.piece) for step in result.steps if step.origin is Origin.CONSTRAINED)
    return {
        "text": result.text,
        "valid": result.finish == "stop" and is_valid(result.text, schema),
        "finish": result.finish,
        "calls": result.usage.requests,
        "forced": forced,
        "bytes": len(result.text.encode()),
        "seconds": round(result.seconds, 2),
    }


def asked(cell: str, kind: str, *, api: Api, pair: Pair, answers: int, kept: dict[str, Any]) -> Iterator[None]:
    """The answers of one cell, into what is kept; yields after each."""
    for seed in range(-(-answers // len(SCHEMAS))):
        for name, (question, schema) in list(SCHEMAS.items())[: answers - seed * len(SCHEMAS)]:
            key = f"{cell}/{kind}/{name}/{seed}"
            if key in kept:
                continue
            steering = Steering(
                constraint=JsonSchema.of(schema),
                alpha=1.0 if kind == "steered" else 0.0,
                max_tokens=MAX_TOKENS,
                temperature=0.0 if seed == 0 else 1.0,
                seed=seed,
            )
            if ":all/" in key:  # a reply that shows a whole vocabulary at each of many places takes more than it saves
                steering = replace(steering, draft=1)
            kept[key] = row(Steerer(api, pair, steering).complete(Prompt.ask(question)), schema)
            yield


def unconstrained(api: Api, kept: dict[str, Any]) -> Iterator[None]:
    """The closed model by itself, told the schema."""
    for name, (question, schema) in SCHEMAS.items():
        key = f"unconstrained/{name}"
        if key not in kept:
            form = json.dumps(schema, ensure_ascii=False)
            text = _said(api, f"{question}\nAnswer with JSON of this schema and nothing else: {form}")
            kept[key] = {"text": text, "valid": is_valid(text, schema)}
            yield


def _said(api: Api, text: str) -> str:
    return text_of(api.complete(Prompt.ask(text), max_tokens=MAX_TOKENS))


def overhead(pair: Pair, *, times: int = 20) -> Mapping[str, float]:
    """Milliseconds of a constraint at a step with 60 candidates, and of the pair's evaluation of one token."""
    schema = JsonSchema.of(SCHEMAS["order"][1])
    text = b'{"table": 4, "items": [{"name": "pizza", "count": 2}, {"name": "cola", "count": 1}]}'
    pieces = [pair.vocabulary.pieces[i] for i in range(300, 360)]
    begun = time.perf_counter()
    steps = 0
    for _ in range(times):
        accepts = ConstraintAcceptor(schema)
        for end in range(0, len(text), 3):
            accepts.forced(text[:end])
            steps += 1
            for piece in pieces:
                accepts.cut(text[:end], piece)
                accepts.follows(text[:end], piece)
    constrained = 1000 * (time.perf_counter() - begun) / steps
    prompt = pair.prompt(Prompt.ask("Describe Lima."))
    ids = tuple(pair.spell(text))
    begun = time.perf_counter()
    for n in range(1, len(ids)):
        pair.distributions(prompt, [ids[:n]])
    evaluated = 1000 * (time.perf_counter() - begun) / (len(ids) - 1)
    return {"constraint_ms": constrained, "pair_step_ms": evaluated, "ratio": constrained / evaluated}


def figures(kept: Mapping[str, Any]) -> Mapping[str, Any]:
    """What the kept answers come to."""
    cells: dict[str, dict[str, Any]] = {}
    for cell in dict.fromkeys(key.rsplit("/", 3)[0] for key in kept if not key.startswith("unconstrained")):
        for kind in ("steered", "plain"):
            rows = [one for key, one in kept.items() if key.startswith(f"{cell}/{kind}/")]
            if rows:
                cells.setdefault(cell, {})[kind] = summed(rows)
    alone = [one["valid"] for key, one in kept.items() if key.startswith("unconstrained")]
    return {**cells, "unconstrained": {"answers": len(alone), "valid": sum(alone)}}


def summed(rows: Sequence[Mapping[str, Any]]) -> Mapping[str, Any]:
    """Figures of the answers of one cell."""
    return {
        "answers": len(rows),
        "valid": sum(one["valid"] for one in rows),
        "calls_per_answer": round(sum(one["calls"] for one in rows) / len(rows), 2),
        "forced_share": round(sum(one["forced"] for one in rows) / sum(one["bytes"] for one in rows), 3),
    }


def main() -> None:
    """Ask what is missing, and write the figures after each answer."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--answers", type=int, default=200)
    parser.add_argument("--cells", nargs="+", default=CELLS)
    parser.add_argument("--out", type=Path, default=Path("build/typed.json"))
    chosen = parser.parse_args()
    kept: dict[str, Any] = json.loads(chosen.out.read_text())["rows"] if chosen.out.exists() else {}

    def write(**more: object) -> None:
        chosen.out.parent.mkdir(parents=True, exist_ok=True)
        chosen.out.write_text(json.dumps({**figures(kept), **more, "rows": kept}, indent=1, ensure_ascii=False) + "\n")

    with load_pair("demo") as pair:
        for cell in chosen.cells:
            way, top_k = cell.split(":")
            with reached(way, ALL if top_k == "all" else int(top_k)) as api:
                for kind in ("steered", "plain"):
                    count = chosen.answers if cell == "raw:20" else min(chosen.answers, len(SCHEMAS))
                    for _ in asked(cell, kind, api=api, pair=pair, answers=count, kept=kept):
                        write()
                if cell == "raw:20":
                    for _ in unconstrained(api, kept):
                        write()
        write(overhead=overhead(pair))


if __name__ == "__main__":
    main()
