"""Writes docs/ways.md: which way of steering is taken at which provider, by the shipped profiles.

    python -m tests.ways FILE

A test compares the page with what would be written today.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Literal

from blackbox_proxy.errors import InputError
from blackbox_proxy.remote.profiles.finding import Profile, all_profiles
from blackbox_proxy.remote.registry import load_adapter
from blackbox_proxy.types import Adapter, Continuation, StrategicAdapter

NOWHERE = Path("/nonexistent")
"""A folder of profiles of one's own that holds none."""

HEAD = """# Ways by provider

Written by `make reference` from the shipped profiles. What the ways are and when to use which is in
[closed chats](closed_chats.md). No hosted API has been called by us: what a profile says of one is from its
documentation.

* *auto takes*: what `--way auto` does; `--way token` is the same where there are log-probs.
* *label*: `Result.exactness` of an answer that was gone on from; one that a single reply holds is `exact`.
* *may be named*: what `--way` takes besides. `forced` stands in brackets where the doctor has to measure first whether
  the endpoint's structured output can demand a text (`structured`); `auto` then takes it by itself.

| profile | auto takes | label | may be named |
|---|---|---|---|
"""

_AUTO: Mapping[Continuation, tuple[str, str]] = {
    Continuation.EXACT: ("raw text", "`exact`"),
    Continuation.PREFILL: ("prefill", "`exact`"),
    Continuation.APPROXIMATE: ("words", "`approximate`"),
    Continuation.NONE: ("answers", "`sampled`"),
}


def page() -> str:
    """The whole page."""
    return HEAD + "\n".join(map(_row, all_profiles(folder=NOWHERE))) + "\n"


def _row(profile: Profile) -> str:
    said = profile.document.profile
    if not said.supported or said.adapter is None:
        return f"| `{profile.name}` | cannot be steered | | |"
    adapter = load_adapter(said.adapter, **profile.document.options.given())
    taken, label = _taken(adapter)
    return f"| `{profile.name}` | {taken} | {label} | {', '.join(_named(adapter))} |"


def _taken(adapter: Adapter) -> tuple[str, str]:
    able = adapter.capabilities()
    if not able.logprobs:
        return "answers", "`sampled`"
    if able.continuation is Continuation.APPROXIMATE and _goes(adapter, "forced"):
        return "forced", "`forced`"
    return _AUTO[able.continuation]


def _named(adapter: Adapter) -> list[str]:
    """The ways that can be named, `auto` and `token` aside."""
    if not adapter.capabilities().logprobs:
        return ["`answers`"]
    ways = ["`words`"] if _goes(adapter, "words") else []
    if _goes(adapter, "forced"):
        ways.append("`forced`")
    elif ways and "forced" in getattr(adapter, "strategies", ()):
        ways.append("(`forced`)")
    return [*ways, "`answers`"]


def _goes(adapter: Adapter, way: Literal["forced", "words"]) -> bool:
    try:
        return isinstance(adapter, StrategicAdapter) and bool(adapter.limited_to(way))
    except InputError:
        return False


if __name__ == "__main__":
    Path(sys.argv[1]).write_text(page(), encoding="utf-8")
