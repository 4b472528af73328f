"""Writes replies: what was generated becomes JSON in OpenAI's shapes, built from the classes of `openai.types`.

Two shapes with one interface: `StandinCompletionShape` (legacy, log-probs keyed by strings) and `StandinChatShape`
(log-probs with real bytes). The module is pure and knows no model.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Literal, Protocol, final

import numpy as np
from openai.types import CompletionChoice, CompletionUsage
from openai.types.chat import (
    ChatCompletionTokenLogprob,
    chat_completion,
)
from openai.types.chat.chat_completion_token_logprob import TopLogprob
from openai.types.completion_usage import PromptTokensDetails

from blackbox_proxy.core.alignment.vocabulary import Vocabulary
from blackbox_proxy.openai_http.chats import ChatStream, chat_choice
from blackbox_proxy.openai_http.frames import FLOOR, EchoedLogprobs, Head, OpenChoice, escaped, marked, to_json
from blackbox_proxy.openai_http.transcript import joined
from blackbox_proxy.standin.engine import Token, Top
from blackbox_proxy.standin.transcript import Part, Placed

LegacyManner = Literal["marked", "escaped", "replaced", "empty"]
RawManner = Literal["true", "none", "lossy"]
EndManner = Literal["named", "text", "hidden", "blank"]


@dataclass(frozen=True, slots=True)
class Manner:
    """How tokens are written that are no text by themselves.

    legacy: fragments in the legacy shape. raw: the bytes of a chat's log-probs; `lossy` writes a fragment as U+FFFD and
    gives the bytes of that. ends: how the end of an answer appears; `blank` goes for every special token.
    """

    legacy: LegacyManner = "marked"
    raw: RawManner = "true"
    ends: EndManner = "named"


@final
class ReplySpelling:
    r"""How the tokens of a vocabulary are written as strings.

    A piece that is no UTF-8 text by itself is `bytes:\xe2\x80` in the legacy shape and `\xe2\x80` in a chat's, where
    its bytes stand beside it. Special tokens are written as what they are called, and have no bytes. All that unless
    `manner` says otherwise. unspoken: ids that have no entry among the tokens of a chat; hidden: none anywhere.
    """

    def __init__(self, vocabulary: Vocabulary, *, manner: Manner | None = None) -> None:
        self._vocabulary = vocabulary
        self._manner = manner or Manner()
        ends = frozenset(vocabulary.ends.tolist())
        self.unspoken: frozenset[int] = frozenset() if self._manner.ends == "text" else ends
        self.hidden: frozenset[int] = ends if self._manner.ends == "hidden" else frozenset()

    @cached_property
    def legacy(self) -> Sequence[str]:
        """One string per id for `tokens` and for the keys of `top_logprobs`."""
        spell = _LEGACY[self._manner.legacy]
        return ["" if self._is_blank(i) else spell(piece) for i, piece in enumerate(self._vocabulary.pieces)]

    def chat(self, token: int) -> str:
        """The `token` of a chat's log-probs."""
        if self._is_blank(token):
            return ""
        piece = self._vocabulary.pieces[token]
        return _replaced(piece) if self._manner.raw == "lossy" else escaped(piece)

    def bytes_of(self, token: int) -> list[int] | None:
        """The `bytes` of a chat's log-probs."""
        if self._manner.raw == "none":
            return None
        if self._is_blank(token):
            return []
        is_text = self._vocabulary.is_text[token] or token in self._shown_ends
        if not is_text:
            return None
        return list(self.chat(token).encode() if self._manner.raw == "lossy" else self._vocabulary.pieces[token])

    @cached_property
    def _shown_ends(self) -> frozenset[int]:
        return frozenset(self._vocabulary.ends.tolist()) if self._manner.ends == "text" else frozenset()

    def _is_blank(self, token: int) -> bool:
        return self._manner.ends == "blank" and not self._vocabulary.is_text[token]


def _replaced(piece: bytes) -> str:
    return piece.decode("utf-8", "replace")


def _emptied(piece: bytes) -> str:
    return piece.decode("utf-8", "ignore")


_LEGACY = {"marked": marked, "escaped": escaped, "replaced": _replaced, "empty": _emptied}


@dataclass(frozen=True, slots=True)
class Count:
    """Tokens of one request. completion: everything sampled, the end token too. cached: found in the KV cache."""

    prompt: int
    completion: int
    cached: int

    def usage(self) -> CompletionUsage:
        """As OpenAI counts it."""
        return CompletionUsage(
            prompt_tokens=self.prompt,
            completion_tokens=self.completion,
            total_tokens=self.prompt + self.completion,
            prompt_tokens_details=PromptTokensDetails(cached_tokens=self.cached, audio_tokens=0),
        )


@dataclass(frozen=True, slots=True)
class StandinMode:
    """logprobs: whether they were asked for. usage: whether a stream ends with a chunk of usage.

    as_ids: tokens are written as `token_id:N`, which no two share.
    """

    logprobs: bool
    usage: bool = False
    as_ids: bool = False


class StandinShape(Protocol):
    """One route's way of writing a reply; every method gives JSON."""

    prefix: str

    def whole(self, answers: Sequence[Sequence[Part]], count: Count) -> bytes: ...

    def opening(self, index: int) -> Iterator[str]: ...

    def chunks(self, index: int, part: Part) -> Iterator[str]: ...

    def closing(self, count: Count) -> str: ...


