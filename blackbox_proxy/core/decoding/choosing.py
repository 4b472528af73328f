"""How probable an API finds each of some whole answers, from as few calls as their bytes need; and which one to take.

One call shows the first token's top-k. Where every option shows there to its end, that is all; a token that is only the
beginning of an option is gone on from, heaviest first, where the endpoint can do that. What stays open is bounded, and
guessed by the anti-expert (section 3.7 of docs/method.md). Knows neither who calls nor who scores.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Generator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np

from blackbox_proxy.core.decoding.certificate import ROUNDING
from blackbox_proxy.core.decoding.readings import hidden, merged
from blackbox_proxy.core.events import ApiDraft, Evidence, ask_api
from blackbox_proxy.core.text import is_whole
from blackbox_proxy.errors import InputError
from blackbox_proxy.types import (
    Floats,
    Kind,
    Option,
    Position,
    Scores,
)

SLIGHT = 1e-3
"""Share of what is known of all options below which a beginning of one is not followed."""

AHEAD = 4
"""Tokens asked for at once where the endpoint can be asked again."""

WITHOUT = 16
"""Tokens asked for where it cannot: along the API's own words the rest of an option may show."""


@dataclass(frozen=True, slots=True)
class Open:
    """Probability that is not divided yet: `mass` of the `whole` that all answers that begin with `text` have.

    shown: the tokens that the API showed there; the answers go on with another one. Empty where it was not asked.
    """

    text: bytes
    mass: float
    whole: float
    shown: tuple[bytes, ...] = ()

    def hides(self, option: bytes) -> bool:
        """Whether an option lies here, and no token that was shown leads to it."""
        ahead = (self.text + piece for piece in self.shown if piece)
        return option.startswith(self.text) and not any(
            option.startswith(text) or text.startswith(option) for text in ahead
        )


@dataclass(slots=True)
class Masses:
    """What the API said: the probability of n options that is certain, and what is open."""

    options: Sequence[bytes]
    low: Floats
    open: list[Open] = field(default_factory=list)

    def high(self) -> Floats:
        """Upper bounds, shape (n,): each option may have all that is open where it begins."""
        high = self.low.copy()
        for one in self.open:
            high += one.mass * np.array([option.startswith(one.text) for option in self.options])
        return np.minimum(high, 1.0)

    def beginnings(self) -> tuple[bytes, ...]:
        """Strings whose anti-expert's log-prob `guessed` needs, besides the options."""
        return tuple({one.text: None for one in self.open if one.text and any(map(one.hides, self.options))})

    def guessed(self, logp: Callable[[bytes], float]) -> Floats:
        """Probabilities with what is open divided as the anti-expert would; logp: its log-prob of a beginning.

        p(o) = p(text) A[o] / A[text] for an option that is hidden, all of them together at most what is open there.
        """
        guess = self.low.copy()
        for one in self.open:
            hidden = np.array([one.hides(option) for option in self.options])
            if hidden.any() and one.mass > 0.0:
                before = logp(one.text) if one.text else 0.0
                shares = np.array(
                    [math.exp(logp(o) - before) if h else 0.0 for o, h in zip(self.options, hidden, strict=True)]
                )
                guess += shares * min(one.whole, one.mass / max(shares.sum(), 1e-300))
        return np.minimum(guess, 1.0)


def _outermost(texts: Sequence[bytes]) -> list[bytes]:
    """Those that no other one begins."""
    return [t for t in texts if not any(o != t and t.startswith(o) for o in texts)]


MassProcess = Generator[ApiDraft, Evidence | None, Masses]


