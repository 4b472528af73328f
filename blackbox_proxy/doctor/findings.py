"""What was found at one endpoint and model: checks with their evidence, the verdict, the options that follow from it.

A finding is a check that names a deviation; the names are those of the stand-in's quirks, where it has one. The module
is data and arithmetic: it knows no network and no clock.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from blackbox_proxy.doctor.replies import SENTINEL, ProbePosition, ProbeReply
from blackbox_proxy.doctor.requests import RequestForm, Route
from blackbox_proxy.types import WireRequest

State = Literal["works", "lossy", "ignored", "refused", "unclear"]
Way = Literal["raw text", "prefill", "forced", "words", "answers", "impossible"]

_OMITTED = frozenset({"model", "prompt", "messages", "input"})
_USUAL = frozenset({"max_tokens", "max_output_tokens", "logprobs", "top_logprobs", "include"})
_LONGEST = 120
DEFAULT = 1.0
"""The temperature and the top_p of OpenAI's reference where nothing is said."""
_TRIES = 3
"""Requests more where an answer ended before it began, which what is asked makes rare."""


@dataclass(frozen=True, slots=True)
class ProbeAnswer:
    """What came back for one request: a reply, or the words and the status with which it was refused.

    seconds: how long that took.
    """

    request: WireRequest
    reply: ProbeReply | None = None
    words: str = ""
    status: int | None = None
    seconds: float = 0.0

    @property
    def places(self) -> tuple[ProbePosition, ...]:
        """The positions that it tells of."""
        return self.reply.places if self.reply else ()

    @property
    def first(self) -> ProbePosition | None:
        """The first of them."""
        return self.places[0] if self.places else None

    @property
    def empty(self) -> bool:
        """Whether it ended before it began, so that it tells of no position."""
        return self.reply is not None and self.reply.stopped and not (self.places or self.reply.text)

    @property
    def missing(self) -> bool:
        """Whether there is nothing at this address."""
        return self.status in (404, 405)


