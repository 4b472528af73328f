"""Writes what was measured at one address and model, so that the loader reads the same back.

Knows of TOML as much as profiles need. The file is replaced in one step: whoever reads meanwhile sees the old one or
the new one.
"""

from __future__ import annotations

import datetime as dt
import hashlib
import json
import re
from collections.abc import Mapping
from pathlib import Path

from blackbox_proxy.errors import InputError
from blackbox_proxy.files import replace_text
from blackbox_proxy.remote.profiles.finding import described
from blackbox_proxy.remote.profiles.schema import ProfileSource, Raw

_BARE = re.compile(r"[A-Za-z0-9_-]+")


def write_overlay(
    folder: Path,
    *,
    extends: str,
    base_url: str,
    model: str,
    measured: dt.date,
    options: Mapping[str, object],
    adapter: str | None = None,
    notes: tuple[str, ...] = (),
) -> Path:
    """Write an overlay of the profile `extends` into `folder` and give its file: one for each address and model.

    options: as adapters take them; pieces may be bytes, if they are UTF-8. Raises InputError for what the loader would
    not take, before anything is written, and where the disk refuses.
    """
    content: dict[str, object] = {
        "extends": extends,
        "overlay": {"base_url": base_url, "model": model, "measured": measured, "notes": notes},
        **({"profile": {"adapter": adapter}} if adapter else {}),
        "options": {name: options[name] for name in sorted(options)},
    }
    path = folder / _file_name(extends, base_url, model)
    text = toml_text(content)
    described(ProfileSource(str(path), text), folder=folder)
    replace_text(path, text)
    return path


def toml_text(content: Raw) -> str:
    r"""A TOML document: plain values first, then tables and lists of tables; each in the order that it has.

    >>> print(toml_text({"b": {"y": 1.0, "x": ["ä", True]}, "a": "line\n", "c": [{"z": 1}]}))
    a = "line\n"
    <BLANKLINE>
    [b]
    y = 1.0
    x = ["ä", true]
    <BLANKLINE>
    [[c]]
    z = 1
    <BLANKLINE>
    """
    parts = [_body({name: value for name, value in content.items() if not _tables(value)})]
    for name, value in content.items():
        head = f"[{_key(name)}]" if isinstance(value, Mapping) else f"[[{_key(name)}]]"
        parts += [f"{head}\n{_body(table)}".rstrip() for table in _tables(value)]
    return "\n\n".join(part for part in parts if part) + "\n"


def _body(table: Raw) -> str:
    return "\n".join(f"{_key(name)} = {_value(value)}" for name, value in table.items())


def _tables(value: object) -> list[Raw]:
    """The value as tables: one, or a list of nothing else."""
    if isinstance(value, Mapping):
        return [value]
    if isinstance(value, list | tuple) and all(isinstance(one, Mapping) for one in value):
        return list(value)
    return []


def _value(value: object) -> str:
    if isinstance(value, str | bytes):
        return _quoted(value if isinstance(value, str) else _decoded(value))
    if isinstance(value, dt.date):
        return value.isoformat()
    if isinstance(value, bool | int | float):
        return repr(value).lower()
    if isinstance(value, Mapping):
        return f"{{ {', '.join(f'{_key(str(name))} = {_value(one)}' for name, one in value.items())} }}"
    if isinstance(value, list | tuple):
        return f"[{', '.join(_value(one) for one in value)}]"
    raise InputError(f"a profile cannot hold {value!r:.60}", hint="texts, numbers, dates, lists and tables can be")


def _quoted(text: str) -> str:
    """A basic string: JSON's escapes are TOML's, but for DEL, which JSON leaves as it is."""
    if any("\ud800" <= sign <= "\udfff" for sign in text):
        raise InputError(f"{text!r:.60} is not UTF-8, which TOML must be", hint="remove that character")
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")


def _decoded(piece: bytes) -> str:
    try:
        return piece.decode("utf-8")
    except UnicodeDecodeError:
        raise InputError(f"the piece {piece!r} is not UTF-8, which TOML cannot hold", hint="leave it out") from None


def _key(name: str) -> str:
    return name if _BARE.fullmatch(name) else _quoted(name)


def _file_name(extends: str, base_url: str, model: str) -> str:
    """Readable, and different for different places."""
    place = hashlib.sha256(f"{base_url.rstrip('/')}\n{model}".encode()).hexdigest()[:8]
    readable = re.sub(r"[^A-Za-z0-9._-]+", "_", f"{extends}--{model}")[:80]
    return f"{readable}--{place}.toml"
