"""A hosted model that can be called: an address, an adapter, and how a chat is written down for it.

Puts transport, adapter, template and profile together, and knows what each is for; no wire format, no provider, no
pair, no formula.
"""

from __future__ import annotations

import datetime as dt
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal, Protocol, final

from blackbox_proxy.asking import ECHO, UNTOLD, Question
from blackbox_proxy.cassettes.matching import Pace, Replay
from blackbox_proxy.cassettes.opening import open_tape
from blackbox_proxy.cassettes.recording import Recorder
from blackbox_proxy.cassettes.schema import PromptForm
from blackbox_proxy.core.alignment.vocabulary import Vocabulary
from blackbox_proxy.core.decoding.drafting import CostRatios
from blackbox_proxy.errors import ApiBusy, ApiRefused, InputError, PromptError, WeightsError
from blackbox_proxy.ledger.attempts import BookedAttempts
from blackbox_proxy.ledger.books import Account, Ledger
from blackbox_proxy.local.controls import special_names
from blackbox_proxy.local.template import DEFAULT, named, suspected, written
from blackbox_proxy.local.tokens import api_vocabulary, tokenizer_of
from blackbox_proxy.local.weights import default_cache
from blackbox_proxy.remote.closing import Closing
from blackbox_proxy.remote.profiles.finding import load_profile, measured_at, user_folder
from blackbox_proxy.remote.profiles.rules import KEY_VARIABLE, Settled, laid_over, measured_profile, settle
from blackbox_proxy.remote.profiles.schema import ADAPTER_OPTIONS
from blackbox_proxy.remote.registry import load_adapter
from blackbox_proxy.remote.retry import RetryPolicy
from blackbox_proxy.remote.transport import Transport
from blackbox_proxy.types import (
    NO_RUN,
    Adapter,
    Ask,
    Attempt,
    Capabilities,
    Generate,
    ListAdapter,
    Prefix,
    Prompt,
    Purpose,
    Reply,
    StrategicAdapter,
)


class Endpoint(Protocol):
    """What the engine needs of a hosted model; `Api` is the real one, `testing.ToyApi` a double."""

    model: str

    @property
    def vocabulary(self) -> Vocabulary | None: ...

    def capabilities(self) -> Capabilities: ...

    def text(self, prompt: Prompt) -> str: ...

    def send(self, ask: Ask, purpose: Purpose = NO_RUN, /) -> Reply: ...

    async def asend(self, ask: Ask, purpose: Purpose = NO_RUN, /) -> Reply: ...