Ask = Callable[[WireRequest], ProbeAnswer]
"""Puts one request, and gives what came back."""


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that was looked at. finding: the name of a deviation, "" for none; sent, came: the evidence, cut."""

    what: str
    state: State
    saw: str
    finding: str = ""
    sent: str = ""
    came: str = ""


@dataclass(frozen=True, slots=True)
class Verdict:
    """How exact steering will be at this endpoint, and why."""

    way: Way
    why: str

    @property
    def sentence(self) -> str:
        """One sentence."""
        return f"{_WAYS[self.way]}: {self.why}."


_WAYS: Mapping[Way, str] = {
    "raw text": "Steering will be exact, by raw text",
    "prefill": "Steering will be exact, by prefill",
    "forced": "Steering will go on from exactly the text, inside a JSON string",
    "words": "Steering will be approximate, by words",
    "answers": "Steering will be by whole answers, exact in the limit of many",
    "impossible": "Steering is impossible",
}


@dataclass(slots=True)
class Facts:
    """What the probes settle, besides the request forms. An empty prefill is one that is not there.

    kinds: all ways in which a partial turn may be told. at_once: how many answers one request may draw, as far as that
    was asked; None where it was not. pinned: of what may not be said of how an answer is drawn, the value that it has.

    echoes: a chat repeats its partial turn. lists: a request may hold several prompts. gives_back: a raw text comes
    back with the alternatives at its places. structured: how a schema can demand a beginning, with log-probs;
    before_mask: whether these are the model's own, and not those of what the schema lets stand. tools: a chat calls
    tools by itself.
    """

    noise: float = 0.0
    cold: bool = True
    seed_field: str = "seed"
    templated: bool = False
    ids: bool = False
    reveal: str = "none"
    forces: bool = False
    before_bias: bool = False
    prefill: str = ""
    echoes: bool = False
    trims: bool = False
    lists: bool = False
    gives_back: bool = False
    structured: str = "none"
    before_mask: bool = False
    tools: bool = False
    trust: str = "exact"
    ends: tuple[str, ...] = ()
    blank_is_text: bool = False
    kinds: tuple[str, ...] = ()
    at_once: int | None = None
    pinned: dict[str, float] = field(default_factory=dict)
    decoders: dict[Route, str] = field(default_factory=dict)

    @property
    def tolerance(self) -> float:
        """How far two tellings of one log-prob may be apart."""
        return 1e-3 + 2 * self.noise

    @property
    def temperature(self) -> float:
        """Where the best token is wanted: 0, or 1 where log-probs at 0 tell nothing."""
        return 0.0 if self.cold else 1.0


@dataclass(slots=True)
class Findings:
    """All that is known so far.

    forms: those of the routes that answer; openings: the answers to the open question, at temperature 1, of those of
    them that show alternatives. settled: whether the adapter is; whole: whether everything was looked at.
    """

    forms: dict[Route, RequestForm] = field(default_factory=dict)
    openings: dict[Route, ProbeAnswer] = field(default_factory=dict)
    facts: Facts = field(default_factory=Facts)
    checks: list[Check] = field(default_factory=list)
    answers: list[ProbeAnswer] = field(default_factory=list)
    settled: bool = False
    whole: bool = False

    def note(self, what: str, state: State, saw: str, *, finding: str = "", by: ProbeAnswer | None = None) -> None:
        """One check, with the answer that shows it."""
        self.checks.append(Check(what, state, saw, finding, sent(by) if by else "", came(by) if by else ""))

    @property
    def deviations(self) -> tuple[str, ...]:
        """The names of the deviations, each once, in the order in which they were found."""
        return tuple(dict.fromkeys(check.finding for check in self.checks if check.finding))

    def form(self, *routes: Route) -> RequestForm | None:
        """The first of these routes that shows alternatives."""
        return next((self.forms[route] for route in routes if route in self.openings), None)

    @property
    def main(self) -> RequestForm | None:
        """The route of the numbers: whichever is likeliest to be steered by."""
        return self.form("completions", "chat", "responses")

    @property
    def silent(self) -> RequestForm | None:
        """The route by which whole answers are drawn where none shows alternatives."""
        if self.openings:
            return None
        return next((self.forms[route] for route in ("chat", "responses", "completions") if route in self.forms), None)

    def replies(self, *routes: Route) -> list[ProbeReply]:
        """All replies of these routes."""
        paths = {self.forms[route].path for route in routes if route in self.forms}
        return [one.reply for one in self.answers if one.reply and one.request.path in paths]

    def verdict(self) -> Verdict:
        """How exact steering will be, by what is known so far."""
        facts = self.facts
        if self.adapter == "completions":
            return Verdict("raw text", "/completions goes on from exactly the text that it is sent")
        if self.adapter == "chat_prefill":
            held = "; blanks at its end are lost and have to be held back" if facts.trims else ""
            return Verdict("prefill", f"a chat goes on from a partial turn of the assistant ({facts.prefill}){held}")
        if self.adapter and facts.structured != "none":
            return Verdict(
                "forced", f"no route goes on from a given text, but a schema can demand it ({facts.structured})"
            )
        if self.silent is not None:
            calls = "n calls" if (facts.at_once or 1) < 2 else f"n / {facts.at_once} calls"
            return Verdict("answers", f"{self._lack()}, so `auto` draws n whole answers in {calls}, and one is chosen")
        if self.adapter:
            return Verdict("words", "no route goes on from a given text, so a chat has to be asked to")
        return Verdict("impossible", self._lack())

    @property
    def adapter(self) -> str:
        """The adapter that fits; "" where none does."""
        raw = "completions" in self.openings and not self.facts.templated
        if raw:
            return "completions"
        if "chat" in self.openings and self.facts.prefill:
            return "chat_prefill"
        if self.silent is not None:
            return "completions" if self.silent.route == "completions" else "chat_continue"
        return "chat_continue" if {"chat", "responses"} & set(self.openings) else ""

    def options(self, ends: Iterable[bytes]) -> dict[str, object]:
        """What the adapter is to be told. ends: how ends are spelt everywhere."""
        if self.silent is not None:
            return self._silent_options(self.silent)
        form = self.spoken
        if form is None:
            return {}
        facts, route = self.facts, form.route
        options: dict[str, object] = {
            "path": form.path,
            "decoder": facts.decoders.get(route, "openai_responses"),
            "logprobs_kind": {"completions": "count", "chat": "bool", "responses": "include"}[route],
            "top_k": form.top_k,
            "length_field": form.length_field,
            "min_output": form.least,
            "seed_field": facts.seed_field if route != "responses" else "",
            "query_temperature": facts.temperature,
        }
        if self.whole:
            options["bytes_trust"] = facts.trust
        if facts.at_once is not None:
            options["answers_at_once"] = facts.at_once
        if pinned := facts.pinned | ({} if form.warm else {"temperature": DEFAULT}):
            options["pinned"] = pinned
        if form.extra:
            options["extra_body"] = dict(form.extra)
        if facts.ends or facts.blank_is_text:
            kept = [end.decode() for end in ends if end or not facts.blank_is_text]
            options["end_pieces"] = tuple(dict.fromkeys((*kept, *facts.ends)))
        if facts.tools:
            options["tools"] = True
        return options | self._adapter_options()

    def _silent_options(self, form: RequestForm) -> dict[str, object]:
        """Those of an endpoint that is asked for whole answers alone."""
        facts = self.facts
        decoders = {"chat": "openai_chat", "responses": "openai_responses", "completions": "legacy_completions"}
        return {
            "path": form.path,
            "decoder": decoders[form.route],
            "length_field": form.length_field,
            "min_output": form.least,
            "seed_field": facts.seed_field if form.route != "responses" else "",
            "logprobs": False,
            "answers_at_once": facts.at_once or 1,
            **({"pinned": dict(facts.pinned)} if facts.pinned else {}),
            **({"extra_body": dict(form.extra)} if form.extra else {}),
            **({"tools": True} if facts.tools else {}),
        }

    def _adapter_options(self) -> dict[str, object]:
        """Those that one adapter alone takes."""
        facts = self.facts
        if self.adapter == "completions":
            savings = {"prompt_lists": facts.lists, "echo": facts.gives_back} if self.whole else {}
            return {"token_ids": facts.ids, "reveal": self._reveal(), **savings}
        if self.adapter == "chat_prefill":
            return {"prefill": facts.prefill, "echoes": facts.echoes, "trims": facts.trims}
        if not self.whole or not self.adapter:
            return {}
        mask = {"structured_logprobs": "before"} if facts.before_mask else {}
        return {"structured": facts.structured, **mask}

    def _reveal(self) -> str:
        """How log-probs beyond the top-k are had; those of chosen ids are only read in the plain legacy shape."""
        facts = self.facts
        if facts.reveal == "ids" and facts.decoders["completions"] != "legacy_completions":
            return "bias" if facts.forces and facts.before_bias else "none"
        return facts.reveal

    @property
    def spoken(self) -> RequestForm | None:
        """The form of the requests that the adapter will send."""
        if self.adapter == "completions":
            return self.form("completions")
        return self.form("chat", "responses")

    def _lack(self) -> str:
        if not self.forms:
            return "no route was found that answers"
        if "ignored-logprobs" in self.deviations:
            return "log-probs are asked for, and none come"
        return "no route shows log-probs of alternatives"


@dataclass(frozen=True, slots=True)
class ProbeSession:
    """What a probe works with: a way to ask, and the findings that it adds to."""

    ask: Ask
    findings: Findings

    def distribution(self, request: WireRequest) -> ProbeAnswer:
        """One request whose first position is wanted."""
        return self.again(self.ask(request))

    def again(self, answer: ProbeAnswer) -> ProbeAnswer:
        """The answer, or another one to the same request while it ended before it began, as may happen by chance."""
        for _ in range(_TRIES):
            if not answer.empty:
                break
            answer = self.ask(answer.request)
        return answer


@dataclass(frozen=True, slots=True)
class Report:
    """The outcome. options: what was measured, as `adapter` takes it; unfinished: why it broke off, "" if it did not.

    input, output: tokens that replies counted, None where they count none. seconds: of one reply, the median.
    """

    base_url: str
    model: str
    checks: tuple[Check, ...]
    verdict: Verdict
    adapter: str
    options: Mapping[str, object]
    calls: int
    input: int | None
    output: int | None
    seconds: float
    unfinished: str = ""

    @property
    def findings(self) -> tuple[Check, ...]:
        """The checks that name a deviation."""
        return tuple(check for check in self.checks if check.finding)

    @property
    def remarks(self) -> tuple[str, ...]:
        """What an overlay says of itself: the verdict, the findings, and whether it is whole."""
        mark = (f"unfinished: {self.unfinished}",) if self.unfinished else ()
        return (*mark, self.verdict.sentence, *(f"{one.finding}: {one.saw}" for one in self.findings))


def sent(answer: ProbeAnswer) -> str:
    """The request, without what every one has; first what not many have."""
    body = answer.request.body
    shown = {name: value for name, value in body.items() if name not in _OMITTED}
    said = dict(sorted(shown.items(), key=lambda item: item[0] in _USUAL or item == ("temperature", 1.0)))
    text = _said(body)
    return cut(f"{answer.request.path} {text} {json.dumps(said, ensure_ascii=False)}")


def _said(body: Mapping[str, object]) -> str:
    """What was to be gone on with: a text, ids, or the last turn of a chat."""
    said = next((body[name] for name in ("prompt", "messages", "input") if name in body), "")
    if isinstance(said, Sequence) and not isinstance(said, str) and said and isinstance(said[-1], Mapping):
        said = f"{said[-1].get('role')}: {said[-1].get('content')}"
    text = json.dumps(said, ensure_ascii=False)
    return text if len(text) <= 40 else f"{text[:18]}...{text[-18:]}"


def came(answer: ProbeAnswer) -> str:
    """The reply in short: its text, and the best of its first place; or the words of a refusal."""
    reply = answer.reply
    if reply is None:
        return cut(answer.words)
    shown = ", ".join(f"{one.token!r} {_logp(one.logp)}" for one in answer.first.listed[:3]) if answer.first else ""
    return cut(f"{reply.text!r} ({reply.finish})" + (f"; {shown}" if shown else ""))


def _logp(logp: float) -> str:
    return f"{logp:.4g}" if logp > SENTINEL else f"{logp:.0f}"


def cut(text: str) -> str:
    """A text as evidence: one line, not too long."""
    line = " ".join(text.split())
    return line if len(line) <= _LONGEST else f"{line[: _LONGEST - 3]}..."
