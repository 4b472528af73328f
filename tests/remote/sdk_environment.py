"""Finds every environment variable that an installed package's source reads, by its syntax trees."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType

ENVIRONMENTS = frozenset({"environ", "environb", "getenv", "getenvb"})


@dataclass
class Found:
    """Names that are read, each with the places; unclear: places that use the environment in another way."""

    names: dict[str, list[str]] = field(default_factory=dict)
    unclear: list[str] = field(default_factory=list)


def variables_of(package: ModuleType) -> Found:
    """All reads of the environment in a package's modules."""
    found = Found()
    folder = Path(str(package.__file__)).parent
    for path in sorted(folder.rglob("*.py")):
        text = path.read_text(encoding="utf-8")
        if not any(name in text for name in ENVIRONMENTS):
            continue
        tree = ast.parse(text)
        parents = {child: node for node in ast.walk(tree) for child in ast.iter_child_nodes(node)}
        for use in _uses(tree):
            where, name = f"{path.relative_to(folder)}:{use.lineno}", _name(use, parents)
            if name is None:
                found.unclear.append(where)
            else:
                found.names.setdefault(name, []).append(where)
    return found


def _uses(tree: ast.AST) -> Iterator[ast.expr | ast.alias]:
    """Every mention of the environment: `os.environ`, or a name that was imported from `os`."""
    imported = [
        alias
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and node.module == "os"
        for alias in node.names
        if alias.name in ENVIRONMENTS
    ]
    yield from (alias for alias in imported if alias.asname)
    plain = {alias.name for alias in imported}
    for node in ast.walk(tree):
        match node:
            case ast.Attribute(attr=name) if name in ENVIRONMENTS:
                yield node
            case ast.Name(id=name) if name in plain:
                yield node


def _name(use: ast.AST, parents: dict[ast.AST, ast.AST]) -> str | None:
    """The variable that one mention reads: `environ.get("X")`, `environ["X"]`, `getenv("X")` or `"X" in environ`."""
    user = parents[use]
    key: ast.AST | None = None
    if isinstance(user, ast.Attribute) and user.attr in {"get", "pop", "setdefault"}:
        call = parents[user]
        key = call.args[0] if isinstance(call, ast.Call) and call.args else None
    elif isinstance(user, ast.Subscript):
        key = user.slice
    elif isinstance(user, ast.Call) and user.func is use:
        key = user.args[0] if user.args else None
    elif isinstance(user, ast.Compare) and len(user.ops) == 1 and isinstance(user.ops[0], ast.In | ast.NotIn):
        key = user.left
    return key.value if isinstance(key, ast.Constant) and isinstance(key.value, str) else None
