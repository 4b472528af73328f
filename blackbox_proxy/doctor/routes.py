"""Probes of the routes: which there are, which form of request each takes, and which fields it takes.

A route that takes the first request, with log-probs and a temperature, costs one call. Where that is refused, it is
built up from its parts, and each part that needs another form is a finding.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from functools import partial

from blackbox_proxy.doctor.findings import DEFAULT, Ask, Findings, ProbeAnswer, ProbeSession
from blackbox_proxy.doctor.requests import OPEN, ROUTES, RequestForm, first_form

_AT_LEAST = re.compile(r"(?:>=|at least|minimum(?: of| value)?(?: is)?)\s*(\d+)")
_AT_MOST = re.compile(r"(?:<=|at most|less than or equal to|maximum(?: of| value)?(?: is)?|between 0 and)\s*(\d+)")
_FEWER = (5, 1)
_TRIES = 3
_NORM = 16
_NEWER = "max_completion_tokens"
OPTIONAL: Mapping[str, object] = {"stop": ["\n\n\n"], "top_p": 1, "logit_bias": {"40": 0}}
"""Fields that a route of OpenAI's takes besides the seed, with values that change nothing."""


def find_routes(session: ProbeSession, *, model: str, extra: Mapping[str, object], length_field: str) -> None:
    """Which routes answer, and the form of request that each takes."""
    missing: list[str] = []
    for route in ROUTES:
        form = first_form(route, model, extra=extra, length_field=length_field)
        answer = session.ask(form.ask(OPEN))
        if answer.missing:
            missing.append(ROUTES[route])
            session.findings.note(f"route {ROUTES[route]}", "refused", "it is not there", by=answer)
        else:
            _settle(session, form, answer)
    if missing:
        session.findings.note("routes", "refused", f"not there: {', '.join(missing)}", finding="closed-routes")


def _settle(session: ProbeSession, first: RequestForm, answer: ProbeAnswer) -> None:
    """Notes a route that answers, and the form that it takes where it refused the first request."""
    form, refused, findings = first, answer, session.findings
    if answer.reply is None:
        accepted = _by_words(session.ask, first, refused) or _by_parts(session.ask, first)
        if accepted is None:
            findings.note(f"route {first.path}", "refused", "no form of a request was taken", by=refused)
            return
        form, answer = accepted
        _note_changes(findings, first, form, by=refused)
    findings.forms[form.route] = form
    _read_route(findings, form, session.again(answer))


def _read_route(findings: Findings, form: RequestForm, answer: ProbeAnswer) -> None:
    """Whether a reply that should have log-probs and alternatives has them."""
    reply, what = answer.reply, f"route {form.path}"
    if reply is None or not form.top_k:
        findings.note(what, "refused", "it answers, and shows no log-probs", by=answer)
    elif answer.empty:
        findings.note(what, "unclear", "each answer ended before it began, so that no log-prob was seen", by=answer)
    elif not reply.places:
        saw = "log-probs are asked for, and none come"
        findings.note(what, "ignored", saw, finding="ignored-logprobs", by=answer)
    elif not any(place.listed for place in reply.places):
        saw = "the chosen tokens have log-probs, and there are no alternatives"
        findings.note(what, "lossy", saw, finding="no-top", by=answer)
    else:
        findings.openings[form.route] = answer
        findings.facts.decoders[form.route] = _decoder(form, reply.shape)
        findings.note(what, "works", f"{len(reply.places[0].listed)} alternatives at a position", by=answer)


def _decoder(form: RequestForm, shape: str) -> str:
    if form.route == "responses":
        return "openai_responses"
    return "legacy_completions" if shape == "legacy" else "openai_chat"


def _by_words(ask: Ask, form: RequestForm, refused: ProbeAnswer) -> tuple[RequestForm, ProbeAnswer] | None:
    """The form that the route's own refusals ask for, if that is enough."""
    answer = refused
    for _ in range(_TRIES):
        changed = _adjusted(form, answer.words)
        if changed == form:
            return None
        form, answer = changed, ask(changed.ask(OPEN))
        if answer.reply:
            return form, answer
    return None


def _adjusted(form: RequestForm, words: str) -> RequestForm:
    """The form changed as a refusal asks."""
    least = _number(_AT_LEAST, words, form.least, low=form.least, high=4096)
    top_k = _number(_AT_MOST, words, form.top_k, low=0, high=form.top_k)
    newer = _NEWER if form.route == "chat" and _NEWER in words else form.length_field
    return replace(form, least=least, top_k=top_k, length_field=newer)


def _by_parts(ask: Ask, form: RequestForm) -> tuple[RequestForm, ProbeAnswer] | None:
    """The route put together from its parts, and the last answer that it gave."""
    limited = _limited(ask, form)
    if limited is None:
        return None
    return _warmed(ask, *_shown(ask, *limited))


def _limited(ask: Ask, form: RequestForm) -> tuple[RequestForm, ProbeAnswer] | None:
    """A form of the limit that a bare request is taken with."""
    for other in _forms(form):
        answer = ask(other.bare(OPEN))
        if answer.reply:
            return other, answer
    return None


