"""Values that would break a distribution are refused where they are made."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import FrozenInstanceError, fields

import pytest

from blackbox_proxy.errors import InputError, PromptError
from blackbox_proxy.steering import Steering
from blackbox_proxy.types import (
    Candidate,
    Kind,
    Message,
    Origin,
    Position,
    Prompt,
    Result,
    Step,
    Usage,
)

OUT_OF_BOUNDS: list[tuple[str, object]] = [
    ("alpha", math.nan),
    ("alpha", math.inf),
    ("max_tokens", 0),
    ("draft", 0),
    ("draft", 257),
    ("evidence", -1e-9),
    ("evidence", 0.5),
    ("proposals", -1),
    ("back_off", 0),
    ("spread", -1),
    ("target", "some"),
    ("event", "words"),
    ("stop", ("a", "")),
    ("repetition_stop", 15),
    ("repetition_stop", -16),
    ("repetition_stop", 1025),
]


@pytest.mark.parametrize(("name", "value"), OUT_OF_BOUNDS)
def test_a_knob_out_of_bounds_is_refused_by_name(name: str, value: object) -> None:
    with pytest.raises(InputError) as raised:
        Steering(**{name: value})  # type: ignore[arg-type]
    assert name in raised.value.message
    assert raised.value.hint


def test_every_knob_has_a_default_that_is_within_bounds() -> None:
    assert Steering() == Steering(**{f.name: getattr(Steering(), f.name) for f in fields(Steering)})
    Steering(alpha=-2.0, evidence=0.0, proposals=0, spread=0)


def test_steering_cannot_be_changed_behind_the_check() -> None:
    with pytest.raises(FrozenInstanceError):
        Steering().alpha = math.nan  # type: ignore[misc]


@pytest.mark.parametrize("tail", [-0.01, 1.01, math.nan])
def test_a_tail_is_a_probability(tail: float) -> None:
    with pytest.raises(InputError, match="tail"):
        Position(Candidate(b"a", 0.0), (), tail, 0.0)


def test_a_prompt_is_a_chat_or_a_text() -> None:
    with pytest.raises(InputError, match="not both"):
        Prompt(messages=(Message("user", "hello"),), text="hello")
    asked = Prompt.ask("why?", system="briefly")
    assert [(m.role, m.content) for m in asked.messages] == [("system", "briefly"), ("user", "why?")]
    assert [m.role for m in Prompt.ask("why?", system="").messages] == ["user"]


def test_usage_adds_up_field_by_field() -> None:
    one = Usage(*range(1, 9))
    assert one + one == Usage(*(2 * n for n in range(1, 9)))
    assert one + Usage() == one


def test_a_result_counts_its_changes() -> None:
    steps = tuple(Step(b"a", Kind.TEXT, b"a", 0.0, 0.0, 0.0, origin) for origin in Origin)
    result = Result("aaaa", steps, "stop", Usage(), "exact", 0.0)
    assert result.changed == 3
    assert result.outside == 2


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: Prompt("hi"), "messages of a prompt are a tuple of Message, not 'hi'"),  # type: ignore[arg-type]
        (lambda: Prompt(({"role": "user", "content": "hi"},)), "must be a Message, not {'role'"),  # type: ignore[arg-type]
        (lambda: Prompt(None), "not None"),  # type: ignore[arg-type]
        (lambda: Prompt(text=b"hi"), "text of a prompt must be a str, not b'hi'"),  # type: ignore[arg-type]
        (lambda: Prompt.ask(5), "a question must be a str, not 5"),  # type: ignore[arg-type]
        (lambda: Prompt.ask("hi", system=5), "content of a message must be a str, not 5"),  # type: ignore[arg-type]
        (lambda: Message("user", None), "content of a message must be a str, not None"),  # type: ignore[arg-type]
        (lambda: Message(1, "hi"), "role of a message must be a str, not 1"),  # type: ignore[arg-type]
    ],
)
def test_what_is_no_prompt_is_told_how_one_is_written(make: Callable[[], object], says: str) -> None:
    with pytest.raises(PromptError) as raised:
        make()
    assert says in raised.value.message
    assert 'Prompt.ask("Hello")' in raised.value.hint


def test_the_messages_of_a_prompt_may_be_a_list() -> None:
    """It is kept as a tuple, so that it can neither change nor be refused as a key."""
    messages = [Message("user", "hi")]
    prompt = Prompt(messages)  # type: ignore[arg-type]
    messages.clear()
    assert prompt == Prompt.ask("hi")
    assert hash(prompt) == hash(Prompt.ask("hi"))
