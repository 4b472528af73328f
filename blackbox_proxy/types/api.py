"""What a hosted model replies, the counts that go with it, and the Protocols of its adapters."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from decimal import Decimal
from enum import StrEnum
from typing import Literal, Protocol, runtime_checkable

from blackbox_proxy.errors import InputError
from blackbox_proxy.types.asks import Ask

RevealMethod = Literal["none", "ids", "bias"]
"""How an endpoint reports log-probs beyond its top-k: `ids`: of chosen token ids; `bias`: of a token that a logit bias
forces, where the log-probs it returns are those before the bias. Section 3.5 of docs/method.md."""


class Kind(StrEnum):
    """What a candidate stands for in the text: SPECIAL for a token that is no text and must never be emitted."""

    TEXT = "text"
    END = "end"
    SPECIAL = "special"
    FRAGMENT = "fragment"


LOST = "\ufffd".encode()
"""What stands for bytes that could not be read."""


FILTERED: Literal["content_filter"] = "content_filter"
"""The finish of a reply that the provider's filter has cut, or withheld."""


class Continuation(StrEnum):
    """How an endpoint goes on from a given text.

    From raw text or ids, from a partial turn of a chat, only where it is asked in words, or not at all.
    """

    EXACT = "exact"
    PREFILL = "prefill"
    APPROXIMATE = "approximate"
    NONE = "none"


@dataclass(frozen=True, slots=True)
class Candidate:
    """One token that the API named: its bytes and its natural log-probability at temperature 1.

    `id` is the API's own token id where the protocol has one. The piece of an `END` candidate is what the API calls
    it, for display; it never enters the text.
    """

    piece: bytes
    logp: float
    kind: Kind = Kind.TEXT
    id: int | None = None

    @property
    def string(self) -> bytes:
        """Its bytes, none for an end."""
        return b"" if self.kind is Kind.END else self.piece


@dataclass(frozen=True, slots=True)
class Position:
    """What the API said about one position: the token it sampled and its top-k.

    Attributes:
        sampled: The token that it sampled.
        top: The most probable tokens, most probable first, no token twice.
        tail: Probability of everything in neither `top` nor `requested`.
        ceiling: The largest logp that a token outside `top` can have (log p_k, or less where the endpoint displaces the
            k-th entry).
        requested: Tokens outside the top-k whose log-probs were requested (`Reveal`).
        further: Tokens that were shown below `top` and do not compete unless the pair proposes them; most probable
            first. Their probability is part of the tail.
    """

    sampled: Candidate
    top: tuple[Candidate, ...]
    tail: float
    ceiling: float
    requested: tuple[Candidate, ...] = ()
    further: tuple[Candidate, ...] = ()

    def __post_init__(self) -> None:
        if not 0.0 <= self.tail <= 1.0:
            raise InputError(f"a tail must be a probability, not {self.tail}")

    @property
    def is_lost(self) -> bool:
        """Whether the API said a token whose bytes nobody knows; a special one with a name stands for no text."""
        sampled = self.sampled
        named = sampled.id is not None or (sampled.piece and LOST not in sampled.piece)
        return sampled.kind is Kind.SPECIAL and not named and bool(self.top)


@dataclass(frozen=True, slots=True)
class WireRequest:
    """What an adapter makes of an `Ask`: a path below the base URL and a JSON body."""

    path: str
    body: Mapping[str, object]


@dataclass(frozen=True, slots=True)
class Usage:
    """What was consumed. Token counts are the provider's own.

    Attributes:
        input: Tokens of prompts.
        cached: Those of them that came from the provider's cache.
        cache_write: Those of them that were written into it, where that is priced.
        output: Tokens that were written.
        requests: All that were sent, those that were tried again included.
        wasted: Drafted tokens that were not kept.
        local_seconds: Seconds of evaluating the pair.
        lost: Requests whose reply did not come or could not be read: what they cost is in no other figure.
        refused: Requests that the API said no to, or that never reached it; they cost nothing.
        estimated: Answered requests whose provider gives no counts that can be believed; theirs are taken from above.
    """

    input: int = 0
    cached: int = 0
    cache_write: int = 0
    output: int = 0
    requests: int = 0
    wasted: int = 0
    local_seconds: float = 0.0
    lost: int = 0
    refused: int = 0
    estimated: int = 0

    @property
    def answered(self) -> int:
        """Requests that were answered with a reply, whether or not it was of use."""
        return self.requests - self.lost - self.refused

    def __add__(self, other: Usage) -> Usage:
        return Usage(*(getattr(self, f.name) + getattr(other, f.name) for f in fields(self)))


