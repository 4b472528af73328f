"""The nouns of black-box steering, and the Protocols at its seams.

Everything here is frozen data or an interface. The module knows no network, no model file and no formula beyond the
checks that keep a value valid. Text is bytes: a token of an API may end inside a UTF-8 character.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from decimal import Decimal
from enum import StrEnum
from typing import Literal, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from blackbox_proxy.errors import InputError, PromptError

Logits = NDArray[np.float32]
"""Raw scores over a vocabulary, shape (V,), as llama.cpp gives them."""

Floats = NDArray[np.float64]
"""Log-probabilities or masses that are summed; always float64."""

TokenPath = tuple[int, ...]
"""Token ids of the pair's vocabulary, counted from the first token of the answer."""

Reveal = Literal["none", "ids", "bias"]
"""How an endpoint tells log-probs beyond its top-k: `ids`: of chosen token ids; `bias`: of a token that a logit bias
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


class Origin(StrEnum):
    """Where the token of a step came from."""

    DRAFT = "api draft"
    CHANGED = "changed"
    GIVEN = "given text"
    OUTSIDE = "outside top-k"
    LOCAL = "completed locally"


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


@dataclass(frozen=True, slots=True)
class Position:
    """What the API said about one position: the token it sampled and its top-k.

    top: most probable first, no token twice. tail: probability of everything not in `top`. ceiling: the largest logp
    that a token outside `top` can have (log p_k, or less where the endpoint displaces the k-th entry). revealed:
    tokens outside the top-k whose log-probs were asked for; `tail` does not count them.
    """

    sampled: Candidate
    top: tuple[Candidate, ...]
    tail: float
    ceiling: float
    revealed: tuple[Candidate, ...] = ()

    def __post_init__(self) -> None:
        if not 0.0 <= self.tail <= 1.0:
            raise InputError(f"a tail must be a probability, not {self.tail}")

    @property
    def is_lost(self) -> bool:
        """Whether the API said a token whose bytes nobody knows; a special one with a name stands for no text."""
        sampled = self.sampled
        told = sampled.id is not None or (sampled.piece and LOST not in sampled.piece)
        return sampled.kind is Kind.SPECIAL and not told and bool(self.top)


@dataclass(frozen=True, slots=True)
class Message:
    """One turn of a chat.

    Attributes:
        role: `system`, `user` or `assistant`, as the endpoint knows it.
        content: Its text.
    """

    role: str
    content: str

    def __post_init__(self) -> None:
        _require_text(self.role, "the role of a message")
        _require_text(self.content, "the content of a message")


WRITTEN = (
    'Prompt.ask("Hello") is a chat of one turn, Prompt((Message("user", "Hello"),)) one of any length, and '
    'Prompt(text="Once upon a time") is raw text'
)
"""How a prompt is written from Python."""


def _require_text(value: object, what: str) -> None:
    """Raise PromptError where a value is no text: annotations bind nobody."""
    if not isinstance(value, str):
        raise PromptError(f"{what} must be a str, not {value!r:.60}", hint=WRITTEN)


def _turns(given: object) -> tuple[Message, ...]:
    """The messages of a prompt. Raises PromptError for what is no list of them, such as a question by itself."""
    if not isinstance(given, tuple | list):
        raise PromptError(f"the messages of a prompt are a tuple of Message, not {given!r:.60}", hint=WRITTEN)
    for one in given:
        if not isinstance(one, Message):
            raise PromptError(f"a message of a prompt must be a Message, not {one!r:.60}", hint=WRITTEN)
    return tuple(given)


def _check_text(text: str) -> None:
    """Raise PromptError for what no UTF-8 text can hold: half a surrogate pair."""
    found = re.search("[\ud800-\udfff]", text)
    if found:
        raise PromptError(
            f"the prompt is not UTF-8: it holds {ascii(found[0])[1:-1]} at character {found.start()}",
            hint="remove that character, or convert the text, with iconv for instance",
        )


@dataclass(frozen=True, slots=True)
class Prompt:
    """What a model reads before the answer: a chat, or raw text in the model's own form.

    Attributes:
        messages: Turns, rendered by a chat template where an endpoint takes raw text.
        text: Raw text, in place of messages.
    """

    messages: tuple[Message, ...] = ()
    text: str = ""

    def __post_init__(self) -> None:
        _require_text(self.text, "the text of a prompt")
        object.__setattr__(self, "messages", _turns(self.messages))
        if self.messages and self.text:
            raise InputError("a prompt is either a list of messages or raw text, not both")
        for text in (self.text, *(message.content + message.role for message in self.messages)):
            _check_text(text)

    @classmethod
    def ask(cls, question: str, *, system: str | None = None) -> Prompt:
        """A chat of one user turn, with an optional system turn before it."""
        _require_text(question, "a question")
        before = (Message("system", system),) if system else ()
        return cls(messages=(*before, Message("user", question)))


@dataclass(frozen=True, slots=True)
class PairPrompt:
    """The token ids that each member of the pair reads before the answer."""

    expert: TokenPath
    anti_expert: TokenPath


@dataclass(frozen=True, slots=True)
class Ask:
    """One request for tokens: go on from `prompt` + `answer` by `length` tokens with top-k log-probs at each.

    `prompt` is already in the model's own form. With `ids` the request carries token ids of the API's vocabulary in
    place of text; then `prompt` and `answer` are for display only. temperature: 0 drafts greedily; otherwise tokens are
    drawn at it, by `seed` where the endpoint takes one. reveal: ids of the API's vocabulary whose log-probs are wanted
    besides the top-k, by the way that `Capabilities.reveal` names. messages: the chat itself, for an endpoint that
    takes no text (`Capabilities.chat`). draft, drafted: text, or ids, that is sent behind the answer to be told the
    log-probs along it (`Capabilities.echo`); tokens are asked for after it. scored: the draft is a text whose own
    tokens are to be told (`Reply.given`), in place of what the API would say at its borders. way: in which of the
    adapter's ways it is asked (`Capabilities.ways`). own: the endpoint's own answer is wanted and nothing of it will be
    changed, so it is asked at exactly this temperature and top_p, whatever its log-probs are worth then. run, step: for
    the books alone: which run it belongs to, and how many tokens of its answer stood.
    """

    model: str
    prompt: str
    answer: bytes
    length: int
    top_k: int
    ids: TokenPath | None = None
    temperature: float = 0.0
    seed: int | None = None
    reveal: TokenPath = ()
    messages: tuple[Message, ...] = ()
    draft: bytes = b""
    drafted: TokenPath = ()
    scored: bool = False
    way: int = 0
    own: bool = False
    top_p: float = 1.0
    run: str = field(default="", compare=False)
    step: int = field(default=0, compare=False)


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

    def walked(self, *, kept: int, wasted: int) -> None:
        """Note how many of the reply's positions were used and how many were not, once that is known."""

    def worked(self, seconds: float) -> None:
        """Note how long the pair has computed since the reply before it."""


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
class Reply:
    """What an adapter reads from an answer: one position per generated token, in order.

    finish: the provider's word for why it stopped ("stop", "length", ...), or None. exact: whether every position is
    conditioned on exactly the text that was sent; not so where the endpoint was only asked in words to go on from it.
    echoed: the borders of `Ask.draft` that are known, where the API cuts it into its own tokens; some may be missing.
    given: the tokens of the draft, each as the `sampled` of its position, where it was to be scored (`Ask.scored`);
    empty where they cannot be told, and -inf for a log-prob that is not. model, fingerprint: what the API calls itself,
    and the configuration that answered; "" where it does not say. usage: what the reply itself tells. receipt: None
    where nothing is booked; replies to one request have one. said: the reply in the endpoint's own words; None where
    there is no text of its own. calls: all attempts that it took, as they are booked; none where nobody watched them,
    and none of a further reply to the same request.
    """

    positions: tuple[Position, ...]
    finish: str | None
    usage: Usage
    model: str = ""
    exact: bool = True
    echoed: tuple[Echoed, ...] = ()
    given: tuple[Position, ...] = ()
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

    chat: it takes messages in place of text, and writes the chat down by itself. Whether a reply really went on from
    the text is said by the reply itself (`Reply.exact`). prompt_lists: one request may hold several prompts; the
    adapter is then a `ListAdapter`. echo: it tells the top-k along the text that it is sent (`Ask.draft`). ways: in how
    many ways the adapter can ask to go on from a text; the next one is tried where a reply does not go on from it.
    """

    top_k: int = 20
    continuation: Continuation = Continuation.EXACT
    token_ids: bool = False
    end_pieces: tuple[bytes, ...] = ()
    reveal: Reveal = "none"
    chat: bool = False
    prompt_lists: bool = False
    echo: bool = False
    ways: int = 1


@dataclass(frozen=True, slots=True)
class ScoredCandidate:
    """One candidate as it was scored at a step: the API's logp, the pair's offset, and their sum."""

    piece: bytes
    kind: Kind
    logp: float
    offset: float
    score: float
    inside: bool


@dataclass(frozen=True, slots=True)
class Step:
    """One emitted token. The text is the concatenation of the pieces; an `END` step has the piece b"".

    Attributes:
        piece: The bytes that were chosen.
        kind: Text or end.
        api_token: What the API had sampled here.
        logp_before: The API's log-prob of the piece; imputed where it was outside the top-k.
        logp_after: Its log-prob in the steered distribution, over what the API showed where nothing else may win,
            otherwise over all there is: the API's own at alpha 0.
        offset: log E - log A of the pair, in nats; NaN where it was not measured.
        origin: Where the piece comes from.
        candidates: The best few, best first, with scores that are such log-probs.
        certified: Whether nothing outside what was scored can change the choice, whatever the API did not show
            (docs/method.md, 3.1).
        tv_bound: Bound on the total variation between the distribution of this step and the target's; 0 where it is
            exact (docs/method.md, 3.2).
        log_weight: Log of the step's normaliser Z, whose sum is the log-weight of the answer (docs/method.md, 3.6).
        exact: Whether the API's log-probs here are those after exactly the text before (`Reply.exact`).
        alpha: Weight of the offset here.
        divergence: Total variation between the members' distributions of the next token; None where it was not
            measured.
        gated: Whether the API alone decided, since the gate was shut or the whole answer is its own.
        outweighed: Whether a greedy choice weighs less than all that was not listed, together, which might hold
            something better.
        unbordered: Whether the text before ends where the API's tokenizer would hardly end a token, so that the pair's
            masses are those after any such text.
        guessed: Whether the pair had drafted it.
    """

    piece: bytes
    kind: Kind
    api_token: bytes
    logp_before: float
    logp_after: float
    offset: float
    origin: Origin
    candidates: tuple[ScoredCandidate, ...] = ()
    certified: bool = False
    tv_bound: float = 1.0
    log_weight: float = 0.0
    exact: bool = True
    alpha: float = 1.0
    divergence: float | None = None
    gated: bool = False
    outweighed: bool = False
    unbordered: bool = False
    guessed: bool = field(default=False, compare=False, repr=False)


Finish = Literal["stop", "length", "stop_string", "repetition", "budget", "content_filter", "error"]
"""Why an answer ended; `budget`: the next request could have passed a budget, so it was not sent; `content_filter`: the
provider's filter has cut it there."""