@final
@dataclass(slots=True)
class Api(Closing):
    """A hosted model: where it is, how it is spoken to, and how a chat is written down for it.

    Made by `connect`. Holds a connection pool, so close it, or use it in a `with` block (`async with` in asyncio).

    Attributes:
        model: What the endpoint calls the model.
        transport: Sends requests, and tries again.
        adapter: Translates between questions and the endpoint's wire format.
        template: Jinja text for an endpoint that takes raw text; empty where prompts are given as raw text.
        vocabulary: The API's own pieces, where its tokenizer is known: strings are then scored as its next token
            (docs/method.md, 1.8).
        notes: What the profile has to say of this model.
        account: Where requests are booked, if they are.
        refused_ways: The adapter's ways of going on (`Generate.way`) whose schema the endpoint has refused, and
            `asking.ECHO` where it was that of a draft.
    """

    model: str
    transport: Transport
    adapter: Adapter
    template: str = ""
    vocabulary: Vocabulary | None = None
    notes: tuple[str, ...] = ()
    account: Account | None = None
    refused_ways: set[int] = field(default_factory=set)

    def capabilities(self) -> Capabilities:
        """What the endpoint can do, as far as the adapter knows, and has not refused."""
        able = self.adapter.capabilities()
        return replace(able, echo=False) if ECHO in self.refused_ways else able

    def limited_to(self, way: Literal["forced", "words"]) -> Api:
        """The same connection, which goes on from a text in this way alone. Raises InputError where it cannot."""
        if not isinstance(self.adapter, StrategicAdapter):
            raise InputError(
                f"way={way!r} is for a chat that does not go on from a text by itself, and the adapter "
                f"{self.adapter.name!r} goes on from it in no other way than its own",
                hint="use way='token', or the adapter `chat_continue`",
            )
        return replace(self, adapter=self.adapter.limited_to(way), refused_ways=set())

    def complete(self, prompt: Prompt | str, *, max_tokens: int) -> Reply:
        """The model's own greedy answer, unsteered, in one call."""
        asked, able = as_prompt(prompt), self.capabilities()
        text = "" if able.chat else self.text(asked)
        return self.send(Generate(self.model, Prefix(text, messages=asked.messages), able.top_k, max_tokens))

    def affords(self, ask: Ask, purpose: Purpose = NO_RUN, /) -> int | None:
        """Most tokens that the budgets allow an ask to write, of all its answers; None where none limits it."""
        if self.account is None:
            return None
        request = self.adapter.encode(ask)
        return self.account.entry(request, run=purpose.run, step=purpose.step, length=ask.length).affordable()

    def send(self, ask: Ask, purpose: Purpose = NO_RUN, /) -> Reply:
        """One request and its decoded reply, which counts the attempts that were lost on the way.

        Where an endpoint is only asked in words to go on from a text, and does not, it is asked in the adapter's other
        ways before that is an error. So it is where it refuses the schema of a forced continuation, and that way is not
        tried again. An endpoint that has no room for so many tokens is asked for fewer.

        Args:
            ask: The question.
            purpose: What it is booked under.
        """
        asking = Question.of(ask, self.adapter, BookedAttempts(self.account, purpose), refused=self.refused_ways)
        if asking.is_moot:
            return UNTOLD
        with asking.attempts.counting():
            while asking.reply is None:
                try:
                    asking.read(self.transport.send(asking.request(), asking.attempts))
                except (ApiRefused, ApiBusy, PromptError) as error:
                    asking.refuse(error)
            return asking.counted()

    async def asend(self, ask: Ask, purpose: Purpose = NO_RUN, /) -> Reply:
        """`send` for asyncio."""
        asking = Question.of(ask, self.adapter, BookedAttempts(self.account, purpose), refused=self.refused_ways)
        if asking.is_moot:
            return UNTOLD
        with asking.attempts.counting():
            while asking.reply is None:
                try:
                    asking.read(await self.transport.asend(asking.request(), asking.attempts))
                except (ApiRefused, ApiBusy, PromptError) as error:
                    asking.refuse(error)
            return asking.counted()

    def send_list(self, asks: Sequence[Ask], purpose: Purpose = NO_RUN, /) -> Sequence[Reply]:
        """One request for several asks (`Capabilities.prompt_lists`); the first reply has its usage, its attempts."""
        adapter, attempts = self._lists(), BookedAttempts(self.account, purpose)
        with attempts.counting():
            request = attempts.book(adapter.encode_list(asks), length=asks[0].length)
            return attempts.counted(adapter.decode_list(self.transport.send(request, attempts), asks))

    async def asend_list(self, asks: Sequence[Ask], purpose: Purpose = NO_RUN, /) -> Sequence[Reply]:
        """`send_list` for asyncio."""
        adapter, attempts = self._lists(), BookedAttempts(self.account, purpose)
        with attempts.counting():
            request = attempts.book(adapter.encode_list(asks), length=asks[0].length)
            return attempts.counted(adapter.decode_list(await self.transport.asend(request, attempts), asks))

    def _lists(self) -> ListAdapter:
        if isinstance(self.adapter, ListAdapter):
            return self.adapter
        raise InputError(
            f"the adapter for {self.model!r} cannot put several prompts into one request",
            hint="send them one by one",
        )

    def text(self, prompt: Prompt) -> str:
        """The prompt in the model's own form.

        It is read as one text, so control tokens that messages spell are parted: they are text, not turns.
        """
        texts = [message.content for message in prompt.messages]
        known = self.vocabulary
        controls = suspected(self.template, texts) if known is None else special_names(known)
        return written(prompt, self.template, controls=controls).apart

    def rates(self) -> CostRatios | None:
        """US dollars a token, by the ledger's prices; None where nothing is booked, or nobody knows."""
        price = None if self.account is None else self.account.price()
        if price is None:
            return None
        return CostRatios(
            *(float(rate.base) / 1e6 for rate in (price.input, price.cached or price.input, price.output))
        )

    @property
    def is_taped(self) -> bool:
        """Whether a cassette is recorded or replayed, so that what is asked must not depend on a clock."""
        return self.transport.tape is not None

    @property
    def replayed(self) -> Path | None:
        """The cassette that every reply is taken from; None where requests are sent."""
        tape = self.transport.tape
        return tape.path if isinstance(tape, Replay) else None

    def tagged(self, tags: Mapping[str, str]) -> Api:
        """The same connection, whose requests are booked with these tags besides the ledger's own."""
        return replace(self, account=self.account and self.account.tagged(tags))

    def close(self) -> None:
        """Close the connections of `send`."""
        self.transport.close()

    async def aclose(self) -> None:
        """Close the connections of `asend` and `send`; to be awaited in the loop that used them."""
        await self.transport.aclose()


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
    base_url: str = "",
    *,
    model: str,
    profile: str = "",
    api_key: str | None = None,
    key_name: str = "",
    template: str = DEFAULT,
    tokenizer: str = "",
    adapter: str = "",
    options: Mapping[str, object] | None = None,
    timeout: float = 60.0,
    attempts: int = 4,
    on_attempt: Callable[[Attempt], None] | None = None,
    ledger: Ledger | None = None,
    record: Recorder | Path | str | None = None,
    record_prompts: PromptForm = "plain",
    replay: Replay | Path | str | None = None,
    replay_pace: Pace = "at-once",
) -> Api:
    """Get ready to call a hosted model; nothing is sent yet.

    Args:
        base_url: The endpoint's address; where it is left out, the profile's.
        model: What the endpoint calls the model.
        profile: What is known about the provider, by name; what is given here wins over it. Without one it is the one
            under which `doctor` measured this address and model; where it did not, the adapter is `completions`, the
            address must be given, and no key is read.
        api_key: Needed for addresses beyond this machine; a profile's is read from the environment where none is given.
        key_name: Where the user is told to put it.
        template: How a chat becomes text for a raw-text endpoint: `chatml`, Jinja text, or `raw` (prompts must be raw
            text).
        tokenizer: The API's own, where it is known (`gguf:FILE`, `tiktoken:NAME`, or `auto`: by the model's name):
            strings are then scored as its next token, which is what its log-probs are of.
        adapter: By name, in place of the profile's.
        options: What the adapter takes besides, such as `top_k` and `end_pieces`.
        timeout: Seconds for a whole reply.
        attempts: How often one request is sent at most.
        on_attempt: Called with each attempt when it has ended.
        ledger: Where every attempt is booked, and which budgets hold (`open_ledger`); close it after the connection.
        record: A file, or an open cassette, that every attempt is written to.
        record_prompts: Whether a file that is recorded keeps prompts as they are, or their digests.
        replay: A file, or an open cassette, that every attempt is taken from: nothing is sent, and neither an address
            nor a key is needed. What was not recorded is an InputError.
        replay_pace: Whether what is replayed from a file comes at once or takes its time.
    """
    tape = open_tape(record, replay, prompts=record_prompts, pace=replay_pace)
    if isinstance(tape, Replay):
        base_url, profile = base_url or tape.header.address, profile or tape.header.profile
    if not 0.0 < timeout < float("inf"):
        raise InputError(f"a timeout must be a number of seconds above 0, not {timeout}", hint="60 is the default")
    described = profile or measured_here(base_url, model)
    known = _settled(described, model, base_url=base_url, adapter=adapter) if described else None
    variable = key_name or (known.api_key_env if known else KEY_VARIABLE)
    url = known.base_url if known else base_url
    transport = Transport(
        url,
        os.environ.get(variable) if profile and api_key is None else api_key,
        key_name=variable,
        key_header=known.api_key_header if known else "",
        timeout=timeout,
        retry=RetryPolicy(attempts=attempts),
        on_attempt=on_attempt,
        tape=tape,
    )
    transport.introduce(model=model, profile=profile)
    account = ledger and ledger.account(url, model, profile=profile, replayed=isinstance(tape, Replay))
    vocabulary, notes = _vocabulary(tokenizer, model, known)
    taken = laid_over({"end_pieces": COMMON_ENDS}, _known_options(known, vocabulary), options or {})
    built = load_adapter(known.adapter if known else adapter or "completions", **taken)
    return Api(model, transport, built, named(template), vocabulary, (*(known.notes if known else ()), *notes), account)