@dataclass(frozen=True, slots=True)
class Call:
    """One attempt at a request: how many tokens of the answer stood when it was made, and what it took.

    cost: in US dollars, None where it is unknown; 0 for one that was refused.
    """

    step: int
    usage: Usage
    cost: Decimal | None


class Receipt(Protocol):
    """What the ledger has for a request. cost: of its reply, in US dollars; None where it is unknown."""

    @property
    def cost(self) -> Decimal | None: ...

    def accepted(self, *, kept: int, wasted: int) -> None:
        """Note how many of the reply's positions were used and how many were not, once that is known."""

    def evaluated(self, seconds: float) -> None:
        """Note how long the pair was evaluated since the reply before it."""


@dataclass(frozen=True, slots=True)
class Echoed:
    """What the API says of a border inside a draft that it was sent, as it would have been asked there by itself.

    at: how many bytes of the draft stand before it, or ids where ids were sent.
    """

    at: int
    position: Position


@dataclass(frozen=True, slots=True)
class Said:
    """The whole text of a reply as the endpoint itself writes it, and its word for why it stopped.

    The positions may hold less: some endpoints lose the bytes of tokens, or whole tokens, among their log-probs.
    """

    text: str
    finish: str | None


@dataclass(frozen=True, slots=True)
class CalledTool:
    """A call of a tool, as an endpoint that knows tools tells of it. arguments: JSON, as it writes it."""

    name: str
    arguments: str


@dataclass(frozen=True, slots=True)
class DrawnAnswer:
    """One whole answer of a reply to a `Draw`, or to a `Generate` with tools.

    Attributes:
        text: The answer, as the endpoint writes it.
        finish: The provider's word for why it stopped, or None.
        logp: Sum of the log-probs of its tokens, that of its end where it is shown; None where one is not known.
        tokens: How many it has; None where nobody says.
        calls: The tools that it calls, behind its text.
    """

    text: str
    finish: str | None
    logp: float | None = None
    tokens: int | None = None
    calls: tuple[CalledTool, ...] = ()


@dataclass(frozen=True, slots=True)
class Reply:
    """What an adapter reads from an answer.

    Attributes:
        positions: One for each generated token, in order.
        finish: The provider's word for why it stopped ("stop", "length", ...), or None.
        usage: What the reply itself counts.
        model: What the API calls itself; "" where it does not say.
        exact: Whether every position is conditioned on exactly the text that was sent; not so where the endpoint was
            only asked in words to go on from it.
        forced: Whether that text was demanded by a schema, so that every position is inside a JSON string.
        respelled: Whether the model spelt that text in JSON otherwise than with the fewest escapes.
        echoed: The borders of an `Echo`'s draft that are known, where the API cuts it into its own tokens; some may be
            missing.
        given: The tokens of a `Score`'s text, each as the `sampled` of its position, with the logp -inf where that is
            not known; empty where the tokens are not.
        drawn: The answers to a `Draw`, or to a `Generate` with tools, which have no positions.
        fingerprint: The configuration that answered; "" where it does not say.
        receipt: Of the request, which several replies may share; None where nothing is booked.
        said: The reply in the endpoint's own words; None where there is no text of its own.
        calls: All attempts that it took, as they are booked; none where nobody watched them, and none of a further
            reply to the same request.
    """

    positions: tuple[Position, ...]
    finish: str | None
    usage: Usage
    model: str = ""
    exact: bool = True
    forced: bool = False
    respelled: bool = False
    echoed: tuple[Echoed, ...] = ()
    given: tuple[Position, ...] = ()
    drawn: tuple[DrawnAnswer, ...] = ()
    fingerprint: str = ""
    receipt: Receipt | None = field(default=None, compare=False)
    said: Said | None = field(default=None, compare=False)
    calls: tuple[Call, ...] = field(default=(), compare=False)


