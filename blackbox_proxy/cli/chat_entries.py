r"""From typed lines to questions and commands: texts of several lines, and what begins with a slash. Pure.

/name text            a command
//text                a question that begins with a slash
first line \          goes on in the next line
three double quotes   begin a text of several lines, and end it behind one; also behind a command's name
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import final

from blackbox_proxy.errors import InputError

FENCE = '"""'
LONGEST = 1_000_000
"""Most characters of one question."""

_COMMAND = re.compile(r"/(?P<name>\w*)(?:\s+(?P<text>.*))?", re.DOTALL)
_BEHIND_NAME = re.compile(rf"(?P<head>/\w+[ \t]+){FENCE}")


@dataclass(frozen=True, slots=True)
class ChatCommand:
    """A command of the chat. text: what stands behind its name, without blanks around it; "" for nothing."""

    name: str
    text: str = ""


Entry = ChatCommand | str
"""A command, or a question; a question may be empty."""


def entry_of(text: str) -> Entry:
    """A typed text, outside of fences, as a command or as a question.

    The first word of a command holds no other slash, so that a question may begin with a path.

    >>> entry_of("/alpha 0.5"), entry_of("//tmp holds?"), entry_of("/etc/hosts holds?")
    (ChatCommand(name='alpha', text='0.5'), '/tmp holds?', '/etc/hosts holds?')
    """
    if text.startswith("//"):
        return text[1:]
    command = _COMMAND.fullmatch(text.strip())
    return text if command is None else ChatCommand(command["name"], (command["text"] or "").strip())


@final
@dataclass(slots=True)
class Entries:
    """Puts lines together until an entry is whole.

    Attributes:
        lines: Those of an entry that is not whole yet.
        head: The command that a fenced text belongs to; "" for a question.
        fenced: Whether a fence is open.
    """

    lines: list[str] = field(default_factory=list)
    head: str = ""
    fenced: bool = False

    @property
    def is_open(self) -> bool:
        """Whether an entry waits for more lines."""
        return self.fenced or bool(self.lines)

    def drop(self) -> None:
        """Forget what is open."""
        self.lines, self.head, self.fenced = [], "", False

    def feed(self, line: str) -> Entry | None:
        """Take the next line, without its end; the entry where it is whole now.

        A line that was pasted may hold several. Raises InputError, and forgets it, where the entry grows too long.
        """
        if sum(map(len, self.lines)) + len(line) > LONGEST:
            self.drop()
            raise InputError(
                f"a question of more than {LONGEST:,} characters is not taken",
                hint="no model reads that much; shorten it",
            )
        if not self.is_open:
            line = self._opened(line)
        return self._fenced(line) if self.fenced else self._plain(line)

    def end(self) -> Entry | None:
        """What is open, where no line follows. Raises InputError for a fence that was not closed."""
        fenced, lines = self.fenced, self.lines
        self.drop()
        if fenced:
            raise InputError(f"the text behind {FENCE} is not closed, so it was not asked", hint=f"end it with {FENCE}")
        return entry_of("\n".join(lines)) if lines else None

    def _opened(self, line: str) -> str:
        """The first line of an entry, without the fence that it may begin with."""
        behind = _BEHIND_NAME.match(line)
        if behind is None and not line.startswith(FENCE):
            return line
        self.fenced, self.head = True, "" if behind is None else behind["head"]
        return line[len(self.head) + len(FENCE) :]

    def _fenced(self, line: str) -> Entry | None:
        body = line.rstrip()
        if not body.endswith(FENCE):
            self.lines.append(line)
            return None
        joined, head = "\n".join((*self.lines, body.removesuffix(FENCE))), self.head
        first, end, rest = joined.partition("\n")
        text = (rest if end and not first.strip() else joined).removesuffix("\n")
        self.drop()
        return ChatCommand(head.strip().removeprefix("/"), text.strip()) if head else text

    def _plain(self, line: str) -> Entry | None:
        if line.endswith("\\"):
            self.lines.append(line[:-1])
            return None
        text = "\n".join((*self.lines, line))
        self.drop()
        return entry_of(text)
