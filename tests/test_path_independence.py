"""Scores of real weights add up to the same however a text is cut into byte strings: by two real tokenizers.

SmolLM2 (byte-level BPE) and gemma (SentencePiece) read texts of several scripts, and code; cuts fall anywhere, also
inside characters. Models are evaluated row by row: llama.cpp rounds differently for other shapes of a batch, by more
than the distribution allows.
"""

from __future__ import annotations

import os
import random
from collections.abc import Iterator
from contextlib import ExitStack
from importlib.resources import as_file, files
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from blackbox_proxy.core.alignment.covering import probabilities
from blackbox_proxy.local.llama import Context, Model
from blackbox_proxy.local.pair import Member, Pair, PairFiles, open_pair
from blackbox_proxy.types import Floats, PairPrompt

pytestmark = pytest.mark.weights

NATS = 0.02
ENGLISH = (
    "The sea is calm today.",
    "She opened the old door.",
    "We walked home in the rain.",
    "Paris is the capital of France.",
    "Water boils at high heat.",
    "My brother likes to cook.",
    "It was a dark and stormy night.",
    "Nobody knew what to say.",
    "The train left at noon.",
    "Please close the window.",
)
SCRIPTS = (
    *("Привет, мир", "Это дом.", "Καλημέρα σας", "שלום עולם", "مرحبا بك", "नमस्ते जी", "สวัสดี", "日本語です", "你好吗"),
    *("안녕하세요", "naïve café", "Größe: 3 m²", "İstanbul'da", "ça va ?", "Łódź i Żory", "🙂 ok 👍🏽", "‘x’ — “y”"),
)
CODE = (
    *(
        "x = [1, 2, 3]",
        "def f(x):\n  return x",
        "if (a && b) {",
        '{"a": null}',
        "for i in y:\n\tz()",
        "    ",
        "a  b   c",
    ),
    *("  12345.67\t\n", "\n\n\n", "1e-9 != 0x1F", "<td>5 %</td>", "#!/bin/sh -e", "C:\\tmp\\new", "a,b;c"),
)
ENDINGS = ("", " ok", "\n", ", 7", "!?", " é")
"""Put behind each text, so that there are many: most tokenizers change their mind about the last word."""

TEXTS = tuple(text + ending for text in (*ENGLISH[:4], *SCRIPTS, *CODE) for ending in ENDINGS)

EVERY = int(os.environ.get("EVERY", "5"))
"""Of so many texts the slow tests take one; 5 meets every ending."""


@pytest.fixture(scope="module")
def smollm2_pair(smollm2_path: Path) -> Iterator[Pair]:
    """The demo's pair."""
    with (
        as_file(files("blackbox_proxy.tasks") / "demo-told" / "house-format.lora.gguf") as lora,
        open_pair(PairFiles(smollm2_path, smollm2_path, lora, context=256, rows=1)) as opened,
    ):
        yield opened


@pytest.fixture(scope="module")
def gemma_pair(gemma_path: Path) -> Iterator[Pair]:
    """One model as both members: what is tried here is the covering, not the difference."""
    with ExitStack() as opened:
        model = opened.enter_context(Model(gemma_path))
        contexts = [opened.enter_context(Context(model, size=256, forks=8, batch=1)) for _ in range(2)]
        expert, anti_expert = (opened.enter_context(Member(model, context, template="")) for context in contexts)
        yield Pair(expert, anti_expert, opened.pop_all())


def cut(text: bytes, chance: random.Random) -> list[tuple[int, int]]:
    """Up to three stretches of a text."""
    cuts = chance.sample(range(1, len(text)), min(2, len(text) - 1))
    return list(pairwise([0, *sorted(cuts), len(text)]))


def summed(pair: Pair, text: bytes, stretches: list[tuple[int, int]]) -> Floats:
    """Log-prob of the text under both members, by the scores of its parts."""
    parts = [pair.score(text[:i], [text[i:j]]) for i, j in stretches]
    return np.asarray(np.array([[part.expert[0], part.anti_expert[0]] for part in parts]).sum(axis=0))


def canonical(pair: Pair, text: bytes, *, open_end: bool = False) -> Floats:
    """Log-prob of the tokenizer's own spelling under both members; open_end: its last token may be a longer one.

    A score is of all texts that start so: `.` also holds those that go on with the token `."`, and of ordinary English
    that is a third of a nat.
    """
    ids, pieces = pair.spell(text), pair.vocabulary
    distributions = pair.distributions(
        PairPrompt(*(m.start() for m in pair.members)), [ids[:n] for n in range(len(ids))]
    )
    last = pieces.starting_with(pieces.pieces[ids[-1]]) if open_end else np.array([ids[-1]])
    found = sum(
        (
            np.log(probabilities(distribution, np.array([i]))[:, 0])
            for distribution, i in zip(distributions[:-1], ids, strict=False)
        ),
        np.zeros(2),
    )
    return np.asarray(found + np.log(probabilities(distributions[-1], last).sum(axis=1)))


def check(pair: Pair, texts: list[str]) -> None:
    """The same sum for two ways to cut, and no less than the canonical spelling alone."""
    chance, apart, gains = random.Random(5), [], []
    for text in (text.encode() for text in texts):
        one, other = (summed(pair, text, cut(text, chance)) for _ in range(2))
        apart.append(np.abs(one - other).max())
        gains.append((one - canonical(pair, text)).min())
    print(f"{pair.name}: {len(texts)} texts, sums at most {max(apart):.4f} nats apart, median {np.median(apart):.5f};")
    print(f"over the canonical spelling at least {min(gains):+.4f}, median {np.median(gains):+.4f}")

    assert max(apart) <= NATS
    assert min(gains) >= -NATS


def check_english(pair: Pair) -> None:
    """Hardly anything of ordinary English is spelt otherwise than by the tokenizer, but for what its end may become."""
    texts = [text.encode() for text in ENGLISH]
    gains = [summed(pair, text, [(0, len(text))]) - canonical(pair, text, open_end=True) for text in texts]
    print(f"{pair.name}: ordinary English gains {np.max(gains):.4f} nats at most over the canonical spelling")
    assert np.min(gains) >= -NATS
    assert np.max(gains) <= 0.1


def test_a_sample_of_texts_by_a_byte_level_tokenizer(smollm2_pair: Pair) -> None:
    check(smollm2_pair, list(TEXTS[::53]))


def test_a_sample_of_texts_by_sentencepiece(gemma_pair: Pair) -> None:
    check(gemma_pair, list(TEXTS[7::97]))


@pytest.mark.slow
@pytest.mark.long
def test_many_texts_by_a_byte_level_tokenizer(smollm2_pair: Pair) -> None:
    """EVERY=1 takes all of them, in five minutes."""
    check(smollm2_pair, list(TEXTS[::EVERY]))
    check_english(smollm2_pair)


@pytest.mark.slow
@pytest.mark.long
def test_many_texts_by_sentencepiece(gemma_pair: Pair) -> None:
    """EVERY=1 takes all of them, in nine minutes."""
    check(gemma_pair, list(TEXTS[EVERY // 2 :: EVERY]))
    check_english(gemma_pair)


def test_there_are_enough_texts() -> None:
    assert len(set(TEXTS)) >= 200