@dataclass(frozen=True, slots=True)
class Attempt:
    """One request that was sent, successful or not; what accounting needs to know.

    outcome: ok, busy, refused, unreachable, timeout, unreadable or cancelled. lost: it was sent, and no reply came that
    could be read: it may be billed, and nobody here knows for what, so `usage` is None. tier: the service tier that the
    reply says it was served in, which has a price of its own; "" where it says none.
    """

    number: int
    path: str
    seconds: float
    outcome: str
    status: int | None = None
    usage: Mapping[str, object] | None = None
    lost: bool = False
    tier: str = ""


class Watcher(Protocol):
    """Hears of every attempt of one request: before it is sent, and when it has ended, before its answer is used."""

    def begin(self, number: int) -> None:
        """The attempt of this number is about to be sent; what is raised here keeps it from being sent."""

    def end(self, attempt: Attempt) -> None: ...


@dataclass(frozen=True, slots=True)
class Capabilities:
    """What an endpoint can do; the engine decides from these alone, never from a model's name.

    Attributes:
        top_k: Most alternatives at a position.
        continuation: How it goes on from a given text. Whether a reply really did is said by the reply (`Reply.exact`).
        token_ids: Whether ids may be sent in place of text (`Prefix.ids`).
        end_pieces: How it spells the tokens that end an answer.
        reveal: How log-probs beyond its top-k are had (`Reveal`).
        chat: Whether it takes messages in place of text, and writes the chat down by itself.
        prompt_lists: Whether one request may hold several prompts; the adapter is then a `ListAdapter`.
        forces: Whether a schema can demand the text that it goes on from, whatever `continuation` says: then it goes on
            from exactly that, inside a JSON string (`Reply.forced`).
        echo: Whether it reports log-probs along a text that it is sent (`Echo`, `Score`).
        ways: In how many ways the adapter can ask to go on from a text (`Generate.way`); the next one is tried where a
            reply does not go on from it.
        logprobs: Whether it shows log-probs at all; without them answers can only be drawn whole (`Draw`).
        answers_at_once: Most answers that one request may draw, with its prompt counted once.
        schemas: Whether it holds a whole answer to a JSON schema by itself (`Generate.schema`).
        tools: Whether it knows tools by itself (`Generate.tools`).
    """

    top_k: int = 20
    continuation: Continuation = Continuation.EXACT
    token_ids: bool = False
    end_pieces: tuple[bytes, ...] = ()
    reveal: RevealMethod = "none"
    chat: bool = False
    prompt_lists: bool = False
    forces: bool = False
    echo: bool = False
    ways: int = 1
    logprobs: bool = True
    answers_at_once: int = 1
    schemas: bool = False
    tools: bool = False

    @property
    def goes_on(self) -> bool:
        """Whether it goes on from exactly a given text."""
        return self.forces or self.continuation in (Continuation.EXACT, Continuation.PREFILL)


class Adapter(Protocol):
    """Translates between `Ask`/`Reply` and one wire format. Pure: no clock, no network."""

    name: str

    def capabilities(self) -> Capabilities: ...

    def encode(self, ask: Ask) -> WireRequest: ...

    def decode(self, body: Mapping[str, object], ask: Ask) -> Reply: ...


@runtime_checkable
class StrategicAdapter(Protocol):
    """An adapter that goes on from a text in several ways, and can be held to one of them."""

    def limited_to(self, way: Literal["forced", "words"], /) -> Adapter:
        """The adapter that goes on in this way alone. Raises InputError where the endpoint cannot."""


@runtime_checkable
class ListAdapter(Protocol):
    """An adapter that puts several asks into one request; they differ in the text, or ids, to go on from alone.

    The usage of such a request is that of the first reply.
    """

    def encode_list(self, asks: Sequence[Ask]) -> WireRequest: ...

    def decode_list(self, body: Mapping[str, object], asks: Sequence[Ask]) -> Sequence[Reply]: ...
