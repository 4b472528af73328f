"""Probes of the numbers: how many alternatives, whether they are noisy, which temperature and bias they are of.

All first-position distributions are compared at temperature 1, where log-probs before and after it are the same.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

from blackbox_proxy.doctor import analysis
from blackbox_proxy.doctor.findings import DEFAULT, Findings, ProbeAnswer, ProbeSession
from blackbox_proxy.doctor.replies import SENTINEL, ProbePosition
from blackbox_proxy.doctor.requests import CUT_OFF, MOST_ALTERNATIVES, OPEN, RequestForm

FORCED = {"40": 100}
"""A bias that makes every vocabulary say its token 40, which hardly anything would say by itself."""

MANY = 100
DRAWN = 24
REPEATS = 2
SAME = 3
SURE = -10.0
"""Two draws of a log-probability below this are hardly the same by chance."""


def find_logprobs(session: ProbeSession) -> None:
    """All probes of this module, in an order in which each may rely on those before it."""
    findings, form = session.findings, session.findings.main
    if form is None:
        return
    first = findings.openings[form.route]
    form = _count(session, form, first)
    again = [session.distribution(form.ask(OPEN)) for _ in range(REPEATS)]
    _noise(findings, [first, *again])
    _precision(findings, [first, *again])
    if form.warm:
        _temperature(session, form, first.places[0])
    _bias(session, form, first.places[0])
    _draws(session)


def _count(session: ProbeSession, form: RequestForm, first: ProbeAnswer) -> RequestForm:
    """How many alternatives come; the form that asks for as many as there are."""
    most = form.top_k
    if len(first.places[0].listed) < most:
        most = _fewer(session, form)
    elif most == MOST_ALTERNATIVES:
        more = session.distribution(form.ask(OPEN, top_k=MANY))
        got = len(more.first.listed) if more.first else 0
        most = min(got, MANY) if got > MOST_ALTERNATIVES + 1 else MOST_ALTERNATIVES
        session.findings.note("top-k", "works", f"at least {most} alternatives may be asked for", by=more)
    form = replace(form, top_k=most)
    session.findings.forms[form.route] = form
    return form


def _fewer(session: ProbeSession, form: RequestForm) -> int:
    """How many alternatives come, where it seemed to be fewer than were asked for.

    Greedily, since a drawn token may be listed as one more. Where some of them are hidden, or share a name, fewer are
    missing when fewer are asked for.
    """
    greedy = session.distribution(form.ask(OPEN, temperature=0.0))
    got = len(greedy.first.listed) if greedy.first else 0
    if not 0 < got < form.top_k:
        return form.top_k
    fewer = session.distribution(form.ask(OPEN, top_k=got, temperature=0.0))
    if fewer.first is None or len(fewer.first.listed) != got:
        return form.top_k
    saw = f"{got} alternatives come where {form.top_k} are asked for"
    session.findings.note("top-k", "works", saw, finding="top-k-cut", by=greedy)
    return got


def _noise(findings: Findings, same: Sequence[ProbeAnswer]) -> None:
    """How far the log-probs of equal requests are apart."""
    places = [answer.first for answer in same if answer.first]
    changes = [analysis.moved(places[0], place) for place in places[1:]]
    noise = max((change for change in changes if change is not None), default=0.0)
    if noise > 1e-6:
        findings.facts.noise = noise
        saw = f"equal requests give log-probs up to {noise:.2g} nats apart"
        findings.note("noise", "lossy", saw, finding="noise", by=same[-1])
    elif changes:
        findings.note("noise", "works", f"{len(places)} equal requests give equal log-probs", by=same[-1])


def _precision(findings: Findings, same: Sequence[ProbeAnswer]) -> None:
    """How many decimals log-probs have, and whether some are marks."""
    places = [place for answer in same for place in answer.places]
    logprobs = analysis.graded_logprobs(places)
    digits = analysis.decimals(logprobs)
    if len(logprobs) < analysis.FEWEST:
        findings.note("precision", "unclear", f"{len(logprobs)} log-probs are too few to tell", by=same[0])
    elif digits is None:
        findings.note("precision", "works", f"log-probs have more than {analysis.FINEST} decimals", by=same[0])
    else:
        findings.note("precision", "lossy", f"log-probs have {digits} decimals", finding="rounded-logps", by=same[0])
    marks = max(map(analysis.marked, places))
    if marks:
        saw = f"{marks} of {len(places[0].listed)} alternatives have a mark in place of a log-prob"
        findings.note("marks", "lossy", saw, finding="sentinels", by=same[0])


def _temperature(session: ProbeSession, form: RequestForm, warm: ProbePosition) -> None:
    """Whether log-probs follow the temperature, and what they are at 0."""
    cold = session.distribution(form.ask(OPEN, temperature=0.0))
    cool = session.distribution(form.ask(OPEN, temperature=0.5))
    if cold.reply is None and cool.reply is None:
        _fixed(session.findings, cool)
        return
    if cold.first is None:  # greedily it may end at once, and an end may leave no entry
        cold = session.distribution(form.ask(CUT_OFF, temperature=0.0))
    hot = cold.first is not None and analysis.one_hot(cold.first) and not analysis.one_hot(warm)
    scaling = "unclear" if cool.first is None else analysis.scaling(cool.first, warm)
    session.findings.facts.cold = cold.first is not None and not hot
    if scaling == "unclear":
        saw = "too few log-probs to tell what temperature they are of"
        session.findings.note("temperature", "unclear", saw, by=cool)
    elif scaling == "raw" and not hot:
        session.findings.note("temperature", "works", "log-probs are those before the temperature", by=cool)
    elif scaling == "raw":
        saw = "log-probs are those before the temperature, but at 0 the best has all"
        session.findings.note("temperature", "lossy", saw, finding="one-hot-at-zero", by=cold)
    elif hot:
        saw = "log-probs are those after the temperature, at 0 too"
        session.findings.note("temperature", "lossy", saw, finding="logp-after-temperature", by=cool)
    else:
        saw = "log-probs are those after the temperature, but at 0 those before it"
        session.findings.note("temperature", "lossy", saw, finding="scaled-except-zero", by=cool)
    _nucleus(session, form, warm)


def _fixed(findings: Findings, refused: ProbeAnswer) -> None:
    """A temperature that may not be chosen: it is left out from here on."""
    findings.facts.pinned.setdefault("temperature", DEFAULT)
    findings.facts.cold = False
    findings.forms = {route: replace(form, warm=False) for route, form in findings.forms.items()}
    saw = "no temperature but 1 may be said"
    findings.note("temperature", "refused", saw, finding="refused-fields", by=refused)


def _nucleus(session: ProbeSession, form: RequestForm, warm: ProbePosition) -> None:
    """Whether log-probs are those after top-p: then nothing but 1 may be said."""
    cut = session.distribution(form.ask(OPEN, more={"top_p": 0.1}))
    if cut.first is None:
        session.findings.note("top-p", "refused", "it may not be said, or nothing comes with it", by=cut)
    elif analysis.same_distribution(cut.first, warm, tolerance=session.findings.facts.tolerance):
        session.findings.note("top-p", "works", "log-probs are those before top-p", by=cut)
    else:
        saw = "log-probs are those after top-p"
        session.findings.note("top-p", "lossy", saw, finding="logp-after-top-p", by=cut)


def _bias(session: ProbeSession, form: RequestForm, free: ProbePosition) -> None:
    """Whether a bias chooses, and whether log-probs are those before it."""
    if form.route == "responses":
        return
    facts = session.findings.facts
    answer = session.distribution(form.ask(OPEN, length=SAME, more={"logit_bias": FORCED}))
    if answer.first is None:
        session.findings.note("logit bias", "refused", "it is refused, or nothing comes with it", by=answer)
        return
    facts.before_bias = analysis.same_distribution(answer.first, free, tolerance=facts.tolerance)
    facts.forces = not facts.before_bias or analysis.is_forced(answer.places)
    if not facts.forces:
        saw = "it is accepted, and changes nothing"
        session.findings.note("logit bias", "ignored", saw, finding="ignored-bias", by=answer)
    elif facts.before_bias:
        session.findings.note("logit bias", "works", "it chooses, and log-probs are those before it", by=answer)
    else:
        saw = "log-probs are those after the bias"
        session.findings.note("logit bias", "lossy", saw, finding="biased-logps", by=answer)


def _draws(session: ProbeSession) -> None:
    """Two draws by one seed: whether they agree, and how a token is listed that is not among the best."""
    form = session.findings.form("chat", "completions", "responses")
    if form is None:
        return
    k, field = min(2, form.top_k), session.findings.facts.seed_field
    seed = {field: 7} if field and form.route != "responses" else {}
    drawn = [session.ask(form.ask(OPEN, length=DRAWN, top_k=k, more=seed)) for _ in range(2)]
    _listing(session.findings, form, drawn[0], k=k)
    if seed:
        _seed(session.findings, drawn)


def _listing(findings: Findings, form: RequestForm, drawn: ProbeAnswer, *, k: int) -> None:
    """How the sampled token stands among the alternatives. The legacy shape is known to have it as one more."""
    if drawn.reply is None or drawn.reply.shape != "rows":
        return
    if analysis.displaces(drawn.places):
        saw = "the sampled token is listed first, and may push the last one out"
        findings.note("listing", "lossy", saw, finding="sampled-first", by=drawn)
    elif analysis.appends(drawn.places, k):
        saw = "the sampled token is listed too, as one more than was asked for"
        findings.note("listing", "works", saw, finding="extra-entry", by=drawn)
    else:
        findings.note("listing", "works", f"the best {k} are listed on {form.path}, whatever is sampled", by=drawn)


def _seed(findings: Findings, drawn: Sequence[ProbeAnswer]) -> None:
    one, other = drawn
    if one.reply is None or other.reply is None:
        findings.note("seed", "refused", "no answer came with it", by=one if one.reply is None else other)
    elif one.reply.text == other.reply.text and analysis.chance(one.places) < SURE:
        findings.note("seed", "works", "equal seeds draw equal texts", by=other)
    elif one.reply.text == other.reply.text or findings.facts.noise:
        why = "log-probs are noisy" if findings.facts.noise else "the answers are too sure to tell"
        findings.note("seed", "unclear", f"not told: {why}", by=other)
    else:
        findings.facts.seed_field = ""
        saw = "it is accepted, and equal seeds draw other texts"
        findings.note("seed", "ignored", saw, finding="no-seed", by=other)


def find_support(findings: Findings, top_p: float) -> None:
    """Whether log-probs are cut at the top_p that an endpoint fixes, by all replies so far.

    Of a place whose best alone has more than that, a list that is cut holds nothing else, and the best has all.
    """
    sure = [
        (answer, place)
        for answer in findings.answers
        for place in answer.places
        if place.listed and math.exp(place.best.logp) > top_p
    ]
    whole = [answer for answer, place in sure if sum(one.logp > SENTINEL for one in place.listed) > 1]
    if whole:
        findings.note("support", "works", f"log-probs beyond the likeliest {top_p:.0%} are told", by=whole[0])
    elif sure:
        saw = f"nothing beyond the likeliest {top_p:.0%} is told"
        findings.note("support", "lossy", saw, finding="cut-support", by=sure[0][0])
    else:
        findings.note("support", "unclear", f"no token was seen that has more than {top_p:.0%} by itself")
