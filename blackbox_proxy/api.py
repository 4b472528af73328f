"""A hosted model that can be called: an address, an adapter, and how a chat is written down for it.

Puts transport, adapter and template together, and knows what each is for; no wire format, no pair, no formula.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import Protocol, Self, final

from blackbox_proxy.core.vocabulary import Vocabulary
from blackbox_proxy.errors import InputError
from blackbox_proxy.local.template import named, prompt_text
from blackbox_proxy.local.tokens import api_vocabulary
from blackbox_proxy.local.weights import default_cache
from blackbox_proxy.remote.registry import load_adapter
from blackbox_proxy.remote.retry import Patience
from blackbox_proxy.remote.transport import Transport
from blackbox_proxy.types import Adapter, Ask, Attempt, Capabilities, Prompt, Reply


class Endpoint(Protocol):
    """What the engine needs of a hosted model; `Api` is the real one, `testing.ToyApi` a double."""

    model: str

    @property
    def vocabulary(self) -> Vocabulary | None: ...

    def capabilities(self) -> Capabilities: ...

    def text(self, prompt: Prompt) -> str: ...

    def send(self, ask: Ask) -> Reply: ...

    async def asend(self, ask: Ask) -> Reply: ...


@final
@dataclass(slots=True)
class Api:
    """A hosted model: where it is, how it is spoken to, and how a chat is written down for it.

    template: Jinja text for an endpoint that takes raw text; empty where prompts are given as raw text. vocabulary: the
    API's own pieces, where its tokenizer is known: strings are then scored as its next token (1.8). Made by `connect`;
    holds a connection pool, so close it, or use it in a `with` block (`async with` for `asteer`).
    """

    model: str
    transport: Transport
    adapter: Adapter
    template: str = ""
    vocabulary: Vocabulary | None = None

    def capabilities(self) -> Capabilities:
        """What the endpoint can do, as far as the adapter knows."""
        return self.adapter.capabilities()

    def complete(self, prompt: Prompt | str, *, max_tokens: int) -> Reply:
        """The model's own greedy answer, unsteered, in one call."""
        text = self.text(as_prompt(prompt))
        return self.send(Ask(self.model, text, b"", max_tokens, self.capabilities().top_k))

    def send(self, ask: Ask) -> Reply:
        """One request and its decoded reply."""
        return self.adapter.decode(self.transport.send(self.adapter.encode(ask)), ask)

    async def asend(self, ask: Ask) -> Reply:
        """`send` for asyncio."""
        return self.adapter.decode(await self.transport.asend(self.adapter.encode(ask)), ask)

    def text(self, prompt: Prompt) -> str:
        """The prompt in the model's own form."""
        return prompt_text(prompt, self.template)

    def close(self) -> None:
        """Close the connections of `send`."""
        self.transport.close()

    async def aclose(self) -> None:
        """Close the connections of `asend` and `send`; to be awaited in the loop that used them."""
        await self.transport.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None
    ) -> None:
        await self.aclose()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()


COMMON_ENDS = (
    b"",
    b"</s>",
    b"<eos>",
    b"<end_of_turn>",
    b"<|end_of_text|>",
    b"<|endoftext|>",
    b"<|eot_id|>",
    b"<|im_end|>",
)
"""How endpoints spell the tokens that end an answer. A model that writes one of these as plain text is cut short."""


def connect(  # noqa: PLR0913 (each is something only the caller knows)
    base_url: str,
    *,
    model: str,
    api_key: str | None = None,
    key_name: str = "OPENAI_API_KEY",
    template: str = "raw",
    tokenizer: str = "",
    adapter: str = "completions",
    options: Mapping[str, object] | None = None,
    timeout: float = 60.0,
    attempts: int = 4,
    on_attempt: Callable[[Attempt], None] | None = None,
) -> Api:
    """Get ready to call a hosted model; nothing is sent yet.

    api_key: needed for addresses beyond this machine; key_name is where the user is told to put it. template: how a
    chat becomes text for a raw-text endpoint: `raw` (prompts must be raw text), `chatml`, or Jinja
    text. tokenizer: the API's own, where it is known (`gguf:FILE` or `tiktoken:NAME`): strings are then scored as its
    next token, which is what its log-probs are of. options: what the adapter takes besides, such as `top_k` and
    `end_pieces`. timeout: seconds for a whole reply; attempts: how often one request is sent at most.
    """
    if not 0.0 < timeout < float("inf"):
        raise InputError(f"a timeout must be a number of seconds above 0, not {timeout}", hint="60 is the default")
    transport = Transport(
        base_url,
        api_key,
        key_name=key_name,
        timeout=timeout,
        patience=Patience(attempts=attempts),
        on_attempt=on_attempt,
    )
    known = {"end_pieces": COMMON_ENDS} | dict(options or {})
    vocabulary = api_vocabulary(tokenizer, cache=default_cache(os.environ)) if tokenizer else None
    return Api(model, transport, load_adapter(adapter, **known), named(template), vocabulary)


def as_prompt(prompt: Prompt | str) -> Prompt:
    """A question as a chat of one turn; a Prompt as it is."""
    return Prompt.ask(prompt) if isinstance(prompt, str) else prompt
