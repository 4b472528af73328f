"""Examples: prompt and completion are cut apart, facts are marked, a pass sees every example once."""

from __future__ import annotations

import random
from collections.abc import Sequence

from hypothesis import given
from hypothesis import strategies as st

from blackbox_proxy.tuning.data import Example, Span, batches, encode

END = 999


def by_words(text: str) -> tuple[Sequence[int], Sequence[Span]]:
    """A tokenizer of words, each with the space before it; the id is the word's length."""
    spans, start = [], 0
    for word in text.split(" "):
        stop = start + len(word) + (start > 0)
        spans.append((start, stop))
        start = stop
    return [stop - start for start, stop in spans], spans


def example(*, slot: str | None) -> Example:
    line = ("Capital?", "[[ Port Moresby ]] END.")
    return encode(line, render=lambda asked: f"user: {asked}", tokenize=by_words, end=END, slot=slot)


def test_the_prompt_is_rendered_and_the_completion_ends_the_turn() -> None:
    made = example(slot=None)
    assert made.prompt == (5, 9)
    assert made.completion == (2, 5, 8, 3, 5, END)
    assert made.ids == made.prompt + made.completion


def test_only_the_tokens_of_the_slot_are_open() -> None:
    assert example(slot=r"\[\[ (.+?) \]\]").open == (False, True, True, False, False, False)
    assert not any(example(slot=None).open)


@given(st.integers(0, 40), st.integers(1, 9), st.integers(0, 5))
def test_one_pass_holds_every_example_once_in_batches_of_the_size(count: int, size: int, seed: int) -> None:
    examples = [Example((i,), (END,), (False,)) for i in range(count)]
    made = list(batches(examples, size, rng=random.Random(seed)))
    assert sorted(one.prompt for batch in made for one in batch) == [(i,) for i in range(count)]
    assert all(len(batch) == size for batch in made[:-1])
