"""Prompts as the model reads them: chats through the template, text into token ids, ids as they are given.

Knows no slot, no reply and no HTTP; what cannot be read is refused in the API's words.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol, final

from blackbox_proxy.errors import PromptError
from blackbox_proxy.local.controls import MarkedPrompt
from blackbox_proxy.local.prompts import PromptTokenizer, ids_of, special_of, without_second_bos
from blackbox_proxy.local.template import written, written_until
from blackbox_proxy.openai_http.fields import Refusal
from blackbox_proxy.openai_http.turns import Unfinished
from blackbox_proxy.standin.engine import DecodingPlace
from blackbox_proxy.standin.requests import Source, StandinRequest
from blackbox_proxy.types import Message, Prompt, TokenPath


@dataclass(frozen=True, slots=True)
class PromptTask:
    """One prompt as the model reads it.

    echo: the pieces of its last tokens, where they are to be given back. place: where it is answered; None for any slot
    that is free.
    """

    path: TokenPath
    max_tokens: int
    echo: tuple[bytes, ...] = ()
    place: DecodingPlace | None = None


class ServedModel(PromptTokenizer, Protocol):
    """What a reader asks of a model; `local.llama.Model` is the real one, `script.Script` a toy."""

    @property
    def chat_template(self) -> str: ...

    @property
    def context_trained(self) -> int: ...


@final
class Reader:
    """Reads prompts for one model. context: the most tokens of a prompt and its answer together."""

    def __init__(self, model: ServedModel, *, context: int) -> None:
        self._model = model
        self._context = context
        self._vocabulary = model.vocabulary
        self._longest = max(map(len, self._vocabulary.pieces))

    def read(self, request: StandinRequest) -> list[PromptTask]:
        """One task per prompt. Raises Refusal for one that is empty, too long, or not of this vocabulary."""
        self._checked(request.also, "logprob_token_ids")
        self._checked(tuple(i for i, _ in request.bias), "logit_bias")
        return [self._task(request, source) for source in request.sources]

    def _task(self, request: StandinRequest, source: Source) -> PromptTask:
        text: str | TokenPath
        if isinstance(source, Prompt | Unfinished):
            prompt = self._written(source)
            text, path = prompt.text, without_second_bos(self._model, self._read(prompt))
        else:
            text = source
            path = self._read(MarkedPrompt(source)) if isinstance(source, str) else self._checked(source)
        if not path:
            raise Refusal("Invalid 'prompt': it has no tokens.", param="prompt", code="empty_prompt")
        room = self._context - len(path)
        asked = max(room, 1) if request.max_tokens is None else request.max_tokens
        if asked > room:
            raise self._too_long(f"{len(path) + asked} tokens ({len(path)} in the prompt, {asked} in the completion)")
        if isinstance(source, Unfinished) and source.repeated:
            return PromptTask(path, asked, self._last(path, len(source.partial.encode())))
        return PromptTask(path, asked, self._echoed(path, text) if request.echo else ())

    def _written(self, chat: Prompt | Unfinished) -> MarkedPrompt:
        """The chat up to where the answer, or the rest of it, begins."""
        template, special, controls = self._model.chat_template, special_of(self._model), self._model.controls.keys()
        try:
            if isinstance(chat, Prompt):
                return written(chat, template, special=special, controls=controls)
            messages = (*chat.turns, Message("assistant", chat.partial))
            return written_until(messages, template, special=special, controls=controls)
        except PromptError as error:
            raise Refusal(f"{error.message} ({error.hint})", param="messages") from error

    def _read(self, prompt: MarkedPrompt) -> TokenPath:
        """A prompt as llama.cpp reads it: control tokens are recognised, BOS is put in front where it belongs."""
        # Cutting megabytes into tokens takes seconds, and can exhaust the stack of llama.cpp's regular expressions.
        least = len(prompt.text.encode()) // self._longest
        if least > self._context:
            raise self._too_long(f"at least {least} tokens in the prompt")
        return ids_of(self._model, prompt)

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


def _dropped(pieces: Sequence[bytes], surplus: int) -> Iterator[bytes]:
    """The pieces without the first `surplus` bytes."""
    for piece in pieces:
        yield piece[surplus:]
        surplus = max(surplus - len(piece), 0)
