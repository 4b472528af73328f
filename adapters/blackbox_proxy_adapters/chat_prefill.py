"""The adapter `chat_prefill`: a chat whose last turn is the answer so far, which the endpoint goes on from.

The turn is told to be unfinished in one of four ways (`prefill`). Two endpoints need more care: one repeats the prefix
in its reply (`echoes`), so that its log-probs are those of the prefix first; one loses white space at the prefix's end
(`trims`), so that it is held back, and what the reply says in its place is taken off. This module knows no network and
no model.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Literal, final, get_args

from blackbox_proxy.errors import ReplyError
from blackbox_proxy.types import Ask, Capabilities, Continuation, Draw, DrawnAnswer, Reply, WireRequest

from .healing import healed
from .options import LogprobsKind, Options, check_choice, whole_text
from .turns import after, chance_of, check_turns, question_of, tokens_of, turn, turns

Prefill = Literal["flag_pair", "prefix", "partial", "implicit"]

_FLAGGED = ("prefix", "partial")
_FLAGS = {"continue_final_message": True, "add_generation_prompt": False}


@final
@dataclass(kw_only=True)
class ChatPrefill(Options):
    """Codec for POST /chat/completions with a partial turn.

    prefill: `flag_pair` (continue_final_message without a generation prompt: vLLM, SGLang), `prefix` and
    `partial` (a flag of the message that is called so: Mistral and DeepSeek, Kimi and Qwen), `implicit` (an assistant's
    message at the end and nothing else: llama.cpp). echoes: the reply repeats the prefix. trims: white space at the
    prefix's end is lost. The others: see `Options`.
    """

    path: str = "/chat/completions"
    decoder: str = "openai_chat"
    logprobs_kind: LogprobsKind = "bool"
    prefill: Prefill = "flag_pair"
    echoes: bool = False
    trims: bool = False
    name: str = field(default="chat_prefill", init=False)

    def __post_init__(self) -> None:
        super().__post_init__()
        check_choice("prefill", self.prefill, get_args(Prefill))
        self._dialect = replace(self._dialect, repeats=self.echoes)

    def capabilities(self) -> Capabilities:
        """It takes messages, and goes on from a partial turn."""
        return self.capable(Continuation.PREFILL, chat=True)

    def encode(self, ask: Ask) -> WireRequest:
        """The request for a `Generate` or a `Draw`; without an answer it is a plain question.

        Raises `InputError` for an answer that ends inside a character and for another kind of ask, and `PromptError`
        without messages.
        """
        question = ask if isinstance(ask, Draw) else question_of(ask)
        if question.tools:
            return self.calling(question)
        check_turns(question.prefix.messages)
        answer, messages = question.prefix.answer, turns(question.prefix.messages)
        sent, held = self._parted(answer)
        skipped = held if not self.echoes else answer
        # What is drawn cannot be cut at a token, so there is no more room: what is repeated is not written anew.
        more = tokens_of(skipped) if skipped and not isinstance(ask, Draw) else 0
        text = whole_text(sent)
        fields: dict[str, object] = {"messages": messages}
        if text:
            flag = {self.prefill: True} if self.prefill in _FLAGGED else {}
            fields["messages"] = [*messages, {**turn("assistant", text), **flag}]
            fields |= _FLAGS if self.prefill == "flag_pair" else {}
        return self.request(question, fields, length=question.length + more)

    def decode(self, body: Mapping[str, object], ask: Ask) -> Reply:
        """The positions after the answer.

        Raises `ReplyError` for a body of another shape, and for one that does not repeat what it should.
        """
        if isinstance(ask, Draw):
            return self._rests(self.read_answers(body, ask), ask)
        question = question_of(ask)
        if question.tools:
            return self.read_answers(body, question)
        reply = self.read(body, question)
        sent, held = self._parted(question.prefix.answer)
        if self.echoes and sent:
            echoed = healed(reply.positions, sent)
            if echoed is None or not echoed.agrees:
                raise _no_echo(_spoken(reply), sent)
            reply = replace(reply, positions=echoed.positions)
        return after(reply, held, chance=chance_of(question)) if held else reply

    def _rests(self, reply: Reply, ask: Draw) -> Reply:
        """The drawn texts without what they repeat, and then without the log-probs of both.

        White space that was held back may come in other words: what stands in its place is taken off.
        """
        sent, held = self._parted(ask.prefix.answer)
        repeated = whole_text(sent) if self.echoes else ""
        if not repeated and not held:
            return reply
        drawn = []
        for one in reply.drawn:
            if not one.text.startswith(repeated):
                raise _no_echo(one.text.encode("utf-8", "replace"), sent)
            text = one.text.removeprefix(repeated)
            drawn.append(DrawnAnswer(_without(text, held.decode()), one.finish))
        return replace(reply, drawn=tuple(drawn))

    def _parted(self, answer: bytes) -> tuple[bytes, bytes]:
        """What is sent of the answer so far, and the white space at its end that is held back."""
        sent = whole_text(answer).rstrip().encode() if self.trims else answer
        return sent, answer[len(sent) :]


def _without(text: str, held: str) -> str:
    """A text behind the white space that it was to begin with, or that it begins with instead."""
    return text.removeprefix(held) if not held or text.startswith(held) else text.lstrip()


def _spoken(reply: Reply) -> bytes:
    return b"".join(position.sampled.piece for position in reply.positions)


def _no_echo(said: bytes, sent: bytes) -> ReplyError:
    return ReplyError(
        f"the reply should repeat the answer so far, {sent[-40:]!r} at its end, and begins with {said[:40]!r}",
        hint="set `echoes` only for an endpoint whose log-probs begin with the prefix; this one goes on from it",
    )
