"""How to steer: the knobs of one answer, declared once.

A knob is a field of `Steering` with its default, what it is for, and the group that it belongs to. The options of the
command line, the fields of requests and files, and the documentation are made from that. What the knobs mean is in
docs/method.md. Frozen data; knows no formula and no I/O.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, fields, replace
from functools import cache
from typing import Any, Literal, TypedDict, Unpack, get_args, get_origin, get_type_hints

from blackbox_proxy.bounds import Bounds
from blackbox_proxy.constraints import Constraint
from blackbox_proxy.errors import InputError
from blackbox_proxy.learnt import EVEN, LearntWeights, Powers
from blackbox_proxy.schedule import Schedule

Target = Literal["full", "nucleus", "topk"]
"""The distribution that is aimed at: `full`: every continuation may win (T1); `nucleus`: those in the API's own nucleus
(T2); `topk`: those that the API showed (T3). Section 3.2 of docs/method.md."""

Tail = Literal["impute", "reveal", "drop"]
"""What happens to continuations that the API did not show, where the target is `full`: `impute`: they compete with an
imputed log-prob; `reveal`: the API is asked for the log-probs of those that could matter, the others are imputed;
`drop`: they are left out. What that may cost in exactness is counted at every step (3.2)."""

Rule = Literal["pooled", "none", "clip", "plausible", "learnt"]
"""How an offset abstains where the pair has no evidence (section 1.6 of docs/method.md); `learnt`: how much each member
counts at a place is fitted to reference answers (1.9)."""

Event = Literal["bytes", "ids"]
"""How a candidate is scored by the pair: `bytes`: the text goes on with these bytes; `ids`: the next token is this id,
for an API that speaks the pair's own vocabulary."""

Who = Literal["api", "pair_prefixes", "pair_echo", "auto"]
"""Who drafts what is checked in one call: `api`: the API writes on; `pair_prefixes`: the pair does, and the API is
asked after each beginning of it at once; `pair_echo`: the pair does, and the API tells its log-probs along it; `auto`:
whichever is expected to be best, round by round. The text is the same (3.3); money and time are not."""

Prefer = Literal["cost", "latency", "balanced"]
"""What is best where the drafter is `auto`."""

Gate = Literal["always", "divergence"]
"""Where the offset acts: `always`: at every token; `divergence`: only where the pair's members differ; elsewhere the
API's own distribution decides. Section 2.1 of docs/method.md."""

Way = Literal["auto", "token", "forced", "words", "answers", "chunks"]
"""How an answer is steered. Token by token, which needs log-probs: `token`: by the best that the endpoint can do;
`forced`: a chat goes on from what a schema demands, and in no other way; `words`: a chat is asked in words to go on.
`answers`: whole answers are drawn, and one is chosen by its weight, which needs nothing but text. `chunks`: the best of
several continuations are gone on with, some tokens at a time, which needs an endpoint that goes on from a text. `auto`:
token by token where the endpoint shows log-probs, whole answers where it does not. Sections 5 and 6 of docs/method.md
say what each aims at."""

Pick = Literal["best", "draw"]
"""Which of the whole answers is taken: the best, or one in proportion to the weights."""

HOTTEST = 2.0
"""The highest temperature that hosted APIs take."""

THRESHOLD = 0.1
"""Total variation that the gate `divergence` needs where nobody says."""


REPETITION = (16, 1024)
"""Fewest and most tokens in which a repetition may be looked for."""

PENALTY = Bounds(-2, 2)
SHARE = Bounds(0, 1)
SHARE_ABOVE_0 = Bounds(0, 1, above=True)

Group = Literal["pair", "answer", "whole", "calls", "endpoint", "fine"]
"""What a knob is about: the pair, the answer, whole answers, calls, what the endpoint can do; `fine`: seldom turned."""


class KnobText(TypedDict, total=False):
    """How a knob is written on a command line.

    Attributes:
        option: The option's name; that of the knob where it is missing.
        read: Reads the value from a text. Raises InputError.
        unset: What holds where it is not given, in words; the default itself where it is missing.
    """

    option: str
    read: Callable[[str], object]
    unset: str


