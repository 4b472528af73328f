"""What `doctor --prove` writes: a record of a profile's claims that its user can send in.

It holds nothing that tells who ran it: no key, no address but a provider's public one, none of the requests, and of
replies only what is left when keys and the names of accounts are taken out. Heavy modules are imported inside.
"""

from __future__ import annotations

import json
import platform
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

from blackbox_proxy.cli.declaring import OUTPUT, option
from blackbox_proxy.errors import InputError
from blackbox_proxy.files import replace_text

if TYPE_CHECKING:
    import datetime as dt

    from blackbox_proxy.cassettes.redacting import Redactor
    from blackbox_proxy.doctor.claims import ClaimOutcome

FORMAT = 1
"""The form of the file; a change of a field's meaning is another one."""

STATES = ("proven", "refuted", "undecided")

_ACCOUNT = re.compile(
    r"""\b(?:org|proj|project|user|acct|account|team|workspace|ws|req|key|sk|pk|ep|dep)[-_](?=[\w-]*\d)[\w-]{5,}
    |\b[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}\b  # a UUID
    |\b(?=[A-Za-z]*\d)(?=\d*[A-Za-z])[A-Za-z0-9]{20,}\b      # a long name of letters and digits
    |[\w.+-]+@[\w-]+\.[\w.-]+
    |\bhttps?://\S+""",
    re.VERBOSE,
)
"""What may name an account in an error's words: prefixed ids, UUIDs, long tokens, mail addresses, links."""

_TUNED = re.compile(r"^(ft:[^:]+).*$")
"""A fine-tuned model's name holds its organisation's."""


@dataclass(frozen=True, slots=True)
class ProofOptions:
    """Whether a profile's claims are measured, for how much, and where the record goes."""

    prove: bool = option(
        default=False,
        help="Measure the profile's claims, and write a record without keys that may be sent in.",
        panel=OUTPUT,
        flag="--prove",
        unset="off",
    )
    budget: str = option("0.50", "With --prove: most US dollars; what would cost more is not sent.", panel=OUTPUT)
    proof: Path | None = option(
        None,
        "With --prove: the file of the record.",
        panel=OUTPUT,
        unset="a name of profile, model and day, in the current folder",
    )


@dataclass(frozen=True, slots=True)
class ProvenPlace:
    """What was asked. public: the provider's own address, "" for another one, which may name an account."""

    profile: str
    checked: str
    model: str
    public: str


def record(
    outcomes: Sequence[ClaimOutcome], place: ProvenPlace, *, day: dt.date, redactor: Redactor, unfinished: str
) -> Mapping[str, object]:
    """The record as JSON has it.

    Args:
        outcomes: What was seen of each claim.
        place: What was asked.
        day: When.
        redactor: Takes out the keys.
        unfinished: Why the examination broke off; "" if it did not.
    """

    def clean(text: str) -> str:
        return _ACCOUNT.sub("[removed]", redactor.text(text))

    return {
        "format": FORMAT,
        "profile": place.profile,
        "profile_checked": place.checked,
        "address": place.public or "another than the profile's",
        "model": clean(plain_model(place.model)),
        "date": day.isoformat(),
        "versions": {
            "blackbox-proxy": version("blackbox-proxy"),
            "openai": version("openai"),
            "python": platform.python_version(),
        },
        "unfinished": clean(unfinished),
        "claims": [
            {
                "claim": one.claim.name,
                "says": clean(one.claim.says) if one.claim.name != "extra_body" else _names(one.claim.value),
                "state": one.state,
                "observed": clean(one.observed),
                "evidence": clean(one.came),
            }
            for one in outcomes
        ],
    }


def plain_model(model: str) -> str:
    """A model's name without that of an organisation, which a fine-tuned one holds."""
    return _TUNED.sub(r"\1", model)


def _names(value: object) -> str:
    """The fields of an `extra_body` without their values, which may be the user's own."""
    return f"extra_body sets {', '.join(value)}" if isinstance(value, Mapping) else "extra_body"


@dataclass(frozen=True, slots=True)
class ProofRecord:
    """A record that was written. content: as JSON has it; seen: what was seen of each claim."""

    content: Mapping[str, object]
    seen: Sequence[ClaimOutcome]
    file: Path

    @property
    def as_json(self) -> Mapping[str, object]:
        """What `doctor --json` says besides."""
        return {"claims": self.content["claims"], "proof": str(self.file)}

    def show(self) -> None:
        """Each claim with what was seen of it, the refuted ones first, and how many there are of each."""
        from blackbox_proxy.cli import show

        order = {state: at for at, state in enumerate(("refuted", "undecided", "proven"))}
        rows = show.table({"state": "left", "claim": "left", "observed": "left"})
        for one in sorted(self.seen, key=lambda one: order[one.state]):
            rows.add_row(*map(show.harmless, (one.state, one.claim.says, one.observed)))
        show.out.print(rows)
        counts = ", ".join(f"{sum(one.state == state for one in self.seen)} {state}" for state in STATES)
        show.line(f"Claims: {counts}.")
        show.note(f"the record is in {self.file}; it holds no key and nothing that you asked, and may be sent in")


def written(content: Mapping[str, object], seen: Sequence[ClaimOutcome], file: Path) -> ProofRecord:
    """A record, written whole or not at all. Raises InputError where that cannot be."""
    replace_text(file, json.dumps(content, ensure_ascii=False, indent=2) + "\n")
    return ProofRecord(content, seen, file)


def default_file(place: ProvenPlace, day: dt.date) -> Path:
    """A name in the current folder that says what was asked, and when."""
    name = re.sub(r"[^A-Za-z0-9.-]+", "_", f"{place.profile}--{plain_model(place.model)}--{day.isoformat()}")
    return Path(f"proof--{name}.json")


def require_claims(profile: str, *, unknown: str) -> None:
    """Raises InputError for the profile of an endpoint of which nothing is claimed."""
    if profile == unknown:
        raise InputError(
            "--prove needs a profile, whose claims are measured",
            hint="name one with --profile; `blackbox-proxy profiles list` shows them",
        )