@dataclass(frozen=True, slots=True)
class Result:
    """A finished answer with everything that led to it; or, with the finish "error", one that broke off.

    Attributes:
        text: The answer.
        steps: Its tokens.
        finish: Why it ended.
        usage: Tokens and requests.
        exactness: `exact` where the endpoint went on from exactly our text at every step (`Step.exact`) and no step was
            completed without the API; `approximate` otherwise.
        seconds: Wall time.
        cost: US dollars for all requests that were answered, those of no use included; None where that of one is
            unknown, or nothing is booked.
        model: What the endpoint calls the model.
        notes: What a reader should know of this answer.
        calls: All attempts at requests, as the ledger has them.
    """

    text: str
    steps: tuple[Step, ...]
    finish: Finish
    usage: Usage
    exactness: Literal["exact", "approximate"]
    seconds: float
    cost: Decimal | None = None
    model: str = ""
    notes: tuple[str, ...] = field(default=())
    calls: tuple[Call, ...] = ()

    @property
    def changed(self) -> int:
        """How many steps chose something other than what the API had sampled."""
        return sum(step.origin not in {Origin.DRAFT, Origin.GIVEN} for step in self.steps)

    @property
    def outside(self) -> int:
        """How many steps chose something that the API's top-k did not show."""
        return sum(step.origin in (Origin.OUTSIDE, Origin.LOCAL) for step in self.steps)

    @property
    def gated(self) -> int:
        """How many steps were left to the API: all at alpha 0, and those where the gate was shut."""
        return sum(step.gated for step in self.steps)

    @property
    def outweighed(self) -> int:
        """How many greedy choices weigh less than all that was not listed, together."""
        return sum(step.outweighed for step in self.steps)

    @property
    def unbordered(self) -> int:
        """How many steps follow a text that the API's tokenizer would hardly have cut there."""
        return sum(step.unbordered for step in self.steps)

    @property
    def certified(self) -> int:
        """How many steps are certified: their choice is the target's own."""
        return sum(step.certified for step in self.steps)

    @property
    def approximate(self) -> int:
        """How many steps rest on log-probs that are not those after exactly the text before."""
        return sum(not step.exact for step in self.steps)

    @property
    def tv_bound(self) -> float:
        """The largest of the steps' bounds on total variation (3.2), each of which is 1 at most."""
        return max((step.tv_bound for step in self.steps), default=0.0)

    @property
    def log_weight(self) -> float:
        """Log of the product of the steps' normalisers: what best-of-n or resampling weighs this answer by (3.6)."""
        return sum(step.log_weight for step in self.steps)