def knob(
    default: Any,  # noqa: ANN401 (of the field's type)
    help: str,  # noqa: A002 (as command lines call it)
    *,
    group: Group | None,
    within: Bounds | None = None,
    most: float = math.inf,
    **text: Unpack[KnobText],
) -> Any:  # noqa: ANN401 (a field takes the type of its annotation)
    """A field of `Steering`.

    Args:
        default: What holds where nobody says.
        help: What it is for, in one or two sentences.
        group: Where help lists it; None for a knob that is set by code alone.
        within: The bounds of a number; None for a knob that is none, or that has a check of its own.
        most: The largest value, either way from 0, that a stranger may ask for: it costs time at every step.
        text: How it is written on a command line, where its name and type do not say that.
    """
    return field(default=default, metadata={"help": help, "group": group, "within": within, "most": most, **text})


@dataclass(frozen=True, slots=True)
class Steering:
    """How to steer; checked when it is made. Raises InputError for a value that cannot be."""

    alpha: float = knob(
        1.0, "Weight of the pair's offset; 0 leaves the API alone.", group="pair", within=Bounds(), most=100.0
    )
    max_tokens: int = knob(256, "Most tokens of the answer.", group="answer", within=Bounds(1))
    target: Target = knob(
        "full", "What may be chosen: anything, the API's nucleus, or only what the API shows.", group="pair"
    )
    event: Event = knob("bytes", "`ids` where the API speaks the pair's vocabulary.", group="endpoint")
    tail: Tail = knob("impute", "What the API does not show: guess it, ask for it, or leave it out.", group="pair")
    nucleus: float = knob(
        0.9, "Share of the API's own distribution that `--target nucleus` keeps.", group="pair", within=SHARE_ABOVE_0
    )
    reveals: int = knob(
        4, "Most extra calls at one position, for `--tail reveal`.", group="fine", within=Bounds(0), most=16
    )
    draft: int = knob(8, "Most tokens to draft for one call.", group="calls", within=Bounds(1, 256), most=64)
    drafter: Who = knob(
        "api",
        "Who drafts: the API (`api`); the pair, each beginning asked about at once (`pair_prefixes`) or checked by its"
        " echo (`pair_echo`); or whichever is best (`auto`). The text is the same.",
        group="calls",
    )
    prefer: Prefer = knob("balanced", "What `--drafter auto` aims at.", group="calls")
    temperature: float = knob(
        0.0, "0 takes the best token; otherwise tokens are drawn.", group="answer", within=Bounds(0, 10)
    )
    top_p: float = knob(
        1.0, "Draw from the likeliest tokens that hold this share.", group="answer", within=SHARE_ABOVE_0
    )
    min_p: float = knob(0.0, "Draw no token below this share of the likeliest.", group="answer", within=SHARE)
    top_tokens: int = knob(
        0, "Draw from so many of the likeliest tokens, before --top-p; 0 from all.", group="answer", within=Bounds(0)
    )
    presence_penalty: float = knob(
        0.0, "Taken off the log-prob of a string that the answer has already, in nats.", group="answer", within=PENALTY
    )
    frequency_penalty: float = knob(
        0.0, "Taken off it for each time that the answer has it, in nats.", group="answer", within=PENALTY
    )
    seed: int = knob(
        0, "Where the chance comes from; equal seeds give equal answers.", group="answer", within=Bounds(0)
    )
    rule: Rule = knob("pooled", "How an offset abstains where the pair has no evidence.", group="pair")
    evidence: float = knob(
        1e-9,
        "Probability below which a string is no evidence for `--rule pooled`: its offset falls back to that of the"
        " rest.",
        group="fine",
        within=Bounds(0, 0.5, below=True),
    )
    clip: float = knob(4.0, "Largest offset of `--rule clip`, in nats.", group="fine", within=Bounds(0, above=True))
    plausible: float = knob(
        0.02,
        "Share of the expert's best below which `--rule plausible` takes a string for impossible.",
        group="fine",
        within=Bounds(0, 1, above=True, below=True),
    )
    learnt: LearntWeights | None = knob(
        None,
        "Weights of `--rule learnt`, as FEATURE:B:C,FEATURE:B:C: how much log E (b) and log A (c) count. Features: one,"
        " expert, distance, api. alpha multiplies them; leave it at 1.",
        group="pair",
        most=100.0,
        read=LearntWeights.read,
        unset="none",
    )
    gate: Gate = knob(
        "always",
        "Where the offset acts: at every token, or only where the pair's members differ by more than `--threshold`;"
        " elsewhere the API's own token is taken.",
        group="pair",
    )
    threshold: float = knob(
        THRESHOLD,
        "Total variation of the members' next-token distributions, 0 to 1, that `--gate divergence` needs.",
        group="pair",
        within=SHARE,
    )
    schedule: Schedule | None = knob(
        None,
        "alpha by token, as TOKEN:ALPHA,TOKEN:ALPHA; straight lines between. In place of --alpha.",
        group="pair",
        most=100.0,
        option="--alpha-schedule",
        read=Schedule.read,
        unset="none: alpha stays",
    )
    proposals: int = knob(
        8,
        "How many strings of the expert may compete from outside the top-k at each step.",
        group="fine",
        within=Bounds(0),
        most=64,
    )
    back_off: int = knob(
        4, "Most tokens of the pair that are re-read at the left border.", group="fine", within=Bounds(1), most=16
    )
    spread: int = knob(
        8, "Forked evaluations of the pair allowed at one step.", group="fine", within=Bounds(0), most=64
    )
    way: Way = knob(
        "auto",
        "Steer token by token (`token`; of a chat without prefill alone: `forced` by a schema, or in `words`), or draw"
        " whole answers and choose one (`answers`); `auto` does that where the endpoint shows no log-probs. `chunks`"
        " chooses among continuations of some tokens, again and again. At --temperature 0 several are drawn at 1.",
        group="whole",
    )
    samples: int = knob(
        8,
        "Most whole answers to draw; for `--way chunks` continuations of each text.",
        group="whole",
        within=Bounds(1, 128),
        most=16,
    )
    beams: int = knob(
        2, "How many texts `--way chunks` goes on with at a time.", group="whole", within=Bounds(1, 64), most=4
    )
    # A character may take four tokens; a shorter chunk could end inside the same one for ever.
    chunk: int = knob(16, "Tokens of a continuation for `--way chunks`.", group="whole", within=Bounds(4))
    pick: Pick = knob("best", "Take the best of them, or draw one by its weight.", group="whole")
    settled: float = knob(
        0.0,
        "Draw no more of them where the rest would change the best with at most this chance; 0 draws them all.",
        group="whole",
        within=Bounds(0, 1, below=True),
    )
    constraint: Constraint | None = knob(
        None, "What the answer is held to: a schema, an expression, some strings or a grammar.", group=None
    )
    top_candidates: int = knob(8, "How many of the best are kept with each step.", group=None, within=Bounds(0))
    stop: tuple[str, ...] = knob((), "End the answer before this text; may be repeated.", group="answer")
    bad_words: tuple[str, ...] = knob(
        (), "Never write this text; may be repeated.", group="answer", option="--bad-word"
    )
    min_tokens: int = knob(
        0,
        "End the answer after so many tokens at the earliest; a stop string still ends it.",
        group="answer",
        within=Bounds(0),
    )
    repetition_stop: int = knob(
        0,
        "End the answer where its last so many tokens, 16 to 1024, are one piece over and over; 0 never does.",
        group="answer",
    )

    def __post_init__(self) -> None:
        for one in fields(self):
            _check(one.name, getattr(self, one.name), one.metadata["within"])
        if self.rule == "learnt" and self.learnt is None:
            raise _impossible("rule='learnt' needs weights (`learnt`), as `fit_weights` finds them")
        if self.event == "ids" and self.rule in {"clip", "plausible", "learnt"}:
            raise _impossible(f"rule={self.rule!r} acts on strings, and event='ids' takes the plain ratio of token ids")
        single = self.event == "ids" or self.gate != "always" or self.schedule is not None
        if self.way in {"answers", "chunks"} and (single or self.penalises or self.top_tokens):
            raise _impossible(
                f"way={self.way!r} weighs whole texts: it takes no event='ids', gate, schedule, penalties, top_tokens"
                " or min_tokens"
            )
        if self.way == "chunks" and self.settled:
            raise _impossible("settled is for way='answers'; way='chunks' draws all continuations of a round at once")
        if self.pick == "draw" and self.settled:
            raise _impossible("pick='draw' needs all samples: one that stops early draws by another distribution")
        if not all(self.stop):
            raise _impossible("a stop string must not be empty")
        if not all(self.bad_words):
            raise _impossible("a bad word must not be empty")
        least, most = REPETITION
        if self.repetition_stop != 0 and not least <= self.repetition_stop <= most:
            raise _impossible(
                f"repetition_stop must be 0, or from {least} to {most}, not {self.repetition_stop}",
            )

    @property
    def takes_unseen(self) -> bool:
        """Whether what the API does not show may win too, so that its whole distribution is steered."""
        return self.target == "full" and self.tail != "drop"

    @property
    def penalises(self) -> bool:
        """Whether what may follow weighs otherwise by what the answer has said already, or by how long it is."""
        return bool(self.presence_penalty or self.frequency_penalty or self.min_tokens)

    @property
    def truncates(self) -> bool:
        """Whether tokens are drawn from a part of the distribution alone."""
        return self.top_p < 1.0 or self.min_p > 0.0 or self.top_tokens > 0

    def as_it_is(self) -> Steering:
        """The steering whose distribution is the steered one itself: at temperature 1, uncut, and without penalties."""
        whole = replace(self, temperature=1.0, top_p=1.0, min_p=0.0, top_tokens=0)
        return replace(whole, presence_penalty=0.0, frequency_penalty=0.0, min_tokens=0)

    def powers_at(self, features: Sequence[float]) -> Powers:
        """How much log E and log A count in an offset. features: of the place, where the rule is `learnt`."""
        return self.learnt.powers(features) if self.rule == "learnt" and self.learnt else EVEN

    def acts_from(self, token: int) -> bool:
        """Whether the offset can act at a token of the answer or at a later one: no distance exceeds 1.

        >>> steering = Steering(schedule=Schedule(((0, 1.0), (8, 0.0))))
        >>> steering.acts_from(7), steering.acts_from(8)
        (True, False)
        """
        if self.gate == "divergence" and self.threshold >= 1.0:
            return False
        later = [] if self.schedule is None else [alpha for at, alpha in self.schedule.points if at > token]
        return any((self.alpha_at(token), *later))

    @property
    def leaves_alone(self) -> bool:
        """Whether the whole answer is the API's own, and the API can be asked for it as it is.

        A gate that never opens leaves it alone too; greedily it still measures how far the members are apart.
        """
        return self.constraint is None and self.chooses_nothing

    @property
    def chooses_nothing(self) -> bool:
        """Whether the API chooses every token, of those that a constraint allows, as it draws by itself."""
        if self.penalises or self.bad_words:
            return False
        if self.temperature == 0.0:
            return self.gate == "always" and not self.acts_from(0)
        unknown = self.min_p or self.top_tokens  # not every API takes them
        return not self.acts_from(0) and self.target == "full" and not unknown and self.temperature <= HOTTEST

    def alpha_at(self, token: int) -> float:
        """Weight of the offset at a token of the answer, counted from 0."""
        return self.alpha if self.schedule is None else self.schedule.at(token)


