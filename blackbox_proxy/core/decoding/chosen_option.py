"""One of some given answers as a run like any other: the likeliest by its steered odds, in one step and its end."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence

from blackbox_proxy.core.alignment.scoring import CLOSE, Scoring, scored
from blackbox_proxy.core.alignment.vocabulary import Vocabulary
from blackbox_proxy.core.decoding.choosing import Masses, MassProcess, chosen, masses
from blackbox_proxy.core.events import ApiDraft, Ending, Process, Run
from blackbox_proxy.types import Kind, Option, Origin, Step

CALLS = 8
"""Most calls, as of `Steerer.choose`."""


def option_steps(
    options: Sequence[str],
    *,
    alpha: float,
    vocabulary: Vocabulary,
    spell: Callable[[bytes], Sequence[int]],
    goes_on: bool,
) -> Run:
    """The likeliest option. The pair scores the options first, so that a prompt that it cannot read costs nothing.

    The step's log-probs are those among the options: without the offset, and with it.

    Args:
        options: The answers, byte for byte.
        alpha: Weight of the offset.
        vocabulary: The pair's.
        spell: The pair's tokenizer.
        goes_on: Whether the endpoint goes on from the beginning of an answer.
    """

    def asked(strings: Sequence[bytes]) -> Scoring:
        return scored(b"", strings, vocabulary=vocabulary, spell=spell, tolerance=CLOSE, small=0.0)

    texts = tuple(option.encode() for option in options)
    process = masses(texts, goes_on=goes_on, calls=CALLS)
    question = next(process)
    scores = yield from asked(texts)
    known = yield from _answered(process, question)
    strings = (*texts, *(text for text in known.beginnings() if text not in texts))
    if strings != texts:
        scores = yield from asked(strings)
    odds, rows = chosen(known, strings, scores, alpha=alpha)
    best = max(rows, key=lambda option: option.steered)
    yield from _steps(best, alpha=alpha, certified=odds.certified)
    return Ending("stop", 0, (f"the likeliest of {len(options)} options, {best.steered:.2f}",))


def _answered(process: MassProcess, question: ApiDraft) -> Process[Masses]:
    """The rest of a process whose first question is here already."""
    while True:
        evidence = yield question
        try:
            question = process.send(evidence)
        except StopIteration as stop:
            known: Masses = stop.value
            return known


def _steps(best: Option, *, alpha: float, certified: bool) -> Iterator[Step]:
    text = best.text.encode()
    yield Step(
        piece=text,
        kind=Kind.TEXT,
        api_token=b"",
        logp_before=_log(best.unsteered),
        logp_after=_log(best.steered),
        offset=best.offset,
        origin=Origin.CHANGED,
        certified=certified,
        tv_bound=0.0 if certified else 1.0,
        alpha=alpha,
    )
    yield Step(b"", Kind.END, b"", None, None, None, Origin.CHANGED, alpha=alpha)


def _log(share: float) -> float | None:
    return math.log(share) if share > 0.0 else None