@dataclass(frozen=True, slots=True)
class Option:
    """One of the answers to choose from.

    Attributes:
        text: The answer.
        unsteered: Its probability among the options, by the API alone.
        steered: Its probability among the options, with the offset.
        lower: Least that `steered` can be, whatever the API did not show.
        upper: Most that it can be.
        logp: The API's log-prob of an answer that begins with it; part of it is guessed where `lower` < `upper`.
        offset: log E - log A of the pair, in nats.
    """

    text: str
    unsteered: float
    steered: float
    lower: float
    upper: float
    logp: float
    offset: float


@dataclass(frozen=True, slots=True)
class Choice:
    """The options in the order given, the best of them, and what it took.

    Attributes:
        options: One for each answer that was given.
        certified: Whether the bounds of the likeliest option lie above those of all others, so that none can outweigh
            it, whatever the API did not show.
        usage: Tokens and requests, as in `Result`.
        seconds: Wall time.
        model: What the endpoint calls the model.
        cost: US dollars; None where that of a request is unknown, or nothing is booked.
        calls: All attempts at requests.
        needs: What would decide, where it is not certified.
    """

    options: tuple[Option, ...]
    certified: bool
    usage: Usage
    seconds: float
    model: str = ""
    cost: Decimal | None = None
    calls: tuple[Call, ...] = ()
    needs: tuple[str, ...] = ()

    @property
    def best(self) -> Option | None:
        """The option that wins; None where that is undecided."""
        return self.likeliest if self.certified else None

    @property
    def undecided(self) -> bool:
        """Whether the bounds of the likeliest option overlap another's."""
        return not self.certified

    @property
    def likeliest(self) -> Option:
        """The option of the largest steered probability, part of which may be guessed; the first of equals."""
        return max(self.options, key=lambda option: option.steered)


