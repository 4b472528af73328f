"""Whole answers: drawn from the API as they are, weighted by the pair, and one of them chosen (docs/method.md, 5).

An answer y weighs (E(y) / A(y))^alpha over its whole text, its end included where it ended by itself. The loop is a
generator like that of tokens: it asks for answers, then for scores of strings, and yields the chosen one as one step,
with a second one for its end. Nothing here needs a log-prob of the API; where it shows them, `best` counts them too.
"""

from __future__ import annotations

import math
from collections.abc import Generator, Iterator, Mapping, Sequence
from dataclasses import replace
from decimal import Decimal

import numpy as np

from blackbox_proxy.core.decoding.acceptors import ANY_WHOLE_TEXT, WholeTexts
from blackbox_proxy.core.events import ApiAnswers, Ending, Evidence, Run, ScoreStrings, ask_scores
from blackbox_proxy.core.text import first_stop
from blackbox_proxy.errors import Unsatisfied
from blackbox_proxy.steering import Steering
from blackbox_proxy.types import FILTERED, DrawnAnswer, Finish, Floats, Kind, Origin, Reply, Sample, Step

ROUND = 4
"""How many answers are drawn before it is asked whether the best could still change."""

TEMPERATURE = 1.0
"""That of several draws where the knobs have none: they are of the API's own distribution."""

FINISHES: Mapping[str, Finish] = {"stop": "stop", FILTERED: FILTERED}
"""Why an answer ended, by the API's word; any other word, and none, stands for `length`."""

_Same = tuple[str, Finish]
"""What makes two answers the same: their text and why they ended."""

Scored = Mapping[tuple[str, bool], tuple[float, float]]
"""Log-probs of texts under both members, by the text and whether it ended by itself."""


def whole_answers(steering: Steering, *, texts: WholeTexts = ANY_WHOLE_TEXT) -> Run:
    """Draw answers, weigh them, and yield the one that is chosen; texts: which may be answers.

    Raises Unsatisfied where none of those that were drawn is one.
    """
    replies: list[Reply] = []
    scored: dict[tuple[str, bool], tuple[float, float]] = {}
    while True:
        asked = _next_round(steering, sum(len(reply.drawn) for reply in replies))
        evidence = yield asked
        came = evidence.replies if evidence is not None else ()
        replies += came
        if not replies:
            raise TypeError("the first ApiAnswers is answered with Evidence that holds a reply")
        samples = merged(replies, steering, texts=texts)
        scored |= yield from _scores([one for one in samples if _key(one) not in scored])
        samples = weighted(samples, scored, alpha=steering.alpha)
        number = sum(one.count for one in samples)
        broke_off = sum(len(reply.drawn) for reply in came) < asked.count
        if broke_off or number >= steering.samples or _is_settled(samples, steering):
            break
    if not any(one.allowed for one in samples):
        raise unsatisfied(samples)
    at = picked(samples, steering)
    chosen = samples[at] = replace(samples[at], chosen=True)
    yield from _steps(chosen, samples)
    _, kept = kept_draw(replies, chosen, steering, texts=texts)
    wasted = sum(one.tokens for one in samples) - kept
    ranked = sorted(samples, key=lambda one: -(one.share or 0.0))
    return Ending(chosen.finish, wasted, _notes(ranked, steering), tuple(ranked))


def _next_round(steering: Steering, drawn: int) -> ApiAnswers:
    further = steering.samples - drawn
    count = min(further, ROUND if steering.acts_from(0) else 1) if steering.settled else further
    temperature = steering.temperature or (TEMPERATURE if steering.samples > 1 else 0.0)
    return ApiAnswers(count, steering.max_tokens, drawn, temperature, steering.top_p, steering.seed)


def seed_of(seed: int, number: int) -> int:
    """The seed of a request that draws the answers from `number` on; those of other seeds are others."""
    return int(np.random.default_rng([seed, number]).integers(2**31))


def unsatisfied(samples: Sequence[Sample]) -> Unsatisfied:
    """The error for texts of which none is what the constraint asks for."""
    drawn, first = sum(one.count for one in samples), samples[0].text
    return Unsatisfied(
        f"none of the {drawn} texts that were drawn is what the constraint asks for; the first is {first[:80]!r}",
        hint="say in the prompt what is wanted, draw more of them (--samples), or give them more tokens (--max-tokens)",
    )


def merged(replies: Sequence[Reply], steering: Steering, *, texts: WholeTexts = ANY_WHOLE_TEXT) -> list[Sample]:
    """The answers of some replies in the order in which they came first, equal ones as one."""
    samples: dict[_Same, Sample] = {}
    for one in (draw for reply in replies for draw in draws_of(reply, steering, texts=texts)):
        before = samples.get(_same(one))
        samples[_same(one)] = one if before is None else _added(before, one)
    return list(samples.values())


def _added(before: Sample, one: Sample) -> Sample:
    logp = before.logp if one.logp is None else one.logp
    return replace(before, count=before.count + 1, tokens=before.tokens + one.tokens, logp=logp)


