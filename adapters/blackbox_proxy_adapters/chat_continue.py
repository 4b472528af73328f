"""The adapter `chat_continue`: a chat that cannot be made to go on from a text, and is asked in words to do so.

Without an answer so far it is a plain question, and its log-probs are exact. With one they are those of a model that
was asked to go on, by one of the strategies, and every such reply says so (`Reply.exact`, `Reply.forced`):

    forced     a JSON schema demands an answer that begins with it, so that what follows is conditioned on exactly that
               text, inside a JSON string; where the endpoint can do so (`structured`)
    instruct   the answer so far as the assistant's turn, then a user's turn that asks to go on from it
    draft      the answer so far inside the user's message
    replay     the model is asked to begin its answer with all of it; that costs as many tokens again with each call,
               and is closest to the model's own distribution, since it stands inside its own answer

`instruct` and `draft` hold back the last word and ask to begin with it (`joining`); `forced` and `replay` are verified
byte for byte. A model that does not do what it is asked for is asked in the next way, and so it is where an answer is
longer than a schema may be; where none is left, its reply tells nothing of what comes next. This module knows no
network and no model.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal, final, get_args

from blackbox_proxy.errors import InputError, ReplyCut, ReplyError
from blackbox_proxy.types import (
    Ask,
    Capabilities,
    Continuation,
    Draw,
    Echo,
    Generate,
    Message,
    Reply,
    Score,
    WireRequest,
)

from .forced import (
    LONGEST,
    Structured,
    demand,
    demand_whole,
    frame_tokens,
    read_forced,
    read_forced_echo,
    read_forced_text,
)
from .healing import healed
from .joining import joined, parted, taken_up
from .options import LogprobsKind, Options, check_choice, whole_text
from .positions import unknown
from .turns import after, chance_of, check_turns, question_of, tokens_of, turns

Strategy = Literal["forced", "instruct", "draft", "replay"]

STRATEGIES: tuple[Strategy, ...] = ("forced", "replay", "instruct", "draft")
"""All of them, the closest to the model's own distribution first."""

MaskSide = Literal["before", "after"]
"""Of which side of a schema's mask an endpoint's log-probs are."""

