"""Probes of what saves requests: several prompts in one request, and a text that is given back with its log-probs.

Neither is believed because it is accepted: each place that is told must be that of the same text asked about by itself.
"""

from __future__ import annotations

from blackbox_proxy.doctor import analysis
from blackbox_proxy.doctor.continuation import NEXT
from blackbox_proxy.doctor.findings import Findings, ProbeSession
from blackbox_proxy.doctor.replies import ProbePosition, ProbeReply
from blackbox_proxy.doctor.requests import CUT_OFF, OPEN, RequestForm


def find_batching(session: ProbeSession) -> None:
    """All probes of this module; they are read in the legacy shape alone."""
    findings = session.findings
    form = findings.form("completions")
    if form is None or findings.facts.templated or findings.facts.decoders["completions"] != "legacy_completions":
        return
    alone = _alone(findings)
    if alone is not None:
        _lists(session, form, alone)
        _given_back(session, form, alone)


def _alone(findings: Findings) -> ProbePosition | None:
    """The place behind CUT_OFF as it was told when that was asked about by itself, at temperature 1."""
    asked = (
        answer
        for answer in findings.answers
        if answer.request.body.get("prompt") == CUT_OFF and answer.request.body.get("temperature", 1.0) == 1.0
    )
    return next((answer.first for answer in asked if answer.first is not None), None)


def _lists(session: ProbeSession, form: RequestForm, alone: ProbePosition) -> None:
    """Whether a list of prompts is answered by a choice for each."""
    findings, what = session.findings, "list of prompts"
    answer = session.ask(form.ask([OPEN, CUT_OFF]))
    expected = (findings.openings["completions"].places[0], alone)
    if answer.reply is None:
        findings.note(what, "refused", "a request holds one prompt", by=answer)
        return
    choices = answer.reply.each
    firsts = [choices[at][0] if choices.get(at) else None for at in range(len(expected))]
    tolerance = findings.facts.tolerance
    same = [
        place is not None and analysis.same_distribution(place, other, tolerance=tolerance)
        for place, other in zip(firsts, expected, strict=True)
    ]
    if len(choices) == len(expected) and all(same):
        findings.facts.lists = True
        findings.note(what, "works", "a request may hold several prompts, each is answered by itself", by=answer)
    else:
        findings.note(what, "ignored", "it is taken, and not each prompt is answered by itself", by=answer)


def _given_back(session: ProbeSession, form: RequestForm, alone: ProbePosition) -> None:
    """Whether a text comes back with the alternatives at each of its places."""
    findings, what = session.findings, "text given back"
    answer = session.ask(form.ask(CUT_OFF + NEXT, more={"echo": True}))
    if answer.reply is None:
        findings.note(what, "refused", "`echo` is refused", by=answer)
        return
    place = _inside(answer.reply)
    if place is not None and analysis.same_distribution(place, alone, tolerance=findings.facts.tolerance):
        findings.facts.gives_back = True
        findings.note(what, "works", "`echo` tells the alternatives at each place of a text", by=answer)
    elif not answer.reply.text.startswith(CUT_OFF):
        findings.note(what, "ignored", "`echo` is taken, and the text does not come back", by=answer)
    else:
        saw = "the text comes back without the alternatives at its places"
        findings.note(what, "ignored", saw, by=answer)


def _inside(reply: ProbeReply) -> ProbePosition | None:
    """The place behind CUT_OFF in a text that is given back; None where it is not told there."""
    said = ""
    for place in reply.places:
        if said == CUT_OFF and place.listed:
            return place
        said += place.sampled.token
        if not CUT_OFF.startswith(said):
            return None
    return None
