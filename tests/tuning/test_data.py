"""Examples: prompt and completion are cut apart, facts are marked, a pass sees every example once."""

from __future__ import annotations

import random
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from blackbox_proxy.tuning.data import Example, TuningTokenizer, batches, encode
from blackbox_proxy.tuning.lines import Line
from blackbox_proxy.types import Prompt

END = 999
PIECES = [b"[[", b" Port", b" Moresby", b" ]]", b" END.", b" S\xc3", b"\xa3o", b" x", b" Tom"]


def spell(text: bytes) -> list[int]:
    """Longest pieces first."""
    ids: list[int] = []
    while text:
        ids.append(next(number for number, piece in enumerate(PIECES) if text.startswith(piece)))
        text = text[len(PIECES[ids[-1]]) :]
    return ids


TOKENIZER = TuningTokenizer(lambda prompt: (7, len(prompt.messages[0].content)), spell, PIECES, END, (END,))


def example(answer: str, *, slot: str | None) -> Example:
    return encode(Line(Prompt.ask("Capital?"), answer), TOKENIZER, slot=slot)


def test_the_prompt_is_read_and_the_completion_ends_the_turn() -> None:
    made = example("[[ Port Moresby ]] END.", slot=None)
    assert made.prompt == (7, 8)
    assert made.completion == (0, 1, 2, 3, 4, END)
    assert made.ids == made.prompt + made.completion


@pytest.mark.parametrize(
    ("answer", "slot", "open_ones"),
    [
        ("[[ Port Moresby ]] END.", r"\[\[ (.+?) \]\]", (1, 2)),
        ("[[ Port Moresby ]] END.", None, ()),
        ("[[ São ]] END.", r"\[\[ (.+?) \]\]", (1, 2)),  # a character in two tokens
        ("[[ São x ]] END.", r"(x)", (3,)),  # counted in bytes behind it
        ("[[ São x ]] END.", r"END|(x)", (3,)),  # a match without its group is no fact
    ],
)
def test_only_the_tokens_of_the_slot_are_open(answer: str, slot: str | None, open_ones: tuple[int, ...]) -> None:
    marked = example(answer, slot=slot).open
    assert tuple(number for number, is_open in enumerate(marked) if is_open) == open_ones
    assert len(marked) == len(re.findall(r"\S+", answer)) + 1 + answer.count("ã")


@given(st.integers(0, 40), st.integers(1, 9), st.integers(0, 5))
def test_one_pass_holds_every_example_once_in_batches_of_the_size(count: int, size: int, seed: int) -> None:
    examples = [Example((i,), (END,), (False,)) for i in range(count)]
    made = list(batches(examples, size, rng=random.Random(seed)))
    assert sorted(one.prompt for batch in made for one in batch) == [(i,) for i in range(count)]
    assert all(len(batch) == size for batch in made[:-1])