def draws_of(reply: Reply, steering: Steering, *, texts: WholeTexts = ANY_WHOLE_TEXT) -> list[Sample]:
    """Each answer of a reply by itself, with its part of the reply's tokens, which are shared out by length.

    Tokens that the answers do not show, of reasoning, are shared out too.
    """
    draws = zip(reply.drawn, tokens_in(reply), strict=True)
    return [_allowed(_sample(one, tokens, steering.stop), texts) for one, tokens in draws]


def tokens_in(reply: Reply) -> list[int]:
    """The tokens of each of a reply's answers."""
    sizes = [len(one.text.encode("utf-8", "replace")) + 1 if one.tokens is None else one.tokens for one in reply.drawn]
    ends = np.round(np.cumsum([0, *sizes]) * (written_in(reply) / max(sum(sizes), 1)))
    return [int(tokens) for tokens in np.diff(ends).tolist()]


def written_in(reply: Reply) -> int:
    """The tokens that the API wrote for a reply, as they are booked."""
    return reply.calls[-1].usage.output if reply.calls else reply.usage.output


def _sample(drawn: DrawnAnswer, tokens: int, stops: Sequence[str]) -> Sample:
    """One draw. Where it is cut before a stop string, nobody knows the log-prob of what remains."""
    text = drawn.text.encode("utf-8", "replace")
    cut = first_stop(text, [stop.encode() for stop in stops])
    if cut is not None:
        return Sample(text[:cut].decode(), "stop_string", 1, tokens=tokens)
    finish = FINISHES.get(drawn.finish or "", "length")
    # An answer that is cut inside a character ends with its replacement, which nobody wrote.
    said = text.decode() if finish == "stop" else text.decode().rstrip("\ufffd")
    return Sample(said, finish, 1, drawn.logp, tokens=tokens)


def _allowed(sample: Sample, texts: WholeTexts) -> Sample:
    """The draw up to where the answer is over, or as one that is none. Of what was cut nobody knows the log-prob."""
    kept = texts.answer(sample.text.encode())
    if kept is None:
        return replace(sample, allowed=False)
    text = kept.decode()
    return sample if text == sample.text else replace(sample, text=text, finish="stop", logp=None)


def _same(sample: Sample) -> _Same:
    return sample.text, sample.finish


def kept_draw(
    replies: Sequence[Reply], chosen: Sample, steering: Steering, *, texts: WholeTexts = ANY_WHOLE_TEXT
) -> tuple[int, int]:
    """The first draw of the chosen answer: the number of its reply, and its tokens."""
    draws = ((at, one) for at, reply in enumerate(replies) for one in draws_of(reply, steering, texts=texts))
    return next((at, one.tokens) for at, one in draws if _same(one) == _same(chosen))


def priced(
    samples: Sequence[Sample],
    replies: Sequence[Reply],
    costs: Sequence[Decimal | None],
    *,
    steering: Steering,
    texts: WholeTexts = ANY_WHOLE_TEXT,
) -> tuple[Sample, ...]:
    """The samples with what they cost: of each reply's cost the part of their tokens; None where one is unknown."""
    sums: dict[_Same, Decimal | None] = {}
    for reply, cost in zip(replies, costs, strict=True):
        draws = draws_of(reply, steering, texts=texts)
        written = max(sum(one.tokens for one in draws), 1)
        for one in draws:
            before = sums.get(_same(one), Decimal(0))
            sums[_same(one)] = None if before is None or cost is None else before + cost * one.tokens / written
    return tuple(replace(one, cost=sums[_same(one)]) for one in samples)


def _key(sample: Sample) -> tuple[str, bool]:
    return sample.text, sample.finish == "stop"


def _scores(samples: Sequence[Sample]) -> Generator[ScoreStrings, Evidence | None, Scored]:
    """What both members say of whole texts, and of the ends of those that ended by themselves."""
    texts = tuple(dict.fromkeys(one.text.encode() for one in samples if one.text))
    of_text = {b"": (0.0, 0.0)}
    if texts:
        said = yield from ask_scores(ScoreStrings(b"", texts, 0))
        both = zip(said.scores.expert.tolist(), said.scores.anti_expert.tolist(), strict=True)
        of_text |= dict(zip(said.pieces, both, strict=True))
    scored: dict[tuple[str, bool], tuple[float, float]] = {}
    for one in samples:
        expert, anti_expert = of_text[one.text.encode()]
        if one.finish == "stop":
            end = (yield from ask_scores(ScoreStrings(one.text.encode(), (b"",), 0))).scores
            expert, anti_expert = expert + float(end.expert[0]), anti_expert + float(end.anti_expert[0])
        scored[_key(one)] = expert, anti_expert
    return scored


