"""Where in a JSON schema something stands that cannot be obeyed. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import final

from blackbox_proxy.constraints import JsonSchema
from blackbox_proxy.errors import InputError
from blackbox_proxy.guidance import ConstraintAcceptor

MOST_TRIES = 400
"""Most parts of a schema that are looked at; then the part that was looked at last is the place."""

_MAPS = ("properties", "patternProperties", "$defs", "definitions")
_SINGLE = ("items", "additionalProperties")
_LISTS = ("anyOf", "oneOf", "allOf", "prefixItems")


@final
@dataclass(frozen=True, slots=True)
class SchemaMistake:
    """What cannot be obeyed. path: of the innermost part that cannot, such as `.properties.a.items`; words: why."""

    path: str
    words: str


def place_of(schema: Mapping[str, object]) -> SchemaMistake | None:
    """The innermost part of a schema that cannot be obeyed by itself; None where all of it can."""
    search = _Search(schema)
    words = search.words_of(schema)
    return None if words is None else search.within(schema, SchemaMistake("", words))


@dataclass(slots=True)
class _Search:
    root: Mapping[str, object]
    tries: int = 0

    def words_of(self, schema: object) -> str | None:
        """Why a part cannot be obeyed; None where it can, or nothing is known of it."""
        if not isinstance(schema, Mapping):
            return None
        self.tries += 1
        defined = {name: self.root[name] for name in ("$defs", "definitions") if name in self.root}
        try:
            ConstraintAcceptor(JsonSchema.of({**defined, **schema}))
        except InputError as error:
            return error.message
        except RecursionError:
            return "it is nested too deeply"
        return None

    def within(self, schema: object, mistake: SchemaMistake) -> SchemaMistake:
        """The place within a part that cannot be obeyed."""
        while True:
            inner = next(self._inner(schema, mistake.path), None)
            if inner is None:
                return mistake
            schema, mistake = inner

    def _inner(self, schema: object, path: str) -> Iterator[tuple[object, SchemaMistake]]:
        for name, part in _parts(schema):
            words = self.words_of(part) if self.tries < MOST_TRIES else None
            if words is not None:
                yield part, SchemaMistake(path + name, words)


def _parts(schema: object) -> Iterator[tuple[str, object]]:
    """The schemas within one, with their paths."""
    if not isinstance(schema, Mapping):
        return
    for name in _MAPS:
        inner = schema.get(name)
        if isinstance(inner, Mapping):
            yield from ((f".{name}.{key}", part) for key, part in inner.items())
    yield from ((f".{name}", schema.get(name)) for name in _SINGLE)
    for name in _LISTS:
        listed = schema.get(name)
        if isinstance(listed, list):
            yield from ((f".{name}[{at}]", part) for at, part in enumerate(listed))
