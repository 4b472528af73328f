"""Chat templates: from messages to the text that a model reads, as transformers renders them.

Templates come from model files, so they are rendered in Jinja's immutable sandbox. What messages say is text: where it
spells a control token, that place is marked (`controls`), so that nobody takes it for the template's own. Knows no
tokenizer.
"""

from __future__ import annotations

import datetime as dt
import json
import re
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import suppress
from functools import lru_cache
from typing import final

import jinja2
from jinja2 import nodes
from jinja2.ext import Extension, loopcontrols
from jinja2.parser import Parser
from jinja2.sandbox import ImmutableSandboxedEnvironment

from blackbox_proxy.errors import PromptError
from blackbox_proxy.local.controls import ControlGuard, MarkedPrompt, guard_over
from blackbox_proxy.types import Message, Prompt

CHATML = (
    "{% for message in messages %}<|im_start|>{{ message.role }}\n{{ message.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


DEFAULT = "chatml"
"""How a chat is written down for an endpoint that takes raw text, where nobody says."""

_UNKNOWN = {"bos_token": "", "eos_token": ""}


def named(template: str) -> str:
    """The template that a short name stands for: `chatml`, or `raw` for none; anything else is a template itself."""
    return {"chatml": CHATML, "raw": ""}.get(template, template)


def _refuse(message: str) -> None:
    raise jinja2.TemplateError(message)


def _json_text(  # noqa: PLR0917 (the arguments that templates give it)
    value: object,
    ensure_ascii: bool = False,  # noqa: FBT001, FBT002 (as PLR0917)
    indent: int | None = None,
    separators: tuple[str, str] | None = None,
    sort_keys: bool = False,  # noqa: FBT001, FBT002 (as PLR0917)
) -> str:
    """JSON as it is; Jinja's own filter writes it for HTML."""
    return json.dumps(value, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys)


def _now(format: str) -> str:  # noqa: A002 (templates may call it by its name)
    """The date or time, in local time as transformers has it."""
    return dt.datetime.now().strftime(format)  # noqa: DTZ005 (the user's own day is meant)


@final
class _Generation(Extension):
    """`{% generation %}`: marks what the assistant says, for training. It is written as it is."""

    tags = {"generation"}  # noqa: RUF012 (the base class declares it so)

    def parse(self, parser: Parser) -> nodes.Node:
        line = next(parser.stream).lineno
        body = parser.parse_statements(("name:endgeneration",), drop_needle=True)
        return nodes.CallBlock(self.call_method("written"), [], [], body).set_lineno(line)

    def written(self, caller: Callable[[], str]) -> str:
        """What stands inside."""
        return caller()


@lru_cache(maxsize=16)
def _compiled(template: str) -> jinja2.Template:
    environment = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=[_Generation, loopcontrols]
    )
    environment.filters["tojson"] = _json_text
    environment.globals |= {"raise_exception": _refuse, "strftime_now": _now}
    return environment.from_string(template)


def render(template: str, messages: Sequence[Message], *, special: Mapping[str, str] | None = None) -> str:
    """The prompt up to where the answer begins. special: such as `bos_token`; the template finds those that are there.

    Where nobody knows them, since the model is elsewhere, the two usual ones are empty. Raises PromptError where the
    template does not take the messages.
    """
    try:
        return _compiled(template).render(
            messages=[{"role": m.role, "content": m.content} for m in messages],
            tools=None,
            documents=None,
            add_generation_prompt=True,
            **(_UNKNOWN if special is None else special),
        )
    except (jinja2.TemplateError, TypeError, ValueError, ArithmeticError, LookupError, RecursionError) as error:
        raise PromptError(
            f"the chat template does not take these messages: {error}",
            hint="use roles that the model knows, or give the prompt as raw text",
        ) from error


_LIKE_CONTROLS = re.compile(r"<[|\uff5c][^<>|\uff5c\s]{1,60}[|\uff5c]>")
_IN_TEMPLATES = re.compile(rf"{_LIKE_CONTROLS.pattern}|</?[A-Za-z_]\w{{0,40}}>|\[/?[A-Z_]{{2,40}}\]")
_ENDS = frozenset({"<s>", "</s>", "<bos>", "<eos>", "<|endoftext|>", "<|end_of_text|>"})
_ROLES = (("system", "user", "assistant", "user"), ("user", "assistant", "user"), ("user",))


def suspected(template: str, texts: Sequence[str]) -> frozenset[str]:
    """What may be control tokens of a model whose vocabulary nobody knows.

    Those that the template writes around messages, the usual names of a text's ends, and whatever has their usual form.
    """
    return _ENDS | _around(template) | {match[0] for text in texts for match in _LIKE_CONTROLS.finditer(text)}


@lru_cache(maxsize=16)
def _around(template: str) -> frozenset[str]:
    """What looks like a control token in chats that the template writes."""
    said: list[str] = []
    for roles in _ROLES:
        with suppress(PromptError):
            said.append(render(template, [Message(role, "x") for role in roles]))
    return frozenset(match[0] for text in said for match in _IN_TEMPLATES.finditer(text))


def written(
    prompt: Prompt, template: str, *, special: Mapping[str, str] | None = None, controls: Collection[str] = ()
) -> MarkedPrompt:
    """A prompt as a model reads it: raw text as it is, messages through the template. Raises PromptError when empty.

    controls: how the model's control tokens are spelt; where messages spell one, it is marked.
    """
    if prompt.text:
        return MarkedPrompt(prompt.text)
    _check_chat(prompt.messages, template)
    guard = guard_over(_texts(prompt.messages), controls)
    return guard.written(render(template, _guarded(prompt.messages, guard), special=special))


def written_until(
    messages: Sequence[Message], template: str, *, special: Mapping[str, str], controls: Collection[str]
) -> MarkedPrompt:
    """The same where the last message is not finished, up to its end. Raises PromptError also where it is not written.

    It stands exactly as it is: the template writes a word in its place, so that it can neither trim nor end it.
    """
    *turns, last = messages
    texts = _texts(messages)
    guard, word = guard_over(texts, controls), _word(template, *texts)
    said = render(template, [*_guarded(turns, guard), Message(last.role, word)], special=special)
    head, separator, _ = said.rpartition(word)
    if not separator:
        raise PromptError(
            "the chat template of this model does not write the last message", hint="end it with a user's"
        )
    return guard.written(head + guard(last.content))


def _check_chat(messages: Sequence[Message], template: str) -> None:
    if not messages:
        raise PromptError("the prompt is empty", hint="say something, as an argument or on standard input")
    if not template:
        raise PromptError(
            "a chat was given, but there is no chat template to write it down with",
            hint="name a template (chatml, or a Jinja file), or give the prompt as raw text",
        )


def _texts(messages: Sequence[Message]) -> list[str]:
    return [text for message in messages for text in (message.role, message.content)]


def _guarded(messages: Sequence[Message], guard: ControlGuard) -> list[Message]:
    return [Message(guard.inside(message.role), guard(message.content)) for message in messages]


def _word(*texts: str) -> str:
    """A word that is in none of the texts."""
    word = "UNFINISHED"
    while any(word in text for text in texts):
        word += "X"
    return word