def masses(options: Sequence[bytes], *, goes_on: bool, calls: int) -> MassProcess:
    """Ask until every option's probability is known, or `calls` are spent. Returns what is known.

    options: n different byte strings, none empty. goes_on: whether the endpoint goes on from a given text. Raises
    InputError for options that are not that.
    """
    if len(options) < 2 or not all(options) or len(set(options)) < len(options):
        raise InputError(
            f"there must be at least two options, different and not empty, not {[o.decode() for o in options]}",
            hint="give each answer that may be chosen once, as the model would write it",
        )
    known: dict[bytes, Position] = {}
    asked: set[bytes] = set()
    divided = _divided(options, known)
    for _ in range(calls):
        text = _next(divided, goes_on=goes_on, asked=asked)
        if text is None:
            break
        asked.add(text)
        rest = max(len(option) for option in options if option.startswith(text)) - len(text)
        draft = ApiDraft(text, (), min(AHEAD if goes_on else WITHOUT, rest), ())
        (reply,) = (yield from ask_api(draft)).replies
        # What does not go on from exactly this text tells nothing of it.
        for position in reply.positions if reply.exact or not text else ():
            known[text] = position
            if position.sampled.kind is not Kind.TEXT:
                break
            text += position.sampled.piece
        divided = _divided(options, known)
    return divided


def _next(divided: Masses, *, goes_on: bool, asked: Collection[bytes]) -> bytes | None:
    """The heaviest beginning that is worth asking for, can be, and was not in vain; None if there is none."""
    pending = [one for one in divided.open if not one.shown and one.text not in asked]
    slight = SLIGHT * (divided.low.sum() + math.fsum(one.mass for one in pending))
    heavy = [one for one in pending if one.mass > slight and (not one.text or (goes_on and is_whole(one.text)))]
    return max(heavy, key=lambda one: one.mass).text if heavy else None


def _divided(options: Sequence[bytes], known: Mapping[bytes, Position]) -> Masses:
    """All answers, divided as far as positions are known: from the shortest beginning on, so that each is done once."""
    divided = Masses(options, np.zeros(len(options)))
    pending = {b"": 1.0}
    while pending:
        text = min(pending, key=len)
        mass = pending.pop(text)
        position = known.get(text)
        if position is None:
            divided.open.append(Open(text, mass, mass))
            continue
        shown = {piece: logp for piece, logp in merged(position).items() if piece}
        for piece, logp in shown.items():
            after, part = text + piece, mass * math.exp(min(logp, 0.0))
            divided.low += part * np.array([after.startswith(option) for option in options])
            if any(option.startswith(after) and option != after for option in options):
                pending[after] = pending.get(after, 0.0) + part
        divided.open.append(Open(text, mass * hidden(position), mass, tuple(shown) or (b"",)))
    return divided


def exclusive(low: Floats, high: Floats, options: Sequence[bytes]) -> tuple[Floats, Floats]:
    """Bounds of options, of which one may begin another, as disjoint events: the shorter one without the longer."""
    below, above = low.copy(), high.copy()
    for i, option in enumerate(options):
        inside = [o for o in options if o != option and o.startswith(option)]
        for j in [options.index(o) for o in _outermost(inside)]:
            below[i] -= high[j]
            above[i] -= low[j]
    return np.maximum(below, 0.0), np.maximum(above, 0.0)


@dataclass(frozen=True, slots=True)
class OptionScores:
    """The options' steered distribution: probabilities, and their lower and upper bounds; shape (n,)."""

    distribution: Floats
    lower: Floats
    upper: Floats

    @property
    def certified(self) -> bool:
        """Whether the bounds of the best option lie above those of all others. Where two touch, nothing is decided."""
        best = int(np.argmax(self.distribution))
        return bool((self.lower[best] > np.delete(self.upper, best)).all())

    def contenders(self) -> Sequence[int]:
        """The options that may be the best: the best one, and those whose bounds reach up to its own."""
        return np.flatnonzero(self.upper >= self.lower[int(np.argmax(self.distribution))]).tolist()


@dataclass(frozen=True, slots=True)
class Gain:
    """alpha * offset of n options, and its bounds; arrays of shape (n,)."""

    value: Floats
    low: Floats
    high: Floats


