"""Measures many clients of one pair: how near their pair evaluations come to llama.cpp alone.

    python -m tests.bench.crowd [--clients 16] [--answers 3] [--tokens 32]

Threads steer answers at the same time, against a scripted API over real HTTP that takes 100 ms for a reply, with the
demo's pair. Every batch that llama.cpp was given is recorded and decoded again, both members side by side, with
nothing around it: the bare loop at the same batch sizes, in the same run. The first answer of each client is not
measured.

pair_vs_bare: bare seconds / seconds of the run, so that the API's latency and all our Python count against us.
rows_per_batch: tokens of a batch in the mean. overhead_ms_per_token: seconds of the run beyond the bare ones, by
emitted token. p95_first_token_ms: from the question to the first token. rss_growth_mb: of the process, over the
measured answers. same_texts: clients whose text is that of the same question asked alone, of all; near ties may
differ, since llama.cpp rounds by the rows of a batch.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from importlib.resources import as_file, files
from itertools import pairwise
from pathlib import Path
from typing import Any

from blackbox_proxy.api import Api, connect
from blackbox_proxy.demo.run import LOCAL
from blackbox_proxy.engine import stream
from blackbox_proxy.local.llama import Context, Lora, Model
from blackbox_proxy.local.pair import Pair, PairFiles, open_pair
from blackbox_proxy.local.weights import default_cache, resolve
from blackbox_proxy.standin.script import Script, script
from blackbox_proxy.standin.server import running
from blackbox_proxy.steering import Steering
from blackbox_proxy.types import Prompt
from tests.bench.tapes import Tape, recorded, replay

LATENCY = 0.1
CONTEXT = 1024
TEXT = (
    "The sea is wide and blue and it is deep , and the wind that comes from the sea is cold in the winter . "
    "In the summer the children of the town go to the sea to swim , and the old people sit in the sun and talk . "
    "A boat is a good thing to have when the weather is fine , but in a storm it is better to stay at home . "
    "The moon is round and white and it is far from the town , and at night the light of the moon is on the sea ."
)
THINGS = ("the sea", "winter", "bread", "a bicycle", "music", "the moon", "rivers", "trees", "chess", "glass")

Ask = Callable[[str], Iterator[object]]
"""Asks a question, and gives one value for each token as it comes."""


def closed_model() -> Script:
    """A model of words: what follows a word in the text is likely after it, all others are possible."""
    words = [f" {word}".encode() for word in TEXT.split()]
    everywhere = dict.fromkeys(words, 0.01)
    laws = {b"": everywhere}
    for word, after in pairwise(words):
        law = laws.setdefault(word, dict(everywhere))
        law[after] += 1.0
    letters = [bytes([byte]) for byte in range(256)]
    return script([*dict.fromkeys(words), *letters], [b"</s>"], laws)


@dataclass(frozen=True)
class Answered:
    """One client's answer: how long until its first token, and what came."""

    first: float
    tokens: tuple[object, ...]


def put(question: str, ask: Ask) -> Answered:
    """Ask, and look at the clock."""
    before = time.perf_counter()
    tokens = ask(question)
    one = next(tokens)
    first = time.perf_counter() - before
    return Answered(first, (one, *tokens))


def crowd(questions: Sequence[Sequence[str]], ask: Ask) -> tuple[float, list[Answered]]:
    """Each client asks its questions one after the other, all clients at once; seconds, and all answers."""
    with ThreadPoolExecutor(len(questions)) as pool:
        before = time.perf_counter()
        found = list(pool.map(lambda own: [put(question, ask) for question in own], questions))
        return time.perf_counter() - before, [answered for own in found for answered in own]


def resident_mb() -> float:
    """Memory of this process."""
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


