"""What a profile claims is proven, refuted or left undecided by what an examination saw, and by nothing else."""

from __future__ import annotations

import copy
import functools
import math
from collections.abc import Mapping
from pathlib import Path

import pytest

from blackbox_proxy.doctor.claims import Claim, ClaimOutcome, claims_of, outcomes
from blackbox_proxy.doctor.findings import Findings
from blackbox_proxy.errors import ApiRefused
from blackbox_proxy.remote.profiles.finding import Profile, all_profiles
from blackbox_proxy.types import WireRequest
from tests.remote.consulting import examination, names, transported

CHAT: Mapping[str, object] = {"path": "/chat/completions"}


@functools.cache
def found(*quirks: str) -> Findings:
    """What the doctor finds at the toy with these quirks."""
    with transported(*quirks) as transport:
        exam = examination(transport.send)
        exam.run()
    return exam.findings


def states(options: Mapping[str, object], *quirks: str) -> dict[str, str]:
    """The state of each option."""
    path = str(options.get("path", "/chat/completions"))
    seen = outcomes(claims_of(options, ()), found(*quirks), path=path)
    return {one.claim.name: one.state for one in seen}


NO_TEXT = "closed-routes=completions+responses"


@pytest.mark.parametrize(
    ("quirks", "proven", "refuted"),
    [
        ((), {"top_k": 20, "prefill": "partial", "decoder": "openai_chat"}, {"structured": "const", "logprobs": False}),
        ((NO_TEXT,), {"prefill": "prefix", "trims": False, "structured": "pattern"}, {"prefill": "implicit"}),
        ((NO_TEXT, "echoed-prefix"), {"echoes": True}, {"echoes": False}),
        ((NO_TEXT, "trimmed-prefill"), {"trims": True}, {"trims": False}),
        ((NO_TEXT, "top-k-cap=5"), {"top_k": 5}, {"top_k": 20}),
        ((NO_TEXT, "no-prefill"), {}, {"prefill": "flag_pair"}),
        ((NO_TEXT, "min-output=16"), {"min_output": 16}, {"min_output": 1}),
        ((NO_TEXT, "max-completion-tokens-only"), {"length_field": "max_completion_tokens"}, {}),
        ((NO_TEXT, "refused-fields=n"), {"answers_at_once": 1}, {"answers_at_once": 4}),
        ((NO_TEXT, "refused-fields=temperature"), {}, {}),
        ((NO_TEXT, "null-bytes"), {"bytes_trust": "none"}, {"bytes_trust": "exact"}),
        ((NO_TEXT, "no-seed"), {}, {"seed_field": "seed"}),
        (("ignored-logprobs",), {"logprobs": False, "answers_at_once": 8}, {"logprobs": True}),
        ((NO_TEXT, "no-pattern"), {"structured": "const"}, {"structured": "pattern"}),
    ],
)
def test_an_option_is_proven_or_refuted(
    quirks: tuple[str, ...], proven: Mapping[str, object], refuted: Mapping[str, object]
) -> None:
    assert states({**CHAT, **proven}, *quirks) == {"path": "proven", **dict.fromkeys(proven, "proven")}
    assert states({**CHAT, **refuted}, *quirks) == {"path": "proven", **dict.fromkeys(refuted, "refuted")}


def test_raw_text_is_proven_on_its_own_route() -> None:
    ids: Mapping[str, object] = {"token_ids": True}
    options = {**ids, "echo": True, "prompt_lists": True, "reveal": "ids", "logprobs_kind": "count"}
    path = {"path": "/completions"}
    assert set(states({**path, **options}).values()) == {"proven"}
    assert states({**path, **ids}, "no-ids") == {"path": "proven", **dict.fromkeys(ids, "refuted")}
    assert states(path, "closed-routes=completions")["path"] == "refuted"


def test_what_was_not_asked_stays_undecided() -> None:
    asked = {"answers_at_once": 128, "logprobs_kind": "count", "end_pieces": (b"</end>",), "echoes": True}
    assert set(states({**CHAT, **asked}, "closed-routes=completions", "no-prefill").values()) == {"proven", "undecided"}
    native = outcomes(claims_of({"top_k": 5}, ()), found(), path="/completion")
    assert [(one.state, one.observed) for one in native] == [("undecided", "the doctor does not ask this route")]


