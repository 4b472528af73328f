"""Probes of how a reply is written: fragments of characters, the end of an answer, and what usage tells."""

from __future__ import annotations

import json
from collections.abc import Collection, Sequence

from blackbox_proxy.doctor import signs
from blackbox_proxy.doctor.chart import Chart, Facts, ProbeAnswer, Visit
from blackbox_proxy.doctor.hearing import HeardReply, HeardToken
from blackbox_proxy.doctor.numbers import FORCED
from blackbox_proxy.doctor.voices import OK, PARROT, PARROTS, SHORT, Route, Voice
from blackbox_proxy.types import WireRequest

ROWS = 12
BRIEF = 16
LIKELY = -5.0
"""A token that is no text is no sign of an end below this log-prob: there are other special ones."""


def find_spelling(visit: Visit, *, ends: Collection[bytes]) -> None:
    """All probes of this module. ends: how ends are spelt everywhere."""
    chart = visit.chart
    for voice in _voices(chart):
        visit.ask(_begun(voice, chart.facts, PARROTS, begun=PARROT, length=ROWS))
    _rows(chart)
    _names(chart)
    stops = [visit.ask(_begun(voice, chart.facts, SHORT, begun=OK, length=BRIEF)) for voice in _voices(chart)]
    _force_past_end(visit)
    _ends(chart, stops, [end.decode() for end in ends if end])
    _usage(chart)


def _voices(chart: Chart) -> Sequence[Voice]:
    """A route of rows, and the legacy one, as far as they are there."""
    found = (chart.voice("chat", "responses"), chart.voice("completions"))
    return [voice for voice in found if voice is not None]


def _begun(voice: Voice, facts: Facts, question: str, *, begun: str, length: int) -> WireRequest:
    """A question, with its answer begun where that can be, since small models would rather say something else."""
    if voice.route == "chat" and facts.prefill:
        return voice.ask_on(question, begun, kind=facts.prefill, length=length, temperature=facts.temperature)
    return voice.ask(question, length=length, temperature=facts.temperature)


def _rows_of(chart: Chart) -> list[HeardReply]:
    """The replies in rows of the route that is likeliest to be steered by. /responses writes no bytes as empty ones."""
    voice = chart.voice("chat", "responses")
    routes: list[Route] = ["completions", *([voice.route] if voice else [])]
    return [one for one in chart.heard(*routes) if one.shape == "rows"]


def _legacy(chart: Chart) -> list[HeardReply]:
    return [one for one in chart.heard("completions") if one.shape == "legacy"]


def _latest(chart: Chart, shape: str) -> ProbeAnswer | None:
    """The answer of this shape that wrote the parrots."""
    said = [one for one in chart.answers if one.heard and one.heard.shape == shape]
    return next((one for one in said if "🦜" in json.dumps(dict(one.request.body), ensure_ascii=False)), None)


def _rows(chart: Chart) -> None:
    """What the bytes of rows are worth."""
    heard = _rows_of(chart)
    if not heard:
        return
    found, by = signs.fragments(heard), _latest(chart, "rows")
    if found == "none":
        chart.facts.trust = "none"
        chart.note("bytes", "lossy", "no token has bytes", finding="null-bytes", by=by)
    elif found == "lossy":
        chart.facts.trust = "lossy"
        saw = "fragments of characters have the bytes of U+FFFD"
        chart.note("bytes", "lossy", saw, finding="lossy-bytes", by=by)
    elif found == "true":
        chart.note("bytes", "works", "fragments of characters have their true bytes", by=by)
    else:
        chart.note("bytes", "unclear", "no fragment of a character was seen", by=by)
    if found in ("true", "unseen") and by and by.heard and signs.skips(by.heard):
        saw = "a token that ends inside of a character has no entry"
        chart.note("fragments", "lossy", saw, finding="skipped-fragments", by=by)


