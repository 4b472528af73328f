"""Probes of the numbers: how many alternatives, whether they are noisy, which temperature and bias they are of.

All first-position distributions are compared at temperature 1, where log-probs before and after it are the same.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from blackbox_proxy.doctor import signs
from blackbox_proxy.doctor.chart import Chart, ProbeAnswer, Visit
from blackbox_proxy.doctor.hearing import HeardPlace
from blackbox_proxy.doctor.voices import CUT_OFF, MOST_ALTERNATIVES, OPEN, Voice

FORCED = {"40": 100}
"""A bias that makes every vocabulary say its token 40, which hardly anything would say by itself."""

MANY = 100
DRAWN = 24
REPEATS = 2
SAME = 3
SURE = -10.0
"""Two draws of a log-probability below this are hardly the same by chance."""


def find_numbers(visit: Visit) -> None:
    """All probes of this module, in an order in which each may rely on those before it."""
    chart, voice = visit.chart, visit.chart.main
    if voice is None:
        return
    first = chart.openings[voice.route]
    voice = _count(visit, voice, first)
    again = [visit.distribution(voice.ask(OPEN)) for _ in range(REPEATS)]
    _noise(chart, [first, *again])
    _precision(chart, [first, *again])
    if voice.warm:
        _temperature(visit, voice, first.places[0])
    _bias(visit, voice, first.places[0])
    _draws(visit)


def _count(visit: Visit, voice: Voice, first: ProbeAnswer) -> Voice:
    """How many alternatives come; the voice that asks for as many as there are."""
    most = voice.top_k
    if len(first.places[0].listed) < most:
        most = _fewer(visit, voice)
    elif most == MOST_ALTERNATIVES:
        more = visit.distribution(voice.ask(OPEN, top_k=MANY))
        got = len(more.first.listed) if more.first else 0
        most = min(got, MANY) if got > MOST_ALTERNATIVES + 1 else MOST_ALTERNATIVES
        visit.chart.note("top-k", "works", f"at least {most} alternatives may be asked for", by=more)
    voice = replace(voice, top_k=most)
    visit.chart.voices[voice.route] = voice
    return voice


def _fewer(visit: Visit, voice: Voice) -> int:
    """How many alternatives come, where it seemed to be fewer than were asked for.

    Greedily, since a drawn token may be listed as one more. Where some of them are hidden, or share a name, fewer are
    missing when fewer are asked for.
    """
    all_told = visit.distribution(voice.ask(OPEN, temperature=0.0))
    got = len(all_told.first.listed) if all_told.first else 0
    if not 0 < got < voice.top_k:
        return voice.top_k
    fewer = visit.distribution(voice.ask(OPEN, top_k=got, temperature=0.0))
    if fewer.first is None or len(fewer.first.listed) != got:
        return voice.top_k
    saw = f"{got} alternatives come where {voice.top_k} are asked for"
    visit.chart.note("top-k", "works", saw, finding="top-k-cut", by=all_told)
    return got


def _noise(chart: Chart, same: Sequence[ProbeAnswer]) -> None:
    """How far the log-probs of equal requests are apart."""
    places = [answer.first for answer in same if answer.first]
    changes = [signs.moved(places[0], place) for place in places[1:]]
    noise = max((change for change in changes if change is not None), default=0.0)
    if noise > 1e-6:
        chart.facts.noise = noise
        saw = f"equal requests give log-probs up to {noise:.2g} nats apart"
        chart.note("noise", "lossy", saw, finding="noise", by=same[-1])
    elif changes:
        chart.note("noise", "works", f"{len(places)} equal requests give equal log-probs", by=same[-1])


def _precision(chart: Chart, same: Sequence[ProbeAnswer]) -> None:
    """How many decimals log-probs have, and whether some are marks."""
    places = [place for answer in same for place in answer.places]
    told = signs.told(places)
    digits = signs.decimals(told)
    if len(told) < signs.FEWEST:
        chart.note("precision", "unclear", f"{len(told)} log-probs are too few to tell", by=same[0])
    elif digits is None:
        chart.note("precision", "works", f"log-probs have more than {signs.FINEST} decimals", by=same[0])
    else:
        chart.note("precision", "lossy", f"log-probs have {digits} decimals", finding="rounded-logps", by=same[0])
    marks = max(map(signs.marked, places))
    if marks:
        saw = f"{marks} of {len(places[0].listed)} alternatives have a mark in place of a log-prob"
        chart.note("marks", "lossy", saw, finding="sentinels", by=same[0])


def _temperature(visit: Visit, voice: Voice, warm: HeardPlace) -> None:
    """Whether log-probs follow the temperature, and what they are at 0."""
    cold, cool = (
        visit.distribution(voice.ask(OPEN, temperature=0.0)),
        visit.distribution(voice.ask(OPEN, temperature=0.5)),
    )
    if cold.first is None:  # greedily it may end at once, and an end may leave no entry
        cold = visit.distribution(voice.ask(CUT_OFF, temperature=0.0))
    hot = cold.first is not None and signs.one_hot(cold.first) and not signs.one_hot(warm)
    scaling = "unclear" if cool.first is None else signs.scaling(cool.first, warm)
    visit.chart.facts.cold = cold.first is not None and not hot
    if scaling == "unclear":
        visit.chart.note("temperature", "unclear", "too few log-probs to tell what temperature they are of", by=cool)
    elif scaling == "raw" and not hot:
        visit.chart.note("temperature", "works", "log-probs are those before the temperature", by=cool)
    elif scaling == "raw":
        saw = "log-probs are those before the temperature, but at 0 the best has all"
        visit.chart.note("temperature", "lossy", saw, finding="one-hot-at-zero", by=cold)
    elif hot:
        saw = "log-probs are those after the temperature, at 0 too"
        visit.chart.note("temperature", "lossy", saw, finding="logp-after-temperature", by=cool)
    else:
        saw = "log-probs are those after the temperature, but at 0 those before it"
        visit.chart.note("temperature", "lossy", saw, finding="scaled-except-zero", by=cool)
    _nucleus(visit, voice, warm)


def _nucleus(visit: Visit, voice: Voice, warm: HeardPlace) -> None:
    """Whether log-probs are those after top-p: then nothing but 1 may be said."""
    cut = visit.distribution(voice.ask(OPEN, more={"top_p": 0.1}))
    if cut.first is None:
        visit.chart.note("top-p", "refused", "it may not be said, or nothing comes with it", by=cut)
    elif signs.same_distribution(cut.first, warm, tolerance=visit.chart.facts.tolerance):
        visit.chart.note("top-p", "works", "log-probs are those before top-p", by=cut)
    else:
        saw = "log-probs are those after top-p"
        visit.chart.note("top-p", "lossy", saw, finding="logp-after-top-p", by=cut)


def _bias(visit: Visit, voice: Voice, free: HeardPlace) -> None:
    """Whether a bias chooses, and whether log-probs are those before it."""
    if voice.route == "responses":
        return
    answer, facts = visit.distribution(voice.ask(OPEN, length=SAME, more={"logit_bias": FORCED})), visit.chart.facts
    if answer.first is None:
        visit.chart.note("logit bias", "refused", "it is refused, or nothing comes with it", by=answer)
        return
    facts.before_bias = signs.same_distribution(answer.first, free, tolerance=facts.tolerance)
    facts.forces = not facts.before_bias or signs.is_forced(answer.places)
    if not facts.forces:
        saw = "it is accepted, and changes nothing"
        visit.chart.note("logit bias", "ignored", saw, finding="ignored-bias", by=answer)
    elif facts.before_bias:
        visit.chart.note("logit bias", "works", "it chooses, and log-probs are those before it", by=answer)
    else:
        saw = "log-probs are those after the bias"
        visit.chart.note("logit bias", "lossy", saw, finding="biased-logps", by=answer)


def _draws(visit: Visit) -> None:
    """Two draws by one seed: whether they agree, and how a token is listed that is not among the best."""
    voice = visit.chart.voice("chat", "completions", "responses")
    if voice is None:
        return
    k = min(2, voice.top_k)
    seed = {visit.chart.facts.seed_field: 7} if visit.chart.facts.seed_field and voice.route != "responses" else {}
    drawn = [visit.ask(voice.ask(OPEN, length=DRAWN, top_k=k, more=seed)) for _ in range(2)]
    _listing(visit.chart, voice, drawn[0], k=k)
    if seed:
        _seed(visit.chart, drawn)


def _listing(chart: Chart, voice: Voice, drawn: ProbeAnswer, *, k: int) -> None:
    """How the sampled token stands among the alternatives. The legacy shape is known to have it as one more."""
    if drawn.heard is None or drawn.heard.shape != "rows":
        return
    if signs.displaces(drawn.places):
        saw = "the sampled token is listed first, and may push the last one out"
        chart.note("listing", "lossy", saw, finding="sampled-first", by=drawn)
    elif signs.appends(drawn.places, k):
        saw = "the sampled token is listed too, as one more than was asked for"
        chart.note("listing", "works", saw, finding="extra-entry", by=drawn)
    else:
        chart.note("listing", "works", f"the best {k} are listed on {voice.path}, whatever is sampled", by=drawn)


def _seed(chart: Chart, drawn: Sequence[ProbeAnswer]) -> None:
    one, other = drawn
    if one.heard is None or other.heard is None:
        chart.note("seed", "refused", "no answer came with it", by=one if one.heard is None else other)
    elif one.heard.text == other.heard.text and signs.chance(one.places) < SURE:
        chart.note("seed", "works", "equal seeds draw equal texts", by=other)
    elif one.heard.text == other.heard.text or chart.facts.noise:
        why = "log-probs are noisy" if chart.facts.noise else "the answers are too sure to tell"
        chart.note("seed", "unclear", f"not told: {why}", by=other)
    else:
        chart.facts.seed_field = ""
        saw = "it is accepted, and equal seeds draw other texts"
        chart.note("seed", "ignored", saw, finding="no-seed", by=other)