def score_options(guess: Floats, *, low: Floats, high: Floats, gain: Gain) -> OptionScores:
    """q_i ~ p_i exp(gain_i); with the bounds that those of p, of the gain and rounding leave. Arrays of shape (n,)."""
    top = gain.value.max()
    distribution = guess * np.exp(gain.value - top)
    least, most = low * np.exp(gain.low - top - ROUNDING), high * np.exp(gain.high - top + ROUNDING)
    with np.errstate(divide="ignore", invalid="ignore"):
        lower = least / (least + most.sum() - most)
        upper = most / (most + least.sum() - least)
    total = distribution.sum()
    return OptionScores(
        distribution / total if total > 0.0 else np.full(len(distribution), 1.0 / len(distribution)),
        np.nan_to_num(lower, nan=0.0),
        np.nan_to_num(upper, nan=1.0),
    )


def _offsets(options: Sequence[bytes], scores: Scores) -> Floats:
    """log E - log A of the options as disjoint events, and its lower and upper bounds: shape (3, n)."""
    count = len(options)
    members = np.stack([scores.expert, scores.anti_expert])[:, :count]
    values = [exclusive(np.exp(one), np.exp(one), options)[0] for one in members]
    bounds = [
        exclusive(np.exp(low), np.exp(high), options)
        for low, high in zip(scores.lower[:, :count], scores.upper[:, :count], strict=True)
    ]
    (expert, anti_expert), ((e_low, e_high), (a_low, a_high)) = values, bounds
    pairs = ((expert, anti_expert), (e_low, a_high), (e_high, a_low))
    return np.stack([np.log(np.maximum(e, 1e-300)) - np.log(np.maximum(a, 1e-300)) for e, a in pairs])


Lack = Literal["top_k", "goes_on", "calls", "begins", "tie"]
"""What would decide between options: `top_k`: a longer top-k; `goes_on`: an endpoint that goes on from a given text;
`calls`: more calls; `begins`: options that begin differently; `tie`: nothing, since their odds are equal."""


def lacking(masses: Masses, scores: OptionScores, *, goes_on: bool) -> tuple[Lack, ...]:
    """What would decide between the options that may be the best, the most that is open first; () where one is.

    goes_on: as in `masses`.
    """
    if scores.certified:
        return ()
    contenders = [masses.options[i] for i in scores.contenders()]
    lacks: dict[Lack, None] = {}
    for one in sorted(masses.open, key=lambda one: -one.mass):
        here = [option for option in contenders if option.startswith(one.text)]
        if not here or one.mass <= 0.0:
            continue
        if one.shown:
            lacks["top_k"] = None
            continue
        lacks["calls" if goes_on and is_whole(one.text) else "goes_on"] = None
        if one.text and len(here) > 1:
            lacks["begins"] = None
    return tuple(lacks) or ("tie",)


def chosen(
    masses: Masses, strings: Sequence[bytes], scores: Scores, *, alpha: float
) -> tuple[OptionScores, tuple[Option, ...]]:
    """The options' distribution, and each option with its figures. strings: what was scored, the n options first."""
    count = len(masses.options)
    logs = dict(zip(strings, scores.anti_expert.tolist(), strict=True))
    guess, _ = exclusive(masses.guessed(logs.__getitem__), masses.low, masses.options)
    low, high = exclusive(masses.low, masses.high(), masses.options)
    offset = _offsets(masses.options, scores)
    value, one, other = alpha * offset
    gain = Gain(value, np.minimum(one, other), np.maximum(one, other))
    steered = score_options(np.clip(guess, low, high), low=low, high=high, gain=gain)
    plain = score_options(np.clip(guess, low, high), low=low, high=high, gain=Gain(*np.zeros((3, count))))
    with np.errstate(divide="ignore"):
        logp = np.log(np.clip(guess, low, high))
    columns = plain.distribution, steered.distribution, steered.lower, steered.upper, logp, offset[0]
    rows = zip(masses.options, *columns, strict=True)
    return steered, tuple(Option(text.decode(), *map(float, figures)) for text, *figures in rows)
