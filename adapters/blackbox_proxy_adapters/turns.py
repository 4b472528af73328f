"""What the adapters of chats share: turns as JSON, what no chat can be asked, and a reply that begins with known text.

The module knows no route and no way of going on from a text.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from blackbox_proxy.errors import InputError, PromptError, ReplyError
from blackbox_proxy.types import Ask, Message, Reply

from .healing import healed

Turn = dict[str, object]


def turns(messages: Sequence[Message]) -> list[Turn]:
    """The messages as JSON."""
    return [turn(message.role, message.content) for message in messages]


def turn(role: str, content: str) -> Turn:
    """One message as JSON."""
    return {"role": role, "content": content}


def check_chat(ask: Ask) -> None:
    """Raise PromptError where there are no messages, and InputError for what a chat does not take."""
    if not ask.messages:
        raise PromptError("a chat endpoint was given raw text", hint="give messages, or a question")
    if ask.ids is not None:
        raise InputError(
            "token ids were given to a chat endpoint, which takes text",
            hint="use event='bytes', or the adapter `completions`",
        )
    if ask.reveal:
        raise InputError(
            f"log-probs of {len(ask.reveal)} chosen tokens were asked of a chat endpoint, which tells its top-k alone",
            hint="use tail='impute', or the adapter `completions`",
        )


def chance_of(ask: Ask) -> float | None:
    """A number in [0, 1) from the seed of a draft that is drawn; None for a greedy one."""
    return None if ask.temperature == 0.0 else (ask.seed or 0) % 2**31 / 2**31


def tokens_of(text: bytes) -> int:
    """A guess, rather too large, of how many tokens a model takes to say this text."""
    plain = sum(byte < 0x80 for byte in text)
    return -(-plain // 3) + (len(text) - plain) + 2


def after(reply: Reply, held: bytes, *, chance: float | None) -> Reply:
    """The reply after `held`, with which it begins. Raises ReplyError where it ends before it says anything new."""
    found = healed(reply.positions, held, chance=chance)
    if found is None or not (found.positions or reply.finish == "stop"):
        raise ReplyError(
            f"the reply ended (finish {reply.finish!r}) before it went beyond {held[-40:]!r}, which it was to repeat",
            hint="ask for more tokens at once (`draft`), or use another adapter for this endpoint",
        )
    return replace(reply, positions=found.positions, finish=reply.finish if found.agrees else "length")
