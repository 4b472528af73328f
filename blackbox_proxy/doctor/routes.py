"""Probes of the routes: which there are, how each is to be spoken to, and which fields it takes.

A route that takes the first request, with log-probs and a temperature, costs one call. Where that is refused, it is
built up from its parts, and each part that needs another form is a finding.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from functools import partial

from blackbox_proxy.doctor.chart import Ask, Chart, ProbeAnswer, Visit
from blackbox_proxy.doctor.voices import OPEN, ROUTES, Voice, first_voice

_AT_LEAST = re.compile(r"(?:>=|at least|minimum(?: of| value)?(?: is)?)\s*(\d+)")
_AT_MOST = re.compile(r"(?:<=|at most|less than or equal to|maximum(?: of| value)?(?: is)?|between 0 and)\s*(\d+)")
_FEWER = (5, 1)
_TRIES = 3
_NORM = 16
_NEWER = "max_completion_tokens"
OPTIONAL: Mapping[str, object] = {"stop": ["\n\n\n"], "top_p": 1, "logit_bias": {"40": 0}}
"""Fields that a route of OpenAI's takes besides the seed, with values that change nothing."""


def find_routes(visit: Visit, *, model: str, extra: Mapping[str, object], length_field: str) -> None:
    """Which routes answer, and how each is spoken to."""
    missing: list[str] = []
    for route in ROUTES:
        voice = first_voice(route, model, extra=extra, length_field=length_field)
        answer = visit.ask(voice.ask(OPEN))
        if answer.missing:
            missing.append(ROUTES[route])
            visit.chart.note(f"route {ROUTES[route]}", "refused", "it is not there", by=answer)
        else:
            _settle(visit, voice, answer)
    if missing:
        visit.chart.note("routes", "refused", f"not there: {', '.join(missing)}", finding="closed-routes")


def _settle(visit: Visit, first: Voice, answer: ProbeAnswer) -> None:
    """Notes a route that answers, and how it is to be spoken to where it refused the first request."""
    voice, refused, chart = first, answer, visit.chart
    if answer.heard is None:
        found = _by_words(visit.ask, first, refused) or _by_parts(visit.ask, first)
        if found is None:
            chart.note(f"route {first.path}", "refused", "no form of a request was taken", by=refused)
            return
        voice, answer = found
        _note_changes(chart, first, voice, by=refused)
    chart.voices[voice.route] = voice
    _read_route(chart, voice, visit.again(answer))


def _read_route(chart: Chart, voice: Voice, answer: ProbeAnswer) -> None:
    """Whether a reply that should have log-probs and alternatives has them."""
    heard, what = answer.heard, f"route {voice.path}"
    if heard is None or not voice.top_k:
        chart.note(what, "refused", "it answers, and shows no log-probs", by=answer)
    elif answer.empty:
        chart.note(what, "unclear", "each answer ended before it began, so that no log-prob was seen", by=answer)
    elif not heard.places:
        saw = "log-probs are asked for, and none come"
        chart.note(what, "ignored", saw, finding="ignored-logprobs", by=answer)
    elif not any(place.listed for place in heard.places):
        saw = "the chosen tokens have log-probs, and there are no alternatives"
        chart.note(what, "lossy", saw, finding="no-top", by=answer)
    else:
        chart.openings[voice.route] = answer
        chart.facts.decoders[voice.route] = _decoder(voice, heard.shape)
        chart.note(what, "works", f"{len(heard.places[0].listed)} alternatives at a position", by=answer)


def _decoder(voice: Voice, shape: str) -> str:
    if voice.route == "responses":
        return "openai_responses"
    return "legacy_completions" if shape == "legacy" else "openai_chat"


def _by_words(ask: Ask, voice: Voice, refused: ProbeAnswer) -> tuple[Voice, ProbeAnswer] | None:
    """The route as its own refusals say that it wants to be spoken to, if that is enough."""
    answer = refused
    for _ in range(_TRIES):
        changed = _told(voice, answer.words)
        if changed == voice:
            return None
        voice, answer = changed, ask(changed.ask(OPEN))
        if answer.heard:
            return voice, answer
    return None


def _told(voice: Voice, words: str) -> Voice:
    """The voice changed as a refusal wishes."""
    least = _number(_AT_LEAST, words, voice.least, low=voice.least, high=4096)
    top_k = _number(_AT_MOST, words, voice.top_k, low=0, high=voice.top_k)
    newer = _NEWER if voice.route == "chat" and _NEWER in words else voice.length_field
    return replace(voice, least=least, top_k=top_k, length_field=newer)


def _by_parts(ask: Ask, voice: Voice) -> tuple[Voice, ProbeAnswer] | None:
    """The route put together from its parts, and the last answer that it gave."""
    found = _limited(ask, voice)
    if found is None:
        return None
    return _warmed(ask, *_shown(ask, *found))


