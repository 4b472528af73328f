"""Where offsets come from in a run: a pair, or any source of scores; and who may draft with it.

Each makes the loop that asks it, and answers the loop's local questions. Knows no API beyond its capabilities.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal, Protocol, final, runtime_checkable

from blackbox_proxy.api import Endpoint
from blackbox_proxy.core.alignment.vocabulary import Vocabulary
from blackbox_proxy.core.decoding.acceptors import (
    ANY_TEXT,
    ANY_WHOLE_TEXT,
    Acceptor,
    TextsWithoutWords,
    WholeTexts,
    WithoutWords,
)
from blackbox_proxy.core.decoding.answers import steps, steps_by_scores
from blackbox_proxy.core.decoding.collecting import collected_steps
from blackbox_proxy.core.decoding.drafting import TYPICAL, CostRatios, Drafter, Drafts, Planner
from blackbox_proxy.core.decoding.given import Given, scored_by_scores, scored_steps
from blackbox_proxy.core.events import (
    Asking,
    Evaluate,
    Event,
    Evidence,
    Run,
    ScoreStrings,
    StringScores,
)
from blackbox_proxy.errors import InputError
from blackbox_proxy.guidance import ConstrainedTexts, ConstraintAcceptor
from blackbox_proxy.steering import Steering, Way
from blackbox_proxy.types import (
    Continuation,
    OffsetSource,
    PairDistributions,
    PairPrompt,
    Prompt,
    Proposer,
    Scores,
    TokenPath,
)


@runtime_checkable
class LocalPair(Protocol):
    """What the engine needs of a pair; `local.pair.Pair` is the real one, `testing.ToyPair` a double."""

    @property
    def vocabulary(self) -> Vocabulary: ...

    def spell(self, text: bytes) -> Sequence[int]: ...

    def api_ids(self, text: str) -> TokenPath: ...

    def prompt(self, prompt: Prompt) -> PairPrompt: ...

    def distributions(self, prompt: PairPrompt, paths: Sequence[TokenPath]) -> Sequence[PairDistributions]: ...


Offsets = LocalPair | OffsetSource
"""Where the offsets of a run come from."""


@runtime_checkable
class Bounded(Protocol):
    """A pair that holds texts of a limited length."""

    def check_room(self, prompt: PairPrompt) -> None:
        """Raises PromptError where a prompt leaves no room for an answer."""


def read_by(pair: LocalPair, prompt: Prompt) -> PairPrompt:
    """The prompt as a pair reads it. Raises PromptError where it does not, or has no room for an answer behind it."""
    read = pair.prompt(prompt)
    if isinstance(pair, Bounded):
        pair.check_room(read)
    return read


@runtime_checkable
class Rated(Protocol):
    """An endpoint that knows what its tokens cost, as `Api` does where a ledger is given."""

    def rates(self) -> CostRatios | None: ...


@runtime_checkable
class Taped(Protocol):
    """An endpoint that may record or replay a cassette, as `Api` does."""

    @property
    def is_taped(self) -> bool: ...


def acceptor_of(steering: Steering) -> Acceptor:
    """Which texts may be the answer. Raises InputError for a constraint that cannot be obeyed."""
    accepts: Acceptor = ANY_TEXT if steering.constraint is None else ConstraintAcceptor(steering.constraint)
    return WithoutWords(accepts, steering.bad_words) if steering.bad_words else accepts


def texts_of(steering: Steering) -> WholeTexts:
    """Which whole texts may be the answer. Raises InputError for a constraint that cannot be obeyed."""
    texts: WholeTexts = ANY_WHOLE_TEXT if steering.constraint is None else ConstrainedTexts(steering.constraint)
    return TextsWithoutWords(texts, steering.bad_words) if steering.bad_words else texts


def check_unconstrained(steering: Steering, what: str) -> None:
    """Raises InputError where a constraint, bad words, a least length or a bias is set, and would not be obeyed."""
    held: dict[str, object] = {"a constraint": steering.constraint, "bad words": steering.bad_words}
    held |= {"min_tokens": steering.min_tokens, "a bias of tokens": steering.token_bias}
    for name, value in held.items():
        if value:
            raise InputError(f"{what} is not held to {name}", hint=f"leave {name} out, or steer token by token")


class BoundSource(Protocol):
    """Where offsets come from, with the prompt that it reads: it makes the loop, and answers its local questions."""

    def loop(self, steering: Steering, api: Endpoint, drafts: Drafts) -> Run: ...

    def scoring(self, given: Given, steering: Steering, api: Endpoint) -> Run: ...

    def begun(self, prompt: Prompt) -> BoundSource: ...

    def answer(self, event: Event) -> Evidence: ...


@final
@dataclass(frozen=True, slots=True)
class PairSource:
    """A pair: the loop asks for its distributions, and only those that the choice may depend on."""

    pair: LocalPair
    prompt: PairPrompt

    def loop(self, steering: Steering, api: Endpoint, drafts: Drafts) -> Run:
        return steps(
            steering,
            vocabulary=self.pair.vocabulary,
            spell=self.pair.spell,
            api=api.vocabulary,
            reveal=api.capabilities().reveal,
            drafts=drafts,
            accepts=acceptor_of(steering),
        )

    def scoring(self, given: Given, steering: Steering, api: Endpoint) -> Run:
        vocabulary, spell = self.pair.vocabulary, self.pair.spell
        accepts = acceptor_of(steering)
        return scored_steps(given, steering, vocabulary=vocabulary, spell=spell, api=api.vocabulary, accepts=accepts)

    def collecting(self, reference: bytes, steering: Steering, api: Endpoint) -> Run:
        vocabulary, spell, echoes = self.pair.vocabulary, self.pair.spell, api.capabilities().echo
        return collected_steps(
            reference, steering, vocabulary=vocabulary, spell=spell, api=api.vocabulary, echoes=echoes
        )

    def begun(self, prompt: Prompt) -> PairSource:
        return replace(self, prompt=self.pair.prompt(prompt))

    def answer(self, event: Event) -> Evidence:
        asked = event.paths if isinstance(event, Asking | Evaluate) else ()
        return Evidence(self.pair.distributions(self.prompt, asked) if asked else ())


@final
@dataclass(frozen=True, slots=True)
class StringSource:
    """Any other source: the loop asks for scores of strings."""

    source: OffsetSource
    prompt: Prompt

    def loop(self, steering: Steering, _api: Endpoint, _drafts: Drafts) -> Run:
        proposes = isinstance(self.source, Proposer)
        return steps_by_scores(steering, proposes=proposes, accepts=acceptor_of(steering))

    def scoring(self, given: Given, steering: Steering, _api: Endpoint) -> Run:
        proposes = isinstance(self.source, Proposer)
        return scored_by_scores(given, steering, proposes=proposes, accepts=acceptor_of(steering))

    def begun(self, prompt: Prompt) -> StringSource:
        return replace(self, prompt=prompt)

    def answer(self, event: Event) -> Evidence:
        if not isinstance(event, ScoreStrings):
            return Evidence()
        pieces = dict.fromkeys(event.pieces)
        if event.proposals and isinstance(self.source, Proposer):
            pieces |= dict.fromkeys(self.source.propose(event.answer, event.proposals, prompt=self.prompt))
            pieces[b""] = None
        scores = self.source.score(event.answer, tuple(pieces), prompt=self.prompt)
        return Evidence(scores=StringScores(tuple(pieces), scores))


def bound_source(
    offsets: Offsets, prompt: Prompt, text: str, *, api: Endpoint, steering: Steering
) -> tuple[BoundSource, TokenPath]:
    """The source of offsets with the prompt that it reads, and the API's prompt in token ids where those are sent."""
    if not isinstance(offsets, LocalPair):
        check_scores(steering, type(offsets).__name__)
        return StringSource(offsets, prompt), ()
    ids = offsets.api_ids(text) if steering.event == "ids" else ()
    check_ids(steering, api)
    read = offsets.prompt(prompt) if steering.leaves_alone else read_by(offsets, prompt)
    return PairSource(offsets, read), ids


