"""Rows do not depend on what was read before, on who shares a batch, or on how often the cache was rolled back."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing

import numpy as np
import pytest
from hypothesis import HealthCheck, assume, example, given, settings
from hypothesis import strategies as st

from blackbox_proxy.errors import LocalModelError, PromptError
from blackbox_proxy.local.branching import shared
from blackbox_proxy.local.evaluator import Evaluator
from blackbox_proxy.local.llama import Context, Model
from blackbox_proxy.types import Logits, TokenPath
from tests.local.decoding import before_decode

CLOSE = 2e-2
"""Another batch shape rounds differently, by up to 7e-3 over 64 tokens; another text moves rows by about 1."""

SIZE = 64
tokens = st.integers(3, 12)
"""Few tokens, so that paths share beginnings."""

paths = st.lists(tokens, min_size=1, max_size=12).map(tuple)


@st.composite
def families(draw: st.DrawFn) -> list[TokenPath]:
    """A trunk, places along it, forks off it and forks off those; now and then a stranger, or the same path twice."""
    trunk = draw(paths)
    asked = [trunk]
    for _ in range(draw(st.integers(0, 5))):
        parent = draw(st.sampled_from(asked))
        cut = draw(st.integers(0, len(parent)))
        asked.append(parent[:cut] + draw(st.lists(tokens, min_size=not cut, max_size=3).map(tuple)))
    asked += draw(st.lists(paths, max_size=1))
    return draw(st.permutations(asked))


class Alone:
    """The row after a path from a fresh context that reads nothing else; kept, since it never changes."""

    def __init__(self, model: Model) -> None:
        self._model = model
        self._rows: dict[TokenPath, Logits] = {}

    def __call__(self, path: TokenPath) -> Logits:
        if path not in self._rows:
            with Context(self._model, size=SIZE) as context:
                last = len(path) - 1
                context.decode(
                    path,
                    positions=range(len(path)),
                    sequences=[[0]] * len(path),
                    keep_logits=[i == last for i in range(len(path))],
                )
                self._rows[path] = context.row(last)
        return self._rows[path]


@pytest.fixture(scope="module")
def alone(bpe: Model) -> Alone:
    return Alone(bpe)


class Meter:
    """Counts the tokens that a context is made to read."""

    def __init__(self, context: Context, monkeypatch: pytest.MonkeyPatch) -> None:
        self.read: list[int] = []
        before_decode(context, monkeypatch, lambda batch: self.read.append(len(batch)))

    def spent(self) -> int:
        """Tokens read since the last call."""
        total = sum(self.read)
        self.read.clear()
        return total


@pytest.fixture
def context(bpe: Model) -> Iterator[Context]:
    with closing(Context(bpe, size=SIZE, forks=4)) as opened:
        yield opened


@given(one=paths, other=paths)
@example(one=(3, 4), other=(4, 3, 4))
@settings(max_examples=20, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_rows_tell_texts_apart(alone: Alone, one: TokenPath, other: TokenPath) -> None:
    """Else closeness would prove nothing. Of one token repeated any length reads alike: attention over equal values."""
    assume(one == other or len({*one, *other}) > 1)
    assert (one == other) == np.allclose(alone(one), alone(other), atol=10 * CLOSE)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(calls=st.lists(families(), min_size=1, max_size=4), forks=st.sampled_from([0, 1, 3, 8]))
def test_a_row_is_what_a_fresh_context_says(bpe: Model, alone: Alone, calls: list[list[TokenPath]], forks: int) -> None:
    """After any calls before it: longer, shorter, elsewhere; with as many forks as there are, or none."""
    with Context(bpe, size=SIZE, forks=forks, batch=16) as context:
        evaluate = Evaluator(context)
        for asked in calls:
            rows = evaluate(asked)
            assert len(rows) == len(asked)
            for path, row in zip(asked, rows, strict=True):
                np.testing.assert_allclose(row, alone(path), atol=CLOSE)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=20)
@given(trunk=st.lists(tokens, min_size=20, max_size=40).map(tuple), data=st.data())
def test_a_path_may_be_longer_than_a_batch(bpe: Model, alone: Alone, trunk: TokenPath, data: st.DataObject) -> None:
    """Cut into batches of seven tokens, whatever the borders cut through."""
    cuts = data.draw(st.lists(st.integers(1, len(trunk)), max_size=4))
    asked = [trunk, *((*trunk[:cut], 20, 21) for cut in cuts)]
    with Context(bpe, size=SIZE, forks=5, batch=7) as context:
        for path, row in zip(asked, Evaluator(context)(asked), strict=True):
            np.testing.assert_allclose(row, alone(path), atol=CLOSE)


def test_only_what_is_new_is_read(context: Context, monkeypatch: pytest.MonkeyPatch) -> None:
    """An answer that grows costs its new tokens, not its prompt."""
    evaluate, meter = Evaluator(context), Meter(context, monkeypatch)
    prompt: TokenPath = tuple(range(10, 30))
    evaluate([prompt])
    assert meter.spent() == 20
    evaluate([(*prompt, 5)])
    assert meter.spent() == 1
    evaluate([(*prompt, 5, 6, 7)])
    assert meter.spent() == 2
    evaluate([(*prompt, 5, 6), (*prompt, 5, 6, 7, 8)])
    assert meter.spent() == 2, "one new token, and one read again because its row is gone"


def test_forks_read_what_they_do_not_share(context: Context, monkeypatch: pytest.MonkeyPatch) -> None:
    """Three ways on from a held text, two of which share a token: five tokens, in one evaluation."""
    evaluate, meter = Evaluator(context), Meter(context, monkeypatch)
    held: TokenPath = tuple(range(10, 30))
    evaluate([held])
    meter.spent()
    evaluate([(*held, 3, 4), (*held, 3, 5), (*held, 6, 7)])
    assert meter.read == [5]


def test_a_look_back_keeps_what_is_held(context: Context, monkeypatch: pytest.MonkeyPatch) -> None:
    """Rows inside the held text cost one token each, and the text stays."""
    evaluate, meter = Evaluator(context), Meter(context, monkeypatch)
    held: TokenPath = tuple(range(10, 30))
    evaluate([held])
    meter.spent()
    evaluate([held[:5], held[:9]])
    assert meter.spent() == 2
    evaluate([(*held, 3)])
    assert meter.spent() == 1


def test_a_change_of_mind_keeps_what_is_shared(context: Context, monkeypatch: pytest.MonkeyPatch) -> None:
    """A draft that is dropped costs the tokens that take its place."""
    evaluate, meter = Evaluator(context), Meter(context, monkeypatch)
    evaluate([tuple(range(10, 30))])
    meter.spent()
    evaluate([(*range(10, 25), 3, 4, 5, 6, 7, 8)])
    assert meter.spent() == 6


def test_the_same_path_twice_is_read_once(context: Context, monkeypatch: pytest.MonkeyPatch) -> None:
    evaluate, meter = Evaluator(context), Meter(context, monkeypatch)
    one, two = evaluate([(5, 6), (5, 6)])
    assert meter.spent() == 2
    np.testing.assert_array_equal(one, two)


def test_what_was_read_can_be_forgotten(context: Context, monkeypatch: pytest.MonkeyPatch) -> None:
    evaluate, meter = Evaluator(context), Meter(context, monkeypatch)
    evaluate([(5, 6, 7)])
    evaluate.clear()
    meter.spent()
    evaluate([(5, 6, 7)])
    assert meter.spent() == 3


def test_a_path_that_does_not_fit_is_refused_and_harms_nothing(context: Context, alone: Alone) -> None:
    evaluate = Evaluator(context)
    evaluate([(5, 6)])
    with pytest.raises(PromptError, match=f"{SIZE + 1} tokens do not fit .* {SIZE}") as raised:
        evaluate([tuple([7] * (SIZE + 1))])
    assert raised.value.hint
    (row,) = evaluate([(5, 6, 8)])
    np.testing.assert_allclose(row, alone((5, 6, 8)), atol=CLOSE)


def test_a_path_that_just_fits_is_evaluated(context: Context, alone: Alone) -> None:
    path = tuple(3 + n % 9 for n in range(SIZE))
    (row,) = Evaluator(context)([path])
    np.testing.assert_allclose(row, alone(path), atol=CLOSE)


def test_all_forks_off_a_full_context_fit(context: Context, alone: Alone) -> None:
    """The cells of the forks come on top of the context."""
    trunk = tuple(3 + n % 9 for n in range(SIZE))
    asked = [trunk, *((*trunk[:-6], 20 + n, 21, 22, 23, 24, 25) for n in range(3))]
    for path, row in zip(asked, Evaluator(context)(asked), strict=True):
        np.testing.assert_allclose(row, alone(path), atol=CLOSE)


@pytest.mark.parametrize(("forks", "batch"), [(8, 1), (0, 1), (0, 500), (3, 500)])
def test_any_size_of_batch_is_brought_within_what_llama_cpp_takes(
    bpe: Model, alone: Alone, forks: int, batch: int
) -> None:
    """Fewer tokens than sequences, or more than the context has cells, and it would abort the process."""
    asked = [tuple([3 + n] * SIZE) for n in range(5)]
    with Context(bpe, size=SIZE, forks=forks, batch=batch) as context:
        for path, row in zip(asked, Evaluator(context)(asked), strict=True):
            np.testing.assert_allclose(row, alone(path), atol=CLOSE)


def test_after_an_evaluation_that_failed_the_next_one_is_right(alone: Alone, bpe: Model) -> None:
    """A token that does not exist makes llama.cpp refuse its batch; nothing of the batches before it may stay."""
    with Context(bpe, size=SIZE, forks=2, batch=3) as context:
        evaluate = Evaluator(context)
        evaluate([(5, 6)])
        with pytest.raises(LocalModelError):
            evaluate([(5, 6, 7, 8, 9, len(bpe.vocabulary)), (5, 6, 10, 11)])
        for path, row in zip([(5, 6, 3), (5, 6)], evaluate([(5, 6, 3), (5, 6)]), strict=True):
            np.testing.assert_allclose(row, alone(path), atol=CLOSE)


def test_forks_that_part_early_from_a_long_text_still_fit(bpe: Model, alone: Alone) -> None:
    """Whole other texts as forks: more than the spare cells hold, so they must be read in turn."""
    asked = [tuple([3 + n] * SIZE) for n in range(7)]
    with Context(bpe, size=SIZE, forks=6) as context:
        for path, row in zip(asked, Evaluator(context)(asked), strict=True):
            np.testing.assert_allclose(row, alone(path), atol=CLOSE)


@given(one=paths, other=paths)
def test_shared_counts_the_common_beginning(one: TokenPath, other: TokenPath) -> None:
    count = shared(one, other)
    assert one[:count] == other[:count]
    assert count == min(len(one), len(other)) or one[count] != other[count]
