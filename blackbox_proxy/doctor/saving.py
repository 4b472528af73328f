"""Probes of what saves requests: several prompts in one request, and a text that is given back with its log-probs.

Neither is believed because it is accepted: each place that is told must be that of the same text asked about by itself.
"""

from __future__ import annotations

from blackbox_proxy.doctor import signs
from blackbox_proxy.doctor.chart import Chart, Visit
from blackbox_proxy.doctor.going_on import NEXT
from blackbox_proxy.doctor.hearing import HeardPlace, HeardReply
from blackbox_proxy.doctor.voices import CUT_OFF, OPEN, Voice


def find_savings(visit: Visit) -> None:
    """All probes of this module; they are read in the legacy shape alone."""
    chart = visit.chart
    voice = chart.voice("completions")
    if voice is None or chart.facts.templated or chart.facts.decoders["completions"] != "legacy_completions":
        return
    alone = _alone(chart)
    if alone is not None:
        _lists(visit, voice, alone)
        _given_back(visit, voice, alone)


def _alone(chart: Chart) -> HeardPlace | None:
    """The place behind CUT_OFF as it was told when that was asked about by itself, at temperature 1."""
    asked = (
        answer
        for answer in chart.answers
        if answer.request.body.get("prompt") == CUT_OFF and answer.request.body.get("temperature", 1.0) == 1.0
    )
    return next((answer.first for answer in asked if answer.first is not None), None)


def _lists(visit: Visit, voice: Voice, alone: HeardPlace) -> None:
    """Whether a list of prompts is answered by a choice for each."""
    chart, what = visit.chart, "list of prompts"
    answer = visit.ask(voice.ask([OPEN, CUT_OFF]))
    wanted = (chart.openings["completions"].places[0], alone)
    if answer.heard is None:
        chart.note(what, "refused", "a request holds one prompt", by=answer)
        return
    told = answer.heard.each
    firsts = [told[at][0] if told.get(at) else None for at in range(len(wanted))]
    tolerance = chart.facts.tolerance
    same = [
        place is not None and signs.same_distribution(place, other, tolerance=tolerance)
        for place, other in zip(firsts, wanted, strict=True)
    ]
    if len(told) == len(wanted) and all(same):
        chart.facts.lists = True
        chart.note(what, "works", "a request may hold several prompts, each is answered by itself", by=answer)
    else:
        chart.note(what, "ignored", "it is taken, and not each prompt is answered by itself", by=answer)


def _given_back(visit: Visit, voice: Voice, alone: HeardPlace) -> None:
    """Whether a text comes back with the alternatives at each of its places."""
    chart, what = visit.chart, "text given back"
    answer = visit.ask(voice.ask(CUT_OFF + NEXT, more={"echo": True}))
    if answer.heard is None:
        chart.note(what, "refused", "`echo` is refused", by=answer)
        return
    place = _inside(answer.heard)
    if place is not None and signs.same_distribution(place, alone, tolerance=chart.facts.tolerance):
        chart.facts.gives_back = True
        chart.note(what, "works", "`echo` tells the alternatives at each place of a text", by=answer)
    elif not answer.heard.text.startswith(CUT_OFF):
        chart.note(what, "ignored", "`echo` is taken, and the text does not come back", by=answer)
    else:
        saw = "the text comes back without the alternatives at its places"
        chart.note(what, "ignored", saw, by=answer)


def _inside(heard: HeardReply) -> HeardPlace | None:
    """The place behind CUT_OFF in a text that is given back; None where it is not told there."""
    said = ""
    for place in heard.places:
        if said == CUT_OFF and place.listed:
            return place
        said += place.own.token
        if not CUT_OFF.startswith(said):
            return None
    return None
