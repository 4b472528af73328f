"""Probes of how a reply is written: fragments of characters, the end of an answer, and what usage tells."""

from __future__ import annotations

import json
from collections.abc import Collection, Sequence

from blackbox_proxy.doctor import analysis
from blackbox_proxy.doctor.findings import Facts, Findings, ProbeAnswer, ProbeSession
from blackbox_proxy.doctor.logprobs import FORCED
from blackbox_proxy.doctor.replies import ProbeReply, ProbeToken
from blackbox_proxy.doctor.requests import OK, PARROT, PARROTS, SHORT, RequestForm, Route
from blackbox_proxy.types import WireRequest

ROWS = 12
BRIEF = 16
LIKELY = -5.0
"""A token that is no text is no sign of an end below this log-prob: there are other special ones."""


def find_token_text(session: ProbeSession, *, ends: Collection[bytes]) -> None:
    """All probes of this module. ends: how ends are spelt everywhere."""
    findings = session.findings
    for form in _forms(findings):
        session.ask(_begun(form, findings.facts, PARROTS, begun=PARROT, length=ROWS))
    _rows(findings)
    _names(findings)
    stops = [session.ask(_begun(form, findings.facts, SHORT, begun=OK, length=BRIEF)) for form in _forms(findings)]
    _force_past_end(session)
    _ends(findings, stops, [end.decode() for end in ends if end])
    _usage(findings)


def _forms(findings: Findings) -> Sequence[RequestForm]:
    """A route of rows, and the legacy one, as far as they are there."""
    forms = (findings.form("chat", "responses"), findings.form("completions"))
    return [form for form in forms if form is not None]


def _begun(form: RequestForm, facts: Facts, question: str, *, begun: str, length: int) -> WireRequest:
    """A question, with its answer begun where that can be, since small models would rather say something else."""
    if form.route == "chat" and facts.prefill:
        return form.continuing(question, begun, kind=facts.prefill, length=length, temperature=facts.temperature)
    return form.ask(question, length=length, temperature=facts.temperature)


def _rows_of(findings: Findings) -> list[ProbeReply]:
    """The replies in rows of the route that is likeliest to be steered by. /responses writes no bytes as empty ones."""
    form = findings.form("chat", "responses")
    routes: list[Route] = ["completions", *([form.route] if form else [])]
    return [one for one in findings.replies(*routes) if one.shape == "rows"]


def _legacy(findings: Findings) -> list[ProbeReply]:
    return [one for one in findings.replies("completions") if one.shape == "legacy"]


def _latest(findings: Findings, shape: str) -> ProbeAnswer | None:
    """The answer of this shape that wrote the parrots."""
    said = [one for one in findings.answers if one.reply and one.reply.shape == shape]
    return next((one for one in said if "🦜" in json.dumps(dict(one.request.body), ensure_ascii=False)), None)


def _rows(findings: Findings) -> None:
    """What the bytes of rows are worth."""
    replies = _rows_of(findings)
    if not replies:
        return
    trust, by = analysis.fragments(replies), _latest(findings, "rows")
    if trust == "none":
        findings.facts.trust = "none"
        findings.note("bytes", "lossy", "no token has bytes", finding="null-bytes", by=by)
    elif trust == "lossy":
        findings.facts.trust = "lossy"
        saw = "fragments of characters have the bytes of U+FFFD"
        findings.note("bytes", "lossy", saw, finding="lossy-bytes", by=by)
    elif trust == "true":
        findings.note("bytes", "works", "fragments of characters have their true bytes", by=by)
    else:
        findings.note("bytes", "unclear", "no fragment of a character was seen", by=by)
    if trust in ("true", "unseen") and by and by.reply and analysis.skips(by.reply):
        saw = "a token that ends inside of a character has no entry"
        findings.note("fragments", "lossy", saw, finding="skipped-fragments", by=by)