def measured_here(base_url: str, model: str) -> str:
    """The profile under which `doctor` measured a model at an address; "" where it did not."""
    return measured_profile(measured_at(folder=user_folder(os.environ)), base_url, model) if base_url else ""


def _settled(profile: str, model: str, *, base_url: str, adapter: str) -> Settled:
    """What the profile says of the model today."""
    known = load_profile(profile, folder=user_folder(os.environ))
    return settle(known, model, base_url=base_url, adapter=adapter, today=dt.datetime.now(dt.UTC).date())


def _known_options(known: Settled | None, vocabulary: Vocabulary | None) -> Mapping[str, object]:
    """What the profile says, and the ids of the ends where it says none and the tokenizer is known."""
    if known is None:
        return {}
    if vocabulary is None or known.adapter not in ADAPTER_OPTIONS:
        return known.options
    return {"end_ids": tuple(vocabulary.ends.tolist())} | dict(known.options)


def _vocabulary(given: str, model: str, known: Settled | None) -> tuple[Vocabulary | None, tuple[str, ...]]:
    """The API's own pieces, and what is to be said of them.

    Who asks for a tokenizer gets it or an error; one that only the profile names may be missing, which is a note.
    """
    spec = given or (known.tokenizer if known else "")
    notes: tuple[str, ...] = ()
    if spec == "auto":
        spec, fallback = tokenizer_of(model), known.fallback if known else ""
        if not spec and fallback:
            spec, notes = fallback, (f"tiktoken does not know {model!r}: {fallback} is taken for its tokenizer",)
        if not spec and given:
            raise InputError(
                f"tiktoken does not know the tokenizer of {model!r}", hint="name it, such as tiktoken:o200k_base"
            )
    if not spec:
        return None, notes
    try:
        return api_vocabulary(spec, cache=default_cache(os.environ)), notes
    except WeightsError as error:
        if given:
            raise
        return None, (f"{error.message}; steering goes on without it ({error.hint})",)


def as_prompt(prompt: Prompt | str) -> Prompt:
    """A question as a chat of one turn; a Prompt as it is. Raises PromptError for anything else."""
    if isinstance(prompt, Prompt):
        return prompt
    return Prompt.ask(prompt)
