"""What the documents say of providers is what their profiles say, links lead somewhere, and commands exist."""

from __future__ import annotations

import re
import shlex
import tomllib
from pathlib import Path

import pytest

import blackbox_proxy
from blackbox_proxy.remote.registry import load_adapter
from tests import modules, ways
from tests.cli.test_help import COMMANDS, below
from tests.documents import DOCS, PAGES, ROOT, TEXT

PROFILES = sorted((ROOT / "adapters" / "blackbox_proxy_adapters" / "profiles").glob("*.toml"))
LONGEST = {"README.md": 150, "ARCHITECTURE.md": 200}
"""Lines that somebody will read."""


@pytest.mark.parametrize("path", PROFILES, ids=lambda path: path.stem)
def test_a_provider_is_described_as_its_profile_has_it(path: Path) -> None:
    """One row for each: adapter, how it is gone on from, alternatives, tokenizer."""
    found = tomllib.loads(path.read_text(encoding="utf-8"))
    profile, options = found["profile"], found.get("options", {})
    adapter = profile.get("adapter", "")
    gone_on = load_adapter(adapter).capabilities().continuation.value if adapter else "cannot be steered"
    silent = options.get("logprobs") is False
    row = (
        f"`{path.stem}`",
        f"`{adapter}`" if adapter else "",
        "whole answers" if silent else gone_on,
        "none" if silent else str(options.get("top_k", "")),
        f"`{profile['tokenizer']}`" if "tokenizer" in profile else "",
    )
    assert re.sub(" +", " ", f"| {' | '.join(row)} |") in re.sub(" +", " ", TEXT)


def anchors(page: str) -> set[str]:
    """What a heading is called in a link, as forges do it."""
    titles = re.findall(r"^#+ (.+)$", page, flags=re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


@pytest.mark.parametrize("page", PAGES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_links_lead_somewhere(page: Path) -> None:
    for target in sorted(set(re.findall(r"\]\(([^)]+)\)", page.read_text(encoding="utf-8")))):
        if target.startswith("https://"):
            continue
        name, _, anchor = target.partition("#")
        there = (page.parent / name) if name else page
        assert there.exists(), target
        assert not anchor or anchor in anchors(there.read_text(encoding="utf-8")), target


def commands() -> list[str]:
    """Every line of a code block that calls the program; lines that go on are joined, remarks left out."""
    blocks = re.findall(r"^```(\w*)\n(.*?)^```$", TEXT, flags=re.DOTALL | re.MULTILINE)
    lines = [line for language, block in blocks if not language for line in block.replace("\\\n", " ").splitlines()]
    return [line for line in lines if line.startswith("blackbox-proxy ")]


@pytest.mark.parametrize("line", commands())
def test_a_command_is_one_that_the_parser_takes(line: str) -> None:
    words = shlex.split(line.partition(" > ")[0], comments=True)[1:]
    command = COMMANDS[()]
    while words and words[0] in below(command):
        command = below(command)[words.pop(0)]
    assert command is not COMMANDS[()]
    if words[-1:] == ["..."] and not words[-2].startswith("--"):  # "and so on"
        words.pop()
    takes_nothing = all(option.param_type_name == "option" for option in command.params)
    command.make_context("readme", [word for word in words if not (takes_nothing and word == "...")])


@pytest.mark.parametrize(("name", "most"), LONGEST.items())
def test_it_can_be_read_to_the_end(name: str, most: int) -> None:
    assert len((ROOT / name).read_text(encoding="utf-8").splitlines()) <= most


def test_the_page_of_the_api_has_the_public_names() -> None:
    listed = re.findall(
        r"^::: blackbox_proxy\.(\w+)$", (DOCS / "api.md").read_text(encoding="utf-8"), flags=re.MULTILINE
    )
    assert sorted(listed) == sorted(blackbox_proxy.__all__)


def test_the_page_of_the_ways_is_that_of_the_shipped_profiles() -> None:
    assert (DOCS / "ways.md").read_text(encoding="utf-8") == ways.page(), "`make reference` writes it anew"


def test_the_page_of_the_modules_is_that_of_today() -> None:
    assert (DOCS / "modules.md").read_text(encoding="utf-8") == modules.page(), "`make reference` writes it anew"


CITED = re.compile(r"((?:\d\.\d(?:, )?)+) of docs/method\.md|docs/method\.md, (\d\.\d)")
"""How code and documents cite the method."""


def test_what_is_cited_of_the_method_is_there() -> None:
    sections = set(re.findall(r"^### (\d\.\d) ", (DOCS / "method.md").read_text(encoding="utf-8"), flags=re.MULTILINE))
    sources = [*(ROOT / "blackbox_proxy").rglob("*.py"), ROOT / "ARCHITECTURE.md"]
    cited = {
        number
        for path in sources
        for found in CITED.findall(path.read_text(encoding="utf-8"))
        for number in re.findall(r"\d\.\d", "".join(found))
    }
    assert len(cited) > 8
    assert cited <= sections