@final
class StandinCompletionShape:
    """`text_completion` objects, whole or in parts; both have the same shape."""

    prefix = "cmpl-"

    def __init__(self, head: Head, spelling: ReplySpelling, *, mode: StandinMode) -> None:
        self._head = head
        self._spelling = spelling
        self._mode = mode

    def whole(self, answers: Sequence[Sequence[Part]], count: Count) -> bytes:
        choices = [self._choice(i, joined(parts), logprobs=self._mode.logprobs) for i, parts in enumerate(answers)]
        return to_json(self._head.completion(choices, usage=count.usage())).encode()

    def opening(self, index: int) -> Iterator[str]:  # noqa: ARG002 - a chat has one
        yield from ()

    def chunks(self, index: int, part: Part) -> Iterator[str]:
        logprobs = self._mode.logprobs and bool(part.tokens)
        choice = self._choice(index, part, logprobs=logprobs)
        yield to_json(self._head.completion([choice], counted=self._mode.usage))

    def closing(self, count: Count) -> str:
        return to_json(self._head.completion([], usage=count.usage()))

    def _choice(self, index: int, part: Part, *, logprobs: bool) -> CompletionChoice:
        name = _as_id if self._mode.as_ids else self._spelling.legacy.__getitem__
        spelt = legacy_logprobs(part.tokens, name, hidden=self._spelling.hidden) if logprobs else None
        return OpenChoice(text=part.text, index=index, logprobs=spelt, finish_reason=part.finish)


@final
class StandinChatShape:
    """`chat.completion` objects, and `chat.completion.chunk` in a stream.

    As at OpenAI, the end token is not among the tokens of the content; where it was only an alternative, it is listed.
    """

    prefix = "chatcmpl-"

    def __init__(self, head: Head, spelling: ReplySpelling, *, mode: StandinMode) -> None:
        self._head = head
        self._spelling = spelling
        self._mode = mode
        self._stream = ChatStream(head, mode.usage)

    def whole(self, answers: Sequence[Sequence[Part]], count: Count) -> bytes:
        choices = [self._choice(index, joined(parts)) for index, parts in enumerate(answers)]
        return to_json(self._head.chat(choices, count.usage())).encode()

    def opening(self, index: int) -> Iterator[str]:
        return self._stream.opening(index)

    def chunks(self, index: int, part: Part) -> Iterator[str]:
        return self._stream.chunks(index, part, self._tokens(part))

    def closing(self, count: Count) -> str:
        return to_json(self._head.chunk([], usage=count.usage()))

    def _choice(self, index: int, part: Part) -> chat_completion.Choice:
        return chat_choice(index, part, self._tokens(part) if self._mode.logprobs else None)

    def _tokens(self, part: Part) -> list[ChatCompletionTokenLogprob]:
        if not self._mode.logprobs:
            return []
        return chat_logprobs(part.tokens, self._spelling)


def _as_id(token: int) -> str:
    return f"token_id:{token}"


def legacy_logprobs(
    tokens: Iterable[Placed], name: Callable[[int], str], *, hidden: Collection[int] = ()
) -> EchoedLogprobs:
    """The `logprobs` object of a completion; `text_offset` counts characters of the text of the same choice."""
    placed = [one for one in tokens if one.token.id not in hidden]
    return EchoedLogprobs(
        tokens=[name(one.token.id) for one in placed],
        token_logprobs=[None if one.token.logp is None else max(one.token.logp, FLOOR) for one in placed],
        top_logprobs=[_legacy_top(one.token, name, hidden) for one in placed],
        text_offset=[one.offset for one in placed],
    )


def _legacy_top(token: Token, name: Callable[[int], str], hidden: Collection[int]) -> dict[str, float] | None:
    """Most probable first, so that of two tokens with one name the more probable stays; the sampled one at the end."""
    if token.top is None or token.logp is None:
        return None
    listed: dict[str, float] = {}
    for i, logp in _listed(token.top, hidden):
        listed.setdefault(name(i), logp)
    listed.setdefault(name(token.id), max(token.logp, FLOOR))
    return listed


def chat_logprobs(tokens: Iterable[Placed], spelling: ReplySpelling) -> list[ChatCompletionTokenLogprob]:
    """The entries of a chat's `logprobs.content`."""
    spoken = (placed.token for placed in tokens if placed.token.id not in spelling.unspoken)
    return [chat_logprob(token, spelling) for token in spoken]


def chat_logprob(token: Token, spelling: ReplySpelling) -> ChatCompletionTokenLogprob:
    """One entry of a chat's `logprobs.content`."""
    listed = () if token.top is None else _listed(token.top, spelling.hidden)
    top = [TopLogprob(token=spelling.chat(i), bytes=spelling.bytes_of(i), logprob=logp) for i, logp in listed]
    logp = FLOOR if token.logp is None else max(token.logp, FLOOR)
    return ChatCompletionTokenLogprob(
        token=spelling.chat(token.id), bytes=spelling.bytes_of(token.id), logprob=logp, top_logprobs=top
    )


def _listed(top: Top, hidden: Collection[int]) -> Iterator[tuple[int, float]]:
    """The ids of the alternatives that are not hidden, and their log-probs as JSON can hold them."""
    bounded: list[float] = np.maximum(top.logps, FLOOR).tolist()
    return ((i, logp) for i, logp in zip(top.ids.tolist(), bounded, strict=True) if i not in hidden)