def _names(chart: Chart) -> None:
    """How the legacy shape names fragments, and whether it is Together's."""
    heard, by = _legacy(chart), _latest(chart, "legacy")
    if not heard:
        return
    if any(one.keyed for one in heard):
        chart.facts.decoders["completions"] = "together"
        chart.note("legacy shape", "works", "token ids stand in it", finding="together-shape", by=by)
    if signs.collide(heard) and "lossy-bytes" not in chart.findings:
        chart.facts.blank_is_text = any(not p.own.token for one in heard for p in one.places[:-1])
        saw = "fragments of characters share one name in the legacy shape"
        chart.note("names of fragments", "lossy", saw, finding="string-collisions", by=by)
    elif signs.is_unmarked(heard):
        saw = r"a fragment is written \x.. in the legacy shape, as a text might be"
        chart.note("names of fragments", "lossy", saw, finding="escaped-tokens", by=by)


def _force_past_end(visit: Visit) -> None:
    """Makes a chat go on where it would end, so that the end must be among the alternatives."""
    voice, facts = visit.chart.voice("chat"), visit.chart.facts
    if voice is None or not facts.prefill or not facts.forces:
        return
    bias = {"logit_bias": FORCED}
    visit.ask(voice.ask_on(SHORT, OK, kind=facts.prefill, temperature=facts.temperature, more=bias))


def _ends(chart: Chart, stops: Sequence[ProbeAnswer], known: Sequence[str]) -> None:
    """How the end of an answer is written, by the answers that ended and by everything that was listed."""
    stopped = [one for one in stops if one.heard and one.heard.stopped]
    rows, legacy = _rows_of(chart), _legacy(chart)
    last = [(one, extra) for one in stopped if one.heard and (extra := signs.surplus(one.heard))]
    listed = [one for one in signs.specials(rows) if one.logp > LIKELY] + signs.named([*rows, *legacy], known)
    blank = [one for one in signs.specials(rows) if not one.token]
    blank += [extra for one, extra in last if not extra.token]
    mute = chart.facts.trust == "none"
    spoken = [
        extra for one, extra in last if extra.raw or (mute and extra.token and one.heard and one.heard.shape == "rows")
    ]
    by = stopped[0] if stopped else stops[0] if stops else None
    if spoken:
        saw = f"it is listed as if {spoken[0].token!r} were text"
        chart.note("end of an answer", "lossy", saw, finding="visible-end-text", by=by)
    elif blank:
        chart.note("end of an answer", "lossy", "it is written as nothing", finding="blank-specials", by=by)
    elif last or listed:
        chart.note("end of an answer", "works", f"it is listed, as {_spelt(last, listed, known)!r}", by=by)
    elif stopped:
        positions = sum(len(one.places) for one in (*rows, *legacy))
        saw = f"answers end without an entry, and nothing like an end is listed at {positions} positions"
        chart.note("end of an answer", "lossy", saw, finding="hidden-end", by=by)
    else:
        chart.note("end of an answer", "unclear", "no answer ended, and no end was listed", by=by)
    new = {extra.token for _, extra in last if extra.token and extra.token not in known}
    chart.facts.ends = tuple(sorted(new))


def _spelt(last: Sequence[tuple[ProbeAnswer, HeardToken]], listed: Sequence[HeardToken], known: Collection[str]) -> str:
    """The end's name: that of the last token of an answer, else the likeliest one that looks like an end."""
    if last:
        return last[0][1].token
    likely = [one for one in listed if one.token in known] or listed
    return max(likely, key=lambda one: one.logp).token


def _usage(chart: Chart) -> None:
    """What replies tell of what they used."""
    answered = [one for one in chart.answers if one.heard]
    counted = [one for one in answered if one.heard and one.heard.usage]
    if not counted:
        saw = "replies do not tell what they used"
        chart.note("usage", "lossy", saw, finding="no-usage", by=answered[-1])
    elif any(one.heard and one.heard.cached for one in counted):
        chart.note("usage", "works", "tokens are counted, those from the cache too", by=counted[-1])
    else:
        saw = "usage does not tell how much was cached"
        chart.note("usage", "lossy", saw, finding="cached-hidden", by=counted[-1])