def test_what_is_fixed_is_refused_at_every_other_value() -> None:
    fixed = {**CHAT, "pinned": {"temperature": 1.0}}
    assert states(fixed)["pinned"] == "refuted"
    assert states(fixed, "refused-fields=temperature")["pinned"] == "undecided"
    with transported("closed-routes=completions+responses") as transport:

        def send(request: WireRequest) -> Mapping[str, object]:
            if request.body.get("temperature", 1.0) != 1.0:
                raise ApiRefused("invalid temperature: only 1 is allowed for this model (400)", status=400)
            return transport.send(request)

        exam = examination(send)
        exam.run()
    assert names(exam.report()) == ["closed-routes", "refused-fields"]
    assert exam.report().options["pinned"] == {"temperature": 1.0}
    seen = outcomes(claims_of(fixed, ()), exam.findings, path="/chat/completions")
    assert {one.claim.name: one.state for one in seen} == {"path": "proven", "pinned": "proven"}


@pytest.mark.parametrize(("keep", "state", "finding"), [(20, "works", ""), (1, "lossy", "cut-support")])
def test_a_support_that_is_cut_is_seen_where_one_token_has_more_than_that(keep: int, state: str, finding: str) -> None:
    with transported("closed-routes=completions+responses") as transport:

        def send(request: WireRequest) -> Mapping[str, object]:
            body = copy.deepcopy(transport.send(request))
            for choice in body["choices"]:  # type: ignore[attr-defined]
                for row in (choice["logprobs"] or {"content": []})["content"]:
                    sure = any(math.exp(one["logprob"]) > 0.95 for one in row["top_logprobs"])
                    row["top_logprobs"] = row["top_logprobs"][: keep if sure else None]
            return body

        exam = examination(send, options={"pinned": {"temperature": 1.0, "top_p": 0.95}})
        exam.run()
    (check,) = [check for check in exam.report().checks if check.what == "support"]
    assert (check.state, check.finding) == (state, finding)


def test_every_claim_of_a_shipped_profile_can_be_settled_by_a_check_that_exists() -> None:
    """A check that is called otherwise would leave its claim undecided for ever."""
    checks = {check.what for check in found().checks}
    for options, quirks in (
        ({"pinned": {"top_p": 0.95}}, ("closed-routes=completions",)),
        ({"logprobs": False}, ("ignored-logprobs",)),
    ):
        with transported(*quirks) as transport:
            exam = examination(transport.send, options=options)
            exam.run()
        checks |= {check.what for check in exam.findings.checks}
    named = {
        (profile.name, by)
        for profile in all_profiles(folder=Path("/nonexistent"))
        for _, by in profile.document.profile.statements
        if by
    }
    assert len(named) > 25
    assert {one for one in named if one[1] not in checks} == set()


@pytest.mark.parametrize("profile", all_profiles(folder=Path("/nonexistent")), ids=lambda profile: profile.name)
def test_the_claims_of_a_shipped_profile_are_laid_beside_what_was_found(profile: Profile) -> None:
    document = profile.document
    claims = claims_of(document.options.given(), document.profile.statements)
    seen = outcomes(claims, found(), path=str(document.options.path))
    assert len(seen) == len(claims)
    assert all(one.observed for one in seen)
    assert all(claim.says for claim in claims)


STATEMENTS = [
    ("before the temperature", "temperature"),
    ("before the mask", "mask"),
    ("goes on", "partial turn"),
    ("who knows", ""),
    ("nobody asks", "no such check"),
]


@pytest.mark.parametrize(
    ("quirks", "expected"),
    [
        ((), ["proven", "proven", "proven", "undecided", "undecided"]),
        (
            ("logp-after-temperature", "masked-logps", "no-prefill"),
            ["refuted", "refuted", "refuted", "undecided", "undecided"],
        ),
    ],
)
def test_a_statement_is_settled_by_the_check_that_it_names(quirks: tuple[str, ...], expected: list[str]) -> None:
    seen = outcomes(claims_of({}, STATEMENTS), found(*quirks), path="/chat/completions")
    assert [one.state for one in seen] == expected
    assert seen[3:] == (
        ClaimOutcome(Claim("", "who knows"), "undecided", "no probe asks for it"),
        ClaimOutcome(Claim("no such check", "nobody asks"), "undecided", "it was not asked"),
    )
