"""A chat while it goes on: each question is answered, and nothing that was paid for is lost."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import aclosing
from dataclasses import dataclass, field, replace
from typing import final

from blackbox_proxy.answer_log import AnswerLog, answer_row, is_empty
from blackbox_proxy.cli.chat_model import ChatBill, ChatModel, StreamMaker, alone
from blackbox_proxy.cli.chat_output import ChatOutput
from blackbox_proxy.cli.conversation import Conversation
from blackbox_proxy.errors import BlackboxProxyError, InputError, OverBudget, PromptError
from blackbox_proxy.run.engine import AsyncStream
from blackbox_proxy.steering import Steering
from blackbox_proxy.types import Prompt, Result

SHORTER = "/forget N takes the N oldest questions out, /undo the last, /clear all; /save FILE keeps the conversation"
UNSTEERED = "unsteered"


@final
@dataclass(slots=True)
class Chat:
    """One conversation with one model.

    Attributes:
        model: Who answers.
        steering: The knobs.
        output: Where all is shown.
        runner: The loop in which the API is awaited, and whose answer Ctrl-C stops.
        conversation: What was said.
        log: Where answers are kept; None keeps none.
        name: Of the conversation, in the log and in the ledger.
        before: Is given the first prompt before it is asked.
        beside: Whether the unsteered answer is shown too: of each question, of the next, or of none.
    """

    model: ChatModel
    steering: Steering
    output: ChatOutput
    runner: asyncio.Runner
    conversation: Conversation = field(default_factory=Conversation)
    log: AnswerLog | None = None
    name: str = ""
    before: Callable[[Prompt], None] | None = None
    beside: str = "off"
    bill: ChatBill = field(default_factory=ChatBill)
    last: Result | None = None
    last_bill: ChatBill = field(default_factory=ChatBill)
    unanswered: str | None = None
    draws: int = 0
    failures: int = 0
    over: bool = False
    interrupted: bool = False

    def fail(self, error: BlackboxProxyError, *, command: str = "") -> None:
        """Show why something was not done, and count it."""
        self.failures += 1
        self.output.failed(error, command=command)

    def ask(self, question: str) -> None:
        """Ask a question; what comes of the answer stays in the conversation, and else the question is put aside.

        Raises PromptError for a question that is no UTF-8.
        """
        prompt = self.conversation.asking(question)
        if self.before is not None:
            self.before(prompt)
            self.before = None
        seeded = replace(self.steering, seed=self.steering.seed + self.draws)
        self.draws += 1
        self.last_bill, self.unanswered, self.interrupted = ChatBill(), question, False
        beside, self.beside = self.beside, "off" if self.beside == "next" else self.beside
        try:
            result = self._answers(prompt, seeded, beside=beside != "off")
        finally:
            self.output.finish()
        if result is not None and result.text:
            self.conversation, self.unanswered = self.conversation.with_turn(question, result.text), None
        else:
            self.output.note("the question is not part of the conversation; /retry asks it again")

    def resume(self) -> None:
        """Answer a question that stands at the end of a conversation that was read from a file."""
        turns = self.conversation.turns
        if turns and turns[-1].role == "user":
            self.conversation, _ = self.conversation.undone()
            try:
                self.ask(turns[-1].content)
            except BlackboxProxyError as error:
                self.fail(error)

    def _answers(self, prompt: Prompt, steering: Steering, *, beside: bool) -> Result | None:
        """The steered answer; before it, where that is asked for, the unsteered one. None where either is not there."""
        steered = _Answer(prompt, steering, self.model.steered, "steered" if beside else "")
        if beside and self._answer(_Answer(prompt, alone(steering), self.model.unsteered, UNSTEERED)) is None:
            return None
        return self._answer(steered)

    def _answer(self, one: _Answer) -> Result | None:
        """One answer, or what there is of it; None where an unsteered one broke off, or nothing was paid."""
        error: BlackboxProxyError | None = None
        stopped = False
        result: Result | None
        try:
            result = self.runner.run(self._run(one))
        except KeyboardInterrupt:
            result, stopped = None if one.stream is None else one.stream.partial, True
        except BlackboxProxyError as caught:
            result, error = caught.partial, self._advised(caught)
        error = error or _refused(result)
        self.output.end(result, error, stopped=stopped)
        self.failures += error is not None
        self.interrupted = stopped
        if result is not None:
            self._book(one, result, "interrupted" if stopped else "" if error is None else error.message)
        broken = stopped or error is not None
        return None if broken and one.label == UNSTEERED else result

    async def _run(self, one: _Answer) -> Result:
        self.output.begin(one.question, one.label, one.steering.stop)
        one.stream = await asyncio.to_thread(one.make, one.prompt, one.steering)
        async with aclosing(one.stream) as stream:
            async for step in stream:
                self.output.take(step)
            return await stream.result()

    def _book(self, one: _Answer, result: Result, error: str) -> None:
        """Count what an answer took, remember it, and write it into the log. error: why it broke off; "" if not."""
        self.bill.add(result)
        self.last_bill.add(result)
        self.last = result
        if self.log is None or is_empty(result):
            return
        asked = Conversation(self.conversation.system).asking(one.question)
        place = {"conversation": self.name, "before": len(self.conversation.turns)}
        row = answer_row(asked, result, one.steering, command="chat", model=self.model.name, error=error, more=place)
        try:
            self.log.append(row)
        except InputError as refused:
            self.fail(refused)

    def _advised(self, error: BlackboxProxyError) -> BlackboxProxyError:
        """The error, with what helps in a chat: of a history that is too long, which commands shorten it."""
        if isinstance(error, PromptError) and error.context and self.conversation.turns:
            return PromptError(f"the conversation is too long: {error.message}", hint=SHORTER, context=error.context)
        return error


@dataclass(slots=True)
class _Answer:
    """One answer that is asked for. stream: while it is made; None while its prompt is read."""

    prompt: Prompt
    steering: Steering
    make: StreamMaker
    label: str = ""
    stream: AsyncStream | None = None

    @property
    def question(self) -> str:
        """The last thing said."""
        return self.prompt.messages[-1].content


def _refused(result: Result | None) -> BlackboxProxyError | None:
    """The error of an answer that a budget did not let begin."""
    if result is None or result.finish != "budget" or result.steps:
        return None
    return OverBudget(result.notes[-1], hint="/save FILE keeps the conversation; --messages FILE goes on with it")
