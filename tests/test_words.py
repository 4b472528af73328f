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

RETIRED_NAMES = {
    "found",
    "judged",
    "lateness",
    "left",
    "made",
    "own",
    "revealed",
    "silence",
    "told",
    "walked",
    "wanted",
    "worked",
}
"""Parts of the names that a module gives to its variables, parameters, attributes, functions and classes.

Each says what was done with a thing, and not what it is. `left` may stand where it is a side: beside the same name with
`right`.
"""

FROM_ELSEWHERE = {"connection_made"}
"""Methods that a library calls by this name."""

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


def given(tree: ast.AST) -> Iterator[str]:
    """Every name that a module gives: not those that it only uses."""
    for node in ast.walk(tree):
        match node:
            case ast.Name(id=name, ctx=ast.Store()) | ast.Attribute(attr=name, ctx=ast.Store()) | ast.arg(arg=name):
                yield name
            case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name) | ast.ClassDef(name=name):
                yield name
            case ast.MatchAs(name=str(name)) | ast.MatchStar(name=str(name)) | ast.MatchMapping(rest=str(name)):
                yield name
            case ast.ExceptHandler(name=str(name)) | ast.alias(asname=str(name)):
                yield name


def retired_names(source: str) -> set[str]:
    """The names that a module gives and that say what was done with a thing."""
    names = set(given(ast.parse(source)))
    sides = {name.lower() for name in names if "right" in parts(name)}
    return {
        name
        for name in names - FROM_ELSEWHERE
        if parts(name) & RETIRED_NAMES and name.lower().replace("left", "right") not in sides
    }


def offenders(*places: str) -> set[str]:
    """The retired names in these packages and modules, with where they stand."""
    paths: list[Path] = []
    for place in map(ROOT.joinpath, places):
        paths += [place] if place.is_file() else place.rglob("*.py")
    return {
        f"{path.relative_to(ROOT).as_posix()}: {name}"
        for path in paths
        for name in retired_names(path.read_text(encoding="utf-8"))
    }


def test_names_say_what_a_thing_is() -> None:
    assert offenders("blackbox_proxy", "adapters") == set()


@pytest.mark.parametrize(
    ("source", "names"),
    [
        ("found = 1", {"found"}),
        ("def f(own_key, *, all_told=()): ...", {"own_key", "all_told"}),
        ("class Wanted:\n    made: int", {"Wanted", "made"}),
        ("def told(): ...\nasync def walked(): ...", {"told", "walked"}),
        ("self.left -= 1", {"left"}),
        ("x = [revealed for revealed in y]\nwith a as worked: ...", {"revealed", "worked"}),
        ("if (judged := f()): ...\nimport a as silence", {"judged", "silence"}),
        ("match x:\n    case [found, *made]: ...\n    case {**own}: ...", {"found", "made", "own"}),
        ("try: ...\nexcept E as lateness: ...", {"lateness"}),
        ("left, right = sides", set()),
        ("LEFT, RIGHT = 0, 1\nclass C:\n    strips_left: bool\n    strips_right: bool", set()),
        ("f(found=1).told(made[own])", set()),  # names of others
        ('"found"\nfounded = unmade = owner = leftmost = 1', set()),
        ("def connection_made(self): ...", set()),
    ],
)
def test_the_check_of_names_can_fail(source: str, names: set[str]) -> None:
    assert retired_names(source) == names


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
