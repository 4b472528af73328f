"""An endpoint that holds a pattern against the JSON, as llama.cpp's server does, is told from one that does not."""

from __future__ import annotations

import json
from collections.abc import Mapping

import pytest

from blackbox_proxy.doctor.findings import Findings, ProbeAnswer, ProbeSession
from blackbox_proxy.doctor.replies import read_reply
from blackbox_proxy.doctor.requests import DEMANDED, LENGTHS, ROUTES, RequestForm
from blackbox_proxy.doctor.structured import find_structured
from blackbox_proxy.types import WireRequest
from tests.remote.consulting import examined

NO_PREFILL = ("templated-completions", "no-prefill")


def said(text: str, *, masked: bool = False) -> Mapping[str, object]:
    """A chat's reply of one token, where another was likelier unless log-probs are those after a mask."""
    best = {"token": "Hello", "logprob": -0.1, "bytes": list(b"Hello")}
    own = {"token": text, "logprob": -5.0, "bytes": list(text.encode())}
    listed = [own] if masked else [best, own]
    logprobs = {"content": [{**own, "top_logprobs": listed}]}
    return {"choices": [{"message": {"content": text}, "finish_reason": "length", "logprobs": logprobs}]}


def against_json(request: WireRequest) -> ProbeAnswer:
    """What llama.cpp's server answers."""
    schema = request.body["response_format"]["json_schema"]["schema"]  # type: ignore[index]
    pattern: str = schema["properties"]["answer"]["pattern"]
    escaped = json.dumps(DEMANDED)[1:-1]
    if pattern.startswith("^" + escaped.replace("\\", "\\\\")):
        return ProbeAnswer(request, read_reply(said(f'{{"answer": "{escaped}')))
    return ProbeAnswer(request, None, "The model produced output that does not match the expected format", 500)


def against_nothing(request: WireRequest) -> ProbeAnswer:
    return ProbeAnswer(request, read_reply(said("Hello")))


def opened(ask: object) -> Findings:
    form = RequestForm("chat", "m", ROUTES["chat"], LENGTHS["chat"])
    findings = Findings(forms={"chat": form})
    findings.openings["chat"] = ProbeAnswer(form.ask("Hello"))
    find_structured(ProbeSession(ask, findings))  # type: ignore[arg-type]
    return findings


def test_a_pattern_of_the_spelling_is_asked_for_where_one_of_the_text_fails() -> None:
    findings = opened(against_json)
    assert (findings.facts.structured, findings.facts.before_mask) == ("spelt", True)
    assert any("as it is spelt" in check.saw for check in findings.checks)
    assert not findings.deviations


def test_one_that_obeys_neither_ignores_it() -> None:
    assert opened(against_nothing).deviations == ("ignored-format",)


@pytest.mark.parametrize(("quirks", "side"), [((), "before"), (("masked-logps",), None)])
def test_of_which_side_of_the_mask_log_probs_are_becomes_an_option(quirks: tuple[str, ...], side: str | None) -> None:
    options = examined(*NO_PREFILL, *quirks).options
    assert (options["structured"], options.get("structured_logprobs")) == ("pattern", side)