def _check(name: str, value: Any, within: Bounds | None) -> None:  # noqa: ANN401 (of the knob's type)
    """Raises InputError for a number out of its bounds, and for a word that is none of the knob's."""
    if within is not None and not within.hold(value):
        raise _impossible(f"{name} must be {within}, not {value}")
    words = _words().get(name, ())
    if words and value not in words:
        raise _impossible(f"{name} must be {', '.join(words[:-1])} or {words[-1]}, not {value!r}")


@cache
def _words() -> dict[str, tuple[str, ...]]:
    """The words that a knob may be, by the knob: those of its type."""
    hints = get_type_hints(Steering)
    return {name: get_args(hint) for name, hint in hints.items() if get_origin(hint) is Literal}


def _impossible(message: str) -> InputError:
    return InputError(message, hint="see `blackbox-proxy steer --help` for what each knob takes")


def _attributes() -> str:
    """The knobs as the docstring of `Steering` lists them."""
    return "".join(
        f"    {one.name}: {one.metadata['help']}{_must(one.metadata['within'])}\n" for one in fields(Steering)
    )


def _must(within: Bounds | None) -> str:
    return "" if within is None else f" Must be {within}."


Steering.__doc__ = f"{Steering.__doc__}\n\nAttributes:\n{_attributes()}"
