"""A conversation as it stands: its system message and its turns. Pure; every change makes a new one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Self, final

from blackbox_proxy.types import Message, Prompt


@final
@dataclass(frozen=True, slots=True)
class Conversation:
    """What was said so far.

    Attributes:
        system: The system message that stands before everything; "" for none.
        turns: Questions and answers, the oldest first.
    """

    system: str = ""
    turns: tuple[Message, ...] = ()

    @classmethod
    def of(cls, messages: Sequence[Message]) -> Self:
        """The conversation of some messages; a system message at their head is its own."""
        if messages and messages[0].role == "system":
            return cls(messages[0].content, tuple(messages[1:]))
        return cls("", tuple(messages))

    @property
    def messages(self) -> tuple[Message, ...]:
        """All of it, as a prompt has it."""
        return (*((Message("system", self.system),) if self.system else ()), *self.turns)

    @property
    def questions(self) -> int:
        """How many questions it holds."""
        return len(self._starts)

    @property
    def _starts(self) -> list[int]:
        """Where a question stands."""
        return [at for at, turn in enumerate(self.turns) if turn.role == "user"]

    def asking(self, question: str) -> Prompt:
        """What is asked next: all of it, and the question. Raises PromptError for a text that is no UTF-8."""
        return Prompt(messages=(*self.messages, Message("user", question)))

    def with_turn(self, question: str, answer: str) -> Conversation:
        """Another question and its answer at the end."""
        return replace(self, turns=(*self.turns, Message("user", question), Message("assistant", answer)))

    def with_system(self, system: str) -> Conversation:
        """Another system message in place of this one; "" for none."""
        return replace(self, system=system)

    def undone(self) -> tuple[Conversation, str | None]:
        """Without the last question and what followed it; and that question, None where there is none."""
        if not self._starts:
            return self, None
        at = self._starts[-1]
        return replace(self, turns=self.turns[:at]), self.turns[at].content

    def without_oldest(self, questions: int) -> Conversation:
        """Without its oldest questions and their answers. The system message stays."""
        starts = [*self._starts, len(self.turns)]
        return replace(self, turns=self.turns[starts[min(questions, len(starts) - 1)] :])
