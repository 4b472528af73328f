"""What comes out: steps, answers, and choices between given answers."""

from __future__ import annotations

from dataclasses import dataclass, field
from decimal import Decimal
from enum import StrEnum
from typing import Literal

from blackbox_proxy.types.api import Call, Kind, Usage
from blackbox_proxy.types.places import ReferencePlace


class Origin(StrEnum):
    """Where the token of a step came from."""

    DRAFT = "api draft"
    CHANGED = "changed"
    GIVEN = "given text"
    OUTSIDE = "outside top-k"
    LOCAL = "completed locally"
    EXPERT = "expert alone"
    CONSTRAINED = "by constraint"


@dataclass(frozen=True, slots=True)
class ScoredCandidate:
    """One candidate as it was scored at a step.

    Attributes:
        piece: Its bytes; b"" for the end.
        kind: Text or end.
        logp: The API's log-prob; imputed where it was outside the top-k.
        offset: log E - log A of the pair, in nats, or what the rule makes of it; None where it was not measured.
        score: Its log-prob in the steered distribution.
        inside: Whether the API reported it.
    """

    piece: bytes
    kind: Kind
    logp: float
    offset: float | None
    score: float
    inside: bool


@dataclass(frozen=True, slots=True)
class Step:
    """One emitted token. The text is the concatenation of the pieces; an `END` step has the piece b"".

    A figure that nobody knows is None: all of a token that the pair completed without the API (`Origin.LOCAL`), or
    that a constraint left no choice about (`Origin.CONSTRAINED`), the
    log-probs of one whose bytes the API lost or of a given text's first, and the offset where the API alone decided.
    Where the expert answers alone (`Origin.EXPERT`), `logp_after` is its own, and nobody knows the API's.

    Attributes:
        piece: The bytes that were chosen.
        kind: Text or end.
        api_token: What the API had sampled here.
        logp_before: The API's log-prob of the piece; imputed where it was outside the top-k; None where it is unknown.
        logp_after: Its log-prob in the steered distribution, over what the API showed where nothing else may win,
            otherwise over all there is: the API's own at alpha 0. None where it is unknown.
        offset: log E - log A of the pair, in nats, or what the rule makes of it; None where it was not measured.
        origin: Where the piece comes from.
        candidates: The best few, best first, with scores that are such log-probs.
        certified: Whether nothing outside what was scored can change the choice, whatever the API did not show
            (docs/method.md, 3.1).
        tv_bound: Bound on the total variation between the distribution of this step and the target's; 0 where it is
            exact (docs/method.md, 3.2).
        log_weight: Log of the step's normaliser Z, whose sum is the log-weight of the answer (docs/method.md, 3.6).
        exact: Whether the API's log-probs here are those after exactly the text before (`Reply.exact`).
        forced: Whether they are those inside a JSON string whose beginning a schema demanded (`Reply.forced`).
        alpha: Weight of the offset here; None where nothing was scored.
        divergence: Total variation between the members' distributions of the next token; None where it was not
            measured.
        gated: Whether the API alone decided, since the gate was shut or the whole answer is its own.
        outweighed: Whether a greedy choice weighs less than all that was not listed, together, which might hold
            something better.
        unbordered: Whether the text before ends where the API's tokenizer would hardly end a token, so that the pair's
            masses are those after any such text.
        guessed: Whether the pair had drafted it.
        place: What weights of the rule `learnt` are fitted to, where a reference answer was collected for that.
    """

    piece: bytes
    kind: Kind
    api_token: bytes
    logp_before: float | None
    logp_after: float | None
    offset: float | None
    origin: Origin
    candidates: tuple[ScoredCandidate, ...] = ()
    certified: bool = False
    tv_bound: float = 1.0
    log_weight: float = 0.0
    exact: bool = True
    forced: bool = False
    alpha: float | None = 1.0
    divergence: float | None = None
    gated: bool = False
    outweighed: bool = False
    unbordered: bool = False
    guessed: bool = field(default=False, compare=False, repr=False)
    place: ReferencePlace | None = field(default=None, compare=False, repr=False)

    @property
    def is_asked(self) -> bool:
        """Whether the API was asked for it."""
        return self.origin not in {Origin.LOCAL, Origin.EXPERT, Origin.CONSTRAINED}


Exactness = Literal["exact", "forced", "sampled", "local", "approximate"]
"""Of an answer: whether each step is conditioned on exactly the text before, and whether inside a JSON string; whether
it is one of several that were drawn whole, or by chunks in proportion to their weights; or whether the expert answered
alone, so that it is none of the API's."""


