"""Turns what the user typed, piped in or pointed at into prompts, template text and names; says what is wrong with it.

Reads standard input and small files. Knows no option's default, no model and no API.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from blackbox_proxy.errors import InputError, PromptError
from blackbox_proxy.files import decoded, read_text

if TYPE_CHECKING:
    from blackbox_proxy.types import Message, Prompt


def prompt_of(given: str | None, *, messages: Path | None, system: str | None, raw: bool) -> Prompt:
    """The prompt that the options describe. Raises PromptError where there is none, or none that can be sent."""
    from blackbox_proxy.types import Prompt

    if messages is not None:
        if given or system or raw:
            raise InputError("--messages goes with neither a prompt, nor --system, nor --raw", hint="leave those out")
        return Prompt(messages=messages_of(messages))
    if raw and system:
        raise InputError("--raw takes no --system: raw text has no turns", hint="write both into the prompt")
    text = _read_stdin(at_will=given == "-") if given in (None, "-") else given or ""
    if not text.strip():
        raise PromptError("the prompt is empty", hint=_WAYS)
    return Prompt(text=text) if raw else Prompt.ask(text, system=system)


def pair_prompt_of(text: str, *, raw: bool) -> Prompt:
    """What the pair reads, in place of everything that the API reads."""
    from blackbox_proxy.types import Prompt

    if not text.strip():
        raise PromptError("--pair-prompt is empty", hint="leave it out where the pair should read the same as the API")
    return Prompt(text=text) if raw else Prompt.ask(text)


_WAYS = "give it as an argument, on standard input, or with --messages"


def _read_stdin(*, at_will: bool) -> str:
    """Standard input as text, without the line end that `echo` puts behind it; "" where there is none.

    A terminal is read only where the user asked for it: whoever forgot the prompt should not sit before a still screen.
    """
    if sys.stdin is None:
        return ""
    if sys.stdin.isatty():
        if not at_will:
            raise PromptError("there is no prompt", hint=_WAYS)
        sys.stderr.write("the prompt, and then Ctrl-D:\n")
    try:
        return decoded(sys.stdin.buffer.read()).removesuffix("\n").removesuffix("\r")
    except UnicodeDecodeError as error:
        raise PromptError(f"standard input is not UTF-8: {error}", hint="convert it, with iconv for instance") from None


def file_text(path: Path) -> str:
    """The text of a file. Raises InputError where it cannot be read."""
    try:
        return read_text(path)
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror}", hint="check the path") from None
    except UnicodeDecodeError:
        raise InputError(f"{path} is no text in UTF-8", hint="save it as UTF-8") from None


def messages_of(path: Path) -> tuple[Message, ...]:
    """The messages of a JSON file. Raises PromptError for a file that holds none."""
    from blackbox_proxy.types import Message

    hint = 'it should be JSON like [{"role": "user", "content": "Hello"}]'
    try:
        messages = json.loads(read_text(path))
    except (OSError, ValueError, RecursionError) as error:
        raise PromptError(f"cannot read messages from {path}: {error}", hint=hint) from error
    if not isinstance(messages, list) or not all(
        isinstance(m, dict) and isinstance(m.get("role"), str) and isinstance(m.get("content"), str) for m in messages
    ):
        raise PromptError(f"{path} is not a list of messages", hint=hint)
    unread = next((name for m in messages for name in ("tool_calls", "function_call", "audio") if m.get(name)), None)
    if unread is not None:
        raise PromptError(
            f"a message in {path} has {unread!r}, which nothing here reads", hint="give its content as text alone"
        )
    return tuple(Message(m["role"], m["content"]) for m in messages)


def variable_name(name: str) -> str:
    """The name of an environment variable. What is none may be the key itself, so it is not repeated."""
    if re.fullmatch(r"[A-Za-z_]\w*", name):
        return name
    raise InputError(
        "--api-key-env takes the name of an environment variable, and what was given is none",
        hint="put the key into a variable, such as OPENAI_API_KEY, and give that name",
    )


def template_text(name: str) -> str:
    """A template's own text where `name` is a file."""
    if name in ("raw", "chatml"):
        return name
    try:
        return read_text(Path(name))
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(
            f"cannot read the chat template {name!r}: {getattr(error, 'strerror', None) or error}",
            hint="say chatml, raw, or the path of a Jinja file",
        ) from error


def key_in(environ: Mapping[str, str], variable: str) -> str:
    """The key that a server of ours asks for. Raises InputError where the variable holds none."""
    key = environ.get(variable, "").strip()
    if not key:
        raise InputError(f"there is no key in {variable}", hint="set it to what clients must show, or leave it out")
    return key


def text_bytes(text: str) -> bytes:
    """What an argument says, as bytes; Python marks bytes that were no UTF-8 by half surrogate pairs."""
    return text.encode("utf-8", "surrogateescape")


def agreed() -> bool:
    """Whether the user wants to go on; where there is no terminal, nobody is asked. Not by typer: it writes a blank."""
    if not (sys.stdin.isatty() and sys.stderr.isatty()):
        return True
    sys.stderr.write("Go on? [Y/n] ")
    sys.stderr.flush()
    said = sys.stdin.readline()
    return bool(said) and said.strip().lower() in ("", "y", "yes")
