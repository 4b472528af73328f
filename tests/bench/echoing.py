"""Measures a demanded text as an echo, and what an answer takes by each way of going on.

    python -m tests.bench.echoing [--prompts N] [--questions N] [--model NAME] [--server NAME] [--out FILE]

Everything is greedy. Two measurements:

    along     distributions along a text that a schema demanded, each against that by prefill after the same text: of
              the model's own answers (`inside`), and of the steered answers of the demo (`form`), which the model
              would hardly give
    told      questions of the demo with an invented fact (`dev` countries), steered by the demo's pair: by prefill, by
              a schema with windows and with echoes, and in words

places, agree, distance, blind: see `tests.bench.continuing`; exact: share of answers that have the form and the right
fact; calls, input, output: sums over all questions.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path

from blackbox_proxy.api import Api, connect
from blackbox_proxy.core.decoding.sources import OffsetTable
from blackbox_proxy.evaluation.task import Item
from blackbox_proxy.local.loading import load_pair
from blackbox_proxy.local.pair import Pair
from blackbox_proxy.run.steerer import steer
from blackbox_proxy.steering import Steering, Who
from blackbox_proxy.tasks.demo import in_house_form, questions
from blackbox_proxy.types import Echo, Message, Prefix, Reply, Usage
from tests.bench.continuing import (
    MODELS,
    TOKENS,
    TOP_K,
    Answered,
    Figures,
    Place,
    answered,
    asked_next,
    compared,
    distribution_of,
)
from tests.bench.documents import write_document
from tests.bench.forcing import SERVERS, WORDS, demanded, model_path, of_llama, of_standin
from tests.bench.loads import STEERING, asked_of, states_fact
from tests.bench.prompts import prompts


@dataclass(frozen=True, slots=True)
class EchoArm:
    """A way of going on: the options of a chat without prefill, and who drafts. None: by prefill."""

    options: Mapping[str, object] | None
    drafter: Who = "api"


def arms(server: str) -> Mapping[str, EchoArm]:
    """The ways that are compared at a server."""
    schema = {"strategies": ("forced",), "structured": demanded(server)}
    before = {**schema, "structured_logprobs": "before"}
    return {
        "prefill": EchoArm(None),
        "windows": EchoArm(schema),
        "echo": EchoArm(before, "pair_echo"),
        "auto": EchoArm(before, "auto"),
        "words": EchoArm({"strategies": WORDS}),
    }


def open_arms(server: str, name: str, stack: ExitStack) -> Mapping[str, Api]:
    """A model of a server by each way; the stack closes them."""
    opened = {"standin": of_standin, "llama_server": of_llama}[server]
    urls = {prefill: stack.enter_context(opened(model_path(name), prefill=prefill)) for prefill in (True, False)}
    reached = {}
    for way, arm in arms(server).items():
        adapter = "chat_prefill" if arm.options is None else "chat_continue"
        api = connect(urls[arm.options is None], model="m", adapter=adapter, options=arm.options or {}, timeout=300)
        reached[way] = stack.enter_context(api)
    return reached


def along(apis: Mapping[str, Api], texts: Sequence[tuple[str, str]]) -> Figures:
    """Distributions at the places along demanded texts. texts: each with the question that it answers."""
    shown, wanted = list[Place](), list[Place]()
    for question, text in texts:
        reply = _echo(apis["echo"], question, text.encode())
        for one in reply.echoed:
            if one.at:
                shown.append(distribution_of(Reply((one.position,), None, Usage())))
                wanted.append(asked_next(question, text.encode()[: one.at], api=apis["prefill"]))
    return compared(shown, wanted)


def _echo(api: Api, question: str, text: bytes) -> Reply:
    return api.send(Echo(api.model, Prefix("", b"", (Message("user", question),)), TOP_K, text))


def own_texts(api: Api, texts: Sequence[str]) -> list[tuple[str, str]]:
    """What a model answers by itself."""
    steering = Steering(alpha=0.0, max_tokens=TOKENS)
    return [(text, steer(text, api=api, offsets=OffsetTable({}), steering=steering).text) for text in texts]


def steered_by(api: Api, asked: Sequence[Item], *, pair: Pair, drafter: Who) -> list[Answered]:
    """The steered answers to questions of the demo."""
    steering = replace(STEERING, max_tokens=TOKENS, drafter=drafter)
    return [answered(asked_of(q), api=api, pair=pair, steering=steering, own=q.prompt) for q in asked]


def spent(answers: Sequence[Answered], asked: Sequence[Item]) -> Figures:
    """How many answers are right, and what they took."""
    right = [in_house_form(a.text) and states_fact(a.text, q) for a, q in zip(answers, asked, strict=True)]
    used = sum((a.usage for a in answers), Usage())
    return {
        "n": len(answers),
        "exact": round(sum(right) / max(1, len(right)), 3),
        "tokens": sum(a.tokens for a in answers),
        "calls": used.requests,
        "input_tokens": used.input,
        "output_tokens": used.output,
        "errors": sum(bool(a.error) for a in answers),
    }


def measured(server: str, name: str, *, texts: Sequence[str], asked: Sequence[Item]) -> Figures:
    """Both measurements."""
    with ExitStack() as stack:
        apis, pair = open_arms(server, name, stack), stack.enter_context(load_pair("demo"))
        figures: Figures = {}
        said = {}
        for way, arm in arms(server).items():
            said[way] = steered_by(apis[way], asked, pair=pair, drafter=arm.drafter)
            figures[way] = spent(said[way], asked)
            print(way, json.dumps(figures[way]), flush=True)
        forms = [(asked_of(q), a.text) for q, a in zip(asked, said["prefill"], strict=True) if a.text]
        inside = along(apis, own_texts(apis["prefill"], texts))
        return {"inside": inside, "form": along(apis, forms), "told": figures}


def main() -> None:
    """Measure, print, and write the file."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--prompts", type=int, default=10)
    parser.add_argument("--questions", type=int, default=20)
    parser.add_argument("--model", choices=MODELS, default=MODELS[1])
    parser.add_argument("--server", choices=list(SERVERS), default="standin")
    parser.add_argument("--out", type=Path, default=Path("build/echoing.json"))
    options = parser.parse_args()
    texts = [text for _, text in prompts(options.prompts)]
    asked = questions("told", "dev", n=options.questions, seed=1)
    counts = {"prompts": len(texts), "questions": len(asked)}
    found = {options.model: {options.server: measured(options.server, options.model, texts=texts, asked=asked)}}
    write_document(options.out, "echoing", {"n": counts, "figures": found})


if __name__ == "__main__":
    main()
