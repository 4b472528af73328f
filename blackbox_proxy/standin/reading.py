"""Prompts as the model reads them: chats through the template, text into token ids, ids as they are given.

Knows no slot, no reply and no HTTP; what cannot be read is refused in the API's words.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol, final

from blackbox_proxy.core.vocabulary import Vocabulary
from blackbox_proxy.errors import PromptError
from blackbox_proxy.local.template import prompt_text
from blackbox_proxy.serving.fields import Refusal
from blackbox_proxy.serving.turns import Unfinished
from blackbox_proxy.standin.wire import Request, Source
from blackbox_proxy.types import Message, Prompt, TokenPath


@dataclass(frozen=True, slots=True)
class Task:
    """One prompt as the model reads it. echo: the pieces of its last tokens, where they are to be given back."""

    path: TokenPath
    max_tokens: int
    echo: tuple[bytes, ...] = ()


class Served(Protocol):
    """What a reader asks of a model; `local.llama.Model` is the real one, `script.Script` a toy."""

    @property
    def vocabulary(self) -> Vocabulary: ...

    @property
    def chat_template(self) -> str: ...

    @property
    def context_trained(self) -> int: ...

    def tokenize(self, text: bytes, *, special: bool) -> Sequence[int]: ...

    def special_text(self, name: str, /) -> str: ...

    def without_second_bos(self, path: Sequence[int], /) -> TokenPath: ...


@final
class Reader:
    """Reads prompts for one model. context: the most tokens of a prompt and its answer together."""

    def __init__(self, model: Served, *, context: int) -> None:
        self._model = model
        self._context = context
        self._vocabulary = model.vocabulary
        self._longest = max(map(len, self._vocabulary.pieces))

    def read(self, request: Request) -> list[Task]:
        """One task per prompt. Raises Refusal for one that is empty, too long, or not of this vocabulary."""
        self._checked(request.also, "logprob_token_ids")
        self._checked(tuple(i for i, _ in request.bias), "logit_bias")
        return [self._task(request, source) for source in request.sources]

    def _task(self, request: Request, source: Source) -> Task:
        text = self._written(source) if isinstance(source, Prompt | Unfinished) else source
        path = self._read(text) if isinstance(text, str) else self._checked(text)
        if isinstance(source, Prompt | Unfinished):
            path = self._model.without_second_bos(path)
        if not path:
            raise Refusal("Invalid 'prompt': it has no tokens.", param="prompt", code="empty_prompt")
        room = self._context - len(path)
        asked = max(room, 1) if request.max_tokens is None else request.max_tokens
        if asked > room:
            raise self._too_long(f"{len(path) + asked} tokens ({len(path)} in the prompt, {asked} in the completion)")
        if isinstance(source, Unfinished) and source.repeated:
            return Task(path, asked, self._last(path, len(source.partial.encode())))
        return Task(path, asked, self._echoed(path, text) if request.echo else ())

    def _written(self, chat: Prompt | Unfinished) -> str:
        """The chat up to where the answer, or the rest of it, begins.

        A partial turn stands exactly as it was sent: the template writes a mark in its place, so that it can neither
        trim the turn nor end it.
        """
        if isinstance(chat, Prompt):
            return self._rendered(chat)
        mark = _mark(self._model.chat_template, *(turn.content for turn in chat.turns))
        said = self._rendered(Prompt(messages=(*chat.turns, Message("assistant", mark))))
        head, found, _ = said.rpartition(mark)
        if not found:
            raise Refusal("The chat template of this model does not write the last message.", param="messages")
        return head + chat.partial

    def _rendered(self, prompt: Prompt) -> str:
        bos, eos = self._model.special_text("bos"), self._model.special_text("eos")
        try:
            return prompt_text(prompt, self._model.chat_template, bos=bos, eos=eos)
        except PromptError as error:
            raise Refusal(f"{error.message} ({error.hint})", param="messages") from error

    def _read(self, text: str) -> TokenPath:
        """Text as llama.cpp reads a prompt: special tokens are recognised, BOS is put in front where it belongs."""
        raw = text.encode()
        # Cutting megabytes into tokens takes seconds, and can exhaust the stack of llama.cpp's regular expressions.
        least = len(raw) // self._longest
        if least > self._context:
            raise self._too_long(f"at least {least} tokens in the prompt")
        return tuple(self._model.tokenize(raw, special=True))

    def _checked(self, path: TokenPath, param: str = "prompt") -> TokenPath:
        for token in path:
            if not 0 <= token < len(self._vocabulary):
                raise Refusal(
                    f"Invalid '{param}': token ids are from 0 to {len(self._vocabulary) - 1}; one is outside.",
                    param=param,
                    code="invalid_value",
                )
        return path

    def _echoed(self, path: TokenPath, text: str | TokenPath) -> tuple[bytes, ...]:
        """The pieces of the prompt's tokens, special ones as they are called; together they give the prompt's text.

        A BOS or a space that the tokenizer put in front of the text is not part of it.
        """
        pieces = [self._vocabulary.pieces[token] for token in path]
        joined = b"".join(pieces)
        raw = text.encode() if isinstance(text, str) else joined
        surplus = len(joined) - len(raw) if joined.endswith(raw) else 0
        return tuple(_dropped(pieces, surplus))

    def _last(self, path: TokenPath, size: int) -> tuple[bytes, ...]:
        """The pieces that hold the last `size` bytes of the prompt; of one that begins before them, only the rest."""
        pieces: list[bytes] = []
        while size > sum(map(len, pieces)):
            pieces.insert(0, self._vocabulary.pieces[path[-len(pieces) - 1]])
        return tuple(_dropped(pieces, sum(map(len, pieces)) - size))

    def _too_long(self, requested: str) -> Refusal:
        return Refusal(
            f"This model's maximum context length is {self._context} tokens. However, you requested {requested}."
            " Please reduce the length of the prompt or of the completion.",
            param="prompt",
            code="context_length_exceeded",
        )


def _mark(*texts: str) -> str:
    """A word that is in none of the texts."""
    mark = "UNFINISHED"
    while any(mark in text for text in texts):
        mark += "X"
    return mark


def _dropped(pieces: Sequence[bytes], surplus: int) -> Iterator[bytes]:
    """The pieces without the first `surplus` bytes."""
    for piece in pieces:
        yield piece[surplus:]
        surplus = max(surplus - len(piece), 0)
