"""What a chat shows: to a person, or as one JSON object a line."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol, final

from rich.status import Status
from rich.text import Text

from blackbox_proxy.cli import show
from blackbox_proxy.cli.answer_text import AnswerText
from blackbox_proxy.cli.options import write_json
from blackbox_proxy.cli.spent import calls, price
from blackbox_proxy.core.visible import one_line
from blackbox_proxy.errors import BlackboxProxyError
from blackbox_proxy.types import Result, Step

PATIENCE = 2.0
"""Seconds without a token after which a person is told that something is being done."""


@dataclass(frozen=True, slots=True)
class ChatReply:
    """What a command says. lines: to a person. fields: as JSON. result: the answer whose tokens are shown."""

    lines: Sequence[str] = ()
    fields: Mapping[str, object] = field(default_factory=dict)
    result: Result | None = None


class ChatOutput(Protocol):
    """Shows a chat, in the order in which these are called."""

    def begin(self, question: str, label: str, stops: Sequence[str]) -> None:
        """An answer begins. label: what it is called, where there are two. Called in a running loop."""

    def take(self, step: Step) -> None:
        """One token of it."""

    def end(self, result: Result | None, error: BlackboxProxyError | None, *, stopped: bool) -> None:
        """It is there, or broke off. result: what there is, None where nothing is. stopped: by Ctrl-C."""

    def said(self, command: str, reply: ChatReply) -> None:
        """What a command did."""

    def failed(self, error: BlackboxProxyError, *, command: str = "") -> None:
        """Why something that was typed was not done."""

    def note(self, text: str) -> None:
        """A remark to a person."""

    def finish(self) -> None:
        """A question is through."""


def line_of(error: BlackboxProxyError) -> str:
    """An error in one line."""
    return one_line(f"error: {error.message}" + (f"; {error.hint}" if error.hint else ""))


def bill_line(result: Result) -> str:
    """What an answer took, in one line; how it ended, where that was not by itself."""
    ended = "" if result.finish == "stop" else f"; {show.FINISHES[result.finish]}"
    if result.is_local:
        return f"by the expert alone; {result.seconds:.1f} s{ended}"
    return f"{calls(result.usage)}; {price(result)}; {result.seconds:.1f} s{ended}"


@final
class TextOutput:
    """For a person: answers on standard output, as they come; all else on standard error, one line each."""

    def __init__(self) -> None:
        self._text = AnswerText((), show.write)
        self._status: Status | None = None
        self._timer: asyncio.TimerHandle | None = None

    def begin(self, question: str, label: str, stops: Sequence[str]) -> None:
        del question
        self._text = AnswerText(stops, show.write)
        if label:
            show.out.print(Text(f"{label}:", style="bold"))
        if show.err.is_terminal:
            self._timer = asyncio.get_running_loop().call_later(PATIENCE, self._wait)

    def take(self, step: Step) -> None:
        self._arrived()
        self._text.take(step.piece)

    def end(self, result: Result | None, error: BlackboxProxyError | None, *, stopped: bool) -> None:
        self._arrived()
        self._text.close("" if result is None else result.text)
        self._text = AnswerText((), show.write)
        if stopped:
            show.note("stopped" if result is None else f"stopped: {bill_line(result)}")
        elif result is not None and error is None:
            show.note(bill_line(result))
        for one in () if result is None else result.notes:
            show.note(one)
        if error is not None:
            self.failed(error)
            if result is not None:
                show.note(bill_line(result))

    def said(self, command: str, reply: ChatReply) -> None:
        del command
        for one in reply.lines:
            show.line(show.harmless(one))
        if reply.result is not None:
            show.traced(reply.result)

    def failed(self, error: BlackboxProxyError, *, command: str = "") -> None:
        del command
        show.err.print(Text(line_of(error), style="red"))

    def note(self, text: str) -> None:
        show.note(text)

    def finish(self) -> None:
        """Nothing is held back."""

    def _wait(self) -> None:
        self._status = show.err.status("waiting for the answer; Ctrl-C stops it")
        self._status.start()

    def _arrived(self) -> None:
        """Something came: nobody need be told to wait."""
        if self._timer is not None:
            self._timer.cancel()
        if self._status is not None:
            self._status.stop()
        self._timer = self._status = None


@final
class JsonOutput:
    """For a program: one object for each question and for each command."""

    def __init__(self) -> None:
        self._object: dict[str, object] = {}
        self._label = ""

    def begin(self, question: str, label: str, stops: Sequence[str]) -> None:
        del stops
        self._label = label
        self._object = {"question": question, **self._object}

    def take(self, step: Step) -> None:
        """It is shown when it is whole."""

    def end(self, result: Result | None, error: BlackboxProxyError | None, *, stopped: bool) -> None:
        what = {} if result is None else show.result_json(result, trace=False)
        broken = error_json(error) if error is not None else _STOPPED if stopped else None
        if broken is not None:
            self._object |= {"error": broken, **({"partial": what} if what else {})}
        else:
            self._object |= {"unsteered": what} if self._label == "unsteered" else what

    def said(self, command: str, reply: ChatReply) -> None:
        steps = {} if reply.result is None else {"answer": show.result_json(reply.result, trace=True)}
        write_json({"command": command, **reply.fields, **steps})

    def failed(self, error: BlackboxProxyError, *, command: str = "") -> None:
        write_json({**({"command": command} if command else {}), "error": error_json(error)})

    def note(self, text: str) -> None:
        """For persons only."""

    def finish(self) -> None:
        if self._object:
            write_json(self._object)
        self._object = {}


_STOPPED = {"type": "KeyboardInterrupt", "message": "interrupted", "hint": ""}


def error_json(error: BlackboxProxyError) -> dict[str, object]:
    """An error as JSON."""
    return {"type": type(error).__name__, "message": error.message, "hint": error.hint}