@final
@dataclass(frozen=True, slots=True)
class RoutedSource:
    """The pair that drafts by token paths, and the source that the other way is steered by."""

    pair: PairSource
    other: BoundSource

    def loop(self, steering: Steering, api: Endpoint, drafts: Drafts) -> Run:
        return self.other.loop(steering, api, drafts)

    def scoring(self, given: Given, steering: Steering, api: Endpoint) -> Run:
        return self.other.scoring(given, steering, api)

    def begun(self, prompt: Prompt) -> RoutedSource:
        return replace(self, other=self.other.begun(prompt))

    def answer(self, event: Event) -> Evidence:
        return (self.pair if isinstance(event, Evaluate) else self.other).answer(event)


@runtime_checkable
class ScoresTexts(Protocol):
    """What can score whole texts: any `OffsetSource`, and every pair that is one."""

    def score(self, context: bytes, pieces: Sequence[bytes], *, prompt: Prompt) -> Scores: ...


@runtime_checkable
class LimitedEndpoint(Protocol):
    """An endpoint that can be held to one way of going on from a text, as `Api` can."""

    def limited_to(self, way: Literal["forced", "words"], /) -> Endpoint: ...


def reached_by(api: Endpoint, way: Way) -> Endpoint:
    """The endpoint, held to the way that the knobs name. Raises InputError where it cannot go on so."""
    if way not in ("forced", "words"):
        return api
    if isinstance(api, LimitedEndpoint):
        return api.limited_to(way)
    raise InputError(f"way={way!r} cannot be asked of {type(api).__name__}", hint="use way='token'")