def _limited(ask: Ask, voice: Voice) -> tuple[Voice, ProbeAnswer] | None:
    """A form of the limit that a bare request is taken with."""
    for form in _forms(voice):
        answer = ask(form.bare(OPEN))
        if answer.heard:
            return form, answer
    return None


def _forms(voice: Voice) -> Iterator[Voice]:
    """Forms of the limit: the older name or the newer, few tokens or more; without reasoning, which eats the few."""
    newer = replace(voice, length_field=_NEWER) if voice.route == "chat" else voice
    more, both = (replace(one, least=max(one.least, _NORM)) for one in (voice, newer))
    unreasoned = replace(both, extra={**voice.extra, **voice.without_reasoning()})
    forms = [voice, newer, more, both, unreasoned]
    yield from (form for at, form in enumerate(forms) if form not in forms[:at])


def _shown(ask: Ask, voice: Voice, bare: ProbeAnswer) -> tuple[Voice, ProbeAnswer]:
    """With log-probs: as many as may be asked for, without reasoning if need be; with none where none are given."""
    unreasoned = replace(voice, extra={**voice.extra, **voice.without_reasoning()})
    for form in (voice, unreasoned, *(replace(one, top_k=k) for k in _FEWER for one in (voice, unreasoned))):
        answer = ask(form.bare(OPEN, more=form.wanting(form.top_k)))
        if answer.heard:
            return form, answer
    return replace(voice, top_k=0), bare


def _warmed(ask: Ask, voice: Voice, answer: ProbeAnswer) -> tuple[Voice, ProbeAnswer]:
    """With a temperature, if it is taken."""
    if not voice.top_k:
        return voice, answer
    warm = ask(voice.ask(OPEN))
    return (voice, warm) if warm.heard else (replace(voice, warm=False), answer)


def _note_changes(chart: Chart, first: Voice, voice: Voice, *, by: ProbeAnswer) -> None:
    """What a route wants otherwise than it was asked at first."""
    where = voice.path
    if voice.length_field != first.length_field:
        saw = f"the limit must be called {voice.length_field}"
        chart.note(f"limit of {where}", "works", saw, finding="max-completion-tokens-only", by=by)
    if voice.least > first.least:
        saw = f"no fewer than {voice.least} tokens may be asked for"
        chart.note(f"shortest answer of {where}", "works", saw, finding="min-output", by=by)
    if voice.extra != first.extra:
        saw = "log-probs need a reasoning effort of none"
        chart.note(f"reasoning of {where}", "works", saw, finding="needs-effort-none", by=by)
    if voice.top_k < first.top_k and (voice.top_k or _AT_MOST.search(by.words)):
        saw = f"no more than {voice.top_k} alternatives may be asked for"
        chart.note(f"top-k of {where}", "works" if voice.top_k else "refused", saw, finding="top-k-cap", by=by)
    if not voice.warm:
        chart.note(f"temperature of {where}", "refused", "it may not be said", finding="refused-fields", by=by)


def _number(form: re.Pattern[str], words: str, otherwise: int, *, low: int, high: int) -> int:
    """The number that a refusal names, if it is a sensible one."""
    found = form.search(words)
    return int(found[1]) if found and len(found[1]) < 6 and low <= int(found[1]) <= high else otherwise


def find_fields(visit: Visit) -> None:
    """Which optional fields are taken, and whether an unknown one is."""
    chart = visit.chart
    voice = chart.voice("chat", "completions", "responses")
    if voice is None:
        return
    seed = chart.facts.seed_field
    offered = {"top_p": 1} if voice.route == "responses" else {**({seed: 1} if seed else {}), **OPTIONAL}
    offer = partial(_offer, visit.ask, voice)
    together = offer(offered)
    refused = {} if together.heard else _refused(offer, offered)
    chart.facts.seed_field = seed if seed in offered and seed not in refused else ""
    if refused:
        saw = f"refused: {', '.join(refused)}"
        chart.note("optional fields", "refused", saw, finding="refused-fields", by=next(iter(refused.values())))
    elif together.heard is None:
        chart.note("optional fields", "unclear", "each of them is taken, but not all together", by=together)
    else:
        chart.note("optional fields", "works", f"taken: {', '.join(offered)}", by=together)
    unknown = offer({"x_probe": 1})
    if unknown.heard:
        chart.note("unknown field", "works", "a field that nobody knows is passed over", by=unknown)
    else:
        saw = f"a field that nobody knows is refused ({unknown.status})"
        chart.note("unknown field", "refused", saw, finding="strict-fields", by=unknown)


def _offer(ask: Ask, voice: Voice, fields: Mapping[str, object]) -> ProbeAnswer:
    return ask(voice.bare(OPEN, more=fields))


def _refused(
    offer: Callable[[Mapping[str, object]], ProbeAnswer], fields: Mapping[str, object]
) -> dict[str, ProbeAnswer]:
    """The fields that are refused when they are offered one by one."""
    answers = {name: offer({name: value}) for name, value in fields.items()}
    return {name: answer for name, answer in answers.items() if answer.heard is None}
