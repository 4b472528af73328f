"""What the README says of providers is what their profiles say, its links lead somewhere, and its commands exist."""

from __future__ import annotations

import re
import shlex
import tomllib
from pathlib import Path

import pytest

from blackbox_proxy.remote.registry import load_adapter
from tests.cli.test_help import COMMANDS, below

ROOT = Path(__file__).parent.parent
TEXT = (ROOT / "README.md").read_text(encoding="utf-8")
PROFILES = sorted((ROOT / "adapters" / "blackbox_proxy_adapters" / "profiles").glob("*.toml"))
LONGEST = 700
"""Lines that somebody will read."""


@pytest.mark.parametrize("path", PROFILES, ids=lambda path: path.stem)
def test_a_provider_is_described_as_its_profile_has_it(path: Path) -> None:
    """One row for each: adapter, how it is gone on from, alternatives, tokenizer."""
    found = tomllib.loads(path.read_text(encoding="utf-8"))
    profile, options = found["profile"], found.get("options", {})
    adapter = profile.get("adapter", "")
    row = (
        f"`{path.stem}`",
        f"`{adapter}`" if adapter else "",
        load_adapter(adapter).capabilities().continuation.value if adapter else "cannot be steered",
        str(options.get("top_k", "")),
        f"`{profile['tokenizer']}`" if "tokenizer" in profile else "",
    )
    assert re.sub(" +", " ", f"| {' | '.join(row)} |") in re.sub(" +", " ", TEXT)


def anchors(page: str) -> set[str]:
    """What a heading is called in a link, as forges do it."""
    titles = re.findall(r"^#+ (.+)$", page, flags=re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


@pytest.mark.parametrize("target", sorted(set(re.findall(r"\]\(([^)]+)\)", TEXT))))
def test_a_link_leads_somewhere(target: str) -> None:
    if not target.startswith("https://"):
        name, _, anchor = target.partition("#")
        page = ROOT / (name or "README.md")
        assert page.is_file()
        assert not anchor or anchor in anchors(page.read_text(encoding="utf-8"))


def commands() -> list[str]:
    """Every line of a code block that calls the program; lines that go on are joined, remarks left out."""
    blocks = re.findall(r"```\n(.*?)```", TEXT, flags=re.DOTALL)
    lines = [line for block in blocks for line in block.replace("\\\n", " ").splitlines()]
    return [line for line in lines if line.startswith("blackbox-proxy ")]


@pytest.mark.parametrize("line", commands())
def test_a_command_is_one_that_the_parser_takes(line: str) -> None:
    words = shlex.split(line.partition(" > ")[0], comments=True)[1:]
    command = COMMANDS[()]
    while words and words[0] in below(command):
        command = below(command)[words.pop(0)]
    assert command is not COMMANDS[()]
    takes_nothing = all(option.param_type_name == "option" for option in command.params)
    command.make_context("readme", [word for word in words if not (takes_nothing and word == "...")])


def test_it_can_be_read_to_the_end() -> None:
    assert len(TEXT.splitlines()) < LONGEST