def draws_whole(steering: Steering, api: Endpoint) -> bool:
    """Whether whole answers, or chunks, are drawn: where that is asked for, or the endpoint allows nothing else."""
    return steering.way in {"answers", "chunks"} or (steering.way == "auto" and not api.capabilities().logprobs)


ANY_ONE = 0.999
"""What `settled` is where the first whole answer that is allowed is taken."""


def whole_knobs(steering: Steering) -> Steering:
    """The knobs where whole answers are drawn: where nothing steers, and nobody asked for several, one is enough.

    With a constraint it is the first that is allowed: one of the closed model's own that are.
    """
    if steering.way == "auto" and not steering.acts_from(0):
        if steering.constraint is None and not steering.bad_words:
            return replace(steering, samples=1, settled=0.0)
        return replace(steering, settled=ANY_ONE) if steering.pick == "best" else steering
    return steering


def whole_source(offsets: Offsets, prompt: Prompt, steering: Steering) -> StringSource:
    """What weighs whole answers. Raises InputError for a source that scores none, and for knobs of single tokens."""
    way: Way = "chunks" if steering.way == "chunks" else "answers"
    replace(steering, way=way)  # which raises where the knobs cannot go with it
    if not isinstance(offsets, ScoresTexts):
        raise InputError(f"way={way!r} needs a source that scores texts, and {type(offsets).__name__} has no `score`")
    if isinstance(offsets, LocalPair):
        read_by(offsets, prompt)
    return StringSource(offsets, prompt)


def check_ids(steering: Steering, api: Endpoint) -> None:
    """Raises InputError where token ids are wanted and the endpoint takes none."""
    if steering.event == "ids" and not api.capabilities().token_ids:
        raise InputError(
            f"the adapter for {api.model!r} cannot send token ids, which event='ids' needs",
            hint="use event='bytes', or an endpoint that takes token-id prompts",
        )


def check_scores(steering: Steering, source: str) -> None:
    """Raises InputError for what only a pair can do."""
    if steering.event == "ids":
        raise InputError(f"event='ids' needs a pair, and {source} scores strings", hint="use event='bytes'")
    if steering.rule == "learnt":
        raise InputError(
            f"rule='learnt' weighs the members of a pair one by one, and {source} scores strings alone",
            hint="use another rule, or a pair",
        )
    if steering.gate == "divergence":
        raise InputError(
            f"gate='divergence' needs the distributions of a pair's members, and {source} scores strings alone",
            hint="use gate='always'; a source may give offsets of 0 where it has nothing to say",
        )


def drafts_of(steering: Steering, api: Endpoint, planner: Planner | None, *, guesses: bool) -> Drafts:
    """Who may draft. guesses: whether the offsets come from a pair, which can write on by itself."""
    can: list[Drafter] = ["api"]
    worded = api.capabilities().continuation is Continuation.APPROXIMATE
    if guesses and steering.temperature == 0.0:
        can += ["pair_prefixes", "pair_echo"] if api.capabilities().echo else ["pair_prefixes"]
    if steering.drafter == "auto":
        drawn = steering.temperature > 0.0
        return Drafts(can, None if drawn else planner or _planner(steering, api), worded)
    if steering.drafter in can:
        return Drafts((steering.drafter,), worded=worded)
    raise InputError(
        f"drafter={steering.drafter!r} cannot be used here: there are {', '.join(can)}",
        hint="the pair drafts greedy answers alone; 'pair_echo' needs an endpoint that gives back what it is sent",
    )


def _planner(steering: Steering, api: Endpoint) -> Planner:
    """One that begins anew, with the prices that hold here, where somebody knows them.

    With a cassette it looks at neither clock nor prices, since a replay may have others and must ask the same.
    """
    if isinstance(api, Taped) and api.is_taped:
        return Planner(prefer="cost")
    rates = api.rates() if isinstance(api, Rated) else None
    return Planner(prefer=steering.prefer, prices=rates or TYPICAL)
