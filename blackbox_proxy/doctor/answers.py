"""Probes of whole answers: how many one request draws and what its prompt costs then, and how they may be drawn.

Of an endpoint that shows no log-probs this is all there is to ask; it is spoken to as these probes were.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from blackbox_proxy.core.money.usage import read_usage
from blackbox_proxy.doctor.findings import DEFAULT, ProbeAnswer, ProbeSession
from blackbox_proxy.doctor.requests import OPEN, RequestForm

DRAWN = 8
"""Answers that are asked for in one request; more than most need, and a token each."""

DRAWING: Mapping[str, float] = {"temperature": 0.7, "top_p": 0.9}
"""What whole answers are drawn with, at values that are no endpoint's default."""

_AT_MOST = re.compile(r"(?:<=|at most|less than or equal to|maximum(?: of| value)?(?: is)?|between 1 and)\s*(\d{1,3})")


def find_answers(session: ProbeSession, *, known: int) -> None:
    """How many answers one request draws. known: how many a profile says, where that is more than is asked for here."""
    form = session.findings.silent or session.findings.spoken
    if form is None or form.route == "responses":
        return
    answer = session.ask(form.bare(OPEN, more={"n": DRAWN}))
    most = _named(answer)
    if most > 1:
        answer = session.ask(form.bare(OPEN, more={"n": most}))
    asked = most or DRAWN
    _read_drawn(session, form, answer, asked=asked, known=known)


def _named(answer: ProbeAnswer) -> int:
    """The most answers that a refusal names; 0 where it names none."""
    match = _AT_MOST.search(answer.words) if answer.reply is None else None
    number = int(match[1]) if match else 0
    return number if number < DRAWN else 0


def _read_drawn(session: ProbeSession, form: RequestForm, answer: ProbeAnswer, *, asked: int, known: int) -> None:
    findings, facts, what = session.findings, session.findings.facts, "answers at once"
    facts.at_once = 1
    if answer.reply is None:
        findings.note(what, "refused", "a request draws one answer", finding="refused-fields", by=answer)
        return
    came = max(len(answer.reply.each), 1)
    if came < asked:
        findings.note(what, "ignored", f"{asked} are asked for, and {came} come", by=answer)
        return
    facts.at_once = max(known, asked) if asked == DRAWN else asked
    more = "" if asked == DRAWN else ", and no more"
    once = _billed_once(session, form, answer)
    if once is None:
        saw = f"a request draws {asked}{more}; usage does not say what the prompt takes"
        findings.note(what, "works", saw, by=answer)
    elif once:
        findings.note(what, "works", f"a request draws {asked}{more}, and counts its prompt once", by=answer)
    else:
        saw = f"a request draws {asked}{more}, and counts its prompt for each"
        findings.note(what, "lossy", saw, finding="prompt-per-answer", by=answer)


def _billed_once(session: ProbeSession, form: RequestForm, answer: ProbeAnswer) -> bool | None:
    """Whether the prompt was counted as for one answer; None where usage does not say."""
    alone = next(
        (
            one
            for one in session.findings.answers
            if one.reply and one.request.path == form.path and "n" not in one.request.body and _says(one, form)
        ),
        None,
    )
    counts = [_read(one) for one in (alone, answer) if one is not None]
    if len(counts) < 2 or not all(counts):
        return None
    return counts[1] < 2 * counts[0]


def _says(answer: ProbeAnswer, form: RequestForm) -> bool:
    """Whether an answer is one to the same prompt."""
    return all(answer.request.body.get(name) == value for name, value in form.bare(OPEN).body.items() if name in _SAID)


_SAID = ("prompt", "messages", "input")


def _read(answer: ProbeAnswer) -> int:
    """Tokens of the prompt; 0 where they are not counted."""
    usage = answer.reply.usage if answer.reply else None
    return read_usage(usage).usage.input if usage else 0


def find_drawing(session: ProbeSession) -> None:
    """Of an endpoint without log-probs: whether it may be said how an answer is drawn."""
    findings, form = session.findings, session.findings.silent
    if form is None:
        return
    together = session.ask(form.bare(OPEN, more=DRAWING))
    if together.reply is not None:
        findings.note("drawing", "works", f"taken: {', '.join(DRAWING)}", by=together)
        return
    answers = {name: session.ask(form.bare(OPEN, more={name: value})) for name, value in DRAWING.items()}
    refused = [name for name, answer in answers.items() if answer.reply is None]
    findings.facts.pinned = dict.fromkeys(refused or DRAWING, DEFAULT)
    saw = f"refused: {', '.join(findings.facts.pinned)}; they are left out, and answers are drawn as the endpoint does"
    findings.note("drawing", "refused", saw, finding="refused-fields", by=together)