@dataclass(frozen=True, slots=True)
class Distribution:
    """A next-token distribution over the pair's vocabulary: log p(v) = logits[v] - log_norm."""

    logits: Logits
    log_norm: float


@dataclass(frozen=True, slots=True)
class PairDistributions:
    """The two members' distributions at one place."""

    expert: Distribution
    anti_expert: Distribution


@dataclass(frozen=True, slots=True)
class Scores:
    """How probable it is that a text goes on with each of n strings, under both members.

    expert, anti_expert: natural log-probs, float64, shape (n,); lower, upper: their certain bounds, shape (2, n), the
    expert first; end: log-probs that the answer ends here, (expert, anti-expert). other: log E - log A of every string
    that was not asked about, where a source has one for all; None where it follows from the probabilities.
    """

    expert: Floats
    anti_expert: Floats
    lower: Floats
    upper: Floats
    end: tuple[float, float]
    other: float | None = None

    @property
    def offset(self) -> Floats:
        """log E - log A of each string, shape (n,)."""
        return self.expert - self.anti_expert


class Scorer(Protocol):
    """A source of offsets: how probable two models find it that a text goes on with given bytes.

    A pair is one (`local.pair.Pair.score`); so are several pairs and a table (`core.sources`), and anything else with
    this method. Where it also has `propose`, strings that the API does not show can win.
    """

    def score(self, context: bytes, pieces: Sequence[bytes], *, prompt: Prompt) -> Scores: ...


@runtime_checkable
class Proposer(Protocol):
    """Names the strings that the expert would go on with, likeliest first; at most `count`."""

    def propose(self, context: bytes, count: int, *, prompt: Prompt) -> Sequence[bytes]: ...


class Adapter(Protocol):
    """Translates between `Ask`/`Reply` and one wire format. Pure: no clock, no network."""

    name: str

    def capabilities(self) -> Capabilities: ...

    def encode(self, ask: Ask) -> WireRequest: ...

    def decode(self, body: Mapping[str, object], ask: Ask) -> Reply: ...


@runtime_checkable
class ListAdapter(Protocol):
    """An adapter that puts several asks into one request; they differ in the text, or ids, to go on from alone.

    The usage of such a request is that of the first reply.
    """

    def encode_list(self, asks: Sequence[Ask]) -> WireRequest: ...

    def decode_list(self, body: Mapping[str, object], asks: Sequence[Ask]) -> Sequence[Reply]: ...


class Tokenizer(Protocol):
    """Cuts bytes into token ids of the pair, reading them as plain text (no special tokens are recognised)."""

    def __call__(self, text: bytes) -> Sequence[int]: ...
