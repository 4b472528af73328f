"""What a profile claims of an endpoint, and what an examination says of each claim: proven, refuted or undecided.

Each option of the adapter is a claim, and each statement that names the check which settles it. What no probe asks for
stays undecided. The module is pure; it knows no provider and no network.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Literal

from blackbox_proxy.doctor.answers import DRAWN
from blackbox_proxy.doctor.findings import Check, Findings, ProbeAnswer
from blackbox_proxy.doctor.requests import ROUTES, RequestForm, Route

ClaimState = Literal["proven", "refuted", "undecided"]


@dataclass(frozen=True, slots=True)
class Claim:
    """One claim. name: an option, or the check that settles a statement, "" where none does; says: in words."""

    name: str
    says: str
    value: object = None
    is_option: bool = False


@dataclass(frozen=True, slots=True)
class ClaimOutcome:
    """What an examination says of a claim. observed: in words; came: the reply that shows it, cut, "" for none."""

    claim: Claim
    state: ClaimState
    observed: str
    came: str = ""


def claims_of(options: Mapping[str, object], statements: Iterable[tuple[str, str]]) -> tuple[Claim, ...]:
    """The claims of a profile for one model.

    Args:
        options: What its adapter is told.
        statements: What nobody has seen live, each with the check that settles it, "" where none does.
    """
    asked = [(name, value) for name, value in options.items() if name in _OPTIONS and value not in ("", None)]
    options_said = [Claim(name, f"{name} = {_shown(value)}", value, is_option=True) for name, value in sorted(asked)]
    return (*options_said, *(Claim(by, says) for says, by in statements))


def outcomes(claims: Iterable[Claim], findings: Findings, *, path: str) -> tuple[ClaimOutcome, ...]:
    """What was seen of each claim. path: the route that the profile speaks to."""
    route = next((name for name, known in ROUTES.items() if known == path), None)
    return tuple(_outcome(claim, findings, route) for claim in claims)


def _outcome(claim: Claim, findings: Findings, route: Route | None) -> ClaimOutcome:
    if not claim.is_option:
        return _by_check(claim, findings)
    if route is None:
        return ClaimOutcome(claim, "undecided", "the doctor does not ask this route")
    state, observed = _OPTIONS[claim.name](claim.value, _Seen(findings, route))
    shown = _SHOWN_BY.get(claim.name, f"route {ROUTES[route]}")
    return ClaimOutcome(claim, state, observed, next((one.came for one in findings.checks if one.what == shown), ""))


def _by_check(claim: Claim, findings: Findings) -> ClaimOutcome:
    """A statement holds where its check works and names no deviation."""
    if not claim.name:
        return ClaimOutcome(claim, "undecided", "no probe asks for it")
    checks = [check for check in findings.checks if check.what == claim.name]
    if not checks:
        return ClaimOutcome(claim, "undecided", "it was not asked")
    check = next((one for one in checks if one.finding), checks[0])
    return ClaimOutcome(claim, _state_of(check), check.saw, check.came)


def _state_of(check: Check) -> ClaimState:
    if check.state == "unclear":
        return "undecided"
    return "proven" if check.state == "works" and not check.finding else "refuted"


_Result = tuple[ClaimState, str]
"""What was seen of an option, in words too."""

_UNASKED: _Result = ("undecided", "it was not asked")


@dataclass(frozen=True, slots=True)
class _Seen:
    """What was seen of one route."""

    findings: Findings
    route: Route

    @property
    def form(self) -> RequestForm | None:
        return self.findings.forms.get(self.route)

    @property
    def shows(self) -> bool:
        """Whether it shows alternatives."""
        return self.route in self.findings.openings

    def answers(self) -> list[ProbeAnswer]:
        return [one for one in self.findings.answers if one.request.path == ROUTES[self.route]]


def _equal(value: object, seen: object) -> _Result:
    return ("proven" if seen == value else "refuted"), _shown(seen)


def _path(_: object, seen: _Seen) -> _Result:
    return ("proven", "it answers") if seen.form else ("refuted", "it does not answer")


def _logprobs(value: object, seen: _Seen) -> _Result:
    return _equal(value, seen.shows) if seen.form else ("undecided", "the route does not answer")


def _top_k(value: object, seen: _Seen) -> _Result:
    if seen.form is None or not seen.shows or not isinstance(value, int):
        return "undecided", "the route shows no alternatives"
    most = seen.form.top_k
    return ("proven" if most >= value else "refuted"), f"{most} alternatives"


def _length_field(value: object, seen: _Seen) -> _Result:
    return _equal(value, seen.form.length_field) if seen.form else _UNASKED


def _min_output(value: object, seen: _Seen) -> _Result:
    return _equal(value, seen.form.least) if seen.form else _UNASKED


def _decoder(value: object, seen: _Seen) -> _Result:
    return _equal(value, seen.findings.facts.decoders.get(seen.route)) if seen.shows else _UNASKED


def _logprobs_kind(value: object, seen: _Seen) -> _Result:
    asked = {"completions": "count", "chat": "bool", "responses": "include"}[seen.route]
    if asked != value or seen.form is None:
        return _UNASKED
    return ("proven", "log-probs come") if seen.shows else ("refuted", "no alternatives come")


def _seed_field(_: object, seen: _Seen) -> _Result:
    check = next((one for one in seen.findings.checks if one.what == "seed"), None)
    return _UNASKED if check is None else (_state_of(check), check.saw)


def _fact(name: str, *, late: bool = True) -> Callable[[object, _Seen], _Result]:
    """A fact of a route with log-probs by its name. late: it is settled at the end of an examination alone."""

    def seen_of(value: object, seen: _Seen) -> _Result:
        known = seen.shows and (seen.findings.whole or not late)
        return _equal(value, getattr(seen.findings.facts, name)) if known else _UNASKED

    return seen_of


def _prefill(value: object, seen: _Seen) -> _Result:
    if not any(check.what == "partial turn" for check in seen.findings.checks):
        return _UNASKED
    kinds = seen.findings.facts.kinds
    return ("proven" if value in kinds else "refuted"), f"gone on with, told by: {', '.join(kinds) or 'none'}"


def _of_prefill(name: str) -> Callable[[object, _Seen], _Result]:
    def seen_of(value: object, seen: _Seen) -> _Result:
        facts = seen.findings.facts
        return _equal(value, getattr(facts, name)) if facts.kinds else _UNASKED

    return seen_of


def _end_pieces(value: object, seen: _Seen) -> _Result:
    """How an end is spelt is known only where one was seen that has a spelling of its own."""
    ends = seen.findings.facts.ends
    if not ends:
        return "undecided", "no end of a spelling of its own was seen"
    claimed = value if isinstance(value, tuple | list | set | frozenset) else ()
    return ("proven" if {end.encode() for end in ends} <= set(claimed) else "refuted"), _shown(ends)


def _at_once(value: object, seen: _Seen) -> _Result:
    measured = seen.findings.facts.at_once
    if measured is None or not isinstance(value, int):
        return _UNASKED
    if value > DRAWN and measured >= DRAWN:
        return "undecided", f"{DRAWN} were asked for and came; more were not asked for"
    return _equal(value, measured)


def _pinned(value: object, seen: _Seen) -> _Result:
    """Fixed is what is refused at each other value."""
    claimed = value if isinstance(value, Mapping) else {}
    others = {
        name: [one for one in seen.answers() if one.request.body.get(name, fixed) != fixed]
        for name, fixed in claimed.items()
    }
    if taken := [name for name, answers in others.items() if any(one.reply for one in answers)]:
        return "refuted", f"other values are taken: {', '.join(taken)}"
    if not all(others.values()):
        return "undecided", "no other value was asked for"
    return "proven", f"other values are refused: {', '.join(others)}"


def _extra_body(value: object, seen: _Seen) -> _Result:
    """That it is taken; what it does is not seen."""
    names = set(value) if isinstance(value, Mapping) else set()
    asked = [one for one in seen.answers() if names <= one.request.body.keys()]
    if not asked:
        return _UNASKED
    return ("proven", "it is taken") if any(one.reply for one in asked) else ("refuted", "it is refused")


def _tools(value: object, seen: _Seen) -> _Result:
    asked = any(check.what == "tools" for check in seen.findings.checks)
    return _equal(value, seen.findings.facts.tools) if asked else _UNASKED


def _structured_logprobs(value: object, seen: _Seen) -> _Result:
    if seen.findings.facts.before_mask:
        return _equal(value, "before")
    masked = any(check.finding == "masked-logps" for check in seen.findings.checks)
    return _equal(value, "after") if masked else _UNASKED


_OPTIONS: Mapping[str, Callable[[object, _Seen], _Result]] = {
    "path": _path,
    "logprobs": _logprobs,
    "top_k": _top_k,
    "length_field": _length_field,
    "min_output": _min_output,
    "decoder": _decoder,
    "logprobs_kind": _logprobs_kind,
    "seed_field": _seed_field,
    "bytes_trust": _fact("trust"),
    "end_pieces": _end_pieces,
    "token_ids": _fact("ids", late=False),
    "reveal": _fact("reveal", late=False),
    "prompt_lists": _fact("lists"),
    "echo": _fact("gives_back"),
    "structured": _fact("structured"),
    "structured_logprobs": _structured_logprobs,
    "prefill": _prefill,
    "echoes": _of_prefill("echoes"),
    "trims": _of_prefill("trims"),
    "tools": _tools,
    "answers_at_once": _at_once,
    "pinned": _pinned,
    "extra_body": _extra_body,
}
"""The options that an examination can say something about."""

_SHOWN_BY: Mapping[str, str] = {
    "seed_field": "seed",
    "bytes_trust": "bytes",
    "end_pieces": "end of an answer",
    "token_ids": "token ids",
    "reveal": "unseen tokens",
    "prompt_lists": "list of prompts",
    "echo": "text given back",
    "structured": "structured output",
    "prefill": "partial turn",
    "echoes": "partial turn",
    "trims": "blank at the end",
    "tools": "tools",
    "answers_at_once": "answers at once",
    "pinned": "temperature",
}
"""The checks whose replies show what was seen of an option; those of the others are the route's own."""


def _shown(value: object) -> str:
    if isinstance(value, tuple | list | set | frozenset):
        return ", ".join(map(_shown, value)) or "none"
    if isinstance(value, Mapping):
        return ", ".join(f"{name} {_shown(one)}" for name, one in value.items())
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)
