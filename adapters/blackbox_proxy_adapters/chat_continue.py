"""The adapter `chat_continue`: a chat that cannot be made to go on from a text, and is asked in words to do so.

Without an answer so far it is a plain question, and its log-probs are exact. With one they are those of a model that
was asked to go on, by one of three strategies, and every such reply says so (`Reply.exact`):

    instruct   the answer so far as the assistant's turn, then a user's turn that asks to go on from it
    draft      the answer so far inside the user's message
    replay     the model is asked to begin its answer with all of it; that costs as many tokens again with each call,
               and is closest to the model's own distribution, since it stands inside its own answer

The first two hold back the last word and ask to begin with it (`joining`); the third is verified byte for byte. A model
that does not do what it is asked for is asked in the next way; where none is left, its reply tells nothing of what
comes next. This module knows no network and no model.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal, final

from blackbox_proxy.errors import InputError, ReplyError
from blackbox_proxy.types import Ask, Capabilities, Continuation, Draw, Generate, Message, Reply, WireRequest

from .healing import healed
from .joining import joined, parted, taken_up
from .options import LogprobsKind, Options, check_choice, whole_text
from .positions import unknown
from .turns import after, chance_of, check_turns, question_of, tokens_of, turns

Strategy = Literal["instruct", "draft", "replay"]

STRATEGIES: tuple[Strategy, ...] = ("replay", "instruct", "draft")
"""All of them, the closest to the model's own distribution first."""

_GO_ON = (
    "Your last message was cut off. Go on from exactly where it stops, as if it had never been cut: write only what "
    "comes next, repeat nothing of it, and add no remark."
)
_DRAFT = (
    "This is the beginning of the answer:\n<<<\n{sent}\n>>>\n"
    "Go on from exactly where it stops: write only what comes next, repeat nothing of it, and add no remark."
)
_BEGIN = "Begin with exactly this text, without the marks, and go straight on from it: «{held}»"
_REPLAY = (
    "Begin your answer with exactly this text, without the marks, character for character, and go straight on from "
    "it: «{text}»"
)


@final
@dataclass(kw_only=True)
class ChatContinue(Options):
    """Codec for POST /chat/completions and /responses of an endpoint that begins a new turn with every reply.

    strategies: how it is asked to go on from an answer; the next one is tried where a reply does not do so. The other
    options: see `Options`.
    """

    path: str = "/chat/completions"
    decoder: str = "openai_chat"
    logprobs_kind: LogprobsKind = "bool"
    strategies: Sequence[Strategy] = STRATEGIES
    name: str = field(default="chat_continue", init=False)

    def __post_init__(self) -> None:
        super().__post_init__()
        if isinstance(self.strategies, str) or not self.strategies:
            raise InputError(
                f"strategies must be a list of them, not {self.strategies!r}",
                hint=f"there are: {', '.join(STRATEGIES)}",
            )
        for strategy in self.strategies:
            check_choice("strategy", strategy, STRATEGIES)

    def capabilities(self) -> Capabilities:
        """It takes messages, and only tries to go on from a text."""
        return replace(self.capable(Continuation.APPROXIMATE, chat=True), ways=len(self.strategies))

    def encode(self, ask: Ask) -> WireRequest:
        """The request for a `Generate` or a `Draw`; without an answer it is a plain question.

        Raises `InputError` for an answer that ends inside a character and for another kind of ask, and `PromptError`
        without messages.
        """
        where = "input" if self.decoder == "openai_responses" else "messages"
        if isinstance(ask, Draw):
            return self.request(ask, {where: turns(check_turns(ask.prefix.messages))}, length=ask.length)
        question = question_of(ask)
        prefix, strategy = question.prefix, self.strategies[question.way]
        messages = asked(prefix.messages, whole_text(prefix.answer), strategy=strategy)
        repeated = _repeated(prefix.answer, strategy)
        more = tokens_of(repeated) if repeated else 0
        return self.request(question, {where: turns(messages)}, length=question.length + more)

    def decode(self, body: Mapping[str, object], ask: Ask) -> Reply:
        """The positions after the answer.

        Raises `ReplyError` for a body of another shape, and for a reply that tells nothing of what comes next while
        there is another strategy.
        """
        if isinstance(ask, Draw):
            return self.read_answers(body, ask)
        question = question_of(ask)
        reply = self.read(body, question)
        if not question.prefix.answer:
            return reply
        try:
            return replace(_taken(reply, question, strategy=self.strategies[question.way]), exact=False)
        except ReplyError:
            if question.way + 1 < len(self.strategies):
                raise
            return replace(reply, positions=(unknown(),), finish="length", exact=False)


def asked(messages: Sequence[Message], answer: str, *, strategy: Strategy) -> Sequence[Message]:
    """The chat in which a model is asked to go on from `answer`; the chat itself where that is empty."""
    if not answer:
        return messages
    sent, held = parted(answer)
    if strategy == "replay" or not sent:
        return _added(messages, _REPLAY.format(text=answer))
    begin = _BEGIN.format(held=held.strip())
    if strategy == "draft":
        return _added(messages, f"{_DRAFT.format(sent=sent)}\n{begin}")
    return (*messages, Message("assistant", sent), Message("user", f"{_GO_ON} {begin}"))


def _repeated(answer: bytes, strategy: Strategy) -> bytes:
    """What the reply will say before it goes on."""
    return answer if strategy == "replay" else parted(answer.decode())[1].encode()


def _added(messages: Sequence[Message], text: str) -> Sequence[Message]:
    """The chat with `text` at the end of the user's last turn."""
    if messages[-1].role != "user":
        return (*messages, Message("user", text))
    return (*messages[:-1], Message("user", f"{messages[-1].content}\n\n{text}"))


def _taken(reply: Reply, ask: Generate, *, strategy: Strategy) -> Reply:
    """The reply after the answer. Raises ReplyError where it tells nothing of what comes there."""
    rest = _replayed(reply, ask) if strategy == "replay" else _continued(reply, ask)
    if rest.positions and not rest.positions[0].top:
        end = ask.prefix.answer[-40:]
        raise ReplyError(f"nothing in the reply agrees with the end of the answer so far, {end!r}")
    return rest


def _continued(reply: Reply, ask: Generate) -> Reply:
    """The reply after what it repeats of the answer. An empty one has nothing to add."""
    if not reply.positions and reply.finish == "stop":
        return reply
    sent, held = (part.encode() for part in parted(ask.prefix.answer.decode()))
    text = taken_up(reply.positions, sent, held=held)
    return after(replace(reply, positions=joined(reply.positions, text)), text, chance=chance_of(ask))


def _replayed(reply: Reply, ask: Generate) -> Reply:
    """The reply after the whole answer."""
    answer, chance = ask.prefix.answer, chance_of(ask)
    rest = healed(reply.positions, answer, chance=chance)
    lost = rest is None and reply.finish == "stop"
    if lost or (rest is not None and not rest.agrees and not rest.positions[0].top):
        said = b"".join(position.sampled.piece for position in reply.positions)
        raise ReplyError(f"the model edited the text that it was to repeat: {_difference(said, answer)}")
    return after(reply, answer, chance=chance)


def _difference(said: bytes, text: bytes) -> str:
    """Where two texts part, with some bytes of each."""
    shorter = min(len(said), len(text))
    at = next((i for i in range(shorter) if said[i] != text[i]), shorter)
    return f"{text[at : at + 20]!r} became {said[at : at + 20]!r} at byte {at}"