@contextmanager
def staged(slots: int) -> Iterator[tuple[Api, Pair]]:
    """The scripted API, and the demo's pair."""
    local = resolve(LOCAL, cache=default_cache(os.environ))
    quirks = [f"latency={LATENCY}"]
    with (
        as_file(files("blackbox_proxy.demo") / "data" / "house-format.lora.gguf") as lora,
        running(closed_model(), name="closed", top_k=20, slots=64, quirks=quirks) as url,
        connect(url, model="closed", options={"top_k": 20}) as api,
        open_pair(PairFiles(local, local, lora, context=CONTEXT, slots=slots)) as pair,
    ):
        yield api, pair


def bare_seconds(tapes: Sequence[Tape], *, slots: int) -> float:
    """Wall time of both members' decodes side by side, each on a fresh context and after the part not measured."""
    local = resolve(LOCAL, cache=default_cache(os.environ))
    with ExitStack() as opened:
        lora = opened.enter_context(as_file(files("blackbox_proxy.demo") / "data" / "house-format.lora.gguf"))
        model = opened.enter_context(Model(local))
        adapters = opened.enter_context(Lora(model, lora)), None
        contexts = [
            opened.enter_context(Context(model, size=CONTEXT, slots=slots, forks=8, lora=adapter))
            for adapter in adapters
        ]
        with ThreadPoolExecutor(2) as pool:
            spent = list(pool.map(replay, contexts, tapes))
        return max(sum(seconds[tape.mark :]) for seconds, tape in zip(spent, tapes, strict=True))


def questions(clients: int, answers: int) -> list[list[str]]:
    """What each client asks; all are different."""
    return [
        [
            f"Write {2 + n} sentences about {THINGS[(client + n) % len(THINGS)]}, number {client}."
            for n in range(answers)
        ]
        for client in range(clients)
    ]


def measure(clients: int, *, answers: int, tokens: int) -> dict[str, Any]:
    """The figures."""
    steering = Steering(alpha=0.5, max_tokens=tokens)
    with staged(clients) as (api, pair):

        def ask(question: str) -> Iterator[object]:
            read = Prompt.ask(question)
            asked = Prompt(text=f"{question}\n")
            return (step.piece for step in stream(asked, api=api, pair=pair, steering=steering, pair_prompt=read))

        asked = questions(clients, 1 + answers)
        with recorded(pair) as tapes:
            crowd([own[:1] for own in asked], ask)  # warms up
            for tape in tapes:
                tape.mark = len(tape.decoded)
            before = resident_mb()
            seconds, found = crowd([own[1:] for own in asked], ask)
            growth = resident_mb() - before
        batches = [len(batch) for batch in tapes[0].decoded[tapes[0].mark :]]
        alone = [put(own[1], ask) for own in asked]
    bare = bare_seconds(tapes, slots=clients)
    emitted = sum(len(answered.tokens) for answered in found)
    same = sum(a.tokens == b.tokens for a, b in zip(alone, found[::answers], strict=True))
    return {
        "clients": clients,
        "pair_vs_bare": round(bare / seconds, 3),
        "pair_tokens_per_s": round(sum(batches) / seconds, 1),
        "bare_tokens_per_s": round(sum(batches) / bare, 1),
        "emitted_tokens_per_s": round(emitted / seconds, 1),
        "rows_per_batch": round(statistics.mean(batches), 1),
        "rows_per_token": round(sum(batches) / emitted, 2),
        "p95_first_token_ms": round(statistics.quantiles([a.first for a in found], n=20)[-1] * 1e3),
        "overhead_ms_per_token": round((seconds - bare) / emitted * 1e3, 2),
        "rss_growth_mb": round(growth, 1),
        "same_texts": f"{same} of {clients}",
    }


def main() -> None:
    """Measure, and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clients", type=int, default=16)
    parser.add_argument("--answers", type=int, default=3)
    parser.add_argument("--tokens", type=int, default=32)
    options = parser.parse_args()
    print(json.dumps(measure(options.clients, answers=options.answers, tokens=options.tokens), indent=2))


if __name__ == "__main__":
    main()
