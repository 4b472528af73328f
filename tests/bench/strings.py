"""What `Pair.score` costs for as many strings as a step weighs, by what one token more costs both members."""

from __future__ import annotations

import statistics
import time
from collections.abc import Sequence

from blackbox_proxy.core.alignment.scoring import CLOSE, TOLERANCE
from blackbox_proxy.evaluation.serving import TOP_K
from blackbox_proxy.tasks.demonstration import Stage
from blackbox_proxy.types import Generate, Prefix, Prompt
from tests.bench.tapes import recorded

BEGUN = (b"", b"answer:", b"answer: The capital of France is", b"answer: The capital of France is Par", b"The sky")
PROPOSED = 8
TIMES = 3


def measure(stage: Stage, questions: Sequence[tuple[str, str]]) -> dict[str, float]:
    """Medians over all places: what each question was answered with so far, as in `BEGUN`."""
    found = [_place(stage, own, asked, begun) for own, asked in questions for begun in BEGUN]
    ratios, close, nodes = zip(*found, strict=True)
    return {
        "ratio": round(statistics.median(ratios), 2),
        "ratio_most": round(max(ratios), 2),
        "ratio_close": round(statistics.median(close), 2),
        "nodes": statistics.median(nodes),
        "places": len(found),
    }


def _place(stage: Stage, own: str, asked: str, begun: bytes) -> tuple[float, float, int]:
    """At the default tolerance and at a close one, the ratio to one token; and the tokens read at the default."""
    prompt, pair = Prompt.ask(own), stage.pair
    reply = stage.api.send(Generate("closed-model", Prefix(stage.api.text(Prompt.ask(asked)), begun), TOP_K))
    shown = [candidate.piece for candidate in reply.positions[0].top]
    strings = [*shown, *[piece for piece in pair.propose(begun, 2 * TOP_K, prompt=prompt) if piece not in shown]]
    strings = strings[: len(shown) + PROPOSED]
    read, path = pair.prompt(prompt), pair.spell(begun)

    def token(number: int) -> float:
        before = time.perf_counter()
        pair.distributions(read, [(*path, int(pair.vocabulary.order[number]))])
        return time.perf_counter() - before

    def scored(tolerance: float) -> float:
        before = time.perf_counter()
        pair.score(begun, strings, prompt=prompt, tolerance=tolerance)
        return time.perf_counter() - before

    def ratio(tolerance: float) -> float:
        pair.distributions(read, [path])
        return scored(tolerance) / statistics.median(token(number) for number in range(5))

    with recorded(pair) as tapes:
        pair.distributions(read, [path])
        mark = len(tapes[0].decoded)
        scored(TOLERANCE)
        nodes = sum(len(tokens) for tokens in tapes[0].decoded[mark:])
    default, close = (statistics.median(ratio(tolerance) for _ in range(TIMES)) for tolerance in (TOLERANCE, CLOSE))
    return default, close, nodes
