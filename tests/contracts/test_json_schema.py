"""Typed output against the JSON-Schema-Test-Suite: what a schema allows is what the suite calls valid."""

from __future__ import annotations

import re
from collections import Counter

import pytest

from tests.contracts.suites.clients import Outcome, selected, source
from tests.contracts.suites.json_schema import DRAFTS, acceptor, cases, wrong

pytestmark = pytest.mark.slow

NAMED = re.compile(r"\(at /.*\)$")
"""How a schema is refused for a keyword: with its place."""

OTHERWISE = re.compile(
    r"Unsatisfiable|no answer satisfies|a schema is an object|look-around|backreference|regex|ointer|Resource|anchor"
)
"""How it is refused for what is no keyword: a contradiction, an expression, a reference that leads nowhere."""


def test_what_the_suite_calls_valid_is_an_answer_and_nothing_else_is() -> None:
    """Left out: instances of schemas that are refused, and those that deselected.toml names with a reason."""
    folder = source("jsonschema-*/json/tests")
    names: dict[str, str] = {}
    failed: set[str] = set()
    refused: Counter[str] = Counter()
    unnamed: list[str] = []
    for draft in DRAFTS:
        for case in cases(folder, draft):
            accepts = acceptor(case)
            if isinstance(accepts, str):
                refused[draft] += len(case.instances)
                unnamed += [] if NAMED.search(accepts) or OTHERWISE.search(accepts) else [f"{case.name}: {accepts}"]
            else:
                names |= {name: draft for name, *_ in case.instances}
                failed |= set(wrong(case, accepts))
    assert unnamed == [], unnamed
    kept = set(selected("json-schema", [*names]))
    for draft in DRAFTS:
        asked = {name for name in names if names[name] == draft}
        bad = sorted((asked & kept) & failed)
        listed = len(asked - kept)
        passed = len(asked) - listed - len(bad)
        print(Outcome(f"JSON-Schema-Test-Suite {draft}", passed, len(bad), refused[draft] + listed).line)
        assert bad == []
        assert passed >= 400
