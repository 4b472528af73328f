"""Sixty-four streaming clients at once, for two minutes: no error, every answer its own, and memory that stays.

The servers are processes of their own: a scripted API that takes 100 ms, and the gateway with the demo's pair. An
answer is that of a client which is alone, or first differs from it where the two best lay near each other: llama.cpp
rounds by the rows of a batch (see tests/test_many_at_once.py).
"""

from __future__ import annotations

import asyncio
import time
from itertools import takewhile, zip_longest
from pathlib import Path

import pytest

from tests.bench.streaming import Answer, ask, ask_in_turn, process, scripted_api, write_config

CLIENTS = 64
SECONDS = 120.0
TOKENS = 16
VOCABULARY = """
    sea boat wave fish sand shell   king queen crown castle sword horse   bread milk cheese egg soup rice
    red blue green white black brown   dog cat bird cow sheep pig   book page word letter story poem
    hand foot head arm eye ear   snow rain wind cloud storm sun   north south east west left right
    one two three four five six   train road bridge car ship plane   song drum dance music band piano
    house door window roof wall floor   tree leaf flower grass root seed   mother father sister brother son daughter
    gold iron silver stone glass wood   war peace distribution money vote party   day night week month year hour
"""
WORDS = VOCABULARY.split()
QUESTIONS = {f"Question {n}: say something.": WORDS[6 * n : 6 * n + 6] for n in range(len(WORDS) // 6)}
"""Each is answered in words of its own: a word of somebody else's answer would be seen."""

NEAR = 1.5
"""Nats that rows of a batch may move two candidates against each other: as in tests/test_many_at_once.py."""

GROWTH = 32.0
"""MB by which the gateway may grow after it is warm."""

STEPS = 7
"""Each client takes every seventh question, so that different ones are under way at a time."""


def near_tie(one: Answer, other: Answer) -> float | None:
    """None where both are the same; else the nats between the two best at the first difference.

    Ends are no tokens of a chat: where one answer is the beginning of the other, the longer one shows that place.
    """
    for a, b in zip_longest(one.tokens, other.tokens):
        if a is None or b is None:
            return (a or b).gap
        if a.piece != b.piece:
            return a.gap
    return None


def moved(one: Answer, other: Answer) -> float:
    """The most by which the nats between the two best differ at a place, as far as both have the same text."""
    both = zip(one.tokens, other.tokens, strict=False)
    same = takewhile(lambda pair: pair[0].piece == pair[1].piece, both)
    return max((abs(a.gap - b.gap) for a, b in same), default=0.0)


async def keep_asking(url: str, client: int, *, until: float) -> list[Answer]:
    """One client: question after question, as long as there is time; at least one."""
    found: list[Answer] = []
    while not found or time.monotonic() < until:
        number = (client + STEPS * len(found)) % len(QUESTIONS)
        found.append(await ask(url, list(QUESTIONS)[number], logprobs=True))
    return found


async def crowd(url: str, seconds: float) -> list[Answer]:
    """All clients at once."""
    until = time.monotonic() + seconds
    found = await asyncio.gather(*(keep_asking(url, client, until=until) for client in range(CLIENTS)))
    return [answer for own in found for answer in own]


@pytest.mark.slow
@pytest.mark.long
@pytest.mark.weights
@pytest.mark.usefixtures("smollm2_path")
def test_sixty_four_streams_keep_apart_and_take_no_more_memory(tmp_path: Path) -> None:
    with scripted_api(tmp_path, clients=CLIENTS, own=QUESTIONS) as api:
        config = write_config(tmp_path, api.url, clients=CLIENTS, context=512, tokens=TOKENS)
        with process("blackbox_proxy", "serve", "--config", str(config)) as gateway:
            alone = {one.question: one for one in asyncio.run(ask_in_turn(gateway.url, list(QUESTIONS), logprobs=True))}
            asyncio.run(crowd(gateway.url, 0.0))
            warm = gateway.resident_mb()
            found = asyncio.run(crowd(gateway.url, SECONDS))
            grown = gateway.resident_mb() - warm
    different = len({one.text for one in alone.values()})
    assert different == len(QUESTIONS), "else a text of somebody else would be the same"
    ties = [gap for one in found if (gap := near_tie(alone[one.question], one)) is not None]
    print(
        f"{len(found)} answers of {CLIENTS} clients, {len(ties)} with a near tie of {max(ties, default=0.0):.3f} nats"
    )
    shift = max(moved(alone[one.question], one) for one in found)
    print(f"where the texts are the same, the two best moved by {shift:.3f} nats at most")
    print(f"the gateway grew by {grown:.1f} MB beyond {warm:.1f}")
    assert all(set(one.text.decode().split()) <= set(QUESTIONS[one.question]) for one in found)
    assert max(ties, default=0.0) < NEAR
    assert shift < NEAR
    assert grown <= GROWTH
