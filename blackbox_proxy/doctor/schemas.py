"""Probes of schemas that are obeyed: what a new one takes, and in which tokens what is demanded is spelt.

The text that is demanded here is another one than that of `structured`, so that its schema is new.
"""

from __future__ import annotations

from blackbox_proxy.doctor.findings import ProbeAnswer, ProbeSession
from blackbox_proxy.doctor.replies import SENTINEL, ProbePosition, ProbeToken
from blackbox_proxy.doctor.requests import COLOURS, LETTERS, RequestForm

LENGTH = 48
"""Tokens for the JSON around the text, for the text, and for some of what follows."""

_SLOW = 0.25
_TIMES = 1.3
"""What a new schema takes longer than a known one, in seconds and in times, for that to be no chance."""


def find_schemas(
    session: ProbeSession, form: RequestForm, kind: str, *, first: ProbeAnswer, again: ProbeAnswer
) -> None:
    """All probes of this module.

    Args:
        session: Where findings go.
        form: The route that obeys schemas.
        kind: How they demand a text.
        first: The first answer to a schema.
        again: The second one to the same.
    """
    request = form.demanding(COLOURS, LETTERS, kind=kind, length=LENGTH)
    other = session.ask(request)
    if _late(first, again) and _late(other, session.ask(request)):
        saw = f"a new schema takes {other.seconds - again.seconds:.2g} s longer than a known one"
        session.findings.note("new schema", "lossy", saw, finding="slow-schema", by=other)
    _spelt(session, other)


def _late(new: ProbeAnswer, known: ProbeAnswer) -> bool:
    """Two new schemas must be late, since a first call may wait for other things."""
    return known.reply is not None and new.seconds > max(known.seconds + _SLOW, known.seconds * _TIMES)


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