def weighted(samples: Sequence[Sample], scored: Scored, *, alpha: float) -> list[Sample]:
    """The samples with their weights and their shares of them.

    A text that neither member can say weighs 1. One that the filter cut weighs nothing where there is another, and one
    that the constraint does not allow weighs nothing.
    """
    logs = []
    for one in samples:
        expert, anti_expert = scored[_key(one)]
        known = max(expert, anti_expert) > -math.inf
        logs.append(alpha * (expert - anti_expert) if known and alpha else 0.0)
    allowed = [one.allowed for one in samples]
    usable = [one.allowed and one.finish != FILTERED for one in samples]
    heavy = usable if any(usable) else allowed
    logs = [log if fit else -math.inf for log, fit in zip(logs, heavy, strict=True)]
    shares = shares_of(logs, [one.count for one in samples])
    rows = zip(samples, logs, shares.tolist(), strict=True)
    return [
        replace(one, expert=scored[_key(one)][0], anti_expert=scored[_key(one)][1], log_weight=log, share=share)
        for one, log, share in rows
    ]


def shares_of(log_weights: Sequence[float], counts: Sequence[int]) -> Floats:
    """The part of each distinct answer in all weights, shape (n,), sum 1; equal weights where all are 0.

    >>> shares_of([0.0, math.log(3.0)], [3, 1]).tolist()
    [0.5, 0.5]
    """
    logs = np.asarray(log_weights, dtype=np.float64)
    top = logs.max()
    weights = np.exp(logs - top) if math.isfinite(top) else np.where(logs == top, 1.0, 0.0)
    weights = weights * np.asarray(counts)
    return np.asarray(weights / weights.sum())


def picked(samples: Sequence[Sample], steering: Steering) -> int:
    """Which of the samples is the answer: the best, or one that is drawn by the shares."""
    if steering.pick == "draw":
        shares = np.asarray([one.share for one in samples], dtype=np.float64)
        return int(np.random.default_rng([steering.seed, len(samples)]).choice(len(samples), p=shares))
    return max(range(len(samples)), key=lambda at: rank(samples[at], samples))


def rank(sample: Sample, samples: Sequence[Sample]) -> tuple[float, int]:
    """The larger the better: the weight, with the API's log-prob where it is known of all; of equals, the count."""
    counted = all(one.logp is not None for one in samples if one.allowed)
    weight = sample.log_weight if sample.log_weight is not None else -math.inf
    return weight + (sample.logp or 0.0) * counted, sample.count


def chance_of_change(drawn: int, further: int, count: int) -> float:
    """The chance that `further` more draws would change the best of `drawn`, which came `count` times among them.

    For a best that came once it is what holds for draws in any order, further / (drawn + further); for others it is an
    estimate.

    >>> chance_of_change(6, 2, 1), chance_of_change(6, 2, 2)
    (0.25, 0.0625)
    """
    return float((further / (drawn + further)) ** count) if further else 0.0


def _is_settled(samples: Sequence[Sample], steering: Steering) -> bool:
    number, best = sum(one.count for one in samples), samples[picked(samples, steering)]
    if not best.allowed:
        return False
    return chance_of_change(number, steering.samples - number, best.count) <= steering.settled


def _steps(chosen: Sample, samples: Sequence[Sample]) -> Iterator[Step]:
    """The answer as one step, whose log-weight is the log of the mean weight; and its end, where it ended by itself."""
    number = sum(one.count for one in samples)
    text = chosen.text.encode()
    offset = None if chosen.expert is None or chosen.anti_expert is None else chosen.expert - chosen.anti_expert
    yield Step(
        text,
        Kind.TEXT,
        text,
        chosen.logp,
        math.log(chosen.share) if chosen.share else None,
        offset,
        Origin.DRAFT,
        log_weight=(chosen.log_weight or 0.0) + math.log(chosen.count / number) - math.log(chosen.share or 1.0),
    )
    if chosen.finish == "stop":
        yield Step(b"", Kind.END, b"", None, None, None, Origin.DRAFT)


def _notes(ranked: Sequence[Sample], steering: Steering) -> tuple[str, ...]:
    """What to say of the samples: how many there are, how much they are worth, and what they cannot hold."""
    number, share = sum(one.count for one in ranked), ranked[0].share or 0.0
    effective = 1.0 / sum((one.share or 0.0) ** 2 / one.count for one in ranked)
    said = (
        f"one of {number} whole answers, {len(ranked)} of them distinct; effective sample size {effective:.1f}, the"
        f" heaviest has {share:.0%} of the weight; nothing is chosen that the API did not say"
    )
    notes = [said]
    if number < steering.samples and not steering.settled:
        notes.append(f"{steering.samples - number} of {steering.samples} answers did not come")
    if barred := sum(one.count for one in ranked if not one.allowed):
        notes.append(f"{barred} of the answers are not what the constraint asks for, and weigh nothing")
    if cut := sum(one.count for one in ranked if one.finish == "length" and one.allowed):
        notes.append(f"{cut} of the answers were cut at the most tokens; their weights are those of beginnings")
    if steering.pick == "best":
        best = next(one for one in ranked if one.chosen)
        chance = chance_of_change(number, 1, best.count)
        notes.append(f"one more answer would change the best with a chance of about {chance:.2g}")
    return tuple(notes)
