"""Chat templates: from messages to the text that a model reads.

Templates come from model files, so they are rendered in Jinja's immutable sandbox. Knows no tokenizer.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import jinja2
from jinja2.sandbox import ImmutableSandboxedEnvironment

from blackbox_proxy.errors import PromptError
from blackbox_proxy.types import Message, Prompt

CHATML = (
    "{% for message in messages %}<|im_start|>{{ message.role }}\n{{ message.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


DEFAULT = "chatml"
"""How a chat is written down for an endpoint that takes raw text, where nobody says."""


def named(template: str) -> str:
    """The template that a short name stands for: `chatml`, or `raw` for none; anything else is a template itself."""
    return {"chatml": CHATML, "raw": ""}.get(template, template)


def _refuse(message: str) -> None:
    raise jinja2.TemplateError(message)


@lru_cache(maxsize=16)
def _compiled(template: str) -> jinja2.Template:
    environment = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True)
    environment.globals["raise_exception"] = _refuse
    return environment.from_string(template)


def render(template: str, messages: Sequence[Message], *, bos: str = "", eos: str = "") -> str:
    """The prompt up to where the answer begins. Raises PromptError where the template does not take the messages."""
    try:
        return _compiled(template).render(
            messages=[{"role": m.role, "content": m.content} for m in messages],
            add_generation_prompt=True,
            bos_token=bos,
            eos_token=eos,
        )
    except (jinja2.TemplateError, TypeError, ValueError, ArithmeticError, LookupError) as error:
        raise PromptError(
            f"the chat template does not take these messages: {error}",
            hint="use roles that the model knows, or give the prompt as raw text",
        ) from error


def prompt_text(prompt: Prompt, template: str, *, bos: str = "", eos: str = "") -> str:
    """The text a model reads: raw text as it is, messages through the template. Raises PromptError when empty."""
    if prompt.text.strip():
        return prompt.text
    if not any(message.content.strip() for message in prompt.messages):
        raise PromptError("the prompt is empty", hint="say something, as an argument or on standard input")
    if not template:
        raise PromptError(
            "a chat was given, but there is no chat template to write it down with",
            hint="name a template (chatml, or a Jinja file), or give the prompt as raw text",
        )
    return render(template, prompt.messages, bos=bos, eos=eos)
