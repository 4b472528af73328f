"""The length of the next draft follows how much of the last one was kept."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from blackbox_proxy.core.drafting import next_length

lengths = st.integers(1, 256)


@given(length=lengths, kept=lengths, limit=lengths)
def test_a_draft_is_never_empty_and_never_over_the_limit(length: int, kept: int, limit: int) -> None:
    assert 1 <= next_length(length, min(kept, length), limit=limit) <= limit


@given(length=lengths, limit=lengths, data=st.data())
def test_more_kept_never_means_less_asked_for(length: int, limit: int, data: st.DataObject) -> None:
    fewer = data.draw(st.integers(0, length))
    more = data.draw(st.integers(fewer, length))
    assert next_length(length, fewer, limit=limit) <= next_length(length, more, limit=limit)


def test_a_model_that_is_never_changed_is_asked_for_the_limit_after_a_few_rounds() -> None:
    length, rounds = 1, 0
    while length < 64:
        length, rounds = next_length(length, length, limit=64), rounds + 1
    assert rounds == 6


def test_after_a_change_as_much_is_asked_for_as_was_of_use() -> None:
    """The kept tokens and the changed one."""
    assert next_length(16, 5, limit=32) == 6


def test_a_model_that_is_always_changed_is_asked_for_one_token() -> None:
    assert next_length(16, 0, limit=16) == 1
