"""What the adapters of chats share: turns as JSON, what no chat can be asked, and a reply that begins with known text.

The module knows no route and no way of going on from a text.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from blackbox_proxy.errors import InputError, PromptError, ReplyError
from blackbox_proxy.types import Ask, Draw, Echo, Generate, Message, Reply, Reveal, Score

from .healing import healed

Turn = dict[str, object]


def turns(messages: Sequence[Message]) -> list[Turn]:
    """The messages as JSON."""
    return [turn(message.role, message.content) for message in messages]


def turn(role: str, content: str) -> Turn:
    """One message as JSON."""
    return {"role": role, "content": content}


def check_turns(messages: Sequence[Message]) -> Sequence[Message]:
    """The messages. Raises PromptError where there are none."""
    if not messages:
        raise PromptError("a chat endpoint was given raw text", hint="give messages, or a question")
    return messages


def question_of(ask: Ask) -> Generate:
    """What a chat can be asked. Raises PromptError where there are no messages, and InputError for anything else."""
    if isinstance(ask, Echo | Score | Draw):
        raise InputError(
            "log-probs along a given text were asked of a chat endpoint, which gives no text back",
            hint="use another drafter, or the adapter `completions`",
        )
    check_turns(ask.prefix.messages)
    if ask.prefix.ids is not None:
        raise InputError(
            "token ids were given to a chat endpoint, which takes text",
            hint="use event='bytes', or the adapter `completions`",
        )
    if isinstance(ask, Reveal):
        raise InputError(
            f"log-probs of {len(ask.ids)} chosen tokens were asked of a chat endpoint, which tells its top-k alone",
            hint="use tail='impute', or the adapter `completions`",
        )
    return ask


def chance_of(ask: Generate) -> float | None:
    """A number in [0, 1) from the seed of a draft that is drawn; None for a greedy one."""
    sampling = ask.sampling
    return None if sampling is None or sampling.temperature == 0.0 else (sampling.seed or 0) % 2**31 / 2**31


def tokens_of(text: bytes) -> int:
    """A guess, rather too large, of how many tokens a model takes to say this text."""
    plain = sum(byte < 0x80 for byte in text)
    return -(-plain // 3) + (len(text) - plain) + 2


def after(reply: Reply, held: bytes, *, chance: float | None) -> Reply:
    """The reply after `held`, with which it begins. Raises ReplyError where it ends before it says anything new."""
    rest = healed(reply.positions, held, chance=chance)
    if rest is None or not (rest.positions or reply.finish == "stop"):
        raise ReplyError(
            f"the reply ended (finish {reply.finish!r}) before it went beyond {held[-40:]!r}, which it was to repeat",
            hint="ask for more tokens at once (`draft`), or use another adapter for this endpoint",
        )
    return replace(reply, positions=rest.positions, finish=reply.finish if rest.agrees else "length")
