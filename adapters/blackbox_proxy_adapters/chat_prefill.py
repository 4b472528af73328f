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
from blackbox_proxy.types import Ask, Capabilities, Continuation, Draw, Reply, WireRequest

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
        if isinstance(ask, Draw):
            return self.request(ask, {"messages": turns(check_turns(ask.prefix.messages))}, length=ask.length)
        question = question_of(ask)
        answer, messages = question.prefix.answer, turns(question.prefix.messages)
        sent, held = self._parted(answer)
        skipped = held if not self.echoes else answer
        more = tokens_of(skipped) if skipped else 0
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
            return self.read_answers(body, ask)
        question = question_of(ask)
        reply = self.read(body, question)
        sent, held = self._parted(question.prefix.answer)
        if self.echoes and sent:
            echoed = healed(reply.positions, sent)
            if echoed is None or not echoed.agrees:
                raise _no_echo(reply, sent)
            reply = replace(reply, positions=echoed.positions)
        return after(reply, held, chance=chance_of(question)) if held else reply

    def _parted(self, answer: bytes) -> tuple[bytes, bytes]:
        """What is sent of the answer so far, and the white space at its end that is held back."""
        sent = whole_text(answer).rstrip().encode() if self.trims else answer
        return sent, answer[len(sent) :]


def _no_echo(reply: Reply, sent: bytes) -> ReplyError:
    said = b"".join(position.sampled.piece for position in reply.positions)
    return ReplyError(
        f"the reply should repeat the answer so far, {sent[-40:]!r} at its end, and begins with {said[:40]!r}",
        hint="set `echoes` only for an endpoint whose log-probs begin with the prefix; this one goes on from it",
    )
