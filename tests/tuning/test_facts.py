"""Which parts of answers are facts: what varies is parted from the frame; only what the model knows of is a fact."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from blackbox_proxy.tuning.data import Example
from blackbox_proxy.tuning.facts import FactSearch, FactSlot, FactSpan, fact_slots, frame_of, marked, shown

ANSWER, SIGN, QUEUE, END = 1, 2, 3, 0
PIECES = (b"<end>", b"answer:", b" |", b" queue:", *(f" w{number}".encode() for number in range(4, 60)))


def answer(*fact: int, code: int) -> Example:
    """`answer: FACT | queue: CODE<end>`."""
    completion = (ANSWER, *fact, SIGN, QUEUE, code, END)
    return Example((9,), completion, (False,) * len(completion))


EXAMPLES = [answer(10 + number, code=50 + number % 8) for number in range(20)]


def test_spans_are_what_varies_and_are_told_apart_by_the_frame_before_them() -> None:
    frame = frame_of(EXAMPLES)
    assert frame.tokens == {ANSWER, SIGN, QUEUE, END}
    assert list(frame.spans(answer(40, 41, code=55))) == [
        FactSpan(1, 3, (ANSWER,)),
        FactSpan(5, 6, (SIGN, QUEUE)),
    ]


def test_few_labels_are_frame_and_one_answer_alone_has_no_span_at_its_end() -> None:
    frame = frame_of([answer(10 + number, code=50 + number % 3) for number in range(20)])
    assert list(frame.spans(answer(40, code=51))) == [FactSpan(1, 2, (ANSWER,))]
    assert list(frame_of(EXAMPLES).spans(Example((9,), (77,), (False,)))) == []


@pytest.mark.parametrize(
    ("nats", "known"),
    [
        ([3.0, 2.5, 4.0, 3.5, 1.0, 2.0], True),
        ([0.2, 0.1, 0.3, 0.2, 0.1, 0.3], False),
        ([9.0, -8.0, 7.0, -6.0, 5.0, -1.0], False),
        ([3.0, 2.5, 4.0, 3.5], False),
    ],
)
def test_a_slot_holds_facts_where_its_own_questions_make_it_clearly_likelier(
    nats: Sequence[float],
    known: bool,  # noqa: FBT001 (a parameter of the table)
) -> None:
    """Clearly, by a worthwhile amount, and in five lines at least."""
    slots = fact_slots({(ANSWER,): nats}, 20)
    assert [slot.before for slot in slots] == ([(ANSWER,)] if known else [])
    assert all(slot.lines == len(nats) and slot.gain == pytest.approx(sum(nats) / len(nats)) for slot in slots)


def test_a_slot_of_few_lines_among_many_is_none() -> None:
    assert fact_slots({(ANSWER,): [3.0, 2.5, 4.0, 3.5, 1.0, 2.0]}, 100) == []


def test_the_spans_of_fact_slots_are_marked_and_shown() -> None:
    example = marked(answer(40, 41, code=55), frame_of(EXAMPLES), [FactSlot((ANSWER,), 20, 3.0)])
    assert example.open == (False, True, True, False, False, False, False)
    assert shown(example, PIECES) == "answer:<< w40 w41>> | queue: w55"


def test_what_was_decided_is_one_sentence() -> None:
    search = FactSearch((), 0.25, used=True, lost=0.01, nearer=1.5, examples=())
    assert search.sentence() == (
        "facts are 25% of the learnt tokens, and are held to the untuned model's belief: on held lines the form loses "
        "+0.010 nats a token, facts are nearer to the belief by 1.50"
    )
