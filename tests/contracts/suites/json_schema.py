"""The JSON-Schema-Test-Suite, as jsonschema's source brings it, against the constraint that a schema makes.

Each instance of a case is spelt in the constraint's white space, its fields in any order that the constraint allows.
One that the suite calls valid must be an answer, one that it calls invalid must not.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from blackbox_proxy.constraints import JsonSchema
from blackbox_proxy.core.decoding.jsonspelling import spelt_json
from blackbox_proxy.core.jsontext import JsonLimits
from blackbox_proxy.errors import InputError
from blackbox_proxy.guidance import ConstraintAcceptor

DRAFTS: Mapping[str, str] = {
    "draft4": "http://json-schema.org/draft-04/schema#",
    "draft6": "http://json-schema.org/draft-06/schema#",
    "draft7": "http://json-schema.org/draft-07/schema#",
    "draft2019-09": "https://json-schema.org/draft/2019-09/schema",
    "draft2020-12": "https://json-schema.org/draft/2020-12/schema",
}
"""The drafts that llguidance knows, by the suite's folders; the suite's older schemas do not say theirs."""

NO_LIMITS = JsonLimits(10**9, 10**9, 10**9, 10**9)


@dataclass(frozen=True, slots=True)
class SuiteCase:
    """A schema of the suite with its instances: name, value, whether it is valid."""

    name: str
    schema: Any
    instances: tuple[tuple[str, Any, bool], ...]


def cases(folder: Path, draft: str) -> Iterator[SuiteCase]:
    """Those of a draft, also of its optional parts. folder: the suite's `tests`."""
    for path in sorted((folder / draft).rglob("*.json")):
        within = path.relative_to(folder).as_posix()
        for case in json.loads(path.read_text(encoding="utf-8")):
            instances = tuple(
                (f"{within}: {case['description']}: {t['description']}", t["data"], t["valid"]) for t in case["tests"]
            )
            schema = case["schema"]
            known = {"$schema": DRAFTS[draft], **schema} if isinstance(schema, dict) else schema
            yield SuiteCase(f"{within}: {case['description']}", known, instances)


def acceptor(case: SuiteCase) -> ConstraintAcceptor | str:
    """The constraint of a case, or why it is refused."""
    if not isinstance(case.schema, dict):
        return "a schema is an object here"
    try:
        return ConstraintAcceptor(JsonSchema.of(case.schema), limits=NO_LIMITS)
    except InputError as error:
        return error.message


def wrong(case: SuiteCase, accepts: ConstraintAcceptor) -> list[str]:
    """The instances about which the constraint and the suite differ."""
    return [name for name, value, valid in case.instances if (spelt_json(value, accepts=accepts) is not None) != valid]
