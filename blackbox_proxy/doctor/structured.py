"""Probes of structured output: whether a schema can demand the beginning of an answer, with log-probs, and how.

What is demanded is no text that a model would begin with, so that one who obeys is told from one who does not; and
where log-probs are those before the schema's mask, something else is likelier along it.
"""

from __future__ import annotations

import json

from blackbox_proxy.doctor.findings import ProbeAnswer, ProbeSession, State
from blackbox_proxy.doctor.replies import SENTINEL, ProbePosition, ProbeToken
from blackbox_proxy.doctor.requests import COLOURS, DEMANDED, LETTERS, RequestForm

LENGTH = 48
"""Tokens for the JSON around the text, for the text, and for some of what follows."""

_WHAT = "structured output"

_SLOW = 0.25
_TIMES = 3.0
"""What a new schema takes longer than a known one, in seconds and in times, for that to be no chance."""


def find_structured(session: ProbeSession) -> None:
    """All probes of this module."""
    form = session.findings.form("chat", "responses")
    if form is None:
        return
    answer = _demanding(session, form, "pattern")
    if answer.reply is None:
        answer = _otherwise(session, form, refused=answer)
    if answer.reply is not None:
        _obeyed(session, form, answer)


def _demanding(
    session: ProbeSession, form: RequestForm, kind: str, *, text: str = DEMANDED, logprobs: bool = True
) -> ProbeAnswer:
    return session.ask(form.demanding(COLOURS, text, kind=kind, length=LENGTH, logprobs=logprobs))


def _otherwise(session: ProbeSession, form: RequestForm, *, refused: ProbeAnswer) -> ProbeAnswer:
    """What is taken where a pattern with log-probs is refused: a constant, or a pattern without log-probs."""
    findings = session.findings
    constant = _demanding(session, form, "const")
    if constant.reply is not None:
        findings.facts.structured = "const"
        findings.note("pattern", "refused", "a schema may have no pattern", finding="no-pattern", by=refused)
        return constant
    bare = _demanding(session, form, "pattern", logprobs=False)
    if bare.reply is not None:
        saw = "a schema is taken, but not together with log-probs"
        findings.note(_WHAT, "refused", saw, finding="no-formatted-logprobs", by=refused)
    else:
        findings.note(_WHAT, "refused", "no schema is taken", by=refused)
    return refused


def _obeyed(session: ProbeSession, form: RequestForm, answer: ProbeAnswer) -> None:
    """Whether the reply does what the schema demands, of which log-probs, and what a new schema takes."""
    findings, facts = session.findings, session.findings.facts
    kind = facts.structured if facts.structured != "none" else "pattern"
    facts.structured = "none"
    if answer.reply is None or not _begins(answer.reply.text):
        saw = "it is accepted, and the answer is not what it demands"
        findings.note(_WHAT, "ignored", saw, finding="ignored-format", by=answer)
        return
    if not answer.places:
        findings.note(_WHAT, "lossy", "the answer is what it demands, without log-probs", by=answer)
        return
    facts.structured = kind
    findings.note(_WHAT, "works", f"it can demand the beginning of an answer, by a {kind}", by=answer)
    other = _demanding(session, form, kind, text=LETTERS)
    _timed(session, form, kind, first=answer, other=other)
    _masked(session, form, answer)
    _spelt(session, other)


def _timed(session: ProbeSession, form: RequestForm, kind: str, *, first: ProbeAnswer, other: ProbeAnswer) -> None:
    """What a new schema takes longer than a known one; two new ones must, since a first call may wait for others."""
    again = _demanding(session, form, kind)
    if again.reply is None:
        return
    saw = f"a new schema takes {first.seconds:.2g} s, a known one {again.seconds:.2g} s"
    late = _late(first, again) and _late(other, _demanding(session, form, kind, text=LETTERS))
    finding = "slow-schema" if late else ""
    state: State = "lossy" if late else "works"
    session.findings.note("new schema", state, saw, finding=finding, by=first)


def _late(new: ProbeAnswer, known: ProbeAnswer) -> bool:
    return new.seconds > max(known.seconds + _SLOW, known.seconds * _TIMES)


def _masked(session: ProbeSession, form: RequestForm, answer: ProbeAnswer) -> None:
    """Whether log-probs are those before the mask: then something else is likelier along what is demanded."""
    findings, facts = session.findings, session.findings.facts
    if any(place.sampled.logp < place.best.logp - facts.tolerance for place in answer.places if place.listed):
        findings.note("mask", "works", "log-probs are those before the mask of a schema", by=answer)
    elif form.warm and any(place.sampled.logp > SENTINEL for place in answer.places):
        saw = "log-probs are those after the mask of a schema"
        findings.note("mask", "works", saw, finding="masked-logps", by=answer)


def _spelt(session: ProbeSession, answer: ProbeAnswer) -> None:
    """Whether what is demanded is spelt as the tokenizer cuts it, or in the model's favourite tokens.

    The tokenizer passes over likelier tokens that would have done as well, which a model never does; and where a model
    says less than a listed token holds, no tokenizer cut that.
    """
    findings, what = session.findings, "spelling"
    choices = [(place.sampled, _alike(place, rest)) for place, rest in _along(answer, LETTERS)]
    if any(one.logp > said.logp + findings.facts.tolerance for said, others in choices for one in others):
        findings.note(what, "works", "what is demanded is spelt as the tokenizer cuts it", by=answer)
    elif any(len(one.token) > len(said.token) for said, others in choices for one in others):
        saw = "what is demanded is spelt in the likeliest tokens, not as the tokenizer cuts it"
        findings.note(what, "works", saw, finding="free-forced", by=answer)
    elif answer.reply is not None:
        findings.note(what, "unclear", "no list shows another token that would have done as well", by=answer)


def _along(answer: ProbeAnswer, demanded: str) -> list[tuple[ProbePosition, str]]:
    """The places at which all of a demanded text, or the rest of it, was still to be said, each with that rest."""
    text, said = answer.reply.text if answer.reply else "", ""
    begins = text.find(demanded)
    places: list[tuple[ProbePosition, str]] = []
    for place in answer.places:
        if begins <= len(said) < begins + len(demanded) and text.startswith(said):
            places.append((place, demanded[len(said) - begins :]))
        said += place.sampled.token
    return places if begins >= 0 else []


def _alike(place: ProbePosition, rest: str) -> list[ProbeToken]:
    """The other listed tokens that begin what is still demanded, without those that have no log-prob."""
    return [
        one
        for one in place.listed
        if one.token and one.token != place.sampled.token and one.logp > SENTINEL and rest.startswith(one.token)
    ]


def _begins(text: str) -> bool:
    """Whether the text is JSON with what was demanded as the beginning of a string."""
    return "{" in text and f'"{json.dumps(DEMANDED)[1:-1]}' in text.partition("{")[2]
