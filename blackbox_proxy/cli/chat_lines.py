"""Where the lines of a chat come from: a terminal, whose lines can be edited, or a pipe. None of them is kept."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import BinaryIO, Protocol, final

from blackbox_proxy.cli.chat_entries import LONGEST
from blackbox_proxy.errors import InputError

HINT = "convert it, with iconv for instance"
BYTES = 4 * LONGEST
"""Most bytes of one line: no character takes more than four."""


class ChatLines(Protocol):
    """Gives one line after another."""

    @property
    def is_terminal(self) -> bool:
        """Whether a person types them."""

    def next(self, prompt: str) -> str:
        """The next line without its end. prompt: what a terminal shows before it.

        Raises EOFError where there is none, and InputError, behind that line, for one that cannot be read.
        """


def chat_lines(words: Sequence[str]) -> ChatLines:
    """Standard input. words: what the tabulator completes at the beginning of a line."""
    if sys.stdin is not None and sys.stdin.isatty():
        return TerminalLines(words)
    return PipedLines(sys.stdin.buffer if sys.stdin is not None else None)


@final
class PipedLines:
    """Lines of a file or a pipe, of UTF-8."""

    is_terminal = False

    def __init__(self, source: BinaryIO | None) -> None:
        self._source = source
        self._number = 0

    def next(self, prompt: str) -> str:
        """As `ChatLines.next`; nobody sees the prompt."""
        del prompt
        raw = b"" if self._source is None else self._source.readline(BYTES)
        if not raw:
            raise EOFError
        self._number += 1
        if len(raw) == BYTES and not raw.endswith(b"\n"):
            self._skip()
            raise InputError(f"line {self._number} is longer than {BYTES:,} bytes", hint="part it into shorter ones")
        try:
            return raw.decode("utf-8-sig" if self._number == 1 else "utf-8").removesuffix("\n").removesuffix("\r")
        except UnicodeDecodeError as error:
            raise InputError(f"line {self._number} is not UTF-8: {error.reason}", hint=HINT) from None

    def _skip(self) -> None:
        """Pass over the rest of a line."""
        while self._source is not None and (more := self._source.readline(BYTES)) and not more.endswith(b"\n"):
            pass


@final
class TerminalLines:
    """Lines that somebody types; `readline` edits them and remembers them for as long as the program runs."""

    is_terminal = True

    def __init__(self, words: Sequence[str]) -> None:
        with suppress(ImportError):  # a Python without it: the terminal's own line editing remains
            import readline

            readline.set_completer(completer(words, readline.get_line_buffer))
            readline.set_completer_delims(" \t\n")
            libedit = "libedit" in (readline.__doc__ or "")
            readline.parse_and_bind("bind ^I rl_complete" if libedit else "tab: complete")
            if not libedit:
                readline.parse_and_bind("set enable-bracketed-paste on")  # a pasted text of several lines is one entry

    def next(self, prompt: str) -> str:
        """As `ChatLines.next`. Raises KeyboardInterrupt where Ctrl-C is typed."""
        if not sys.stdout.isatty():  # the prompt is for the person, and not for the file that takes the answers
            sys.stderr.write(prompt)
            sys.stderr.flush()
            prompt = ""
        try:
            return input(prompt)
        except UnicodeDecodeError as error:
            raise InputError(f"what was typed is not UTF-8: {error.reason}", hint="set the terminal to UTF-8") from None


def completer(words: Sequence[str], line: Callable[[], str]) -> Callable[[str, int], str | None]:
    """What `readline` asks for the words that may stand at the cursor: commands, at the beginning of a line."""

    def complete(text: str, state: int) -> str | None:
        fitting = [f"{word} " for word in words if word.startswith(text)] if line().startswith("/") else []
        return fitting[state] if line().strip() == text and state < len(fitting) else None

    return complete