def _names(findings: Findings) -> None:
    """How the legacy shape names fragments, and whether it is Together's."""
    replies, by = _legacy(findings), _latest(findings, "legacy")
    if not replies:
        return
    if any(one.keyed for one in replies):
        findings.facts.decoders["completions"] = "together"
        findings.note("legacy shape", "works", "token ids stand in it", finding="together-shape", by=by)
    if analysis.collide(replies) and "lossy-bytes" not in findings.deviations:
        findings.facts.blank_is_text = any(not p.sampled.token for one in replies for p in one.places[:-1])
        saw = "fragments of characters share one name in the legacy shape"
        findings.note("names of fragments", "lossy", saw, finding="string-collisions", by=by)
    elif analysis.is_unmarked(replies):
        saw = r"a fragment is written \x.. in the legacy shape, as a text might be"
        findings.note("names of fragments", "lossy", saw, finding="escaped-tokens", by=by)


def _force_past_end(session: ProbeSession) -> None:
    """Makes a chat go on where it would end, so that the end must be among the alternatives."""
    form, facts = session.findings.form("chat"), session.findings.facts
    if form is None or not facts.prefill or not facts.forces:
        return
    bias = {"logit_bias": FORCED}
    session.ask(form.continuing(SHORT, OK, kind=facts.prefill, temperature=facts.temperature, more=bias))


def _ends(findings: Findings, stops: Sequence[ProbeAnswer], known: Sequence[str]) -> None:
    """How the end of an answer is written, by the answers that ended and by everything that was listed."""
    stopped = [one for one in stops if one.reply and one.reply.stopped]
    rows, legacy = _rows_of(findings), _legacy(findings)
    last = [(one, extra) for one in stopped if one.reply and (extra := analysis.surplus(one.reply))]
    listed = [one for one in analysis.specials(rows) if one.logp > LIKELY] + analysis.named([*rows, *legacy], known)
    blank = [one for one in analysis.specials(rows) if not one.token]
    blank += [extra for one, extra in last if not extra.token]
    mute = findings.facts.trust == "none"
    spoken = [
        extra for one, extra in last if extra.raw or (mute and extra.token and one.reply and one.reply.shape == "rows")
    ]
    by = stopped[0] if stopped else stops[0] if stops else None
    if spoken:
        saw = f"it is listed as if {spoken[0].token!r} were text"
        findings.note("end of an answer", "lossy", saw, finding="visible-end-text", by=by)
    elif blank:
        findings.note("end of an answer", "lossy", "it is written as nothing", finding="blank-specials", by=by)
    elif last or listed:
        findings.note("end of an answer", "works", f"it is listed, as {_spelt(last, listed, known)!r}", by=by)
    elif stopped:
        positions = sum(len(one.places) for one in (*rows, *legacy))
        saw = f"answers end without an entry, and nothing like an end is listed at {positions} positions"
        findings.note("end of an answer", "lossy", saw, finding="hidden-end", by=by)
    else:
        findings.note("end of an answer", "unclear", "no answer ended, and no end was listed", by=by)
    new = {extra.token for _, extra in last if extra.token and extra.token not in known}
    findings.facts.ends = tuple(sorted(new))


def _spelt(last: Sequence[tuple[ProbeAnswer, ProbeToken]], listed: Sequence[ProbeToken], known: Collection[str]) -> str:
    """The end's name: that of the last token of an answer, else the likeliest one that looks like an end."""
    if last:
        return last[0][1].token
    likely = [one for one in listed if one.token in known] or listed
    return max(likely, key=lambda one: one.logp).token


def _usage(findings: Findings) -> None:
    """What replies tell of what they used."""
    answered = [one for one in findings.answers if one.reply]
    counted = [one for one in answered if one.reply and one.reply.usage]
    if not counted:
        saw = "replies do not tell what they used"
        findings.note("usage", "lossy", saw, finding="no-usage", by=answered[-1])
    elif any(one.reply and one.reply.cached for one in counted):
        findings.note("usage", "works", "tokens are counted, those from the cache too", by=counted[-1])
    else:
        saw = "usage does not tell how much was cached"
        findings.note("usage", "lossy", saw, finding="cached-hidden", by=counted[-1])
