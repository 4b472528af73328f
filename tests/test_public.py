"""The public surface: its names, its weight, its errors, its version."""

from __future__ import annotations

import inspect
import re
import subprocess
import sys
import tomllib
from importlib import metadata
from pathlib import Path

import pytest

import blackbox_proxy
from blackbox_proxy import errors

ROOT = Path(__file__).parent.parent
HEAVY = {"jinja2", "llama_cpp", "numpy", "openai", "pydantic", "rich", "starlette", "tiktoken", "typer", "uvicorn"}


def test_the_public_names_are_sorted_and_all_there() -> None:
    assert blackbox_proxy.__all__ == sorted(set(blackbox_proxy.__all__))
    for name in blackbox_proxy.__all__:
        assert inspect.getdoc(getattr(blackbox_proxy, name)), f"{name} says nothing about itself"
    assert set(blackbox_proxy.__all__) <= set(dir(blackbox_proxy))


def test_a_star_import_gives_the_public_names() -> None:
    found: dict[str, object] = {}
    exec("from blackbox_proxy import *", found)  # noqa: S102 (a star import cannot stand in a function)
    assert found.keys() - {"__builtins__"} == set(blackbox_proxy.__all__)


def test_what_the_loader_knows_is_what_is_public() -> None:
    """A name that could be imported and is not in `__all__` would be public by accident."""
    homes = [name for names in blackbox_proxy._HOMES.values() for name in names]
    assert sorted(homes) == blackbox_proxy.__all__


def test_type_checkers_see_what_the_loader_gives() -> None:
    """The imports under TYPE_CHECKING and the table of the loader name the same things in the same modules."""
    source = (ROOT / "blackbox_proxy" / "__init__.py").read_text(encoding="utf-8")
    seen = re.findall(r"^    from blackbox_proxy\.([\w.]+) import (.+)$", source, flags=re.MULTILINE)
    assert {home: tuple(names.split(", ")) for home, names in seen} == blackbox_proxy._HOMES


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        _ = blackbox_proxy.nonsense


def loaded_by(script: str) -> set[str]:
    """Heavy modules that are there after a script, in a process of its own."""
    command = [sys.executable, "-c", f"{script}\nimport sys\nprint(*{{name.split('.')[0] for name in sys.modules}})"]
    return HEAVY & set(subprocess.run(command, capture_output=True, text=True, check=True).stdout.split())


def test_importing_the_package_loads_nothing_heavy() -> None:
    assert loaded_by("import blackbox_proxy; blackbox_proxy.__version__; dir(blackbox_proxy)") == set()


def test_the_check_of_what_is_loaded_can_fail() -> None:
    assert "numpy" in loaded_by("from blackbox_proxy import Result")


def drawn(tree: str) -> dict[str, str]:
    """Class -> the class above it, from a tree drawn with `|--` and `` `-- ``."""
    above: dict[int, str] = {}
    found: dict[str, str] = {}
    for row in re.finditer(r"^ {4}((?:\|   |    )*(?:[|`]-- )?)([A-Z]\w+)(?= |$)", tree, flags=re.MULTILINE):
        depth = len(row[1]) // 4
        above[depth] = row[2]
        found[row[2]] = above[depth - 1] if depth else "Exception"
    return found


def test_every_error_stands_in_the_drawing_below_its_parent() -> None:
    classes = {
        name: found.__bases__[0].__name__
        for name, found in inspect.getmembers(errors, inspect.isclass)
        if found.__module__ == errors.__name__
    }
    assert drawn(errors.__doc__ or "") == classes


def test_the_reading_of_the_drawing_can_fail() -> None:
    tree = "x\n\n    Root\n    |-- One   what it is\n    |   `-- Under  more\n    `-- Two\n"
    assert drawn(tree) == {"Root": "Exception", "One": "Root", "Under": "One", "Two": "Root"}


def test_there_is_one_version() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    changes = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    newest = re.search(r"^## (\S+) - \d{4}-\d{2}-\d{2}$", changes, flags=re.MULTILINE)
    assert newest
    assert newest[1] == project["version"] == blackbox_proxy.__version__ == metadata.version(project["name"])