WayTaken = Literal["token", "raw", "prefill", "forced", "words", "answers", "chunks", "local"]
"""How an answer was steered: token by token, where the endpoint went on from raw text (`raw`), from a partial turn
(`prefill`), from what a schema demanded (`forced`), or was asked in words; `token`: nothing was gone on from, or by
another means; or whole answers, or chunks of them, were drawn; `local`: the expert answered alone."""


Finish = Literal["stop", "length", "stop_string", "repetition", "budget", "content_filter", "error"]
"""Why an answer ended; `budget`: the next request could have passed a budget, so it was not sent; `content_filter`: the
provider's filter has cut it there."""


@dataclass(frozen=True, slots=True)
class Sample:
    """One of the texts that an answer was chosen from: whole answers, or what a search by chunks led to.

    Equal ones are merged.

    Log-probs are natural, and those of the whole text, of its end too where it ended by itself. None where nobody
    knows.

    Attributes:
        text: The answer, cut before a stop string.
        finish: Why it ended.
        count: How often it was drawn; by chunks, how many draws of its last round led to it.
        logp: The API's, of what it sampled.
        expert: The expert's.
        anti_expert: The anti-expert's.
        log_weight: alpha * (expert - anti_expert): log of the weight of each of its draws.
        share: Its part of all weights: how probable it is that `draw` takes it.
        tokens: API tokens of all its draws, or of all its chunks; estimated from their lengths where one request drew
            several. Chunks that two texts share count for both, and those of texts that were dropped for none.
        cost: US dollars, its part of the requests that drew it; None where that is unknown.
        chosen: Whether it is the answer.
        allowed: Whether it is what the constraint asks for; if not, it weighs nothing.
    """

    text: str
    finish: Finish
    count: int
    logp: float | None = None
    expert: float | None = None
    anti_expert: float | None = None
    log_weight: float | None = None
    share: float | None = None
    tokens: int = 0
    cost: Decimal | None = None
    chosen: bool = False
    allowed: bool = True


@dataclass(frozen=True, slots=True)
class Result:
    """A finished answer with everything that led to it; or, with the finish "error", one that broke off.

    Attributes:
        text: The answer.
        steps: Its tokens.
        finish: Why it ended.
        usage: Tokens and requests.
        exactness: `exact` where the endpoint went on from exactly our text at every step (`Step.exact`) and no step was
            completed without the API; `forced` where it did so too, and at some steps inside a JSON string
            (`Step.forced`); `sampled` for one of several whole answers, or of drawn beams, chosen by its weight;
            `local` where the expert answered alone; `approximate` otherwise, and for the best of a search by chunks.
        seconds: Wall time.
        cost: US dollars for all requests that were answered, those of no use included; None where that of one is
            unknown, or nothing is booked; 0 where the expert answered alone.
        model: What the endpoint calls the model.
        notes: What a reader should know of this answer.
        calls: All attempts at requests, as the ledger has them.
        samples: The whole answers, or texts that chunks led to, that it was chosen from, the largest share first; none
            where it was steered token by token.
        way: How it was steered; of several means, the least exact.
        sureness: How probable the expert's own answer was to be right, by the route that decided who answers; None
            where nothing was routed.
    """

    text: str
    steps: tuple[Step, ...]
    finish: Finish
    usage: Usage
    exactness: Exactness
    seconds: float
    cost: Decimal | None = None
    model: str = ""
    notes: tuple[str, ...] = field(default=())
    calls: tuple[Call, ...] = ()
    samples: tuple[Sample, ...] = ()
    way: WayTaken = "token"
    sureness: float | None = None

    @property
    def is_local(self) -> bool:
        """Whether the expert answered alone, so that nobody was called."""
        return self.exactness == "local"

    @property
    def drawn(self) -> int:
        """How many whole answers were drawn."""
        return sum(sample.count for sample in self.samples)

    @property
    def effective_samples(self) -> float:
        """Effective sample size: (sum of weights)^2 / (sum of their squares), over all draws; 0 without weights."""
        squares = sum(sample.share**2 / sample.count for sample in self.samples if sample.share is not None)
        return 1.0 / squares if squares else 0.0

    @property
    def changed(self) -> int:
        """How many steps chose something other than what the API had sampled."""
        return sum(
            step.origin not in {Origin.DRAFT, Origin.GIVEN, Origin.EXPERT, Origin.CONSTRAINED} for step in self.steps
        )

    @property
    def constrained(self) -> int:
        """How many steps a constraint left no choice about, so that nobody was asked."""
        return sum(step.origin is Origin.CONSTRAINED for step in self.steps)

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
    def places(self) -> tuple[ReferencePlace, ...]:
        """What weights of the rule `learnt` are fitted to: of a reference answer, where one was collected."""
        return tuple(step.place for step in self.steps if step.place is not None)

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
