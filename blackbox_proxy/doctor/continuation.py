"""Probes of how an endpoint goes on from a text: raw, by ids, or from a partial turn of a chat.

Whether it did is read off the distribution of the first position, not off what was drawn from it, and by a text after
which a word comes with a blank before it: no answer of its own begins so.
"""

from __future__ import annotations

import math

from blackbox_proxy.doctor import analysis
from blackbox_proxy.doctor.findings import ProbeAnswer, ProbeSession
from blackbox_proxy.doctor.replies import ProbePosition
from blackbox_proxy.doctor.requests import BLANK, COLOURS, CUT_OFF, KINDS, OPEN, RequestForm, turn

CHOSEN = {"logprob_token_ids": [40, 41], "return_tokens_as_token_ids": True}
NEXT = " blue"
"""What comes after CUT_OFF."""
LIKELY = 0.2


def find_continuation(session: ProbeSession) -> None:
    """All probes of this module."""
    findings = session.findings
    if completions := findings.form("completions"):
        _raw(session, completions)
        _ids(session, completions)
        _chosen_ids(session, completions)
    if chat := findings.form("chat"):
        _prefill(session, chat)
        if findings.facts.prefill:
            _blanks(session, chat)


def _raw(session: ProbeSession, form: RequestForm) -> None:
    """Whether a text is gone on with as it is, or is taken for a question of a chat."""
    findings, facts = session.findings, session.findings.facts
    answer = session.distribution(form.ask(CUT_OFF))
    inside = answer.first is not None and (goes_on(answer.first) or goes_on(answer.first, NEXT.strip()))
    turns = findings.openings.get("chat")
    alike = turns is not None and analysis.same_distribution(
        findings.openings["completions"].places[0], turns.places[0], tolerance=facts.tolerance
    )
    facts.templated = alike
    if alike:
        saw = "a text is answered as a question of a chat is"
        findings.note("raw text", "lossy", saw, finding="templated-completions", by=answer)
    elif inside:
        findings.note("raw text", "works", "a text is gone on with as it is", by=answer)
    else:
        findings.note(
            "raw text", "unclear", "a text was not gone on with, but no sign of a chat was seen either", by=answer
        )


def goes_on(place: ProbePosition, word: str = NEXT) -> bool:
    """Whether the word, or a beginning of it, is likely."""
    distribution = place.distribution.items()
    return math.fsum(math.exp(logp) for token, logp in distribution if token and _agree(token, word)) > LIKELY


def _agree(token: str, word: str) -> bool:
    return word.startswith(token) or token.startswith(word)


def _ids(session: ProbeSession, form: RequestForm) -> None:
    answer = session.ask(form.bare([40, 41]))
    findings = session.findings
    findings.facts.ids = answer.reply is not None
    if answer.reply:
        findings.note("token ids", "works", "a prompt may be a list of ids", by=answer)
    else:
        findings.note("token ids", "refused", "a prompt must be text", finding="no-ids", by=answer)


def _chosen_ids(session: ProbeSession, form: RequestForm) -> None:
    """Whether log-probs beyond the top-k can be had: of chosen ids, or of a token that a bias forces."""
    findings, facts = session.findings, session.findings.facts
    answer = session.distribution(form.ask(OPEN, more=CHOSEN))
    if answer.first is not None and {"token_id:40", "token_id:41"} <= {one.token for one in answer.first.listed}:
        facts.reveal = "ids"
        findings.note("unseen tokens", "works", "log-probs of chosen ids are told", by=answer)
    elif facts.forces and facts.before_bias:
        facts.reveal = "bias"
        findings.note("unseen tokens", "works", "a bias can make it tell their log-probs", by=answer)
    else:
        findings.note("unseen tokens", "refused", "nothing beyond the top-k is told", by=answer)


def _prefill(session: ProbeSession, form: RequestForm) -> None:
    """By which of four ways a partial turn is told, if by any."""
    findings = session.findings
    answers = {kind: session.distribution(form.continuing(COLOURS, CUT_OFF, kind=kind)) for kind in KINDS}
    loose = [kind for kind in KINDS if _continued(answers[kind], NEXT.strip())]
    works = [kind for kind in KINDS if _continued(answers[kind])] or (loose if "implicit" not in loose else [])
    if works:
        findings.facts.prefill, findings.facts.kinds = works[0], tuple(works)
        shown = answers[works[0]]
        findings.note("partial turn", "works", f"gone on with, told by: {', '.join(works)}", by=shown)
        if shown.reply and shown.reply.text.startswith(CUT_OFF):
            findings.facts.echoes = True
            saw = "the answer repeats the partial turn"
            findings.note("echo", "works", saw, finding="echoed-prefix", by=shown)
    elif taken := [answers[kind] for kind in KINDS[:-1] if answers[kind].reply]:
        shown = taken[0]
        saw = "flags are ignored, and a new turn begins"
        findings.note("partial turn", "ignored", saw, finding="no-prefill", by=shown)
    else:
        findings.note("partial turn", "refused", "flags are refused", by=answers["flag_pair"])
    _unflagged(session, form, answers["implicit"])


def _continued(answer: ProbeAnswer, word: str = NEXT) -> bool:
    """Whether the word comes next; without its blank, as some servers show it, that is a sign only beside others."""
    place = analysis.after(answer.reply, CUT_OFF) if answer.reply else None
    return place is not None and goes_on(place, word)


def _behind(answer: ProbeAnswer, text: str) -> ProbePosition | None:
    """The place behind a partial turn, whose blank may be lost where the turn is repeated."""
    if answer.reply is None:
        return None
    repeated = answer.reply.text.startswith(text)
    return analysis.after(answer.reply, text if repeated else text.rstrip())


def _unflagged(session: ProbeSession, form: RequestForm, answer: ProbeAnswer) -> None:
    """What becomes of an assistant's turn at the end that no flag says anything about."""
    findings, what = session.findings, "turn without flag"
    if answer.reply is None:
        findings.note(what, "refused", "the last turn may not be the assistant's", by=answer)
        return
    if _continued(answer):
        findings.note(what, "works", "it is gone on with", finding="implicit-prefill", by=answer)
        return
    as_user = session.distribution(form.ask([turn("user", COLOURS), turn("user", CUT_OFF)]))
    one, other = answer.first, as_user.first
    if one and other and analysis.same_distribution(one, other, tolerance=findings.facts.tolerance):
        saw = "it is taken for the user's"
        findings.note(what, "lossy", saw, finding="prefill-as-user", by=answer)
    else:
        findings.note(what, "works", "it is finished, and a new one begins", by=answer)


def _blanks(session: ProbeSession, form: RequestForm) -> None:
    """Whether a blank at the end of a partial turn is kept."""
    findings, kind = session.findings, session.findings.facts.prefill
    texts = (BLANK, BLANK + " ")
    answers = [session.distribution(form.continuing(COLOURS, text, kind=kind)) for text in texts]
    plain, blank = (_behind(answer, text) for answer, text in zip(answers, texts, strict=True))
    if plain is None or blank is None:
        findings.note("blank at the end", "unclear", "nothing was told after it", by=answers[1])
    elif analysis.same_distribution(plain, blank, tolerance=findings.facts.tolerance):
        findings.facts.trims = True
        saw = "a blank at the end of a partial turn is lost"
        findings.note("blank at the end", "lossy", saw, finding="trimmed-prefill", by=answers[1])
    else:
        findings.note("blank at the end", "works", "a partial turn is kept to its last blank", by=answers[1])
