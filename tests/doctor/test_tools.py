"""The doctor finds out whether a chat knows tools, and the adapter is told so."""

from __future__ import annotations

import pytest

from blackbox_proxy.doctor.claims import claims_of, outcomes
from blackbox_proxy.doctor.findings import Facts, Findings, ProbeAnswer, ProbeSession
from blackbox_proxy.doctor.replies import read_reply
from blackbox_proxy.doctor.requests import COLOURS, Route, first_form
from blackbox_proxy.doctor.tools import FIELDS, NAME, find_tools
from blackbox_proxy.standin import running, scenario_of
from blackbox_proxy.types import WireRequest
from tests.standin.raw import Json, post


def examined(exchange: Json, route: Route = "chat") -> Findings:
    """What the probe finds at a stand-in that answers so."""
    with running(scenario_of([{"asked": COLOURS, **exchange}])) as url:

        def ask(request: WireRequest) -> ProbeAnswer:
            answer = post(url, f"/v1{request.path}", dict(request.body))
            if answer.status != 200:
                return ProbeAnswer(request, words=answer.error["message"], status=answer.status)
            return ProbeAnswer(request, read_reply(answer.json))

        findings = Findings(facts=Facts(prefill="implicit"))
        form = first_form(route, "any", extra={})
        findings.forms[route], findings.openings[route] = form, ask(form.bare(COLOURS))
        findings.answers.append(findings.openings[route])
        find_tools(ProbeSession(ask, findings))
        findings.settled = findings.whole = True
        return findings


@pytest.mark.parametrize(
    ("exchange", "state", "found"),
    [
        ({"calls": [{"name": NAME, "arguments": {"colour": "red"}}]}, "works", True),
        ({"calls": [{"name": "another", "arguments": {}}]}, "ignored", False),
        ({"said": "Red."}, "ignored", False),
        ({"error": {"status": 400, "message": "no tools"}}, "refused", False),
    ],
)
def test_a_tool_that_must_be_called_tells(exchange: Json, state: str, *, found: bool) -> None:
    findings = examined(exchange)
    (check,) = findings.checks
    assert (check.what, check.state) == ("tools", state)
    assert findings.facts.tools == found
    assert findings.options(()).get("tools", False) == found
    (outcome,) = outcomes(claims_of({"tools": True}, ()), findings, path="/chat/completions")
    assert outcome.state == ("proven" if found else "refuted")


def test_other_routes_are_not_asked() -> None:
    findings = examined({"said": "Red."}, route="completions")
    assert findings.checks == []
    (outcome,) = outcomes(claims_of({"tools": True}, ()), findings, path="/completions")
    assert outcome.state == "undecided"


def test_the_schema_of_the_tool_is_one_that_strict_endpoints_take() -> None:
    tools: Json = FIELDS["tools"]
    assert [tool["function"]["parameters"]["additionalProperties"] for tool in tools] == [False]
