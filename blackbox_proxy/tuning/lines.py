"""Training lines: read from JSONL in the forms that people have, and parted into training and validation.

Pure but for reading the file. Does not know a tokenizer, a chat template or a model.

A line is one of

    ["question", "answer"]
    {"prompt": "question", "completion": "answer"}
    {"messages": [{"role": "user", "content": "question"}, {"role": "assistant", "content": "answer"}]}

Of `messages` the last one, an assistant's, is learnt, and all before it are given. Further keys of an object are left
alone. Empty lines are skipped.
"""

from __future__ import annotations

import json
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path

from blackbox_proxy.errors import InputError, PromptError
from blackbox_proxy.types import Message, Prompt

FORMS = 'a line is ["question", "answer"], {"prompt": ..., "completion": ...} or {"messages": [...]}'


@dataclass(frozen=True, slots=True)
class Line:
    """What the expert reads, and what it shall answer; `place` is where the line stands, as `file:number`."""

    prompt: Prompt
    answer: str
    place: str = field(default="", compare=False)


def read_lines(path: Path, *, raw: bool = False) -> list[Line]:
    """The lines of a JSONL file; raw: prompts are texts that no chat template is put around.

    Raises InputError with file, line number and what is wrong, at the first line that is none.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise InputError(f"cannot read the lines in {path}: {error.strerror}", hint=FORMS) from error
    rows = ((f"{path}:{number}", row) for number, row in enumerate(content.split(b"\n"), start=1))
    lines = [_line(row, place, raw=raw) for place, row in rows if row.strip()]
    if not lines:
        raise InputError(f"{path} holds no lines", hint=FORMS)
    return lines


def split(lines: Sequence[Line], share: float, *, seed: int) -> tuple[list[Line], list[Line]]:
    """Lines to train on, and about `share` of them to validate on; lines of one prompt stay together.

    Both keep the order of `lines`. Raises InputError where nothing would be left to train on.
    """
    if share == 0:
        return list(lines), []
    sizes: dict[Prompt, int] = {}
    for line in lines:
        sizes[line.prompt] = sizes.get(line.prompt, 0) + 1
    held: set[Prompt] = set()
    least, count = max(1, round(share * len(lines))), 0
    for prompt in random.Random(seed).sample(list(sizes), len(sizes)):
        if count >= least:
            break
        held.add(prompt)
        count += sizes[prompt]
    if len(held) == len(sizes):
        raise InputError(
            f"{len(lines)} lines with {len(sizes)} different prompts cannot be parted into training and validation",
            hint="give more lines, a file of validation lines, or --validation 0 for none",
        )
    return [line for line in lines if line.prompt not in held], [line for line in lines if line.prompt in held]


def lines_digest(lines: Sequence[Line]) -> str:
    """SHA-256 of what the lines say, one JSON array a line, however they were written."""
    text = "".join(json.dumps([_spelt(line.prompt), line.answer], ensure_ascii=False) + "\n" for line in lines)
    return sha256(text.encode()).hexdigest()


def _spelt(prompt: Prompt) -> object:
    """A question alone as it is, other chats as lists of turns, raw text as an object."""
    if prompt.text:
        return {"text": prompt.text}
    if [message.role for message in prompt.messages] == ["user"]:
        return prompt.messages[0].content
    return [[message.role, message.content] for message in prompt.messages]


def _line(row: bytes, place: str, *, raw: bool) -> Line:
    try:
        return _parsed(row, place, raw=raw)
    except PromptError as error:
        raise InputError(f"{place}: {error.message}", hint=error.hint) from error


def _parsed(row: bytes, place: str, *, raw: bool) -> Line:
    match _json(row, place):
        case [str(asked), str(answer)] | {"prompt": str(asked), "completion": str(answer)}:
            if not asked.strip():
                raise InputError(f"{place}: the prompt is empty", hint=FORMS)
            return _checked(Prompt(text=asked) if raw else Prompt.ask(asked), answer, place)
        case {"messages": _} if raw:
            raise InputError(f"{place}: raw prompts have no messages", hint="leave --raw out, or write prompt texts")
        case {"messages": list(messages)}:
            *before, last = _messages(messages, place)
            if last.role != "assistant" or not before:
                raise InputError(
                    f"{place}: the last message must be the assistant's, behind at least one other",
                    hint="the last message is what the expert learns to say",
                )
            return _checked(Prompt(messages=tuple(before)), last.content, place)
        case other:
            raise InputError(f"{place}: {_complaint(other)}", hint=FORMS)


def _json(row: bytes, place: str) -> object:
    try:
        return json.loads(row.decode("utf-8-sig"))
    except UnicodeDecodeError as error:
        raise InputError(f"{place}: not UTF-8: {error.reason} at byte {error.start + 1}", hint="convert it") from None
    except json.JSONDecodeError as error:
        raise InputError(f"{place}: not JSON: {error.msg} at column {error.colno}", hint=FORMS) from None
    except (ValueError, RecursionError) as error:
        raise InputError(f"{place}: not JSON that can be read: {error}", hint=FORMS) from None


def _messages(entries: Sequence[object], place: str) -> list[Message]:
    messages = []
    for number, one in enumerate(entries, start=1):
        match one:
            case {"role": str(role), "content": str(content)}:
                messages.append(Message(role, content))
            case _:
                raise InputError(f"{place}: message {number} has no role and content that are text", hint=FORMS)
    if not messages:
        raise InputError(f"{place}: there are no messages", hint=FORMS)
    return messages


def _checked(prompt: Prompt, answer: str, place: str) -> Line:
    if not answer.strip():
        raise InputError(f"{place}: the answer is empty", hint="an expert that says nothing steers nothing")
    try:
        answer.encode()
    except UnicodeEncodeError as error:
        raise InputError(
            f"{place}: the answer is no text: it holds {answer[error.start]!r}", hint="take half surrogate pairs out"
        ) from None
    return Line(prompt, answer, place)


def _complaint(value: object) -> str:
    if isinstance(value, list):
        kinds = ", ".join(type(one).__name__ for one in value[:4])
        return f"a list of two texts was expected, not of {len(value)} ({kinds or 'none'})"
    if isinstance(value, Mapping):
        missing = [key for key in ("prompt", "completion") if key not in value]
        if missing:
            return f"the object has no {' and no '.join(missing)}; its keys are {', '.join(map(repr, value)) or 'none'}"
        return "prompt and completion must both be text"
    return f"found {json.dumps(value, ensure_ascii=False)[:60]}"
