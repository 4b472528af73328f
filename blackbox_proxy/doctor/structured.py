"""Probes of structured output: whether a schema can demand the beginning of an answer, with log-probs, and how.

What is demanded is no text that a model would begin with, so that one who obeys is told from one who does not; and
where log-probs are those before the schema's mask, something else is likelier along it.
"""

from __future__ import annotations

import json

from blackbox_proxy.doctor.findings import ProbeAnswer, ProbeSession
from blackbox_proxy.doctor.replies import SENTINEL
from blackbox_proxy.doctor.requests import COLOURS, DEMANDED, RequestForm
from blackbox_proxy.doctor.schemas import LENGTH, find_schemas

_WHAT = "structured output"


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


def _demanding(session: ProbeSession, form: RequestForm, kind: str, *, logprobs: bool = True) -> ProbeAnswer:
    return session.ask(form.demanding(COLOURS, DEMANDED, kind=kind, length=LENGTH, logprobs=logprobs))


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
    again = _demanding(session, form, kind)
    known = f"; a schema that is known takes {again.seconds:.2g} s" if again.reply is not None else ""
    saw = f"it can demand the beginning of an answer, by a {kind}; a new schema takes {answer.seconds:.2g} s{known}"
    findings.note(_WHAT, "works", saw, by=answer)
    if any(place.sampled.logp < place.best.logp - facts.tolerance for place in answer.places if place.listed):
        findings.note("mask", "works", "log-probs are those before the mask of a schema", by=answer)
    elif form.warm and any(place.sampled.logp > SENTINEL for place in answer.places):
        saw = "log-probs are those after the mask of a schema"
        findings.note("mask", "works", saw, finding="masked-logps", by=answer)
    find_schemas(session, form, kind, first=answer, again=again)


def _begins(text: str) -> bool:
    """Whether the text is JSON with what was demanded as the beginning of a string."""
    return "{" in text and f'"{json.dumps(DEMANDED)[1:-1]}' in text.partition("{")[2]