_SCORED: Sequence[Message] = (Message("user", "Write a text."),)
"""What a text is the answer to that is scored by itself."""

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

    strategies: how it is asked to go on from an answer; the next one is tried where a reply does not do so. structured:
    how a JSON schema can demand an answer's beginning, with log-probs: `pattern`, `spelt`, `const`, or `none`, which
    leaves out the strategy `forced`. structured_logprobs: whether these are those `before` the schema's mask, so that a
    demanded text is an echo, or `after` it. The other options: see `Options`.
    """

    path: str = "/chat/completions"
    decoder: str = "openai_chat"
    logprobs_kind: LogprobsKind = "bool"
    strategies: Sequence[Strategy] = STRATEGIES
    structured: Structured = "none"
    structured_logprobs: MaskSide = "after"
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
        check_choice("structured", self.structured, get_args(Structured))
        check_choice("structured_logprobs", self.structured_logprobs, get_args(MaskSide))
        self.schemas = self.schemas or self.structured != "none"
        if self.structured == "none" and set(self.strategies) == {"forced"}:
            raise InputError(
                "the strategy 'forced' alone needs structured output",
                hint="set structured to pattern or const, or name another strategy",
            )

    def capabilities(self) -> Capabilities:
        """It takes messages, and only tries to go on from a text."""
        able = self.capable(Continuation.APPROXIMATE, chat=True)
        ways = self._ways()
        return replace(able, ways=len(ways), forces="forced" in ways and self.structured != "none", echo=self._echoes)

    def limited_to(self, way: Literal["forced", "words"]) -> ChatContinue:
        """The same endpoint, asked by a schema alone, or in words alone.

        Raises:
            InputError: Where none of the strategies goes that way, or no schema can demand a text.
        """
        strategies = tuple(one for one in self.strategies if (one == "forced") == (way == "forced"))
        if way == "forced" and self.structured == "none":
            raise InputError(
                "way='forced' needs an endpoint whose structured output can demand the beginning of an answer",
                hint="`blackbox-proxy doctor` measures it and sets `structured`; or use way='words'",
            )
        if not strategies:
            raise InputError(
                f"way={way!r} needs strategies that go that way, and there are: {', '.join(self.strategies)}",
                hint="name others in the option `strategies`, or use way='token'",
            )
        return replace(self, strategies=strategies, structured=self.structured if way == "forced" else "none")

    def encode(self, ask: Ask) -> WireRequest:
        """The request for a `Generate` or a `Draw`; without an answer it is a plain question.

        Raises `InputError` for an answer that ends inside a character and for another kind of ask, and `PromptError`
        without messages.
        """
        where = "input" if self.decoder == "openai_responses" else "messages"
        if isinstance(ask, Generate | Draw) and ask.tools:
            return self.calling(ask)
        if isinstance(ask, Draw):
            if ask.prefix.answer:
                raise InputError(
                    "continuations of an answer were asked of a chat that begins a new turn with every reply",
                    hint="draw whole answers: way='answers'",
                )
            return self.request(ask, {where: turns(check_turns(ask.prefix.messages))}, length=ask.length)
        if self._echoes and isinstance(ask, Echo | Score):
            return self._echoing(ask)
        question = question_of(ask)
        prefix, strategy = question.prefix, self._strategy(question)
        if strategy == "forced" and prefix.answer:
            return self._demanding(question)
        messages = asked(prefix.messages, whole_text(prefix.answer), strategy=strategy)
        repeated = _repeated(prefix.answer, strategy)
        more = tokens_of(repeated) if repeated else 0
        return self.request(question, {self._where(): turns(messages)}, length=question.length + more)

    def decode(self, body: Mapping[str, object], ask: Ask) -> Reply:
        """The positions after the answer.

        Raises `ReplyCut` for a reply that was cut inside the answer so far, unless there was room for it, and
        `ReplyError` for a body of another shape, and for a reply that tells nothing of what comes next while there is
        another strategy.
        """
        if isinstance(ask, Draw) or (isinstance(ask, Generate) and ask.tools):
            return self.read_answers(body, ask)
        if self._echoes and isinstance(ask, Echo | Score):
            return self._read_echo(body, ask)
        question = question_of(ask)
        reply = self.read(body, question)
        if not question.prefix.answer:
            return reply
        strategy = self._strategy(question)
        try:
            if strategy == "forced":
                return read_forced(self._unparted(body, question), question.prefix.answer, self.structured)
            return replace(_taken(reply, question, strategy=strategy), exact=False)
        except ReplyError as error:
            if isinstance(error, ReplyCut) and not question.roomy:
                raise
            if question.way + 1 < len(self._ways(question.prefix.answer)):
                raise
            return replace(reply, positions=(unknown(),), finish="length", exact=False)

    def _ways(self, answer: bytes = b"") -> Sequence[Strategy]:
        """The strategies that can be used, for an answer of this length."""
        can = self.structured != "none" and len(answer) <= LONGEST
        return [one for one in self.strategies if one != "forced" or can] or list(self.strategies)

    def _strategy(self, question: Generate) -> Strategy:
        ways = self._ways(question.prefix.answer)
        return ways[min(question.way, len(ways) - 1)]

    def _where(self) -> str:
        """The field of the turns."""
        return "input" if self.decoder == "openai_responses" else "messages"

    def _demanding(self, question: Generate) -> WireRequest:
        """The request whose schema demands the answer so far."""
        prefix = question.prefix
        schema = demand(whole_text(prefix.answer), self.structured, responses=self.decoder == "openai_responses")
        text = len(prefix.answer) if question.roomy else 0  # a token a byte, however the model spells it
        length = question.length + text + tokens_of(prefix.answer) + frame_tokens(prefix.answer)
        return self.request(question, {self._where(): turns(prefix.messages), **schema}, length=length)

    @property
    def _echoes(self) -> bool:
        """Whether a demanded text is an echo."""
        can = self.structured in ("pattern", "spelt") and self.structured_logprobs == "before"
        return can and "forced" in self.strategies

    def _echoing(self, ask: Echo | Score) -> WireRequest:
        """The request whose schema demands the draft behind the answer so far, or a text and nothing behind it."""
        text = ask.text if isinstance(ask, Score) else ask.prefix.answer + ask.draft
        if len(text) > LONGEST:
            raise InputError(
                f"a text of {len(text)} bytes was to be demanded, and {LONGEST} is the most",
                hint="score a shorter text, or use an endpoint that gives texts back by itself (`completions`)",
            )
        said, responses = whole_text(text), self.decoder == "openai_responses"
        if isinstance(ask, Score):
            chat: Sequence[Message] = _SCORED
            schema = demand_whole(said, responses=responses)
        else:
            chat, schema = ask.prefix.messages, demand(said, self.structured, responses=responses)
        length = ask.length + tokens_of(text) + frame_tokens(text)
        return self.request(ask, {self._where(): turns(check_turns(chat)), **schema}, length=length)

    def _read_echo(self, body: Mapping[str, object], ask: Echo | Score) -> Reply:
        """What is told along the text. Of a draft nothing, where the reply does not do what was demanded."""
        reply = self._unparted(body, ask)
        if isinstance(ask, Score):
            return read_forced_text(reply, ask.text)
        try:
            return read_forced_echo(reply, ask.prefix.answer, ask.draft)
        except ReplyError:
            return replace(reply, positions=(), finish=None, said=None)

    def _unparted(self, body: Mapping[str, object], ask: Ask) -> Reply:
        """The reply with what its tokens say before the text, such as a fence around JSON."""
        reply = self.read(body, ask)
        return reply if reply.exact else self.read(body, ask, repeats=True)


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
