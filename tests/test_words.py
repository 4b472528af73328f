"""The project's words are the field's: words that were given up are nowhere but in the changelog and the glossary.

docs/glossary.md says what each term means, and what it was called formerly.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

import blackbox_proxy
from blackbox_proxy.types import Result, Step
from tests.documents import DOCS, PAGES, ROOT

RETIRED = re.compile(
    r"\b(laws?|rivals?|weighing|judged|garbled?|lateness|sober|doubt(s|ed|ful)?|(un)?faith(ful)?)\b", re.IGNORECASE
)
"""Private words of the first version."""

NAMES = {"law", "laws", "rival", "rivals", "weighing", "judged", "garble", "lateness", "sober", "doubt", "faith"}
"""Parts of identifiers that are retired: `_law`, `two_laws`."""

SOURCES = [path for folder in ("blackbox_proxy", "adapters", "tests") for path in sorted((ROOT / folder).rglob("*.py"))]


def identifiers(tree: ast.AST) -> Iterator[str]:
    """Every name that a module gives or uses."""
    for node in ast.walk(tree):
        match node:
            case ast.Name(id=name) | ast.Attribute(attr=name) | ast.arg(arg=name) | ast.keyword(arg=str(name)):
                yield name
            case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name) | ast.ClassDef(name=name):
                yield name
            case ast.alias(name=name):
                yield from name.split(".")


def parts(name: str) -> set[str]:
    """The words of an identifier, in snake case or in camel case."""
    return {part.lower() for part in re.findall(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])", name)}


def test_parts_are_found_in_both_cases() -> None:
    assert parts("two_lawsSameLaw") == {"two", "laws", "same", "law"}


@pytest.mark.parametrize("folder", ["blackbox_proxy", "adapters", "tests"])
def test_no_identifier_has_a_retired_word(folder: str) -> None:
    found = {
        f"{path.relative_to(ROOT)}: {name}"
        for path in sorted((ROOT / folder).rglob("*.py"))
        for name in identifiers(ast.parse(path.read_text(encoding="utf-8")))
        if parts(name) & NAMES
    }
    assert found == set()


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_no_document_has_a_retired_word(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    if path.name == "glossary.md":
        text = re.sub(r"\| [^|]+ \|$", "|", text, flags=re.MULTILINE)  # what it was called formerly
    assert [found[0] for found in RETIRED.finditer(text)] == []


def test_no_docstring_and_no_message_has_a_retired_word() -> None:
    found = {
        f"{path.relative_to(ROOT)}: {word[0]}"
        for path in SOURCES
        if path.name != Path(__file__).name
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
        for word in RETIRED.finditer(node.value)
    }
    assert found == set()


def test_the_glossary_names_what_is_public() -> None:
    """Each field of a step and of a result that is a term of its own, and each public class that is one."""
    glossary = (DOCS / "glossary.md").read_text(encoding="utf-8")
    terms = {"api_token", "candidates", "certified", "exact", "outweighed", "unbordered"}
    assert terms <= {name for kind in (Step, Result) for name in dir(kind)}
    for name in terms:
        assert f".{name}`" in glossary, name
    for name in ("Budget", "OffsetTable", "Planner", "Steering", "Step", "WeightedSum"):
        assert name in blackbox_proxy.__all__
        assert f"`{name}" in glossary, name