def _forms(form: RequestForm) -> Iterator[RequestForm]:
    """Forms of the limit: the older name or the newer, few tokens or more; without reasoning, which eats the few."""
    newer = replace(form, length_field=_NEWER) if form.route == "chat" else form
    more, both = (replace(one, least=max(one.least, _NORM)) for one in (form, newer))
    unreasoned = replace(both, extra={**form.extra, **form.without_reasoning()})
    forms = [form, newer, more, both, unreasoned]
    yield from (form for at, form in enumerate(forms) if form not in forms[:at])


def _shown(ask: Ask, form: RequestForm, bare: ProbeAnswer) -> tuple[RequestForm, ProbeAnswer]:
    """With log-probs: as many as may be asked for, without reasoning if need be; with none where none are given."""
    unreasoned = replace(form, extra={**form.extra, **form.without_reasoning()})
    for other in (form, unreasoned, *(replace(one, top_k=k) for k in _FEWER for one in (form, unreasoned))):
        answer = ask(other.bare(OPEN, more=other.logprob_fields(other.top_k)))
        if answer.reply:
            return other, answer
    return replace(form, top_k=0), bare


def _warmed(ask: Ask, form: RequestForm, answer: ProbeAnswer) -> tuple[RequestForm, ProbeAnswer]:
    """With a temperature, if it is taken."""
    if not form.top_k:
        return form, answer
    warm = ask(form.ask(OPEN))
    return (form, warm) if warm.reply else (replace(form, warm=False), answer)


def _note_changes(findings: Findings, first: RequestForm, form: RequestForm, *, by: ProbeAnswer) -> None:
    """What a route wants otherwise than it was asked at first."""
    where = form.path
    if form.length_field != first.length_field:
        saw = f"the limit must be called {form.length_field}"
        findings.note(f"limit of {where}", "works", saw, finding="max-completion-tokens-only", by=by)
    if form.least > first.least:
        saw = f"no fewer than {form.least} tokens may be asked for"
        findings.note(f"shortest answer of {where}", "works", saw, finding="min-output", by=by)
    if form.extra != first.extra:
        saw = "log-probs need a reasoning effort of none"
        findings.note(f"reasoning of {where}", "works", saw, finding="needs-effort-none", by=by)
    if form.top_k < first.top_k and (form.top_k or _AT_MOST.search(by.words)):
        saw = f"no more than {form.top_k} alternatives may be asked for"
        findings.note(f"top-k of {where}", "works" if form.top_k else "refused", saw, finding="top-k-cap", by=by)
    if not form.warm:
        findings.note(f"temperature of {where}", "refused", "it may not be said", finding="refused-fields", by=by)


def _number(pattern: re.Pattern[str], words: str, otherwise: int, *, low: int, high: int) -> int:
    """The number that a refusal names, if it is a sensible one."""
    match = pattern.search(words)
    return int(match[1]) if match and len(match[1]) < 6 and low <= int(match[1]) <= high else otherwise


def find_fields(session: ProbeSession) -> None:
    """Which optional fields are taken, and whether an unknown one is."""
    findings = session.findings
    form = findings.form("chat", "completions", "responses") or findings.silent
    if form is None:
        return
    seed = findings.facts.seed_field
    offered = {"top_p": 1} if form.route == "responses" else {**({seed: 1} if seed else {}), **OPTIONAL}
    offer = partial(_offer, session.ask, form)
    together = offer(offered)
    refused = {} if together.reply else _refused(offer, offered)
    findings.facts.seed_field = seed if seed in offered and seed not in refused else ""
    findings.facts.pinned |= {"top_p": DEFAULT} if "top_p" in refused else {}
    if refused:
        saw = f"refused: {', '.join(refused)}"
        findings.note("optional fields", "refused", saw, finding="refused-fields", by=next(iter(refused.values())))
    elif together.reply is None:
        findings.note("optional fields", "unclear", "each of them is taken, but not all together", by=together)
    else:
        findings.note("optional fields", "works", f"taken: {', '.join(offered)}", by=together)
    unknown = offer({"x_probe": 1})
    if unknown.reply:
        findings.note("unknown field", "works", "a field that nobody knows is passed over", by=unknown)
    else:
        saw = f"a field that nobody knows is refused ({unknown.status})"
        findings.note("unknown field", "refused", saw, finding="strict-fields", by=unknown)


def _offer(ask: Ask, form: RequestForm, fields: Mapping[str, object]) -> ProbeAnswer:
    return ask(form.bare(OPEN, more=fields))


def _refused(
    offer: Callable[[Mapping[str, object]], ProbeAnswer], fields: Mapping[str, object]
) -> dict[str, ProbeAnswer]:
    """The fields that are refused when they are offered one by one."""
    answers = {name: offer({name: value}) for name, value in fields.items()}
    return {name: answer for name, answer in answers.items() if answer.reply is None}
