"""Probes of how an endpoint goes on from a text: raw, by ids, or from a partial turn of a chat.

Whether it did is read off the distribution of the first position, not off what was drawn from it, and by a text after
which a word comes with a blank before it: no answer of its own begins so.
"""

from __future__ import annotations

import math

from blackbox_proxy.doctor import signs
from blackbox_proxy.doctor.chart import ProbeAnswer, Visit
from blackbox_proxy.doctor.hearing import HeardPlace
from blackbox_proxy.doctor.voices import BLANK, COLOURS, CUT_OFF, KINDS, OPEN, Voice, turn

CHOSEN = {"logprob_token_ids": [40, 41], "return_tokens_as_token_ids": True}
NEXT = " blue"
"""What comes after CUT_OFF."""
LIKELY = 0.2


def find_going_on(visit: Visit) -> None:
    """All probes of this module."""
    chart = visit.chart
    if completions := chart.voice("completions"):
        _raw(visit, completions)
        _ids(visit, completions)
        _chosen_ids(visit, completions)
    if chat := chart.voice("chat"):
        _prefill(visit, chat)
        if chart.facts.prefill:
            _blanks(visit, chat)


def _raw(visit: Visit, voice: Voice) -> None:
    """Whether a text is gone on with as it is, or is taken for a question of a chat."""
    chart, facts = visit.chart, visit.chart.facts
    answer = visit.distribution(voice.ask(CUT_OFF))
    inside = answer.first is not None and (goes_on(answer.first) or goes_on(answer.first, NEXT.strip()))
    turns = chart.openings.get("chat")
    alike = turns is not None and signs.same_distribution(
        chart.openings["completions"].places[0], turns.places[0], tolerance=facts.tolerance
    )
    facts.templated = alike
    if alike:
        saw = "a text is answered as a question of a chat is"
        chart.note("raw text", "lossy", saw, finding="templated-completions", by=answer)
    elif inside:
        chart.note("raw text", "works", "a text is gone on with as it is", by=answer)
    else:
        chart.note(
            "raw text", "unclear", "a text was not gone on with, but no sign of a chat was seen either", by=answer
        )


def goes_on(place: HeardPlace, word: str = NEXT) -> bool:
    """Whether the word, or a beginning of it, is likely."""
    distribution = place.distribution.items()
    return math.fsum(math.exp(logp) for token, logp in distribution if token and _agree(token, word)) > LIKELY


def _agree(token: str, word: str) -> bool:
    return word.startswith(token) or token.startswith(word)


def _ids(visit: Visit, voice: Voice) -> None:
    answer = visit.ask(voice.bare([40, 41]))
    chart = visit.chart
    chart.facts.ids = answer.heard is not None
    if answer.heard:
        chart.note("token ids", "works", "a prompt may be a list of ids", by=answer)
    else:
        chart.note("token ids", "refused", "a prompt must be text", finding="no-ids", by=answer)


def _chosen_ids(visit: Visit, voice: Voice) -> None:
    """Whether log-probs beyond the top-k can be had: of chosen ids, or of a token that a bias forces."""
    chart, facts = visit.chart, visit.chart.facts
    answer = visit.distribution(voice.ask(OPEN, more=CHOSEN))
    if answer.first is not None and {"token_id:40", "token_id:41"} <= {one.token for one in answer.first.listed}:
        facts.reveal = "ids"
        chart.note("unseen tokens", "works", "log-probs of chosen ids are told", by=answer)
    elif facts.forces and facts.before_bias:
        facts.reveal = "bias"
        chart.note("unseen tokens", "works", "a bias can make it tell their log-probs", by=answer)
    else:
        chart.note("unseen tokens", "refused", "nothing beyond the top-k is told", by=answer)


def _prefill(visit: Visit, voice: Voice) -> None:
    """By which of three ways a partial turn is told, if by any."""
    chart = visit.chart
    answers = {kind: visit.distribution(voice.ask_on(COLOURS, CUT_OFF, kind=kind)) for kind in KINDS}
    loose = [kind for kind in KINDS if _continued(answers[kind], NEXT.strip())]
    works = [kind for kind in KINDS if _continued(answers[kind])] or (loose if "implicit" not in loose else [])
    if works:
        chart.facts.prefill = works[0]
        shown = answers[works[0]]
        chart.note("partial turn", "works", f"gone on with, told by: {', '.join(works)}", by=shown)
        if shown.heard and shown.heard.text.startswith(CUT_OFF):
            chart.facts.echoes = True
            saw = "the answer repeats the partial turn"
            chart.note("echo", "works", saw, finding="echoed-prefix", by=shown)
    elif answers["flag_pair"].heard or answers["prefix"].heard:
        shown = answers["flag_pair"] if answers["flag_pair"].heard else answers["prefix"]
        saw = "flags are ignored, and a new turn begins"
        chart.note("partial turn", "ignored", saw, finding="no-prefill", by=shown)
    else:
        chart.note("partial turn", "refused", "flags are refused", by=answers["flag_pair"])
    _unflagged(visit, voice, answers["implicit"])


def _continued(answer: ProbeAnswer, word: str = NEXT) -> bool:
    """Whether the word comes next; without its blank, as some servers show it, that is a sign only beside others."""
    place = signs.after(answer.heard, CUT_OFF) if answer.heard else None
    return place is not None and goes_on(place, word)


def _behind(answer: ProbeAnswer, text: str) -> HeardPlace | None:
    """The place behind a partial turn, whose blank may be lost where the turn is repeated."""
    if answer.heard is None:
        return None
    repeated = answer.heard.text.startswith(text)
    return signs.after(answer.heard, text if repeated else text.rstrip())


def _unflagged(visit: Visit, voice: Voice, answer: ProbeAnswer) -> None:
    """What becomes of an assistant's turn at the end that no flag says anything about."""
    chart, what = visit.chart, "turn without flag"
    if answer.heard is None:
        chart.note(what, "refused", "the last turn may not be the assistant's", by=answer)
        return
    if _continued(answer):
        chart.note(what, "works", "it is gone on with", finding="implicit-prefill", by=answer)
        return
    as_user = visit.distribution(voice.ask([turn("user", COLOURS), turn("user", CUT_OFF)]))
    one, other = answer.first, as_user.first
    if one and other and signs.same_distribution(one, other, tolerance=chart.facts.tolerance):
        saw = "it is taken for the user's"
        chart.note(what, "lossy", saw, finding="prefill-as-user", by=answer)
    else:
        chart.note(what, "works", "it is finished, and a new one begins", by=answer)


def _blanks(visit: Visit, voice: Voice) -> None:
    """Whether a blank at the end of a partial turn is kept."""
    chart, kind = visit.chart, visit.chart.facts.prefill
    texts = (BLANK, BLANK + " ")
    answers = [visit.distribution(voice.ask_on(COLOURS, text, kind=kind)) for text in texts]
    plain, blank = (_behind(answer, text) for answer, text in zip(answers, texts, strict=True))
    if plain is None or blank is None:
        chart.note("blank at the end", "unclear", "nothing was told after it", by=answers[1])
    elif signs.same_distribution(plain, blank, tolerance=chart.facts.tolerance):
        chart.facts.trims = True
        saw = "a blank at the end of a partial turn is lost"
        chart.note("blank at the end", "lossy", saw, finding="trimmed-prefill", by=answers[1])
    else:
        chart.note("blank at the end", "works", "a partial turn is kept to its last blank", by=answers[1])
