"""A conversation: what is taken back is as if it had never been said."""

from __future__ import annotations

from collections.abc import Sequence

from hypothesis import given
from hypothesis import strategies as st

from blackbox_proxy.cli.conversation import Conversation
from blackbox_proxy.types import Message

text = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
pairs = st.lists(st.tuples(text, text), max_size=6)
messages = st.lists(st.builds(Message, st.sampled_from(["system", "user", "assistant"]), text), max_size=8)


def of(system: str, said: Sequence[tuple[str, str]]) -> Conversation:
    conversation = Conversation(system)
    for question, answer in said:
        conversation = conversation.with_turn(question, answer)
    return conversation


@given(text, pairs, text, text)
def test_undo_takes_back_the_last_question(
    system: str, said: Sequence[tuple[str, str]], question: str, answer: str
) -> None:
    assert of(system, [*said, (question, answer)]).undone() == (of(system, said), question)


@given(text, pairs, st.integers(0, 9))
def test_the_oldest_are_forgotten_and_the_system_message_is_not(
    system: str, said: Sequence[tuple[str, str]], count: int
) -> None:
    assert of(system, said).without_oldest(count) == of(system, said[count:])
    assert of(system, said).questions == len(said)


@given(messages)
def test_any_messages_are_a_conversation_and_come_back_as_they_are(said: Sequence[Message]) -> None:
    """But for a system message that says nothing, which is none."""
    conversation = Conversation.of(said)
    empty = bool(said) and said[0] == Message("system", "")
    assert conversation.messages == tuple(said[empty:])
    assert conversation.asking("a").messages == (*conversation.messages, Message("user", "a"))
    assert conversation.undone()[0].messages == conversation.messages[: _last_question(conversation)]


def _last_question(conversation: Conversation) -> int | None:
    roles = [one.role for one in conversation.messages]
    return max((at for at, role in enumerate(roles) if role == "user"), default=None)


@given(messages, st.integers(0, 9))
def test_what_is_forgotten_is_a_beginning_that_ends_before_a_question(said: Sequence[Message], count: int) -> None:
    whole = Conversation.of(said)
    rest = whole.without_oldest(count)
    assert whole.turns[len(whole.turns) - len(rest.turns) :] == rest.turns
    assert rest.questions == max(0, whole.questions - count) or not count
    if count and rest.turns:
        assert rest.turns[0].role == "user"
